//! How things end. The outcomes are spelled in `ending.rs`; who learns of them, here.

use super::conn::{Phase, Role, Speaks, Then};
use super::session::Transport;
use super::{Ending, Shard};
use crate::base::Key;
use crate::engineio::Kind;
use crate::http::{EngineError, Response};

/// Time a polling client has to come for its last words.
///
/// Rule: Node waits 30 s for the poll that carries the close packet.
const LAST_WORDS_MS: u64 = 30_000;
/// The same after a close packet of the client, whose poll may be a moment late: on another core
/// or another connection it is not ordered with the post.
const LATE_POLL_MS: u64 = 200;

impl Shard {
    /// A connection ends for this reason; what hung on it ends too.
    pub(super) fn conn_ends(&mut self, key: Key, ending: Ending) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let already_closing = conn.closing;
        match &conn.speaks {
            Speaks::WebSocket { role: Role::Session(session), .. } => {
                let session = *session;
                self.end_session(session, ending);
            }
            Speaks::WebSocket { role: Role::Candidate(session), .. } => {
                let session = *session;
                self.count_ending(Ending::UpgradeFailed);
                self.counters.upgrades_failed += 1;
                if let Some(session) = self.sessions.get_mut(session)
                    && session.upgrade.as_ref().is_some_and(|upgrade| upgrade.conn == key)
                {
                    session.upgrade = None;
                }
                self.close_conn(key, ending);
            }
            Speaks::WebSocket { role: Role::Plain { .. }, .. } => {
                self.count_ending(ending);
                self.close_conn(key, ending);
            }
            Speaks::WebSocket { role: Role::Spent, .. } => {}
            Speaks::Http(phase) => {
                let session = match phase {
                    Phase::Poll { session, .. } => Some(*session),
                    Phase::Body(reading) => match &reading.then {
                        Then::Post { session, .. } => Some(*session),
                        Then::Forward { .. } | Then::Answer(_) => None,
                    },
                    Phase::Payload(payload) => {
                        // All of it is here; only the answer is not wanted any more.
                        let session = payload.session;
                        self.forget_request(session, key);
                        None
                    }
                    _ => None,
                };
                let Some(conn) = self.conns.get_mut(key) else { return };
                conn.speaks = Speaks::Http(Phase::Head);
                if let Some(session) = session {
                    // Rule: an aborted poll or post ends its session (engine.io, polling).
                    self.forget_request(session, key);
                    self.end_session(session, Ending::RequestAborted);
                } else if !already_closing {
                    let quiet = ending == Ending::PeerVanished;
                    self.count_ending(if quiet { Ending::HttpDone } else { ending });
                }
                self.close_conn(key, ending);
            }
        }
    }

    fn forget_request(&mut self, session: Key, conn: Key) {
        let Some(session) = self.sessions.get_mut(session) else { return };
        if session.post == Some(conn) {
            session.post = None;
        }
        if session.transport == (Transport::Polling { poll: Some(conn) }) {
            session.transport = Transport::Polling { poll: None };
        }
    }

    /// A session ends: its sockets are gone, its transport is told.
    pub(super) fn end_session(&mut self, key: Key, ending: Ending) {
        let Some(session) = self.sessions.get(key) else { return };
        if matches!(session.transport, Transport::LastWords { .. }) {
            return;
        }
        for socket in session.sockets.clone() {
            self.unseat(socket, ending);
        }
        self.has_joined(key);
        self.count_ending(ending);
        self.counters.sessions_closed += 1;
        self.drop_partial_packet(key);
        let session = self.sessions.get_mut(key).expect("its sockets do not own it");
        let (upgrade, transport) = (session.upgrade.take(), session.transport);
        if let Some(upgrade) = upgrade {
            self.close_conn(upgrade.conn, ending);
        }
        match transport {
            Transport::WebSocket { conn } => {
                self.drain_into(key, conn);
                self.close_conn(conn, ending);
                self.forget_session(key);
            }
            Transport::Polling { poll } => self.end_polling(key, poll, ending),
            Transport::LastWords { .. } => {}
        }
    }

    /// The last packet of a polling session: `6` answers the poll of a client that left, `1`
    /// tells the others. If no poll waits, the next one gets it, where there will be one.
    ///
    /// A close packet never shares a body with messages: the official client acts on it before
    /// the messages in front of it, and takes a disconnect for a broken transport.
    fn end_polling(&mut self, key: Key, poll: Option<Key>, ending: Ending) {
        let packet = if ending == Ending::PeerClosed { Kind::Noop } else { Kind::Close }.digit();
        let says_something = self.sessions.get(key).is_some_and(|s| !s.outbox.is_empty());
        let wait_ms = match ending {
            Ending::PeerClosed => LATE_POLL_MS,
            Ending::SocketPacket
            | Ending::NotJoined
            | Ending::ConnectTwice
            | Ending::ConnectTimeout
            | Ending::ServerClosed
            | Ending::HandlerPanic
            | Ending::ServerShutdown => LAST_WORDS_MS,
            _ => 0,
        };
        let last_words_follow = wait_ms == LAST_WORDS_MS && says_something;
        if let Some(conn) = poll {
            let last = (!last_words_follow).then_some(packet);
            self.answer_poll(key, conn, last);
        }
        if wait_ms == 0 || (poll.is_some() && !last_words_follow) {
            self.forget_session(key);
            return;
        }
        let until = self.millis().plus(wait_ms);
        if let Some(session) = self.sessions.get_mut(key) {
            session.transport = Transport::LastWords { packet, until };
            self.arm_session(key);
        }
    }

    /// Takes a session out of the tables.
    pub(super) fn forget_session(&mut self, key: Key) {
        self.has_joined(key);
        let Some(session) = self.sessions.remove(key) else { return };
        self.held.kept_bytes -= session.handshake.bytes();
        self.sids.remove(&session.sid);
        self.outbox_bytes -= session.outbox.bytes();
        // A post that waits for the session's handlers waits for nothing any more.
        self.resumed.extend(session.post);
        if let Some(post) = session.post
            && let Some(conn) = self.conns.get_mut(post)
            && let Speaks::Http(Phase::Body(reading)) = &mut conn.speaks
        {
            // The rest of the body is still to come; nobody wants it any more.
            let answer = Response::engine_error(EngineError::SidUnknown);
            let mut out = Vec::new();
            answer.write(&mut out, reading.keep_alive);
            reading.then = Then::Answer(out);
            reading.bytes = Vec::new();
        }
    }

    /// Ends every session, `share` of those that are left at most; returns how many are left.
    pub fn drain_some(&mut self, share: usize) -> usize {
        self.draining.get_or_insert(self.now);
        let keys: Vec<Key> = self
            .sessions
            .iter()
            .filter(|(_, session)| !matches!(session.transport, Transport::LastWords { .. }))
            .map(|(key, _)| key)
            .collect();
        for key in keys.iter().take(share) {
            self.end_session(*key, Ending::ServerShutdown);
        }
        keys.len().saturating_sub(share)
    }

    /// Connections that still have something to write or to be answered.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.conns
            .iter()
            .filter(|(_, conn)| {
                let busy = match &conn.speaks {
                    Speaks::Http(Phase::Head) | Speaks::WebSocket { .. } => false,
                    Speaks::Http(_) => true,
                };
                !conn.out.is_empty() || (busy && !conn.closing) || conn.blocked_at.is_some()
            })
            .count()
    }
}
