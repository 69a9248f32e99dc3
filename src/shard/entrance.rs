//! What a connection has to show before its first request: a PROXY header, a TLS handshake.
//!
//! The host reads both and tells; the shard has the deadline, the number there may be, and the
//! counts of how they end.

use std::net::SocketAddr;

use super::{Ending, Shard};
use crate::base::Key;

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

impl Shard {
    /// A connection that is open has this to show first. If too many are at that, the one that has
    /// been at it for longest ends: whoever only stands in the door keeps nobody out.
    pub fn expect_entrance(&mut self, key: Key, entrance: Entrance) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let before = std::mem::replace(&mut conn.entrance, entrance);
        if before != Entrance::Passed {
            return;
        }
        let conns = &self.conns;
        let is_there =
            |key: Key| conns.get(key).is_some_and(|conn| conn.entrance != Entrance::Passed);
        self.half_open.enter(key, is_there);
        if self.half_open.len() > self.settings.limits.half_open_max
            && let Some(oldest) = self.half_open.oldest(is_there)
        {
            self.counters.limits_hit += 1;
            self.leave_entrance(oldest);
            self.conn_ends(oldest, Ending::EntranceFull);
            self.abort_conn(oldest);
        }
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
    fn leave_entrance(&mut self, key: Key) -> bool {
        let Some(conn) = self.conns.get_mut(key) else { return false };
        let was_there = std::mem::take(&mut conn.entrance) != Entrance::Passed;
        if was_there {
            self.half_open.leave();
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
