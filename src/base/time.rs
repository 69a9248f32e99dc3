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

/// A moment as RFC 3339 writes it, UTC with milliseconds: `2026-01-02T03:04:05.678Z`.
#[must_use]
pub fn rfc3339(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    // Days to a civil date, counted in eras of 400 years that begin on the first of March.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leap = day_of_era / 1_460 + day_of_era / 146_096;
    let year_of_era = (day_of_era + day_of_era / 36_524 - leap) / 365;
    let past = 365 * year_of_era + year_of_era / 4 - year_of_era / 100;
    let day_of_year = day_of_era - past;
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
    let (second, milli) = (ms / 1_000 % 60, ms % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
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
    len: usize,
}

impl<T> TimerQueue<T> {
    /// Slots of `slot_ms` (at least 1).
    #[must_use]
    pub fn new(slot_ms: u64) -> Self {
        Self { slot_ms: slot_ms.max(1), slots: BTreeMap::new(), len: 0 }
    }

    /// Wakes `entry` at `due`, at most one slot width late and never early.
    pub fn add(&mut self, due: Millis, entry: T) {
        let slot = due.0.div_ceil(self.slot_ms);
        self.slots.entry(slot).or_default().push(entry);
        self.len += 1;
    }

    /// The next slot that is due, its entries in the order they were added.
    pub fn pop(&mut self, now: Millis) -> Option<Vec<T>> {
        let first = self.slots.first_entry()?;
        let due = (first.key() * self.slot_ms <= now.0).then(|| first.remove())?;
        self.len -= due.len();
        Some(due)
    }

    /// Forgets the entries that nobody waits for. `due_of` says when an entry's owner is woken
    /// next; an entry in another slot than that one is of no use.
    pub fn tidy(&mut self, mut due_of: impl FnMut(&T) -> Option<Millis>) {
        let slot_ms = self.slot_ms;
        self.slots.retain(|slot, entries| {
            entries
                .retain(|entry| due_of(entry).is_some_and(|due| due.0.div_ceil(slot_ms) == *slot));
            entries.shrink_to_fit();
            !entries.is_empty()
        });
        self.len = self.slots.values().map(Vec::len).sum();
    }

    /// When [`Self::pop`] will have something next.
    #[must_use]
    pub fn next_due(&self) -> Option<Millis> {
        self.slots.first_key_value().map(|(slot, _)| Millis(slot * self.slot_ms))
    }

    /// The entries, earliest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.values().flatten()
    }

    /// How many entries wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
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
    use crate::base::Rng;

    #[test]
    fn moments_are_written_as_the_calendar_has_them() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_767_323_045_678, "2026-01-02T03:04:05.678Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(unix_ms), text);
        }
    }

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

    /// A naive queue: a list of deadlines, looked through from its start.
    #[test]
    fn the_queue_agrees_with_a_list() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed, 0x71_4E);
            let slot_ms = 1 + rng.below(20) as u64;
            let span_ms = [5, 100, 100_000][rng.below(3)];
            let (mut queue, mut list, mut now) = (TimerQueue::new(slot_ms), Vec::new(), 0);
            for entry in 0..300_u32 {
                for _ in 0..rng.below(3) {
                    let due = now + rng.below(span_ms) as u64;
                    queue.add(Millis(due), entry);
                    list.push((due.div_ceil(slot_ms), entry));
                }
                now += rng.below(span_ms / 2 + 1) as u64;
                while let Some(woken) = queue.pop(Millis(now)) {
                    let first = list.iter().map(|(slot, _)| *slot).min().expect("it was added");
                    assert!(first * slot_ms <= now, "seed {seed}: woken early");
                    let wanted = list.iter().filter(|(slot, _)| *slot == first);
                    let wanted: Vec<u32> = wanted.map(|(_, entry)| *entry).collect();
                    assert_eq!(woken, wanted, "seed {seed}: a slot, in the order it was filled");
                    list.retain(|(slot, _)| *slot != first);
                }
                assert!(
                    list.iter().all(|(slot, _)| slot * slot_ms > now),
                    "seed {seed}: overslept"
                );
                let next = list.iter().map(|(slot, _)| Millis(slot * slot_ms)).min();
                assert_eq!((queue.next_due(), queue.len()), (next, list.len()), "seed {seed}");
                assert_eq!(queue.is_empty(), list.is_empty());
            }
        }
    }
}
