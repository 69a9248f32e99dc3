//! # engine: runs a scenario
//!
//! The main thread gives orders, looks at the server's process and shows how far it is; each lane
//! (a pinned thread with a monoio runtime) owns its connections and a load that decides what they
//! send. They share a board of counters and a clock; a stretch of load begins and ends by the
//! clock, so that no lane waits for a message about it.
//!
//! Owns: lanes, stretches, meters, and the making of a report.
//! Imports: `check`, `clock`, `load`, `model`, `scenario`, `server`, `wire`.
//!
//! Holds at all times:
//! - a lane waits in one place only;
//! - what is counted for the server's CPU is counted between the very moments at which its CPU
//!   time was read;
//! - an open loop's latency begins when a message should have been sent, and every message that
//!   should have been sent in the measured time is in it, however late it came.
//!
//! Read first: `run.rs`, then `lane.rs`.

mod board;
mod desk;
mod lane;
mod layout;
pub mod meter;
mod report;
mod run;
mod steps;
mod sweep;
mod ticks;

pub use board::{Board, Stretch};
pub use desk::Cx;
pub use layout::Layout;
pub use run::{Options, run};
