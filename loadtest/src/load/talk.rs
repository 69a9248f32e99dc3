//! The packets of the two applications: how to join, publish and ask, and how to read answers.

use std::io::Write as _;

use crate::check::token::{Codec, TOKEN_BYTES, Token};
use crate::scenario::{App, Publish, Scenario};

/// Builds packets, each with its Engine.IO type in front, and REST bodies, in one buffer.
pub(crate) struct Talk {
    app: App,
    /// Tokens of messages to rooms.
    pub(crate) to_rooms: Codec,
    /// Tokens of messages to oneself, and of requests.
    pub(crate) to_self: Codec,
    payload: usize,
    buffer: Vec<u8>,
    width: usize,
}

/// Bytes of `{"d":""}`.
const SELF_FRAME: usize = 8;
/// Bytes of `{"room":"r","d":""}`.
const ROOM_FRAME: usize = 19;
/// The gateway's requests carry their token here.
const REQUEST_MEMBER: &str = "\"requestId\":\"";
/// What fills requests and their answers.
const FILL: u8 = b'x';

/// The user of this number in a lane.
pub(crate) fn user(lane: u32, number: u32) -> String {
    format!("u{lane}-{number}")
}

/// The session of this number in a lane.
pub(crate) fn session(lane: u32, number: u32) -> String {
    format!("s{lane}-{number}")
}

