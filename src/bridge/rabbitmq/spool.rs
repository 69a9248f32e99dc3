//! What waits for the broker: first in, first out, within bounds.
//!
//! An item may stand for bytes in memory or in a file; the spool knows their number only. Items of
//! one lane (one client) never overtake each other: whoever has an item here must put the next one
//! behind it, which [`Spool::holds`] tells.

use std::collections::VecDeque;

use crate::base::Map;

/// What becomes of an item for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// It is refused.
    Reject,
    /// The oldest make room for it.
    DropOldest,
    /// It is taken and thrown away.
    DropNewest,
}

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) items_max: usize,
    pub(super) bytes_max: usize,
    pub(super) full: Full,
}

/// An item with what the spool must know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry<T> {
    pub(super) item: T,
    /// Who sent it.
    pub(super) lane: u64,
    pub(super) bytes: usize,
    /// When nobody wants it any more, milliseconds since the epoch.
    pub(super) deadline_ms: Option<u64>,
    /// When it came, milliseconds since the epoch.
    pub(super) at_ms: u64,
}

/// What became of an item.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept<T> {
    /// It waits; these had to go for it.
    Yes(Vec<Entry<T>>),
    /// It does not.
    No(Entry<T>),
}

/// The queue.
#[derive(Debug)]
pub(super) struct Spool<T> {
    entries: VecDeque<Entry<T>>,
    lanes: Map<u64, u32>,
    bytes: usize,
    bounds: Bounds,
}

