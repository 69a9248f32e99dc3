//! What a client that comes back is given again: a log of the core's events, and the sessions
//! that broke off.
//!
//! Rule: Socket.IO, "Connection state recovery". Every event that may be recovered carries an
//! offset as its last argument; the client hands the last one it saw back, with the private id of
//! its session. Events are logged on every core, in the order in which that core delivers them,
//! so one place in one log says all that a client of that core has had.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::frame::Wire;
use super::message::Target;
use crate::base::{CoreId, Id20, Key, Limits, Map, Micros};

/// Whether and for how long sessions can be recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryTerms {
    /// Drawn at the start of the process: offsets of another one say nothing here.
    pub epoch: u64,
    /// Time after its end in which a session can be recovered.
    pub window_ms: u64,
}

/// The place of an event among those that one core sent.
///
/// Shape: `epoch-core-number`, each in lower-case hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// The process.
    pub epoch: u64,
    /// The core that sent it.
    pub origin: CoreId,
    /// Its number there, from 1.
    pub seq: u64,
}

impl Offset {
    /// Reads an offset; `None` for anything that [`fmt::Display`] does not write.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let mut number = || {
            let digits = parts.next()?;
            let canonical = digits == "0" || !digits.starts_with(['0', '+']);
            canonical.then(|| u64::from_str_radix(digits, 16).ok())?
        };
        let (epoch, origin, seq) = (number()?, number()?, number()?);
        let offset = Self { epoch, origin: CoreId(u8::try_from(origin).ok()?), seq };
        // Upper case reads too, but is not what was written.
        (offset.to_string() == text).then_some(offset)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:x}-{:x}-{:x}", self.epoch, self.origin.0, self.seq)
    }
}

/// Whom a logged event was for.
#[derive(Clone, Debug)]
pub(crate) enum Whom {
    /// One socket, wherever it lives.
    One(Id20),
    /// A broadcast's target.
    Target(Arc<Target>),
}

impl Whom {
    fn bytes(&self) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Target(target) => {
                let names = target.rooms.iter().chain(&target.except);
                names.map(|name| name.len() + size_of::<Box<str>>()).sum()
            }
        }
    }

    /// Whether an event at this place was meant for a socket.
    fn means(&self, place: u64, member: &Member<'_>) -> bool {
        match self {
            Self::One(one) => *one == member.id,
            Self::Target(target) => {
                let was_in = |room: &str| {
                    let at = member.rooms.binary_search_by(|(name, _)| (**name).cmp(room));
                    at.is_ok_and(|at| member.rooms[at].1 <= place)
                };
                let is_in = |room: &str| was_in(room) || *room == *member.id.text().as_str();
                (target.rooms.is_empty() || target.rooms.iter().any(|room| is_in(room)))
                    && !target.except.iter().any(|room| is_in(room))
            }
        }
    }
}

/// One line of the log.
#[derive(Debug)]
pub(crate) struct Entry {
    origin: CoreId,
    /// The first number it stands for; less than `seq` only where volatile events, of which only
    /// the numbers are kept, follow each other.
    first: u64,
    seq: u64,
    at: Micros,
    namespace: Arc<str>,
    whom: Whom,
    /// The event; a volatile one is not kept.
    wire: Option<Arc<Wire>>,
}

impl Entry {
    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.whom.bytes() + self.wire.as_ref().map_or(0, |wire| wire.len())
    }
}

/// Bookkeeping of an entry, with its place in the index of its origin.
const ENTRY_BYTES: usize = 192;

/// An event as the log took it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) offset: Offset,
    /// Its place in this core's log.
    pub(crate) place: u64,
}

/// What one core remembers of events, in the order in which it delivered them. Places count from
/// the start of the core; the oldest entries go.
#[derive(Debug)]
pub(crate) struct Log {
    epoch: u64,
    entries: VecDeque<Entry>,
    /// The place of the first entry.
    first: u64,
    bytes: usize,
    /// Of each core that sends: its last number here, its last number that has gone, and where
    /// its entries are: their last numbers with their places.
    origins: Vec<Origin>,
}

