//! # check: whether what came is what was sent
//!
//! Owns: the token each message carries, the oracle's state of a pair of receiver and sender,
//! and the counts of both.
//! Imports: `clock`, `model`.
//!
//! Holds at all times:
//! - a pair costs the same memory however many messages pass: the next sequence expected, and one
//!   bit for each of the 64 before it;
//! - a message is counted under exactly one name.
//!
//! Read first: `oracle.rs`.

pub mod oracle;
pub mod token;
