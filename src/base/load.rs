//! Bytes that one core has given to another thread, for as long as that thread has them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A place from which bytes are given away, and how many are away now.
#[derive(Clone, Debug, Default)]
pub struct Load(Arc<AtomicUsize>);

impl Load {
    /// Bytes that are away.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts `bytes` as away until what this returns is dropped, on whatever thread.
    #[must_use]
    pub fn give(&self, bytes: usize) -> Loaded {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Loaded { load: Arc::clone(&self.0), bytes }
    }
}

/// Bytes that are away; by default none, of nobody.
#[derive(Debug, Default)]
pub struct Loaded {
    load: Arc<AtomicUsize>,
    bytes: usize,
}

/// Equal is what counts for as much.
impl PartialEq for Loaded {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Loaded {}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.load.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_counted_until_it_is_dropped() {
        let load = Load::default();
        let (one, two) = (load.give(5), load.clone().give(7));
        assert_eq!(load.bytes(), 12);
        drop(one);
        assert_eq!(load.bytes(), 7);
        drop(two);
        assert_eq!(load.bytes(), 0);
    }
}
