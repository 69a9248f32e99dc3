//! # survey: reads the machine for the doctor
//!
//! [`facts`] turns `/proc`, `/sys`, the limits of this process and a configuration into the value
//! that `doctor` judges. It changes nothing: a ring that is tried is given back, and a switch that
//! is tried is put back.
//!
//! Owns: nothing after it returns.
//! Imports: `config`, `doctor`, `worker` (the ladder), `server` (plan and limits).
//!
//! Holds at all times: what cannot be read is `None`; only files that every Linux has are noted as
//! missing.
//!
//! Read first: `read.rs`.

mod cards;
mod read;
#[cfg(test)]
mod tests;
mod wish;

pub use read::facts;
