//! What the host and the admin core may look at.

use std::net::IpAddr;
use std::sync::Arc;

use super::conn::Speaks;
use super::{Ending, Shard};
use crate::base::{Key, Micros};
use crate::telemetry::{Counters, Endings, Histograms, Stage};

/// Something worth a line in the log; the host decides whether it is written.
#[derive(Clone, Debug)]
pub enum LogEvent {
    /// A socket joined a namespace.
    Joined {
        /// Which.
        namespace: Arc<str>,
        /// Its public id.
        id: crate::base::IdText,
    },
    /// A socket was refused.
    Refused {
        /// Where.
        namespace: Arc<str>,
        /// What it was told.
        message: String,
    },
    /// A socket left or lost its connection.
    Left {
        /// Which.
        namespace: Arc<str>,
        /// Its public id.
        id: String,
        /// Why.
        ending: Ending,
    },
    /// A connection or session ended.
    Ended(Ending),
    /// A request was refused.
    Request {
        /// The HTTP status.
        status: u16,
        /// Why, in a word.
        why: &'static str,
    },
    /// A peer that is no trusted proxy said for whom it speaks, and that was ignored. Once a core:
    /// the counter tells how often.
    ForwardedIgnored {
        /// Who said it.
        peer: IpAddr,
    },
}

impl LogEvent {
    /// Whether a core has it once at the most, so that no flood can come of it.
    #[must_use]
    pub const fn is_single(&self) -> bool {
        matches!(self, Self::ForwardedIgnored { .. })
    }
}

/// A namespace of one core.
#[derive(Clone, Debug)]
pub struct NamespaceView {
    /// Its name.
    pub name: Arc<str>,
    /// Sockets here.
    pub sockets: usize,
    /// Rooms with members here.
    pub rooms: usize,
}

