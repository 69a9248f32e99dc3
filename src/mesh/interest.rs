//! Which cores have members of a room: a table of bits that all cores read.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use super::sync::{AtomicU64, Ordering};
use crate::base::{CoreId, hasher};
use crate::shard::{CoreMask, Interest};

const BUCKETS_LOG2: u32 = 20;

/// The bits: 2^20 buckets of one bit a core. Rooms that share a bucket cost a useless message
/// now and then, counted as `mesh_useless`.
///
/// Cost: 8 MiB for up to 64 cores, 32 MiB for 256, touched only where rooms fall.
#[derive(Debug)]
pub struct InterestTable {
    words: usize,
    bits: Vec<AtomicU64>,
    hash: ahash::RandomState,
}

impl InterestTable {
    /// A table for so many cores. One core needs none.
    #[must_use]
    pub fn new(cores: usize, seed: u64) -> Arc<Self> {
        Self::with_buckets(cores, if cores == 1 { 1 } else { 1 << BUCKETS_LOG2 }, seed)
    }

    /// The same with so many buckets.
    pub(super) fn with_buckets(cores: usize, buckets: usize, seed: u64) -> Arc<Self> {
        let words = cores.div_ceil(64);
        let mut bits = Vec::new();
        bits.resize_with(words * buckets, || AtomicU64::new(0));
        Arc::new(Self { words, bits, hash: hasher(seed) })
    }

    fn word(&self, bucket: u32, core: CoreId) -> &AtomicU64 {
        &self.bits[bucket as usize * self.words + core.index() / 64]
    }
}

/// One core's handle on the table.
#[derive(Clone, Debug)]
pub struct TableOf(pub Arc<InterestTable>);

impl Interest for TableOf {
    fn bucket(&self, namespace: &str, room: &str) -> u32 {
        let mut state = self.0.hash.build_hasher();
        state.write(namespace.as_bytes());
        state.write_u8(0);
        state.write(room.as_bytes());
        let buckets = self.0.bits.len() / self.0.words;
        let bucket = state.finish() % buckets as u64;
        u32::try_from(bucket).expect("buckets are 2^20")
    }

    fn set(&self, bucket: u32, core: CoreId) {
        let bit = 1 << (core.index() % 64);
        self.0.word(bucket, core).fetch_or(bit, Ordering::SeqCst);
    }

    fn clear(&self, bucket: u32, core: CoreId) {
        let bit: u64 = 1 << (core.index() % 64);
        self.0.word(bucket, core).fetch_and(!bit, Ordering::SeqCst);
    }

    fn mask(&self, bucket: u32) -> CoreMask {
        let mut mask = CoreMask::default();
        for (at, word) in mask.0.iter_mut().enumerate().take(self.0.words) {
            *word = self.0.bits[bucket as usize * self.0.words + at].load(Ordering::SeqCst);
        }
        mask
    }
}
