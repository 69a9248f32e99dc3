//! Commands that come twice: the first answer is kept for a while and given again.
//!
//! Pure: the time is handed in.

use std::collections::VecDeque;

use super::Answer;
use crate::base::{Map, hasher};

/// Time an answer is kept.
pub const KEPT_MS: u64 = 10 * 60 * 1_000;
/// Answers kept at most; beyond that, or beyond the bytes, the oldest go early.
const ENTRIES_MAX: usize = 1_000_000;
/// Bytes of all answers kept, keys and bookkeeping counted.
pub const LEDGER_BYTES_MAX: usize = 128 << 20;
/// Commands with a key that may run at one time.
const RUNNING_MAX: usize = 20_000;
/// Bookkeeping of an answer.
const ENTRY_BYTES: usize = 192;

/// The ceilings of a [`Ledger`].
#[derive(Clone, Copy, Debug)]
pub struct LedgerLimits {
    /// Answers kept.
    pub entries_max: usize,
    /// Bytes of all of them.
    pub bytes_max: usize,
    /// Commands that run.
    pub running_max: usize,
}

impl Default for LedgerLimits {
    fn default() -> Self {
        Self { entries_max: ENTRIES_MAX, bytes_max: LEDGER_BYTES_MAX, running_max: RUNNING_MAX }
    }
}

/// What a key means to the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is new: run the command, then [`Ledger::finish`].
    New,
    /// The first command with it still runs.
    Running,
    /// It was answered before, with this.
    Kept(Answer),
    /// It came with another command.
    Mismatch,
    /// More run than may.
    Full,
}

struct Entry {
    /// Of the verb and the body.
    print: u64,
    /// Nothing while it runs.
    answer: Option<Answer>,
}

/// The keys of the last minutes with their answers.
pub struct Ledger {
    entries: Map<Box<str>, Entry>,
    /// Answered ones, by the time they are let go.
    order: VecDeque<(u64, Box<str>)>,
    bytes: usize,
    running: usize,
    limits: LedgerLimits,
}

fn cost(key: &str, answer: &Answer) -> usize {
    ENTRY_BYTES + 2 * key.len() + answer.body.len()
}

impl Ledger {
    /// An empty one.
    #[must_use]
    pub fn new(hash_seed: u64, limits: LedgerLimits) -> Self {
        let entries = Map::with_hasher(hasher(hash_seed));
        Self { entries, order: VecDeque::new(), bytes: 0, running: 0, limits }
    }

    /// A command with a key has come; `print` is the same for the same command only.
    pub fn begin(&mut self, key: &str, print: u64, now_ms: u64) -> Begun {
        self.expire(now_ms);
        match self.entries.get(key) {
            Some(entry) if entry.print != print => Begun::Mismatch,
            Some(Entry { answer: Some(answer), .. }) => {
                Begun::Kept(Answer { replayed: true, ..answer.clone() })
            }
            Some(_) => Begun::Running,
            None if self.running >= self.limits.running_max => Begun::Full,
            None => {
                self.running += 1;
                self.entries.insert(key.into(), Entry { print, answer: None });
                Begun::New
            }
        }
    }

    /// The command of a key has run. Without an answer to keep, the key is as new.
    pub fn finish(&mut self, key: &str, answer: Option<Answer>, now_ms: u64) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.answer.is_none()) else {
            return;
        };
        self.running -= 1;
        let Some(answer) = answer else {
            self.entries.remove(key);
            return;
        };
        self.bytes += cost(key, &answer);
        entry.answer = Some(answer);
        self.order.push_back((now_ms + KEPT_MS, key.into()));
        while self.order.len() > self.limits.entries_max || self.bytes > self.limits.bytes_max {
            self.forget_oldest();
        }
    }

    fn expire(&mut self, now_ms: u64) {
        while self.order.front().is_some_and(|(due, _)| *due <= now_ms) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front()
            && let Some(Entry { answer: Some(answer), .. }) = self.entries.remove(&key)
        {
            self.bytes -= cost(&key, &answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Answer {
        Answer {
            status: 200,
            body: text.into(),
            code: None,
            retryable: false,
            id: String::new(),
            retry_after_ms: None,
            replayed: false,
        }
    }

    fn ledger(limits: LedgerLimits) -> Ledger {
        Ledger::new(1, limits)
    }

    #[test]
    fn the_first_answer_is_given_again_for_ten_minutes() {
        let mut ledger = ledger(LedgerLimits::default());
        assert_eq!(ledger.begin("k", 7, 0), Begun::New);
        assert_eq!(ledger.begin("k", 7, 1), Begun::Running);
        assert_eq!(ledger.begin("k", 8, 1), Begun::Mismatch);
        ledger.finish("k", Some(answer("first")), 5);
        let kept = Begun::Kept(Answer { replayed: true, ..answer("first") });
        assert_eq!(ledger.begin("k", 7, 5 + KEPT_MS - 1), kept);
        assert_eq!(ledger.begin("k", 8, 5 + KEPT_MS - 1), Begun::Mismatch);
        assert_eq!(ledger.begin("k", 8, 5 + KEPT_MS), Begun::New, "its time is over");
        assert_eq!((ledger.bytes, ledger.order.len()), (0, 0));
    }

    #[test]
    fn what_failed_for_now_may_be_tried_again() {
        let mut ledger = ledger(LedgerLimits::default());
        assert_eq!(ledger.begin("k", 7, 0), Begun::New);
        ledger.finish("k", None, 1);
        assert_eq!(ledger.begin("k", 7, 2), Begun::New);
        ledger.finish("k", Some(answer("a")), 3);
        // A late word of an earlier run changes nothing.
        ledger.finish("k", None, 4);
        assert!(matches!(ledger.begin("k", 7, 5), Begun::Kept(_)));
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_too_much() {
        let limits = LedgerLimits { entries_max: 3, bytes_max: 2_000, running_max: 2 };
        let mut ledger = ledger(limits);
        for (at, key) in ["a", "b", "c", "d"].into_iter().enumerate() {
            assert_eq!(ledger.begin(key, 1, at as u64), Begun::New);
            ledger.finish(key, Some(answer("x")), at as u64);
        }
        assert_eq!(ledger.begin("a", 1, 9), Begun::New, "let go early");
        ledger.finish("a", Some(answer(&"x".repeat(1_500))), 9);
        assert!(ledger.bytes <= 2_000 && ledger.order.len() <= 3);
        assert!(matches!(ledger.begin("a", 1, 9), Begun::Kept(_)));
        assert_eq!(ledger.begin("e", 1, 9), Begun::New);
        assert_eq!(ledger.begin("f", 1, 9), Begun::New);
        assert_eq!(ledger.begin("g", 1, 9), Begun::Full);
        ledger.finish("e", None, 9);
        assert_eq!(ledger.begin("g", 1, 9), Begun::New);
    }
}
