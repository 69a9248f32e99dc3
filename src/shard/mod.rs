//! # shard: one core's brain
//!
//! Decides everything that one core decides: what a connection speaks, who is in which room, who
//! gets what, when somebody is too slow. A [`Shard`] is fed (`handle_*`, [`Shard::next`]), asked
//! (`take_*`), told (verbs) and looked at. Time and bytes are handed in; nothing blocks.
//!
//! Owns: connections, Engine.IO sessions, sockets, the core's slice of every room, acks owed by
//! clients, questions to other cores, outboxes, deadlines.
//! Imports: the codecs (`http`, `ws`, `deflate`, `engineio`, `socketio`), `telemetry`, `base`.
//!
//! Holds at all times (`Shard::check` asserts it):
//! - a socket's rooms and a room's sockets mirror each other;
//! - every socket has a session that lists it, every WebSocket session a connection that names it;
//! - the bytes counted as waiting are the bytes that wait;
//! - no handler runs inside: handlers are given out as [`Dispatch`] or [`Completion`].
//!
//! Read first: `step.rs` (how a byte climbs), then `emit.rs` and `say.rs` (how a message
//! descends), then `end.rs` with the table in `ending.rs`.

mod ack;
#[cfg(test)]
mod ack_tests;
#[cfg(test)]
mod alone;
#[cfg(test)]
mod bill_tests;
mod check;
mod compress;
mod conn;
mod emit;
mod end;
mod ending;
mod entrance;
mod frame;
mod gather;
mod handshake;
mod held;
#[cfg(test)]
mod held_tests;
mod history;
mod http;
mod mesh;
mod message;
mod open;
mod outbox;
mod packets;
mod polling;
#[cfg(test)]
mod press_tests;
mod recall;
mod recovery;
#[cfg(test)]
mod recovery_tests;
mod room;
mod route;
mod say;
#[cfg(test)]
mod say_tests;
mod session;
mod settings;
mod shed;
mod sibling;
#[cfg(test)]
mod slow_tests;
mod socket;
mod step;
#[cfg(test)]
mod strict_tests;
mod strike;
mod timer;
mod track;
mod view;
mod write;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::{CoreId, Id20, Key, Map, Micros, Millis, Slab, TimerQueue, hasher};
use crate::socketio::JsonChecker;
use crate::telemetry::{Counters, Endings, Histograms};

pub use emit::Emit;
pub use ending::{Ending, Fault};
pub use entrance::{Entrance, Said, Way};
pub use frame::Wire;
pub use handshake::Handshake;
pub use history::Offset;
pub use mesh::{CoreMask, Interest};
pub use message::{
    AckArgs, AckId, AckOutcome, Answered, Ask, Completion, Dispatch, Forwarded, GatherRef,
    Gathered, Gone, MeshMsg, Name, Part, Quorum, RawMessage, SocketInfo, Step, Target, Terms, Verb,
};
pub use recall::{Claim, Moved};
pub use recovery::{Lost, RecoveryTerms};
pub use settings::{Assets, Compression, Endpoint, Service, Settings};
pub use sibling::{SIBLING_VERSION, SiblingMsg, SiblingTerms};
pub use socket::{Namer, SocketError};
pub use strike::Strike;
pub use view::{LogEvent, NamespaceView};
pub use write::Fill;

/// What a shard is given at its start, beside the settings.
pub struct Birth {
    /// Which core it is.
    pub core: CoreId,
    /// How many cores there are.
    pub cores: usize,
    /// Seed of the hash maps.
    pub hash_seed: u64,
    /// Milliseconds since the epoch at the moment whose `Micros` are 0.
    pub unix_base_ms: u64,
    /// Which cores have members of a room.
    pub interest: Rc<dyn Interest>,
    /// A source of unguessable bytes.
    pub entropy: Box<dyn FnMut(&mut [u8])>,
}

