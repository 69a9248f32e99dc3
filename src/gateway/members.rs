//! The users of a room, and how many sockets each of them has there.

use std::sync::Arc;

use crate::base::{Map, hasher};

/// Users with their sockets. Cost: one user needs no memory beyond this value and a share in the
/// name; with the second a map begins.
pub(super) enum Members {
    Nobody,
    One(Arc<str>, u32),
    Several(Box<Map<Arc<str>, u32>>),
}

impl Members {
    /// How many users there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Nobody => 0,
            Self::One(..) => 1,
            Self::Several(map) => map.len(),
        }
    }

    /// Sockets of a user have come.
    pub(super) fn add(&mut self, user: &Arc<str>, sockets: u32, hash_seed: u64) {
        match self {
            Self::Nobody => *self = Self::One(Arc::clone(user), sockets),
            Self::One(known, count) if **known == **user => *count += sockets,
            Self::One(known, count) => {
                let mut map = Map::with_hasher(hasher(hash_seed));
                map.insert(Arc::clone(known), *count);
                map.insert(Arc::clone(user), sockets);
                *self = Self::Several(Box::new(map));
            }
            Self::Several(map) => *map.entry(Arc::clone(user)).or_insert(0) += sockets,
        }
    }

    /// Sockets of a user have gone. How many of them were known here; `None` if the user was not.
    ///
    /// What came without a word goes without a trace.
    pub(super) fn take(&mut self, user: &str, sockets: u32) -> Option<u32> {
        let count = match self {
            Self::Nobody => return None,
            Self::One(known, count) => (**known == *user).then_some(count)?,
            Self::Several(map) => map.get_mut(user)?,
        };
        let taken = sockets.min(*count);
        *count -= taken;
        if *count == 0 {
            self.forget(user);
        }
        Some(taken)
    }

    fn forget(&mut self, user: &str) {
        if let Self::Several(map) = self {
            map.remove(user);
            if !map.is_empty() {
                return;
            }
        }
        *self = Self::Nobody;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::Rng;

    #[test]
    fn whoever_comes_and_goes_the_counts_are_those_of_a_map() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed, 0x3E3B);
            let (mut members, mut naive) = (Members::Nobody, BTreeMap::new());
            for _ in 0..100 {
                let user = ["a", "b", "c"][rng.below(3)];
                let sockets = u32::try_from(1 + rng.below(3)).expect("small");
                if rng.below(2) == 0 {
                    members.add(&Arc::from(user), sockets, seed);
                    *naive.entry(user).or_insert(0) += sockets;
                } else {
                    let had = naive.get(user).copied();
                    let taken = had.map(|had| had.min(sockets));
                    assert_eq!(members.take(user, sockets), taken, "seed {seed}");
                    if let (Some(had), Some(taken)) = (had, taken) {
                        naive.insert(user, had - taken);
                    }
                    naive.retain(|_, count| *count > 0);
                }
                assert_eq!(members.len(), naive.len(), "seed {seed}");
            }
        }
    }
}
