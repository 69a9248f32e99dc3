//! Sessions whose clients are away, and verbs of others that mean them: whoever is taken out of a
//! room, or sent away, stays so although its connection happened to be broken at that time.

use super::Shard;
use super::message::{Target, Verb};
use super::recall::Claimed;
use super::recovery::{Here, Saved};
use crate::base::Id20;

impl Saved {
    /// Whether a verb means it, by the rooms it would come back with.
    fn is_meant(&self, namespace: &str, target: &Target) -> bool {
        let id = self.id.text();
        let is_in = |room: &str| {
            let at = self.track.rooms.binary_search_by(|(name, _)| (**name).cmp(room));
            at.is_ok() || id.as_str() == room
        };
        *self.namespace == *namespace
            && (target.rooms.is_empty() || target.rooms.iter().any(|room| is_in(room)))
            && !target.except.iter().any(|room| is_in(room))
    }
}

impl Shard {
    /// Does to the sessions that are kept here what a verb does to the sockets of its target, where
    /// it takes something away. They are in no answer: those count sockets.
    ///
    /// Cost: a look at every session that is kept, and at the sockets of the core while some have
    /// one that they wait to go on with.
    pub fn strike(&mut self, namespace: &str, target: &Target, verb: &Verb) {
        let rooms: Option<&[Box<str>]> = match verb {
            Verb::Leave(rooms) => Some(rooms),
            Verb::Disconnect { .. } => None,
            Verb::Join(_) | Verb::CloseTransport | Verb::Count | Verb::Fetch => return,
        };
        let Some(recovery) = &mut self.recovery else { return };
        let mut over: Vec<Id20> = Vec::new();
        if recovery.saved > 0 {
            for (pid, here) in &mut recovery.here {
                let Here::Saved(saved) = here else { continue };
                if !saved.is_meant(namespace, target) {
                    continue;
                }
                let Some(rooms) = rooms else {
                    over.push(*pid);
                    continue;
                };
                let before = saved.bytes();
                rooms.iter().for_each(|room| saved.track.leave(room));
                recovery.saved_bytes -= before - saved.bytes();
            }
        }
        for pid in over {
            recovery.take(pid);
        }
        self.counters.recovery_saved = recovery.saved as u64;
        if recovery.found > 0 {
            self.strike_found(namespace, target, rooms);
        }
    }

    /// The same for sessions whose clients are back and not let in yet.
    fn strike_found(&mut self, namespace: &str, target: &Target, rooms: Option<&[Box<str>]>) {
        for key in self.sockets.keys() {
            let Some(socket) = self.sockets.get_mut(key) else { continue };
            let Some(Claimed::Found { saved, .. }) = &mut socket.claimed else { continue };
            if !saved.is_meant(namespace, target) {
                continue;
            }
            match rooms {
                Some(rooms) => rooms.iter().for_each(|room| saved.track.leave(room)),
                // It comes in as a new one.
                None => self.forget_found(key),
            }
        }
    }
}
