//! What one hook is to be told: in order for each client or session, in batches, within bounds.
//! A state machine; time is handed in.
//!
//! A *lane* is what must stay in order. A batch takes the front of several lanes, and each of them
//! stands still until the batch has arrived or was given up. Lanes take turns in the order in which
//! they had something to say.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::{Map, hasher};

/// Bytes of a batch, unless one item alone has more.
const BATCH_BYTES_MAX: usize = 512 << 10;

/// One thing to be told: JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    json: String,
    since_ms: u64,
}

/// What is told by one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// The same in every attempt, so that a receiver can tell what it has had.
    pub(super) id: String,
    /// JSON objects, in order.
    pub(super) items: Vec<String>,
    /// Calls that were made.
    pub(super) attempts: u32,
    lanes: Vec<Arc<str>>,
}

impl Batch {
    pub(super) fn bytes(&self) -> usize {
        self.items.iter().map(String::len).sum()
    }

    #[cfg(test)]
    pub(super) fn for_test(id: &str, item: &str) -> Self {
        Self { id: id.into(), items: vec![item.into()], attempts: 0, lanes: Vec::new() }
    }
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// The bounds of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) items_max: usize,
    pub(super) bytes_max: usize,
    pub(super) batch_max: usize,
    pub(super) batch_wait_ms: u64,
    pub(super) batches_max: usize,
}

#[derive(Debug, Default)]
struct Lane {
    items: VecDeque<Item>,
    /// A batch with its front is under way.
    moving: bool,
}

#[derive(Debug)]
pub(super) struct Queue {
    bounds: Bounds,
    lanes: Map<Arc<str>, Lane>,
    /// Lanes that have something and do not move, each once.
    ready: VecDeque<Arc<str>>,
    /// Items of those lanes.
    ready_items: usize,
    /// Batches that come from elsewhere, whole.
    again: VecDeque<Batch>,
    /// All items, those under way too.
    items: usize,
    bytes: usize,
    /// Batches under way.
    moving: usize,
    /// Nothing waits for others any more.
    hurry: bool,
}

impl Queue {
    pub(super) fn new(bounds: Bounds, hash_seed: u64) -> Self {
        Self {
            bounds,
            lanes: Map::with_hasher(hasher(hash_seed)),
            ready: VecDeque::new(),
            ready_items: 0,
            again: VecDeque::new(),
            items: 0,
            bytes: 0,
            moving: 0,
            hurry: false,
        }
    }

    /// Everything that is kept, in items.
    pub(super) const fn len(&self) -> usize {
        self.items
    }

    /// Puts something at the end of a lane.
    ///
    /// # Errors
    /// There is no room; the item is lost unless its sender keeps it.
    pub(super) fn push(&mut self, lane: &Arc<str>, json: String, now_ms: u64) -> Result<(), Full> {
        let Bounds { items_max, bytes_max, .. } = self.bounds;
        if self.items >= items_max || self.bytes + json.len() > bytes_max {
            return Err(Full);
        }
        self.items += 1;
        self.bytes += json.len();
        let entry = self.lanes.entry(Arc::clone(lane)).or_default();
        if !entry.moving {
            if entry.items.is_empty() {
                self.ready.push_back(Arc::clone(lane));
            }
            self.ready_items += 1;
        }
        entry.items.push_back(Item { json, since_ms: now_ms });
        Ok(())
    }

    /// Puts a batch that was given up in again. It is in no order with anything.
    ///
    /// # Errors
    /// There is no room; the batch comes back.
    pub(super) fn push_again(&mut self, mut batch: Batch) -> Result<(), Batch> {
        let Bounds { items_max, bytes_max, .. } = self.bounds;
        if self.items + batch.items.len() > items_max || self.bytes + batch.bytes() > bytes_max {
            return Err(batch);
        }
        self.items += batch.items.len();
        self.bytes += batch.bytes();
        batch.lanes.clear();
        batch.attempts = 0;
        self.again.push_back(batch);
        Ok(())
    }

    /// From now on nothing waits for others.
    pub(super) const fn hurry(&mut self) {
        self.hurry = true;
    }

    /// When [`Self::next`] has something, if nothing else happens before; nothing if only the end
    /// of a batch, or something new, can bring that about.
    pub(super) fn due_ms(&self) -> Option<u64> {
        if self.moving >= self.bounds.batches_max {
            return None;
        }
        if !self.again.is_empty() || self.hurry && !self.ready.is_empty() {
            return Some(0);
        }
        let front = self.lanes.get(self.ready.front()?)?.items.front()?;
        if self.ready_items >= self.bounds.batch_max {
            return Some(0);
        }
        Some(front.since_ms + self.bounds.batch_wait_ms)
    }

    /// The next batch, if one is due. `id` makes its id.
    pub(super) fn next(&mut self, now_ms: u64, id: impl FnOnce() -> String) -> Option<Batch> {
        if self.due_ms()? > now_ms {
            return None;
        }
        self.moving += 1;
        if let Some(batch) = self.again.pop_front() {
            return Some(batch);
        }
        let mut batch = Batch { id: id(), items: Vec::new(), attempts: 0, lanes: Vec::new() };
        let mut bytes = 0;
        while batch.items.len() < self.bounds.batch_max {
            let Some(name) = self.ready.front() else { break };
            let Some(lane) = self.lanes.get_mut(name) else { break };
            let fits = |item: &Item| bytes == 0 || bytes + item.json.len() <= BATCH_BYTES_MAX;
            if !lane.items.front().is_some_and(fits) {
                break;
            }
            while batch.items.len() < self.bounds.batch_max {
                let fits =
                    |item: &mut Item| bytes == 0 || bytes + item.json.len() <= BATCH_BYTES_MAX;
                let Some(item) = lane.items.pop_front_if(fits) else { break };
                bytes += item.json.len();
                batch.items.push(item.json);
                self.ready_items -= 1;
            }
            lane.moving = true;
            self.ready_items -= lane.items.len();
            batch.lanes.extend(self.ready.pop_front());
        }
        Some(batch)
    }

    /// A batch has arrived, or was given up.
    pub(super) fn done(&mut self, batch: &Batch) {
        self.moving -= 1;
        self.items -= batch.items.len();
        self.bytes -= batch.bytes();
        for name in &batch.lanes {
            let Some(lane) = self.lanes.get_mut(name) else { continue };
            lane.moving = false;
            if lane.items.is_empty() {
                self.lanes.remove(name);
            } else {
                self.ready_items += lane.items.len();
                self.ready.push_back(Arc::clone(name));
            }
        }
    }
}

/// How long to wait before an attempt: twice as long each time, and by chance down to half of
/// that, so that what failed together does not come back together. `chance` is anything.
pub(super) fn backoff_ms(attempts: u32, chance: u64) -> u64 {
    const FIRST_MS: u64 = 200;
    const LAST_MS: u64 = 30_000;
    let whole = FIRST_MS.saturating_mul(1 << attempts.saturating_sub(1).min(20)).min(LAST_MS);
    whole / 2 + chance % (whole / 2 + 1)
}
