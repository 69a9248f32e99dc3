//! What stands before and around the codecs: compressed messages, the offers that lead to them,
//! and what proxies say of clients.

use std::net::SocketAddr;

use corewire::deflate::{Bounds, Deflater, InflateError, Inflater};
use corewire::http::{
    ForwardedHeader, PROXY_HEADER_BYTES_MAX, Proxies, parse_head, parse_proxy_header,
};
use corewire::ws::negotiate;

use super::choice;

const BOUNDS: Bounds = Bounds { bytes_max: 100_000, ratio_max: 50 };

/// A compressed message, right or wrong: it stays within its bounds, says the same twice (nothing
/// of the one before is left), and comes back from our own compressor.
pub(super) fn inflate(bytes: &[u8]) {
    let mut inflater = Inflater::default();
    let first = inflater.message(bytes, BOUNDS);
    assert_eq!(inflater.message(bytes, BOUNDS), first, "something was left of the one before");
    match first {
        Ok(message) => {
            assert!(message.len() <= BOUNDS.bytes_max);
            let suspected = message.len() > Bounds::UNSUSPECTED_BYTES;
            assert!(!suspected || message.len() <= bytes.len() * BOUNDS.ratio_max);
        }
        Err(InflateError::Broken | InflateError::TooBig | InflateError::Ratio) => {}
    }
    let mut deflater = Deflater::default();
    let packed = deflater.message(bytes).map(<[u8]>::to_vec);
    let again = deflater.message(bytes).map(<[u8]>::to_vec);
    assert_eq!(packed, again, "the compressor remembers");
    if let Some(packed) = packed {
        assert!(packed.len() < bytes.len(), "longer than it was");
        let wide = Bounds { bytes_max: bytes.len(), ratio_max: 2_000 };
        assert_eq!(inflater.message(&packed, wide).as_deref(), Ok(bytes));
    }
}

/// An offer of extensions: what is agreed on is answered in words that are an offer themselves.
pub(super) fn offer(bytes: &[u8]) {
    if let Ok(Some(agreed)) = negotiate([bytes].into_iter()) {
        let answer = agreed.answer();
        let again = negotiate([answer.as_bytes()].into_iter());
        let again = again.expect("our own words").expect("an agreement");
        assert_eq!(again.packed_bytes_max(), agreed.packed_bytes_max());
        assert!(agreed.packed_bytes_max() >= 256);
    }
}

/// A PROXY header: never longer than it may be, the same with more behind it, and in no piece of
/// it another verdict than "more is needed".
pub(super) fn proxy(bytes: &[u8]) {
    let whole = parse_proxy_header(bytes);
    let Ok(Some(header)) = whole else { return };
    assert!(header.len <= bytes.len().min(PROXY_HEADER_BYTES_MAX));
    assert_eq!(parse_proxy_header(&bytes[..header.len]), whole);
    for to in 0..header.len {
        assert_eq!(parse_proxy_header(&bytes[..to]), Ok(None), "at {to}");
    }
}

/// What proxies say in headers: a stranger is believed nothing, whatever it says, and the address
/// of a believed one is never that of a hop before one that is not.
pub(super) fn forwarded(bytes: &[u8]) {
    let (which, said) = choice(bytes);
    let (header, name) = match which % 2 {
        0 => (ForwardedHeader::XForwardedFor, "X-Forwarded-For"),
        _ => (ForwardedHeader::Forwarded, "Forwarded"),
    };
    let said: Vec<u8> =
        said.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let stranger = if which % 2 == 0 { "203.0.113.9" } else { "for=203.0.113.9" };
    let text = [
        b"GET / HTTP/1.1\r\nHost: a\r\n".as_slice(),
        name.as_bytes(),
        b": ",
        &said,
        b"\r\n",
        name.as_bytes(),
        b": ",
        stranger.as_bytes(),
        b"\r\n\r\n",
    ]
    .concat();
    let Ok(Some((head, _))) = parse_head(&text, 16 << 10) else { return };
    let proxies = Proxies::new(&["10.0.0.0/8".to_owned()], header);
    let peer = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let outside = proxies.client(peer("192.0.2.1:5"), &head);
    assert_eq!((outside.address, outside.secure), (peer("192.0.2.1:5"), None));
    // The last hop is a stranger, so nothing that stands before it is ever taken.
    let inside = proxies.client(peer("10.1.2.3:5"), &head);
    assert_eq!(inside.address.ip(), peer("203.0.113.9:0").ip());
}
