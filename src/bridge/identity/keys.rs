//! Published keys, as long as they are known. Time is handed in; who fetches is somebody else.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::auth::KeySet;
use crate::base::{Bucket, Rate};

/// How long a key's name that was looked for in vain is not looked for again.
const MISS_MS: u64 = 30_000;
/// Such names.
const MISSES_MAX: usize = 1_000;
/// Until a failed fetch is tried again by those who have no keys at all.
const AGAIN_MS: u64 = 1_000;

/// What is known of a provider's keys.
#[derive(Debug)]
pub(super) struct Published {
    keys: Option<Arc<KeySet>>,
    fetched_ms: u64,
    failed_ms: Option<u64>,
    /// Fetches that have ended, well or not.
    fetches: u64,
    /// Names that the provider does not know, and until when that is believed.
    misses: BTreeMap<String, u64>,
    /// Fetches that unknown names may cause.
    unknown: Bucket,
    rate: Rate,
    /// How old keys may be; `None` is any age.
    age_max_ms: Option<u64>,
}

impl Published {
    pub(super) fn new(age_max_ms: Option<u64>) -> Self {
        Self {
            keys: None,
            fetched_ms: 0,
            failed_ms: None,
            fetches: 0,
            misses: BTreeMap::new(),
            unknown: Bucket::default(),
            rate: Rate::new(1, 5),
            age_max_ms,
        }
    }

    /// The keys that may be used now.
    pub(super) fn usable(&self, now_ms: u64) -> Option<Arc<KeySet>> {
        let is_old = |max: u64| now_ms.saturating_sub(self.fetched_ms) > max;
        self.keys.clone().filter(|_| !self.age_max_ms.is_some_and(is_old))
    }

    /// How many fetches have ended: who waits for its turn sees by it that somebody had one.
    pub(super) const fn fetches(&self) -> u64 {
        self.fetches
    }

    /// Whether somebody without keys may fetch them now.
    pub(super) fn may_fetch(&self, now_ms: u64) -> bool {
        self.failed_ms.is_none_or(|failed| now_ms >= failed + AGAIN_MS)
    }

    /// Whether the last fetch brought nothing.
    pub(super) const fn is_failing(&self) -> bool {
        self.failed_ms.is_some()
    }

    /// Whether a name that is not among the keys is reason enough to fetch them.
    pub(super) fn may_look_for(&mut self, kid: &str, now_ms: u64) -> bool {
        let is_missed = self.misses.get(kid).is_some_and(|until| now_ms < *until);
        !is_missed && self.unknown.take(self.rate, now_ms * 1_000).is_ok()
    }

    /// A name was looked for in vain.
    pub(super) fn miss(&mut self, kid: &str, now_ms: u64) {
        if self.misses.len() >= MISSES_MAX {
            self.misses.retain(|_, until| now_ms < *until);
        }
        if self.misses.len() < MISSES_MAX {
            self.misses.insert(kid.to_owned(), now_ms + MISS_MS);
        }
    }

    /// They were fetched.
    pub(super) fn put(&mut self, keys: KeySet, now_ms: u64) {
        self.keys = Some(Arc::new(keys));
        (self.fetched_ms, self.failed_ms) = (now_ms, None);
        self.fetches += 1;
    }

    /// They could not be fetched.
    pub(super) const fn failed(&mut self, now_ms: u64) {
        self.failed_ms = Some(now_ms);
        self.fetches += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_age_or_do_not() {
        for (age_max_ms, at_2_000) in [(Some(1_000), false), (None, true)] {
            let mut published = Published::new(age_max_ms);
            assert!(published.usable(0).is_none() && published.may_fetch(0));
            published.put(KeySet::default(), 100);
            assert!(published.usable(1_100).is_some());
            assert_eq!(published.usable(2_000).is_some(), at_2_000);
            published.failed(2_000);
            assert!(!published.may_fetch(2_999) && published.may_fetch(3_000));
        }
    }

    #[test]
    fn unknown_names_cause_few_fetches() {
        let mut published = Published::new(None);
        let now_ms = 10_000_000;
        assert!(published.may_look_for("a", now_ms));
        published.miss("a", now_ms);
        assert!(!published.may_look_for("a", now_ms + MISS_MS - 1), "it was looked for in vain");
        let many = (0..100).filter(|at| published.may_look_for(&format!("x{at}"), now_ms)).count();
        assert!(many <= 5, "{many}");
        assert!(published.may_look_for("a", now_ms + MISS_MS), "and is again, later");
    }
}
