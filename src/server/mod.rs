//! # server: putting it together
//!
//! Order of start: configuration, descriptors, addresses, admin core, workers. Order of drain:
//! readiness off, no more connections, sessions in shares, end.
//!
//! Owns: threads, listeners until a worker has them, signals, the log.
//! Imports: everything.
//!
//! Holds at all times: what keeps the server from starting is one line that says what to do; a
//! taken port is an error unless sharing it was asked for.
//!
//! Read first: `builder.rs`, then `run.rs` and `drain.rs`.
#![expect(clippy::disallowed_methods, reason = "here the clock is read and the drain paced")]

mod bill;
mod bind;
mod builder;
mod certificate;
mod cores;
mod doors;
mod drain;
mod ending;
mod error;
mod files;
mod log;
pub(crate) mod machine;
mod memory;
mod ports;
mod regular;
mod renewal;
mod run;
mod sibling;
mod tokens;
mod wiring;

pub use bind::BACKLOG;
pub use builder::Server;
pub use certificate::check_certificate;
pub use cores::{Plan, plan};
pub use error::StartError;
pub use files::descriptors_own;
pub use regular::read_text;
pub use run::Running;
pub use tokens::token_keys;
