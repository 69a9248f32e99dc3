//! How a session that broke off is taken up again, on whatever core its client comes back to.
//!
//! A claim is a private id with the client's last offset. The core that is asked looks at itself,
//! then asks all others, and while two processes overlap those of the other one. Whoever has the
//! session hands it over with all that its client has missed, and with the last number of every
//! core that is in its log: what has a greater number, the asker finds in its own log; what has not
//! and arrives there later, it leaves out. So each event reaches the client once, however late the
//! cores are with each other.

use std::sync::Arc;

use super::frame::{Frame, Wire};
use super::history::{Mark, Noted, Offset, Whom};
use super::message::{Completion, Dispatch, MeshMsg};
use super::recovery::{Here, Lost, Saved, Track};
use super::timer::Timer;
use super::{Ending, Shard};
use crate::base::{CoreId, Id20, Key, Micros, Millis};

/// What a client says of the session it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The private id of the session.
    pub pid: Id20,
    /// The offset of the last event it got.
    pub offset: Option<Offset>,
    /// When it came.
    pub at: Micros,
}

/// A session on its way from one core to another, with what its client has missed.
#[derive(Debug)]
pub struct Moved {
    pub(super) saved: Saved,
    pub(super) missed: Vec<(Offset, Arc<Wire>)>,
    /// The last number of every source that was in the log there.
    pub(super) seen: Box<[u64]>,
}

impl Moved {
    /// Bytes it keeps alive.
    pub(crate) fn bytes(&self) -> usize {
        let missed: usize = self.missed.iter().map(|(_, wire)| wire.len() + 32).sum();
        self.saved.bytes() + missed
    }
}

/// What a client that joins is told.
pub(crate) struct Settled {
    /// The private id of its session.
    pub(crate) pid: Id20,
    /// What it has missed, in the order of the log.
    pub(crate) missed: Vec<(Mark, Arc<Wire>)>,
}

/// How far a socket is with its claim.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// Other cores are asked; so many have not answered, here and in the other process.
    Asking { claim: Claim, cores_left: usize, beyond_left: usize, lost: Lost, due: Millis },
    /// It is here. Its client has missed what is in the log from this place on.
    Found { saved: Box<Saved>, from: u64 },
    /// It was recovered, or is a new session that may be.
    Living(Box<Track>),
}

/// Reads a claim from the auth payload of a CONNECT.
///
/// Rule: socket.io-client, `_sendConnectPacket`: `{"pid":"…","offset":"…",…}`. An offset that is
/// none of ours makes it none: nobody can say what such a client has had.
fn claim(auth: &str, at: Micros) -> Option<Claim> {
    #[derive(serde::Deserialize)]
    struct Auth {
        pid: Option<serde_json::Value>,
        offset: Option<serde_json::Value>,
    }
    if !auth.contains("\"pid\"") {
        return None;
    }
    let auth: Auth = serde_json::from_str(auth).ok()?;
    let pid = Id20::parse(auth.pid?.as_str()?)?;
    let offset = match auth.offset {
        None | Some(serde_json::Value::Null) => None,
        Some(offset) => Some(Offset::parse(offset.as_str()?)?),
    };
    Some(Claim { pid, offset, at })
}

impl Shard {
    /// A socket asks to join; what it claims is looked for first. The dispatch comes at once, or
    /// as a completion when the other cores have answered.
    pub(super) fn claim_first<'b>(&mut self, socket: Key, auth: &str) -> Option<Dispatch<'b>> {
        let asks = Some(Dispatch::Connect { socket });
        let session = self.sockets.get(socket).map(|socket| socket.session);
        if self.recovery.is_none() || session.is_none_or(|session| !self.is_v4(session)) {
            return asks;
        }
        let Some(claim) = claim(auth, self.now) else { return asks };
        let namespace = self.socket_namespace(socket).expect("the caller has seated it");
        match self.release(claim, &namespace, session) {
            Ok(saved) => self.find_missed(socket, saved, claim.offset),
            Err(lost) => match self.cores - 1 + self.sibling_cores() {
                0 => self.count_lost(lost),
                _ => {
                    self.ask_cores(socket, claim, lost, &namespace);
                    return None;
                }
            },
        }
        asks
    }

