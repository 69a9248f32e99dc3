//! Polling bodies: several packets in one request or answer.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::PacketError;

/// One packet of a body, as the layer above wants it.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A text packet, its digit included.
    Text(&'a str),
    /// A binary message.
    Binary(Vec<u8>),
}

/// Takes the first packet of an EIO 4 body; `None` with the rest when it was the last one.
///
/// Rule: engine.io-protocol v4, "HTTP long-polling", packets joined by 0x1e, binary as `b` and
/// standard base64.
///
/// # Errors
/// [`PacketError`]: packets in front of the bad one have been given out by then, as in Node.
pub fn next_v4(body: &str) -> Result<(Piece<'_>, Option<&str>), PacketError> {
    let (packet, rest) = match body.split_once('\u{1e}') {
        Some((packet, rest)) => (packet, Some(rest)),
        None => (body, None),
    };
    let piece = match packet.strip_prefix('b') {
        Some(base64) => Piece::Binary(decode_base64(base64)?),
        None => Piece::Text(packet),
    };
    Ok((piece, rest))
}

/// Takes the first packet of an EIO 3 text body.
///
/// Rule: engine.io-protocol v3, "Payload": `<length>:<packet>`, the length in UTF-16 code units;
/// binary as `b4<base64>` inside.
///
/// # Errors
/// [`PacketError::Malformed`] for a length that is none or does not fit.
pub fn next_v3(body: &str) -> Result<(Piece<'_>, Option<&str>), PacketError> {
    let (digits, rest) = body.split_once(':').ok_or(PacketError::Malformed)?;
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(PacketError::Malformed);
    }
    let units: usize = digits.parse().map_err(|_| PacketError::Malformed)?;
    let end = utf16_end(rest, units).ok_or(PacketError::Malformed)?;
    let (packet, rest) = rest.split_at(end);
    Ok((read_v3(packet)?, (!rest.is_empty()).then_some(rest)))
}

/// Reads a text packet of EIO 3, of a body or of a WebSocket's frame.
///
/// Rule: engine.io-protocol v3, "Packet": a binary message goes as text by `b`, the packet's kind
/// and base64, `b4AQID`. Messages are the only kind that carries binary.
///
/// # Errors
/// [`PacketError`]: it is of another kind, or no base64.
pub fn read_v3(packet: &str) -> Result<Piece<'_>, PacketError> {
    let Some(typed) = packet.strip_prefix('b') else { return Ok(Piece::Text(packet)) };
    let base64 = typed.strip_prefix('4').ok_or(PacketError::UnknownKind)?;
    Ok(Piece::Binary(decode_base64(base64)?))
}

/// Appends a text packet to an EIO 3 body.
pub fn encode_v3_text(out: &mut Vec<u8>, packet: &str) {
    let units: usize = packet.chars().map(char::len_utf16).sum();
    out.extend_from_slice(units.to_string().as_bytes());
    out.push(b':');
    out.extend_from_slice(packet.as_bytes());
}

/// Appends a binary message to an EIO 3 text body, in base64.
pub fn encode_v3_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let base64 = STANDARD.encode(bytes);
    out.extend_from_slice((base64.len() + 2).to_string().as_bytes());
    out.extend_from_slice(b":b4");
    out.extend_from_slice(base64.as_bytes());
}

/// Takes the first packet of an EIO 3 binary body.
///
/// Rule: engine.io-protocol v3, "Payload", binary form: a byte 0 (text) or 1 (binary), the length
/// in bytes as digits of value 0 to 9, 0xff, the packet; binary packets start with their kind as
/// a number, 4 being the only one that carries data.
///
/// # Errors
/// [`PacketError::Malformed`] for anything that does not fit.
pub fn next_v3_binary(body: &[u8]) -> Result<(Piece<'_>, Option<&[u8]>), PacketError> {
    let (&form, rest) = body.split_first().ok_or(PacketError::Empty)?;
    let digits = rest.iter().take(10).position(|&byte| byte == 0xff);
    let digits = digits.filter(|&count| count > 0).ok_or(PacketError::Malformed)?;
    let mut length = 0_usize;
    for &digit in &rest[..digits] {
        if digit > 9 {
            return Err(PacketError::Malformed);
        }
        length = length * 10 + usize::from(digit);
    }
    let rest = &rest[digits + 1..];
    let (packet, rest) = rest.split_at_checked(length).ok_or(PacketError::Malformed)?;
    let piece = match (form, packet) {
        (0, text) => Piece::Text(std::str::from_utf8(text).map_err(|_| PacketError::Malformed)?),
        (1, [4, data @ ..]) => Piece::Binary(data.to_vec()),
        (1, _) => return Err(PacketError::UnknownKind),
        _ => return Err(PacketError::Malformed),
    };
    Ok((piece, (!rest.is_empty()).then_some(rest)))
}

