//! # mesh: channels between cores
//!
//! One bounded inbox a core, a bell that wakes its worker, and the table that says which cores
//! have members of a room.
//!
//! Owns: the rings, the bells, the interest bits.
//! Imports: `base`, `shard` (what travels), `crossbeam-channel`.
//!
//! Holds at all times:
//! - a full inbox is a value, never a wait: the sender keeps its batch;
//! - a message that is in an inbox whose worker sleeps has a ring of the bell behind it;
//! - a bit of the interest table is written by its own core only.
//!
//! The first two are tried in every order of steps by `tests/loom`, which compiles `inbox.rs` and
//! `interest.rs` as they are.
//!
//! Read first: `inbox.rs`, then `interest.rs`.

mod inbox;
#[cfg(test)]
mod inbox_tests;
mod interest;
mod sync;

pub use inbox::{Bell, Inbox, Outlet, inbox};
pub use interest::{InterestTable, TableOf};
