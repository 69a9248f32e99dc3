//! # worker: one thread a core, driving its shard
//!
//! The only place where a shard meets sockets and a clock. One watch a core says which
//! connections became ready; a *round* goes on with each of them as far as it goes without
//! waiting, then writes everything that came of it. A connection has no task and, while it is
//! idle, no buffer.
//!
//! Owns: descriptors, the core's read and write buffers, the listeners.
//! Imports: everything below, and monoio.
//!
//! Holds at all times:
//! - the watch is edge-triggered: what the kernel said of a connection is noted in its `ConnIo`
//!   until it has been acted upon, whatever the connection waits for meanwhile;
//! - a descriptor moves to another core with nothing unsent, and is watched by nobody on its way;
//!   its TLS moves with it;
//! - what TLS has opened is no longer told from what came plain, and what is sealed is sent in
//!   that order;
//! - `conns` is not borrowed across a handler, nor the shard across an await;
//! - who has more to do lets the runtime park in between (`park_once`): its timers and its driver
//!   have no turn while a task is runnable. A task that wakes itself would starve all others.
//!
//! Read first: `round.rs`, then `conn.rs` and `flush.rs`; `driver.rs` says on what it all runs.

mod accept;
mod conn;
mod driver;
mod entrance;
mod fd;
mod flush;
mod inbox;
mod moves;
mod notify;
mod ready;
mod round;
mod run;
mod sibling;
mod tls;

pub use driver::{Rung, Wanted, probe};
pub use entrance::Door;
pub use inbox::{AdminCall, Item, Moved};
pub use run::{Orders, Standing, WorkerStart, run};
pub use sibling::{OfSibling, SIBLING_BYTES_MAX, SiblingBatch, SiblingOutlet};
pub use tls::{TLS_BUFFERS_BYTES, TLS_CONN_BYTES};

pub use fd::{attach_filter, detach_filter};
