//! From the default parser's form to the msgpack parser's.
//!
//! Rule: socket.io-msgpack-parser 3; see `from_msgpack.rs` for the other way.

use super::ParseError;
use super::json::{Closed, Places};
use super::msgpack::{
    TooLong, write_bin, write_float, write_head, write_int, write_str, write_uint,
};
use super::packet::{Kind, parse};
use super::scan::{Nest, Scan, Visit, unescape_into};
use std::collections::BTreeSet;

/// Why a packet cannot be written for a msgpack client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TranscodeError {
    /// The text is no packet of the default parser.
    Packet(ParseError),
    /// The text announces another number of attachments than there are.
    Attachments,
    /// A string, a container or an attachment is too long for `MessagePack` (2^32 and more).
    TooLong,
}

impl From<ParseError> for TranscodeError {
    fn from(error: ParseError) -> Self {
        Self::Packet(error)
    }
}

impl From<TooLong> for TranscodeError {
    fn from(_: TooLong) -> Self {
        Self::TooLong
    }
}

/// Writes a packet of the default parser (without the Engine.IO `4`) for the msgpack parser.
///
/// Keys are in the order of Node's server: `type`, `id`, `data`, `nsp`. Mapped: placeholders to
/// `bin`, each attachment once at most; numbers as JavaScript would hold them to the shortest integer, else to a float (so are
/// integers beyond 64 bits); lone surrogates to U+FFFD. In a packet without attachments,
/// objects that resemble placeholders are data. A CONNECT without payload says undefined, an
/// acknowledgement without payload an empty array, as their receivers demand.
/// Cost: one pass over the JSON, one copy of what it wrote; nothing recursive.
///
/// # Errors
/// [`TranscodeError`].
pub fn encode_packet<A: AsRef<[u8]>>(
    packet: &str,
    attachments: &[A],
) -> Result<Vec<u8>, TranscodeError> {
    let packet = parse(packet, u32::MAX)?;
    if packet.attachments as usize != attachments.len() {
        return Err(TranscodeError::Attachments);
    }
    let kind = match packet.kind {
        Kind::BinaryEvent => Kind::Event,
        Kind::BinaryAck => Kind::Ack,
        other => other,
    };
    let has_data = kind != Kind::Disconnect;
    let fields = 2 + usize::from(packet.ack_id.is_some()) + usize::from(has_data);
    let mut out = Vec::with_capacity(packet.data.len() + packet.namespace.len() + 40);
    write_head(&mut out, true, fields)?;
    write_str(&mut out, "type")?;
    out.push(kind as u8);
    if let Some(id) = packet.ack_id {
        write_str(&mut out, "id")?;
        write_number(&mut out, id);
    }
    if has_data {
        write_str(&mut out, "data")?;
        write_data(&mut out, kind, packet.data, packet.attachments, attachments)?;
    }
    write_str(&mut out, "nsp")?;
    write_str(&mut out, packet.namespace)?;
    Ok(out)
}

fn write_data<A: AsRef<[u8]>>(
    out: &mut Vec<u8>,
    kind: Kind,
    data: &str,
    count: u32,
    attachments: &[A],
) -> Result<(), TranscodeError> {
    match (kind, data) {
        (Kind::Connect, "") => out.extend_from_slice(&[0xD4, 0, 0]),
        (Kind::Ack, "") => out.push(0x90),
        (_, "") => return Err(ParseError::PayloadMissing.into()),
        _ => {
            let mut draft = Draft { count, ..Draft::default() };
            let mut scan = Scan::new(data);
            scan.values(&mut Nest::default(), &mut draft)?;
            scan.finish()?;
            draft.assemble(out, attachments)?;
        }
    }
    Ok(())
}

/// A document on its way from JSON to msgpack: msgpack tells a container's length before its
/// members, so heads are kept apart until the lengths are known.
#[derive(Default)]
struct Draft {
    /// Scalars and keys, ready.
    body: Vec<u8>,
    /// What goes between them, in document order.
    heads: Vec<Head>,
    /// Indices into `heads` of the containers that are open.
    open: Vec<usize>,
    places: Places,
    /// How many attachments there are; 0: nothing is a placeholder.
    count: u32,
    /// Which of them were named.
    named: BTreeSet<u32>,
    too_long: bool,
}

