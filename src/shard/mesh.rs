//! The shard's edge to other cores: who has members of a room, and what waits to go there.

use std::rc::Rc;

use super::emit::Delivery;
use super::message::{MeshMsg, Part};
use super::{Completion, Shard};
use crate::base::{CoreId, Key};

/// A set of cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreMask(pub [u64; 4]);

impl CoreMask {
    /// Adds a core.
    pub fn set(&mut self, core: CoreId) {
        self.0[core.index() / 64] |= 1 << (core.index() % 64);
    }

    /// Takes a core out.
    pub fn clear(&mut self, core: CoreId) {
        self.0[core.index() / 64] &= !(1 << (core.index() % 64));
    }

    /// Whether a core is in it.
    #[must_use]
    pub const fn has(&self, core: CoreId) -> bool {
        self.0[core.0 as usize / 64] >> (core.0 % 64) & 1 == 1
    }

    /// Adds all of another set.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine |= theirs;
        }
    }

    /// The cores, in order.
    pub fn iter(self) -> impl Iterator<Item = CoreId> {
        [0, 64, 128, 192].into_iter().zip(self.0).flat_map(|(base, mut word)| {
            std::iter::from_fn(move || {
                let bit = word.trailing_zeros();
                // The lowest bit goes.
                word &= word.wrapping_sub(1);
                u8::try_from(bit).ok().filter(|bit| *bit < 64).map(|bit| CoreId(base + bit))
            })
        })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}

/// Which cores have members of a room: a table all cores read and each writes its own bits of.
///
/// A bucket stands for all rooms that hash to it, so a bit may be set without a member (one
/// useless message), but never unset with one: a join is answered after its bit is set.
pub trait Interest {
    /// The bucket of a room; the empty room stands for the whole namespace.
    fn bucket(&self, namespace: &str, room: &str) -> u32;
    /// Says that `core` has members.
    fn set(&self, bucket: u32, core: CoreId);
    /// Says that it has none any more.
    fn clear(&self, bucket: u32, core: CoreId);
    /// Who has.
    fn mask(&self, bucket: u32) -> CoreMask;
}

/// The interest of one core, counted so that two rooms in one bucket do not clear each other.
pub(crate) struct Counted {
    table: Rc<dyn Interest>,
    core: CoreId,
    alone: bool,
    counts: crate::base::Map<u32, u32>,
}

impl Counted {
    pub(crate) fn new(table: Rc<dyn Interest>, core: CoreId, cores: usize) -> Self {
        let counts = crate::base::Map::with_hasher(crate::base::hasher(0x1D));
        Self { table, core, alone: cores == 1, counts }
    }

    pub(crate) fn add(&mut self, namespace: &str, room: &str) {
        if self.alone {
            return;
        }
        let bucket = self.table.bucket(namespace, room);
        let count = self.counts.entry(bucket).or_insert(0);
        *count += 1;
        if *count == 1 {
            self.table.set(bucket, self.core);
        }
    }

    pub(crate) fn remove(&mut self, namespace: &str, room: &str) {
        if self.alone {
            return;
        }
        let bucket = self.table.bucket(namespace, room);
        let count = self.counts.get_mut(&bucket).expect("added before it is removed");
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&bucket);
            self.table.clear(bucket, self.core);
        }
    }

    pub(crate) fn mask(&self, namespace: &str, room: &str) -> CoreMask {
        self.table.mask(self.table.bucket(namespace, room))
    }

    pub(crate) fn buckets(&self) -> usize {
        self.counts.len()
    }
}

/// What waits to go to one other core.
#[derive(Default)]
pub(crate) struct Lane {
    pub(crate) messages: Vec<MeshMsg>,
    pub(crate) bytes: usize,
}

