//! Slots with generations: a stale key finds nothing.

/// Names one entry of a [`Slab`], for as long as that entry lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

    /// As a number that the kernel keeps for us.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// Back from [`Self::to_u64`].
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the halves are taken apart")]
    pub const fn from_u64(number: u64) -> Self {
        Self { slot: number as u32, generation: (number >> 32) as u32 }
    }
}

#[derive(Debug)]
enum Slot<T> {
    Free { next: u32 },
    Used(T),
}

/// Slots with holes, in pages, so that growing copies nothing and a core with 10,001 entries
/// does not hold room for 20,000.
///
/// Cost: O(1) each; one allocation a page.
#[derive(Debug)]
pub struct Slab<T> {
    pages: Vec<Page<T>>,
    free: u32,
    len: usize,
}

/// Generation and content of [`PAGE_SLOTS`] slots.
type Page<T> = Vec<(u32, Slot<T>)>;

const PAGE_SLOTS: usize = 128;
const END: u32 = u32::MAX;

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), free: END, len: 0 }
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

    fn place(&self, slot: u32) -> Option<&(u32, Slot<T>)> {
        self.pages.get(slot as usize / PAGE_SLOTS)?.get(slot as usize % PAGE_SLOTS)
    }

    fn place_mut(&mut self, slot: u32) -> Option<&mut (u32, Slot<T>)> {
        self.pages.get_mut(slot as usize / PAGE_SLOTS)?.get_mut(slot as usize % PAGE_SLOTS)
    }

    /// Puts `value` into a free slot.
    ///
    /// # Panics
    /// At 2^32 - 1 entries; every caller is bounded by `limits` far below.
    pub fn insert(&mut self, value: T) -> Key {
        self.len += 1;
        if self.free == END {
            return self.append(value);
        }
        let slot = self.free;
        let (generation, place) = self.place_mut(slot).expect("free slots exist");
        let generation = *generation;
        let old = std::mem::replace(place, Slot::Used(value));
        if let Slot::Free { next } = old {
            self.free = next;
        }
        Key { slot, generation }
    }

    fn append(&mut self, value: T) -> Key {
        if self.pages.last().is_none_or(|page| page.len() == PAGE_SLOTS) {
            self.pages.push(Vec::with_capacity(PAGE_SLOTS));
        }
        let full = (self.pages.len() - 1) * PAGE_SLOTS;
        let page = self.pages.last_mut().expect("one was added if there was none");
        let slot = u32::try_from(full + page.len()).expect("limits keep slabs small");
        page.push((0, Slot::Used(value)));
        Key { slot, generation: 0 }
    }

    /// Takes the entry out; its key is stale from then on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let next = self.free;
        let (generation, place) = self.place_mut(key.slot)?;
        *generation = generation.wrapping_add(1);
        let old = std::mem::replace(place, Slot::Free { next });
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
        match self.place(key.slot)? {
            (generation, Slot::Used(value)) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// Looks an entry up, to change it.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.place_mut(key.slot)? {
            (generation, Slot::Used(value)) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The key of whatever lives in `slot` now.
    #[must_use]
    pub fn key_at(&self, slot: u32) -> Option<Key> {
        match self.place(slot)? {
            (generation, Slot::Used(_)) => Some(Key { slot, generation: *generation }),
            _ => None,
        }
    }

    /// The keys of those that live, in the order of their slots, from the one after `after` on.
    pub fn keys_after(&self, after: Option<u32>) -> impl Iterator<Item = Key> {
        let from = after.map_or(0, |slot| slot.saturating_add(1));
        (from..self.slots()).filter_map(|slot| self.key_at(slot))
    }

    /// Slots ever used: every entry lives in one below.
    #[must_use]
    pub fn slots(&self) -> u32 {
        let last = self.pages.last().map_or(0, Vec::len);
        let slots = self.pages.len().saturating_sub(1) * PAGE_SLOTS + last;
        u32::try_from(slots).unwrap_or(END)
    }

    /// Whatever lives in `slot` now, to change it.
    pub fn at_mut(&mut self, slot: u32) -> Option<&mut T> {
        match self.place_mut(slot)? {
            (_, Slot::Used(value)) => Some(value),
            _ => None,
        }
    }

    /// All living entries, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        let places = self.pages.iter().flatten().zip(0..);
        places.filter_map(|((generation, slot), index)| match slot {
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

    #[test]
    fn a_slab_agrees_with_a_map() {
        let mut rng = crate::base::Rng::new(3, 4);
        let (mut slab, mut map) = (Slab::default(), std::collections::BTreeMap::new());
        for step in 0..5_000_u32 {
            let keys: Vec<Key> = map.keys().copied().collect();
            if keys.is_empty() || rng.below(3) > 0 {
                map.insert(slab.insert(step), step);
            } else {
                let key = keys[rng.below(keys.len())];
                assert_eq!(slab.remove(key), map.remove(&key));
            }
            assert_eq!(slab.len(), map.len());
        }
        assert!(slab.iter().all(|(key, value)| map.get(&key) == Some(value)));
    }
}
