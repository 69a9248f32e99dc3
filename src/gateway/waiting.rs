//! Things of one core that wait for an answer from elsewhere, each with a time by which it is
//! settled whatever happens.

use std::collections::BTreeSet;

use crate::base::{Key, Slab};

/// Entries by key, and by the time at which each is due.
///
/// Cost: O(log n) to add and to take; who looks for what is due touches nothing else.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    entries: Slab<(u64, T)>,
    due: BTreeSet<(u64, Key)>,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { entries: Slab::default(), due: BTreeSet::new() }
    }
}

impl<T> Waiting<T> {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// One more, that is due at a time in milliseconds.
    pub(super) fn insert(&mut self, due_ms: u64, entry: T) -> Key {
        let key = self.entries.insert((due_ms, entry));
        self.due.insert((due_ms, key));
        key
    }

    /// Takes one out, if it still waits.
    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let (due_ms, entry) = self.entries.remove(key)?;
        self.due.remove(&(due_ms, key));
        Some(entry)
    }

    /// Takes out what has been due for longest, `at_most` so many.
    pub(super) fn take_due(&mut self, now_ms: u64, at_most: usize) -> Vec<T> {
        let first = self.due.iter().take_while(|(due_ms, _)| *due_ms <= now_ms).take(at_most);
        let keys: Vec<Key> = first.map(|(_, key)| *key).collect();
        keys.into_iter().filter_map(|key| self.remove(key)).collect()
    }

    /// One that stays although its time is over: it is no longer looked for. Each comes up once.
    pub(super) fn next_late(&mut self, now_ms: u64) -> Option<&mut T> {
        let (due_ms, key) = *self.due.first()?;
        if due_ms > now_ms {
            return None;
        }
        self.due.pop_first();
        self.entries.get_mut(key).map(|(_, entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::Rng;

    #[test]
    fn what_is_due_is_what_a_search_finds() {
        let (mut waiting, mut twin) = (Waiting::default(), BTreeMap::<u32, (u64, Key)>::new());
        let mut rng = Rng::new(8, 9);
        for (now_ms, name) in (0..20_000).zip(0_u32..) {
            let due_ms = now_ms + rng.below(50) as u64;
            twin.insert(name, (due_ms, waiting.insert(due_ms, name)));
            if rng.below(3) == 0 {
                let (name, (_, key)) = twin.pop_first().expect("one was added");
                assert_eq!(waiting.remove(key), Some(name));
                assert_eq!(waiting.remove(key), None, "once");
            }
            if rng.below(5) == 0 {
                let at_most = rng.below(4);
                let found = waiting.take_due(now_ms, at_most);
                let all = twin.values().filter(|(due_ms, _)| *due_ms <= now_ms).count();
                assert_eq!(found.len(), all.min(at_most));
                let times = found.iter().map(|name| twin.remove(name).expect("it waited").0);
                assert!(times.is_sorted(), "longest first");
            }
            assert_eq!((waiting.len(), waiting.due.len()), (twin.len(), twin.len()));
        }
    }

    #[test]
    fn what_is_late_stays_and_comes_up_once() {
        let mut waiting = Waiting::default();
        let (first, second) = (waiting.insert(5, 'a'), waiting.insert(7, 'b'));
        assert_eq!(waiting.next_late(6), Some(&mut 'a'));
        assert_eq!(waiting.next_late(6), None);
        assert_eq!((waiting.remove(first), waiting.remove(second)), (Some('a'), Some('b')));
        assert_eq!(waiting.next_late(9), None, "nothing is left of it");
    }
}
