//! Who gets an answer: what was published and may be answered, by its message id.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::base::Map;
use crate::gateway::backend::Ticket;

/// Events whose answers are known to belong to somebody; the oldest are forgotten.
const WAITERS_MAX: usize = 65_536;
/// How long an answer may take to find its user.
const KEPT_MS: u64 = 600_000;

/// Who sent an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) user: Arc<str>,
    pub(super) namespace: Arc<str>,
    /// The event was an `ai_request`.
    pub(super) is_ai_request: bool,
    /// The acknowledgement that the answer is to become, and until when.
    pub(super) ticket: Option<(Ticket, u64)>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Replies {
    waiters: Map<String, Waiter>,
    /// Ids by the time they came.
    order: VecDeque<(u64, String)>,
    /// Those whose acknowledgement waits, by when it is late: nobody looks at the others.
    due: BTreeSet<(u64, String)>,
}

impl Default for Replies {
    fn default() -> Self {
        Self { waiters: super::ids::map(), order: VecDeque::new(), due: BTreeSet::new() }
    }
}

impl Replies {
    /// An event was published by this id.
    pub(super) fn expect(&mut self, id: &str, waiter: Waiter, now_ms: u64) {
        if let Some((_, due_ms)) = waiter.ticket {
            self.due.insert((due_ms, id.to_owned()));
        }
        self.waiters.insert(id.to_owned(), waiter);
        self.order.push_back((now_ms, id.to_owned()));
        while self.order.len() > WAITERS_MAX
            || self.order.front().is_some_and(|(at, _)| now_ms >= at + KEPT_MS)
        {
            if let Some((_, id)) = self.order.pop_front() {
                self.forget(&id);
            }
        }
    }

    /// Whoever waits for the answer with this id, and still waits if what came is none.
    pub(super) fn of(&self, id: &str) -> Option<&Waiter> {
        self.waiters.get(id)
    }

    /// A proper answer has come. A second one finds the user too, but no acknowledgement.
    pub(super) fn answered(&mut self, id: &str) {
        let Some(waiter) = self.waiters.get_mut(id) else { return };
        if let Some((_, due_ms)) = waiter.ticket.take() {
            self.due.remove(&(due_ms, id.to_owned()));
        }
    }

    /// The event did not get to anybody.
    pub(super) fn forget(&mut self, id: &str) -> Option<Waiter> {
        let found = self.waiters.remove(id)?;
        self.waits_no_more(id, &found);
        Some(found)
    }

    fn waits_no_more(&mut self, id: &str, waiter: &Waiter) {
        if let Some((_, due_ms)) = waiter.ticket {
            self.due.remove(&(due_ms, id.to_owned()));
        }
    }

    /// Acknowledgements that have waited long enough.
    pub(super) fn late(&mut self, now_ms: u64) -> Vec<Ticket> {
        let mut late = Vec::new();
        while self.due.first().is_some_and(|(due_ms, _)| *due_ms <= now_ms) {
            let waiter = self.due.pop_first().and_then(|(_, id)| self.waiters.get_mut(&id));
            late.extend(waiter.and_then(|waiter| waiter.ticket.take()).map(|(ticket, _)| ticket));
        }
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(due_ms: u64) -> Waiter {
        let ticket = Some((Ticket::default(), due_ms));
        Waiter { user: "u".into(), namespace: "/".into(), is_ai_request: true, ticket }
    }

    #[test]
    fn the_first_answer_is_the_acknowledgement_and_a_second_finds_the_user() {
        let mut replies = Replies::default();
        replies.expect("a", waiter(100), 0);
        assert_eq!(replies.of("a"), Some(&waiter(100)), "what is no answer changes nothing");
        assert_eq!(replies.of("a"), Some(&waiter(100)));
        replies.answered("a");
        assert!(replies.of("a").is_some_and(|found| found.ticket.is_none()));
        assert_eq!(replies.late(100), []);
        assert_eq!(replies.of("b"), None);
    }

    #[test]
    fn only_those_that_are_due_are_looked_at() {
        let mut replies = Replies::default();
        for (id, due_ms) in [("c", 30), ("a", 10), ("b", 20), ("d", 20), ("e", 10)] {
            replies.expect(id, waiter(due_ms), 0);
        }
        replies.answered("d");
        replies.forget("e");
        let due =
            |replies: &Replies| replies.due.iter().map(|(_, id)| id.clone()).collect::<String>();
        assert_eq!(due(&replies), "abc", "who was answered or failed waits no more");
        assert_eq!((replies.late(20).len(), due(&replies)), (2, String::from("c")));
        assert!(replies.of("a").is_some_and(|found| found.ticket.is_none()));
        let mut silent = waiter(1);
        silent.ticket = None;
        replies.expect("f", silent, 0);
        replies.expect("g", waiter(1), KEPT_MS);
        assert_eq!((due(&replies), replies.waiters.len()), (String::from("g"), 1), "forgotten");
    }

    #[test]
    fn the_late_are_told_once_and_their_user_stays_known_for_a_while() {
        let mut replies = Replies::default();
        replies.expect("a", waiter(100), 0);
        assert_eq!((replies.late(99).len(), replies.late(100).len()), (0, 1));
        assert_eq!(replies.late(200).len(), 0);
        assert!(replies.of("a").is_some());
        replies.expect("b", waiter(1), KEPT_MS);
        assert_eq!(replies.of("a"), None);
        for number in 0..WAITERS_MAX {
            replies.expect(&number.to_string(), waiter(1), KEPT_MS);
        }
        assert_eq!((replies.of("b"), replies.waiters.len()), (None, WAITERS_MAX));
    }
}
