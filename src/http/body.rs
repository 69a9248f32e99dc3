//! Request bodies.

use super::head::BodyLength;

/// Bytes that chunk extensions and trailers of one body may have together.
const OVERHEAD_BYTES_MAX: usize = 8 * 1024;
/// Digits of a chunk size; more would not fit 64 bits, zeros in front included.
const SIZE_DIGITS_MAX: u8 = 16;

/// Why a body was refused. The connection cannot be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// More bytes than the caller allows.
    TooLarge,
    /// Not chunks as in RFC 9112 section 7.1, or more than 8 KiB around them.
    Malformed,
}

impl BodyError {
    /// The status that answers it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::TooLarge => 413,
            Self::Malformed => 400,
        }
    }
}

/// How far a body was read.
///
/// Shape: `1a;extension\r\n<26 bytes>\r\n0\r\nTrailer: x\r\n\r\n` (RFC 9112 section 7.1), unless it
/// has a length.
#[derive(Clone, Debug)]
pub struct Body {
    place: Place,
    /// Bytes of payload announced so far.
    announced: u64,
    /// Bytes of extensions and trailers read so far.
    overhead: usize,
    /// Whether the announced length was held against the limit.
    checked: bool,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// In a body with a length: so many bytes are missing.
    Length {
        left: u64,
    },
    /// In a chunk's size.
    Size {
        digits: u8,
        size: u64,
    },
    /// Behind a chunk's size.
    Extension {
        size: u64,
    },
    /// Behind the CR of a chunk's first line.
    SizeLf {
        size: u64,
    },
    /// In a chunk.
    Chunk {
        left: u64,
    },
    /// Behind a chunk.
    ChunkCr,
    /// Behind the CR of that.
    ChunkLf,
    /// In the trailers, or at their end.
    Trailer {
        line: Line,
    },
    /// Behind the CR of a trailer, or of the end.
    TrailerLf {
        line_empty: bool,
    },
    Done,
}

/// How far a line of the trailers was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Empty,
    Name,
    Value,
}

impl Body {
    /// At the start of a body.
    #[must_use]
    pub const fn new(length: BodyLength) -> Self {
        let (place, announced) = match length {
            BodyLength::None | BodyLength::Length(0) => (Place::Done, 0),
            BodyLength::Length(length) => (Place::Length { left: length }, length),
            BodyLength::Chunked => (Place::Size { digits: 0, size: 0 }, 0),
        };
        Self { place, announced, overhead: 0, checked: false }
    }

