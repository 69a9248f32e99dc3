//! # count: instructions, counted and compared
//!
//! Each case runs in a process of its own under callgrind, which counts what one function and
//! all it calls execute. The counts are compared with those of `benches/baseline.toml`.
//!
//! Owns: the call of valgrind, the baseline's form, the rules of comparing.
//! Imports: nothing of the library.
//!
//! Holds at all times: counts made with another compiler, CPU or C library are shown and never
//! judged against the baseline; ratios of two counts are judged always.
//!
//! Read first: `compare.rs`, then `callgrind.rs`.

pub(crate) mod callgrind;
pub(crate) mod compare;
