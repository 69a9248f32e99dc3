//! Compressed messages, and what is said of them in a handshake.

use std::cell::RefCell;

use corewire::deflate::{Bounds, Deflater, InflateError, Inflater};
use corewire::ws;

use super::choice;

const STRICT: Bounds = Bounds { bytes_max: 100_000, ratio_max: 20 };
const WIDE: Bounds = Bounds { bytes_max: 1 << 20, ratio_max: 2_000 };

/// Bytes as a client might send them for a compressed message.
pub(super) fn inflate(bytes: &[u8]) {
    let mut inflater = Inflater::default();
    let wide = inflater.message(bytes, WIDE);
    assert_eq!(inflater.message(bytes, WIDE), wide, "an inflater remembers the message before");
    match (inflater.message(bytes, STRICT), wide) {
        (Ok(message), wide) => {
            assert!(message.len() <= STRICT.bytes_max);
            assert_eq!(Ok(message), wide, "a bound is no part of a message");
        }
        (Err(InflateError::Broken), wide) => assert_eq!(wide, Err(InflateError::Broken)),
        (Err(InflateError::TooBig), Ok(message)) => assert!(message.len() > STRICT.bytes_max),
        (Err(InflateError::Ratio), Ok(message)) => {
            assert!(message.len() > Bounds::UNSUSPECTED_BYTES);
            assert!(message.len() > bytes.len() * STRICT.ratio_max);
        }
        // What is too much for the one may be broken further on, or too much for both.
        (Err(_), Err(_)) => {}
    }
}

thread_local! {
    /// As on a core: one of each for all messages. Making them costs more than using them.
    static PAIR: RefCell<(Deflater, Inflater)> = RefCell::default();
}

/// What is compressed comes back, whatever was compressed before it.
pub(super) fn deflate(bytes: &[u8]) {
    let (times, data) = choice(bytes);
    let data = data.repeat(usize::from(times % 8) + 1);
    PAIR.with_borrow_mut(|(deflater, inflater)| {
        for data in [&data[..], &data[data.len() / 2..]] {
            if let Some(packed) = deflater.message(data) {
                assert!(packed.len() < data.len(), "it did not become shorter");
                assert_eq!(inflater.message(packed, WIDE).as_deref(), Ok(data));
            }
        }
    });
}

/// The header in which extensions are offered.
pub(super) fn extensions(bytes: &[u8]) {
    let Ok(Some(agreed)) = ws::negotiate([bytes].into_iter()) else { return };
    assert!(bytes.windows(18).any(|name| name == b"permessage-deflate"));
    assert!(agreed.packed_bytes_max() >= 256);
    let answer = agreed.answer();
    let again = ws::negotiate([answer.as_bytes()].into_iter());
    assert_eq!(again, Ok(Some(agreed)), "an answer is an offer that we could keep");
}
