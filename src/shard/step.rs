//! How a byte climbs: frames to messages, messages to packets, packets to handlers.

use std::borrow::Cow;

use super::conn::{Ping, Role, Speaks};
use super::message::{Dispatch, RawMessage, Step};
use super::{Ending, Shard};
use crate::base::Key;
use crate::deflate::Bounds;
use crate::engineio::Revision;
use crate::ws::{self, WsError};

/// How a WebSocket stands before its next frame.
enum Standing {
    Closing,
    /// It is not looked at: the connection is gone, or its handlers are behind.
    Rests,
    /// It may be looked at, within these limits.
    Reads(ws::Limits),
}

impl Shard {
    /// Looks at the next bytes of a connection, and stops where the host has something to do.
    ///
    /// The host calls it again with what was not consumed, until it says [`Step::Wait`]. Frames
    /// are unmasked where they lie; a text message that came in one frame is not copied, and its
    /// characters are judged once.
    pub fn next<'b>(&mut self, key: Key, bytes: &'b mut [u8]) -> Step<'b> {
        let Some(conn) = self.conns.get_mut(key) else {
            return Step::Wait { consumed: bytes.len() };
        };
        if conn.closing {
            self.drop_late(key, bytes.len());
            return Step::Wait { consumed: bytes.len() };
        }
        match &conn.speaks {
            Speaks::Http(_) => self.next_http(key, bytes),
            Speaks::WebSocket { .. } => {
                // A part of a frame is a sign of life too: a long one may take its time.
                if conn.ping == Ping::Owed && !bytes.is_empty() {
                    conn.ping = Ping::Answered;
                }
                self.next_frames(key, bytes)
            }
        }
    }

    pub(super) fn next_frames<'b>(&mut self, key: Key, bytes: &'b mut [u8]) -> Step<'b> {
        let (all, mut rest) = (bytes.len(), bytes);
        loop {
            let consumed = all - rest.len();
            let limits = match self.standing(key) {
                Standing::Closing => return Step::Wait { consumed: all },
                Standing::Rests => return Step::Wait { consumed },
                Standing::Reads(limits) => limits,
            };
            let Some((event, after)) = self.next_event(key, rest, &limits) else {
                let gone = self.conns.get(key).is_none_or(|conn| conn.closing);
                return Step::Wait { consumed: if gone { all } else { consumed } };
            };
            rest = after;
            let dispatch = event.and_then(|event| self.take_event(key, event));
            if let Some(dispatch) = dispatch {
                return Step::Run { consumed: all - rest.len(), dispatch };
            }
        }
    }

    /// The next frame, and what follows it. `None` if more bytes are needed or the connection has
    /// just ended; a frame without an event is a part of a message.
    fn next_event<'b>(
        &mut self,
        key: Key,
        bytes: &'b mut [u8],
        limits: &ws::Limits,
    ) -> Option<(Option<ws::Event<'b>>, &'b mut [u8])> {
        let ratio_max = self.settings.compression.ratio_max;
        let conn = self.conns.get_mut(key)?;
        let Speaks::WebSocket { decoder, .. } = &mut conn.speaks else { return None };
        let taken = match decoder.look(bytes, limits) {
            Ok(Ok(ready)) => {
                let (frame, rest) = bytes.split_at_mut(ready.len);
                let event = match decoder.take(&ready, frame) {
                    Ok(Some(ws::Event::Packed { text, data })) => {
                        self.counters.inflated += 1;
                        let bounds = Bounds { bytes_max: limits.message_bytes_max, ratio_max };
                        self.press.unpack(text, &data, bounds).map(Some)
                    }
                    other => other.map_err(ending_of),
                };
                event.map(|event| (event, rest))
            }
            Ok(Err(_needs)) => return None,
            Err(error) => Err(ending_of(error)),
        };
        match taken {
            Ok(taken) => Some(taken),
            Err(ending) => {
                self.conn_ends(key, ending);
                None
            }
        }
    }

    /// What a frame asks for. A connection that it ends is seen to be closing after this.
    fn take_event<'b>(&mut self, key: Key, event: ws::Event<'b>) -> Option<Dispatch<'b>> {
        match event {
            ws::Event::Text(text) => return self.take_text(key, text),
            ws::Event::Binary(data) => return self.take_binary(key, data.into_owned()),
            ws::Event::Ping(payload) => {
                let conn = self.conns.get_mut(key)?;
                ws::write_pong(&mut conn.out, payload);
                // A client that pings and does not read is bounded like one that reads slowly.
                if conn.out.len() > self.settings.limits.outbox_bytes_max {
                    self.conn_ends(key, Ending::SlowBytes);
                } else {
                    self.count_out(key);
                    self.mark_dirty(key);
                    self.shed_waiting();
                }
            }
            // A compressed message has been inflated by now, see `next_event`.
            ws::Event::Pong | ws::Event::Packed { .. } => {}
            ws::Event::Close(code) => {
                self.conns.get_mut(key)?.peer_code = code;
                self.conn_ends(key, Ending::PeerClosed);
            }
        }
        None
    }

    /// Whether the next frame of a WebSocket may be looked at.
    fn standing(&self, key: Key) -> Standing {
        let Some(conn) = self.conns.get(key) else { return Standing::Rests };
        if conn.closing {
            return Standing::Closing;
        }
        let Speaks::WebSocket { role, deflate, .. } = &conn.speaks else { return Standing::Rests };
        let limits = &self.settings.limits;
        let mut terms = ws::Limits {
            message_bytes_max: limits.message_bytes_max,
            fragments_max: limits.fragments_max,
            deflate: deflate.is_some(),
        };
        match role {
            // It has as many async handlers as it may.
            Role::Session(session)
                if self.sessions.get(*session).is_some_and(|it| self.handlers_full(it)) =>
            {
                return Standing::Rests;
            }
            Role::Plain { endpoint } => {
                let endpoint = &self.settings.endpoints[usize::from(*endpoint)];
                if let Some(message_bytes_max) = endpoint.message_bytes_max {
                    terms.message_bytes_max = message_bytes_max;
                    terms.fragments_max = PLAIN_FRAGMENTS_MAX;
                }
            }
            Role::Session(_) | Role::Candidate(_) | Role::Spent => {}
        }
        Standing::Reads(terms)
    }

    fn take_text<'b>(&mut self, key: Key, text: Cow<'b, str>) -> Option<Dispatch<'b>> {
        let conn = self.conns.get(key)?;
        let Speaks::WebSocket { role, .. } = &conn.speaks else { return None };
        match *role {
            Role::Session(session) => self.engine_text(session, text),
            Role::Candidate(session) => {
                self.probe(key, session, &text);
                None
            }
            Role::Plain { .. } => {
                Some(Dispatch::PlainMessage { conn: key, message: RawMessage::Text(text) })
            }
            Role::Spent => None,
        }
    }

    fn take_binary<'b>(&mut self, key: Key, data: Vec<u8>) -> Option<Dispatch<'b>> {
        let conn = self.conns.get(key)?;
        let Speaks::WebSocket { role, .. } = &conn.speaks else { return None };
        match *role {
            Role::Session(session) => {
                if self.sessions.get(session)?.revision == Revision::V4 {
                    return self.engine_binary(session, data);
                }
                // Rule: engine.io-protocol v3: binary on WebSocket starts with the packet's kind.
                match data.split_first() {
                    Some((4, message)) => self.engine_binary(session, message.to_vec()),
                    Some(_) | None => {
                        self.end_session(session, Ending::EnginePacket);
                        None
                    }
                }
            }
            Role::Candidate(_) => {
                self.conn_ends(key, Ending::UpgradeFailed);
                None
            }
            Role::Plain { .. } => {
                Some(Dispatch::PlainMessage { conn: key, message: RawMessage::Binary(data) })
            }
            Role::Spent => None,
        }
    }

    /// The first messages on a WebSocket that wants to take over a polling session.
    ///
    /// Rule: engine.io-protocol v4, "Upgrade": `2probe`, `3probe`, `5`. A `5` without a probe is
    /// accepted as Node does; anything else closes the candidate and leaves the session alone.
    fn probe(&mut self, conn: Key, session_key: Key, text: &str) {
        let now = self.millis();
        let first_noop = self.first_noop();
        let Some(session) = self.sessions.get_mut(session_key) else {
            self.close_conn(conn, Ending::UpgradeFailed);
            return;
        };
        match text {
            "2probe" => {
                if let Some(upgrade) = &mut session.upgrade {
                    upgrade.noop_due = Some(first_noop);
                }
                self.arm_session(session_key);
                let mut frame = Vec::new();
                ws::write_header(&mut frame, ws::Kind::Text, 6);
                frame.extend_from_slice(b"3probe");
                self.write_raw(conn, &frame);
            }
            "5" => {
                session.upgrade = None;
                session.heartbeat.handle_upgrade(now);
                self.switch_transport(session_key, conn);
            }
            _ => self.conn_ends(conn, Ending::UpgradeFailed),
        }
    }

    fn switch_transport(&mut self, session_key: Key, conn_key: Key) {
        use super::session::Transport;
        let Some(session) = self.sessions.get_mut(session_key) else { return };
        let old = session.transport;
        if let Transport::Polling { poll: Some(poll) } = old {
            // Rule: a poll that is pending at this instant is answered with a close packet, which
            // the client, having moved on, ignores. What waits goes out on the WebSocket.
            let waiting = std::mem::take(&mut session.outbox);
            self.answer_poll(session_key, poll, Some(crate::engineio::Kind::Close.digit()));
            if let Some(session) = self.sessions.get_mut(session_key) {
                session.outbox = waiting;
            }
        }
        if let Some(session) = self.sessions.get_mut(session_key) {
            session.transport = Transport::WebSocket { conn: conn_key };
        }
        if let Some(conn) = self.conns.get_mut(conn_key)
            && let Speaks::WebSocket { role, .. } = &mut conn.speaks
        {
            *role = Role::Session(session_key);
        }
        self.counters.upgrades_completed += 1;
        self.mark_dirty(conn_key);
        self.arm_session(session_key);
    }
}

/// Fragments of a message on a plain WebSocket, whose limit is its own.
pub(super) const PLAIN_FRAGMENTS_MAX: u32 = 200_000;

fn ending_of(error: WsError) -> Ending {
    match error.close_code() {
        1007 => Ending::WebSocketText,
        1009 => Ending::MessageTooBig,
        _ => Ending::WebSocketRule,
    }
}