impl Talk {
    /// `rooms` is how many rooms there are: their names have equal lengths.
    pub(crate) fn new(scenario: &Scenario, rooms: u32) -> Self {
        let width = rooms.saturating_sub(1).to_string().len();
        let payload = scenario.payload_bytes as usize;
        let is_event = scenario.app == App::Bench && scenario.publish != Publish::Rest;
        let in_room = if is_event {
            payload.saturating_sub(ROOM_FRAME + width)
        } else {
            payload.saturating_sub(SELF_FRAME)
        };
        let to_self = match scenario.app {
            App::Bench => Codec::new(payload.saturating_sub(SELF_FRAME)),
            App::Gateway => Codec::in_member(TOKEN_BYTES, REQUEST_MEMBER),
        };
        Self {
            app: scenario.app,
            to_rooms: Codec::new(in_room),
            to_self,
            payload,
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

    /// `leave`, wanting an acknowledgement.
    pub(crate) fn leave(&mut self, id: u32, room: u32) -> &[u8] {
        let width = self.width;
        self.buffer.clear();
        let _written = match self.app {
            App::Bench => write!(self.buffer, "42{id}[\"leave\",\"r{room:0width$}\"]"),
            App::Gateway => {
                write!(self.buffer, "42{id}[\"room:leave\",{{\"roomId\":\"r{room:0width$}\"}}]")
            }
        };
        &self.buffer
    }

    /// A message to a room, by event.
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

    /// A message to a room, for the body of a REST call.
    pub(crate) fn publish_body(&mut self, token: &Token, publish: Publish) -> Vec<u8> {
        let (width, room) = (self.width, token.room);
        let mut body = Vec::new();
        let _written = match publish {
            Publish::Post => write!(body, "{{\"room\":\"r{room:0width$}\",\"d\":\""),
            Publish::Rest | Publish::Event => write!(
                body,
                "{{\"roomId\":\"r{room:0width$}\",\"event\":\"msg\",\"data\":{{\"d\":\""
            ),
        };
        self.to_rooms.write(token, &mut body);
        body.extend_from_slice(if publish == Publish::Post { b"\"}" } else { b"\"}}" });
        body
    }

    /// A notification, for the body of a REST call.
    pub(crate) fn notification(&mut self, token: &Token, user: &str) -> Vec<u8> {
        let mut body = Vec::new();
        let _written = write!(
            body,
            "{{\"userId\":\"{user}\",\"type\":\"info\",\"title\":\"t\",\"message\":\"m\",\
             \"data\":{{\"d\":\""
        );
        self.to_rooms.write(token, &mut body);
        body.extend_from_slice(b"\"}}");
        body
    }

    /// The answer to a request, for the body of a REST call.
    pub(crate) fn ai_response(&mut self, token: &Token, user: &str) -> Vec<u8> {
        let mut body = Vec::new();
        let _written = write!(
            body,
            "{{\"roomId\":\"user:{user}\",\"event\":\"ai_response\",\"data\":{{\"requestId\":\""
        );
        self.to_self.write(token, &mut body);
        let _written = write!(
            body,
            "\",\"success\":true,\"duration\":1,\"toolId\":\"t\",\"userId\":\"{user}\",\
             \"response\":\""
        );
        body.extend(std::iter::repeat_n(FILL, self.payload));
        body.extend_from_slice(b"\"}}");
        body
    }

    /// A message to oneself, wanting an acknowledgement that carries it. The gateway has no echo;
    /// what acknowledges its requests is nearest to it.
    pub(crate) fn echo(&mut self, token: &Token, lane: u32, number: u32) -> &[u8] {
        self.buffer.clear();
        self.buffer.extend_from_slice(b"42");
        push_number(&mut self.buffer, token.sequence);
        match self.app {
            App::Bench => {
                self.buffer.extend_from_slice(b"[\"echo\",{\"d\":\"");
                self.to_self.write(token, &mut self.buffer);
                self.buffer.extend_from_slice(b"\"}]");
            }
            App::Gateway => self.ai_request(token, lane, number),
        }
        &self.buffer
    }

    fn ai_request(&mut self, token: &Token, lane: u32, number: u32) {
        self.buffer.extend_from_slice(b"[\"ai_request\",");
        let start = self.buffer.len();
        self.buffer.extend_from_slice(b"{\"toolId\":\"t\",\"requestId\":\"");
        self.to_self.write(token, &mut self.buffer);
        let _written = write!(self.buffer, "\",\"sessionId\":\"s{lane}-{number}\",\"message\":\"");
        let used = self.buffer.len() - start + 2;
        let fill = self.payload.saturating_sub(used).max(1);
        self.buffer.extend(std::iter::repeat_n(FILL, fill));
        self.buffer.extend_from_slice(b"\"}]");
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

/// The id of an acknowledgement: `3ID[…]`.
#[inline]
pub(crate) fn ack_id(packet: &[u8]) -> Option<u32> {
    let rest = packet.strip_prefix(b"3")?;
    let mut id: u32 = 0;
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            b'0'..=b'9' => id = id.checked_mul(10)?.checked_add(u32::from(byte - b'0'))?,
            b'[' if at > 0 => return Some(id),
            _ => return None,
        }
    }
    None
}

/// Whether an acknowledgement of the gateway says no.
pub(crate) fn is_refusal(packet: &[u8]) -> bool {
    memchr::memmem::find(packet, b"\"success\":false").is_some()
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
            let packet = talk.echo(&TOKEN, 0, 0);
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
        let request = talk.echo(&TOKEN, 2, 5);
        let value: serde_json::Value = serde_json::from_slice(&request[7..]).unwrap();
        assert_eq!((&value[0], &value[1]["sessionId"]), (&"ai_request".into(), &"s2-5".into()));
        assert_eq!(talk.join(4, 7), b"424[\"room:join\",{\"roomId\":\"r7\"}]");
    }

    #[test]
    fn rest_bodies_are_json_and_carry_the_token() {
        let mut talk = talk("gateway", 200, 10);
        let room = talk.publish_body(&TOKEN, Publish::Rest);
        let note = talk.notification(&TOKEN, "u0-1");
        let answer = talk.ai_response(&TOKEN, "u0-1");
        for (body, codec) in
            [(&room, &talk.to_rooms), (&note, &talk.to_rooms), (&answer, &talk.to_self)]
        {
            assert!(serde_json::from_slice::<serde_json::Value>(body).is_ok());
            let text = codec.find(body, &mut 0).unwrap();
            assert_eq!(codec.read(text), Some(TOKEN));
        }
    }

    #[test]
    fn acknowledgements_and_events_are_told_apart() {
        assert_eq!(ack_id(b"3120[1]"), Some(120));
        for wrong in [&b"3[]"[..], b"2[\"a\"]", b"399999999999[]", b"312"] {
            assert_eq!(ack_id(wrong), None);
        }
        assert!(is_event(b"2[\"msg\",{}]", b"msg"));
        assert!(!is_event(b"2[\"msgs\",{}]", b"msg"));
    }
}