/// One core's brain; see the folder's sign.
pub struct Shard {
    core: CoreId,
    cores: usize,
    settings: Rc<Settings>,
    unix_base_ms: u64,
    now: Micros,
    conns: Slab<conn::Conn>,
    sessions: Slab<session::Session>,
    sockets: Slab<socket::Socket>,
    sids: Map<Id20, Key>,
    ids: Map<(u32, Id20), Key>,
    namespaces: session::Namespaces,
    interest: mesh::Counted,
    json: JsonChecker,
    entropy: Box<dyn FnMut(&mut [u8])>,
    timers: TimerQueue<timer::Timer>,
    gathers: Slab<gather::Gather>,
    ack_serial: u64,
    namer: Option<socket::Namer>,
    likeness: Option<socket::Namer>,
    epoch: u32,
    dirty: VecDeque<Key>,
    resumed: Vec<Key>,
    mesh: Vec<mesh::Lane>,
    completions: VecDeque<Completion>,
    logs: VecDeque<LogEvent>,
    /// Reused for encoding.
    scratch: Vec<u8>,
    press: compress::Press,
    outbox_bytes: usize,
    partial_bytes: usize,
    /// Connections that have not passed their entrance.
    half_open: entrance::Doorway,
    held: held::Held,
    recovery: Option<Box<recovery::Recovery>>,
    recovery_due: Option<Millis>,
    sibling: Option<Box<sibling::Sibling>>,
    /// Cores of which it is not known here that they know of the sibling; less than nothing if some
    /// knew before this one did.
    sibling_unaware: i64,
    /// Since when it drains.
    draining: Option<Micros>,
    counters: Counters,
    endings: Endings,
    hists: Histograms,
}

impl Shard {
    /// An empty shard.
    #[must_use]
    pub fn new(settings: Rc<Settings>, birth: Birth) -> Self {
        let hasher = hasher(birth.hash_seed);
        let slot_ms = settings.slot_ms();
        let recovery = settings.recovery.map(|terms| {
            let here = Map::with_hasher(hasher.clone());
            Box::new(recovery::Recovery::new(terms.epoch, birth.cores, here))
        });
        Self {
            core: birth.core,
            cores: birth.cores,
            settings,
            unix_base_ms: birth.unix_base_ms,
            now: 0,
            conns: Slab::default(),
            sessions: Slab::default(),
            sockets: Slab::default(),
            sids: Map::with_hasher(hasher.clone()),
            ids: Map::with_hasher(hasher.clone()),
            namespaces: session::Namespaces::new(hasher),
            interest: mesh::Counted::new(birth.interest, birth.core, birth.cores),
            json: JsonChecker::new(),
            entropy: birth.entropy,
            timers: TimerQueue::new(slot_ms),
            gathers: Slab::default(),
            ack_serial: 0,
            namer: None,
            likeness: None,
            epoch: 0,
            dirty: VecDeque::new(),
            resumed: Vec::new(),
            mesh: (0..birth.cores).map(|_| mesh::Lane::default()).collect(),
            completions: VecDeque::new(),
            logs: VecDeque::new(),
            scratch: Vec::new(),
            press: compress::Press::default(),
            outbox_bytes: 0,
            partial_bytes: 0,
            half_open: entrance::Doorway::default(),
            held: held::Held::default(),
            recovery,
            recovery_due: None,
            sibling: None,
            sibling_unaware: 0,
            draining: None,
            counters: Counters::default(),
            endings: Endings::new(Ending::ALL.len()),
            hists: Histograms::new(),
        }
    }

    /// Tells the time. Hosts call it before they feed or tell the shard anything.
    pub fn set_now(&mut self, now: Micros) {
        self.now = self.now.max(now);
    }

    /// The time it was last told.
    #[must_use]
    pub const fn now(&self) -> Micros {
        self.now
    }

    /// This core.
    #[must_use]
    pub const fn core(&self) -> CoreId {
        self.core
    }

    /// How many cores there are.
    #[must_use]
    pub const fn cores(&self) -> usize {
        self.cores
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Rc<Settings> {
        &self.settings
    }

    /// Milliseconds since the epoch, by the time it was last told.
    #[must_use]
    pub const fn unix_ms(&self) -> u64 {
        self.unix_base_ms + self.now / 1_000
    }

    fn millis(&self) -> Millis {
        Millis::of(self.now)
    }

    fn new_id(&mut self) -> Id20 {
        let mut chance = [0; 15];
        (self.entropy)(&mut chance);
        Id20::new(self.core, chance)
    }

    /// Something the application waits for, if there is anything.
    pub fn take_completion(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    /// Connections whose waiting bytes may be looked at again, because their answer is out or
    /// their outbox has room.
    pub fn take_resumed(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.resumed)
    }

    /// What is to be logged, oldest first.
    pub fn take_log(&mut self) -> Option<LogEvent> {
        self.logs.pop_front()
    }

    /// Whether anything waits for the host: writes, messages to other cores, completions.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.dirty.is_empty()
            || !self.completions.is_empty()
            || !self.resumed.is_empty()
            || !self.logs.is_empty()
            || self.mesh.iter().any(|lane| !lane.messages.is_empty())
            || self.has_words()
    }

    fn namespace_name(&self, namespace: u32) -> Arc<str> {
        self.namespaces.name(namespace)
    }
}
