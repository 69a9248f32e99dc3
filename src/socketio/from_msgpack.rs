//! From the msgpack parser's form to the default parser's.
//!
//! Rule: socket.io-msgpack-parser 3, which writes through notepack 2: a packet is one binary
//! message with a map of `type`, `data`, `nsp` and perhaps `id`; binary stays inside, so there
//! are no kinds 5 and 6. Its decoder does not look at event names; ours does, by the rules of
//! the default parser.

use super::ParseError;
use super::encode::{decimal, escape_json};
use super::msgpack::{Reader, Token, spend, text};
use super::packet::{Kind, NAMESPACE_BYTES_MAX, is_reserved};
use super::scan::DEPTH_MAX;
use std::io::Write as _;

/// What one msgpack packet may make us do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Levels of containers inside the packet's map; above [`DEPTH_MAX`] it counts as that.
    pub depth: usize,
    /// Values of all kinds, keys among them. An element takes at most 40 bytes of JSON text
    /// beside its own characters (the placeholder of an empty `bin` being the dearest).
    pub elements_max: usize,
}

/// A msgpack packet in the words of the default parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// What it is for; a binary kind if there are attachments.
    pub kind: Kind,
    /// The namespace.
    pub namespace: String,
    /// The ack id in digits.
    pub ack_id: Option<String>,
    /// The payload as JSON text, placeholders for binary; "" if there is none.
    pub data: String,
    /// The binary parts in document order.
    pub attachments: Vec<Vec<u8>>,
}

/// Reads one packet of the msgpack parser.
///
/// Keys may come in any order, unknown ones (`options` among them) are passed over, of equal
/// ones the last counts. Mapped: `bin` and notepack's `ArrayBuffer` to placeholder and
/// attachment; nil and undefined to null; dates to ISO strings; NaN and the infinities to null
/// (as `JSON.stringify` does); lone surrogates to U+FFFD.
///
/// # Errors
/// [`ParseError`]; among others for a map key that is no string, and for data beside real
/// attachments that looks like a placeholder itself: receivers could not tell them apart.
pub fn decode_packet(bytes: &[u8], limits: DecodeLimits) -> Result<Decoded, ParseError> {
    let mut reader = Reader::new(bytes);
    let Token::Map(fields) = reader.token()? else {
        return Err(ParseError::Field);
    };
    let mut elements = limits.elements_max;
    let (mut kind, mut namespace, mut ack_id) = (None, None, None);
    let mut payload = Payload::default();
    for _ in 0..fields {
        spend(&mut elements)?;
        let Token::Str(key) = reader.token()? else {
            return Err(ParseError::MapKey);
        };
        match key {
            b"type" => kind = Some(read_kind(reader.token()?)?),
            b"nsp" => namespace = Some(read_namespace(reader.token()?)?),
            b"id" => ack_id = read_ack_id(reader.token()?)?,
            b"data" => {
                payload = Payload { elements, ..Payload::default() };
                payload.root(&mut reader, limits.depth.min(DEPTH_MAX))?;
                elements = payload.elements;
            }
            _ => reader.skip(&mut elements)?,
        }
    }
    if reader.left() > 0 {
        return Err(ParseError::TrailingBytes);
    }
    let kind = payload.judge(kind.ok_or(ParseError::Field)?)?;
    Ok(Decoded {
        kind,
        namespace: namespace.ok_or(ParseError::Field)?,
        ack_id,
        data: String::from_utf8(payload.out).map_err(|_| ParseError::Utf8)?,
        attachments: payload.attachments,
    })
}

fn read_kind(token: Token<'_>) -> Result<Kind, ParseError> {
    let Token::Int(number) = token else {
        return Err(ParseError::UnknownKind);
    };
    let kind = usize::try_from(number).ok().and_then(|index| Kind::TABLE.get(index).copied());
    // The binary kinds belong to the default parser alone.
    kind.filter(|kind| !kind.is_binary()).ok_or(ParseError::UnknownKind)
}

/// A namespace must be one that the default parser can carry: from `/` on, without a comma.
fn read_namespace(token: Token<'_>) -> Result<String, ParseError> {
    let Token::Str(bytes) = token else {
        return Err(ParseError::Namespace);
    };
    if bytes.len() > NAMESPACE_BYTES_MAX {
        return Err(ParseError::NamespaceTooLong);
    }
    let name = text(bytes)?;
    if !name.starts_with('/') || name.contains(',') {
        return Err(ParseError::Namespace);
    }
    Ok(name.into_owned())
}

