//! What is noted of events and sockets so that sessions can be recovered: places in the log while
//! they live, all of it when they break off.

use std::sync::Arc;

use super::frame::Wire;
use super::history::{Mark, Noted, Offset, Whom, is_cut};
use super::message::Target;
use super::recall::{Claimed, Settled};
use super::recovery::{Here, Saved, Track};
use super::timer::Timer;
use super::{Ending, Shard};
use crate::base::{Key, Micros};
use crate::socketio;

impl Shard {
    /// Time a session is kept, and time an event is: clients notice late that they are cut off,
    /// and servers that clients are gone.
    pub(super) fn recovery_keeps(&self) -> (Micros, Micros) {
        let window_ms = self.settings.recovery.map_or(0, |terms| terms.window_ms);
        let late_ms = self.settings.ping_interval_ms + self.settings.ping_timeout_ms;
        (window_ms * 1_000, (window_ms + late_ms) * 1_000)
    }

    /// The offset of the next event that this core sends, where events have one.
    pub(super) fn next_offset(&mut self) -> Option<Offset> {
        let recovery = self.recovery.as_mut()?;
        recovery.seq += 1;
        let epoch = self.settings.recovery?.epoch;
        Some(Offset { epoch, origin: self.core, seq: recovery.seq })
    }

    /// Puts what was sent into this core's log, before it is delivered here.
    pub(super) fn log_event(
        &mut self,
        offset: Offset,
        namespace: &Arc<str>,
        whom: Whom,
        noted: Noted,
    ) -> Option<Mark> {
        let (now, (_, keep_us)) = (self.now, self.recovery_keeps());
        let limits = &self.settings.limits;
        let recovery = self.recovery.as_mut()?;
        let mark = recovery.log.push(now, offset, namespace, whom, noted);
        recovery.log.trim(now, keep_us, limits);
        self.counters.recovery_log_bytes = recovery.log.bytes() as u64;
        self.arm_recovery();
        mark
    }

    /// The same for a broadcast, from wherever it comes.
    pub(super) fn log_broadcast(
        &mut self,
        offset: Offset,
        (namespace, target, wire): (&Arc<str>, &Arc<Target>, &Arc<Wire>),
        volatile: bool,
    ) -> Option<Mark> {
        let whom = Whom::Target(Arc::clone(target));
        self.log_event(offset, namespace, whom, Noted::event(wire, volatile))
    }

    /// Notes that an event was queued for a socket.
    pub(super) fn note_queued(&mut self, key: Key, mark: Mark) {
        if let Some(socket) = self.sockets.get_mut(key)
            && let Some(Claimed::Living(track)) = &mut socket.claimed
        {
            track.last = Some(mark.offset);
            track.last_place = mark.place;
        }
    }

    /// Whether a socket had this event on the core where it lived before.
    pub(super) fn had_before(&self, key: Key, mark: Mark) -> bool {
        let claimed = self.sockets.get(key).and_then(|socket| socket.claimed.as_ref());
        let Some(Claimed::Living(track)) = claimed else { return false };
        let cut = track.cut.as_deref().unwrap_or_default();
        is_cut(cut, mark.source, mark.offset.seq)
    }

    /// Keeps a socket's session for its client, when the socket goes.
    pub(super) fn save_track(&mut self, saved: Saved, ending: Ending) {
        let Some(recovery) = &mut self.recovery else { return };
        recovery.here.remove(&saved.track.pid);
        if ending.may_be_recovered() && !saved.track.is_over {
            let at_place = recovery.log.end();
            self.keep_saved(Saved { at: self.now, at_place, ..saved });
        }
    }

    /// A socket that had not joined goes: what it claimed waits for its client again, unless the
    /// application has refused it.
    pub(super) fn give_back(&mut self, claimed: Claimed, ending: Ending) {
        let Claimed::Found { saved, .. } = claimed else { return };
        if ending.may_be_recovered() {
            self.keep_saved(*saved);
        }
    }

