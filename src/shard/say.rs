//! What is said to one client: packets that nobody else gets.

use std::sync::Arc;

use super::Shard;
use super::ack::Waiter;
use super::compress::Pressing;
use super::conn::Speaks;
use super::emit::Emit;
use super::frame::{Frame, Wire};
use super::history::{Noted, Offset, Whom};
use super::message::{AckId, AckOutcome};
use super::session::{Parser, Transport};
use super::socket::{Seat, SocketError};
use super::track::append_offset;
use crate::base::Key;
use crate::{socketio, ws};

impl Shard {
    /// Queues an engine packet of text for one session.
    pub(super) fn send_engine(&mut self, session: Key, packet: &[u8]) {
        self.push(session, &Frame::from(Wire::text(packet)), false);
    }

    /// Queues a Socket.IO packet without attachments for one session.
    pub(super) fn send_packet(&mut self, session: Key, text: &[u8]) {
        self.send_with(session, text, &[], false);
    }

    /// Queues a Socket.IO packet for one session.
    ///
    /// Cost: one copy if it can be said at once, see [`Self::say`]; else as a frame, which is an
    /// allocation for its bytes and one for sharing them.
    fn send_with(&mut self, session: Key, text: &[u8], attachments: &[Vec<u8>], volatile: bool) {
        if !attachments.is_empty() || !self.say(session, text) {
            let wire = Wire::packet(text, attachments);
            self.push(session, &Frame::from(wire), volatile);
        }
    }

    /// Writes a packet of text to where what its connection says next is put together, if it goes
    /// out as it is and before everything that waits: over a WebSocket, in the default parser, not
    /// compressed, to a client that takes what it is sent. The answers to what was read at once so
    /// share one buffer. False if it must wait in the outbox.
    fn say(&mut self, key: Key, text: &[u8]) -> bool {
        let Some(session) = self.sessions.get_mut(key) else { return false };
        let Transport::WebSocket { conn: to } = session.transport else { return false };
        let waits = !session.outbox.is_empty() || session.hushed_until.is_some();
        let Some(conn) = self.conns.get_mut(to) else { return false };
        let speaks_plainly = matches!(conn.speaks, Speaks::WebSocket { deflate: None, .. })
            && session.parser != Parser::Msgpack;
        let takes = conn.blocked_at.is_none() && !conn.closing;
        let bytes_max = SAID_BYTES_MAX.min(self.settings.limits.outbox_bytes_max);
        if waits || !speaks_plainly || !takes || conn.out.len() + text.len() > bytes_max {
            return false;
        }
        if !std::mem::replace(&mut session.said, true) {
            session.queued_at = self.now;
        }
        if conn.out.capacity() == 0 {
            conn.out.reserve(SAID_BYTES_AT_FIRST);
        }
        ws::write_header(&mut conn.out, ws::Kind::Text, text.len() + 1);
        conn.out.push(crate::engineio::Kind::Message.digit());
        conn.out.extend_from_slice(text);
        conn.count_out(&mut self.held.out_bytes);
        conn.mark_dirty(to, &mut self.dirty);
        self.counters.packets_out += 1;
        self.shed_waiting();
        true
    }

    /// Sends a message of a raw Engine.IO session.
    pub fn send_message(&mut self, session: Key, message: Result<&str, &[u8]>) {
        let wire = match message {
            Ok(text) => Wire::text(format!("4{text}").as_bytes()),
            Err(bytes) => Wire::binary(bytes),
        };
        self.push(session, &Frame::from(wire), false);
    }

    /// Sends a message of a plain WebSocket.
    pub fn send_plain(&mut self, conn: Key, message: Result<&str, &[u8]>) {
        let mut bytes = Vec::new();
        let (kind, data) = match message {
            Ok(text) => (ws::Kind::Text, text.as_bytes()),
            Err(data) => (ws::Kind::Binary, data),
        };
        let speaks = self.conns.get(conn).map(|conn| &conn.speaks);
        if let Some(&Speaks::WebSocket { deflate: Some(agreed), .. }) = speaks {
            let (terms, counters) = (self.settings.compression, &mut self.counters);
            let mut pressing = Pressing { press: &mut self.press, agreed, terms, counters };
            pressing.write_message(kind, data, &mut bytes);
        } else {
            ws::write_header(&mut bytes, kind, data.len());
            bytes.extend_from_slice(data);
        }
        self.write_raw(conn, &bytes);
    }

