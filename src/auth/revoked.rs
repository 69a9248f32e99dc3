//! Tokens that are taken back before their time. One set a core.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoke {
    /// One token, by its id.
    Token(String),
    /// Tokens of a user; all of them, or those issued before a time in milliseconds.
    User(String, Option<u64>),
    /// Everybody's tokens issued before a time in milliseconds.
    Before(u64),
}

impl Revoke {
    /// Whether a token is meant. One that does not say when it was issued may be of any time.
    #[must_use]
    pub fn takes(&self, user: &str, token_id: Option<&str>, issued_unix_ms: Option<u64>) -> bool {
        let is_older = |before: u64| issued_unix_ms.is_none_or(|issued| issued < before);
        match self {
            Self::Token(id) => token_id == Some(id),
            Self::User(name, before) => name == user && before.is_none_or(is_older),
            Self::Before(before) => is_older(*before),
        }
    }
}

/// There are as many as may be. Forgetting one would let somebody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationsFull;

/// What has been taken back and when it may be forgotten: once no such token is valid any more.
#[derive(Debug)]
pub struct Revoked {
    tokens: BTreeMap<Arc<str>, u64>,
    /// Before which time, and until when.
    users: BTreeMap<Arc<str>, Before>,
    everybody: Option<Before>,
    /// What is over first, so that nobody has to look for it.
    by_end: BTreeSet<(u64, Name)>,
    max: usize,
}

/// An entry of one of the two maps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Token(Arc<str>),
    User(Arc<str>),
}

#[derive(Clone, Copy, Debug)]
struct Before {
    /// All, if there is none.
    issued_unix_ms: Option<u64>,
    until_unix_ms: u64,
}

impl Before {
    fn widen(&mut self, other: Self) {
        self.issued_unix_ms =
            self.issued_unix_ms.zip(other.issued_unix_ms).map(|(one, another)| one.max(another));
        self.until_unix_ms = self.until_unix_ms.max(other.until_unix_ms);
    }

    fn takes(&self, issued_unix_ms: Option<u64>, now_unix_ms: u64) -> bool {
        let older = |before: u64| issued_unix_ms.is_none_or(|issued| issued < before);
        now_unix_ms < self.until_unix_ms && self.issued_unix_ms.is_none_or(older)
    }
}

impl Revoked {
    /// An empty set for so many entries.
    #[must_use]
    pub const fn new(max: usize) -> Self {
        Self {
            tokens: BTreeMap::new(),
            users: BTreeMap::new(),
            everybody: None,
            by_end: BTreeSet::new(),
            max,
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len() + self.users.len() + usize::from(self.everybody.is_some())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes something back until a time.
    ///
    /// # Errors
    /// There is no room.
    pub fn add(
        &mut self,
        what: &Revoke,
        until_unix_ms: u64,
        now_unix_ms: u64,
    ) -> Result<(), RevocationsFull> {
        if self.len() >= self.max {
            self.forget_one(now_unix_ms);
        }
        let is_full = self.len() >= self.max;
        let (name, ended, until) = match what {
            Revoke::Token(id) => {
                let known = self.tokens.get_key_value(&**id);
                let known = known.map(|(name, until)| (Arc::clone(name), *until));
                if known.is_none() && is_full {
                    return Err(RevocationsFull);
                }
                let (name, ended) = known.unwrap_or_else(|| (Arc::from(&**id), 0));
                let until = until_unix_ms.max(ended);
                self.tokens.insert(Arc::clone(&name), until);
                (Name::Token(name), ended, until)
            }
            Revoke::User(user, before) => {
                let known = self.users.get_key_value(&**user);
                let known = known.map(|(name, one)| (Arc::clone(name), *one));
                if known.is_none() && is_full {
                    return Err(RevocationsFull);
                }
                let mut new = Before { issued_unix_ms: *before, until_unix_ms };
                let (name, ended) = match known {
                    Some((name, old)) => {
                        new.widen(old);
                        (name, old.until_unix_ms)
                    }
                    None => (Arc::from(&**user), 0),
                };
                self.users.insert(Arc::clone(&name), new);
                (Name::User(name), ended, new.until_unix_ms)
            }
            Revoke::Before(before) => {
                let new = Before { issued_unix_ms: Some(*before), until_unix_ms };
                self.everybody.get_or_insert(new).widen(new);
                return Ok(());
            }
        };
        self.by_end.remove(&(ended, name.clone()));
        self.by_end.insert((until, name));
        Ok(())
    }

    /// Whether a token has been taken back.
    #[must_use]
    pub fn holds(
        &self,
        user: &str,
        token_id: Option<&str>,
        issued_unix_ms: Option<u64>,
        now_unix_ms: u64,
    ) -> bool {
        if self.is_empty() {
            return false;
        }
        let by_id = token_id.and_then(|id| self.tokens.get(id));
        let by_user = self.users.get(user).into_iter().chain(&self.everybody);
        by_id.is_some_and(|until| now_unix_ms < *until)
            || by_user.into_iter().any(|one| one.takes(issued_unix_ms, now_unix_ms))
    }

    /// Forgets what is over first, if it is over.
    fn forget_one(&mut self, now_unix_ms: u64) {
        self.everybody = self.everybody.filter(|one| now_unix_ms < one.until_unix_ms);
        if self.by_end.first().is_some_and(|(until, _)| *until <= now_unix_ms) {
            match self.by_end.pop_first() {
                Some((_, Name::Token(id))) => drop(self.tokens.remove(&id)),
                Some((_, Name::User(user))) => drop(self.users.remove(&user)),
                None => {}
            }
        }
    }
}
