//! # doctor: what an operator should change on this machine
//!
//! A machine is a value, [`Facts`], and advice is a table, [`checks()`]: each row looks at some facts
//! and says what is wrong and what to run. `tuning.md` explains the rows, and holds a list of them
//! that is made from this table.
//!
//! Owns: the table of checks, the readers of the kernel's small formats.
//! Imports: `config`. Facts are read elsewhere (`survey`) and handed in.
//!
//! Holds at all times: a fact that could not be read is `None`, and no check fires on it; a check
//! fires only with a figure and a command; only what stops a deployment is [`Severity::Breaks`].
//!
//! Read first: `facts.rs`, then `table.rs`.

#[cfg(test)]
mod case_tests;
mod cpus;
mod descriptors;
mod facts;
mod memory;
mod network;
mod nics;
pub mod parse;
mod report;
mod ring;
mod table;
#[cfg(test)]
mod tests;

pub use facts::{Cpus, Facts, Frequency, Irq, Memory, Network, Nic, Ring, Sleep, System, Wanted};
pub use report::{Report, reference_markdown};
pub use table::{Check, Finding, Severity, checks};