#[derive(Debug, Default)]
struct Origin {
    seen: u64,
    gone: u64,
    places: VecDeque<(u64, u64)>,
}

impl Log {
    pub(crate) fn new(epoch: u64, cores: usize) -> Self {
        let origins = (0..cores).map(|_| Origin::default()).collect();
        Self { epoch, entries: VecDeque::new(), first: 0, bytes: 0, origins }
    }

    /// The place behind the last entry.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// The place of the oldest entry there is.
    pub(crate) const fn first(&self) -> u64 {
        self.first
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The last number of each core that is in this log.
    pub(crate) fn seen(&self) -> Box<[u64]> {
        self.origins.iter().map(|origin| origin.seen).collect()
    }

    /// Takes an event. `None` instead of its bytes if it is volatile.
    ///
    /// Cost: O(1).
    pub(crate) fn push(
        &mut self,
        at: Micros,
        (origin, seq): (CoreId, u64),
        namespace: &Arc<str>,
        whom: Whom,
        wire: Option<Arc<Wire>>,
    ) -> u64 {
        let known = &mut self.origins[origin.index()];
        debug_assert!(seq > known.seen, "a core's numbers come in order");
        known.seen = seq;
        if wire.is_none()
            && let Some(last) = self.entries.back_mut()
            && last.wire.is_none()
            && last.origin == origin
        {
            last.seq = seq;
            last.at = at;
            let place = self.first + self.entries.len() as u64 - 1;
            *known.places.back_mut().expect("the entry is in its index") = (seq, place);
            return place;
        }
        let place = self.end();
        self.origins[origin.index()].places.push_back((seq, place));
        let namespace = Arc::clone(namespace);
        let entry = Entry { origin, first: seq, seq, at, namespace, whom, wire };
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        place
    }

    /// Lets the oldest entries go until all is within the bounds.
    pub(crate) fn trim(&mut self, now: Micros, keep_us: Micros, limits: &Limits) {
        while let Some(oldest) = self.entries.front()
            && (self.bytes > limits.recovery_bytes_max
                || self.entries.len() > limits.recovery_entries_max
                || oldest.at + keep_us < now)
        {
            let entry = self.entries.pop_front().expect("it was looked at");
            self.bytes -= entry.bytes();
            self.first += 1;
            let origin = &mut self.origins[entry.origin.index()];
            origin.gone = entry.seq;
            origin.places.pop_front();
        }
    }

    /// Where the event with this offset stands, if it is still here.
    ///
    /// Cost: O(log n).
    pub(crate) fn find(&self, offset: Offset) -> Option<u64> {
        let origin = self.origins.get(offset.origin.index())?;
        if offset.epoch != self.epoch {
            return None;
        }
        let at = origin.places.partition_point(|(seq, _)| *seq < offset.seq);
        let (_, place) = *origin.places.get(at)?;
        let entry = self.entry(place)?;
        (entry.first <= offset.seq).then_some(place)
    }

    fn entry(&self, place: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(place.checked_sub(self.first)?).ok()?)
    }

    /// The first place with an event that another core, which has seen as much as `seen`, had not
    /// got. `None` if such an event is gone.
    pub(crate) fn unseen_from(&self, seen: &[u64]) -> Option<u64> {
        let mut from = self.end();
        for (origin, seen) in self.origins.iter().zip(seen) {
            if origin.gone > *seen {
                return None;
            }
            let at = origin.places.partition_point(|(seq, _)| seq <= seen);
            from = origin.places.get(at).map_or(from, |(_, place)| from.min(*place));
        }
        Some(from)
    }

