//! What a core remembers of events: a log in the order in which it delivers them, whether it has
//! members or not, so one place in one log says all that a client of that core has had.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::frame::Wire;
use super::message::Target;
use super::strike::Strike;
use crate::base::{CoreId, Id20, Limits, Micros};

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
            Self::Target(target) => target.bytes(),
        }
    }

    /// Whether what stands at this place was meant for a socket.
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

/// What is noted of something that was sent.
#[derive(Clone, Debug)]
pub(crate) enum Noted {
    Event(Arc<Wire>),
    /// A volatile event, whose bytes are not kept.
    Volatile,
    /// A command that takes something away.
    Strike(Arc<Strike>),
}

impl Noted {
    pub(crate) fn event(wire: &Arc<Wire>, volatile: bool) -> Self {
        if volatile { Self::Volatile } else { Self::Event(Arc::clone(wire)) }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Event(wire) => wire.len(),
            Self::Volatile => 0,
            Self::Strike(strike) => strike.bytes(),
        }
    }
}

/// One line of the log.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Whose it is, among the log's sources.
    source: usize,
    /// The first number it stands for; less than `seq` only where volatile events, of which only
    /// the numbers are kept, follow each other.
    first: u64,
    seq: u64,
    at: Micros,
    namespace: Arc<str>,
    whom: Whom,
    noted: Noted,
}

impl Entry {
    /// Whether a session is meant by it, and has not had it elsewhere.
    fn is_for(&self, place: u64, member: &Member<'_>) -> bool {
        !member.cut.is_some_and(|cut| is_cut(cut, self.source, self.seq))
            && *self.namespace == *member.namespace
            && self.whom.means(place, member)
    }

    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.whom.bytes() + self.noted.bytes()
    }
}

/// Bookkeeping of an entry, with its place in the index of its origin.
const ENTRY_BYTES: usize = 192;

/// An event as the log took it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) offset: Offset,
    /// Its sender, among the log's sources.
    pub(crate) source: usize,
    /// Its place in this core's log.
    pub(crate) place: u64,
}

/// What one core remembers of events, in the order in which it delivered them. Places count from
/// the start of the core; the oldest entries go.
#[derive(Debug)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
    /// The place of the first entry.
    first: u64,
    bytes: usize,
    /// Where commands are that take something away.
    strikes: VecDeque<u64>,
    /// Whoever sends: the cores of this process, then those of processes it overlapped with.
    sources: Vec<Source>,
    /// How many of them are of this process.
    cores: usize,
}

/// One core that sends: its last number here, its last number that has gone, and where its
/// entries are: their last numbers with their places.
#[derive(Debug)]
struct Source {
    epoch: u64,
    core: CoreId,
    seen: u64,
    gone: u64,
    places: VecDeque<(u64, u64)>,
}

impl Source {
    fn new(epoch: u64, core: usize) -> Self {
        let core = CoreId::from_index(core);
        Self { epoch, core, seen: 0, gone: 0, places: VecDeque::new() }
    }

    fn sent(&self, offset: Offset) -> bool {
        (self.epoch, self.core) == (offset.epoch, offset.origin)
    }
}

impl Log {
    pub(crate) fn new(epoch: u64, cores: usize) -> Self {
        let sources = (0..cores).map(|core| Source::new(epoch, core)).collect();
        let (entries, strikes) = (VecDeque::new(), VecDeque::new());
        Self { entries, first: 0, bytes: 0, strikes, sources, cores }
    }

    /// The cores of another process send from now on, too.
    pub(crate) fn add_sources(&mut self, epoch: u64, cores: usize) {
        if !self.sources.iter().any(|source| source.epoch == epoch) {
            self.sources.extend((0..cores).map(|core| Source::new(epoch, core)));
        }
    }

    /// The numbers of a core of another process begin behind `seq`: what it sent before was for
    /// nobody here.
    pub(crate) fn begin(&mut self, epoch: u64, core: CoreId, seq: u64) {
        let offset = Offset { epoch, origin: core, seq };
        if let Some(source) = self.sources.iter_mut().find(|source| source.sent(offset))
            && seq > source.seen
        {
            (source.seen, source.gone) = (seq, seq);
        }
    }

    /// Who sent this, if it is known here.
    fn source_of(&self, offset: Offset) -> Option<usize> {
        let own = offset.origin.index();
        if self.sources.get(own).is_some_and(|source| source.sent(offset)) {
            return Some(own);
        }
        self.sources.iter().position(|source| source.sent(offset))
    }

    /// Numbers by source as another process reads them: those of this one, then its own.
    pub(crate) fn outward(&self, numbers: &[u64], epoch: u64) -> Box<[u64]> {
        let theirs = self.cores..self.sources.len();
        let theirs = theirs.filter(|at| self.sources[*at].epoch == epoch);
        let of = |at: usize| numbers.get(at).copied().unwrap_or_default();
        (0..self.cores).chain(theirs).map(of).collect()
    }

