//! What gives way when a core holds too much: those that hold most, several at once.
//!
//! One look at everybody frees an eighth of the bound, so that the next one is an eighth of the
//! bound away: O(1) for each byte queued, however many clients there are.

use std::collections::BinaryHeap;

use super::conn::{Role, Speaks};
use super::session::Transport;
use super::{Ending, Shard};
use crate::base::{Key, Strain};

/// Bytes that a connection may have left when its session was cut: a close frame.
const LAST_BYTES: usize = 1_024;
/// Below this, what waits is no queue and gives nothing back when memory is short.
const WORTH_SHEDDING_BYTES: usize = 64 << 10;

/// Who holds bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Session(Key),
    Conn(Key),
}

impl Shard {
    /// The core holds as much for its clients as it may: the largest queues end.
    pub(super) fn shed_waiting(&mut self) {
        let max = self.settings.limits.outboxes_bytes_max;
        if self.waiting_bytes() > max {
            self.counters.limits_hit += 1;
            self.shed_waiting_to(max / 8 * 7, Ending::CoreFull);
        }
    }

    /// Ends clients, those for whom most waits first, until no more than `bytes_max` waits.
    fn shed_waiting_to(&mut self, bytes_max: usize, ending: Ending) {
        if std::mem::replace(&mut self.held.shedding, true) {
            return;
        }
        self.counters.sheds += 1;
        let sessions = self.sessions.iter().map(|(key, session)| {
            let conn = match session.transport {
                Transport::WebSocket { conn } => self.conns.get(conn).map(|conn| conn.out_counted),
                _ => None,
            };
            (session.outbox.bytes() + conn.unwrap_or(0), Holder::Session(key))
        });
        let conns = self.conns.iter().filter(|(_, conn)| {
            !matches!(conn.speaks, Speaks::WebSocket { role: Role::Session(_), .. })
        });
        let conns = conns.map(|(key, conn)| (conn.out_counted, Holder::Conn(key)));
        let mut holders: BinaryHeap<_> = sessions.chain(conns).filter(|(b, _)| *b > 0).collect();
        while self.waiting_bytes() > bytes_max
            && let Some((_, holder)) = holders.pop()
        {
            match holder {
                Holder::Session(key) => self.cut(key, ending),
                Holder::Conn(key) => {
                    self.counters.slow_consumers += 1;
                    self.conn_ends(key, ending);
                    self.abort_conn(key);
                }
            }
        }
        self.held.shedding = false;
    }

    /// A session ends although its client may be reading: what waits for it goes too.
    fn cut(&mut self, key: Key, ending: Ending) {
        let conn = self.sessions.get(key).and_then(|session| match session.transport {
            Transport::WebSocket { conn } => Some(conn),
            _ => None,
        });
        self.slow(key, ending);
        if let Some(conn) = conn
            && self.conns.get(conn).is_some_and(|conn| conn.out_counted > LAST_BYTES)
        {
            self.abort_conn(conn);
        }
    }

    pub(super) fn slow(&mut self, key: Key, ending: Ending) {
        self.counters.slow_consumers += 1;
        self.discard_outbox(key);
        self.end_session(key, ending);
    }

    /// What waits for this session will not be sent: it is being cut for being too slow.
    fn discard_outbox(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        self.outbox_bytes -= session.outbox.bytes();
        session.outbox = super::outbox::Outbox::default();
        if std::mem::take(&mut session.said)
            && let Transport::WebSocket { conn } = session.transport
            && let Some(conn) = self.conns.get_mut(conn)
        {
            conn.out = Vec::new();
            conn.count_out(&mut self.held.out_bytes);
        }
    }

    /// Memory for what has arrived in part is used up: those who hold most of it end, not
    /// whoever comes next.
    pub(super) fn shed_partials(&mut self) {
        let max = self.settings.limits.partials_bytes_max;
        if self.partial_bytes > max {
            self.counters.limits_hit += 1;
            self.shed_partials_to(max / 8 * 7, Ending::PartialsFull);
        }
    }

    fn shed_partials_to(&mut self, bytes_max: usize, ending: Ending) {
        self.counters.sheds += 1;
        let conns = self.conns.iter().map(|(key, conn)| (conn.partial_bytes, Holder::Conn(key)));
        let sessions = self.sessions.iter().filter_map(|(key, session)| {
            let partial = session.partial.as_ref()?;
            Some((partial.bytes, Holder::Session(key)))
        });
        let mut holders: BinaryHeap<_> = sessions.chain(conns).filter(|(b, _)| *b > 0).collect();
        while self.partial_bytes > bytes_max
            && let Some((_, holder)) = holders.pop()
        {
            match holder {
                Holder::Session(key) => self.end_session(key, ending),
                Holder::Conn(key) => {
                    self.conn_ends(key, ending);
                    if let Some(conn) = self.conns.get_mut(key) {
                        conn.unread = 0;
                        conn.speaks = Speaks::Http(super::conn::Phase::Head);
                    }
                    self.count_partial(key);
                    self.abort_conn(key);
                }
            }
        }
    }

    /// Whether the process takes new sessions: it is not short of memory. Counted if not.
    pub(super) fn has_memory(&mut self) -> bool {
        let is_short = self.settings.pressure.strain() >= Strain::Refuse;
        if is_short {
            self.counters.memory_refusals += 1;
            self.count_ending(Ending::MemoryRefused);
        }
        !is_short
    }

    /// Whether a new connection is taken. One that comes from another core is not asked: its
    /// session lives here.
    pub fn takes_connections(&mut self) -> bool {
        let is_short = self.settings.pressure.strain() == Strain::Shed;
        if is_short {
            self.counters.memory_refusals += 1;
            self.counters.connections_refused += 1;
            self.count_ending(Ending::MemoryRefused);
        }
        !is_short
    }

    /// Where memory is very short, each look at it that finds it so halves what waits here.
    pub fn relieve_memory(&mut self) {
        let (strain, look) = self.settings.pressure.look();
        if strain != Strain::Shed || look == self.held.pressure_seen {
            return;
        }
        self.held.pressure_seen = look;
        let (waiting, partial) = (self.waiting_bytes(), self.partial_bytes);
        // The larger of the two alone: who sends a long message is not to blame for full queues.
        if waiting >= partial {
            if waiting > WORTH_SHEDDING_BYTES {
                self.shed_waiting_to(waiting / 2, Ending::MemoryShed);
            }
        } else if partial > WORTH_SHEDDING_BYTES {
            self.shed_partials_to(partial / 2, Ending::MemoryShed);
        }
    }
}
