//! What is agreed on in a handshake: permessage-deflate, or nothing.

use std::fmt::Write as _;
use std::num::NonZeroU8;

/// permessage-deflate as it was agreed on.
///
/// We always say `server_no_context_takeover` and `client_no_context_takeover`, as RFC 7692
/// sections 7.1.1.1 and 7.1.1.2 let a server do unasked: no message looks back at the one before,
/// so a core has one compressor and not each connection its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    window_bits: NonZeroU8,
    /// The client named a window, so the answer has to.
    window_named: bool,
}

/// Widest window of deflate: 32 KiB.
const WINDOW_BITS_MAX: u8 = 15;
/// Narrowest one that may be asked for: 256 bytes.
const WINDOW_BITS_MIN: u8 = 8;
const NAME: &[u8] = b"permessage-deflate";

impl Agreed {
    /// Longest message that may be sent compressed: as long as the client's window, so that no
    /// distance in it can leave that. A full window sets no bound.
    #[must_use]
    pub fn packed_bytes_max(self) -> usize {
        match self.window_bits.get() {
            WINDOW_BITS_MAX.. => usize::MAX,
            bits => 1 << bits,
        }
    }

    /// The value of `Sec-WebSocket-Extensions` in the answer.
    #[must_use]
    pub fn answer(self) -> String {
        let mut out = String::from(
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        );
        if self.window_named {
            let written = write!(out, "; server_max_window_bits={}", self.window_bits);
            written.expect("writing into a string does not fail");
        }
        out
    }
}

/// The header is not what RFC 6455 section 9.1 allows there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadExtensions;

/// Takes the first offer of permessage-deflate that can be kept, from the values of the header
/// `Sec-WebSocket-Extensions`. Other extensions, and offers that nobody could keep, are passed by.
///
/// Cost: one pass, no allocation but for quoted values.
///
/// # Errors
/// [`BadExtensions`]. Rule: RFC 6455 section 9.1: whoever sends such a header is refused.
pub fn negotiate<'a>(
    headers: impl Iterator<Item = &'a [u8]>,
) -> Result<Option<Agreed>, BadExtensions> {
    let mut agreed = None;
    for header in headers {
        let mut text = Reader(header);
        loop {
            // Rule: RFC 9110 section 5.6.1: empty elements of a list are nothing.
            while text.take(b',') {}
            if text.is_done() {
                break;
            }
            let offer = read_offer(&mut text)?;
            agreed = agreed.or(offer);
            if !text.is_done() && !text.take(b',') {
                return Err(BadExtensions);
            }
        }
    }
    Ok(agreed)
}

/// One extension with its parameters; nothing if it is another one, or asks for what cannot be.
///
/// Rule: RFC 7692 section 7.1: a parameter that is unknown, twice there, or has a value that it
/// must not have makes the server decline the offer.
fn read_offer(text: &mut Reader<'_>) -> Result<Option<Agreed>, BadExtensions> {
    let ours = text.token()? == NAME;
    let mut offer = Offer::default();
    let mut good = ours;
    while text.take(b';') {
        let name = text.token()?;
        let value = if text.take(b'=') { Some(text.value()?) } else { None };
        good = good && offer.take(name, value.as_deref());
    }
    let bits = offer.server_window.unwrap_or(WINDOW_BITS_MAX);
    let window_named = offer.server_window.is_some();
    let window_bits = NonZeroU8::new(bits).ok_or(BadExtensions)?;
    Ok(good.then_some(Agreed { window_bits, window_named }))
}

/// What stood in an offer.
#[derive(Default)]
struct Offer {
    server_alone: bool,
    client_alone: bool,
    client_window: bool,
    server_window: Option<u8>,
}

impl Offer {
    /// Takes in a parameter; false if the offer cannot be kept because of it.
    fn take(&mut self, name: &[u8], value: Option<&[u8]>) -> bool {
        let once = |seen: &mut bool| !std::mem::replace(seen, true);
        match (name, value) {
            (b"server_no_context_takeover", None) => once(&mut self.server_alone),
            (b"client_no_context_takeover", None) => once(&mut self.client_alone),
            // The client says that it could do with less. It need not: our window is the widest.
            (b"client_max_window_bits", None) => once(&mut self.client_window),
            (b"client_max_window_bits", Some(value)) => {
                window_bits(value).is_some() && once(&mut self.client_window)
            }
            (b"server_max_window_bits", Some(value)) => {
                let bits = window_bits(value);
                bits.is_some() && std::mem::replace(&mut self.server_window, bits).is_none()
            }
            _ => false,
        }
    }
}

/// Rule: RFC 7692 section 7.1.2: 8 to 15, decimal, without leading zeros.
fn window_bits(value: &[u8]) -> Option<u8> {
    let bits = match value {
        [digit @ b'8'..=b'9'] => digit - b'0',
        [b'1', digit @ b'0'..=b'5'] => 10 + digit - b'0',
        _ => return None,
    };
    (WINDOW_BITS_MIN..=WINDOW_BITS_MAX).contains(&bits).then_some(bits)
}

