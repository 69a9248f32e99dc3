//! The invariants, as a function anybody may call.

use super::Shard;
use super::conn::{Phase, Role, Speaks, Then};
use super::entrance::Entrance;
use super::message::MeshMsg;
use super::recall::Claimed;
use super::recovery::Here;
use super::session::Transport;
use super::socket::Seat;
use super::timer::Timer;
use crate::base::{Key, Limits, MEMBERSHIP_BYTES, ROOM_BYTES};
use crate::deflate::PACK_BYTES_MAX;

/// Entries of one connection or session in the timer queue; more than a few mean that each of
/// them lives as long as its owner.
const TIMERS_MAX: usize = 12;
/// Bytes of control frames that may wait for a connection beyond the bound of all.
const CONTROL_BYTES: usize = 256;

impl Shard {
    /// Walks everything and asserts that it agrees; O(n). The simulator calls it after each step.
    ///
    /// # Panics
    /// If something does not: a mistake of ours.
    pub fn check(&self) {
        let waiting: usize = self.sessions.iter().map(|(_, s)| s.outbox.bytes()).sum();
        assert_eq!(waiting, self.outbox_bytes, "bytes counted as waiting are those that wait");
        self.check_held();
        self.check_said();
        let half_open = self.conns.iter().filter(|(_, conn)| conn.entrance != Entrance::Passed);
        self.half_open.check(half_open.map(|(key, _)| key).collect());
        let mut owed = 0;
        for (key, socket) in self.sockets.iter() {
            let session = self.sessions.get(socket.session).expect("a socket has a session");
            assert!(session.sockets.contains(&key), "its session lists it");
            assert_eq!(self.ids.get(&(socket.namespace, socket.id)) == Some(&key), {
                socket.seat == Seat::Joined
            });
            let namespace = self.namespaces.get(socket.namespace);
            assert_eq!(namespace.sockets[socket.in_namespace as usize], key);
            owed += socket.acks.len() as u64;
        }
        assert_eq!(owed, self.counters.acks_pending, "acks owed are those counted");
        for (key, session) in self.sessions.iter() {
            assert_eq!(self.sids.get(&session.sid), Some(&key));
            assert!(session.sockets.iter().all(|socket| self.sockets.get(*socket).is_some()));
            match session.transport {
                Transport::WebSocket { conn } => {
                    let conn = self.conns.get(conn).expect("a WebSocket session has its conn");
                    let role = match &conn.speaks {
                        Speaks::WebSocket { role, .. } => *role,
                        Speaks::Http(_) => Role::Spent,
                    };
                    assert_eq!(role, Role::Session(key));
                }
                Transport::Polling { poll: Some(conn) } => {
                    let conn = self.conns.get(conn).expect("a waiting poll has its conn");
                    let waits = matches!(&conn.speaks,
                        Speaks::Http(Phase::Poll { session, .. }) if *session == key);
                    assert!(waits, "the poll waits for this session");
                }
                Transport::Polling { poll: None } => {}
                Transport::LastWords { .. } => assert!(session.sockets.is_empty()),
            }
        }
        for namespace in self.namespaces.iter() {
            assert!(!namespace.sockets.is_empty(), "{} is kept although empty", namespace.name);
            namespace.rooms.check(|member| {
                let key = self.sockets.key_at(member).expect("members live");
                &self.sockets.get(key).expect("members live").rooms
            });
        }
        self.check_recovery();
        if self.sockets.is_empty() {
            assert_eq!(self.interest.buckets(), 0, "nobody here, so nothing of interest");
        }
        self.check_lanes();
        self.check_posts();
        self.check_partials();
        self.check_timers();
    }

    /// Asserts that nothing here is more than `limits` permit: the memory bill is kept.
    ///
    /// What is not looked at: REST requests that the admin core has, which their host counts.
    ///
    /// # Panics
    /// If something is: a mistake of ours.
    pub fn check_bill(&self, limits: &Limits) {
        for (what, count, max) in self.bill(limits) {
            assert!(count <= max, "{count} {what}, where {max} may be");
        }
        for (_, socket) in self.sockets.iter() {
            let acks = socket.acks.len();
            assert!(acks <= limits.acks_pending_max, "{acks} acks are owed by one socket");
        }
    }

