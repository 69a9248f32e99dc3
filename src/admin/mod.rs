//! # admin: the door for operators and back ends
//!
//! One thread with tokio beside the workers: REST, health, metrics, the OpenAPI document, a page
//! for people. It asks the workers by errands and waits; a worker never waits for it. Requests of
//! the public listener come as values ([`call()`]), those of the admin listener over HTTP
//! ([`serve()`]); both go through the same [`router()`].
//!
//! Owns: the totals of all cores, the admin listener, the keys.
//! Imports: `gateway`, `api`, `telemetry`, `config`, `http`, `base`; tokio, axum, hyper, utoipa.
//! May read clocks and `/proc`.
//!
//! Holds at all times:
//! - a route stands once, in the table of `route.rs`; router, gates and document follow from it;
//! - nothing is asked of a worker before the caller may, and the body is read after that;
//! - every failure has the contract's shape, a panic too; no call waits without an end;
//! - no lock is held across an await.
//!
//! Read first: `route.rs` (what there is), then `router.rs` (the gates), then `workers.rs` and
//! `collect.rs` (how workers are asked).
#![expect(clippy::disallowed_methods, reason = "clocks may be read here")]

mod access;
mod answer;
mod call;
mod collect;
mod health;
mod hooks;
mod openapi;
mod pages;
mod process;
mod reader;
mod route;
mod router;
mod serve;
mod state;
mod stats;
mod verbs;
mod watch;

#[cfg(test)]
mod tests;

pub use access::{Origin, Peer};
pub use call::call;
pub use collect::collect;
pub use router::router;
pub use serve::serve;
pub use state::{Admin, AdminSettings, GatewayRoutes, Phase};
pub use watch::Teller;
