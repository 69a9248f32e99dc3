//! The client's side of the wire: packets to bytes and back, as the official clients do it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::base::Rng;
use crate::engineio::{self, Piece, Revision};
use crate::socketio::{self, DecodeLimits};
use crate::ws;

/// One engine packet; text with its digit, or the data of a binary message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pkt {
    Text(String),
    Binary(Vec<u8>),
}

/// How a client writes its packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    pub(super) revision: Revision,
    pub(super) msgpack: bool,
    /// EIO 3: polls are answered in text only.
    pub(super) b64: bool,
}

impl Dialect {
    /// A Socket.IO packet as engine packets.
    pub(super) fn pack(self, text: &str, attachments: &[Vec<u8>]) -> Vec<Pkt> {
        if self.msgpack {
            let packed = socketio::encode_packet(text, attachments).expect("we wrote it");
            return vec![Pkt::Binary(packed)];
        }
        let binary = attachments.iter().map(|data| Pkt::Binary(data.clone()));
        std::iter::once(Pkt::Text(format!("4{text}"))).chain(binary).collect()
    }

    /// A Socket.IO packet out of a binary message, if this dialect puts them there.
    pub(super) fn unpack(self, data: &[u8]) -> Option<(String, Vec<Vec<u8>>)> {
        if !self.msgpack {
            return None;
        }
        let limits = DecodeLimits { depth: 32, elements_max: 100_000 };
        let decoded = socketio::decode_packet(data, limits).expect("the server writes msgpack");
        let text = decoded.text();
        Some((text, decoded.attachments))
    }

    /// The body of a post, and whether it is in the binary form of EIO 3.
    pub(super) fn body(self, packets: &[Pkt], binary: bool) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        let binary = binary && self.revision == Revision::V3;
        for packet in packets {
            match (self.revision, packet) {
                (Revision::V4, _) => {
                    if !out.is_empty() {
                        out.push(0x1e);
                    }
                    match packet {
                        Pkt::Text(text) => out.extend_from_slice(text.as_bytes()),
                        Pkt::Binary(data) => {
                            out.push(b'b');
                            out.extend_from_slice(STANDARD.encode(data).as_bytes());
                        }
                    }
                }
                (Revision::V3, Pkt::Text(text)) if binary => {
                    engineio::encode_v3_piece(&mut out, text.as_bytes(), false);
                }
                (Revision::V3, Pkt::Binary(data)) if binary => {
                    engineio::encode_v3_piece(&mut out, data, true);
                }
                (Revision::V3, Pkt::Text(text)) => engineio::encode_v3_text(&mut out, text),
                (Revision::V3, Pkt::Binary(data)) => engineio::encode_v3_binary(&mut out, data),
            }
        }
        (out, binary)
    }

    /// The packets of a poll's answer.
    pub(super) fn split(self, body: &[u8], octets: bool) -> Result<Vec<Pkt>, String> {
        let mut packets = Vec::new();
        let own = |piece: Piece<'_>| match piece {
            Piece::Text(text) => Pkt::Text(text.to_owned()),
            Piece::Binary(data) => Pkt::Binary(data),
        };
        let bad = |error| {
            format!(
                "an unreadable answer to a poll: {error:?} in {:?}",
                String::from_utf8_lossy(body)
            )
        };
        if octets {
            let mut rest = Some(body);
            while let Some(bytes) = rest {
                let (piece, after) = engineio::next_v3_binary(bytes).map_err(bad)?;
                packets.push(own(piece));
                rest = after;
            }
            return Ok(packets);
        }
        let text = std::str::from_utf8(body).map_err(|_| String::from("a poll is not UTF-8"))?;
        let mut rest = Some(text);
        while let Some(text) = rest {
            let (piece, after) = match self.revision {
                Revision::V4 => engineio::next_v4(text).map_err(bad)?,
                Revision::V3 => engineio::next_v3(text).map_err(bad)?,
            };
            packets.push(own(piece));
            rest = after;
        }
        Ok(packets)
    }

    /// Frames of a packet; now and then a text in parts, with a ping in between. True if there
    /// was one.
    pub(super) fn frames(self, out: &mut Vec<u8>, packet: &Pkt, chance: &mut Rng) -> bool {
        let mask = chance.draw().to_le_bytes();
        let mask = [mask[0], mask[1], mask[2], mask[3]];
        match packet {
            Pkt::Text(text) if text.len() > 3 && chance.below(8) == 0 => {
                // A character may fall in two; only the whole must be UTF-8.
                let cut = 1 + chance.below(text.len() - 1);
                let (first, rest) = text.as_bytes().split_at(cut);
                ws::write_client_frame(out, ws::Kind::Text, false, mask, first);
                let pings = chance.below(2) == 0;
                if pings {
                    ws::write_client_frame(out, ws::Kind::Ping, true, mask, b"between");
                }
                ws::write_client_frame(out, ws::Kind::Continuation, true, mask, rest);
                return pings;
            }
            Pkt::Text(text) => {
                ws::write_client_frame(out, ws::Kind::Text, true, mask, text.as_bytes());
            }
            Pkt::Binary(data) if self.revision == Revision::V3 => {
                // Rule: engine.io-protocol v3: binary on WebSocket starts with the packet's kind.
                let typed = [&[4], data.as_slice()].concat();
                ws::write_client_frame(out, ws::Kind::Binary, true, mask, &typed);
            }
            Pkt::Binary(data) => {
                ws::write_client_frame(out, ws::Kind::Binary, true, mask, data);
            }
        }
        false
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) keep_alive: bool,
    pub(super) octets: bool,
    pub(super) body: Vec<u8>,
}

