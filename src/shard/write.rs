//! What the host writes: everything that waits for one connection at the end of a tick, at once.

use super::Shard;
use super::compress::Pressing;
use super::conn::{Phase, Role, Speaks};
use super::session::Transport;
use crate::base::Key;
use crate::telemetry::Stage;

/// What [`Shard::fill`] put into the host's buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// More waits: call again once this is written.
    pub more: bool,
    /// When this is written nothing follows: shut the sending side.
    pub shut: bool,
    /// Nothing is to be written any more: shut the descriptor, see [`Shard::is_aborted`].
    pub aborted: bool,
}

impl Shard {
    /// The next connection that has something to write.
    pub fn take_dirty(&mut self) -> Option<Key> {
        while let Some(key) = self.dirty.pop_front() {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.dirty = false;
                return Some(key);
            }
        }
        None
    }

    /// How many connections wait to be written to.
    #[must_use]
    pub fn dirty_len(&self) -> usize {
        self.dirty.len()
    }

    /// Appends what waits for a connection to `out`, until that holds `bytes_max` or more.
    ///
    /// Cost: one copy of the bytes, into a buffer the host uses again.
    pub fn fill(&mut self, key: Key, out: &mut Vec<u8>, bytes_max: usize) -> Fill {
        let Some(mut conn) = self.conns.get_mut(key).filter(|conn| !conn.aborted) else {
            return Fill { aborted: true, ..Fill::default() };
        };
        if let Speaks::Http(Phase::Poll { session, .. }) = conn.speaks
            && self.sessions.get(session).is_some_and(|session| !session.outbox.is_empty())
        {
            self.answer_poll(session, key, None);
            let Some(answering) = self.conns.get_mut(key) else { return Fill::default() };
            conn = answering;
        }
        let before = out.len();
        if !conn.out.is_empty() {
            if conn.out.len() > self.settings.limits.outbox_soft_bytes {
                self.resumed.push(key);
            }
            out.append(&mut conn.out);
            conn.out = Vec::new();
            conn.count_out(&mut self.held.out_bytes);
        }
        let mut more = false;
        if let Speaks::WebSocket { role: Role::Session(session), deflate, .. } = &conn.speaks
            && let Some(session) = self.sessions.get_mut(*session)
            && (session.said || !session.outbox.is_empty())
            && session.hushed_until.is_none()
        {
            session.said = false;
            self.hists.record(Stage::QueuedToWritten, self.now - session.queued_at);
            let form = session.form(self.settings.limits.attachments_max);
            let (terms, counters) = (self.settings.compression, &mut self.counters);
            let press = &mut self.press;
            let mut pressing = deflate.map(|agreed| Pressing { press, agreed, terms, counters });
            let mut undeliverable = 0;
            while out.len() < bytes_max
                && let Some(frame) = session.outbox.pop()
            {
                self.outbox_bytes -= frame.cost();
                let written = match &mut pressing {
                    Some(pressing) => frame.write_ws_packed(out, form, pressing),
                    None => frame.write_ws(out, form),
                };
                undeliverable += u64::from(!written);
            }
            self.counters.attachments_undeliverable += undeliverable;
            more = !session.outbox.is_empty();
            if more {
                session.queued_at = self.now;
            }
        }
        if out.len() > before {
            self.counters.writes += 1;
            self.counters.bytes_out += (out.len() - before) as u64;
        }
        let shut = conn.closing && !more;
        if (conn.paused && !more) || conn.moving {
            conn.moving = false;
            self.resumed.push(key);
        }
        if shut {
            self.set_conn_due(key, super::conn::LINGER_MS);
        }
        Fill { more, shut, aborted: false }
    }

    /// The kernel took all that was filled in; the connection may be read again if it was
    /// paused for being behind.
    pub fn handle_written(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.blocked_at = None;
            conn.unsent = Vec::new();
            self.count_out(key);
        }
        self.mark_dirty(key);
        self.resume_if_paused(key);
    }

    /// The kernel takes nothing at the moment: `unsent` is what it left of what was filled in. If
    /// that lasts, the client is too slow.
    ///
    /// The bytes wait here: many may be cut before the host writes again, and what waits for them
    /// must not be held any longer than it is counted.
    pub fn handle_blocked(&mut self, key: Key, unsent: Vec<u8>) {
        let now = self.millis();
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.aborted {
            return;
        }
        if conn.blocked_at.is_none() {
            conn.blocked_at = Some(now);
        }
        conn.unsent = unsent;
        self.count_out(key);
        self.arm_conn(key);
        self.shed_waiting();
    }

    /// The kernel has room again: the bytes that it did not take, for another try. They count as
    /// waiting until [`Self::handle_written`] or [`Self::handle_progress`], which must follow.
    #[must_use]
    pub fn take_unsent(&mut self, key: Key) -> Vec<u8> {
        self.conns.get_mut(key).map(|conn| std::mem::take(&mut conn.unsent)).unwrap_or_default()
    }

    /// The kernel took `count` bytes, which may be none, and left `unsent`.
    pub fn handle_progress(&mut self, key: Key, count: usize, unsent: Vec<u8>) {
        let now = self.millis();
        if let Some(conn) = self.conns.get_mut(key)
            && let Some(blocked_at) = &mut conn.blocked_at
        {
            if count > 0 {
                *blocked_at = now;
            }
            conn.unsent = unsent;
            self.count_out(key);
        }
    }

    /// The host has something to say of its own, an alert or a part of a TLS handshake, while the
    /// kernel takes nothing: it goes behind what it did not take, and counts with it.
    pub fn handle_blocked_more(&mut self, key: Key, bytes: &[u8]) {
        if let Some(conn) = self.conns.get_mut(key)
            && conn.blocked_at.is_some()
        {
            conn.unsent.extend_from_slice(bytes);
            self.count_out(key);
            self.shed_waiting();
        }
    }

    /// Whether the host should close the descriptor without waiting for what remains.
    #[must_use]
    pub fn is_aborted(&self, key: Key) -> bool {
        self.conns.get(key).is_none_or(|conn| conn.aborted)
    }

    /// Whether a session's transport is a WebSocket by now.
    #[must_use]
    pub fn session_is_websocket(&self, session: Key) -> bool {
        let session = self.sessions.get(session);
        session.is_some_and(|s| matches!(s.transport, Transport::WebSocket { .. }))
    }
}