    /// Sends an event to one socket. False if it is gone or has not joined.
    ///
    /// Cost: one copy to a client of the default parser that takes what it is sent; two allocations
    /// to others, and where sessions are recovered.
    pub fn emit(&mut self, socket: Key, emit: &Emit<'_>) -> bool {
        let Some((session, namespace)) = self.joined(socket) else { return false };
        self.counters.deliveries += 1;
        let offset = self.next_offset();
        let text = self.event_text(namespace, None, emit, offset);
        if let Some(offset) = offset {
            let wire = Wire::packet(&text, emit.attachments);
            self.emit_logged(socket, offset, Arc::new(wire), emit.volatile);
        } else {
            self.send_with(session, &text, emit.attachments, emit.volatile);
        }
        self.scratch = text;
        true
    }

    /// Sends an event to one socket that is to get it later if it misses it.
    fn emit_logged(&mut self, socket: Key, offset: Offset, wire: Arc<Wire>, volatile: bool) {
        let Some(entry) = self.sockets.get(socket) else { return };
        let (session, id) = (entry.session, entry.id);
        let name = self.namespace_name(entry.namespace);
        let noted = Noted::event(&wire, volatile);
        let mark = self.log_event(offset, &name, Whom::One(id), noted);
        if self.push(session, &Frame::from(wire), volatile)
            && let Some(mark) = mark
        {
            self.note_queued(socket, mark);
        }
    }

    /// Sends an event to one socket and tells `done` of its answer.
    ///
    /// # Errors
    /// [`SocketError::Gone`] and [`SocketError::TooManyAcks`]; `done` hears `Gone` then.
    pub fn emit_with_ack(
        &mut self,
        socket: Key,
        emit: &Emit<'_>,
        timeout_ms: u64,
        done: Box<dyn FnOnce(AckOutcome)>,
    ) -> Result<(), SocketError> {
        let waiter = Waiter::Callback(done);
        let Some((session, namespace)) = self.joined(socket) else {
            self.settle(None, waiter, AckOutcome::Gone);
            return Err(SocketError::Gone);
        };
        let id = self.next_ack_id();
        if let Err((why, waiter)) = self.expect_ack(socket, id, timeout_ms, waiter) {
            self.settle(None, waiter, AckOutcome::Gone);
            return Err(why);
        }
        let text = self.event_text(namespace, Some(id), emit, None);
        self.send_with(session, &text, emit.attachments, false);
        self.scratch = text;
        self.counters.deliveries += 1;
        Ok(())
    }

    /// Answers an event that wanted an ack.
    ///
    /// Cost: one copy to a client of the default parser that takes what it is sent; two allocations
    /// to others.
    pub fn send_ack(&mut self, socket: Key, id: &AckId, args: &str, attachments: &[Vec<u8>]) {
        let Some((session, namespace)) = self.joined(socket) else { return };
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        let name = &self.namespaces.get(namespace).name;
        socketio::encode::ack(&mut text, name, id.digits(), args, attachments.len());
        self.send_with(session, &text, attachments, false);
        self.scratch = text;
    }

    /// The text of an event, in the scratch that the caller gives back.
    fn event_text(
        &mut self,
        namespace: u32,
        ack_id: Option<u64>,
        emit: &Emit<'_>,
        offset: Option<Offset>,
    ) -> Vec<u8> {
        let mut text = std::mem::take(&mut self.scratch);
        emit.write(&mut text, &self.namespaces.get(namespace).name, ack_id, offset);
        text
    }

    fn joined(&self, socket: Key) -> Option<(Key, u32)> {
        let socket = self.sockets.get(socket)?;
        (socket.seat == Seat::Joined).then_some((socket.session, socket.namespace))
    }
}

impl Emit<'_> {
    /// Writes the packet's text anew, its offset as the last argument where it has one.
    pub(super) fn write(
        &self,
        text: &mut Vec<u8>,
        namespace: &str,
        ack_id: Option<u64>,
        offset: Option<Offset>,
    ) {
        text.clear();
        let attachments = self.attachments.len();
        socketio::encode::event(text, namespace, ack_id, self.name, self.args, attachments);
        if let Some(offset) = offset {
            append_offset(text, offset);
        }
    }
}

/// What is said at once goes beside the outbox and its bounds: no more than this.
const SAID_BYTES_MAX: usize = 16 << 10;
/// Room for what is said, at the first packet.
const SAID_BYTES_AT_FIRST: usize = 256;