/// Takes the first answer out of what a client has read, if it is whole.
pub(super) fn take_answer(got: &mut Vec<u8>) -> Option<Answer> {
    let end = got.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&got[..end]).expect("heads are ASCII").to_owned();
    let status: u16 = head[9..12].parse().expect("HTTP/1.1 and three digits");
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    };
    let length = if status < 200 { "0" } else { header("content-length").expect("always there") };
    let length: usize = length.parse().expect("a number");
    if got.len() < end + length {
        return None;
    }
    let body = got[end..end + length].to_vec();
    got.drain(..end + length);
    Some(Answer {
        status,
        keep_alive: header("connection") == Some("keep-alive"),
        octets: header("content-type").is_some_and(|media| media.contains("octet-stream")),
        body,
    })
}

/// A request to the engine.
pub(super) struct Request<'a> {
    pub(super) dialect: Dialect,
    pub(super) sid: &'a str,
    pub(super) websocket: bool,
    /// The body of a post, and whether it is the binary form.
    pub(super) body: Option<(&'a [u8], bool)>,
    pub(super) chunked: bool,
}

impl Request<'_> {
    /// The bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let method = if self.body.is_some() { "POST" } else { "GET" };
        let transport = if self.websocket { "websocket" } else { "polling" };
        let eio = self.dialect.revision.number();
        let sid = if self.sid.is_empty() { String::new() } else { format!("&sid={}", self.sid) };
        let b64 = if self.dialect.b64 { "&b64=1" } else { "" };
        let mut head = format!(
            "{method} /socket.io/?EIO={eio}&transport={transport}{sid}{b64} HTTP/1.1\r\nHost: x\r\n"
        );
        if self.websocket {
            head.push_str(
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            );
        }
        let Some((body, octets)) = self.body else {
            head.push_str("\r\n");
            return head.into_bytes();
        };
        let media = if octets { "application/octet-stream" } else { "text/plain;charset=UTF-8" };
        head.push_str(&format!("Content-Type: {media}\r\n"));
        if !self.chunked {
            head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
            return [head.as_bytes(), body].concat();
        }
        head.push_str("Transfer-Encoding: chunked\r\n\r\n");
        let mut bytes = head.into_bytes();
        for chunk in body.chunks(50) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        bytes
    }
}
