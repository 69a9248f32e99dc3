//! One TCP connection: what it speaks by now.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use super::entrance::Entrance;
use super::{Ending, Handshake, LogEvent, Shard};
use crate::base::{AddressName, Counted, Full, Key, LINGER_BYTES_MAX, Millis};
use crate::http::{Body, Coding};
use crate::ws;

/// One connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) speaks: Speaks,
    pub(crate) peer: SocketAddr,
    /// Bytes to write that belong to no session's outbox: HTTP answers, control frames.
    pub(crate) out: Vec<u8>,
    /// Bytes taken from here that the kernel did not take. They are kept here and not by the
    /// host, so that cutting a client frees them at once.
    pub(crate) unsent: Vec<u8>,
    /// What of both is counted.
    pub(crate) out_counted: usize,
    /// It has not sent a whole request yet.
    pub(crate) opening: bool,
    /// On the list of connections to write to.
    pub(crate) dirty: bool,
    /// Ending: what remains is written, then the sending side is shut.
    pub(crate) closing: bool,
    /// Given up: the descriptor is shut without waiting for what remains.
    pub(crate) aborted: bool,
    /// When something is due.
    pub(crate) due: Option<Millis>,
    /// Bytes that came after it began to end.
    pub(crate) late_bytes: usize,
    /// Whether a plain WebSocket owes a sign of life.
    pub(crate) ping: Ping,
    /// Since when the kernel takes nothing more.
    pub(crate) blocked_at: Option<Millis>,
    /// Bytes of a message that has arrived in part, wherever they are kept.
    pub(crate) partial_bytes: usize,
    /// Those of them that the host keeps.
    pub(crate) unread: usize,
    /// The code of the peer's close frame, which ours repeats (RFC 6455, section 5.5.1).
    pub(crate) peer_code: Option<u16>,
    /// It was told to wait before its input is looked at again.
    pub(crate) paused: bool,
    /// It goes to another core as soon as nothing waits to be written here.
    pub(crate) moving: bool,
    /// What it has yet to show before its first request.
    pub(crate) entrance: Entrance,
    /// It came over TLS, here or to a proxy that says so.
    pub(crate) secure: bool,
    /// Some bytes of a request's head have arrived.
    pub(crate) head_begun: bool,
    /// The earliest entry it has in the timer queue.
    pub(crate) timer_at: Millis,
    /// Its place among the connections of its address, if those are limited.
    pub(crate) counted: Option<Counted>,
}

impl Conn {
    /// Puts it on the list of connections to write to, unless it stands there.
    pub(super) fn mark_dirty(&mut self, key: Key, dirty: &mut VecDeque<Key>) {
        if !std::mem::replace(&mut self.dirty, true) {
            dirty.push_back(key);
        }
    }
}

/// How a plain WebSocket stands with its pings. A session has its own, see `engineio::Heartbeat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ping {
    /// The next deadline is that of a ping.
    Due,
    /// One went out, and nothing has come since.
    Owed,
    /// One went out, and the peer said something.
    Answered,
}

/// What a connection speaks.
#[derive(Debug)]
pub(crate) enum Speaks {
    Http(Phase),
    WebSocket { decoder: ws::Decoder, role: Role, deflate: Option<ws::Agreed> },
}

/// Where an HTTP connection stands. One request at a time; pipelined ones wait in the host.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Waiting for a request head.
    Head,
    /// Receiving a body.
    Body(Box<Reading>),
    /// Giving out the packets of a post.
    Payload(Box<Payload>),
    /// A poll that waits for something to be said.
    Poll { session: Key, keep_alive: bool, coding: Option<Coding>, origin: Option<Box<str>> },
    /// A handshake that waits for the application's hook.
    Asking(Box<Asking>),
    /// A REST request that waits for the admin core.
    Forwarded,
}

/// A body on its way in.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) body: Body,
    pub(crate) bytes: Vec<u8>,
    pub(crate) bytes_max: usize,
    pub(crate) then: Then,
    pub(crate) keep_alive: bool,
}

/// What a body is for.
#[derive(Debug)]
pub(crate) enum Then {
    /// Packets of a session.
    Post { session: Key, binary: bool, origin: Option<Box<str>> },
    /// A request for the admin core, its head.
    Forward { head: Vec<u8> },
    /// Nothing: the answer is known already.
    Answer(Vec<u8>),
}

impl Then {
    /// Bytes that wait with it.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Post { .. } => 0,
            Self::Forward { head } => head.len(),
            Self::Answer(answer) => answer.len(),
        }
    }

    /// The page that waits for the answer, where it is one of a session.
    pub(crate) fn origin(&self) -> Option<&str> {
        match self {
            Self::Post { origin, .. } => origin.as_deref(),
            Self::Forward { .. } | Self::Answer(_) => None,
        }
    }
}

/// Packets of a post that are being given out.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) session: Key,
    pub(crate) body: PostBody,
    pub(crate) at: usize,
    /// A packet could not be read.
    pub(crate) bad: bool,
    pub(crate) keep_alive: bool,
    pub(crate) origin: Option<Box<str>>,
}

