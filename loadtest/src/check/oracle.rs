//! What became of the messages between a receiver and a sender, in memory that does not grow.

use crate::model::Oracle;

/// How far back a late message can be told from one that comes again.
const WINDOW: u32 = 64;

/// One receiver's view of one sender in one room: 16 bytes.
///
/// A sequence that comes when it is expected only moves `next`. One that leaves a gap makes
/// what is missing lost for the moment; it is found again if it comes later (and is then counted
/// as reordered), so long as it is one of the 64 before the newest. Older ones cannot be told from
/// doubles; they are counted as reordered, and what they may have been stays lost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pair {
    /// Bit n: the message n + 1 before `next` has come.
    came: u64,
    next: u32,
    /// Nothing is owed from before the first message: a receiver that joined under way.
    is_open: bool,
}

/// What a message turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts as delivered.
    Good,
    /// It had come before.
    Doubled,
    /// It came after a later one; it counts as delivered too, unless it is too old to tell.
    Reordered,
}

impl Pair {
    /// For a receiver that owes nothing of what was sent before the first message it sees.
    #[must_use]
    pub const fn joined_under_way() -> Self {
        Self { came: 0, next: 0, is_open: true }
    }

    /// The sequence that comes next.
    #[must_use]
    pub const fn next(&self) -> u32 {
        self.next
    }

    /// Takes in a message.
    #[inline]
    pub fn hear(&mut self, sequence: u32, oracle: &mut Oracle) -> Verdict {
        if sequence == self.next {
            self.came = self.came << 1 | 1;
            self.next += 1;
            oracle.delivered += 1;
            return Verdict::Good;
        }
        self.hear_odd(sequence, oracle)
    }

    #[cold]
    fn hear_odd(&mut self, sequence: u32, oracle: &mut Oracle) -> Verdict {
        if self.is_open && self.came == 0 {
            self.next = sequence + 1;
            self.came = 1;
            oracle.delivered += 1;
            return Verdict::Good;
        }
        if sequence > self.next {
            let missing = sequence - self.next;
            let shift = missing + 1;
            self.came = self.came.checked_shl(shift).unwrap_or(0) | 1;
            self.next = sequence + 1;
            oracle.lost += u64::from(missing);
            oracle.delivered += 1;
            return Verdict::Good;
        }
        let back = self.next - 1 - sequence;
        if back >= WINDOW {
            oracle.reordered += 1;
            return Verdict::Reordered;
        }
        let bit = 1 << back;
        if self.came & bit != 0 {
            oracle.doubled += 1;
            return Verdict::Doubled;
        }
        self.came |= bit;
        oracle.reordered += 1;
        oracle.delivered += 1;
        oracle.lost = oracle.lost.saturating_sub(1);
        Verdict::Reordered
    }

    /// Counts what was sent and never came: the sender got as far as `sent`.
    pub fn close(&mut self, sent: u32, oracle: &mut Oracle) {
        if sent > self.next && !(self.is_open && self.came == 0) {
            oracle.lost += u64::from(sent - self.next);
        }
        self.next = self.next.max(sent);
    }
}

/// Adds what one thread found to the whole.
pub fn add(total: &mut Oracle, part: &Oracle) {
    total.expected += part.expected;
    total.delivered += part.delivered;
    total.lost += part.lost;
    total.doubled += part.doubled;
    total.reordered += part.reordered;
    total.corrupted += part.corrupted;
}

/// Whether every message came once, whole and in its turn.
#[must_use]
pub const fn is_clean(oracle: &Oracle) -> bool {
    oracle.lost == 0 && oracle.doubled == 0 && oracle.reordered == 0 && oracle.corrupted == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(sequences: &[u32], sent: u32) -> Oracle {
        let mut oracle = Oracle { expected: u64::from(sent), ..Oracle::default() };
        let mut pair = Pair::default();
        for sequence in sequences {
            pair.hear(*sequence, &mut oracle);
        }
        pair.close(sent, &mut oracle);
        oracle
    }

    #[test]
    fn a_pair_is_small() {
        assert_eq!(size_of::<Pair>(), 16);
    }

    #[test]
    fn what_comes_in_order_is_clean() {
        let oracle = run(&[0, 1, 2, 3], 4);
        assert!(is_clean(&oracle));
        assert_eq!((oracle.delivered, oracle.lost), (4, 0));
    }

    #[test]
    fn a_gap_and_a_missing_end_are_lost() {
        let oracle = run(&[0, 3], 6);
        assert_eq!((oracle.delivered, oracle.lost), (2, 4));
        assert_eq!(run(&[], 3).lost, 3);
        assert_eq!(run(&[0, 100], 101).lost, 99);
    }

    #[test]
    fn a_late_one_is_reordered_and_not_lost() {
        let oracle = run(&[0, 2, 1, 3], 4);
        assert_eq!((oracle.delivered, oracle.lost, oracle.reordered), (4, 0, 1));
        let sixty_three_late: Vec<u32> = [0].into_iter().chain(2..65).chain([1]).collect();
        let oracle = run(&sixty_three_late, 65);
        assert_eq!((oracle.delivered, oracle.lost, oracle.reordered), (65, 0, 1));
    }

    #[test]
    fn one_that_comes_again_is_doubled() {
        let oracle = run(&[0, 1, 1, 0, 2], 3);
        assert_eq!((oracle.delivered, oracle.doubled, oracle.reordered, oracle.lost), (3, 2, 0, 0));
        let late_then_again = run(&[0, 2, 1, 1], 3);
        assert_eq!((late_then_again.doubled, late_then_again.reordered), (1, 1));
    }

    #[test]
    fn what_is_too_old_to_tell_never_makes_a_run_clean() {
        let sequences: Vec<u32> = (1..100).chain([0]).collect();
        let oracle = run(&sequences, 100);
        assert_eq!((oracle.delivered, oracle.reordered, oracle.lost), (99, 1, 1));
    }

    #[test]
    fn every_delivery_that_was_owed_is_delivered_or_lost() {
        let mut state = 12_345_u32;
        let mut sequences: Vec<u32> = (0..60).collect();
        for at in (1..sequences.len()).rev() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            sequences.swap(at, (state >> 8) as usize % (at + 1));
        }
        sequences.retain(|sequence| sequence % 7 != 3);
        let oracle = run(&sequences, 60);
        assert_eq!(oracle.delivered + oracle.lost, oracle.expected);
    }

    #[test]
    fn who_joined_under_way_is_owed_only_what_follows() {
        let mut oracle = Oracle::default();
        let mut pair = Pair::joined_under_way();
        pair.close(50, &mut oracle);
        assert!(is_clean(&oracle));
        let mut pair = Pair::joined_under_way();
        pair.hear(70, &mut oracle);
        pair.hear(71, &mut oracle);
        assert!(is_clean(&oracle));
        pair.hear(73, &mut oracle);
        assert_eq!(oracle.lost, 1);
    }
}
