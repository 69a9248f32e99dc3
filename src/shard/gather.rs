//! Questions to other cores: registered, answered in parts, never waited for.

use super::message::{Completion, GatherRef, Gathered, MeshMsg, Part};
use super::timer::Timer;
use super::{Shard, SocketInfo};
use crate::base::{Key, Millis};

/// A question under way.
pub(crate) struct Gather {
    cores_left: usize,
    /// Acks that are still owed, once all cores have said how many members they reached.
    acks_left: u64,
    wants_acks: bool,
    due: Millis,
    found: Gathered,
    done: Option<Box<dyn FnOnce(Gathered)>>,
}

impl Shard {
    /// Registers a question that `cores` cores will answer, this one included if it is asked.
    ///
    /// `None` if too many are under way; the caller then says so to whoever asked.
    pub(super) fn open_gather(
        &mut self,
        cores: usize,
        wants_acks: bool,
        timeout_ms: u64,
        done: Box<dyn FnOnce(Gathered)>,
    ) -> Result<GatherRef, Box<dyn FnOnce(Gathered)>> {
        if self.gathers.len() >= self.settings.limits.gathers_max {
            self.counters.limits_hit += 1;
            return Err(done);
        }
        let due = self.millis().plus(timeout_ms);
        let key = self.gathers.insert(Gather {
            cores_left: cores,
            acks_left: 0,
            wants_acks,
            due,
            found: Gathered::default(),
            done: Some(done),
        });
        self.timers.add(due, Timer::Gather(key));
        Ok(GatherRef { core: self.core, key })
    }

    /// Sends a part of an answer to whoever asked.
    pub(super) fn answer(&mut self, gather: GatherRef, part: Part) {
        if gather.core == self.core {
            self.gather_part(gather.key, part);
        } else {
            self.send_mesh(gather.core, MeshMsg::Answer { gather: gather.key, part });
        }
    }

    /// A part of an answer arrived. Late ones find nothing and are dropped.
    pub(super) fn gather_part(&mut self, key: Key, part: Part) {
        let Some(gather) = self.gathers.get_mut(key) else { return };
        match part {
            Part::Done { count, sockets } => {
                gather.cores_left = gather.cores_left.saturating_sub(1);
                gather.found.count += count;
                extend(&mut gather.found.sockets, sockets);
                if gather.wants_acks {
                    gather.acks_left = gather.acks_left.wrapping_add(count);
                }
            }
            // An ack may overtake nothing: a core says how many it reached before it forwards
            // the first answer, except for its own members, where both happen in one step.
            Part::Ack(ack) => {
                gather.acks_left = gather.acks_left.wrapping_sub(1);
                gather.found.acks.push(ack);
            }
            Part::AckLost => {
                gather.acks_left = gather.acks_left.wrapping_sub(1);
                gather.found.partial = true;
            }
        }
        if gather.cores_left == 0 && gather.acks_left == 0 {
            self.finish_gather(key);
        }
    }

    /// The deadline of a question: what is missing is missing.
    pub(super) fn gather_due(&mut self, key: Key) {
        let now = self.millis();
        let Some(gather) = self.gathers.get_mut(key) else { return };
        if now < gather.due {
            let due = gather.due;
            self.timers.add(due, Timer::Gather(key));
            return;
        }
        gather.found.partial = true;
        self.finish_gather(key);
    }

    fn finish_gather(&mut self, key: Key) {
        if let Some(mut gather) = self.gathers.remove(key)
            && let Some(done) = gather.done.take()
        {
            self.completions.push_back(Completion::Gather(done, gather.found));
        }
    }
}

fn extend(found: &mut Vec<SocketInfo>, sockets: Vec<SocketInfo>) {
    if found.is_empty() {
        *found = sockets;
    } else {
        found.extend(sockets);
    }
}
