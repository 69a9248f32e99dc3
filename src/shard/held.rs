//! What a core holds for its peers and no table counts by itself.

use std::cell::Cell;
use std::collections::VecDeque;

use super::Shard;
use super::conn::{Conn, Phase, Speaks};
use super::socket::Socket;
use crate::base::Key;

/// Sums over all connections, sessions, sockets and questions of a core. `Shard::check` forms
/// them anew and compares.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Bytes for connections outside of outboxes: answers, control frames, what the kernel did
    /// not take.
    pub(crate) out_bytes: usize,
    /// Request heads and auth payloads.
    pub(crate) kept_bytes: usize,
    /// Rooms and memberships.
    pub(crate) rooms_bytes: usize,
    /// What questions have collected.
    pub(crate) gathered_bytes: usize,
    /// Events of async handlers that run.
    pub(crate) task_bytes: usize,
    /// Input waits because the core runs as many handlers as it may.
    pub(crate) tasks_full: Cell<bool>,
    /// Connections without a whole request yet.
    pub(crate) opening: Line,
    /// Sessions without a namespace yet.
    pub(crate) unjoined: Line,
    /// Queues are being shed: what that writes must not begin it again.
    pub(crate) shedding: bool,
    /// The last look at memory that was acted upon.
    pub(crate) pressure_seen: u64,
}

/// Those that have begun and not arrived yet, in the order in which they came.
///
/// Cost: O(1); who arrives or goes stays in the line until the line is looked through, which
/// happens when most of it is so.
#[derive(Debug, Default)]
pub(crate) struct Line {
    keys: VecDeque<Key>,
    waiting: usize,
}

impl Line {
    /// How many wait.
    pub(crate) const fn len(&self) -> usize {
        self.waiting
    }

    /// Somebody has begun.
    pub(crate) fn enter(&mut self, key: Key, is_waiting: impl Fn(Key) -> bool) {
        self.waiting += 1;
        self.keys.push_back(key);
        if self.keys.len() > 2 * self.waiting + SLACK {
            self.keys.retain(|key| is_waiting(*key));
            self.keys.shrink_to(2 * self.keys.len() + SLACK);
        }
    }

    /// Somebody has arrived, or is gone.
    pub(crate) const fn leave(&mut self) {
        self.waiting -= 1;
    }

    /// Who has waited longest.
    pub(crate) fn oldest(&mut self, is_waiting: impl Fn(Key) -> bool) -> Option<Key> {
        while let Some(key) = self.keys.front().copied() {
            if is_waiting(key) {
                return Some(key);
            }
            self.keys.pop_front();
        }
        None
    }
}

/// Entries of a line that are not worth being looked through.
const SLACK: usize = 64;

impl Speaks {
    /// Bytes that a connection holds of what has arrived and was not given out.
    pub(crate) fn held_bytes(&self) -> usize {
        match self {
            Self::WebSocket { decoder, .. } => decoder.partial_bytes(),
            Self::Http(Phase::Body(reading)) => reading.bytes.capacity() + reading.then.bytes(),
            Self::Http(Phase::Payload(payload)) => payload.body.len(),
            // Once in the handshake that the hook sees.
            Self::Http(Phase::Asking(asking)) => 2 * asking.head.len(),
            Self::Http(Phase::Head | Phase::Poll { .. } | Phase::Forwarded) => 0,
        }
    }
}

impl Conn {
    /// Counts anew what waits for it outside of its session's outbox, and mends the sum.
    pub(super) fn count_out(&mut self, sum: &mut usize) {
        let bytes = self.out.capacity() + self.unsent.capacity();
        *sum = *sum + bytes - self.out_counted;
        self.out_counted = bytes;
    }

    /// Counts anew what it holds of what has arrived and was not given out, and mends the sum.
    pub(super) fn count_partial(&mut self, sum: &mut usize) {
        let bytes = self.unread + self.speaks.held_bytes();
        *sum = *sum + bytes - self.partial_bytes;
        self.partial_bytes = bytes;
    }
}