    /// Events from a place on that a session is meant by, with their places. Those that the cut
    /// covers it has had elsewhere.
    pub(crate) fn since<'a>(
        &'a self,
        place: u64,
        member: &'a Member<'_>,
    ) -> impl Iterator<Item = (Mark, &'a Arc<Wire>)> {
        let skip = usize::try_from(place.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let places = self.first.max(place)..;
        self.entries.iter().skip(skip).zip(places).filter_map(|(entry, place)| {
            let wire = entry.wire.as_ref()?;
            let (origin, seq) = (entry.origin, entry.seq);
            let is_his = !member.cut.is_some_and(|cut| is_cut(cut, origin, seq))
                && *entry.namespace == *member.namespace
                && entry.whom.means(place, member);
            let offset = Offset { epoch: self.epoch, origin, seq };
            is_his.then_some((Mark { offset, place }, wire))
        })
    }
}

/// Whether a session that has moved had this event before it did.
pub(crate) fn is_cut(cut: &[u64], origin: CoreId, seq: u64) -> bool {
    cut.get(origin.index()).is_some_and(|last| seq <= *last)
}

/// Who events are looked for.
pub(crate) struct Member<'a> {
    pub(crate) id: Id20,
    pub(crate) namespace: &'a str,
    /// Sorted by name, with the place in the log at which it joined.
    pub(crate) rooms: &'a [(Box<str>, u64)],
    pub(crate) cut: Option<&'a [u64]>,
}

/// What must be known of a living socket so that it can be recovered.
#[derive(Clone, Debug)]
pub(crate) struct Track {
    /// The private id, which only its client knows.
    pub(crate) pid: Id20,
    /// Where it came to this core, as a place in the log.
    pub(crate) since: u64,
    /// The offset with which it came.
    pub(crate) brought: Option<Offset>,
    /// What was last queued for it.
    pub(crate) last: Option<Offset>,
    /// Where that stands; where it came, before.
    pub(crate) last_place: u64,
    /// What it had on the core where it lived before.
    pub(crate) cut: Option<Box<[u64]>>,
    /// Its rooms, sorted by name, with the end of the log when it joined: what was said there
    /// before is not for it.
    pub(crate) rooms: Vec<(Box<str>, u64)>,
    /// It was recovered, and this is no new session.
    pub(crate) recovered: bool,
}

/// A session that broke off.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    pub(crate) id: Id20,
    pub(crate) namespace: Arc<str>,
    /// Who it was, by the application's word.
    pub(crate) who: Option<Arc<str>>,
    pub(crate) track: Track,
    /// When it broke off, and the end of the log at that time.
    pub(crate) at: Micros,
    pub(crate) at_place: u64,
}

impl Track {
    /// Notes a room, joined at this place of the log.
    pub(crate) fn join(&mut self, room: &str, place: u64) {
        if let Err(at) = self.rooms.binary_search_by(|(name, _)| (**name).cmp(room)) {
            self.rooms.insert(at, (room.into(), place));
        }
    }

    /// Forgets a room.
    pub(crate) fn leave(&mut self, room: &str) {
        if let Ok(at) = self.rooms.binary_search_by(|(name, _)| (**name).cmp(room)) {
            self.rooms.remove(at);
        }
    }
}

impl Saved {
    pub(crate) fn bytes(&self) -> usize {
        let rooms: usize = self.track.rooms.iter().map(|(room, _)| room.len() + 40).sum();
        let who = self.who.as_ref().map_or(0, |who| who.len());
        SAVED_BYTES + who + rooms + self.track.cut.as_ref().map_or(0, |cut| size_of_val(&**cut))
    }

