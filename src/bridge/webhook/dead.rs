//! Calls that were given up: a list with bounds. The oldest make room for new ones.

use std::collections::VecDeque;

use super::queue::Batch;

/// Dead letters kept.
const LETTERS_MAX: usize = 1_000;
/// Bytes of their bodies.
const BYTES_MAX: usize = 32 << 20;

/// A call that was given up.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    /// Its place in the order of deaths, from 1.
    pub(super) number: u64,
    /// The hook's row.
    pub(super) hook: usize,
    pub(super) batch: Batch,
    /// Why the last attempt failed.
    pub(super) why: String,
    pub(super) died_unix_ms: u64,
}

#[derive(Debug)]
pub(super) struct DeadLetters {
    letters: VecDeque<Letter>,
    bytes: usize,
    last: u64,
    letters_max: usize,
    bytes_max: usize,
}

impl Default for DeadLetters {
    fn default() -> Self {
        Self::with_bounds(LETTERS_MAX, BYTES_MAX)
    }
}

impl DeadLetters {
    const fn with_bounds(letters_max: usize, bytes_max: usize) -> Self {
        Self { letters: VecDeque::new(), bytes: 0, last: 0, letters_max, bytes_max }
    }

    /// Keeps a call; so many older ones are gone for it.
    pub(super) fn bury(&mut self, hook: usize, batch: Batch, why: String, now_ms: u64) -> usize {
        self.last += 1;
        self.bytes += batch.bytes();
        let number = self.last;
        self.letters.push_back(Letter { number, hook, batch, why, died_unix_ms: now_ms });
        let mut gone = 0;
        while self.letters.len() > self.letters_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.letters.pop_front() else { break };
            self.bytes -= oldest.batch.bytes();
            gone += 1;
        }
        gone
    }

    pub(super) fn len(&self) -> usize {
        self.letters.len()
    }

    /// Those behind a number, the oldest first.
    pub(super) fn after(&self, number: u64) -> impl Iterator<Item = &Letter> {
        self.letters.iter().filter(move |letter| letter.number > number)
    }

    /// Takes some out, the oldest first.
    pub(super) fn take(&mut self, wanted: impl Fn(&Letter) -> bool) -> Vec<Letter> {
        let (taken, kept) = self.letters.drain(..).partition::<VecDeque<_>, _>(wanted);
        self.letters = kept;
        self.bytes = self.letters.iter().map(|letter| letter.batch.bytes()).sum();
        taken.into()
    }

    /// Puts back what could not be sent again.
    pub(super) fn put_back(&mut self, letter: Letter) {
        let at = self.letters.partition_point(|other| other.number < letter.number);
        self.bytes += letter.batch.bytes();
        self.letters.insert(at, letter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(id: &str, bytes: usize) -> Batch {
        Batch::for_test(id, &"x".repeat(bytes))
    }

    #[test]
    fn the_oldest_make_room() {
        let mut dead = DeadLetters::with_bounds(3, 100);
        for (id, gone) in [("a", 0), ("b", 0), ("c", 0), ("d", 1)] {
            assert_eq!(dead.bury(0, batch(id, 10), "why".into(), 1), gone, "{id}");
        }
        assert_eq!(dead.bury(0, batch("e", 85), "why".into(), 1), 2, "by bytes");
        let ids: Vec<&str> = dead.after(0).map(|letter| &*letter.batch.id).collect();
        assert_eq!(ids, ["d", "e"]);
        assert_eq!(dead.bury(0, batch("f", 101), "why".into(), 1), 3, "one too large for all");
        assert_eq!((dead.len(), dead.bytes), (0, 0));
    }

    #[test]
    fn what_is_taken_can_be_put_back_in_its_place() {
        let mut dead = DeadLetters::with_bounds(9, 100);
        for id in ["a", "b", "c"] {
            dead.bury(usize::from(id == "b"), batch(id, 10), "why".into(), 1);
        }
        let mut taken = dead.take(|letter| letter.hook == 0);
        assert_eq!((taken.len(), dead.len(), dead.bytes), (2, 1, 10));
        dead.put_back(taken.remove(0));
        let numbers: Vec<u64> = dead.after(0).map(|letter| letter.number).collect();
        assert_eq!((numbers, dead.bytes), (vec![1, 2], 20));
        assert_eq!(dead.after(1).count(), 1, "a page starts behind a number");
    }
}