    /// Whether the body is complete.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.place, Place::Done)
    }

    /// Reads on: appends payload to `out`, and says how many bytes of `input` belonged to the
    /// body and whether it is complete. What is not consumed is the next request.
    ///
    /// `bytes_max` is for the whole payload. Fed with nothing, it already refuses a
    /// `Content-Length` that is too large.
    ///
    /// # Errors
    /// [`BodyError`], before any byte of the part at fault is kept.
    pub fn feed(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<(usize, bool), BodyError> {
        if !self.checked {
            self.checked = true;
            self.check_size(bytes_max)?;
        }
        let mut at = 0;
        while at < input.len() && !self.is_done() {
            at += match self.place {
                Place::Length { left } => {
                    let (taken, left) = take(&input[at..], left, out);
                    self.place = if left == 0 { Place::Done } else { Place::Length { left } };
                    taken
                }
                Place::Chunk { left } => {
                    let (taken, left) = take(&input[at..], left, out);
                    self.place = if left == 0 { Place::ChunkCr } else { Place::Chunk { left } };
                    taken
                }
                _ => {
                    self.step(input[at], bytes_max)?;
                    1
                }
            };
        }
        Ok((at, self.is_done()))
    }

    /// One byte of what stands around the chunks.
    fn step(&mut self, byte: u8, bytes_max: usize) -> Result<(), BodyError> {
        self.place = match (self.place, byte) {
            (Place::Size { digits: 1.., size } | Place::Extension { size }, b'\r') => {
                Place::SizeLf { size }
            }
            // No blank in between, though RFC 9112 section 7.1.1 would read it: "bad whitespace".
            (Place::Size { digits: 1.., size }, b';') => Place::Extension { size },
            (Place::Size { digits, size }, _) if digits < SIZE_DIGITS_MAX => {
                let digit = (byte as char).to_digit(16).ok_or(BodyError::Malformed)?;
                Place::Size { digits: digits + 1, size: size << 4 | u64::from(digit) }
            }
            (Place::Extension { size }, _) => {
                self.skip(byte)?;
                Place::Extension { size }
            }
            (Place::SizeLf { size: 0 } | Place::TrailerLf { line_empty: false }, b'\n') => {
                Place::Trailer { line: Line::Empty }
            }
            (Place::SizeLf { size }, b'\n') => {
                self.announced = self.announced.saturating_add(size);
                self.check_size(bytes_max)?;
                Place::Chunk { left: size }
            }
            (Place::ChunkCr, b'\r') => Place::ChunkLf,
            (Place::ChunkLf, b'\n') => Place::Size { digits: 0, size: 0 },
            (Place::Trailer { line: Line::Empty }, b'\r') => Place::TrailerLf { line_empty: true },
            (Place::Trailer { line: Line::Value }, b'\r') => Place::TrailerLf { line_empty: false },
            // Rule: RFC 9112 section 7.1.2: trailers are field lines. Their values are dropped, but
            // what is no field line at all another parser may take for something else.
            (Place::Trailer { line: Line::Name }, b':')
            | (Place::Trailer { line: Line::Value }, _) => {
                self.skip(byte)?;
                Place::Trailer { line: Line::Value }
            }
            (Place::Trailer { .. }, _) if super::is_token(&[byte]) => {
                self.skip(byte)?;
                Place::Trailer { line: Line::Name }
            }
            (Place::TrailerLf { line_empty: true }, b'\n') => Place::Done,
            (_, _) => return Err(BodyError::Malformed),
        };
        Ok(())
    }

    /// Counts a byte that nobody reads.
    fn skip(&mut self, byte: u8) -> Result<(), BodyError> {
        self.overhead += 1;
        let legal = byte == b'\t' || !byte.is_ascii_control();
        if legal && self.overhead <= OVERHEAD_BYTES_MAX {
            Ok(())
        } else {
            Err(BodyError::Malformed)
        }
    }

    fn check_size(&self, bytes_max: usize) -> Result<(), BodyError> {
        let fits = usize::try_from(self.announced).is_ok_and(|bytes| bytes <= bytes_max);
        if fits { Ok(()) } else { Err(BodyError::TooLarge) }
    }
}

