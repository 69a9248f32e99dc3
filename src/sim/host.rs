//! What a core gets here in place of a worker: a clock that stands still, futures that are polled
//! when the schedule says so, an interest table small enough to collide.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use super::mutant::{Mutant, Saboteur};
use crate::api::{Host, LocalFuture};
use crate::base::{CoreId, Micros};
use crate::shard::{CoreMask, Interest};

/// A future, and how much had happened on its core when it was last polled.
struct Task {
    future: LocalFuture,
    seen: Option<u64>,
}

/// What a core asked its host for.
#[derive(Default)]
pub(super) struct Desk {
    tasks: RefCell<Vec<Task>>,
    /// A flush was asked for.
    pub(super) flush: Cell<bool>,
    /// Counts what happens on this core: a future is worth polling again only after something.
    activity: Cell<u64>,
}

impl Desk {
    /// Something happened on this core.
    pub(super) fn stir(&self) {
        self.activity.set(self.activity.get() + 1);
    }

    /// How many futures live.
    pub(super) fn tasks(&self) -> usize {
        self.tasks.borrow().len()
    }

    /// Whether this future may have something to do.
    pub(super) fn is_ready(&self, at: usize) -> bool {
        self.tasks.borrow()[at].seen != Some(self.activity.get())
    }

    /// Polls one future. There is no waker: whatever could wake it stirs its core.
    pub(super) fn poll(&self, at: usize) {
        let mut task = self.tasks.borrow_mut().swap_remove(at);
        let seen = self.activity.get();
        let mut context = Context::from_waker(Waker::noop());
        if task.future.as_mut().poll(&mut context).is_pending() {
            task.seen = Some(seen);
            self.tasks.borrow_mut().push(task);
        } else {
            self.stir();
        }
    }
}

/// Everybody's clock as one core reads it.
pub(super) struct ClockOfCore {
    pub(super) clock: Rc<Cell<Micros>>,
    pub(super) behind_us: Rc<Cell<Micros>>,
}

/// The host of one core.
pub(super) struct SimHost {
    pub(super) clock: ClockOfCore,
    pub(super) desk: Rc<Desk>,
}

impl Host for SimHost {
    fn now_us(&self) -> Micros {
        self.clock.clock.get().saturating_sub(self.clock.behind_us.get())
    }

    fn spawn(&self, future: LocalFuture) {
        self.desk.tasks.borrow_mut().push(Task { future, seen: None });
    }

    fn flush_soon(&self) {
        let twice = self.desk.flush.replace(true);
        assert!(!twice, "a flush is asked for once until the host has begun it");
    }

    fn abort(&self, why: &str) {
        panic!("the core gave up: {why}");
    }
}

/// Which cores have members of a room; so few buckets that rooms share them.
pub(super) struct Table {
    buckets: Vec<Cell<CoreMask>>,
    saboteur: Rc<Saboteur>,
}

impl Table {
    pub(super) fn new(buckets: usize, saboteur: Rc<Saboteur>) -> Self {
        Self { buckets: (0..buckets).map(|_| Cell::default()).collect(), saboteur }
    }

    /// Whether no core has a member of anything.
    pub(super) fn is_clear(&self) -> bool {
        self.buckets.iter().all(|bucket| bucket.get() == CoreMask::default())
    }

    fn change(&self, bucket: u32, change: impl FnOnce(&mut CoreMask)) {
        let bucket = &self.buckets[bucket as usize];
        let mut mask = bucket.get();
        change(&mut mask);
        bucket.set(mask);
    }
}

/// A core's handle on the one table.
pub(super) struct TableOf(pub(super) Rc<Table>);

impl Interest for TableOf {
    fn bucket(&self, namespace: &str, room: &str) -> u32 {
        let bytes = namespace.bytes().chain([0]).chain(room.bytes());
        let hash =
            bytes.fold(0_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
        let buckets = u32::try_from(self.0.buckets.len()).expect("a handful");
        (hash >> 8) % buckets
    }

    fn set(&self, bucket: u32, core: CoreId) {
        if !self.0.saboteur.strikes(Mutant::ForgottenInterest) {
            self.0.change(bucket, |mask| mask.set(core));
        }
    }

    fn clear(&self, bucket: u32, core: CoreId) {
        self.0.change(bucket, |mask| mask.clear(core));
    }

    fn mask(&self, bucket: u32) -> CoreMask {
        self.0.buckets[bucket as usize].get()
    }
}
