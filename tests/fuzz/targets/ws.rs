//! WebSocket frames.

use std::io::{self, Cursor, Read, Write};

use corewire::ws::{Decoder, Event, Kind, Limits, Step, WsError, write_client_frame};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket, error::ProtocolError};

use super::{chance, pieces};

const LIMITS: Limits = Limits { message_bytes_max: 3_000, fragments_max: 6, deflate: false };

/// What was heard, owned.
#[derive(Clone, Debug, PartialEq)]
enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

/// Bytes as a client might send them, right or wrong.
pub(super) fn frames(bytes: &[u8]) {
    let whole = hear(&[bytes]);
    assert_eq!(hear(&pieces(bytes, 4)), whole, "other pieces, other messages");
    let (heard, result) = whole;
    let (wanted, broken) = oracle(bytes);
    match result {
        // Registered after the oracle's list was made: RFC 6455 section 11.7, IANA's table.
        Ok(()) if heard.last() == Some(&Heard::Close(Some(1014))) => {}
        Ok(()) => assert_eq!((heard, false), (wanted, broken)),
        // The limit on parts is ours alone; after it nothing is compared.
        Err(WsError::TooManyFragments | WsError::TooBig) => {
            assert!(wanted.starts_with(&heard), "{heard:?} and {wanted:?}");
        }
        // We refuse from a header what the oracle still waits for, and text at its first bad part.
        Err(_) => assert_eq!(heard, wanted),
    }
}

/// Frames that are written right, of whatever kinds and sizes, are heard as they were written:
/// the bytes say what is sent.
pub(super) fn stream(bytes: &[u8]) {
    let mut rest = bytes;
    let (mut sent, mut wire) = (Vec::new(), Vec::new());
    let mut rng = chance(bytes);
    while let [first, size, after @ ..] = rest {
        let (payload, after) = after.split_at(usize::from(*size).min(after.len()));
        rest = after;
        let mask = rng.draw().to_le_bytes();
        let mask = [mask[0], mask[1], mask[2], mask[3]];
        let short = &payload[..payload.len().min(125)];
        match first % 6 {
            0 => {
                write_client_frame(&mut wire, Kind::Ping, true, mask, short);
                sent.push(Heard::Ping(short.to_vec()));
            }
            1 => {
                write_client_frame(&mut wire, Kind::Pong, true, mask, short);
                sent.push(Heard::Pong);
            }
            kind => {
                // Eight times 255 bytes that are no UTF-8 would be more than a message may have.
                let payload = &payload[..payload.len().min(120)];
                let text = String::from_utf8_lossy(payload).repeat(usize::from(first >> 5) + 1);
                let (kind, heard) = if kind % 2 == 0 {
                    (Kind::Text, Heard::Text(text.clone()))
                } else {
                    (Kind::Binary, Heard::Binary(text.clone().into_bytes()))
                };
                parts(&mut wire, kind, mask, text.as_bytes(), usize::from(first & 3));
                sent.push(heard);
            }
        }
    }
    assert_eq!(hear(&[&wire]), (sent.clone(), Ok(())));
    assert_eq!(hear(&pieces(&wire, 5)), (sent.clone(), Ok(())));
    assert_eq!(oracle(&wire), (sent, false));
}

fn parts(wire: &mut Vec<u8>, mut kind: Kind, mask: [u8; 4], bytes: &[u8], cuts: usize) {
    let all = pieces(bytes, cuts + 1);
    for (at, part) in all.iter().enumerate() {
        write_client_frame(wire, kind, at + 1 == all.len(), mask, part);
        kind = Kind::Continuation;
    }
}

/// What our decoder hears, with what is left of a frame kept as the shard keeps it.
fn hear(pieces: &[&[u8]]) -> (Vec<Heard>, Result<(), WsError>) {
    let (mut decoder, mut heard, mut kept) = (Decoder::default(), Vec::new(), Vec::new());
    for piece in pieces {
        kept.extend_from_slice(piece);
        let mut used = 0;
        loop {
            let rest = &mut kept[used..];
            // A copy of all that is left would make many small frames a matter of squares.
            let (before, len) = (rest[..rest.len().min(64)].to_vec(), rest.len());
            let event = match decoder.next(rest, &LIMITS) {
                Ok(Step::Need { need }) => {
                    assert!(need > len, "{need} are needed where {len} are");
                    assert!(kept[used..].starts_with(&before), "half a frame was touched");
                    break;
                }
                Ok(Step::Absorbed { consumed }) => {
                    used += consumed;
                    continue;
                }
                Ok(Step::Event { consumed, event }) => {
                    used += consumed;
                    match event {
                        Event::Text(text) => Heard::Text(text.into_owned()),
                        Event::Binary(bytes) => Heard::Binary(bytes.into_owned()),
                        Event::Ping(bytes) => Heard::Ping(bytes.to_vec()),
                        Event::Pong => Heard::Pong,
                        Event::Packed { .. } => unreachable!("nothing was agreed on"),
                        Event::Close(code) => {
                            heard.push(Heard::Close(code));
                            return (heard, Ok(()));
                        }
                    }
                }
                Err(error) => {
                    assert!(matches!(error.close_code(), 1002 | 1007 | 1009));
                    return (heard, Err(error));
                }
            };
            heard.push(event);
        }
        kept.drain(..used);
        assert!(decoder.partial_bytes() < 2 * LIMITS.message_bytes_max, "it keeps too much");
    }
    (heard, Ok(()))
}

/// A peer that says this and hears nothing.
struct Script(Cursor<Vec<u8>>);

impl Read for Script {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Script {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite hears, and whether it found a broken rule.
fn oracle(bytes: &[u8]) -> (Vec<Heard>, bool) {
    let config = WebSocketConfig::default()
        .read_buffer_size(512)
        .max_message_size(Some(LIMITS.message_bytes_max))
        .max_frame_size(Some(LIMITS.message_bytes_max));
    let script = Script(Cursor::new(bytes.to_vec()));
    let mut socket = WebSocket::from_raw_socket(script, Role::Server, Some(config));
    let mut heard = Vec::new();
    loop {
        heard.push(match socket.read() {
            Ok(Message::Text(text)) => Heard::Text(text.to_string()),
            Ok(Message::Binary(bytes)) => Heard::Binary(bytes.to_vec()),
            Ok(Message::Ping(bytes)) => Heard::Ping(bytes.to_vec()),
            Ok(Message::Pong(_)) => Heard::Pong,
            Ok(Message::Close(Some(frame))) if frame.reason.as_str() == "Protocol violation" => {
                return (heard, true);
            }
            Ok(Message::Close(frame)) => {
                heard.push(Heard::Close(frame.map(|frame| frame.code.into())));
                return (heard, false);
            }
            Ok(Message::Frame(_)) => unreachable!("reading gives no raw frames"),
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                return (heard, false);
            }
            Err(_) => return (heard, true),
        });
    }
}