    pub(crate) fn member(&self) -> Member<'_> {
        let (rooms, cut) = (&self.track.rooms[..], self.track.cut.as_deref());
        Member { id: self.id, namespace: &self.namespace, rooms, cut }
    }

    /// From which place on its client has missed what is in the log.
    ///
    /// # Errors
    /// What it missed is not, or not all, in the log any more, or the offset is none it was given.
    pub(crate) fn missed_from(&self, offset: Option<Offset>, log: &Log) -> Result<u64, Lost> {
        let track = &self.track;
        if log.first() > self.at_place {
            return Err(Lost::Log);
        }
        if offset == track.last || (offset == track.brought && track.last.is_none()) {
            // Nothing was queued behind it: what has gone from the log was for others.
            let behind = track.last_place + u64::from(track.last.is_some());
            return Ok(behind.max(log.first()));
        }
        if offset == track.brought {
            return if track.since >= log.first() { Ok(track.since) } else { Err(Lost::Log) };
        }
        let offset = offset.ok_or(Lost::Log)?;
        let cut = track.cut.as_deref().unwrap_or_default();
        let place = log.find(offset).filter(|place| *place >= track.since);
        let place = place.filter(|_| !is_cut(cut, offset.origin, offset.seq));
        place.map(|place| place + 1).ok_or(Lost::Log)
    }
}

/// Bookkeeping of a saved session, with its entry by id and in the queue.
const SAVED_BYTES: usize = 384;

/// Why a session is not recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Nobody knows it: it was left on purpose, taken before, or is of another process.
    Unknown,
    /// It broke off too long ago.
    Late,
    /// What its client missed is gone from the log.
    Log,
    /// Its client is not who it was.
    Identity,
}

/// Where a private id leads.
#[derive(Debug)]
pub(crate) enum Here {
    Lives(Key),
    Saved(Box<Saved>),
}

/// All that one core has for recovery.
#[derive(Debug)]
pub(crate) struct Recovery {
    pub(crate) log: Log,
    /// The last number this core gave to an event.
    pub(crate) seq: u64,
    pub(crate) here: Map<Id20, Here>,
    /// Saved sessions, oldest first; those that were taken are passed over.
    queue: VecDeque<(Micros, Id20)>,
    pub(crate) saved_bytes: usize,
    pub(crate) saved: usize,
}

impl Recovery {
    pub(crate) fn new(epoch: u64, cores: usize, here: Map<Id20, Here>) -> Self {
        let log = Log::new(epoch, cores);
        Self { log, seq: 0, here, queue: VecDeque::new(), saved_bytes: 0, saved: 0 }
    }

    /// Keeps a session that broke off; the oldest ones make room.
    pub(crate) fn save(&mut self, saved: Saved, now: Micros, limits: &Limits) {
        self.saved += 1;
        self.saved_bytes += saved.bytes();
        let pid = saved.track.pid;
        self.queue.push_back((now, pid));
        self.here.insert(pid, Here::Saved(Box::new(saved)));
        while self.saved > limits.recovery_sessions_max
            || self.saved_bytes > limits.recovery_bytes_max
            || self.queue.len() > 2 * limits.recovery_sessions_max + 16
        {
            let Some((at, pid)) = self.queue.pop_front() else { break };
            self.expire(at, pid);
        }
    }

    /// Takes a saved session out.
    pub(crate) fn take(&mut self, pid: Id20) -> Option<Box<Saved>> {
        if !matches!(self.here.get(&pid)?, Here::Saved(_)) {
            return None;
        }
        let Some(Here::Saved(saved)) = self.here.remove(&pid) else { return None };
        self.saved -= 1;
        self.saved_bytes -= saved.bytes();
        Some(saved)
    }

    /// Forgets what is older than it may be.
    pub(crate) fn tidy(&mut self, now: Micros, keep_us: (Micros, Micros), limits: &Limits) {
        let (window_us, log_us) = keep_us;
        while let Some(&(at, pid)) = self.queue.front()
            && at + window_us < now
        {
            self.queue.pop_front();
            self.expire(at, pid);
        }
        self.log.trim(now, log_us, limits);
    }

    /// A session that was saved anew since has a later line in the queue.
    fn expire(&mut self, at: Micros, pid: Id20) {
        if let Some(Here::Saved(saved)) = self.here.get(&pid)
            && saved.at <= at
        {
            self.take(pid);
        }
    }

    /// Whether time has anything to take away.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.log.bytes() == 0
    }
}
