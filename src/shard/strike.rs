//! Sessions whose clients are away, and commands of others that mean them: whoever is taken out of
//! a room, or sent away, stays so although its connection happened to be broken at that time.
//!
//! Such a command is noted in the logs as an event is, with a number of its core, and sessions are
//! judged by it when their clients come: what stands in the log behind the place where a session
//! broke off is for it. So a command finds those too that are just on their way to another core or
//! process, by the reasoning that lets no [event](super::history) be lost there, and costs nothing
//! for the many that wait. Where it has gone from the log nobody comes back who might be meant.

use std::sync::Arc;

use super::Shard;
use super::history::{Log, Noted, Offset, Whom, is_cut};
use super::message::{MeshMsg, Target, Verb};
use super::recall::Claimed;
use super::recovery::{Lost, Saved, Track};
use super::sibling::SiblingMsg;
use crate::base::{Key, Micros};

/// What a command takes away, and from whom.
#[derive(Debug)]
pub struct Strike {
    pub(super) namespace: Arc<str>,
    pub(super) target: Arc<Target>,
    /// The rooms they are taken out of; `None` where they are sent away.
    pub(super) rooms: Option<Vec<Box<str>>>,
}

impl Strike {
    /// Bytes of the rooms' names.
    pub(super) fn bytes(&self) -> usize {
        let rooms = self.rooms.iter().flatten();
        rooms.map(|room| room.len() + size_of::<Box<str>>()).sum()
    }

    /// Bytes it keeps alive while it waits, roughly.
    pub(super) fn cost(&self) -> usize {
        256 + self.bytes() + self.target.bytes()
    }
}

impl Track {
    /// Takes it all away. The socket itself is another matter: it is told in its turn.
    fn suffer(&mut self, strike: &Strike) {
        match &strike.rooms {
            Some(rooms) => rooms.iter().for_each(|room| self.leave(room)),
            None => self.is_over = true,
        }
    }
}

impl Saved {
    /// Takes from it what commands have taken since its client was gone.
    ///
    /// # Errors
    /// It was sent away.
    pub(super) fn suffer(&mut self, log: &Log) -> Result<(), Lost> {
        for (strike, means) in log.strikes_since(self.at_place) {
            if means(&self.member()) {
                self.track.suffer(strike);
            }
        }
        if self.track.is_over { Err(Lost::Unknown) } else { Ok(()) }
    }
}

impl Shard {
    /// Sees to it that nobody comes back with what a verb takes away, on all cores unless `local`.
    /// Sockets keep it until they are told, but no longer than their connections.
    ///
    /// Cost: a look at each socket that is meant, as [`Self::select`]; nothing for sessions that
    /// wait, whose clients pay when they come.
    pub fn strike(&mut self, namespace: &str, target: &Arc<Target>, verb: &Verb, local: bool) {
        let rooms = match verb {
            Verb::Leave(rooms) => Some(rooms),
            Verb::Disconnect { .. } => None,
            Verb::Join(_) | Verb::CloseTransport | Verb::Count | Verb::Fetch => return,
        };
        let Some(offset) = self.next_offset() else { return };
        let (namespace, target) = (Arc::from(namespace), Arc::clone(target));
        let strike = Arc::new(Strike { namespace, target, rooms: rooms.cloned() });
        self.struck(offset, &strike, None);
        if local {
            return;
        }
        for core in self.other_cores().iter() {
            self.send_mesh(core, MeshMsg::Strike { offset, strike: Arc::clone(&strike) });
        }
        self.tell_sibling(SiblingMsg::Strike { offset, strike, at: self.now });
    }

    /// A command of some core takes something away. `beyond_at` is when it was given, if that was
    /// in another process.
    pub(super) fn struck(
        &mut self,
        offset: Offset,
        strike: &Arc<Strike>,
        beyond_at: Option<Micros>,
    ) {
        let whom = Whom::Target(Arc::clone(&strike.target));
        let noted = Noted::Strike(Arc::clone(strike));
        let Some(mark) = self.log_event(offset, &strike.namespace, whom, noted) else { return };
        for key in self.select(&strike.namespace, &strike.target) {
            let Some(socket) = self.sockets.get_mut(key) else { continue };
            let Some(Claimed::Living(track)) = &mut socket.claimed else { continue };
            let Some(at) = beyond_at else {
                track.suffer(strike);
                continue;
            };
            // Each process answers for its own sockets. One that has come over since the command
            // was given was nobody's, and has not heard of it.
            let cut = track.cut.as_deref();
            let is_his = socket.connected_at >= at
                && cut.is_some_and(|cut| !is_cut(cut, mark.source, mark.offset.seq));
            if is_his {
                track.suffer(strike);
                self.send_off(key, strike);
            }
        }
    }

    /// A socket goes, for good or to come back without the rooms: whoever counts members hears of
    /// either.
    fn send_off(&mut self, key: Key, strike: &Strike) {
        match strike.rooms {
            Some(_) => self.close_transport(key),
            None => self.disconnect(key, false),
        }
    }
}
