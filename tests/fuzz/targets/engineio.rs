//! Polling bodies.

use corewire::engineio::{
    Kind, PacketError, Piece, encode_v3_binary, encode_v3_piece, encode_v3_text, next_v3,
    next_v3_binary, next_v4,
};

use super::choice;

/// A packet that owns what it shows.
#[derive(Clone, Debug, PartialEq)]
enum Owned {
    Text(String),
    Binary(Vec<u8>),
}

fn own(piece: Piece<'_>) -> Owned {
    match piece {
        Piece::Text(text) => Owned::Text(text.to_owned()),
        Piece::Binary(bytes) => Owned::Binary(bytes),
    }
}

type Next<'a, T> = Result<(Piece<'a>, Option<T>), PacketError>;

fn all<'a, T: Copy>(body: T, next: impl Fn(T) -> Next<'a, T>) -> (Vec<Owned>, Option<PacketError>) {
    let (mut packets, mut rest) = (Vec::new(), Some(body));
    while let Some(body) = rest {
        match next(body) {
            Ok((piece, after)) => {
                packets.push(own(piece));
                rest = after;
            }
            Err(error) => return (packets, Some(error)),
        }
    }
    (packets, None)
}

/// What is accepted can be written and is read alike, and is no larger than what came.
pub(super) fn payload(bytes: &[u8]) {
    let (first, rest) = choice(bytes);
    let text = String::from_utf8_lossy(rest);
    let (packets, error) = match first % 3 {
        0 => all(&*text, next_v4),
        1 => all(&*text, next_v3),
        _ => all(rest, next_v3_binary),
    };
    let size = |packet: &Owned| match packet {
        Owned::Text(text) => text.len(),
        Owned::Binary(bytes) => bytes.len(),
    };
    assert!(packets.iter().map(size).sum::<usize>() <= text.len().max(rest.len()));
    for packet in &packets {
        if let Owned::Text(text) = packet
            && let Ok((kind, data)) = Kind::split(text)
        {
            assert_eq!(format!("{}{data}", char::from(kind.digit())), *text);
        }
    }
    if packets.is_empty() || error.is_some() {
        return;
    }
    let mut again = Vec::new();
    for (at, packet) in packets.iter().enumerate() {
        write(first % 3, at, packet, &mut again);
    }
    let written = String::from_utf8_lossy(&again);
    let read = match first % 3 {
        0 => all(&*written, next_v4),
        1 => all(&*written, next_v3),
        _ => all(&*again, next_v3_binary),
    };
    assert_eq!(read, (packets, None), "written as {written:?}");
}

fn write(form: u8, at: usize, packet: &Owned, out: &mut Vec<u8>) {
    use base64::Engine as _;
    match (form, packet) {
        (0, packet) => {
            if at > 0 {
                out.push(0x1e);
            }
            match packet {
                Owned::Text(text) => out.extend_from_slice(text.as_bytes()),
                Owned::Binary(bytes) => {
                    out.push(b'b');
                    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
                    out.extend_from_slice(text.as_bytes());
                }
            }
        }
        (1, Owned::Text(text)) => encode_v3_text(out, text),
        (1, Owned::Binary(bytes)) => encode_v3_binary(out, bytes),
        (_, Owned::Text(text)) => encode_v3_piece(out, text.as_bytes(), false),
        (_, Owned::Binary(bytes)) => encode_v3_piece(out, bytes, true),
    }
}
