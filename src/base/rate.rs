//! How often something may happen, and how many there may be: of one thing, and of many things by
//! name on all cores together.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use super::time::Micros;

/// A token bucket's size and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Between two that come evenly.
    period_us: u64,
    /// How far ahead of that one may be.
    ahead_us: u64,
}

impl Rate {
    /// `per_second` in the long run, `burst` at once; at least one of each.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        let period_us = 1_000_000 / u64::from(per_second.max(1));
        Self { period_us, ahead_us: period_us * u64::from(burst.max(1) - 1) }
    }

    /// When a bucket that stood at `at` stands after one more.
    fn take(self, at: Micros, now: Micros) -> Result<Micros, u64> {
        let at = at.max(now);
        match (at - now).checked_sub(self.ahead_us) {
            Some(wait_us) if wait_us > 0 => Err(wait_us),
            _ => Ok(at + self.period_us),
        }
    }
}

/// A token bucket, as the time at which it will be full: eight bytes, and nothing to refill.
///
/// Rule: the generic cell rate algorithm, ITU-T I.371.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket(Micros);

impl Bucket {
    /// Takes one token.
    ///
    /// # Errors
    /// There is none; the microseconds until there is.
    pub fn take(&mut self, rate: Rate, now: Micros) -> Result<(), u64> {
        self.0 = rate.take(self.0, now)?;
        Ok(())
    }
}

/// Slots that one name may be in.
const WAYS: usize = 8;
/// Tries against other cores before one gives way to them.
const TRIES: usize = 16;

/// A fixed table of slots, by name, that all cores write without a lock. A slot holds some bits of
/// the name's hash, which nobody outside can guess, and a value of `VALUE_BITS`.
struct Slots<const VALUE_BITS: u32> {
    slots: Box<[AtomicU64]>,
    hasher: ahash::RandomState,
}

impl<const VALUE_BITS: u32> Slots<VALUE_BITS> {
    const VALUE: u64 = (1 << VALUE_BITS) - 1;

    fn new(names: usize, seed: u64) -> Self {
        let count = (names.max(WAYS) * 2).next_power_of_two();
        let slots = (0..count).map(|_| AtomicU64::new(0)).collect();
        Self { slots, hasher: super::hasher(seed) }
    }

    /// The first of the slots that a name may be in, and what its own slots begin with: never
    /// nothing, so that an empty slot is nobody's.
    fn home(&self, name: &[u8]) -> (usize, u64) {
        let hash = self.hasher.hash_one(name);
        let first = usize::try_from(hash).unwrap_or_default() & (self.slots.len() - 1);
        (first & !(WAYS - 1), (hash >> VALUE_BITS).max(1) << VALUE_BITS)
    }

    /// The slots of a set as they stand now.
    fn look(&self, first: usize, order: Ordering) -> [u64; WAYS] {
        let ways = &self.slots[first..first + WAYS];
        std::array::from_fn(|way| ways[way].load(order))
    }

    /// Changes the value of a name in one step; `None` leaves it. `is_free` says whether a
    /// stranger's value may be overwritten. What is given back is the value that `change` saw.
    fn update(
        &self,
        name: &[u8],
        is_free: impl Fn(u64) -> bool,
        change: impl Fn(u64) -> Option<u64>,
    ) -> Option<u64> {
        let (first, tag) = self.home(name);
        for _ in 0..TRIES {
            let seen = self.look(first, Ordering::Relaxed);
            let own = seen.iter().position(|slot| slot & !Self::VALUE == tag);
            let free = || seen.iter().position(|slot| *slot == 0 || is_free(slot & Self::VALUE));
            let way = own.or_else(free)?;
            let value = if own.is_some() { seen[way] & Self::VALUE } else { 0 };
            let Some(next) = change(value) else { return Some(value) };
            let next = tag | next.min(Self::VALUE);
            let order = Ordering::Relaxed;
            let slot = &self.slots[first + way];
            if slot.compare_exchange(seen[way], next, order, order).is_ok() {
                return Some(value);
            }
        }
        None
    }
}

/// Token buckets by name, shared by all cores. Its memory is fixed: where too many names are busy
/// at one time, some of them are not held back.
///
/// Cost: one hash, eight loads from one line of cache, one exchange.
pub struct SharedBuckets {
    slots: Slots<40>,
    rate: Rate,
}

/// A tick of a shared bucket: forty bits of them are two years.
const TICK_US: u64 = 64;

impl SharedBuckets {
    /// Room for about so many names that are busy at one time.
    #[must_use]
    pub fn new(rate: Rate, names: usize, seed: u64) -> Self {
        Self { slots: Slots::new(names, seed), rate }
    }