/// Undefined, or an integer from 0; nil is refused as in Node.
fn read_ack_id(token: Token<'_>) -> Result<Option<String>, ParseError> {
    match token {
        Token::Ext { kind: 0, fixed: true, data: [_] } => Ok(None),
        Token::Int(number @ 0..) => Ok(Some(number.to_string())),
        // JavaScript's only number type: a whole one may come as a float. 2^64 has 20 digits.
        Token::Float(number) if number.fract() == 0.0 && (0.0..=TWO_TO_64).contains(&number) => {
            Ok(Some(format!("{}", number.abs())))
        }
        _ => Err(ParseError::AckId),
    }
}

const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;

/// The outermost value of `data`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Shape {
    /// No such field, or undefined.
    #[default]
    Absent,
    Array,
    Map,
    Str,
    Other,
}

/// The payload on its way from msgpack to JSON.
#[derive(Default)]
struct Payload {
    out: Vec<u8>,
    attachments: Vec<Vec<u8>>,
    shape: Shape,
    /// What is left of the limit.
    elements: usize,
    /// A map that a receiver would take for a placeholder went by.
    forged: bool,
}

impl Payload {
    fn root(&mut self, reader: &mut Reader<'_>, depth: usize) -> Result<(), ParseError> {
        spend(&mut self.elements)?;
        let token = reader.token()?;
        self.shape = match token {
            Token::Ext { kind: 0, fixed: true, data: [_] } => return Ok(()),
            Token::Array(_) => Shape::Array,
            Token::Map(_) => Shape::Map,
            Token::Str(_) => Shape::Str,
            _ => Shape::Other,
        };
        self.out.reserve(reader.left());
        self.value(reader, token, depth)
    }

    /// Recursion, `depth` levels and no more.
    fn value(
        &mut self,
        reader: &mut Reader<'_>,
        token: Token<'_>,
        depth: usize,
    ) -> Result<(), ParseError> {
        match token {
            Token::Nil => self.out.extend_from_slice(b"null"),
            Token::Bool(true) => self.out.extend_from_slice(b"true"),
            Token::Bool(false) => self.out.extend_from_slice(b"false"),
            Token::Int(number) => self.integer(number),
            Token::Float(number) => float_to_json(&mut self.out, number),
            Token::Str(bytes) => escape_json(&mut self.out, &text(bytes)?),
            Token::Bin(bytes) => self.attach(bytes),
            Token::Ext { kind, fixed, data } => self.extension(kind, fixed, data)?,
            Token::Array(count) => {
                let depth = depth.checked_sub(1).ok_or(ParseError::TooDeep)?;
                self.array(reader, count, depth)?;
            }
            Token::Map(count) => {
                let depth = depth.checked_sub(1).ok_or(ParseError::TooDeep)?;
                self.map(reader, count, depth)?;
            }
        }
        Ok(())
    }