impl Shard {
    /// Counts anew what waits for a connection outside of its session's outbox.
    pub(super) fn count_out(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.count_out(&mut self.held.out_bytes);
        }
    }

    /// Counts anew what a connection holds of what has arrived and was not given out.
    pub(super) fn count_partial(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.count_partial(&mut self.partial_bytes);
        }
    }

    /// Bytes that wait for clients, wherever they are.
    pub(super) const fn waiting_bytes(&self) -> usize {
        self.outbox_bytes + self.held.out_bytes
    }

    /// A connection has sent a whole head, or ends.
    pub(super) fn has_opened(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.head_begun = false;
        if std::mem::take(&mut conn.opening) {
            self.held.opening.leave();
        }
    }

    /// A session has joined a namespace, or ends. True if it had not before.
    pub(super) fn has_joined(&mut self, key: Key) -> bool {
        let first = self.sessions.get_mut(key).is_some_and(|s| s.connect_due.take().is_some());
        if first {
            self.held.unjoined.leave();
        }
        first
    }

    /// Whether a session must wait for handlers: its own, or those of the core.
    pub(super) fn handlers_full(&self, session: &super::session::Session) -> bool {
        let limits = &self.settings.limits;
        let own = session.tasks >= limits.handler_tasks_max
            || session.task_bytes > limits.packet_bytes_max;
        let all = self.counters.async_handlers_running >= limits.tasks_max as u64
            || self.held.task_bytes > limits.tasks_bytes_max;
        if all {
            self.held.tasks_full.set(true);
        }
        own || self.held.tasks_full.get()
    }

    /// Handlers have ended: if the core was full and a good part is free again, everybody's input
    /// is looked at.
    pub(super) fn relieve_handlers(&mut self) {
        let limits = &self.settings.limits;
        let running = usize::try_from(self.counters.async_handlers_running).unwrap_or(usize::MAX);
        if self.held.tasks_full.get()
            && running <= limits.tasks_max / 8 * 7
            && self.held.task_bytes <= limits.tasks_bytes_max / 8 * 7
        {
            self.held.tasks_full.set(false);
            let waits =
                |conn: &Conn| conn.paused || matches!(conn.speaks, Speaks::Http(Phase::Payload(_)));
            let waiting = self.conns.iter().filter(|(_, conn)| waits(conn)).map(|(key, _)| key);
            self.resumed.extend(waiting.collect::<Vec<_>>());
        }
    }

    /// Forgets deadlines that nobody waits for, if there are many of them.
    ///
    /// Cost: O(1) amortised over the deadlines that were added.
    pub(super) fn tidy_timers(&mut self) {
        use super::timer::Timer;
        let owners =
            self.conns.len() + self.sessions.len() + self.sockets.len() + self.gathers.len();
        if self.timers.len() <= 2 * owners + TIMERS_SLACK {
            return;
        }
        let (conns, sessions) = (&self.conns, &self.sessions);
        let (sockets, gathers) = (&self.sockets, &self.gathers);
        let recovery_due = self.recovery_due;
        self.timers.tidy(|timer| match timer {
            Timer::Conn(key) => conns.get(*key).map(|conn| conn.timer_at),
            Timer::Session(key) => sessions.get(*key).map(|session| session.timer_at),
            Timer::Acks(key) => sockets.get(*key).and_then(|socket| socket.acks_timer_at),
            Timer::Gather(key) => gathers.get(*key).map(|gather| gather.due),
            Timer::Beyond(key) => gathers.get(*key).and_then(|gather| gather.beyond_due()),
            Timer::Claim(key) => sockets.get(*key).and_then(Socket::claim_due_at),
            Timer::Recovery => recovery_due,
        });
    }
}

/// Deadlines that are not worth being looked through.
pub(super) const TIMERS_SLACK: usize = 4_096;