    fn ask_cores(&mut self, socket: Key, claim: Claim, lost: Lost, namespace: &Arc<str>) {
        let due = self.millis().plus(self.settings.limits.gather_timeout_ms);
        let (cores_left, beyond_left) = (self.cores - 1, self.sibling_cores());
        if let Some(socket) = self.sockets.get_mut(socket) {
            let asking = Claimed::Asking { claim, cores_left, beyond_left, lost, due };
            socket.claimed = Some(asking);
        }
        self.timers.add(due, Timer::Claim(socket));
        for core in self.other_cores().iter() {
            let namespace = Arc::clone(namespace);
            self.send_mesh(core, MeshMsg::Recall { claim, namespace, asker: (self.core, socket) });
        }
        self.ask_sibling(socket, claim, namespace);
    }

    /// Gives a session out, if it is here. One that still lives ends now: its client has noticed
    /// sooner than this server that the connection is dead.
    fn release(
        &mut self,
        claim: Claim,
        namespace: &str,
        asking: Option<Key>,
    ) -> Result<Box<Saved>, Lost> {
        let recovery = self.recovery.as_ref().ok_or(Lost::Unknown)?;
        if let Some(Here::Lives(key)) = recovery.here.get(&claim.pid)
            && let Some(old) = self.sockets.get(*key)
        {
            let (session, space) = (old.session, old.namespace);
            // A question may be older than what it finds: its client has come back since.
            let is_newer = old.connected_at > claim.at;
            if Some(session) == asking || is_newer || *self.namespace_name(space) != *namespace {
                return Err(Lost::Unknown);
            }
            self.end_session(session, Ending::Replaced);
        }
        let (window_us, _) = self.recovery_keeps();
        let recovery = self.recovery.as_mut().ok_or(Lost::Unknown)?;
        let mut saved = recovery.take(claim.pid).ok_or(Lost::Unknown)?;
        self.counters.recovery_saved = recovery.saved as u64;
        if *saved.namespace != *namespace {
            return Err(Lost::Unknown);
        }
        if saved.at.saturating_add(window_us) < self.now {
            return Err(Lost::Late);
        }
        saved.suffer(&recovery.log)?;
        Ok(saved)
    }

    fn find_missed(&mut self, key: Key, saved: Box<Saved>, offset: Option<Offset>) {
        let Some(recovery) = &self.recovery else { return };
        match saved.missed_from(offset, &recovery.log) {
            Ok(from) => {
                if let Some(socket) = self.sockets.get_mut(key) {
                    socket.id = saved.id;
                    socket.claimed = Some(Claimed::Found { saved, from });
                }
            }
            Err(lost) => self.count_lost(lost),
        }
    }

    pub(super) fn count_lost(&mut self, lost: Lost) {
        match lost {
            Lost::Unknown => self.counters.recovery_unknown += 1,
            Lost::Late => self.counters.recovery_late += 1,
            Lost::Log => self.counters.recovery_gaps += 1,
            Lost::Identity => self.counters.recovery_strangers += 1,
        }
    }

    /// Another core looks for a session.
    pub(super) fn recall(&mut self, claim: Claim, namespace: &str, asker: (CoreId, Key)) {
        let found = self.give_out(claim, namespace);
        self.send_mesh(asker.0, MeshMsg::Recalled { socket: asker.1, claim, found });
    }

    /// A session for another core, with what its client has missed here.
    pub(super) fn give_out(&mut self, claim: Claim, namespace: &str) -> Result<Box<Moved>, Lost> {
        let saved = self.release(claim, namespace, None)?;
        let log = &self.recovery.as_ref().ok_or(Lost::Unknown)?.log;
        let from = saved.missed_from(claim.offset, log)?;
        let member = saved.member();
        let missed = log.since(from, &member);
        let missed = missed.map(|(mark, wire)| (mark.offset, Arc::clone(wire))).collect();
        Ok(Box::new(Moved { missed, seen: log.seen(), saved: *saved }))
    }

