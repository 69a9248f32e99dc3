//! What a connection has to show before its first request: a PROXY header, a TLS handshake.
//!
//! The host reads both and tells; the shard has the deadline, the number there may be, and the
//! counts of how they end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::{Ending, Shard};
use crate::base::{Key, Millis};

/// Time a peer has for its first word, once it was accepted. Whoever is in earnest speaks at once.
const FIRST_WORD_MS: u64 = 100;
/// Time a peer has to go on, after our last answer and after its first word.
const GO_ON_MS: u64 = 1_000;

/// What a connection has yet to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Entrance {
    /// Nothing: requests follow.
    #[default]
    Passed,
    /// Who its client is.
    Proxy,
    /// A TLS handshake.
    Tls,
}

impl Entrance {
    /// How a connection ends that has not shown it in time.
    pub(crate) const fn too_slow(self) -> Option<Ending> {
        match self {
            Self::Passed => None,
            Self::Proxy => Some(Ending::ProxyRule),
            Self::Tls => Some(Ending::TlsSlow),
        }
    }
}

/// What its host has seen of a connection at its entrance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Something that was not read yet: it is for us to go on.
    Unread,
    /// Something that was read and is not all of it.
    Part,
    /// Something that was read and answered.
    Answered,
}

/// How one more comes to the entrance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// There is room.
    Open,
    /// In place of this one, who is late.
    Instead(Key),
    /// Not now: as many as may be are there, and none of them is late.
    Shut,
}

/// Those at their entrance.
///
/// Cost: O(log n) for each thing that happens, however many of them are late.
#[derive(Debug, Default)]
pub(crate) struct Doorway {
    standing: BTreeMap<Key, Stand>,
    /// Those who are to speak next, by when that is late. The others wait for us.
    owing: BTreeSet<(Millis, Key)>,
}

#[derive(Debug)]
struct Stand {
    late_at: Millis,
    has_spoken: bool,
}

impl Doorway {
    /// How many they are.
    pub(crate) fn len(&self) -> usize {
        self.standing.len()
    }

    fn enter(&mut self, key: Key, now: Millis) {
        let late_at = now.plus(FIRST_WORD_MS);
        self.standing.insert(key, Stand { late_at, has_spoken: false });
        self.owing.insert((late_at, key));
    }

    /// What comes in drops gains no time: it begins with the first word and with each answer.
    fn hear(&mut self, key: Key, said: Said, now: Millis) {
        let Some(stand) = self.standing.get_mut(&key) else { return };
        self.owing.remove(&(stand.late_at, key));
        if said == Said::Unread {
            return;
        }
        let is_first = !std::mem::replace(&mut stand.has_spoken, true);
        if is_first || said == Said::Answered {
            stand.late_at = now.plus(GO_ON_MS);
        }
        self.owing.insert((stand.late_at, key));
    }

    pub(super) fn leave(&mut self, key: Key) {
        if let Some(stand) = self.standing.remove(&key) {
            self.owing.remove(&(stand.late_at, key));
        }
    }

    /// Who has been late for longest.
    fn late_for_longest(&self, now: Millis) -> Option<Key> {
        self.owing.first().filter(|(late_at, _)| *late_at <= now).map(|(_, key)| *key)
    }

    /// Asserts that those of whom it is known are these, in the order of their keys.
    pub(super) fn check(&self, mut keys: Vec<Key>) {
        keys.sort_unstable();
        assert!(self.standing.keys().eq(&keys), "those at their entrance are those known");
        for (late_at, key) in &self.owing {
            assert_eq!(Some(*late_at), self.standing.get(key).map(|stand| stand.late_at));
        }
    }
}

impl Shard {
    /// A connection that is open has this to show first. If too many are at that, the one that has
    /// been late for longest with its own part ends: whoever only stands in the door keeps nobody
    /// out. If none is late, it is the newcomer; a host asks for the way in before it takes one in.
    pub fn expect_entrance(&mut self, key: Key, entrance: Entrance) {
        let now = self.millis();
        let way = self.way_in();
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.closing {
            return;
        }
        let before = std::mem::replace(&mut conn.entrance, entrance);
        if before != Entrance::Passed {
            // One thing was shown, and the next is begun.
            self.half_open.hear(key, Said::Answered, now);
            return;
        }
        self.half_open.enter(key, now);
        let goes = match way {
            Way::Open => return,
            Way::Instead(late) => late,
            Way::Shut => key,
        };
        self.counters.limits_hit += 1;
        self.conn_ends(goes, Ending::EntranceFull);
        self.abort_conn(goes);
    }

    /// How one more would come to the entrance now.
    #[must_use]
    pub fn way_in(&self) -> Way {
        if self.half_open.len() < self.settings.limits.half_open_max {
            return Way::Open;
        }
        self.half_open.late_for_longest(self.millis()).map_or(Way::Shut, Way::Instead)
    }

    /// A connection at its entrance has said something. Nothing happens if it is not there.
    pub fn hear_entrance(&mut self, key: Key, said: Said) {
        let now = self.millis();
        self.half_open.hear(key, said, now);
    }

    /// A proxy has said who is behind a connection. False if that address has as many as it may:
    /// it is forgotten, and the host closes it.
    pub fn set_client(&mut self, key: Key, client: SocketAddr) -> bool {
        if self.conns.get_mut(key).is_none() {
            return false;
        }
        let counted = self.count_address(client);
        let may = counted.is_ok();
        if let Some(conn) = self.conns.get_mut(key) {
            debug_assert!(conn.counted.is_none(), "a proxy is not counted");
            (conn.peer, conn.counted) = (client, counted.unwrap_or_default());
        }
        if !may {
            self.forget_conn(key);
        }
        may
    }

    /// A connection comes over TLS, or a proxy says that it did.
    pub fn set_secure(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.secure = true;
        }
    }

    /// Whether a connection comes over TLS, as far as its host knows.
    #[must_use]
    pub fn is_secure(&self, key: Key) -> bool {
        self.conns.get(key).is_some_and(|conn| conn.secure)
    }

    /// All was shown: the first request has its time from now on.
    pub fn pass(&mut self, key: Key) {
        if self.leave_entrance(key) {
            let request_ms = self.settings.limits.request_timeout_ms;
            self.set_conn_due(key, request_ms);
        }
    }

    /// The connection is not at its entrance any more. False if it was not.
    pub(super) fn leave_entrance(&mut self, key: Key) -> bool {
        let Some(conn) = self.conns.get_mut(key) else { return false };
        let was_there = std::mem::take(&mut conn.entrance) != Entrance::Passed;
        if was_there {
            self.half_open.leave(key);
        }
        was_there
    }

    /// What was shown is wrong, or TLS broke later on. `answer` is what the peer still gets, in
    /// the clear.
    pub fn turn_away(&mut self, key: Key, ending: Ending, answer: &[u8]) {
        self.write_raw(key, answer);
        self.leave_entrance(key);
        self.conn_ends(key, ending);
    }

    /// Somebody connects where only trusted proxies may. True if it is one.
    pub fn admit_proxy(&mut self, peer: SocketAddr) -> bool {
        let trusted = self.settings.proxies.trusts(peer.ip());
        if !trusted {
            self.counters.connections_refused += 1;
            self.count_ending(Ending::ProxyUntrusted);
        }
        trusted
    }
}
