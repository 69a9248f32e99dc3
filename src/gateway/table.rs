//! Things with names, listed page by page in the order of their slots.

use std::sync::Arc;

use crate::base::{Key, Map, Slab, hasher};

/// A table. Cost: O(1) each; a page costs its length and the holes it meets.
pub(super) struct Table<T> {
    slab: Slab<(Arc<str>, T)>,
    by_name: Map<Arc<str>, Key>,
    /// Slots ever used.
    slots: u32,
}

impl<T> Table<T> {
    pub(super) fn new(hash_seed: u64) -> Self {
        let by_name = Map::with_hasher(hasher(hash_seed));
        Self { slab: Slab::default(), by_name, slots: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn find(&self, name: &str) -> Option<Key> {
        self.by_name.get(name).copied()
    }

    pub(super) fn get(&self, key: Key) -> Option<(&Arc<str>, &T)> {
        self.slab.get(key).map(|(name, value)| (name, value))
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.slab.get_mut(key).map(|(_, value)| value)
    }

    /// Adds what is not there yet.
    pub(super) fn insert(&mut self, name: Arc<str>, value: T) -> Key {
        let key = self.slab.insert((Arc::clone(&name), value));
        self.slots = self.slots.max(key.slot() + 1);
        self.by_name.insert(name, key);
        key
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let (name, value) = self.slab.remove(key)?;
        self.by_name.remove(&name);
        Some(value)
    }

    /// All entries, in the order of their slots, from the one after `after` on.
    pub(super) fn after(&self, after: Option<u32>) -> impl Iterator<Item = (u32, &Arc<str>, &T)> {
        let from = after.map_or(0, |slot| slot.saturating_add(1));
        (from..self.slots).filter_map(|slot| {
            let (name, value) = self.slab.key_at(slot).and_then(|key| self.slab.get(key))?;
            Some((slot, name, value))
        })
    }
}