    /// Takes one token of a name.
    ///
    /// # Errors
    /// There is none; the microseconds until there is.
    pub fn take(&self, name: &[u8], now: Micros) -> Result<(), u64> {
        let later = |at: u64| self.rate.take(at * TICK_US, now);
        let is_full = |at: u64| at * TICK_US <= now;
        let change = |at| later(at).ok().map(|at| at.div_ceil(TICK_US));
        match self.slots.update(name, is_full, change) {
            Some(at) => later(at).map(drop),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for SharedBuckets {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SharedBuckets").field("rate", &self.rate).finish_non_exhaustive()
    }
}

/// Counts by name, shared by all cores. Its memory is fixed: where too many names are counted at
/// one time, some of them are not.
///
/// A count never stands above its limit once [`Self::add`] has answered, and is exactly what was
/// added and not removed: who is counted knows its slot, and a slot that counts somebody is nobody
/// else's.
///
/// Cost: as [`SharedBuckets`], with two looks at the line of cache.
pub struct SharedCounts {
    slots: Slots<32>,
    max: u64,
}

/// There are as many of a name as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// One that is counted, to be handed to [`SharedCounts::remove`] once it is gone.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is not removed is counted for ever"]
pub struct Counted(NonZeroU32);

impl SharedCounts {
    /// Room for about so many names that have any, each up to `max`.
    #[must_use]
    pub fn new(max: u32, names: usize, seed: u64) -> Self {
        Self { slots: Slots::new(names, seed), max: max.into() }
    }

    /// One more of a name. `None` is one that there was no room to count.
    ///
    /// # Errors
    /// There are as many as may be, or would be with others that come at this very moment; nothing
    /// is counted.
    pub fn add(&self, name: &[u8]) -> Result<Option<Counted>, Full> {
        let (first, tag) = self.slots.home(name);
        // Two cores that meet may each take another slot for one name: all of its slots count. In
        // one order for all cores, so that of two that are one too many at least one sees both.
        let order = Ordering::SeqCst;
        let all = |seen: &[u64; WAYS]| -> u64 {
            let own = seen.iter().filter(|slot| Self::tag(**slot) == tag);
            own.map(|slot| Self::count(*slot)).sum()
        };
        // Who is beaten to a slot tries again; whoever did that has got on.
        loop {
            let seen = self.slots.look(first, order);
            if all(&seen) >= self.max {
                return Err(Full);
            }
            let own = seen.iter().position(|slot| Self::tag(*slot) == tag);
            let free = || seen.iter().position(|slot| Self::count(*slot) == 0);
            let Some(way) = own.or_else(free) else { return Ok(None) };
            let count = own.map_or(0, |way| Self::count(seen[way]));
            let slot = &self.slots.slots[first + way];
            if slot.compare_exchange(seen[way], tag | (count + 1), order, order).is_err() {
                continue;
            }
            if all(&self.slots.look(first, order)) > self.max {
                slot.fetch_sub(1, order);
                return Err(Full);
            }
            let number = u32::try_from(first + way + 1).ok().and_then(NonZeroU32::new);
            return Ok(number.map(Counted));
        }
    }

    /// One less.
    #[expect(clippy::needless_pass_by_value, reason = "each is given back once")]
    pub fn remove(&self, counted: Counted) {
        let slot = &self.slots.slots[counted.0.get() as usize - 1];
        let before = slot.fetch_sub(1, Ordering::SeqCst);
        debug_assert!(Self::count(before) > 0, "it was counted");
    }

    /// How many are counted, of all names together. For tests: it looks at every slot.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.slots.slots.iter().map(|slot| Self::count(slot.load(Ordering::SeqCst))).sum()
    }

    const fn tag(slot: u64) -> u64 {
        slot & !Slots::<32>::VALUE
    }

    const fn count(slot: u64) -> u64 {
        slot & Slots::<32>::VALUE
    }
}

impl fmt::Debug for SharedCounts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SharedCounts").field("max", &self.max).finish_non_exhaustive()
    }
}

/// What an address counts as: an IPv4 address as itself, an IPv6 address as its network of 64
/// bits, since whoever has one of those has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressName {
    bytes: [u8; 8],
    len: usize,
}

impl AddressName {
    /// The name of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        let mut bytes = [0; 8];
        let len = match address.to_canonical() {
            IpAddr::V4(address) => {
                bytes[..4].copy_from_slice(&address.octets());
                4
            }
            IpAddr::V6(address) => {
                bytes.copy_from_slice(&address.octets()[..8]);
                8
            }
        };
        Self { bytes, len }
    }
}