    /// The rows of the bill: what is held, how much of it, and how much may be.
    pub(super) fn bill(&self, limits: &Limits) -> Vec<(&'static str, usize, usize)> {
        // What is written without a look at the sum: control frames, close frames.
        let waiting_max = limits.outboxes_bytes_max + self.conns.len() * CONTROL_BYTES;
        let acks = usize::try_from(self.counters.acks_pending).expect("a count of things");
        let tasks = usize::try_from(self.counters.async_handlers_running).expect("likewise");
        // Input waits once the bound is passed, and the event that passes it is taken.
        let tasks_bytes_max = limits.tasks_bytes_max + limits.packet_bytes_max;
        // The form with which the bound is passed is kept, too.
        let forms_max = self.settings.compression.memory_bytes_max + PACK_BYTES_MAX;
        let mut rows = vec![
            ("connections", self.conns.len(), limits.conns_max),
            ("sessions", self.sessions.len(), limits.sessions_max),
            ("bytes that wait for clients", self.waiting_bytes(), waiting_max),
            ("sockets", self.sockets.len(), limits.sockets_max),
            ("namespaces", self.namespaces.len(), limits.namespaces_max),
            ("connections at their entrance", self.half_open.len(), limits.half_open_max),
            ("connections without a request", self.held.opening.len(), limits.opening_max),
            ("sessions without a namespace", self.held.unjoined.len(), limits.unjoined_max),
            ("bytes of heads and auth", self.held.kept_bytes, limits.kept_bytes_max),
            ("bytes of rooms", self.held.rooms_bytes, limits.rooms_bytes_max),
            ("bytes that questions collected", self.held.gathered_bytes, limits.gathered_bytes_max),
            ("bytes in part", self.partial_bytes, limits.partials_bytes_max),
            ("questions", self.gathers.len(), limits.gathers_max),
            ("acks owed", acks, limits.acks_max),
            ("async handlers", tasks, limits.tasks_max),
            ("bytes of events of async handlers", self.held.task_bytes, tasks_bytes_max),
            ("bytes of compressed forms", self.press.held(), forms_max),
        ];
        if let Some(recovery) = &self.recovery {
            let (log, bytes_max) = (&recovery.log, limits.recovery_bytes_max);
            rows.extend([
                ("sessions that broke off", recovery.saved, limits.recovery_sessions_max),
                ("bytes of sessions that broke off", recovery.saved_bytes, bytes_max),
                ("events kept", log.len(), limits.recovery_entries_max),
                ("bytes of events kept", log.bytes(), bytes_max),
            ]);
        }
        rows
    }

    /// What was said at once waits beside an outbox, on a WebSocket that is written to.
    fn check_said(&self) {
        for (_, session) in self.sessions.iter().filter(|(_, session)| session.said) {
            let Transport::WebSocket { conn } = session.transport else {
                panic!("what is said goes to a WebSocket")
            };
            let conn = self.conns.get(conn).expect("its connection is there");
            assert!(session.hushed_until.is_none() && conn.dirty && !conn.out.is_empty());
        }
    }

    /// Sums that are kept are those that one finds by counting.
    fn check_held(&self) {
        let out =
            self.conns.iter().map(|(_, conn)| conn.out.capacity() + conn.unsent.capacity()).sum();
        let opening = self.conns.iter().filter(|(_, conn)| conn.opening).count();
        let heads: usize = self.sessions.iter().map(|(_, s)| s.handshake.bytes()).sum();
        let auths: usize = self.sockets.iter().map(|(_, socket)| socket.auth.len()).sum();
        let unjoined = self.sessions.iter().filter(|(_, s)| s.connect_due.is_some()).count();
        let rooms = self.namespaces.iter().map(|namespace| {
            let names: usize = namespace.rooms.iter().map(|(name, _)| 2 * name.len()).sum();
            let of_rooms = namespace.rooms.len() * ROOM_BYTES;
            names + of_rooms + namespace.rooms.memberships() * MEMBERSHIP_BYTES
        });
        let gathered: usize = self.gathers.iter().map(|(_, gather)| gather.bytes()).sum();
        let found = [out, opening, heads + auths, unjoined, rooms.sum(), gathered];
        let held = &self.held;
        let counted = [
            held.out_bytes,
            held.opening.len(),
            held.kept_bytes,
            held.unjoined.len(),
            held.rooms_bytes,
            held.gathered_bytes,
        ];
        assert_eq!(found, counted, "out, opening, kept, unjoined, rooms, gathered");
    }

