//! Things with names, listed page by page in the order of their slots.

use std::sync::Arc;

use hashbrown::HashTable;

use crate::base::{Key, Slab, hasher};

/// A table. Cost: O(1) each; a page costs its length and the holes it meets.
pub(super) struct Table<T> {
    slab: Slab<(Arc<str>, T)>,
    by_name: HashTable<Key>,
    hasher: ahash::RandomState,
}

impl<T> Table<T> {
    pub(super) fn new(hash_seed: u64) -> Self {
        Self { slab: Slab::default(), by_name: HashTable::new(), hasher: hasher(hash_seed) }
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn find(&self, name: &str) -> Option<Key> {
        let is_it = |key: &Key| name_of(&self.slab, *key) == name;
        self.by_name.find(self.hasher.hash_one(name), is_it).copied()
    }

    pub(super) fn get(&self, key: Key) -> Option<(&Arc<str>, &T)> {
        self.slab.get(key).map(|(name, value)| (name, value))
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.slab.get_mut(key).map(|(_, value)| value)
    }

    /// Adds what is not there yet.
    pub(super) fn insert(&mut self, name: Arc<str>, value: T) -> Key {
        let hash_of = self.hasher.hash_one(&*name);
        let key = self.slab.insert((name, value));
        let Self { slab, by_name, hasher } = self;
        by_name.insert_unique(hash_of, key, |key| hasher.hash_one(name_of(slab, *key)));
        key
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let (name, value) = self.slab.remove(key)?;
        let hash = self.hasher.hash_one(&*name);
        if let Ok(entry) = self.by_name.find_entry(hash, |other| *other == key) {
            entry.remove();
        }
        Some(value)
    }

    /// All entries, in the order of their slots, from the one after `after` on.
    pub(super) fn after(&self, after: Option<u32>) -> impl Iterator<Item = (u32, &Arc<str>, &T)> {
        self.slab.keys_after(after).filter_map(|key| {
            let (name, value) = self.slab.get(key)?;
            Some((key.slot(), name, value))
        })
    }
}

fn name_of<T>(slab: &Slab<(Arc<str>, T)>, key: Key) -> &str {
    slab.get(key).map_or("", |(name, _)| name)
}
