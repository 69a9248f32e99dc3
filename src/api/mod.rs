//! # api: what an embedder writes against
//!
//! An [`App`] is built once on every worker core, so its handlers need not be `Send` and may share
//! state through an `Rc`. Handlers get handles ([`Socket`], [`Io`], [`Broadcast`]); each call on
//! one is a verb on the core's shard, a short borrow that is over before the call returns.
//!
//! Owns: the handlers of one core, and the one door to its shard ([`Core`]).
//! Imports: `shard`, `socketio`, `telemetry`, `base`. Never a clock, a socket or a task: those
//! are the [`Host`]'s.
//!
//! Holds at all times:
//! - no handler runs while the shard is borrowed, so a handler may call anything;
//! - a panic in a handler ends its socket; a panic inside the shard ends the process, because
//!   half-changed state must not serve on;
//! - events of one socket start their handlers in the order they arrived.
//!
//! Read first: `app.rs`, then `socket.rs`; `run.rs` shows who calls what.

mod app;
mod broadcast;
mod core;
mod event;
mod io;
mod promise;
mod run;
mod socket;

pub use self::core::{Core, Host, LocalFuture};
pub use app::{App, NamespaceBuilder, Refusal};
pub use broadcast::Broadcast;
pub use event::{Ack, Event, OwnedEvent};
pub use io::{EngineMessage, Io, PlainMessage, SnapshotParts};
pub use promise::{Promise, Resolver, promise};
pub use socket::{AckError, Disconnected, Socket};

pub use crate::shard::{
    AckArgs, AckOutcome, Answered, Ending, Gathered, Handshake, Namer, Quorum, SocketInfo, Target,
    Terms, Verb as TargetVerb,
};
