//! # command: what back ends may ask for, whichever door they come by
//!
//! REST and the bridges have the same verbs with the same shapes, checks, limits and errors: they
//! are here once. A door reads bytes off its wire and writes the answer; nothing else differs.
//!
//! Owns: the way to the workers ([`Workers`], [`ask`]), the verbs ([`Verb`]), the desk where they are
//! done ([`Desk`]), the answers of the last minutes by their keys, the wall clock ([`unix_ms`]).
//! May read a clock.
//! Imports: `gateway`, `api`, `config`, `telemetry`, `base`; tokio for waiting.
//!
//! Holds at all times: a worker is asked by errand and never waited for by another worker; what is
//! asked of one has an end, and no lock is held across an await.
//!
//! Read first: `verb.rs` (what there is), then `desk.rs` (how it is done), then `workers.rs`.
#![expect(clippy::disallowed_methods, reason = "a clock may be read here")]

/// Bytes of a command, whichever door it comes by; a batch is one command.
pub const BODY_BYTES_MAX: usize = 1_000_000;

mod answer;
mod batch;
mod clock;
mod desk;
mod hooks;
mod idempotency;
mod verb;
mod views;
mod work;
mod workers;

pub use answer::{Answer, Failure};
pub use clock::unix_ms;
pub use desk::{Desk, Repeat};
pub use hooks::{DeadLetterView, HookDesk, HookHealth, RABBITMQ, ReplayView, WEBHOOKS};
pub use idempotency::{Begun, KEPT_MS, LEDGER_BYTES_MAX, Ledger, LedgerLimits};
pub use verb::{Facts, Verb};
pub use views::{
    AskedView, BatchResultView, BatchView, ChangedRoomView, ChangedView, DisconnectedView,
    EmittedView,
};
pub use workers::{ANSWER_TIMEOUT, AskError, Errand, Full, Reply, Workers, ask, ask_within};
