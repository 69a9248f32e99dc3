//! What a provider said of tokens, for a while. Tokens are known by their hash.

use std::collections::BTreeMap;

use crate::auth::{Claims, TokenError};

/// A token's SHA-256.
pub(super) type Print = [u8; 32];
/// What was said.
pub(super) type Said = Result<Claims, TokenError>;

/// How long a good answer is as good as new.
const GOOD_MS: u64 = 60_000;
/// How long a bad one is.
const BAD_MS: u64 = 5_000;
/// How long a good answer serves while nobody can be asked, if its token does not end before.
const STALE_MS: u64 = 600_000;

#[derive(Debug)]
struct Entry {
    said: Said,
    fresh_until_ms: u64,
    usable_until_ms: u64,
}

/// Answers by token.
#[derive(Debug)]
pub(super) struct Asked {
    entries: BTreeMap<Print, Entry>,
    max: usize,
}

impl Asked {
    pub(super) const fn new(max: usize) -> Self {
        Self { entries: BTreeMap::new(), max }
    }

    /// What was said a short while ago.
    pub(super) fn fresh(&self, print: &Print, now_ms: u64) -> Option<Said> {
        let entry = self.entries.get(print)?;
        (now_ms < entry.fresh_until_ms).then(|| entry.said.clone())
    }

    /// What was said a longer while ago, if it was good.
    pub(super) fn stale(&self, print: &Print, now_ms: u64) -> Option<Said> {
        let entry = self.entries.get(print)?;
        (now_ms < entry.usable_until_ms).then(|| entry.said.clone())
    }

    /// Keeps an answer. What is over makes room; if nothing is, any other goes.
    pub(super) fn keep(&mut self, print: Print, said: &Said, now_ms: u64) {
        if self.entries.len() >= self.max && !self.entries.contains_key(&print) {
            self.entries
                .retain(|_, entry| now_ms < entry.usable_until_ms.max(entry.fresh_until_ms));
            if self.entries.len() >= self.max {
                self.entries.pop_first();
            }
        }
        let (fresh_ms, usable_until_ms) = match said {
            Ok(claims) => {
                let end_ms = claims.expires_unix_ms.unwrap_or(u64::MAX);
                (end_ms.min(now_ms + GOOD_MS), end_ms.min(now_ms + STALE_MS))
            }
            Err(_) => (now_ms + BAD_MS, 0),
        };
        let entry = Entry { said: said.clone(), fresh_until_ms: fresh_ms, usable_until_ms };
        self.entries.insert(print, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(expires_unix_ms: Option<u64>) -> Said {
        Ok(Claims { user: "ann".into(), expires_unix_ms, ..Claims::default() })
    }

    #[test]
    fn answers_last_as_long_as_they_may() {
        let mut asked = Asked::new(10);
        asked.keep([1; 32], &said(None), 0);
        asked.keep([2; 32], &said(Some(1_000)), 0);
        asked.keep([3; 32], &Err(TokenError::Inactive), 0);
        assert!(asked.fresh(&[1; 32], GOOD_MS - 1).is_some());
        assert!(asked.fresh(&[1; 32], GOOD_MS).is_none());
        assert!(asked.stale(&[1; 32], GOOD_MS).is_some());
        assert!(asked.fresh(&[2; 32], 999).is_some() && asked.fresh(&[2; 32], 1_000).is_none());
        assert!(asked.stale(&[2; 32], 1_000).is_none(), "a token that has ended is no good");
        assert_eq!(asked.fresh(&[3; 32], 4_999), Some(Err(TokenError::Inactive)));
        assert!(asked.fresh(&[3; 32], 5_000).is_none() && asked.stale(&[3; 32], 1).is_none());
        for at in 4..40 {
            asked.keep([at; 32], &said(None), 0);
            assert!(asked.entries.len() <= 10);
            assert!(asked.fresh(&[at; 32], 0).is_some());
        }
    }
}