impl Deref for AddressName {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::Rng;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let (rate, mut bucket) = (Rate::new(10, 3), Bucket::default());
        let start = 5_000_000;
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, start), Ok(()));
        }
        assert_eq!(bucket.take(rate, start), Err(100_000));
        assert_eq!(bucket.take(rate, start + 99_999), Err(1));
        assert_eq!(bucket.take(rate, start + 100_000), Ok(()));
        assert!(bucket.take(rate, start + 100_000).is_err(), "what was refused took nothing");
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, start + 9_000_000), Ok(()), "full again, and no fuller");
        }
        assert!(bucket.take(rate, start + 9_000_000).is_err());
    }

    /// A naive bucket: tokens that are counted and poured.
    #[test]
    fn buckets_agree_with_tokens_that_are_counted() {
        let mut rng = Rng::new(1, 2);
        for _ in 0..200 {
            let (per_second, burst) = (1 + rng.below(50), 1 + rng.below(20));
            let rate = Rate::new(per_second as u32, burst as u32);
            // Whole periods, so that no rounding of the twin decides.
            let period = 1_000_000 / per_second as u64;
            let (mut bucket, mut now) = (Bucket::default(), 1_000_000_000);
            let (mut tokens, mut poured_at) = (burst as u64, now);
            for _ in 0..200 {
                now += rng.below(period as usize * 3) as u64;
                let poured = (now - poured_at) / period;
                poured_at += poured * period;
                tokens += poured;
                if tokens >= burst as u64 {
                    (tokens, poured_at) = (burst as u64, now);
                }
                let taken = tokens > 0;
                tokens -= u64::from(taken);
                assert_eq!(bucket.take(rate, now).is_ok(), taken);
            }
        }
    }

    #[test]
    fn names_have_buckets_of_their_own() {
        let shared = SharedBuckets::new(Rate::new(1, 2), 1_000, 7);
        let now = 64_000_000;
        for name in 0..1_000_u32 {
            assert_eq!(shared.take(&name.to_le_bytes(), now), Ok(()));
            assert_eq!(shared.take(&name.to_le_bytes(), now), Ok(()));
        }
        let refused = (0..1_000_u32).filter(|name| shared.take(&name.to_le_bytes(), now).is_err());
        assert!(refused.count() > 950, "a few may have lost their place to others");
        assert_eq!(shared.take(b"another", now), Ok(()));
        assert_eq!(shared.take(&3_u32.to_le_bytes(), now + 1_100_000), Ok(()));
    }

    /// A naive table: a bucket of its own for each name, at the clock that the table has.
    #[test]
    fn shared_buckets_agree_with_a_bucket_for_each_name() {
        let mut rng = Rng::new(5, 6);
        for round in 0..100 {
            let rate = Rate::new(1 + rng.below(2_000) as u32, 1 + rng.below(30) as u32);
            let shared = SharedBuckets::new(rate, 500, round);
            let mut twin = BTreeMap::<u8, u64>::new();
            let mut now = 1_000_000;
            for _ in 0..400 {
                now += rng.below(3_000) as u64;
                let name = rng.below(30) as u8;
                let at = twin.entry(name).or_default();
                let wanted = rate.take(*at, now);
                if let Ok(next) = wanted {
                    *at = next.div_ceil(TICK_US) * TICK_US;
                }
                assert_eq!(shared.take(&[name], now), wanted.map(drop), "round {round}, {name}");
            }
        }
    }

    #[test]
    fn counts_are_what_was_added_and_not_removed() {
        let shared = SharedCounts::new(3, 64, 9);
        let (mut twin, mut rng) = (BTreeMap::<u8, Vec<Counted>>::new(), Rng::new(3, 4));
        for _ in 0..10_000 {
            let name = rng.below(40) as u8;
            let held = twin.entry(name).or_default();
            if rng.below(2) == 0 {
                match shared.add(&[name]) {
                    Ok(counted) => held.push(counted.expect("there is room for so few")),
                    Err(Full) => assert_eq!(held.len(), 3, "{name}"),
                }
                assert!(held.len() <= 3, "{name}");
            } else if let Some(counted) = held.pop() {
                shared.remove(counted);
            }
            let sum: usize = twin.values().map(Vec::len).sum();
            assert_eq!(shared.sum(), sum as u64);
        }
    }

    #[test]
    fn an_address_counts_as_its_network() {
        let name = |text: &str| AddressName::of(text.parse().expect("an address")).to_vec();
        assert_eq!(name("192.0.2.7"), [192, 0, 2, 7]);
        assert_eq!(name("::ffff:192.0.2.7"), name("192.0.2.7"), "one machine, two listeners");
        assert_eq!(name("2001:db8::1"), name("2001:db8:0:0:ffff::2"));
        assert_ne!(name("2001:db8::1"), name("2001:db8:0:1::1"));
    }
}
