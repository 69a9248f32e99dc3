//! Packets of a session: Engine.IO's own, and Socket.IO's inside.

use std::borrow::Cow;
use std::ops::Range;

use super::message::{AckArgs, AckId, Dispatch, Name, RawMessage};
use super::session::{Parser, PartialPacket};
use super::settings::Service;
use super::socket::Seat;
use super::{Ending, Shard};
use crate::base::{Key, Millis};
use crate::engineio::{Kind as EngineKind, Revision};
use crate::socketio::{self, Kind, Packet, ParseError};
use crate::telemetry::Stage;

impl Shard {
    /// A text packet arrived.
    pub(super) fn engine_text<'b>(&mut self, key: Key, text: Cow<'b, str>) -> Option<Dispatch<'b>> {
        let now = self.session_now(key)?;
        self.counters.packets_in += 1;
        if text.as_bytes().first() == Some(&EngineKind::Message.digit()) {
            self.alive(key, now);
            return self.message_text(key, without_first(text));
        }
        let packet = &*text;
        if packet.starts_with('b') {
            return self.base64_text(key, packet);
        }
        let Ok((kind, _)) = EngineKind::split(packet) else {
            self.counters.parse_errors += 1;
            self.end_session(key, Ending::EnginePacket);
            return None;
        };
        let probe = packet == "2probe";
        self.engine_control(key, kind, probe, now);
        None
    }

    /// Rule: a WebSocket text frame that starts with `b` carries a binary message in base64; in
    /// EIO 3 the packet's kind stands between the two.
    fn base64_text<'b>(&mut self, key: Key, packet: &str) -> Option<Dispatch<'b>> {
        let read = match self.sessions.get(key)?.revision {
            Revision::V4 => crate::engineio::next_v4(packet),
            Revision::V3 => crate::engineio::read_v3(packet).map(|piece| (piece, None)),
        };
        match read {
            Ok((crate::engineio::Piece::Binary(data), None)) => self.engine_binary(key, data),
            _ => {
                self.counters.parse_errors += 1;
                self.end_session(key, Ending::EnginePacket);
                None
            }
        }
    }

    fn engine_control(&mut self, key: Key, kind: EngineKind, probe: bool, now: Millis) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        match (kind, session.revision) {
            (EngineKind::Pong, Revision::V4) => {
                if let Some(ms) = session.heartbeat.handle_pong(now) {
                    self.hists.record(Stage::PingRoundTrip, ms * 1_000);
                }
                self.arm_session(key);
            }
            (EngineKind::Ping, Revision::V3) => {
                session.heartbeat.handle_ping(now);
                self.send_engine(key, if probe { b"3probe" } else { b"3" });
            }
            // Rule: engine.io-protocol v4: only the server pings ("invalid heartbeat direction").
            (EngineKind::Ping, Revision::V4) | (EngineKind::Pong, Revision::V3) => {
                self.end_session(key, Ending::EngineRule);
            }
            // Rule: on polling a close packet ends the session; on WebSocket Node ignores it,
            // and so do we: there the connection itself says it.
            (EngineKind::Close, _) => {
                if !matches!(session.transport, super::session::Transport::WebSocket { .. }) {
                    self.end_session(key, Ending::PeerClosed);
                }
            }
            (EngineKind::Open | EngineKind::Upgrade | EngineKind::Noop, _) => {}
            (EngineKind::Message, _) => unreachable!("messages go their own way"),
        }
    }

    /// The time, once what is due for a session has been done; `None` if that ended it.
    fn session_now(&mut self, key: Key) -> Option<Millis> {
        let now = self.millis();
        let session = self.sessions.get(key)?;
        if now < session.due() {
            return (!session.is_over()).then_some(now);
        }
        self.session_due(key);
        self.sessions.get(key).filter(|session| !session.is_over()).map(|_| now)
    }

    fn alive(&mut self, key: Key, now: Millis) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.heartbeat.handle_traffic(now);
        }
    }

    /// A binary message arrived.
    pub(super) fn engine_binary<'b>(&mut self, key: Key, data: Vec<u8>) -> Option<Dispatch<'b>> {
        let now = self.session_now(key)?;
        self.alive(key, now);
        let session = self.sessions.get_mut(key)?;
        let service = self.settings.endpoints[usize::from(session.endpoint)].service;
        if service != Service::SocketIo {
            let message = RawMessage::Binary(data);
            return Some(Dispatch::EngineMessage { session: key, message });
        }
        // Rule: ours. The first message tells the parser: msgpack clients start with binary.
        if session.parser == Parser::Unknown && session.revision == Revision::V4 {
            session.parser = Parser::Msgpack;
        }
        if session.parser == Parser::Msgpack {
            return self.msgpack_packet(key, &data);
        }
        let Some(partial) = &mut session.partial else {
            return self.violation(key, Ending::SocketPacket);
        };
        partial.bytes += data.len();
        self.partial_bytes += data.len();
        partial.attachments.push(data);
        partial.missing -= 1;
        let too_large = partial.bytes > self.settings.limits.packet_bytes_max;
        let missing = partial.missing;
        if too_large {
            self.counters.limits_hit += 1;
            self.end_session(key, Ending::MessageTooBig);
            return None;
        }
        self.shed_partials();
        if missing > 0 {
            return None;
        }
        let partial = *self.sessions.get_mut(key)?.partial.take()?;
        self.partial_bytes -= partial.bytes;
        self.packet(key, Cow::Owned(partial.text), partial.attachments)
    }

    /// What had arrived of a packet with attachments is not wanted any more.
    pub(super) fn drop_partial_packet(&mut self, key: Key) {
        if let Some(partial) = self.sessions.get_mut(key).and_then(|s| s.partial.take()) {
            self.partial_bytes -= partial.bytes;
        }
    }

    fn msgpack_packet<'b>(&mut self, key: Key, data: &[u8]) -> Option<Dispatch<'b>> {
        match socketio::decode_packet(data, MSGPACK_LIMITS) {
            Ok(decoded) => self.packet(key, Cow::Owned(decoded.text()), decoded.attachments),
            Err(error) => self.unreadable(key, error),
        }
    }

    /// A text message arrived, its engine digit taken off.
    fn message_text<'b>(&mut self, key: Key, text: Cow<'b, str>) -> Option<Dispatch<'b>> {
        let session = self.sessions.get_mut(key)?;
        let service = self.settings.endpoints[usize::from(session.endpoint)].service;
        if service != Service::SocketIo {
            let message = RawMessage::Text(text);
            return Some(Dispatch::EngineMessage { session: key, message });
        }
        if session.parser == Parser::Unknown {
            session.parser = Parser::Default;
        }
        // Rule: attachments follow their packet at once; a text in between is a violation. The
        // msgpack parser has no text packets at all.
        if session.partial.is_some() || session.parser == Parser::Msgpack {
            return self.violation(key, Ending::SocketPacket);
        }
        self.packet(key, text, Vec::new())
    }

    /// A Socket.IO packet; binary ones are whole if their attachments came along.
    fn packet<'b>(
        &mut self,
        key: Key,
        text: Cow<'b, str>,
        attachments: Vec<Vec<u8>>,
    ) -> Option<Dispatch<'b>> {
        let msgpack = self.sessions.get(key)?.parser == Parser::Msgpack;
        let attachments_max = if msgpack { u32::MAX } else { self.settings.limits.attachments_max };
        let source = &*text;
        let packet = match socketio::parse(source, attachments_max) {
            Ok(packet) => packet,
            Err(error) => return self.unreadable(key, error),
        };
        if packet.kind.is_binary() && attachments.is_empty() {
            return self.begin_partial(key, &packet, source);
        }
        match packet.kind {
            Kind::Connect => self.connect_packet(key, &packet),
            Kind::Disconnect => self.disconnect_packet(key, packet.namespace),
            Kind::Event | Kind::BinaryEvent => {
                let found = self.event_packet(key, &packet, source)?;
                let EventFound { socket, name, args, ack } = found;
                self.counters.events_in += 1;
                Some(Dispatch::Event { socket, text, name, args, ack, attachments })
            }
            Kind::Ack | Kind::BinaryAck => self.ack_packet(key, &packet, attachments),
            Kind::ConnectError => self.violation(key, Ending::ConnectTwice),
        }
    }

    /// Keeps the text of a packet until its attachments are here.
    ///
    /// The payload is judged first: what is refused then must not be collected for.
    fn begin_partial<'b>(
        &mut self,
        key: Key,
        packet: &Packet<'_>,
        source: &str,
    ) -> Option<Dispatch<'b>> {
        let Some((_, Seat::Joined)) = self.find_seat(key, packet.namespace) else {
            return self.violation(key, Ending::NotJoined);
        };
        let judged = match packet.kind {
            Kind::BinaryAck => self.json.ack(packet.data, packet.attachments).map(|_| ()),
            _ => self.json.event(packet.data, packet.attachments).map(|_| ()),
        };
        if let Err(error) = judged {
            return self.unreadable(key, error);
        }
        let (now, wait_ms) = (self.now, self.settings.limits.request_timeout_ms);
        let session = self.sessions.get_mut(key)?;
        let partial = PartialPacket {
            text: source.to_owned(),
            missing: packet.attachments as usize,
            attachments: Vec::new(),
            bytes: source.len(),
            due: Millis::of(now).plus(wait_ms),
        };
        self.partial_bytes += partial.bytes;
        session.partial = Some(Box::new(partial));
        self.arm_session(key);
        None
    }

    /// Rule: socket.io-protocol v5, "Connection to a namespace".
    fn connect_packet<'b>(&mut self, key: Key, packet: &Packet<'_>) -> Option<Dispatch<'b>> {
        if let Err(error) = self.json.connect(packet.data) {
            return self.unreadable(key, error);
        }
        let v4 = self.is_v4(key);
        // Rule: Socket.IO before v3 sends the query behind the name; it becomes the auth object.
        let (namespace, auth) = match packet.namespace.split_once('?') {
            Some((name, query)) if !v4 => (name, Cow::Owned(query_to_json(query))),
            _ => (packet.namespace, Cow::Borrowed(packet.data)),
        };
        if self.find_seat(key, namespace).is_some() {
            if !v4 {
                // Rule: those clients connect to `/` although the server did so by itself.
                return None;
            }
            return self.violation(key, Ending::ConnectTwice);
        }
        self.ask_to_join(key, namespace, &auth)
    }

    /// Seats a session and lets the application decide; limits are answered here.
    pub(super) fn ask_to_join<'b>(
        &mut self,
        key: Key,
        name: &str,
        auth: &str,
    ) -> Option<Dispatch<'b>> {
        let limits = self.settings.limits;
        let seats = self.sessions.get(key)?.sockets.len();
        let known = self.namespaces.find(name).is_some();
        let why = if name.len() > limits.name_bytes_max {
            Some("Invalid namespace")
        } else if seats >= limits.namespaces_per_conn_max
            || (!known && self.namespaces.len() >= limits.namespaces_max)
        {
            Some("Too many namespaces")
        } else if self.sockets.len() >= limits.sockets_max
            || self.held.kept_bytes + auth.len() > limits.kept_bytes_max
        {
            Some("Too many sockets")
        } else {
            None
        };
        if let Some(why) = why {
            self.counters.limits_hit += 1;
            let socket = self.seat(key, name, "");
            self.refuse(socket, why, None);
            return None;
        }
        let socket = self.seat(key, name, auth);
        self.claim_first(socket, auth)
    }

    fn disconnect_packet<'b>(&mut self, key: Key, namespace: &str) -> Option<Dispatch<'b>> {
        match self.find_seat(key, namespace) {
            Some((socket, Seat::Joined)) => {
                self.unseat(socket, Ending::ClientLeft);
                None
            }
            _ => self.violation(key, Ending::NotJoined),
        }
    }

    fn event_packet(&mut self, key: Key, packet: &Packet<'_>, source: &str) -> Option<EventFound> {
        let now = self.now;
        let Some((socket, Seat::Joined)) = self.find_seat(key, packet.namespace) else {
            self.violation(key, Ending::NotJoined);
            return None;
        };
        // Rule: an EVENT without payload is ignored, as in Node.
        if packet.data.is_empty() {
            return None;
        }
        let body = match self.json.event(packet.data, packet.attachments) {
            Ok(body) => body,
            Err(error) => {
                self.unreadable(key, error);
                return None;
            }
        };
        let name = match body.name {
            Cow::Borrowed(name) => Name::InText(within(source, name)),
            Cow::Owned(name) => Name::Owned(name),
        };
        let args = within(source, body.args);
        if let Some(socket) = self.sockets.get_mut(socket) {
            socket.active_at = now;
        }
        Some(EventFound { socket, name, args, ack: packet.ack_id.map(AckId::new) })
    }

    fn ack_packet(
        &mut self,
        key: Key,
        packet: &Packet<'_>,
        attachments: Vec<Vec<u8>>,
    ) -> Option<Dispatch<'static>> {
        let Some((socket, Seat::Joined)) = self.find_seat(key, packet.namespace) else {
            return self.violation(key, Ending::NotJoined);
        };
        let args = match self.json.ack(packet.data, packet.attachments) {
            Ok(args) => args.to_owned(),
            Err(error) => return self.unreadable(key, error),
        };
        if let Some(id) = packet.ack_id {
            self.handle_ack(socket, id, AckArgs { args, attachments });
        }
        None
    }

    /// The socket of a session in a namespace.
    fn find_seat(&self, key: Key, namespace: &str) -> Option<(Key, Seat)> {
        let session = self.sessions.get(key)?;
        session.sockets.iter().find_map(|seat| {
            let socket = self.sockets.get(*seat)?;
            let name = &self.namespaces.get(socket.namespace).name;
            (**name == *namespace).then_some((*seat, socket.seat))
        })
    }

    fn unreadable<'b>(&mut self, key: Key, _why: ParseError) -> Option<Dispatch<'b>> {
        self.counters.parse_errors += 1;
        self.violation(key, Ending::SocketPacket)
    }

    /// The peer broke a rule of Socket.IO: the whole connection closes.
    fn violation<'b>(&mut self, key: Key, ending: Ending) -> Option<Dispatch<'b>> {
        self.end_session(key, ending);
        None
    }
}

/// What one msgpack packet may hold; a value takes 40 bytes of JSON at most beside its own.
const MSGPACK_LIMITS: socketio::DecodeLimits =
    socketio::DecodeLimits { depth: socketio::DEPTH_MAX, elements_max: 250_000 };

struct EventFound {
    socket: Key,
    name: Name,
    args: Range<usize>,
    ack: Option<AckId>,
}

/// Where `part`, a slice of `whole`, stands in it.
fn within(whole: &str, part: &str) -> Range<usize> {
    if part.is_empty() {
        return 0..0;
    }
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

fn query_to_json(query: &str) -> String {
    let query = crate::http::Query::parse(query);
    let pairs: serde_json::Map<String, serde_json::Value> =
        query.iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    serde_json::Value::Object(pairs).to_string()
}

/// All but the first character, which is an ASCII one.
fn without_first(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[1..]),
        Cow::Owned(mut text) => {
            text.remove(0);
            Cow::Owned(text)
        }
    }
}