/// What is left of a header's value.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn skip_space(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.0 {
            self.0 = rest;
        }
    }

    /// Whether nothing is left but white space.
    fn is_done(&mut self) -> bool {
        self.skip_space();
        self.0.is_empty()
    }

    /// Takes one mark, and the white space around it, if it comes next.
    fn take(&mut self, mark: u8) -> bool {
        self.skip_space();
        let Some(rest) = self.0.strip_prefix(&[mark]) else { return false };
        self.0 = rest;
        self.skip_space();
        true
    }

    /// Rule: RFC 9110 section 5.6.2.
    fn token(&mut self) -> Result<&'a [u8], BadExtensions> {
        self.skip_space();
        let len = self.0.iter().take_while(|byte| is_token_byte(**byte)).count();
        let (token, rest) = self.0.split_at(len);
        self.0 = rest;
        if token.is_empty() { Err(BadExtensions) } else { Ok(token) }
    }

    /// A token, or one in quotes: what stands in them must be a token too (RFC 6455 section 9.1).
    fn value(&mut self) -> Result<std::borrow::Cow<'a, [u8]>, BadExtensions> {
        let Some(quoted) = self.0.strip_prefix(b"\"") else {
            return self.token().map(std::borrow::Cow::Borrowed);
        };
        let mut rest = quoted;
        let mut value = Vec::new();
        loop {
            let (byte, after) = match rest {
                [b'"', after @ ..] => {
                    self.0 = after;
                    break;
                }
                [b'\\', byte, after @ ..] | [byte, after @ ..] => (*byte, after),
                [] => return Err(BadExtensions),
            };
            if !is_token_byte(byte) {
                return Err(BadExtensions);
            }
            value.push(byte);
            rest = after;
        }
        if value.is_empty() { Err(BadExtensions) } else { Ok(std::borrow::Cow::Owned(value)) }
    }
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_'
        )
        || matches!(byte, b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    fn agree(headers: &[&str]) -> Result<Option<Agreed>, BadExtensions> {
        negotiate(headers.iter().map(|header| header.as_bytes()))
    }

    /// The answer to an offer; nothing if it is declined.
    fn answer(header: &str) -> Option<String> {
        agree(&[header]).expect("well-formed").map(Agreed::answer)
    }

    const ALONE: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    #[test]
    fn offers_that_are_kept() {
        for offer in [
            "permessage-deflate",
            // Chromium, Firefox and Node's ws.
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate;client_max_window_bits=10",
            "permessage-deflate; client_max_window_bits=\"1\\5\"",
            "permessage-deflate ; server_no_context_takeover;client_no_context_takeover",
            ", ,permessage-deflate, ",
            "x-webkit-deflate-frame, permessage-bzip2; level=9, permessage-deflate",
            "other; a=\"b\", permessage-deflate",
            // The first cannot be kept, the second can.
            "permessage-deflate; server_max_window_bits=7, permessage-deflate",
        ] {
            assert_eq!(answer(offer).as_deref(), Some(ALONE), "{offer}");
        }
        for bits in 8..=15 {
            let offer = format!("permessage-deflate; server_max_window_bits={bits}");
            let want = format!("{ALONE}; server_max_window_bits={bits}");
            assert_eq!(answer(&offer), Some(want));
            let agreed = agree(&[&offer]).unwrap().unwrap();
            let bytes_max = if bits == 15 { usize::MAX } else { 1 << bits };
            assert_eq!(agreed.packed_bytes_max(), bytes_max);
        }
        // Rule: RFC 9110 section 5.3: several headers of that name are one list.
        let two = agree(&["foo", "permessage-deflate; server_max_window_bits=9"]);
        assert_eq!(two.unwrap().unwrap().packed_bytes_max(), 512);
        let order = "permessage-deflate; server_max_window_bits=10, permessage-deflate";
        assert!(answer(order).unwrap().ends_with("=10"), "the client's order is its preference");
    }

    #[test]
    fn offers_that_are_declined() {
        for offer in [
            "",
            " ",
            "constructor",
            "Permessage-Deflate2",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=08",
            "permessage-deflate; server_max_window_bits=15; server_max_window_bits=15",
            "permessage-deflate; client_max_window_bits=0",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_no_context_takeover=true",
            "permessage-deflate; __proto__",
            "permessage-deflate; unknown=1",
        ] {
            assert_eq!(answer(offer), None, "{offer}");
        }
        assert_eq!(agree(&[]), Ok(None));
    }

    #[test]
    fn headers_that_are_none() {
        for header in [
            "permessage-deflate;",
            "permessage-deflate; =8",
            "permessage-deflate; a=",
            "permessage-deflate; a=\"\"",
            "permessage-deflate; a=\"b",
            "permessage-deflate; a=\"b c\"",
            "permessage-deflate; a=b c",
            "permessage-deflate permessage-deflate",
            "(comment)",
            "permessage-deflate; a=\"\\",
            ";",
            "a\u{1}b",
        ] {
            assert_eq!(agree(&[header]), Err(BadExtensions), "{header}");
        }
    }

    #[test]
    fn noise_is_agreed_on_by_nobody_and_breaks_nothing() {
        const PIECES: [&str; 14] = [
            "permessage-deflate",
            "server_max_window_bits",
            "client_max_window_bits",
            "server_no_context_takeover",
            ";",
            ",",
            "=",
            "\"",
            "\\",
            "8",
            "15",
            " ",
            "\t",
            "ä",
        ];
        let mut kept = 0;
        for seed in 0..50_000 {
            let mut rng = Rng::new(seed, 0x7692);
            let header: String =
                (0..rng.below(14)).map(|_| PIECES[rng.below(PIECES.len())]).collect();
            if let Ok(Some(agreed)) = agree(&[&header]) {
                kept += 1;
                assert!(header.contains("permessage-deflate") && agreed.packed_bytes_max() >= 256);
            }
        }
        assert!(kept > 100, "some noise is an offer: {kept}");
    }
}