    pub(super) fn keep_saved(&mut self, saved: Saved) {
        let (now, limits) = (self.now, &self.settings.limits);
        let Some(recovery) = &mut self.recovery else { return };
        recovery.save(saved, now, limits);
        self.counters.recovery_saved = recovery.saved as u64;
        self.arm_recovery();
    }

    pub(super) fn track_anew(&mut self, key: Key) -> Option<Settled> {
        let pid = self.new_id();
        let recovery = self.recovery.as_mut()?;
        let since = recovery.log.end();
        recovery.here.insert(pid, Here::Lives(key));
        let mut track = Track {
            pid,
            since,
            brought: None,
            last: None,
            last_place: since,
            cut: None,
            rooms: Vec::new(),
            recovered: false,
            is_over: false,
        };
        self.note_rooms(key, &mut track);
        self.sockets.get_mut(key)?.claimed = Some(Claimed::Living(Box::new(track)));
        Some(Settled { pid, missed: Vec::new() })
    }

    /// The rooms that a socket joined before it was let in.
    pub(super) fn note_rooms(&self, key: Key, track: &mut Track) {
        let end = self.recovery.as_ref().map_or(0, |recovery| recovery.log.end());
        for room in self.rooms_of(key) {
            track.join(&room, end);
        }
        track.rooms.retain(|(room, _)| self.is_in(key, room));
    }

    /// A socket has joined or left a room.
    pub(super) fn track_room(&mut self, key: Key, room: &str, joined: bool) {
        let Some(recovery) = &self.recovery else { return };
        let end = recovery.log.end();
        let claimed = self.sockets.get_mut(key).and_then(|socket| socket.claimed.as_mut());
        if let Some(Claimed::Living(track)) = claimed {
            if joined {
                track.join(room, end);
            } else {
                track.leave(room);
            }
        }
    }

    /// Whether a socket goes on with a session that had broken off.
    #[must_use]
    pub fn is_recovered(&self, key: Key) -> bool {
        match self.sockets.get(key).and_then(|socket| socket.claimed.as_ref()) {
            Some(Claimed::Living(track)) => track.recovered,
            Some(Claimed::Found { .. }) => true,
            _ => false,
        }
    }

    /// What of a socket must be the same for its session to be taken up again.
    pub(super) fn who_is(&self, key: Key) -> Option<Arc<str>> {
        let data = self.sockets.get(key)?.data.as_deref()?;
        (self.likeness?)(data)
    }

    /// A joined socket as it is kept when it breaks off, where it may be.
    pub(super) fn saved_of(&self, key: Key) -> Option<Saved> {
        let socket = self.sockets.get(key)?;
        let Some(Claimed::Living(track)) = &socket.claimed else { return None };
        let namespace = Arc::clone(&self.namespaces.get(socket.namespace).name);
        let (id, who, track) = (socket.id, self.who_is(key), Track::clone(track));
        Some(Saved { id, namespace, who, track, at: self.now, at_place: 0 })
    }

    pub(super) fn arm_recovery(&mut self) {
        if self.recovery_due.is_none() && self.recovery.as_ref().is_some_and(|r| !r.is_idle()) {
            let due = self.millis().plus(SWEEP_MS);
            self.recovery_due = Some(due);
            self.timers.add(due, Timer::Recovery);
        }
    }

    /// Forgets what is too old.
    pub(super) fn recovery_sweep(&mut self) {
        self.recovery_due = None;
        let (now, keep_us) = (self.now, self.recovery_keeps());
        let limits = &self.settings.limits;
        if let Some(recovery) = &mut self.recovery {
            recovery.tidy(now, keep_us, limits);
            self.counters.recovery_saved = recovery.saved as u64;
            self.counters.recovery_log_bytes = recovery.log.bytes() as u64;
        }
        self.arm_recovery();
    }
}

/// How often a core looks for what is too old to be kept.
const SWEEP_MS: u64 = 5_000;

/// Appends an offset to the arguments of an event that is encoded already.
pub(super) fn append_offset(text: &mut Vec<u8>, offset: Offset) {
    debug_assert_eq!(text.last(), Some(&b']'), "an event is an array");
    text.pop();
    text.push(b',');
    socketio::escape_json(text, &offset.to_string());
    text.push(b']');
}
