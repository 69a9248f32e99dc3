//! Which deliveries are done, and what is to be said to the broker of them.

use std::collections::VecDeque;

/// One acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    pub(super) tag: u64,
    /// Whether it is for all before it too.
    pub(super) multiple: bool,
}

/// The deliveries of one channel, by the order they came in.
#[derive(Debug, Default)]
pub(super) struct Acks {
    held: VecDeque<Held>,
    done: usize,
}

#[derive(Debug)]
struct Held {
    tag: u64,
    done_ms: Option<u64>,
}

/// Deliveries that are said at once.
const TOGETHER_MAX: usize = 64;
/// How long one that is done waits for those before it.
const PATIENCE_MS: u64 = 50;

impl Acks {
    /// A delivery has come.
    pub(super) fn came(&mut self, tag: u64) {
        self.held.push_back(Held { tag, done_ms: None });
    }

    /// It can be acknowledged.
    pub(super) fn done(&mut self, tag: u64, now_ms: u64) {
        if let Ok(at) = self.held.binary_search_by_key(&tag, |held| held.tag)
            && self.held[at].done_ms.is_none()
        {
            self.held[at].done_ms = Some(now_ms);
            self.done += 1;
        }
    }

    /// It is said otherwise: nacked.
    pub(super) fn forget(&mut self, tag: u64) {
        if let Ok(at) = self.held.binary_search_by_key(&tag, |held| held.tag)
            && let Some(held) = self.held.remove(at)
        {
            self.done -= usize::from(held.done_ms.is_some());
        }
    }

    /// How many deliveries the broker has not heard of.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether so many are done that they should be said now.
    pub(super) fn is_due(&self) -> bool {
        self.done >= TOGETHER_MAX
    }

    pub(super) fn has_done(&self) -> bool {
        self.done > 0
    }

    /// What is to be said now: one word for all at the front, one each for those that have waited
    /// for a slow one before them.
    pub(super) fn take(&mut self, now_ms: u64) -> Vec<Ack> {
        let mut acks = Vec::new();
        let mut last = None;
        let mut count = 0;
        while self.held.front().is_some_and(|held| held.done_ms.is_some()) {
            last = self.held.pop_front().map(|held| held.tag);
            count += 1;
        }
        acks.extend(last.map(|tag| Ack { tag, multiple: count > 1 }));
        let waited = |held: &Held| held.done_ms.is_some_and(|at| now_ms >= at + PATIENCE_MS);
        if self.held.iter().any(waited) {
            let singles = self.held.iter().filter(|held| waited(held));
            acks.extend(singles.map(|held| Ack { tag: held.tag, multiple: false }));
            self.held.retain(|held| !waited(held));
        }
        self.done = self.held.iter().filter(|held| held.done_ms.is_some()).count();
        acks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acks(tags: u64) -> Acks {
        let mut acks = Acks::default();
        (1..=tags).for_each(|tag| acks.came(tag));
        acks
    }

    #[test]
    fn those_at_the_front_are_said_together() {
        let mut acks = acks(4);
        acks.done(2, 0);
        assert_eq!(acks.take(0), []);
        acks.done(1, 0);
        acks.done(1, 0);
        assert_eq!(acks.take(0), [Ack { tag: 2, multiple: true }]);
        acks.done(3, 0);
        assert_eq!(acks.take(0), [Ack { tag: 3, multiple: false }]);
        assert_eq!((acks.len(), acks.has_done()), (1, false));
    }

    #[test]
    fn nobody_waits_long_for_a_slow_one() {
        let mut acks = acks(4);
        acks.done(2, 0);
        acks.done(4, 30);
        assert_eq!(acks.take(49), []);
        assert_eq!(acks.take(50), [Ack { tag: 2, multiple: false }]);
        acks.done(1, 60);
        acks.done(3, 60);
        assert_eq!(acks.take(60), [Ack { tag: 4, multiple: true }]);
        assert_eq!(acks.len(), 0);
    }

    #[test]
    fn what_goes_back_is_not_acknowledged() {
        let mut acks = acks(3);
        acks.done(1, 0);
        acks.done(3, 0);
        acks.forget(2);
        assert_eq!(acks.take(0), [Ack { tag: 3, multiple: true }]);
        for tag in 4..=70 {
            acks.came(tag);
            acks.done(tag, 0);
        }
        assert!(acks.is_due());
    }
}
