//! Which compressed body a client takes.

use super::head::Head;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950, under the name it has in HTTP.
    Deflate,
}

impl Coding {
    /// The value of `Content-Encoding`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }
}

/// The coding that a request asks for; nothing if it asks for none of ours, or would rather have
/// the body as it is.
///
/// Rule: RFC 9110 section 12.5.3. A request without the header would take anything; it gets the
/// plain body, as whoever asked for nothing expects.
#[must_use]
pub fn coding_of(head: &Head<'_>) -> Option<Coding> {
    choose(head.all("accept-encoding"))
}

/// Weights in thousandths, where they were said.
#[derive(Default)]
struct Weights {
    gzip: Option<u16>,
    deflate: Option<u16>,
    identity: Option<u16>,
    any: Option<u16>,
}

fn choose<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<Coding> {
    let mut said = Weights::default();
    for element in values.flat_map(|value| value.split(|byte| *byte == b',')) {
        let mut pieces = element.split(|byte| *byte == b';');
        let name = pieces.next().unwrap_or_default().trim_ascii();
        // An element that breaks the rule says nothing.
        let Some(weight) = weight_of(pieces) else { continue };
        let place = if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") {
            &mut said.gzip
        } else if name.eq_ignore_ascii_case(b"deflate") {
            &mut said.deflate
        } else if name.eq_ignore_ascii_case(b"identity") {
            &mut said.identity
        } else if name == b"*" {
            &mut said.any
        } else {
            continue;
        };
        place.get_or_insert(weight);
    }
    let any = said.any.unwrap_or(0);
    let (gzip, deflate) = (said.gzip.unwrap_or(any), said.deflate.unwrap_or(any));
    let best = gzip.max(deflate);
    if best == 0 || said.identity.is_some_and(|identity| identity > best) {
        return None;
    }
    Some(if gzip == best { Coding::Gzip } else { Coding::Deflate })
}

/// The weight among an element's parameters, 1 if there is none.
fn weight_of<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Option<u16> {
    let mut weight = 1_000;
    for piece in pieces {
        let piece = piece.trim_ascii();
        if let [b'q' | b'Q', b'=', value @ ..] = piece {
            weight = qvalue(value)?;
        }
    }
    Some(weight)
}

/// Rule: RFC 9110 section 12.4.2: 0 to 1, with up to three digits behind the point.
fn qvalue(value: &[u8]) -> Option<u16> {
    let (whole, digits) = match value {
        [whole @ (b'0' | b'1')] => (whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', digits @ ..] if digits.len() <= 3 => (whole, digits),
        _ => return None,
    };
    let mut thousandths = 0;
    for at in 0..3 {
        let digit = digits.get(at).copied().unwrap_or(b'0');
        if !digit.is_ascii_digit() {
            return None;
        }
        thousandths = thousandths * 10 + u16::from(digit - b'0');
    }
    match whole {
        b'0' => Some(thousandths),
        _ => (thousandths == 0).then_some(1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_by_rfc_9110_section_12_5_3() {
        use Coding::{Deflate, Gzip};
        for (header, want) in [
            ("gzip, deflate, br", Some(Gzip)),
            ("gzip, deflate, br, zstd", Some(Gzip)),
            ("br, deflate", Some(Deflate)),
            ("GZip", Some(Gzip)),
            ("x-gzip", Some(Gzip)),
            ("*", Some(Gzip)),
            ("gzip;q=0, *", Some(Deflate)),
            ("gzip;q=0.5, deflate;q=0.8", Some(Deflate)),
            ("gzip ; q=0.5 , deflate; q=0.5", Some(Gzip)),
            ("deflate;q=1.000, gzip;q=0.999", Some(Deflate)),
            ("gzip;q=0.001", Some(Gzip)),
            ("gzip;level=9;q=1", Some(Gzip)),
            ("identity;q=0.5, gzip;q=1", Some(Gzip)),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0, gzip;q=0", None),
            ("gzip;q=0", None),
            ("gzip;q=0.000, deflate;q=0", None),
            ("*;q=0", None),
            ("identity", None),
            ("br, zstd", None),
            ("gzipped", None),
            ("", None),
            // What is no weight makes its element say nothing.
            ("gzip;q=", None),
            ("gzip;q=2", None),
            ("gzip;q=1.001", None),
            ("gzip;q=0.5555", None),
            ("gzip;q=-1, deflate", Some(Deflate)),
            ("gzip;q=0.5x", None),
        ] {
            assert_eq!(choose([header.as_bytes()].into_iter()), want, "{header}");
        }
        assert_eq!(choose([].into_iter()), None, "nobody asked");
        let two = [&b"br"[..], &b"deflate"[..]];
        assert_eq!(choose(two.into_iter()), Some(Deflate), "two headers are one list");
    }
}
