//! Deadlines of connections, sessions, acks and questions.

use super::conn::{Phase, Ping, Role, Speaks};
use super::session::Transport;
use super::{Ending, Shard};
use crate::base::{Key, Millis};
use crate::engineio::{Beat, Kind};
use crate::ws;

/// What a deadline belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Timer {
    Conn(Key),
    Session(Key),
    Acks(Key),
    Gather(Key),
    /// How long a question waits for another process.
    Beyond(Key),
    Claim(Key),
    Recovery,
}

/// Time between the noops that release polls during an upgrade, as in Node.
const NOOP_MS: u64 = 100;

impl Shard {
    /// Runs everything that is due.
    pub fn handle_timeout(&mut self) {
        let now = self.millis();
        while let Some(timers) = self.timers.pop(now) {
            for timer in timers {
                match timer {
                    Timer::Conn(key) => self.conn_timer(key, now),
                    Timer::Session(key) => self.session_timer(key, now),
                    Timer::Acks(key) => self.acks_due(key),
                    Timer::Gather(key) => self.gather_due(key),
                    Timer::Beyond(key) => self.forget_gather_beyond(key),
                    Timer::Claim(key) => self.claim_due(key),
                    Timer::Recovery => self.recovery_sweep(),
                }
            }
        }
        self.tidy_timers();
    }

    /// An entry that an earlier one has overtaken does nothing: were it put back, each would
    /// live as long as its owner, and every request of a connection would add one.
    fn conn_timer(&mut self, key: Key, now: Millis) {
        if let Some(conn) = self.conns.get_mut(key)
            && conn.timer_at <= now
        {
            conn.timer_at = Millis(u64::MAX);
            self.conn_due(key);
            self.arm_conn(key);
        }
    }

    fn session_timer(&mut self, key: Key, now: Millis) {
        if let Some(session) = self.sessions.get_mut(key)
            && session.timer_at <= now
        {
            session.timer_at = Millis(u64::MAX);
            self.session_due(key);
            self.arm_session(key);
        }
    }

    /// When [`Self::handle_timeout`] has something to do next.
    #[must_use]
    pub fn next_due(&self) -> Option<Millis> {
        self.timers.next_due()
    }

    /// Puts a session into the queue if its earliest deadline is not there yet.
    pub(super) fn arm_session(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let due = session.due();
        if due < session.timer_at {
            session.timer_at = due;
            self.timers.add(due, Timer::Session(key));
        }
    }

    pub(super) fn set_conn_due(&mut self, key: Key, wait_ms: u64) {
        let due = self.millis().plus(wait_ms);
        if let Some(conn) = self.conns.get_mut(key) {
            conn.due = Some(due);
            self.arm_conn(key);
        }
    }

    /// Puts a connection into the queue if its earliest deadline is not there yet.
    pub(super) fn arm_conn(&mut self, key: Key) {
        let age_ms = self.settings.limits.outbox_age_ms;
        let Some(conn) = self.conns.get_mut(key) else { return };
        let too_slow = conn.blocked_at.map(|blocked_at| blocked_at.plus(age_ms));
        let Some(due) = conn.due.into_iter().chain(too_slow).min() else { return };
        if due < conn.timer_at {
            conn.timer_at = due;
            self.timers.add(due, Timer::Conn(key));
        }
    }

    fn conn_due(&mut self, key: Key) {
        let now = self.millis();
        let age_ms = self.settings.limits.outbox_age_ms;
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.blocked_at.is_some_and(|blocked_at| now >= blocked_at.plus(age_ms)) {
            // Who was cut before, and does not take its last words either, is counted once.
            self.counters.slow_consumers += u64::from(!conn.closing);
            self.conn_ends(key, Ending::SlowAge);
            self.abort_conn(key);
            return;
        }
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.due.is_none_or(|due| now < due) {
            return;
        }
        conn.due = None;
        if conn.closing {
            if conn.blocked_at.is_some() {
                // What remains is still being taken, however slowly; age cuts it if it stops.
                self.set_conn_due(key, super::conn::LINGER_MS);
            } else {
                self.abort_conn(key);
            }
            return;
        }
        if let Some(ending) = conn.entrance.too_slow() {
            self.conn_ends(key, ending);
            self.abort_conn(key);
            return;
        }
        match &conn.speaks {
            Speaks::Http(Phase::Head) if !conn.head_begun => {
                self.conn_ends(key, Ending::HttpIdle);
            }
            Speaks::Http(Phase::Head | Phase::Body(_)) => self.request_is_slow(key),
            Speaks::Http(Phase::Asking(_)) => self.conn_ends(key, Ending::HttpRule),
            Speaks::WebSocket { role: Role::Plain { .. }, .. } => self.ping_due(key),
            _ => {}
        }
    }