    /// Private ids lead to sockets that are tracked and to sessions that are counted.
    fn check_recovery(&self) {
        let Some(recovery) = &self.recovery else { return };
        let (mut saved, mut saved_bytes) = (0, 0);
        for (pid, here) in &recovery.here {
            match here {
                Here::Lives(key) => {
                    let socket = self.sockets.get(*key).expect("who lives is here");
                    let Some(Claimed::Living(track)) = &socket.claimed else {
                        panic!("who lives is tracked")
                    };
                    assert_eq!(track.pid, *pid);
                    let rooms: Vec<&str> = track.rooms.iter().map(|(room, _)| &**room).collect();
                    let names = &self.namespaces.get(socket.namespace).rooms;
                    let joined: Vec<&str> =
                        names.names(&socket.rooms).map(|room| &**room).collect();
                    // One that a command takes it out of is joined until the socket has its turn,
                    // and not noted any more.
                    let are_joined = rooms.iter().all(|room| joined.contains(room));
                    assert!(are_joined, "the rooms noted are joined");
                }
                Here::Saved(session) => {
                    saved += 1;
                    saved_bytes += session.bytes();
                }
            }
        }
        assert_eq!((saved, saved_bytes), (recovery.saved, recovery.saved_bytes));
    }

    /// What waits for another core is what is counted: by that this core stops reading its clients.
    /// How much it may be cannot be told from here. What the application says of its own accord, and
    /// what other cores asked for, goes out however much waits.
    fn check_lanes(&self) {
        for lane in &self.mesh {
            let found: usize = lane.messages.iter().map(MeshMsg::cost).sum();
            assert_eq!(
                found, lane.bytes,
                "bytes counted as waiting for a core are those that wait"
            );
        }
    }

    /// A session whose post is forgotten takes no other one.
    fn check_posts(&self) {
        for (key, session) in self.sessions.iter() {
            let Some(post) = session.post else { continue };
            let conn = self.conns.get(post).expect("a post has its connection");
            let owner = match &conn.speaks {
                Speaks::Http(Phase::Body(reading)) => match &reading.then {
                    Then::Post { session, .. } => Some(*session),
                    Then::Forward { .. } | Then::Answer(_) => None,
                },
                Speaks::Http(Phase::Payload(payload)) => Some(payload.session),
                _ => None,
            };
            assert_eq!(owner, Some(key), "the post is for this session");
        }
    }

    fn check_partials(&self) {
        let conns: usize = self.conns.iter().map(|(_, conn)| conn.partial_bytes).sum();
        let packets = self.sessions.iter().filter_map(|(_, session)| session.partial.as_ref());
        let packets: usize = packets.map(|partial| partial.bytes).sum();
        assert_eq!(conns + packets, self.partial_bytes, "bytes in part are those counted");
    }

    /// Entries are not cancelled, so a few may be left of earlier deadlines; but whatever waits
    /// has one, and nothing has many.
    fn check_timers(&self) {
        let (mut conns, mut sessions, mut sockets) = (Vec::new(), Vec::new(), Vec::new());
        let mut gathers = Vec::new();
        for timer in self.timers.iter() {
            match timer {
                Timer::Conn(key) => conns.push(*key),
                Timer::Session(key) => sessions.push(*key),
                Timer::Gather(key) => gathers.push(*key),
                Timer::Acks(key) => sockets.push(*key),
                Timer::Beyond(_) | Timer::Claim(_) | Timer::Recovery => {}
            }
        }
        let entries = |all: &[Key], key: Key| all.iter().filter(|other| **other == key).count();
        for (key, conn) in self.conns.iter() {
            let waits = conn.due.is_some() || conn.blocked_at.is_some();
            let entries = entries(&conns, key);
            assert!(entries > 0 || !waits, "a connection has a deadline and no timer");
            assert!(entries <= TIMERS_MAX, "a connection has {entries} timers");
        }
        for (key, _) in self.sessions.iter() {
            let entries = entries(&sessions, key);
            assert!((1..=TIMERS_MAX).contains(&entries), "a session has {entries} timers");
        }
        for (key, socket) in self.sockets.iter() {
            let entries = entries(&sockets, key);
            assert!(entries > 0 || socket.acks.is_empty(), "an ack is owed and has no timer");
            assert!(entries <= TIMERS_MAX, "a socket has {entries} timers");
        }
        for (key, _) in self.gathers.iter() {
            assert_eq!(entries(&gathers, key), 1, "a question has one deadline");
        }
    }
}
