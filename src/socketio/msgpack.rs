//! `MessagePack`, as much of it as packets need: a reader of tokens and writers of the shortest
//! forms.
//!
//! The reader never believes a length: strings and binary are slices of what is there, and of
//! containers it tells the claimed count only, for its caller to run out of input on.

use super::ParseError;

/// One token. Containers are followed by their members.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'a> {
    Nil,
    Bool(bool),
    /// Any integer: both halves of the 64 bits fit.
    Int(i128),
    Float(f64),
    /// Not yet judged as UTF-8.
    Str(&'a [u8]),
    Bin(&'a [u8]),
    Array(usize),
    Map(usize),
    /// `fixed` tells fixext from ext: notepack means different things by them.
    Ext {
        kind: i8,
        fixed: bool,
        data: &'a [u8],
    },
}

/// Reads tokens from the front of a slice.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub(super) const fn left(&self) -> usize {
        self.rest.len()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], ParseError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(ParseError::Msgpack)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A big-endian number of so many bytes, at most 8.
    fn unsigned(&mut self, width: usize) -> Result<u64, ParseError> {
        Ok(self.take(width)?.iter().fold(0, |number, &byte| (number << 8) | u64::from(byte)))
    }

    fn signed(&mut self, width: u32) -> Result<i64, ParseError> {
        let spare = 64 - 8 * width;
        Ok((self.unsigned(width as usize)?.cast_signed() << spare) >> spare)
    }

    /// A length of so many bytes, at most 4.
    fn length(&mut self, width: usize) -> Result<usize, ParseError> {
        usize::try_from(self.unsigned(width)?).map_err(|_| ParseError::Msgpack)
    }

    fn ext(&mut self, length: usize, fixed: bool) -> Result<Token<'a>, ParseError> {
        let kind = self.take(1)?[0].cast_signed();
        Ok(Token::Ext { kind, fixed, data: self.take(length)? })
    }

    /// Rule: `MessagePack` specification, "Formats".
    ///
    /// # Errors
    /// [`ParseError::Msgpack`] at the end of input and for the byte `c1`, which is never used.
    pub(super) fn token(&mut self) -> Result<Token<'a>, ParseError> {
        let first = self.take(1)?[0];
        let low = |mask: u8| usize::from(first & mask);
        // The formats of a family differ in a width of 1, 2, 4 or 8 bytes.
        let width = |base: u8| 1_usize << (first - base);
        Ok(match first {
            0x00..=0x7F => Token::Int(first.into()),
            0x80..=0x8F => Token::Map(low(0x0F)),
            0x90..=0x9F => Token::Array(low(0x0F)),
            0xA0..=0xBF => Token::Str(self.take(low(0x1F))?),
            0xC0 => Token::Nil,
            0xC1 => return Err(ParseError::Msgpack),
            0xC2 => Token::Bool(false),
            0xC3 => Token::Bool(true),
            0xC4..=0xC6 => {
                let length = self.length(width(0xC4))?;
                Token::Bin(self.take(length)?)
            }
            0xC7..=0xC9 => {
                let length = self.length(width(0xC7))?;
                self.ext(length, false)?
            }
            0xCA => {
                let bits = u32::try_from(self.unsigned(4)?).map_err(|_| ParseError::Msgpack)?;
                Token::Float(f32::from_bits(bits).into())
            }
            0xCB => Token::Float(f64::from_bits(self.unsigned(8)?)),
            0xCC..=0xCF => Token::Int(self.unsigned(width(0xCC))?.into()),
            0xD0..=0xD3 => Token::Int(self.signed(1 << (first - 0xD0))?.into()),
            0xD4..=0xD8 => self.ext(1 << (first - 0xD4), true)?,
            0xD9..=0xDB => {
                let length = self.length(width(0xD9))?;
                Token::Str(self.take(length)?)
            }
            0xDC..=0xDD => Token::Array(self.length(width(0xDB))?),
            0xDE..=0xDF => Token::Map(self.length(width(0xDD))?),
            0xE0..=0xFF => Token::Int(first.cast_signed().into()),
        })
    }

    /// Passes one value with everything in it, without recursion.
    pub(super) fn skip(&mut self, elements: &mut usize) -> Result<(), ParseError> {
        let mut due = 1_usize;
        while due > 0 {
            due -= 1;
            spend(elements)?;
            let members = match self.token()? {
                Token::Array(count) => count,
                Token::Map(count) => count.saturating_mul(2),
                _ => 0,
            };
            due = due.saturating_add(members);
        }
        Ok(())
    }
}

/// Counts one element against what is left of the limit.
pub(super) fn spend(elements: &mut usize) -> Result<(), ParseError> {
    *elements = elements.checked_sub(1).ok_or(ParseError::TooManyElements)?;
    Ok(())
}