/// The body of a post, judged once: text is UTF-8.
#[derive(Debug)]
pub(crate) enum PostBody {
    Text(String),
    Binary(Vec<u8>),
    /// Text that is not UTF-8.
    Unreadable,
}

impl PostBody {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
            Self::Unreadable => 0,
        }
    }
}

/// A handshake that waits for the application's verdict.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) handshake: Arc<Handshake>,
    pub(crate) endpoint: u8,
    pub(crate) head: Vec<u8>,
    pub(crate) asked_at: crate::base::Micros,
    /// Set once the hook has spoken; `next` goes on from there.
    pub(crate) verdict: Option<Result<(), String>>,
}

/// What a WebSocket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Session(Key),
    Candidate(Key),
    Plain {
        endpoint: u8,
    },
    /// Its session is over; what still comes in is dropped.
    Spent,
}

impl Shard {
    /// A connection was accepted. `None` if there are too many: close it at once.
    pub fn open_conn(&mut self, peer: SocketAddr) -> Option<Key> {
        if self.conns.len() >= self.settings.limits.conns_max {
            self.counters.connections_refused += 1;
            self.count_ending(Ending::ConnsFull);
            return None;
        }
        // A proxy has the connections of all its clients.
        let is_proxy = self.settings.proxies.trusts(peer.ip());
        let counted = if is_proxy { Ok(None) } else { self.count_address(peer) };
        let Ok(counted) = counted else {
            return None;
        };
        let key = self.conns.insert(Conn {
            speaks: Speaks::Http(Phase::Head),
            peer,
            out: Vec::new(),
            unsent: Vec::new(),
            out_counted: 0,
            opening: true,
            dirty: false,
            closing: false,
            aborted: false,
            due: None,
            late_bytes: 0,
            ping: Ping::Due,
            blocked_at: None,
            partial_bytes: 0,
            unread: 0,
            peer_code: None,
            paused: false,
            moving: false,
            entrance: Entrance::Passed,
            secure: false,
            head_begun: false,
            timer_at: Millis(u64::MAX),
            counted,
        });
        self.counters.connections_opened += 1;
        let keep_alive_ms = self.settings.limits.request_timeout_ms;
        self.set_conn_due(key, keep_alive_ms);
        self.line_up(key);
        Some(key)
    }

    /// A new connection waits in line for its first request. If the line is too long, who has
    /// waited longest ends.
    fn line_up(&mut self, key: Key) {
        let conns = &self.conns;
        let is_waiting = |key: Key| conns.get(key).is_some_and(|conn| conn.opening);
        self.held.opening.enter(key, is_waiting);
        if self.held.opening.len() > self.settings.limits.opening_max
            && let Some(oldest) = self.held.opening.oldest(is_waiting)
        {
            self.counters.limits_hit += 1;
            self.conn_ends(oldest, Ending::OpeningFull);
            self.has_opened(oldest);
            self.abort_conn(oldest);
        }
    }

    /// Counts a connection of this address, unless it has as many as it may; that is an ending.
    pub(super) fn count_address(&mut self, peer: SocketAddr) -> Result<Option<Counted>, Full> {
        let Some(addresses) = &self.settings.address_conns else { return Ok(None) };
        let counted = addresses.add(&AddressName::of(peer.ip()));
        if counted.is_err() {
            self.counters.connections_refused += 1;
            self.count_ending(Ending::AddressFull);
        }
        counted
    }

    /// The connection is gone, or gives itself up: the peer closed it, it broke, or it moves to
    /// another core. Everything that hung on it ends.
    pub fn handle_eof(&mut self, key: Key) {
        self.conn_ends(key, Ending::PeerVanished);
        self.forget_conn(key);
    }

    /// Whether a connection that is to go to another core still may. One that was cut, or is
    /// ending, has had its ending counted, and its last words are here.
    #[must_use]
    pub fn may_move(&self, key: Key) -> bool {
        self.conns.get(key).is_some_and(|conn| !conn.aborted && !conn.closing)
    }

    /// Takes a connection out without an ending: its descriptor moves to another core.
    pub fn release_conn(&mut self, key: Key) {
        debug_assert!(
            self.conns.get(key).is_none_or(|conn| conn.out.is_empty() && conn.unsent.is_empty()),
            "what is left unsent here would be lost"
        );
        self.counters.handovers_out += 1;
        self.forget_conn(key);
    }

    pub(super) fn forget_conn(&mut self, key: Key) {
        if let Some(conn) = self.conns.remove(key) {
            self.partial_bytes -= conn.partial_bytes;
            self.held.out_bytes -= conn.out_counted;
            if conn.opening {
                self.held.opening.leave();
            }
            self.counters.connections_closed += 1;
            if conn.entrance != Entrance::Passed {
                self.half_open.leave(key);
            }
            if let (Some(addresses), Some(counted)) = (&self.settings.address_conns, conn.counted) {
                addresses.remove(counted);
            }
        }
    }