    fn array(
        &mut self,
        reader: &mut Reader<'_>,
        count: usize,
        depth: usize,
    ) -> Result<(), ParseError> {
        self.out.push(b'[');
        for index in 0..count {
            if index > 0 {
                self.out.push(b',');
            }
            spend(&mut self.elements)?;
            let token = reader.token()?;
            self.value(reader, token, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn map(
        &mut self,
        reader: &mut Reader<'_>,
        count: usize,
        depth: usize,
    ) -> Result<(), ParseError> {
        self.out.push(b'{');
        for index in 0..count {
            if index > 0 {
                self.out.push(b',');
            }
            spend(&mut self.elements)?;
            let Token::Str(key) = reader.token()? else {
                return Err(ParseError::MapKey);
            };
            escape_json(&mut self.out, &text(key)?);
            self.out.push(b':');
            spend(&mut self.elements)?;
            let token = reader.token()?;
            self.forged |= key == b"_placeholder" && token == Token::Bool(true);
            self.value(reader, token, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn integer(&mut self, number: i128) {
        if number < 0 {
            self.out.push(b'-');
        }
        let size = u64::try_from(number.unsigned_abs()).expect("msgpack has 64-bit integers");
        decimal(&mut self.out, size);
    }

    fn attach(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(b"{\"_placeholder\":true,\"num\":");
        decimal(&mut self.out, self.attachments.len() as u64);
        self.out.push(b'}');
        self.attachments.push(bytes.to_vec());
    }

    /// Rule: notepack 2: fixext1 of type 0 is undefined, fixext8 of type 0 a `Date`, any other
    /// ext of type 0 an `ArrayBuffer`; what it does not know becomes `[type, bytes]`.
    fn extension(&mut self, kind: i8, fixed: bool, data: &[u8]) -> Result<(), ParseError> {
        match (kind, fixed, data) {
            (0, true, [_]) => self.out.extend_from_slice(b"null"),
            (0, true, [_, _, _, _, _, _, _, _]) => {
                let millis = data.iter().fold(0, |n, &byte| (n << 8) | u64::from(byte));
                iso_date(&mut self.out, millis.cast_signed());
            }
            (0, _, _) => self.attach(data),
            (-1, _, _) => iso_date(&mut self.out, timestamp(data)?),
            _ => {
                self.out.push(b'[');
                self.integer(kind.into());
                self.out.push(b',');
                self.attach(data);
                self.out.push(b']');
            }
        }
        Ok(())
    }

    /// The rules of the default parser for the kind's payload, and the kind's binary form.
    ///
    /// Rule: socket.io-parser, `isPayloadValid`; socket.io-msgpack-parser checks less.
    fn judge(&self, kind: Kind) -> Result<Kind, ParseError> {
        let binary = !self.attachments.is_empty();
        if binary && self.forged {
            return Err(ParseError::Placeholder);
        }
        match (kind, self.shape) {
            (Kind::Connect, Shape::Absent | Shape::Map)
            | (Kind::ConnectError, Shape::Str | Shape::Map) => {
                if binary {
                    Err(ParseError::BinaryMisplaced)
                } else {
                    Ok(kind)
                }
            }
            (Kind::Disconnect, Shape::Absent) => Ok(kind),
            (Kind::Disconnect, _) => Err(ParseError::PayloadUnexpected),
            (Kind::Event, Shape::Array) => {
                self.judge_name()?;
                Ok(if binary { Kind::BinaryEvent } else { kind })
            }
            (Kind::Ack, Shape::Array) => Ok(if binary { Kind::BinaryAck } else { kind }),
            (_, Shape::Absent) => Err(ParseError::PayloadMissing),
            _ => Err(ParseError::PayloadType),
        }
    }

    /// The first item, in our own writing: reserved names have no character that is escaped.
    fn judge_name(&self) -> Result<(), ParseError> {
        let first = self.out.get(1..).unwrap_or_default();
        match first {
            [b'-' | b'0'..=b'9', ..] => Ok(()),
            [b'"', name @ ..] => {
                let end = name.iter().position(|&byte| byte == b'"').unwrap_or(name.len());
                match std::str::from_utf8(&name[..end]) {
                    Ok(name) if is_reserved(name) => Err(ParseError::ReservedName),
                    _ => Ok(()),
                }
            }
            _ => Err(ParseError::EventName),
        }
    }
}

/// Writes a number as `JSON.stringify` does but for the sign of exponents (`1e300`, not
/// `1e+300`): NaN and the infinities are null, -0 is 0.
fn float_to_json(out: &mut Vec<u8>, number: f64) {
    let size = number.abs();
    let written = if !number.is_finite() {
        out.write_all(b"null")
    } else if size == 0.0 {
        out.write_all(b"0")
    } else if (1e-6..1e21).contains(&size) {
        write!(out, "{number}")
    } else {
        write!(out, "{number:e}")
    };
    written.expect("a vector takes every byte");
}

/// Milliseconds since the epoch of a `MessagePack` timestamp.
///
/// Rule: `MessagePack` specification, "Timestamp extension type": 32, 64 or 96 bits.
fn timestamp(data: &[u8]) -> Result<i64, ParseError> {
    let number = |part: &[u8]| part.iter().fold(0_u64, |n, &byte| (n << 8) | u64::from(byte));
    let (seconds, nanos) = match data.len() {
        4 => (number(data).cast_signed(), 0),
        8 => ((number(data) & 0x3_FFFF_FFFF).cast_signed(), number(data) >> 34),
        12 => (number(&data[4..]).cast_signed(), number(&data[..4])),
        _ => return Err(ParseError::Msgpack),
    };
    if nanos > 999_999_999 {
        return Err(ParseError::Msgpack);
    }
    let millis = (nanos / 1_000_000).cast_signed();
    Ok(seconds.saturating_mul(1_000).saturating_add(millis))
}

/// Writes a date as `Date.prototype.toISOString` does; null if JavaScript has no such date.
///
/// Rule: ECMA-262, "Time Values and Time Range": 8.64e15 milliseconds either way; years outside
/// 0 to 9999 have a sign and six digits.
fn iso_date(out: &mut Vec<u8>, millis: i64) {
    if millis.unsigned_abs() > 8_640_000_000_000_000 {
        out.extend_from_slice(b"null");
        return;
    }
    let (days, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, milli) = (of_day / 1_000 % 60, of_day % 1_000);
    let written = if (0..=9_999).contains(&year) {
        write!(out, "\"{year:04}")
    } else {
        write!(out, "\"{year:+07}")
    };
    written
        .and_then(|()| {
            write!(out, "-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z\"")
        })
        .expect("a vector takes every byte");
}

/// Year, month and day of a day since the epoch, in the proleptic Gregorian calendar.
///
/// The year begins in March, so that the day of a leap year is its last; 400 years have 146,097
/// days, and 719,468 of them lie between March 1 of year 0 and the epoch.
const fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}
