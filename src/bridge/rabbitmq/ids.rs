//! Message ids: ULIDs, which sort by time and collide never.

use std::hash::Hash;

use crate::base::{Map, hasher};

/// A map by ids of ours: no client chooses them, so the hasher needs no secret.
pub(super) fn map<K: Hash + Eq, V>() -> Map<K, V> {
    Map::with_hasher(hasher(0))
}

/// Rule: the ULID specification, "Encoding": Crockford's base 32.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The id for a moment and 80 random bits (the lowest of `random`).
pub(super) fn ulid(unix_ms: u64, random: u128) -> String {
    let mut value = (u128::from(unix_ms & 0xffff_ffff_ffff) << 80) | (random & ((1 << 80) - 1));
    let mut text = [b'0'; 26];
    for digit in text.iter_mut().rev() {
        *digit = DIGITS[(value & 31) as usize];
        value >>= 5;
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_specification() {
        assert_eq!(ulid(0, 0), "0".repeat(26));
        assert_eq!(ulid(u64::MAX, u128::MAX), format!("7{}", "Z".repeat(25)));
        // The specification's example has this moment's first ten digits.
        assert_eq!(&ulid(1_469_918_176_385, 0)[..10], "01ARYZ6S41");
        assert!(ulid(5, 0) < ulid(6, 0) && ulid(5, 1) < ulid(5, 2));
    }
}