struct Head {
    /// Where in the body it goes.
    at: usize,
    piece: Piece,
}

enum Piece {
    Container { map: bool, members: usize },
    Attachment(u32),
}

impl Draft {
    /// One more value in the innermost container.
    fn member(&mut self) {
        if let Some(Piece::Container { members, .. }) =
            self.open.last().and_then(|&index| self.heads.get_mut(index)).map(|h| &mut h.piece)
        {
            *members += 1;
        }
    }

    fn string(&mut self, raw: &str) {
        let written = if raw.contains('\\') {
            let mut plain = String::with_capacity(raw.len());
            unescape_into(raw, &mut plain);
            write_str(&mut self.body, &plain)
        } else {
            write_str(&mut self.body, raw)
        };
        self.too_long |= written.is_err();
    }

    fn assemble<A: AsRef<[u8]>>(
        &self,
        out: &mut Vec<u8>,
        attachments: &[A],
    ) -> Result<(), TranscodeError> {
        if self.too_long {
            return Err(TranscodeError::TooLong);
        }
        let mut from = 0;
        for head in &self.heads {
            out.extend_from_slice(&self.body[from..head.at]);
            from = head.at;
            match head.piece {
                Piece::Container { map, members } => write_head(out, map, members)?,
                Piece::Attachment(index) => {
                    let bytes =
                        attachments.get(index as usize).ok_or(TranscodeError::Attachments)?;
                    write_bin(out, bytes.as_ref())?;
                }
            }
        }
        out.extend_from_slice(&self.body[from..]);
        Ok(())
    }
}

impl Visit for Draft {
    fn open(&mut self, object: bool) -> Result<(), ParseError> {
        self.member();
        self.places.open();
        self.open.push(self.heads.len());
        let piece = Piece::Container { map: object, members: 0 };
        self.heads.push(Head { at: self.body.len(), piece });
        Ok(())
    }

    fn close(&mut self) -> Result<(), ParseError> {
        let opened = self.open.pop().unwrap_or(0);
        let Closed::Placeholder(num) = self.places.close() else {
            return Ok(());
        };
        if self.count == 0 {
            return Ok(());
        }
        let index = num.filter(|&num| num < self.count).ok_or(ParseError::Placeholder)?;
        if !self.named.insert(index) {
            return Err(ParseError::Placeholder);
        }
        // The object was never data: unwrite it with everything in it.
        self.heads.truncate(opened + 1);
        if let Some(head) = self.heads.last_mut() {
            self.body.truncate(head.at);
            head.piece = Piece::Attachment(index);
        }
        Ok(())
    }

    fn key(&mut self, raw: &str) -> Result<(), ParseError> {
        self.places.key(raw);
        self.string(raw);
        Ok(())
    }

    fn scalar(&mut self, raw: &str) -> Result<(), ParseError> {
        self.member();
        self.places.scalar(raw);
        match raw.as_bytes() {
            b"null" => self.body.push(0xC0),
            b"false" => self.body.push(0xC2),
            b"true" => self.body.push(0xC3),
            [b'"', .., b'"'] => self.string(&raw[1..raw.len() - 1]),
            _ => write_number(&mut self.body, raw),
        }
        Ok(())
    }
}

/// Writes a JSON number: exactly where 64 bits hold it, else as the nearest float.
fn write_number(out: &mut Vec<u8>, digits: &str) {
    if let Ok(number) = digits.parse::<u64>() {
        return write_uint(out, number);
    }
    if let Ok(number) = digits.parse::<i64>() {
        return write_int(out, number);
    }
    // JSON's numbers are among those that Rust reads; too large ones are infinite, as in Node.
    let number: f64 = digits.parse().unwrap_or(f64::NAN);
    // 2^53: up to here a whole float is surely the number that was meant. Rare (`1.0`, `1e3`).
    if number.fract() == 0.0
        && number.abs() <= 9_007_199_254_740_992.0
        && let Ok(whole) = format!("{number:.0}").parse()
    {
        write_int(out, whole);
    } else {
        write_float(out, number);
    }
}
