//! Questions to other cores: registered, answered in parts, never waited for.

use super::message::{Answered, Completion, GatherRef, Gathered, MeshMsg, Part, Quorum, Terms};
use super::timer::Timer;
use super::{Shard, SocketInfo};
use crate::base::{Key, Millis};

/// A question under way.
pub(crate) struct Gather {
    cores_left: usize,
    /// How many of them are of another process, and how long those are waited for.
    beyond_left: usize,
    beyond_due: Millis,
    /// Acks that are still owed, once all cores have said how many members they reached.
    acks_left: u64,
    /// Set if acks are wanted.
    terms: Option<Terms>,
    /// Bytes of the acks that are kept.
    kept_bytes: usize,
    /// Bytes that the descriptions of sockets are reckoned at.
    info_bytes: usize,
    pub(crate) due: Millis,
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
        terms: Option<Terms>,
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
            beyond_left: 0,
            beyond_due: due,
            acks_left: 0,
            terms,
            kept_bytes: 0,
            info_bytes: 0,
            due,
            found: Gathered::default(),
            done: Some(done),
        });
        self.timers.add(due, Timer::Gather(key));
        Ok(GatherRef { core: self.core, key })
    }

    /// So many of those that are asked are of another process, which may be slow or hang: that must
    /// not keep anybody waiting here.
    pub(super) fn ask_beyond(&mut self, gather: Option<GatherRef>, cores: usize) {
        let due = self.millis().plus(BEYOND_MS);
        let Some(asked) = gather.filter(|_| cores > 0) else { return };
        if let Some(gather) = self.gathers.get_mut(asked.key) {
            (gather.beyond_left, gather.beyond_due) = (cores, due);
            self.timers.add(due, Timer::Beyond(asked.key));
        }
    }

    /// One of them has answered.
    pub(super) fn gather_beyond(&mut self, key: Key, part: Part) {
        // One that comes too late is not mistaken for an answer of this process.
        if let Some(gather) = self.gathers.get_mut(key).filter(|it| it.beyond_left > 0) {
            gather.beyond_left -= 1;
            self.gather_part(key, part);
        }
    }

    /// None of them will answer any more.
    pub(super) fn forget_gathers_beyond(&mut self) {
        self.gathers.keys().into_iter().for_each(|key| self.forget_gather_beyond(key));
    }

    /// What is not heard of the other process is not counted, and nothing is missing here.
    pub(super) fn forget_gather_beyond(&mut self, key: Key) {
        let Some(gather) = self.gathers.get_mut(key).filter(|it| it.beyond_left > 0) else {
            return;
        };
        gather.cores_left = gather.cores_left.saturating_sub(gather.beyond_left);
        gather.beyond_left = 0;
        if gather.is_done() {
            self.finish_gather(key);
        }
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
        let room = self.settings.limits.gathered_bytes_max - self.held.gathered_bytes;
        match part {
            Part::Done { count, queued, sockets } => {
                gather.cores_left = gather.cores_left.saturating_sub(1);
                gather.found.count = gather.found.count.saturating_add(count);
                gather.found.queued = gather.found.queued.saturating_add(queued);
                let bytes = sockets.len() * SOCKET_INFO_BYTES;
                if bytes <= room {
                    gather.info_bytes += bytes;
                    self.held.gathered_bytes += bytes;
                    extend(&mut gather.found.sockets, sockets);
                } else {
                    self.counters.limits_hit += 1;
                    gather.found.partial = true;
                }
                if gather.terms.is_some() {
                    gather.acks_left = gather.acks_left.wrapping_add(count);
                }
            }
            // An ack may overtake nothing: a core says how many it reached before it forwards
            // the first answer, except for its own members, where both happen in one step.
            Part::Ack(answered) => {
                gather.acks_left = gather.acks_left.wrapping_sub(1);
                gather.found.acked += 1;
                self.held.gathered_bytes += gather.keep(*answered, room);
            }
            Part::AckLost { gone, written } => {
                gather.acks_left = gather.acks_left.wrapping_sub(1);
                gather.found.gone += u64::from(gone);
                gather.found.timed_out += u64::from(!gone);
                gather.found.written_unanswered += u64::from(written);
                gather.found.partial = true;
            }
        }
        if gather.is_done() {
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
        let Some(mut gather) = self.gathers.remove(key) else { return };
        self.held.gathered_bytes -= gather.bytes();
        if let Some(done) = gather.done.take() {
            self.completions.push_back(Completion::Gather(done, gather.found));
        }
    }
}

impl Gather {
    /// When another process is not waited for any longer.
    pub(crate) fn beyond_due(&self) -> Option<Millis> {
        (self.beyond_left > 0).then_some(self.beyond_due)
    }

    /// Bytes that it has collected.
    pub(crate) const fn bytes(&self) -> usize {
        self.kept_bytes + self.info_bytes
    }

    /// Keeps an ack if it is wanted and `room` is enough; returns the bytes that it takes.
    fn keep(&mut self, answered: Answered, room: usize) -> usize {
        let Some(terms) = &self.terms else { return 0 };
        let own = answered.ack.bytes();
        let bytes = self.kept_bytes.saturating_add(own);
        if self.found.acks.len() >= terms.collect || bytes > terms.collect_bytes || own > room {
            return 0;
        }
        self.kept_bytes = bytes;
        self.found.acks.push(answered);
        own
    }

    fn is_done(&self) -> bool {
        self.cores_left == 0 && (self.acks_left == 0 || self.has_enough())
    }

    /// Whether those who have not answered need not be waited for.
    fn has_enough(&self) -> bool {
        let quorum = self.terms.map_or(Quorum::All, |terms| terms.quorum);
        self.found.acked > 0 && self.found.acked >= quorum.needed(self.found.count)
    }
}

/// How long another process is waited for.
const BEYOND_MS: u64 = 250;
/// What the description of a socket is reckoned at.
const SOCKET_INFO_BYTES: usize = 512;

fn extend(found: &mut Vec<SocketInfo>, sockets: Vec<SocketInfo>) {
    if found.is_empty() {
        *found = sockets;
    } else {
        found.extend(sockets);
    }
}