    /// Another core has answered, here or beyond.
    pub(super) fn recalled(
        &mut self,
        key: Key,
        claim: Claim,
        found: Result<Box<Moved>, Lost>,
        is_beyond: bool,
    ) {
        let state = self.sockets.get_mut(key).and_then(|socket| socket.claimed.as_mut());
        let waits = match state {
            Some(Claimed::Asking { claim: asked, cores_left, beyond_left, lost, .. })
                if *asked == claim =>
            {
                let left = if is_beyond { &mut *beyond_left } else { &mut *cores_left };
                *left = left.saturating_sub(1);
                match &found {
                    Err(Lost::Unknown) | Ok(_) => {}
                    Err(why) => *lost = *why,
                }
                Some((*cores_left + *beyond_left, *lost))
            }
            _ => None,
        };
        match (found, waits) {
            (Ok(moved), Some(_)) => {
                self.clear_claim(key);
                match self.import(*moved, claim.offset) {
                    Ok(saved) => self.find_missed(key, saved, claim.offset),
                    Err(lost) => self.count_lost(lost),
                }
                self.completions.push_back(Completion::Connect { socket: key });
            }
            // Whoever asked is gone: the session waits here for its client.
            (Ok(moved), None) => {
                if let Ok(saved) = self.import(*moved, claim.offset) {
                    self.keep_saved(*saved);
                }
            }
            (Err(_), Some((0, lost))) => self.give_up_claim(key, lost),
            (Err(_), _) => {}
        }
    }

    /// Nobody beyond will answer any more.
    pub(super) fn forget_claims_beyond(&mut self) {
        let mut over = Vec::new();
        for key in self.sockets.keys() {
            let socket = self.sockets.get_mut(key);
            if let Some(Claimed::Asking { cores_left, beyond_left, lost, .. }) =
                socket.and_then(|socket| socket.claimed.as_mut())
            {
                *beyond_left = 0;
                if *cores_left == 0 {
                    over.push((key, *lost));
                }
            }
        }
        over.into_iter().for_each(|(key, lost)| self.give_up_claim(key, lost));
    }

    /// What a socket claimed is not there: it comes in as a new one.
    fn give_up_claim(&mut self, key: Key, lost: Lost) {
        self.clear_claim(key);
        self.count_lost(lost);
        self.completions.push_back(Completion::Connect { socket: key });
    }

