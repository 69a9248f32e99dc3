//! Slots with generations: a stale key finds nothing.

/// Names one entry of a [`Slab`], for as long as that entry lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    slot: u32,
    generation: u32,
}

impl Key {
    /// The slot, for compact indexes that are cleared before the entry goes.
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.slot
    }
}

#[derive(Debug)]
enum Slot<T> {
    Free { next: u32 },
    Used(T),
}

/// A vector with holes. Cost: O(1) each, no allocation but the vector's own growth.
#[derive(Debug)]
pub struct Slab<T> {
    slots: Vec<(u32, Slot<T>)>,
    free: u32,
    len: usize,
}

const END: u32 = u32::MAX;

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: END, len: 0 }
    }
}

impl<T> Slab<T> {
    /// How many entries live.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none lives.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts `value` into a free slot.
    ///
    /// # Panics
    /// At 2^32 - 1 entries; every caller is bounded by `limits` far below.
    pub fn insert(&mut self, value: T) -> Key {
        self.len += 1;
        if self.free == END {
            let slot = u32::try_from(self.slots.len()).expect("limits keep slabs small");
            self.slots.push((0, Slot::Used(value)));
            return Key { slot, generation: 0 };
        }
        let slot = self.free;
        let entry = &mut self.slots[slot as usize];
        if let Slot::Free { next } = entry.1 {
            self.free = next;
        }
        entry.1 = Slot::Used(value);
        Key { slot, generation: entry.0 }
    }

    /// Takes the entry out; its key is stale from then on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let entry = &mut self.slots[key.slot as usize];
        entry.0 = entry.0.wrapping_add(1);
        let old = std::mem::replace(&mut entry.1, Slot::Free { next: self.free });
        self.free = key.slot;
        self.len -= 1;
        match old {
            Slot::Used(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// Looks an entry up.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.slots.get(key.slot as usize) {
            Some((generation, Slot::Used(value))) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// Looks an entry up, to change it.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slots.get_mut(key.slot as usize) {
            Some((generation, Slot::Used(value))) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The key of whatever lives in `slot` now.
    #[must_use]
    pub fn key_at(&self, slot: u32) -> Option<Key> {
        match self.slots.get(slot as usize) {
            Some((generation, Slot::Used(_))) => Some(Key { slot, generation: *generation }),
            _ => None,
        }
    }

    /// Whatever lives in `slot` now, to change it.
    pub fn at_mut(&mut self, slot: u32) -> Option<&mut T> {
        match self.slots.get_mut(slot as usize) {
            Some((_, Slot::Used(value))) => Some(value),
            _ => None,
        }
    }

    /// All living entries, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().zip(0..).filter_map(|((generation, slot), index)| match slot {
            Slot::Used(value) => Some((Key { slot: index, generation: *generation }, value)),
            Slot::Free { .. } => None,
        })
    }

    /// The keys of all living entries, in the order of their slots.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        self.iter().map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing_although_its_slot_is_used_again() {
        let mut slab = Slab::default();
        let first = slab.insert("a");
        assert_eq!(slab.remove(first), Some("a"));
        let second = slab.insert("b");
        assert_eq!(second.slot(), first.slot());
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"b"));
        assert_eq!((slab.len(), slab.keys()), (1, vec![second]));
    }
}
