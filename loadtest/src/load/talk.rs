//! The packets of the two applications: how to join, publish and ask, and how to read answers.

use std::io::Write as _;

use crate::check::token::{Codec, TOKEN_BYTES, Token};
use crate::scenario::{App, Scenario};

/// Builds packets, each with its Engine.IO type in front, in one buffer.
pub(crate) struct Talk {
    app: App,
    /// Tokens of messages to rooms.
    pub(crate) to_rooms: Codec,
    /// Tokens of messages to oneself.
    pub(crate) to_self: Codec,
    buffer: Vec<u8>,
    width: usize,
}

/// Bytes of `{"d":""}`.
const SELF_FRAME: usize = 8;
/// Bytes of `{"room":"r","d":""}`.
const ROOM_FRAME: usize = 19;

impl Talk {
    /// `rooms` is how many rooms there are: their names have equal lengths.
    pub(crate) fn new(scenario: &Scenario, rooms: u32) -> Self {
        let width = rooms.saturating_sub(1).to_string().len();
        let payload = scenario.payload_bytes as usize;
        let in_room = match scenario.app {
            App::Bench => payload.saturating_sub(ROOM_FRAME + width),
            App::Gateway => payload - SELF_FRAME,
        };
        Self {
            app: scenario.app,
            to_rooms: Codec::new(in_room.max(TOKEN_BYTES)),
            to_self: Codec::new(payload - SELF_FRAME),
            buffer: Vec::new(),
            width,
        }
    }

    /// Whether a member hears its own messages.
    pub(crate) const fn hears_itself(&self) -> bool {
        matches!(self.app, App::Bench)
    }

    /// `join`, wanting an acknowledgement.
    pub(crate) fn join(&mut self, id: u32, room: u32) -> &[u8] {
        let width = self.width;
        self.buffer.clear();
        // Writing to memory cannot fail.
        let _written = match self.app {
            App::Bench => write!(self.buffer, "42{id}[\"join\",\"r{room:0width$}\"]"),
            App::Gateway => {
                write!(self.buffer, "42{id}[\"room:join\",{{\"roomId\":\"r{room:0width$}\"}}]")
            }
        };
        &self.buffer
    }

    /// A message to a room.
    pub(crate) fn publish(&mut self, token: &Token) -> &[u8] {
        let (width, room) = (self.width, token.room);
        self.buffer.clear();
        let _written = match self.app {
            App::Bench => {
                write!(self.buffer, "42[\"pub\",{{\"room\":\"r{room:0width$}\",\"d\":\"")
            }
            App::Gateway => write!(
                self.buffer,
                "42[\"room:message\",{{\"roomId\":\"r{room:0width$}\",\"event\":\"msg\",\
                 \"data\":{{\"d\":\""
            ),
        };
        self.to_rooms.write(token, &mut self.buffer);
        self.buffer.extend_from_slice(match self.app {
            App::Bench => b"\"}]",
            App::Gateway => b"\"}}]",
        });
        &self.buffer
    }

    /// A message to oneself, wanting an acknowledgement that carries it.
    pub(crate) fn echo(&mut self, token: &Token) -> &[u8] {
        self.buffer.clear();
        self.buffer.extend_from_slice(b"42");
        push_number(&mut self.buffer, token.sequence);
        self.buffer.extend_from_slice(b"[\"echo\",{\"d\":\"");
        self.to_self.write(token, &mut self.buffer);
        self.buffer.extend_from_slice(b"\"}]");
        &self.buffer
    }
}

fn push_number(out: &mut Vec<u8>, mut number: u32) {
    let mut digits = [0; 10];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The id of an acknowledgement (`3ID[…]`) and where its arguments begin.
#[inline]
pub(crate) fn ack_id(packet: &[u8]) -> Option<(u32, usize)> {
    let rest = packet.strip_prefix(b"3")?;
    let mut id: u32 = 0;
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            b'0'..=b'9' => id = id.checked_mul(10)?.checked_add(u32::from(byte - b'0'))?,
            b'[' if at > 0 => return Some((id, at + 1)),
            _ => return None,
        }
    }
    None
}

/// Whether an event has this name. White space is what some servers put after the comma only.
#[inline]
pub(crate) fn is_event(packet: &[u8], name: &[u8]) -> bool {
    packet
        .strip_prefix(b"2[\"")
        .and_then(|rest| rest.strip_prefix(name))
        .is_some_and(|rest| rest.starts_with(b"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::parse;

    fn talk(app: &str, bytes: u32, rooms: u32) -> Talk {
        let text = format!("name=\"t\"\nkind=\"rooms\"\npayload_bytes={bytes}\napp=\"{app}\"");
        Talk::new(&parse(&text, &[]).unwrap(), rooms)
    }

    const TOKEN: Token = Token { room: 7, sender: 3, sequence: 12_045, time: 99 };

    #[test]
    fn the_payload_has_exactly_the_bytes_asked_for() {
        for bytes in [64, 512] {
            let mut talk = talk("bench", bytes, 1_000);
            let packet = talk.publish(&TOKEN);
            let argument = &packet[b"42[\"pub\",".len()..packet.len() - 1];
            assert_eq!(argument.len(), bytes as usize);
            assert!(argument.starts_with(b"{\"room\":\"r007\",\"d\":\""));
            let packet = talk.echo(&TOKEN);
            let argument = &packet[b"4212045[\"echo\",".len()..packet.len() - 1];
            assert_eq!(argument.len(), bytes as usize);
            assert!(serde_json::from_slice::<serde_json::Value>(argument).is_ok());
        }
    }

    #[test]
    fn the_gateway_is_spoken_to_in_its_own_words() {
        let mut talk = talk("gateway", 64, 10);
        let packet = talk.publish(&TOKEN);
        let value: serde_json::Value = serde_json::from_slice(&packet[2..]).unwrap();
        assert_eq!(value[0], "room:message");
        assert_eq!(value[1]["roomId"], "r7");
        assert_eq!(value[1]["data"].to_string().len(), 64);
        assert_eq!(talk.join(4, 7), b"424[\"room:join\",{\"roomId\":\"r7\"}]");
    }

    #[test]
    fn acknowledgements_and_events_are_told_apart() {
        assert_eq!(ack_id(b"3120[1]"), Some((120, 5)));
        for wrong in [&b"3[]"[..], b"2[\"a\"]", b"399999999999[]", b"312"] {
            assert_eq!(ack_id(wrong), None);
        }
        assert!(is_event(b"2[\"msg\",{}]", b"msg"));
        assert!(!is_event(b"2[\"msgs\",{}]", b"msg"));
    }
}
