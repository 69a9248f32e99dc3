//! The sessions that broke off, and what must be known of living ones so that they can be
//! recovered; what they have missed is in the [log](super::history).
//!
//! Rule: Socket.IO, "Connection state recovery". Every event that may be recovered carries an
//! offset as its last argument; the client hands the last one it saw back, with the private id of
//! its session.

use std::collections::VecDeque;
use std::sync::Arc;

use super::history::{Log, Member, Offset, is_cut};
use crate::base::{Id20, Key, Limits, Map, Micros};

/// Whether and for how long sessions can be recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryTerms {
    /// Drawn at the start of the process: offsets of another one say nothing here.
    pub epoch: u64,
    /// Time after its end in which a session can be recovered.
    pub window_ms: u64,
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
    /// What it had on the core where it lived before, by the log's sources.
    pub(crate) cut: Option<Box<[u64]>>,
    /// Its rooms, sorted by name, with the end of the log when it joined: what was said there
    /// before is not for it.
    pub(crate) rooms: Vec<(Box<str>, u64)>,
    /// It was recovered, and this is no new session.
    pub(crate) recovered: bool,
    /// Its client is sent away, and does not come back with it.
    pub(crate) is_over: bool,
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
        let cut = track.cut.as_deref().unwrap_or_default();
        let mark = log.find(offset.ok_or(Lost::Log)?).filter(|mark| mark.place >= track.since);
        let mark = mark.filter(|mark| !is_cut(cut, mark.source, mark.offset.seq));
        mark.map(|mark| mark.place + 1).ok_or(Lost::Log)
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