/// Moves at most `left` bytes; how many it were, and how many are still missing.
fn take(input: &[u8], left: u64, out: &mut Vec<u8>) -> (usize, u64) {
    let taken = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
    out.extend_from_slice(&input[..taken]);
    (taken, left - taken as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    const MAX: usize = 1000;

    /// Feeds the pieces: the payload, how many bytes were consumed, whether it is complete.
    fn read(length: BodyLength, pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), BodyError> {
        let (mut body, mut out, mut total) = (Body::new(length), Vec::new(), 0);
        for piece in pieces {
            let (consumed, done) = body.feed(piece, &mut out, MAX)?;
            total += consumed;
            assert!(done || consumed == piece.len(), "an open body takes all it is given");
        }
        Ok((out, total, body.is_done()))
    }

    fn chunked(text: &[u8]) -> Result<(Vec<u8>, usize, bool), BodyError> {
        read(BodyLength::Chunked, &[text])
    }

    #[test]
    fn a_body_ends_where_its_length_says() {
        assert_eq!(read(BodyLength::None, &[b"GET /"]), Ok((vec![], 0, true)));
        assert_eq!(read(BodyLength::Length(0), &[b"GET /"]), Ok((vec![], 0, true)));
        let split: &[&[u8]] = &[b"ab", b"", b"cdGET"];
        assert_eq!(read(BodyLength::Length(4), split), Ok((b"abcd".to_vec(), 4, true)));
        assert_eq!(read(BodyLength::Length(4), &[b"abc"]), Ok((b"abc".to_vec(), 3, false)));
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_a_byte_is_read() {
        assert_eq!(read(BodyLength::Length(1001), &[b""]), Err(BodyError::TooLarge));
        assert_eq!(read(BodyLength::Length(u64::MAX), &[b""]), Err(BodyError::TooLarge));
        assert_eq!(chunked(b"3e9\r\n"), Err(BodyError::TooLarge));
        assert_eq!(chunked(b"ffffffffffffffff\r\n"), Err(BodyError::TooLarge));
        assert_eq!(chunked(b"1\r\na\r\nffffffffffffffff\r\n"), Err(BodyError::TooLarge));
        let full = [b"3e8\r\n".as_slice(), &[b'x'; 1000], b"\r\n"].concat();
        assert!(chunked(&full).is_ok_and(|(out, _, done)| out.len() == 1000 && !done));
        let more = [full.as_slice(), b"1\r\n"].concat();
        assert_eq!(chunked(&more), Err(BodyError::TooLarge));
    }

    #[test]
    fn chunks_of_rfc_9112_section_7_1() {
        let table: &[(&[u8], &[u8], usize)] = &[
            (b"0\r\n\r\nGET", b"", 3),
            (b"3\r\nabc\r\n0\r\n\r\n", b"abc", 0),
            (b"00000000000000a\r\n0123456789\r\n0\r\n\r\n", b"0123456789", 0),
            (
                b"2;a=\"b\"\r\n\r\n\r\nA;x\r\n0123456789\r\n0;y\r\nT: u\r\nV: w\r\n\r\n!",
                b"\r\n0123456789",
                1,
            ),
        ];
        for (text, payload, rest) in table {
            assert_eq!(chunked(text), Ok((payload.to_vec(), text.len() - rest, true)));
        }
    }

    #[test]
    fn what_another_parser_could_read_otherwise_is_refused() {
        let table: &[&[u8]] = &[
            b"\r\n",
            b";x\r\n",
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b" 1\r\n",
            b"1 \r\n",
            b"1 ;x\r\n",
            b"1\n",
            b"1\rx",
            b"1;x\n",
            b"1;\0",
            b"1\r\nab",
            b"1\r\na\n",
            b"1\r\na\rb",
            b"0\r\n\n",
            b"0\r\nT: u\n",
            b"0\r\n\rx",
            b"0\r\nT\x01",
            b"0\r\nno field line\r\n\r\n",
            b"0\r\nT\r\n\r\n",
            b"0\r\n: u\r\n\r\n",
            b"0\r\nT : u\r\n\r\n",
            b"0\r\n T: u\r\n\r\n",
            b"0\r\nT: u\r\n folded\r\n\r\n",
            b"0\r\n\xc3\xa9: u\r\n\r\n",
            b"0\r\nGET / HTTP/1.1\r\n\r\n",
            b"00000000000000001\r\n",
        ];
        for text in table {
            assert_eq!(chunked(text), Err(BodyError::Malformed), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded_together() {
        let mut text = Vec::new();
        for _ in 0..8 {
            text.extend_from_slice(b"1;");
            text.extend_from_slice(&[b'e'; 1023]);
            text.extend_from_slice(b"\r\nx\r\n");
        }
        text.extend_from_slice(b"0\r\n12345678");
        assert!(chunked(&text).is_ok());
        text.push(b'9');
        assert_eq!(chunked(&text), Err(BodyError::Malformed));
    }

    #[test]
    fn every_cut_reads_alike() {
        let text = b"3;e\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nT: u\r\n\r\nnext";
        let whole = chunked(text);
        assert!(whole.as_ref().is_ok_and(|(out, ..)| out == b"abc0123456789abcdef"));
        for cut in 0..=text.len() - 4 {
            assert_eq!(read(BodyLength::Chunked, &[&text[..cut], &text[cut..]]), whole, "{cut}");
        }
        let singles: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(read(BodyLength::Chunked, &singles), whole);
    }

    #[test]
    fn noise_never_panics_and_never_outgrows_the_limit() {
        let alphabet = b"0123afF;\r\n\r\n\r\nx \0";
        for seed in 0..20_000 {
            let mut rng = Rng::new(seed, 0xB0D1);
            let text: Vec<u8> = (0..40).map(|_| alphabet[rng.below(alphabet.len())]).collect();
            if let Ok((out, consumed, _)) = chunked(&text) {
                assert!(out.len() <= MAX && consumed <= text.len(), "seed {seed}");
            }
        }
    }
}