impl<T> Spool<T> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { entries: VecDeque::new(), lanes: super::ids::map(), bytes: 0, bounds }
    }

    /// Whether anything may wait here at all.
    pub(super) fn is_on(&self) -> bool {
        self.bounds.items_max > 0 && self.bounds.bytes_max > 0
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether something of this lane waits, so that the next of it must wait too.
    pub(super) fn holds(&self, lane: u64) -> bool {
        self.lanes.contains_key(&lane)
    }

    /// How old the oldest item is.
    pub(super) fn age_ms(&self, now_ms: u64) -> u64 {
        self.entries.front().map_or(0, |first| now_ms.saturating_sub(first.at_ms))
    }

    /// Whether there is room for so many bytes more.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.entries.len() < self.bounds.items_max
            && self.bytes.saturating_add(bytes) <= self.bounds.bytes_max
    }

    /// Puts an item behind all others, or does with it what the bounds say.
    pub(super) fn push(&mut self, entry: Entry<T>) -> Kept<T> {
        if !self.is_on() || entry.bytes > self.bounds.bytes_max {
            return Kept::No(entry);
        }
        let mut gone = Vec::new();
        while !self.has_room(entry.bytes) {
            match self.bounds.full {
                Full::Reject => return Kept::No(entry),
                Full::DropNewest => return Kept::Yes(vec![entry]),
                Full::DropOldest => match self.pop() {
                    Some(oldest) => gone.push(oldest),
                    None => return Kept::No(entry),
                },
            }
        }
        self.put_last(entry);
        Kept::Yes(gone)
    }

    /// What becomes of an item for which there is no room.
    pub(super) fn full(&self) -> Full {
        self.bounds.full
    }

    /// Puts an item that was taken in another life behind all others, whatever the bounds say.
    pub(super) fn put_last(&mut self, entry: Entry<T>) {
        self.note(&entry);
        self.entries.push_back(entry);
    }

    /// The newest item is another one now.
    pub(super) fn replace_last(&mut self, item: T) {
        if let Some(last) = self.entries.back_mut() {
            last.item = item;
        }
    }

    /// Puts items that were on their way back before all others, in their order. They were taken
    /// already, so no bound holds for them.
    pub(super) fn put_back(&mut self, entries: Vec<Entry<T>>) {
        for entry in entries.into_iter().rev() {
            self.note(&entry);
            self.entries.push_front(entry);
        }
    }

    /// Takes the oldest item.
    pub(super) fn pop(&mut self) -> Option<Entry<T>> {
        let entry = self.entries.pop_front()?;
        self.forget(&entry);
        Some(entry)
    }

    /// The newest item is out again.
    pub(super) fn pop_last(&mut self) {
        if let Some(entry) = self.entries.pop_back() {
            self.forget(&entry);
        }
    }

    /// Takes all that nobody wants any more.
    pub(super) fn take_expired(&mut self, now_ms: u64) -> Vec<Entry<T>> {
        let late = |entry: &Entry<T>| entry.deadline_ms.is_some_and(|deadline| deadline <= now_ms);
        if !self.entries.iter().any(late) {
            return Vec::new();
        }
        let (gone, left): (Vec<_>, Vec<_>) = self.entries.drain(..).partition(late);
        self.entries = left.into();
        for entry in &gone {
            self.forget(entry);
        }
        gone
    }

    fn note(&mut self, entry: &Entry<T>) {
        self.bytes += entry.bytes;
        *self.lanes.entry(entry.lane).or_insert(0) += 1;
    }

    fn forget(&mut self, entry: &Entry<T>) {
        self.bytes -= entry.bytes;
        if let Some(count) = self.lanes.get_mut(&entry.lane) {
            *count -= 1;
            if *count == 0 {
                self.lanes.remove(&entry.lane);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(item: u32, lane: u64, bytes: usize) -> Entry<u32> {
        Entry { item, lane, bytes, deadline_ms: None, at_ms: 0 }
    }

    fn spool(items_max: usize, bytes_max: usize, full: Full) -> Spool<u32> {
        Spool::new(Bounds { items_max, bytes_max, full })
    }

    fn items(entries: &[Entry<u32>]) -> Vec<u32> {
        entries.iter().map(|entry| entry.item).collect()
    }

    fn drain(spool: &mut Spool<u32>) -> Vec<u32> {
        std::iter::from_fn(|| spool.pop()).map(|entry| entry.item).collect()
    }

    #[test]
    fn a_full_spool_does_what_it_is_told() {
        let mut strict = spool(2, 100, Full::Reject);
        assert_eq!(strict.push(entry(1, 1, 10)), Kept::Yes(vec![]));
        assert_eq!(strict.push(entry(2, 1, 90)), Kept::Yes(vec![]));
        assert_eq!(strict.push(entry(3, 1, 0)), Kept::No(entry(3, 1, 0)), "no third item");
        assert_eq!(drain(&mut strict), [1, 2]);
        assert_eq!(strict.push(entry(4, 1, 101)), Kept::No(entry(4, 1, 101)), "too large for ever");

        let mut oldest = spool(9, 100, Full::DropOldest);
        for item in 1..=3 {
            oldest.push(entry(item, 1, 40));
        }
        assert_eq!(drain(&mut oldest), [2, 3]);
        assert_eq!(oldest.bytes(), 0);

        let mut newest = spool(1, 100, Full::DropNewest);
        newest.push(entry(1, 1, 1));
        assert_eq!(newest.push(entry(2, 2, 1)), Kept::Yes(vec![entry(2, 2, 1)]));
        assert!(!newest.holds(2) && newest.holds(1));
        assert_eq!(drain(&mut newest), [1]);

        let mut off = spool(0, 100, Full::DropOldest);
        assert!(!off.is_on());
        assert_eq!(off.push(entry(1, 1, 1)), Kept::No(entry(1, 1, 1)));
    }

    #[test]
    fn lanes_are_held_as_long_as_one_of_them_waits() {
        let mut spool = spool(10, 100, Full::Reject);
        spool.push(entry(1, 7, 1));
        spool.push(entry(2, 7, 1));
        spool.pop();
        assert!(spool.holds(7));
        spool.pop();
        assert!(!spool.holds(7) && spool.len() == 0);
    }

    #[test]
    fn what_comes_back_is_first_again_in_its_order() {
        let mut spool = spool(2, 100, Full::Reject);
        spool.push(entry(5, 1, 1));
        spool.push(entry(6, 1, 1));
        spool.put_back(vec![entry(3, 1, 1), entry(4, 2, 1)]);
        assert_eq!(
            (spool.len(), spool.bytes()),
            (4, 4),
            "beyond the bound: they were taken before"
        );
        assert_eq!(drain(&mut spool), [3, 4, 5, 6]);
    }

    #[test]
    fn the_late_leave_and_the_others_keep_their_order() {
        let mut spool = spool(10, 100, Full::Reject);
        for (item, deadline_ms) in [(1, Some(50)), (2, None), (3, Some(10)), (4, Some(60))] {
            spool.push(Entry { deadline_ms, ..entry(item, u64::from(item), 1) });
        }
        assert!(spool.take_expired(9).is_empty());
        assert_eq!(items(&spool.take_expired(50)), [1, 3]);
        assert!(!spool.holds(1) && spool.holds(2));
        assert_eq!(drain(&mut spool), [2, 4]);
    }
}
