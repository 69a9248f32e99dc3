//! # worker: one thread a core, driving its shard
//!
//! The only place where a shard meets sockets and a clock. A connection has one task, which waits
//! for its socket to be readable with no buffer in hand; everything that became due in a tick is
//! written by one flush that runs after all that was runnable.
//!
//! Owns: descriptors, tasks, the core's read and write buffers, the listener.
//! Imports: everything below, and monoio.
//!
//! Holds at all times:
//! - no read is left pending in the ring, so none can be lost: tasks wait for readiness and then
//!   receive without blocking;
//! - a descriptor moves to another core only from its own task, with nothing pending;
//! - the shard is not borrowed across an await;
//! - yielding is spawning an empty task and waiting for it: a task that wakes itself goes to the
//!   front of monoio's queue and would starve all others.
//!
//! Read first: `conn.rs`, then `flush.rs`; `driver.rs` says on what it all runs.

mod accept;
mod conn;
mod driver;
mod fd;
mod flush;
mod inbox;
mod notify;
mod ready;
mod round;
mod run;

pub use driver::{Rung, Wanted, probe};
pub use inbox::{AdminCall, Item};
pub use run::{Orders, WorkerStart, run};

pub use fd::attach_successor_filter;
