//! Time as a value, and the queue of deadlines.

use std::collections::BTreeMap;

/// Microseconds since the process started, monotonic. Handed in, never read here.
pub type Micros = u64;

/// Milliseconds since the process started, monotonic. Handed in, never read here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// Later by `ms`.
    #[must_use]
    pub const fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// How many milliseconds ago `earlier` was; 0 if it lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The millisecond of a microsecond.
    #[must_use]
    pub const fn of(now: Micros) -> Self {
        Self(now / 1_000)
    }
}

/// Deadlines of one core, in slots of a few milliseconds.
///
/// Entries are never cancelled: whoever is woken looks whether it is due yet and, if not, puts
/// itself back. So a session that hears a pong a thousand times a minute costs one entry.
///
/// Cost: O(log slots) to add, with as many slots as the longest deadline has slot widths.
#[derive(Debug)]
pub struct TimerQueue<T> {
    slot_ms: u64,
    slots: BTreeMap<u64, Vec<T>>,
}

impl<T> TimerQueue<T> {
    /// Slots of `slot_ms` (at least 1).
    #[must_use]
    pub fn new(slot_ms: u64) -> Self {
        Self { slot_ms: slot_ms.max(1), slots: BTreeMap::new() }
    }

    /// Wakes `entry` at `due`, at most one slot width late and never early.
    pub fn add(&mut self, due: Millis, entry: T) {
        let slot = due.0.div_ceil(self.slot_ms);
        self.slots.entry(slot).or_default().push(entry);
    }

    /// The next slot that is due, its entries in the order they were added.
    pub fn pop(&mut self, now: Millis) -> Option<Vec<T>> {
        let first = self.slots.first_entry()?;
        (first.key() * self.slot_ms <= now.0).then(|| first.remove())
    }

    /// When [`Self::pop`] will have something next.
    #[must_use]
    pub fn next_due(&self) -> Option<Millis> {
        self.slots.first_key_value().map(|(slot, _)| Millis(slot * self.slot_ms))
    }

    /// How many entries wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.values().map(Vec::len).sum()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_wakes_early_and_nothing_later_than_a_slot() {
        for due in 0..200 {
            let mut queue = TimerQueue::new(7);
            queue.add(Millis(due), due);
            let woke = (0..).find(|now| queue.pop(Millis(*now)).is_some()).expect("it is due");
            assert!(woke >= due && woke < due + 7, "due {due}, woke {woke}");
            assert!(queue.is_empty());
        }
    }
}