/// The characters of a msgpack string, lone surrogates (which JavaScript's strings may hold, as
/// three bytes each) replaced by U+FFFD.
///
/// # Errors
/// [`ParseError::Utf8`] for any other bytes that are no UTF-8.
pub(super) fn text(bytes: &[u8]) -> Result<std::borrow::Cow<'_, str>, ParseError> {
    let mut rest = bytes;
    let mut mended = String::new();
    loop {
        match std::str::from_utf8(rest) {
            Ok(good) if mended.is_empty() => return Ok(good.into()),
            Ok(good) => {
                mended.push_str(good);
                return Ok(mended.into());
            }
            Err(error) => {
                let (good, bad) = rest.split_at(error.valid_up_to());
                let [0xED, 0xA0..=0xBF, 0x80..=0xBF, after @ ..] = bad else {
                    return Err(ParseError::Utf8);
                };
                mended.push_str(std::str::from_utf8(good).map_err(|_| ParseError::Utf8)?);
                mended.push(char::REPLACEMENT_CHARACTER);
                rest = after;
            }
        }
    }
}

/// A length that no format of `MessagePack` can say.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooLong;

/// Writes `first` and a big-endian number in the narrowest of the widths from `from` to `to`
/// bytes; `first` is the format of the width `from`.
fn sized(out: &mut Vec<u8>, first: u8, from: usize, to: usize, number: u64) -> Result<(), TooLong> {
    let (mut format, mut width) = (first, from);
    while width < 8 && number >> (8 * width) != 0 {
        (format, width) = (format + 1, width * 2);
    }
    if width > to {
        return Err(TooLong);
    }
    out.push(format);
    out.extend_from_slice(&number.to_be_bytes()[8 - width..]);
    Ok(())
}

pub(super) fn write_uint(out: &mut Vec<u8>, number: u64) {
    if number < 0x80 {
        out.push(number.to_be_bytes()[7]);
    } else {
        sized(out, 0xCC, 1, 8, number).expect("8 bytes hold every u64");
    }
}

pub(super) fn write_int(out: &mut Vec<u8>, number: i64) {
    if let Ok(positive) = u64::try_from(number) {
        return write_uint(out, positive);
    }
    let bytes = number.to_be_bytes();
    let (format, width) = match number {
        -0x20.. => return out.push(bytes[7]),
        -0x80.. => (0xD0, 1),
        -0x8000.. => (0xD1, 2),
        -0x8000_0000.. => (0xD2, 4),
        _ => (0xD3, 8),
    };
    out.push(format);
    out.extend_from_slice(&bytes[8 - width..]);
}

pub(super) fn write_float(out: &mut Vec<u8>, number: f64) {
    out.push(0xCB);
    out.extend_from_slice(&number.to_bits().to_be_bytes());
}

