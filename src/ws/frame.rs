//! Frame headers and the mask.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::message::WsError;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The next part of a message in parts.
    Continuation,
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
    /// The end.
    Close,
    /// To be answered with a pong of the same payload.
    Ping,
    /// The answer.
    Pong,
}

impl Kind {
    const fn opcode(self) -> OpCode {
        match self {
            Self::Continuation => OpCode::Data(Data::Continue),
            Self::Text => OpCode::Data(Data::Text),
            Self::Binary => OpCode::Data(Data::Binary),
            Self::Close => OpCode::Control(Control::Close),
            Self::Ping => OpCode::Control(Control::Ping),
            Self::Pong => OpCode::Control(Control::Pong),
        }
    }

    const fn of(opcode: OpCode) -> Option<Self> {
        match opcode {
            OpCode::Data(Data::Continue) => Some(Self::Continuation),
            OpCode::Data(Data::Text) => Some(Self::Text),
            OpCode::Data(Data::Binary) => Some(Self::Binary),
            OpCode::Control(Control::Close) => Some(Self::Close),
            OpCode::Control(Control::Ping) => Some(Self::Ping),
            OpCode::Control(Control::Pong) => Some(Self::Pong),
            OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_)) => None,
        }
    }

    /// Whether frames of this kind may come between the parts of a message.
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Bytes that [`write_header`] writes for a payload of `payload_len`.
#[must_use]
pub const fn header_len(payload_len: usize) -> usize {
    match payload_len {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    }
}

/// Writes the header of an unfragmented server frame; the payload follows as it is.
///
/// Rule: RFC 6455 section 5.1: a server does not mask.
pub fn write_header(out: &mut Vec<u8>, kind: Kind, payload_len: usize) {
    write_any_header(out, kind, true, None, payload_len);
}

/// Writes the header of a compressed message.
///
/// Rule: RFC 7692 section 6: RSV1 marks it.
pub fn write_packed_header(out: &mut Vec<u8>, kind: Kind, payload_len: usize) {
    let start = out.len();
    write_header(out, kind, payload_len);
    out[start] |= RSV1;
}

/// The bit that permessage-deflate uses, in the first byte of a frame.
const RSV1: u8 = 0x40;

/// Writes the pong that answers a ping.
///
/// Rule: RFC 6455 section 5.5.3: with the ping's own payload.
pub fn write_pong(out: &mut Vec<u8>, payload: &[u8]) {
    write_header(out, Kind::Pong, payload.len());
    out.extend_from_slice(payload);
}

/// Writes a masked frame as clients do: for tests, the simulator and the load tool.
pub fn write_client_frame(out: &mut Vec<u8>, kind: Kind, fin: bool, mask: [u8; 4], payload: &[u8]) {
    write_any_header(out, kind, fin, Some(mask), payload.len());
    let start = out.len();
    out.extend_from_slice(payload);
    apply_mask(&mut out[start..], mask);
}

fn write_any_header(
    out: &mut Vec<u8>,
    kind: Kind,
    fin: bool,
    mask: Option<[u8; 4]>,
    payload_len: usize,
) {
    let header =
        FrameHeader { is_final: fin, opcode: kind.opcode(), mask, ..FrameHeader::default() };
    header.format(payload_len as u64, out).expect("writing into a vector does not fail");
}

/// A frame as a client sees it, for tests, the simulator and the load tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerFrame<'a> {
    /// What it carries.
    pub kind: Kind,
    /// Whether the message ends here.
    pub fin: bool,
    /// The payload.
    pub payload: &'a [u8],
    /// Bytes of header and payload.
    pub consumed: usize,
}

/// Reads one unmasked frame, as clients do; `Ok(None)` until it is whole.
///
/// # Errors
/// Whatever a server must not send: [`WsError`].
pub fn read_server_frame(bytes: &[u8]) -> Result<Option<ServerFrame<'_>>, WsError> {
    let Some(head) = FrameHead::parse(bytes)? else {
        return Ok(None);
    };
    if head.mask.is_some() {
        return Err(WsError::Mask);
    }
    if head.packed {
        return Err(WsError::ReservedBits);
    }
    let consumed = usize::try_from(head.payload_len).ok();
    let consumed = consumed.and_then(|len| len.checked_add(head.header_len));
    let consumed = consumed.ok_or(WsError::TooBig)?;
    let payload = bytes.get(head.header_len..consumed);
    Ok(payload.map(|payload| ServerFrame { kind: head.kind, fin: head.fin, payload, consumed }))
}