    fn clear_claim(&mut self, key: Key) {
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.claimed = None;
        }
    }

    /// Some core is silent: the socket comes in as a new one.
    pub(super) fn claim_due(&mut self, key: Key) {
        let claimed = self.sockets.get(key).and_then(|socket| socket.claimed.as_ref());
        if let Some(Claimed::Asking { due, .. }) = claimed {
            let due = *due;
            if due > self.millis() {
                self.timers.add(due, Timer::Claim(key));
                return;
            }
            self.give_up_claim(key, Lost::Unknown);
        }
    }

    /// Makes a session that lived on another core one of this core: what its client has missed
    /// is put into this log once more, for it alone, with this core's offsets. So its place here
    /// says everything, however often it breaks off.
    fn import(&mut self, moved: Moved, brought: Option<Offset>) -> Result<Box<Saved>, Lost> {
        let Moved { mut saved, mut missed, mut seen } = moved;
        let log = &self.recovery.as_ref().ok_or(Lost::Unknown)?.log;
        let from = log.unseen_from(&seen).ok_or(Lost::Log)?;
        // It may have come to that core with more than is there yet.
        let before = saved.track.cut.take().unwrap_or_default();
        for (seen, before) in seen.iter_mut().zip(before) {
            *seen = (*seen).max(before);
        }
        saved.track.cut = Some(seen);
        // What this log has beyond that was sent when it was in all of them.
        saved.track.rooms.iter_mut().for_each(|(_, place)| *place = 0);
        saved.at_place = from;
        saved.suffer(log)?;
        let member = saved.member();
        missed.extend(log.since(from, &member).map(|(m, wire)| (m.offset, Arc::clone(wire))));
        let bytes: usize = missed.iter().map(|(_, wire)| wire.len()).sum();
        let limits = &self.settings.limits;
        if missed.len() > limits.recovery_entries_max / LOG_SHARE
            || bytes > limits.recovery_bytes_max / LOG_SHARE
        {
            return Err(Lost::Log);
        }
        let since = log.end();
        for (old, wire) in missed {
            let offset = self.next_offset().ok_or(Lost::Unknown)?;
            let wire = wire.with_offset(old, offset).map(Arc::new);
            let noted = wire.map_or(Noted::Volatile, Noted::Event);
            self.log_event(offset, &saved.namespace, Whom::One(saved.id), noted);
        }
        let log = &self.recovery.as_ref().ok_or(Lost::Unknown)?.log;
        let track = &mut saved.track;
        (track.since, track.last_place) = (since, since);
        (track.brought, track.last) = (brought, None);
        track.rooms.iter_mut().for_each(|(_, place)| *place = since);
        saved.at_place = since;
        if log.first() > since { Err(Lost::Log) } else { Ok(Box::new(saved)) }
    }

    /// A socket joins: as who it was and with its rooms, if its claim holds to the end, or as a new
    /// session. Gives back what its client is told before its CONNECT; nothing where no session
    /// can be recovered.
    pub(super) fn settle_claim(&mut self, key: Key) -> Option<Settled> {
        self.recovery.as_ref()?;
        let socket = self.sockets.get_mut(key)?;
        let (session, claimed) = (socket.session, socket.claimed.take());
        if !self.is_v4(session) {
            return None;
        }
        let Some(Claimed::Found { mut saved, from }) = claimed else {
            return self.track_anew(key);
        };
        let lost = if self.who_is(key) == saved.who {
            match self.missed_by(&mut saved, from, session) {
                Ok(missed) => return self.take_up(key, *saved, missed),
                Err(lost) => lost,
            }
        } else {
            Lost::Identity
        };
        self.count_lost(lost);
        let id = self.new_id();
        self.sockets.get_mut(key)?.id = id;
        self.track_anew(key)
    }

    /// What is in the log for a client from a place on.
    ///
    /// # Errors
    /// Some of it has gone from there, or it is more than may wait for it; or it was sent away.
    fn missed_by(
        &self,
        saved: &mut Saved,
        from: u64,
        session: Key,
    ) -> Result<Vec<(Mark, Arc<Wire>)>, Lost> {
        let log = &self.recovery.as_ref().ok_or(Lost::Unknown)?.log;
        if from < log.first() {
            return Err(Lost::Log);
        }
        saved.suffer(log)?;
        let member = saved.member();
        let missed = log.since(from, &member).map(|(mark, wire)| (mark, Arc::clone(wire)));
        let missed: Vec<_> = missed.collect();
        if self.has_room_for(session, &missed) { Ok(missed) } else { Err(Lost::Log) }
    }

    /// Whether a client can be given what it has missed, and the answer to its CONNECT. Where it
    /// cannot, trying would end it as one that does not read, for ever anew.
    fn has_room_for(&self, key: Key, missed: &[(Mark, Arc<Wire>)]) -> bool {
        let Some(room) = self.room_of(key) else { return false };
        let bytes: usize = missed.iter().map(|(_, wire)| wire.cost()).sum();
        missed.is_empty() || bytes + ANSWER_BYTES <= room.bytes && missed.len() < room.frames
    }

    fn take_up(
        &mut self,
        key: Key,
        saved: Saved,
        missed: Vec<(Mark, Arc<Wire>)>,
    ) -> Option<Settled> {
        for (room, _) in &saved.track.rooms {
            // It had them before; what the limits do not permit now is counted there.
            let _refused = self.join(key, room);
        }
        let recovery = self.recovery.as_mut()?;
        let pid = saved.track.pid;
        recovery.here.insert(pid, Here::Lives(key));
        let mut track = Track { recovered: true, ..saved.track };
        self.note_rooms(key, &mut track);
        self.sockets.get_mut(key)?.claimed = Some(Claimed::Living(Box::new(track)));
        self.counters.recoveries += 1;
        self.counters.recovered_packets += missed.len() as u64;
        Some(Settled { pid, missed })
    }

    /// Queues what a client has missed. It may be too much for it.
    pub(super) fn replay(&mut self, key: Key, session: Key, missed: Vec<(Mark, Arc<Wire>)>) {
        for (mark, wire) in missed {
            if self.push(session, &Frame::from(wire), false) {
                self.note_queued(key, mark);
            }
        }
    }
}

/// What part of the log may be taken by what one client has missed that comes to another core:
/// it is put there once more, at the cost of all others.
const LOG_SHARE: usize = 16;

/// Kept free in an outbox for the answer to a CONNECT.
const ANSWER_BYTES: usize = 512;

impl Wire {
    /// The same event with another offset; `None` if it is no event that ends with `old`.
    fn with_offset(&self, old: Offset, new: Offset) -> Option<Self> {
        let tail = format!("\"{old}\"]");
        let head = self.packet_text()?.strip_suffix(&tail)?;
        let attachments: Vec<&[u8]> = self.attachments().collect();
        Some(Self::packet(format!("{head}\"{new}\"]").as_bytes(), &attachments))
    }
}