    /// The host keeps `bytes` of this connection that do not make a whole frame or head yet.
    pub fn note_partial(&mut self, key: Key, bytes: usize) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.unread = bytes;
        conn.count_partial(&mut self.partial_bytes);
        self.shed_partials();
    }

    /// Whether the host should leave this connection's input alone until it is resumed: its
    /// answer, its outbox or its handlers are behind, or another core is.
    pub fn reads_paused(&mut self, key: Key) -> bool {
        let soft = self.settings.limits.outbox_soft_bytes;
        let Some(conn) = self.conns.get(key) else { return false };
        let behind = match &conn.speaks {
            Speaks::WebSocket { role: Role::Session(session), .. } => {
                self.sessions.get(*session).is_some_and(|session| {
                    session.outbox.bytes() > soft || self.handlers_full(session)
                })
            }
            _ => conn.out.len() > soft,
        };
        let paused = !conn.closing && (behind || self.overloaded());
        if paused != conn.paused
            && let Some(conn) = self.conns.get_mut(key)
        {
            conn.paused = paused;
            self.counters.overload_pauses += u64::from(paused);
        }
        paused
    }

    /// Lets a connection's input be looked at again if nothing is behind any more.
    pub(super) fn resume_if_paused(&mut self, key: Key) {
        if self.conns.get(key).is_some_and(|conn| conn.paused) {
            self.resumed.push(key);
        }
    }

    /// Whether input of this connection must wait for an answer to an earlier request.
    #[must_use]
    pub fn is_busy(&self, key: Key) -> bool {
        let soft = self.settings.limits.outbox_soft_bytes;
        self.conns.get(key).is_some_and(|conn| match &conn.speaks {
            Speaks::Http(Phase::Head | Phase::Body(_)) => conn.moving || conn.out.len() > soft,
            Speaks::Http(_) => true,
            Speaks::WebSocket { .. } => false,
        })
    }

    /// Whether a peer that sends no more is still to be answered: a REST request is with the
    /// admin core, or what was said to it has not been written. A poll is not an answer that is
    /// owed.
    ///
    /// The connection is resumed when that may have changed, which may be a write later.
    #[must_use]
    pub fn owes_answer(&mut self, key: Key) -> bool {
        let Some(conn) = self.conns.get_mut(key) else { return false };
        let owed = match &conn.speaks {
            Speaks::Http(Phase::Forwarded) => !conn.aborted,
            Speaks::Http(_) => !conn.aborted && conn.dirty && !conn.out.is_empty(),
            Speaks::WebSocket { .. } => !conn.aborted && conn.dirty,
        };
        conn.paused |= owed;
        owed
    }

    /// The peer of a connection.
    #[must_use]
    pub fn peer(&self, key: Key) -> Option<SocketAddr> {
        self.conns.get(key).map(|conn| conn.peer)
    }

    /// Whether this connection is a WebSocket by now.
    #[must_use]
    pub fn is_websocket(&self, key: Key) -> bool {
        self.conns.get(key).is_some_and(|conn| matches!(conn.speaks, Speaks::WebSocket { .. }))
    }

    pub(super) fn mark_dirty(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.mark_dirty(key, &mut self.dirty);
        }
    }

    /// Appends bytes that are ready for the wire.
    pub(super) fn write_raw(&mut self, key: Key, bytes: &[u8]) {
        if let Some(conn) = self.conns.get_mut(key)
            && !conn.closing
        {
            conn.out.extend_from_slice(bytes);
            self.count_out(key);
            self.mark_dirty(key);
        }
    }

    /// What remains is written, then the connection closes; a WebSocket says so with a frame.
    pub(super) fn close_conn(&mut self, key: Key, ending: Ending) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.closing {
            return;
        }
        if let Speaks::WebSocket { role, .. } = &mut conn.speaks {
            *role = Role::Spent;
            let own_code = (ending.ws_code() != 0).then(|| ending.ws_code());
            let code = conn.peer_code.or(own_code);
            let frame = ws::close_frame(code);
            // An outbox of megabytes may stand before it, whose room four bytes would double.
            conn.out.reserve_exact(frame.len());
            conn.out.extend_from_slice(&frame);
        }
        conn.closing = true;
        self.count_out(key);
        self.mark_dirty(key);
        self.resumed.push(key);
    }

    /// Drops what comes in on a connection that is ending. Who has sent too much by then is not
    /// waited for any longer.
    pub(super) fn drop_late(&mut self, key: Key, bytes: usize) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.late_bytes += bytes;
        if conn.late_bytes > LINGER_BYTES_MAX && !conn.aborted {
            self.counters.limits_hit += 1;
            self.abort_conn(key);
        }
    }

    pub(super) fn count_ending(&mut self, ending: Ending) {
        self.endings.count(ending as usize);
        self.logs.push_back(LogEvent::Ended(ending));
    }
}

/// Time a peer has to close its side once all was said and ours is shut.
pub(super) const LINGER_MS: u64 = 2_000;