impl Shard {
    /// Queues a message for another core. Never dropped: facts and broadcasts that are not
    /// volatile must arrive. Over the soft bound this core stops reading its own clients.
    pub(super) fn send_mesh(&mut self, to: CoreId, message: MeshMsg) {
        debug_assert_ne!(to, self.core, "a core does not write to itself");
        let lane = &mut self.mesh[to.index()];
        lane.bytes += message.cost();
        lane.messages.push(message);
        self.counters.mesh_messages_out += 1;
    }

    /// All cores but this one.
    pub(super) fn other_cores(&self) -> CoreMask {
        let mut mask = CoreMask::default();
        (0..self.cores).map(CoreId::from_index).for_each(|core| mask.set(core));
        mask.clear(self.core);
        mask
    }

    /// Sends something to the application's instance on another core, or to this one.
    pub fn send_app(&mut self, to: CoreId, message: Box<dyn std::any::Any + Send>) {
        if to == self.core {
            self.completions.push_back(Completion::App { message });
        } else {
            self.send_mesh(to, MeshMsg::App(message));
        }
    }

    /// Whether another core is so far behind that this one must not take on more.
    #[must_use]
    pub fn overloaded(&self) -> bool {
        self.mesh.iter().any(|lane| lane.bytes > self.settings.limits.mesh_soft_bytes)
    }

    /// Bytes that wait to go to `to`.
    #[must_use]
    pub fn mesh_bytes(&self, to: CoreId) -> usize {
        self.mesh[to.index()].bytes
    }

    /// Everything that waits for `to`, as one batch; empty if nothing does.
    pub fn take_mesh(&mut self, to: CoreId) -> Vec<MeshMsg> {
        let lane = &mut self.mesh[to.index()];
        let was_over = lane.bytes > self.settings.limits.mesh_soft_bytes;
        lane.bytes = 0;
        let batch = std::mem::take(&mut lane.messages);
        if !batch.is_empty() {
            self.counters.mesh_batches_out += 1;
        }
        if was_over {
            let paused = self.conns.iter().filter(|(_, conn)| conn.paused).map(|(key, _)| key);
            let paused: Vec<Key> = paused.collect();
            self.resumed.extend(paused);
        }
        batch
    }

    /// The inbox of `to` was full: the batch goes back to the front of what waits.
    pub fn return_mesh(&mut self, to: CoreId, mut batch: Vec<MeshMsg>) {
        self.counters.mesh_full += 1;
        let lane = &mut self.mesh[to.index()];
        lane.bytes += batch.iter().map(MeshMsg::cost).sum::<usize>();
        batch.append(&mut lane.messages);
        lane.messages = batch;
    }

    /// A message arrived from another core.
    pub fn handle_mesh(&mut self, message: MeshMsg) {
        self.counters.mesh_messages_in += 1;
        match message {
            MeshMsg::Broadcast { namespace, target, wire, volatile, ask, gather, offset } => {
                let mark = offset.and_then(|offset| {
                    self.log_broadcast(offset, (&namespace, &target, &wire), volatile)
                });
                let frame = super::frame::Frame::from(wire);
                let to = Delivery { volatile, ask: ask.zip(gather), mark };
                let reached = self.deliver_here(&namespace, &target, &frame, to);
                if reached.matched == 0 {
                    self.counters.mesh_useless += 1;
                }
                self.answer_if(gather, reached);
            }
            MeshMsg::Apply { namespace, target, verb, gather } => {
                let (count, sockets) = self.apply_here(&namespace, &target, &verb);
                if let Some(gather) = gather {
                    self.answer(gather, Part::Done { count, queued: 0, sockets });
                }
            }
            MeshMsg::Answer { gather, part } => self.gather_part(gather, part),
            MeshMsg::Recall { claim, namespace, asker } => self.recall(claim, &namespace, asker),
            MeshMsg::Recalled { socket, claim, found } => {
                self.recalled(socket, claim, found, false)
            }
            MeshMsg::Strike { offset, strike } => self.struck(offset, &strike, None),
            MeshMsg::KnowsSibling => self.knows_sibling(),
            MeshMsg::App(message) => {
                self.completions.push_back(Completion::App { message });
            }
        }
    }
}