impl Shard {
    /// The counters, gauges filled in.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters.clone();
        counters.connections = self.conns.len() as u64;
        counters.handshakes_open = self.half_open.len() as u64;
        counters.sessions = self.sessions.len() as u64;
        counters.sockets = self.sockets.len() as u64;
        counters.deflate_held_bytes = self.press.held() as u64;
        counters.outbox_bytes = self.outbox_bytes as u64;
        counters.answer_bytes = self.held.out_bytes as u64;
        counters.partial_bytes = self.partial_bytes as u64;
        counters.kept_bytes = self.held.kept_bytes as u64;
        counters.rooms_bytes = self.held.rooms_bytes as u64;
        counters.opening = self.held.opening.len() as u64;
        counters.unjoined = self.held.unjoined.len() as u64;
        counters.timers = self.timers.len() as u64;
        counters.namespaces = self.namespaces.len() as u64;
        for namespace in self.namespaces.iter() {
            counters.rooms += namespace.rooms.len() as u64;
            counters.room_memberships += namespace.rooms.memberships() as u64;
        }
        counters
    }

    /// The counters, to count something that happens outside: handlers, handovers, REST.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// How often each ending happened.
    #[must_use]
    pub fn endings(&self) -> &Endings {
        &self.endings
    }

    /// Records a latency.
    pub fn record(&mut self, stage: Stage, us: Micros) {
        self.hists.record(stage, us);
    }

    /// Takes the histograms and leaves empty ones.
    pub fn swap_histograms(&mut self, empty: Histograms) -> Histograms {
        std::mem::replace(&mut self.hists, empty)
    }

    /// The namespaces that have a socket here.
    #[must_use]
    pub fn namespaces(&self) -> Vec<NamespaceView> {
        let view = |namespace: &super::session::Namespace| NamespaceView {
            name: Arc::clone(&namespace.name),
            sockets: namespace.sockets.len(),
            rooms: namespace.rooms.len(),
        };
        self.namespaces.iter().map(view).collect()
    }

    /// How many sockets of this core are in a room.
    #[must_use]
    pub fn room_size(&self, namespace: &str, room: &str) -> usize {
        let Some(slot) = self.namespaces.find(namespace) else { return 0 };
        self.namespaces.get(slot).rooms.members(room).len()
    }

    /// All joined sockets of a namespace here.
    #[must_use]
    pub fn sockets_of(&self, namespace: &str) -> Vec<Key> {
        let Some(slot) = self.namespaces.find(namespace) else { return Vec::new() };
        let all = &self.namespaces.get(slot).sockets;
        all.iter().copied().filter(|key| self.is_joined(*key)).collect()
    }

    /// The joined sockets of a room here, in no particular order; a socket's own id is no room.
    #[must_use]
    pub fn members_of(&self, namespace: &str, room: &str) -> Vec<Key> {
        let Some(slot) = self.namespaces.find(namespace) else { return Vec::new() };
        let members = self.namespaces.get(slot).rooms.members(room);
        let keys = members.filter_map(|member| self.sockets.key_at(member));
        keys.filter(|key| self.is_joined(*key)).collect()
    }

    /// Joined sockets of a namespace here in the order of their slots, up to `limit` of those
    /// after `after`, and after which slot to go on. Looks at 4,096 slots at most, so
    /// a page may be short or empty although more follow.
    #[must_use]
    pub fn page_of(
        &self,
        namespace: &str,
        after: Option<u32>,
        limit: usize,
    ) -> (Vec<Key>, Option<u32>) {
        let Some(wanted) = self.namespaces.find(namespace) else { return (Vec::new(), None) };
        let from = after.map_or(0, |slot| slot.saturating_add(1));
        let end = self.sockets.slots();
        let mut found = Vec::new();
        for slot in from..end.min(from.saturating_add(LOOKED_AT_MAX)) {
            if found.len() == limit {
                return (found, slot.checked_sub(1));
            }
            let Some(key) = self.sockets.key_at(slot) else { continue };
            let is_of = self.sockets.get(key).is_some_and(|socket| socket.namespace == wanted);
            if is_of && self.is_joined(key) {
                found.push(key);
            }
        }
        let looked_at = from.saturating_add(LOOKED_AT_MAX);
        (found, (looked_at < end).then(|| looked_at - 1))
    }

    /// Connections that are open.
    #[must_use]
    pub fn conns_len(&self) -> usize {
        self.conns.len()
    }

    /// Sessions that live.
    #[must_use]
    pub fn sessions_len(&self) -> usize {
        self.sessions.len()
    }

    /// All connections, for a host that ends.
    #[must_use]
    pub fn conn_keys(&self) -> Vec<Key> {
        self.conns.keys()
    }

    /// Whether a connection belongs to a session of WebSocket or has a request under way; the
    /// others may be closed at any time.
    #[must_use]
    pub fn is_idle_http(&self, key: Key) -> bool {
        self.conns.get(key).is_some_and(|conn| {
            matches!(conn.speaks, Speaks::Http(super::conn::Phase::Head)) && conn.out.is_empty()
        })
    }

    /// An async handler of a socket starts. Returns the session it counts for, which outlives
    /// the socket if that leaves its namespace meanwhile; `None` if the socket is gone already.
    ///
    /// `bytes` are those of the event it has.
    pub fn begin_task(&mut self, socket: Key, bytes: usize) -> Option<Key> {
        self.counters.async_handlers_running += 1;
        self.held.task_bytes += bytes;
        let key = self.sockets.get(socket)?.session;
        let session = self.sessions.get_mut(key)?;
        session.tasks += 1;
        session.task_bytes += bytes;
        Some(key)
    }

    /// It ended; `session` is what [`Self::begin_task`] gave, `bytes` what it took.
    pub fn end_task(&mut self, session: Option<Key>, bytes: usize) {
        self.counters.async_handlers_running -= 1;
        self.held.task_bytes -= bytes;
        self.relieve_handlers();
        let Some(session) = session.and_then(|key| self.sessions.get_mut(key)) else { return };
        session.tasks -= 1;
        session.task_bytes -= bytes;
        let (transport, post) = (session.transport, session.post);
        if let super::session::Transport::WebSocket { conn } = transport {
            self.resume_if_paused(conn);
        }
        self.resumed.extend(post);
    }
}

/// Slots that one question for a page looks at, however few it finds.
const LOOKED_AT_MAX: u32 = 4_096;
