//! What a provider said of tokens, for a while. Tokens are known by their hash.
//!
//! Good answers and refusals are kept apart: whoever brings junk fills the place for junk, and
//! takes nobody's good answer away. Where there is no room, what would be forgotten first goes;
//! nothing is ever searched through.

use std::collections::{BTreeMap, BTreeSet};

use crate::auth::{Claims, TokenError};

/// A token's SHA-256.
pub(super) type Print = [u8; 32];
/// What was said.
pub(super) type Said = Result<Claims, TokenError>;

/// How long a refusal is as good as new.
const BAD_MS: u64 = 5_000;
/// How long a good answer serves while nobody can be asked, if its token does not end before.
const STALE_MS: u64 = 600_000;

/// Things by token, each until a time.
#[derive(Debug)]
struct Kept<T> {
    entries: BTreeMap<Print, (u64, T)>,
    by_end: BTreeSet<(u64, Print)>,
    max: usize,
}

impl<T> Kept<T> {
    const fn new(max: usize) -> Self {
        Self { entries: BTreeMap::new(), by_end: BTreeSet::new(), max }
    }

    fn get(&self, print: &Print, now_ms: u64) -> Option<&T> {
        let (until_ms, entry) = self.entries.get(print)?;
        (now_ms < *until_ms).then_some(entry)
    }

    fn put(&mut self, print: Print, until_ms: u64, entry: T) {
        self.remove(&print);
        while self.entries.len() >= self.max
            && let Some((_, first)) = self.by_end.pop_first()
        {
            self.entries.remove(&first);
        }
        self.entries.insert(print, (until_ms, entry));
        self.by_end.insert((until_ms, print));
    }

    fn remove(&mut self, print: &Print) {
        if let Some((until_ms, _)) = self.entries.remove(print) {
            self.by_end.remove(&(until_ms, *print));
        }
    }
}

/// A good answer.
#[derive(Debug)]
struct Good {
    claims: Claims,
    fresh_until_ms: u64,
}

/// Answers by token.
#[derive(Debug)]
pub(super) struct Asked {
    good: Kept<Good>,
    bad: Kept<TokenError>,
    /// How long a good answer is as good as new.
    fresh_ms: u64,
}

impl Asked {
    /// Room for so many good answers, and for so many refusals.
    pub(super) const fn new(good_max: usize, bad_max: usize, fresh_ms: u64) -> Self {
        Self { good: Kept::new(good_max), bad: Kept::new(bad_max), fresh_ms }
    }

    /// What was said a short while ago.
    pub(super) fn fresh(&self, print: &Print, now_ms: u64) -> Option<Said> {
        if let Some(error) = self.bad.get(print, now_ms) {
            return Some(Err(*error));
        }
        let good = self.good.get(print, now_ms)?;
        (now_ms < good.fresh_until_ms).then(|| Ok(good.claims.clone()))
    }

    /// What was said a longer while ago, if it was good.
    pub(super) fn stale(&self, print: &Print, now_ms: u64) -> Option<Claims> {
        self.good.get(print, now_ms).map(|good| good.claims.clone())
    }

    /// Keeps an answer, in the place of what was said before.
    pub(super) fn keep(&mut self, print: Print, said: &Said, now_ms: u64) {
        match said {
            Ok(claims) => {
                let end_ms = claims.expires_unix_ms.unwrap_or(u64::MAX);
                let fresh_until_ms = end_ms.min(now_ms + self.fresh_ms);
                let until_ms = end_ms.min(now_ms + self.fresh_ms.max(STALE_MS));
                self.bad.remove(&print);
                self.good.put(print, until_ms, Good { claims: claims.clone(), fresh_until_ms });
            }
            Err(error) => {
                self.good.remove(&print);
                self.bad.put(print, now_ms + BAD_MS, *error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH_MS: u64 = 60_000;

    fn said(expires_unix_ms: Option<u64>) -> Said {
        Ok(Claims { user: "ann".into(), expires_unix_ms, ..Claims::default() })
    }

    fn print(number: u32) -> Print {
        let mut print = [0; 32];
        // Spread, as hashes are.
        print[..4].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
        print
    }

    #[test]
    fn answers_last_as_long_as_they_may() {
        let mut asked = Asked::new(10, 10, FRESH_MS);
        asked.keep([1; 32], &said(None), 0);
        asked.keep([2; 32], &said(Some(1_000)), 0);
        asked.keep([3; 32], &Err(TokenError::Inactive), 0);
        assert!(asked.fresh(&[1; 32], FRESH_MS - 1).is_some());
        assert!(asked.fresh(&[1; 32], FRESH_MS).is_none());
        assert!(asked.stale(&[1; 32], STALE_MS - 1).is_some());
        assert!(asked.stale(&[1; 32], STALE_MS).is_none());
        assert!(asked.fresh(&[2; 32], 999).is_some() && asked.fresh(&[2; 32], 1_000).is_none());
        assert!(asked.stale(&[2; 32], 1_000).is_none(), "a token that has ended is no good");
        assert_eq!(asked.fresh(&[3; 32], 4_999), Some(Err(TokenError::Inactive)));
        assert!(asked.fresh(&[3; 32], 5_000).is_none() && asked.stale(&[3; 32], 1).is_none());
        asked.keep([1; 32], &Err(TokenError::Inactive), 10);
        assert_eq!(asked.fresh(&[1; 32], 20), Some(Err(TokenError::Inactive)), "the last word");
        assert_eq!(asked.stale(&[1; 32], 20), None);
        asked.keep([1; 32], &said(None), 30);
        assert!(asked.fresh(&[1; 32], 40).is_some_and(|said| said.is_ok()));
    }

    #[test]
    fn junk_takes_no_good_answer_away() {
        let mut asked = Asked::new(100, 50, FRESH_MS);
        for at in 0..100 {
            asked.keep(print(at), &said(None), 0);
        }
        for at in 100..10_000 {
            asked.keep(print(at), &Err(TokenError::Inactive), 1);
            assert_eq!(asked.fresh(&print(at), 1), Some(Err(TokenError::Inactive)));
        }
        assert!((0..100).all(|at| asked.fresh(&print(at), 1).is_some()));
        assert_eq!((asked.bad.entries.len(), asked.bad.by_end.len()), (50, 50));
    }

    #[test]
    fn what_would_be_forgotten_first_makes_room() {
        let mut asked = Asked::new(10, 10, FRESH_MS);
        for at in 0..30 {
            // The later it was said, the earlier it ends.
            asked.keep(print(at), &said(Some(1_000 - u64::from(at))), 0);
            assert!(asked.fresh(&print(at), 0).is_some(), "what is new is kept");
            assert!(asked.good.entries.len() <= 10);
            assert_eq!(asked.good.entries.len(), asked.good.by_end.len());
        }
        assert!((0..9).all(|at| asked.fresh(&print(at), 0).is_some()));
    }
}
