//! # command: what back ends may ask for, whichever door they come by
//!
//! REST and the bridges have the same verbs with the same shapes, checks, limits and errors: they
//! are here once. A door reads bytes off its wire and writes the answer; nothing else differs.
//!
//! Owns: the way to the workers ([`Workers`], [`ask`]).
//! Imports: `gateway`, `api`, `config`, `telemetry`, `base`; tokio for waiting.
//!
//! Holds at all times: a worker is asked by errand and never waited for by another worker; what is
//! asked of one has an end, and no lock is held across an await.
//!
//! Read first: `workers.rs`.

mod workers;

pub use workers::{ANSWER_TIMEOUT, AskError, Errand, Full, Reply, Workers, ask};
