//! Chance and names of this room, in one place.

use std::sync::LazyLock;

use super::ids;
use crate::command::unix_ms;

/// 64 bits that nobody can guess; a clock's, on a machine without chance.
pub(super) fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| unix_ms())
}

/// A new message id.
pub(super) fn message_id(now_ms: u64) -> String {
    ids::ulid(now_ms, (u128::from(random()) << 64) | u128::from(random()))
}

/// The lane of a client: messages of one lane stay in order.
pub(super) fn lane(socket_id: &str) -> u64 {
    static HASHER: LazyLock<ahash::RandomState> = LazyLock::new(|| crate::base::hasher(random()));
    HASHER.hash_one(socket_id)
}

/// A name for this process that no other has.
pub(super) fn node_name() -> String {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let allowed = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    let machine: String = machine.chars().filter(allowed).take(32).collect();
    format!("{machine}-{:08x}", random() & 0xffff_ffff)
}