/// Appends a packet to an EIO 3 binary body: text with its digit, or the data of a message.
pub fn encode_v3_piece(out: &mut Vec<u8>, packet: &[u8], binary: bool) {
    out.push(u8::from(binary));
    let length = packet.len() + usize::from(binary);
    out.extend(length.to_string().bytes().map(|digit| digit - b'0'));
    out.push(0xff);
    if binary {
        out.push(4);
    }
    out.extend_from_slice(packet);
}

fn decode_base64(text: &str) -> Result<Vec<u8>, PacketError> {
    let engine = if text.ends_with('=') { &STANDARD } else { &STANDARD_NO_PAD };
    engine.decode(text).map_err(|_| PacketError::Malformed)
}

/// The byte at which `units` UTF-16 code units end.
fn utf16_end(text: &str, units: usize) -> Option<usize> {
    let mut left = units;
    for (at, character) in text.char_indices() {
        if left == 0 {
            return Some(at);
        }
        left = left.checked_sub(character.len_utf16())?;
    }
    (left == 0).then_some(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all<'a>(
        mut body: &'a str,
        next: impl Fn(&'a str) -> Result<(Piece<'a>, Option<&'a str>), PacketError>,
    ) -> Result<Vec<Piece<'a>>, PacketError> {
        let mut pieces = Vec::new();
        loop {
            let (piece, rest) = next(body)?;
            pieces.push(piece);
            match rest {
                Some(rest) => body = rest,
                None => return Ok(pieces),
            }
        }
    }

    #[test]
    fn v4_bodies_are_split_at_the_record_separator() {
        let pieces = all("4a\u{1e}2\u{1e}bAQID", next_v4).expect("well formed");
        assert_eq!(pieces, [Piece::Text("4a"), Piece::Text("2"), Piece::Binary(vec![1, 2, 3])]);
        assert_eq!(all("b!!", next_v4), Err(PacketError::Malformed));
    }

    #[test]
    fn v3_binary_bodies_are_the_golden_ones() {
        let mut body = Vec::new();
        encode_v3_piece(&mut body, b"4hello", false);
        encode_v3_piece(&mut body, &[1, 2, 3, 4], true);
        let golden = [0, 6, 255, 52, 104, 101, 108, 108, 111, 1, 5, 255, 4, 1, 2, 3, 4];
        assert_eq!(body, golden);
        let (first, rest) = next_v3_binary(&body).expect("well formed");
        assert_eq!(first, Piece::Text("4hello"));
        let (second, rest) = next_v3_binary(rest.expect("a second one")).expect("well formed");
        assert_eq!((second, rest), (Piece::Binary(vec![1, 2, 3, 4]), None));
        for cut in 1..golden.len() {
            if cut != 9 {
                let Ok((piece, rest)) = next_v3_binary(&golden[..cut]) else { continue };
                assert_eq!(piece, Piece::Text("4hello"));
                assert!(next_v3_binary(rest.expect("cut inside the second")).is_err());
            }
        }
    }

    #[test]
    fn v3_lengths_count_utf16_code_units() {
        let mut body = Vec::new();
        encode_v3_text(&mut body, "4a€𝄞");
        encode_v3_binary(&mut body, &[1, 2, 3]);
        let body = String::from_utf8(body).expect("text");
        assert_eq!(body, "5:4a€𝄞6:b4AQID");
        let pieces = all(&body, next_v3).expect("well formed");
        assert_eq!(pieces, [Piece::Text("4a€𝄞"), Piece::Binary(vec![1, 2, 3])]);
        for bad in ["", "x", "5", "5:4", "1:𝄞", "-1:4", "99999999999:4", "1:b", "2:b5"] {
            assert!(all(bad, next_v3).is_err(), "{bad}");
        }
    }
}