pub(super) fn write_str(out: &mut Vec<u8>, text: &str) -> Result<(), TooLong> {
    match u8::try_from(text.len()) {
        Ok(short @ 0..=0x1F) => out.push(0xA0 | short),
        _ => sized(out, 0xD9, 1, 4, text.len() as u64)?,
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

pub(super) fn write_bin(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), TooLong> {
    sized(out, 0xC4, 1, 4, bytes.len() as u64)?;
    out.extend_from_slice(bytes);
    Ok(())
}

/// The head of an array or of a map.
pub(super) fn write_head(out: &mut Vec<u8>, map: bool, count: usize) -> Result<(), TooLong> {
    let (short, long) = if map { (0x80, 0xDE) } else { (0x90, 0xDC) };
    match u8::try_from(count) {
        Ok(few @ 0..=0x0F) => out.push(short | few),
        _ => sized(out, long, 2, 4, count as u64)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(bytes: &[u8]) -> Result<Token<'_>, ParseError> {
        let mut reader = Reader::new(bytes);
        let token = reader.token();
        assert!(token.is_err() || reader.left() == 0, "{bytes:x?}");
        token
    }

    /// Every width's first and last number, forth in the shortest form and back.
    #[test]
    fn integers_take_the_shortest_form() {
        let table: &[(i128, usize)] = &[
            (0, 1),
            (0x7F, 1),
            (0x80, 2),
            (0xFF, 2),
            (0x100, 3),
            (0xFFFF, 3),
            (0x1_0000, 5),
            (0xFFFF_FFFF, 5),
            (0x1_0000_0000, 9),
            (u64::MAX.into(), 9),
            (-1, 1),
            (-0x20, 1),
            (-0x21, 2),
            (-0x80, 2),
            (-0x81, 3),
            (-0x8000, 3),
            (-0x8001, 5),
            (-0x8000_0000, 5),
            (-0x8000_0001, 9),
            (i64::MIN.into(), 9),
        ];
        for (number, length) in table {
            let mut out = Vec::new();
            match (i64::try_from(*number), u64::try_from(*number)) {
                (Ok(signed), _) => write_int(&mut out, signed),
                (_, Ok(unsigned)) => write_uint(&mut out, unsigned),
                _ => unreachable!(),
            }
            assert_eq!(out.len(), *length, "{number}");
            assert_eq!(one(&out), Ok(Token::Int(*number)));
        }
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        for (length, head) in
            [(0, 1), (31, 1), (32, 2), (255, 2), (256, 3), (65_535, 3), (65_536, 5)]
        {
            let (mut string, mut bin) = (Vec::new(), Vec::new());
            write_str(&mut string, &"a".repeat(length)).unwrap();
            assert_eq!(string.len(), head + length);
            assert_eq!(one(&string), Ok(Token::Str("a".repeat(length).as_bytes())));
            write_bin(&mut bin, &vec![7; length]).unwrap();
            assert_eq!(bin.len(), head.max(2) + length);
            assert_eq!(one(&bin), Ok(Token::Bin(&vec![7; length])));
        }
        for (count, head) in [(0, 1), (15, 1), (16, 3), (65_535, 3), (65_536, 5)] {
            let (mut array, mut map) = (Vec::new(), Vec::new());
            write_head(&mut array, false, count).unwrap();
            write_head(&mut map, true, count).unwrap();
            assert_eq!((array.len(), map.len()), (head, head));
            assert_eq!(one(&array), Ok(Token::Array(count)));
            assert_eq!(one(&map), Ok(Token::Map(count)));
        }
        assert!(write_head(&mut Vec::new(), true, 1 << 32).is_err());
    }

    /// `MessagePack` specification, "Formats": the forms no writer here uses.
    #[test]
    fn other_forms_are_read() {
        assert_eq!(one(&[0xCA, 0x3F, 0x80, 0, 0]), Ok(Token::Float(1.0)));
        assert_eq!(one(&[0xCB, 0x3F, 0xF8, 0, 0, 0, 0, 0, 0]), Ok(Token::Float(1.5)));
        assert_eq!(one(&[0xD3, 255, 255, 255, 255, 255, 255, 255, 255]), Ok(Token::Int(-1)));
        let ext = |kind, fixed, data| Ok(Token::Ext { kind, fixed, data });
        assert_eq!(one(&[0xD4, 0, 0]), ext(0, true, &[0]));
        assert_eq!(one(&[0xD6, 0xFF, 1, 2, 3, 4]), ext(-1, true, &[1, 2, 3, 4]));
        assert_eq!(one(&[0xC7, 2, 5, 8, 9]), ext(5, false, &[8, 9]));
        assert_eq!(one(&[0xC8, 0, 1, 5, 8]), ext(5, false, &[8]));
        assert_eq!(one(&[0xC9, 0, 0, 0, 0, 5]), ext(5, false, &[]));
        assert_eq!(one(&[0xC1]), Err(ParseError::Msgpack));
        assert_eq!(one(&[]), Err(ParseError::Msgpack));
    }

    /// GHSA-7xpx-rcqc-8qjh: lengths that lie.
    #[test]
    fn a_claimed_length_is_only_a_claim() {
        for bytes in [
            &[0xDB, 0xFF, 0xFF, 0xFF, 0xFF, 1][..],
            &[0xC6, 0xFF, 0xFF, 0xFF, 0xFF, 1],
            &[0xC9, 0xFF, 0xFF, 0xFF, 0xFF, 1],
            &[0xDD, 0xFF, 0xFF, 0xFF, 0xFF, 1],
            &[0xDF, 0xFF, 0xFF, 0xFF, 0xFF, 1],
        ] {
            let mut elements = 1_000;
            assert_eq!(Reader::new(bytes).skip(&mut elements), Err(ParseError::Msgpack));
        }
        let mut elements = 1_000;
        assert_eq!(
            Reader::new(&vec![0x91; 100_000]).skip(&mut elements),
            Err(ParseError::TooManyElements)
        );
    }

    #[test]
    fn text_is_utf8_or_a_lone_surrogate() {
        assert_eq!(text("é\u{1F600}".as_bytes()).as_deref(), Ok("é\u{1F600}"));
        assert_eq!(text(b"a\xED\xA0\x80b\xED\xBF\xBF").as_deref(), Ok("a\u{FFFD}b\u{FFFD}"));
        for bad in [&b"\xFF"[..], b"a\xC3", b"\xED\xA0", b"\xED\xA0\x80\xC0\x80"] {
            assert_eq!(text(bad), Err(ParseError::Utf8));
        }
    }
}