    /// A plain WebSocket is to be pinged, or should have shown by now that somebody is there.
    ///
    /// Rule: RFC 6455 section 5.5.2: a ping may be sent at any time, "to verify that the remote
    /// endpoint is still responsive". Whatever comes after it is taken for an answer.
    fn ping_due(&mut self, key: Key) {
        let interval_ms = self.settings.ping_interval_ms;
        let timeout_ms = self.settings.ping_timeout_ms;
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.ping == Ping::Owed {
            self.conn_ends(key, Ending::PingTimeout);
            return;
        }
        if conn.ping == Ping::Answered && interval_ms > timeout_ms {
            conn.ping = Ping::Due;
            self.set_conn_due(key, interval_ms - timeout_ms);
            return;
        }
        conn.ping = Ping::Owed;
        let mut frame = Vec::new();
        ws::write_header(&mut frame, ws::Kind::Ping, 0);
        self.write_raw(key, &frame);
        self.set_conn_due(key, timeout_ms);
    }

    /// Gives a connection up without waiting for what remains.
    pub(super) fn abort_conn(&mut self, key: Key) {
        // Whoever waits for its place need not wait for its descriptor.
        self.leave_entrance(key);
        if let Some(conn) = self.conns.get_mut(key) {
            conn.closing = true;
            conn.aborted = true;
            conn.due = None;
            conn.blocked_at = None;
            conn.out = Vec::new();
            conn.unsent = Vec::new();
            self.count_out(key);
            self.mark_dirty(key);
            self.resumed.push(key);
        }
    }

    /// Runs what is due for one session. Called by the queue, and before any input of the
    /// session is looked at, so that a deadline holds as the peer sees it.
    pub(super) fn session_due(&mut self, key: Key) {
        let now = self.millis();
        let Some(session) = self.sessions.get_mut(key) else { return };
        if now < session.due() {
            return;
        }
        if let Transport::LastWords { .. } = session.transport {
            self.forget_session(key);
            return;
        }
        if session.hushed_until.is_some_and(|until| until <= now) {
            session.hushed_until = None;
            if let Transport::WebSocket { conn } = session.transport {
                self.mark_dirty(conn);
            }
        }
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.connect_due.is_some_and(|due| due <= now) {
            self.end_session(key, Ending::ConnectTimeout);
            return;
        }
        if session.partial.as_ref().is_some_and(|partial| partial.due <= now) {
            self.end_session(key, Ending::SocketPacket);
            return;
        }
        match session.heartbeat.handle_due(now) {
            Beat::Quiet => {}
            Beat::Ping => self.send_engine(key, &[Kind::Ping.digit()]),
            Beat::Dead => {
                self.end_session(key, Ending::PingTimeout);
                return;
            }
        }
        self.upgrade_due(key, now);
    }

    fn upgrade_due(&mut self, key: Key, now: Millis) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(upgrade) = &mut session.upgrade else { return };
        let conn = upgrade.conn;
        if now >= upgrade.until {
            // Rule: engine.io: a failed upgrade leaves the polling session as it was.
            self.conn_ends(conn, Ending::UpgradeFailed);
            return;
        }
        if upgrade.noop_due.is_some_and(|due| due <= now) {
            upgrade.noop_due = Some(now.plus(NOOP_MS));
            if let Transport::Polling { poll: Some(poll) } = session.transport {
                self.answer_poll(key, poll, Some(Kind::Noop.digit()));
            }
        }
    }

    /// When the first noop of an upgrade is due.
    pub(super) fn first_noop(&self) -> Millis {
        self.millis().plus(NOOP_MS)
    }
}
