//! The invariants, as a function anybody may call.

use super::conn::{Phase, Role, Speaks};
use super::session::Transport;
use super::socket::Seat;
use super::Shard;

impl Shard {
    /// Walks everything and asserts that it agrees; O(n). The simulator calls it after each step.
    ///
    /// # Panics
    /// If something does not: a mistake of ours.
    pub fn check(&self) {
        let waiting: usize = self.sessions.iter().map(|(_, s)| s.outbox.bytes()).sum();
        assert_eq!(waiting, self.outbox_bytes, "bytes counted as waiting are those that wait");
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
                self.sockets.get(key).expect("members live").rooms.clone()
            });
        }
        if self.sockets.is_empty() {
            assert_eq!(self.interest.buckets(), 0, "nobody here, so nothing of interest");
        }
    }
}
