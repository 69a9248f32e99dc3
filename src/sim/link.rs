//! One TCP connection: two pipes of bytes, a client at one end, a core at the other.

use std::collections::VecDeque;

use crate::base::{CoreId, Key, Micros, Millis};

/// What a client waits for on a connection, one entry a request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Something that does not exist; only to have two requests in a row.
    Nothing,
    /// A session.
    Open,
    /// Packets.
    Poll,
    /// That packets were taken.
    Post,
    /// A WebSocket.
    Socket,
}

/// What the core's end waits for; the states of a connection's task in the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// Bytes or their end.
    Input,
    /// The shard's word that the input may be looked at again.
    Resume,
    /// The kernel to take what is left, before it moves to another core.
    Handover(CoreId),
    /// Input has ended: that what is owed is out.
    End,
}

/// A core's end.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) core: usize,
    pub(super) key: Key,
    /// Read and not consumed.
    pub(super) unread: Vec<u8>,
    /// The kernel did not take all that was filled in.
    pub(super) blocked: bool,
    pub(super) waits: Waits,
    /// The shard has given the word.
    pub(super) resume: bool,
}

/// Where the far end is.
#[derive(Debug)]
pub(super) enum Place {
    /// In the accept queue of a core.
    Queued {
        core: usize,
    },
    Served(Served),
    /// On its way from core to core.
    Moving,
    Closed,
}

/// How long a WebSocket has wanted to take over a session, by the clock of its core. The far end
/// is watched for that: what a client could know of it lacks the time its bytes were under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Candidacy {
    /// It never did, or does not yet.
    No,
    Since(Millis),
    /// It took over, or was given up, after so long.
    Over(u64),
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: usize,
    /// The session of the client it belongs to.
    pub(super) life: u32,
    pub(super) asked: VecDeque<Asked>,
    /// The client has read these and not understood them yet.
    pub(super) got: Vec<u8>,
    pub(super) up: Vec<u8>,
    pub(super) down: Vec<u8>,
    /// The client sends nothing more.
    pub(super) up_ended: bool,
    /// The core sends nothing more.
    pub(super) down_ended: bool,
    /// The core has closed its descriptor: nothing is read any more either.
    pub(super) aborted: bool,
    /// The client knows that the core sends nothing more.
    pub(super) end_seen: bool,
    /// The client has closed: what still comes is thrown away.
    pub(super) deaf: bool,
    /// The connection was reset: both ends find an end behind what had arrived by then.
    pub(super) broken: bool,
    /// Of what the client has sent, so much arrives.
    pub(super) up_left: usize,
    /// The cable is cut: nothing gets through, and nobody is told.
    pub(super) cut: bool,
    /// The client reads nothing until then.
    pub(super) slow_until: Micros,
    pub(super) place: Place,
    pub(super) candidacy: Candidacy,
    /// Bytes the kernel keeps for a client that reads.
    kernel_bytes: usize,
}

/// The same for one that does not.
const SLOW_ROOM: usize = 700;

impl Link {
    pub(super) fn new(client: usize, life: u32, core: usize, kernel_bytes: usize) -> Self {
        Self {
            client,
            life,
            asked: VecDeque::new(),
            got: Vec::new(),
            up: Vec::new(),
            down: Vec::new(),
            up_ended: false,
            down_ended: false,
            aborted: false,
            end_seen: false,
            deaf: false,
            broken: false,
            up_left: usize::MAX,
            cut: false,
            slow_until: 0,
            place: Place::Queued { core },
            candidacy: Candidacy::No,
            kernel_bytes,
        }
    }

    /// Whether it had the whole time of an upgrade to take over its session, and did not.
    pub(super) fn was_late(&self, upgrade_timeout_ms: u64) -> bool {
        matches!(self.candidacy, Candidacy::Over(took_ms) if took_ms >= upgrade_timeout_ms)
    }

    /// The client closes its socket, in good order.
    pub(super) fn close(&mut self) {
        self.up_ended = true;
        self.deaf = true;
        self.down.clear();
    }

    /// The connection breaks, for both ends.
    pub(super) fn reset(&mut self) {
        self.broken = true;
        self.up_left = self.up.len();
        (self.up_ended, self.down_ended) = (true, true);
    }

    /// Whether the kernel sends nothing any more.
    pub(super) const fn refuses(&self) -> bool {
        self.broken || self.aborted
    }

    /// Bytes that a core can read now.
    pub(super) fn arrived(&self) -> usize {
        if self.aborted { 0 } else { self.up.len().min(self.up_left) }
    }

    /// The core takes so many of them.
    pub(super) fn take(&mut self, count: usize) -> Vec<u8> {
        if self.up_left != usize::MAX {
            self.up_left -= count;
        }
        self.up.drain(..count).collect()
    }

    /// The core closes its descriptor in both directions; its own read then finds the end.
    pub(super) fn abort(&mut self) {
        self.aborted = true;
        self.up.clear();
        self.down_ended = true;
    }

    /// How many bytes the kernel takes now.
    pub(super) fn room(&self, now: Micros) -> usize {
        if self.broken || (self.deaf && !self.cut) {
            return usize::MAX;
        }
        let slow = self.cut || now < self.slow_until;
        (if slow { SLOW_ROOM.min(self.kernel_bytes) } else { self.kernel_bytes })
            .saturating_sub(self.down.len())
    }

    /// The core writes; returns how much was taken.
    pub(super) fn write(&mut self, bytes: &[u8], now: Micros) -> usize {
        let count = bytes.len().min(self.room(now));
        if !self.deaf {
            self.down.extend_from_slice(&bytes[..count]);
        }
        count
    }

    /// Whether the client has something to read, bytes or their end.
    pub(super) fn readable_by_client(&self, now: Micros) -> bool {
        let news = !self.down.is_empty() || (self.down_ended && !self.end_seen);
        news && !self.deaf && !self.cut && now >= self.slow_until
    }

    /// Whether the core has something to read: bytes or their end.
    pub(super) fn readable_by_core(&self) -> bool {
        self.aborted || (!self.cut && (self.arrived() > 0 || self.up_ended))
    }
}