/// A header, checked as far as a header alone can be.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameHead {
    pub(super) kind: Kind,
    pub(super) fin: bool,
    /// RSV1: the message that begins here is compressed.
    pub(super) packed: bool,
    pub(super) mask: Option<[u8; 4]>,
    pub(super) payload_len: u64,
    pub(super) header_len: usize,
}

impl FrameHead {
    /// Reads a header; `Ok(None)` until it is whole. Nothing is copied.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, WsError> {
        let mut cursor = Cursor::new(bytes);
        let (header, payload_len) = match FrameHeader::parse(&mut cursor) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            // Rule: RFC 6455 section 5.2, opcode: 3 to 7 and 11 to 15 are reserved. A slice has
            // no other way to fail.
            Err(_) => return Err(WsError::Opcode),
        };
        // Rule: RFC 6455 section 5.2, RSV: zero unless an extension defines them. RSV1 is judged
        // by whoever knows what was agreed on.
        if header.rsv2 || header.rsv3 {
            return Err(WsError::ReservedBits);
        }
        let kind = Kind::of(header.opcode).ok_or(WsError::Opcode)?;
        // Rule: RFC 6455 section 5.5: control frames are short and never in parts.
        if kind.is_control() {
            if !header.is_final {
                return Err(WsError::ControlInParts);
            }
            if payload_len > 125 {
                return Err(WsError::ControlTooBig);
            }
        }
        // Rule: RFC 6455 section 5.2, payload length: "the most significant bit MUST be 0".
        if payload_len >> 63 != 0 {
            return Err(WsError::Length);
        }
        // The cursor may stand before a mask it could not read whole, but then nothing was found.
        let header_len = usize::try_from(cursor.position()).expect("a header has 14 bytes at most");
        let (fin, packed, mask) = (header.is_final, header.rsv1, header.mask);
        Ok(Some(Self { kind, fin, packed, mask, payload_len, header_len }))
    }

    /// How many bytes a header has that starts like `bytes`, as far as can be seen yet.
    pub(super) fn len_expected(bytes: &[u8]) -> usize {
        let Some(second) = bytes.get(1) else {
            return 2;
        };
        let extended = match second & 0x7F {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        2 + extended + mask
    }
}

/// Masks or unmasks in place.
///
/// Rule: RFC 6455 section 5.3. Cost: one pass, a machine word a step (vectorised by the compiler).
pub(super) fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    if mask == [0; 4] {
        return;
    }
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_rfc_6455_section_5_2() {
        for len in [0, 1, 125, 126, 127, 0xFFFF, 0x1_0000, 5_000_000] {
            let mut out = Vec::new();
            write_header(&mut out, Kind::Binary, len);
            assert_eq!(out.len(), header_len(len), "{len}");
            let head = FrameHead::parse(&out).expect("legal").expect("whole");
            assert_eq!((head.payload_len, head.header_len), (len as u64, out.len()));
            assert_eq!((head.kind, head.fin, head.mask), (Kind::Binary, true, None));
            for cut in 0..out.len() {
                assert!(matches!(FrameHead::parse(&out[..cut]), Ok(None)), "{len} cut at {cut}");
                let expected = FrameHead::len_expected(&out[..cut]);
                assert!(expected > cut && expected <= out.len());
            }
        }
    }

    #[test]
    fn masking_twice_is_nothing_and_once_is_the_rule() {
        let mask = [0x6D, 0xB6, 0x00, 0x80];
        for len in 0..70_u8 {
            let clear: Vec<u8> = (0..len).collect();
            let mut bytes = clear.clone();
            apply_mask(&mut bytes, mask);
            for (at, (masked, byte)) in bytes.iter().zip(&clear).enumerate() {
                assert_eq!(*masked, byte ^ mask[at % 4]);
            }
            apply_mask(&mut bytes, mask);
            assert_eq!(bytes, clear);
        }
    }

    #[test]
    fn a_client_reads_what_we_write() {
        let mut out = Vec::new();
        write_pong(&mut out, b"abc");
        for cut in 0..out.len() {
            assert_eq!(read_server_frame(&out[..cut]), Ok(None));
        }
        let want = ServerFrame { kind: Kind::Pong, fin: true, payload: b"abc", consumed: 5 };
        assert_eq!(read_server_frame(&out), Ok(Some(want)));
        let mut masked = Vec::new();
        write_client_frame(&mut masked, Kind::Text, true, [1; 4], b"x");
        assert_eq!(read_server_frame(&masked), Err(WsError::Mask));
    }
}