    /// What another process has written so, by the sources of this log. What it cannot know of was
    /// sent before it began, and is for nobody there.
    pub(crate) fn inward(&self, numbers: &[u64], epoch: u64) -> Box<[u64]> {
        let cores = self.sources.iter().filter(|source| source.epoch == epoch).count();
        let of = |(at, source): (usize, &Source)| match at {
            at if at < self.cores => numbers.get(cores + at).copied().unwrap_or_default(),
            _ if source.epoch == epoch => {
                numbers.get(source.core.index()).copied().unwrap_or_default()
            }
            _ => source.seen,
        };
        self.sources.iter().enumerate().map(of).collect()
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

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The last number of each source that is in this log.
    pub(crate) fn seen(&self) -> Box<[u64]> {
        self.sources.iter().map(|source| source.seen).collect()
    }

    /// Takes what was sent, if its sender is known.
    ///
    /// Cost: O(1).
    pub(crate) fn push(
        &mut self,
        at: Micros,
        offset: Offset,
        namespace: &Arc<str>,
        whom: Whom,
        noted: Noted,
    ) -> Option<Mark> {
        let (source, seq) = (self.source_of(offset)?, offset.seq);
        let known = &mut self.sources[source];
        if seq <= known.seen {
            // A core's numbers come in order; another process may be wrong.
            return None;
        }
        known.seen = seq;
        if matches!(noted, Noted::Volatile)
            && let Some(last) = self.entries.back_mut()
            && matches!(last.noted, Noted::Volatile)
            && last.source == source
        {
            last.seq = seq;
            last.at = at;
            let place = self.first + self.entries.len() as u64 - 1;
            *known.places.back_mut().expect("the entry is in its index") = (seq, place);
            return Some(Mark { offset, source, place });
        }
        let place = self.end();
        self.sources[source].places.push_back((seq, place));
        if matches!(noted, Noted::Strike(_)) {
            self.strikes.push_back(place);
        }
        let namespace = Arc::clone(namespace);
        let entry = Entry { source, first: seq, seq, at, namespace, whom, noted };
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        Some(Mark { offset, source, place })
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
            let source = &mut self.sources[entry.source];
            source.gone = source.gone.max(entry.seq);
            source.places.pop_front();
            self.strikes.pop_front_if(|place| *place < self.first);
        }
    }

    /// Where the event with this offset stands, if it is still here.
    ///
    /// Cost: O(log n).
    pub(crate) fn find(&self, offset: Offset) -> Option<Mark> {
        let source = self.source_of(offset)?;
        let places = &self.sources[source].places;
        let at = places.partition_point(|(seq, _)| *seq < offset.seq);
        let (_, place) = *places.get(at)?;
        let entry = self.entry(place)?;
        (entry.first <= offset.seq).then_some(Mark { offset, source, place })
    }

    fn entry(&self, place: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(place.checked_sub(self.first)?).ok()?)
    }

    /// The first place with an event that another core, which has seen as much as `seen`, had not
    /// got. `None` if such an event is gone.
    pub(crate) fn unseen_from(&self, seen: &[u64]) -> Option<u64> {
        let mut from = self.end();
        for (at, source) in self.sources.iter().enumerate() {
            // A core that does not know of a source yet has seen nothing of it.
            let seen = seen.get(at).copied().unwrap_or_default();
            if source.gone > seen {
                return None;
            }
            let at = source.places.partition_point(|(seq, _)| *seq <= seen);
            from = source.places.get(at).map_or(from, |(_, place)| from.min(*place));
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
            let Noted::Event(wire) = &entry.noted else { return None };
            let Entry { source, seq, .. } = *entry;
            let Source { epoch, core, .. } = self.sources[source];
            let offset = Offset { epoch, origin: core, seq };
            let is_his = entry.is_for(place, member);
            is_his.then_some((Mark { offset, source, place }, wire))
        })
    }

    /// Commands from a place on that take something away, with what tells whether they mean a
    /// session.
    ///
    /// Cost: O(log n) beside what is found.
    pub(crate) fn strikes_since(
        &self,
        place: u64,
    ) -> impl Iterator<Item = (&Strike, impl Fn(&Member<'_>) -> bool)> {
        let skip = self.strikes.partition_point(|at| *at < place);
        self.strikes.iter().skip(skip).filter_map(|place| {
            let entry = self.entry(*place)?;
            let Noted::Strike(strike) = &entry.noted else { return None };
            Some((&**strike, move |member: &Member<'_>| entry.is_for(*place, member)))
        })
    }
}

/// Whether a session that has moved had this event before it did.
pub(crate) fn is_cut(cut: &[u64], source: usize, seq: u64) -> bool {
    cut.get(source).is_some_and(|last| seq <= *last)
}

/// Who events are looked for.
pub(crate) struct Member<'a> {
    pub(crate) id: Id20,
    pub(crate) namespace: &'a str,
    /// Sorted by name, with the place in the log at which it joined.
    pub(crate) rooms: &'a [(Box<str>, u64)],
    pub(crate) cut: Option<&'a [u64]>,
}
