//! # sim: many cores, one thread, one seed
//!
//! The shards and the application layer are the production ones; sockets, clock, threads and
//! clients are this folder's. A seed decides everything: which clients there are, what they do,
//! where their bytes are cut, who runs next, what fails. So a failure is a number.
//!
//! Owns: nothing beyond one call of [`run`].
//! Imports: `api`, `shard`, `telemetry`, the codecs for the clients' side, `base`.
//!
//! Holds at all times: no clock, no chance and no order that the seed does not give; four streams
//! of chance (plan, schedule, workload, faults; and one of ids a core), so that drawing more from
//! one does not reshuffle the others; checking never draws.
//!
//! What is asserted: after each step every invariant of the core that moved; each emit reaches
//! whom it must, once, in its sender's order, and nobody else (`ledger.rs`); answers come once and
//! say what they should (`answers.rs`); nothing follows an end (`hear.rs`); at rest nothing is left
//! (`world.rs`).
//!
//! Read first: `world.rs`, then `node.rs`, whose loops are those of the worker.

mod acts;
mod answers;
mod app;
mod client;
mod hear;
mod host;
mod leave;
mod ledger;
mod link;
mod node;
mod plan;
mod user;
mod wire;
mod world;

pub use world::Report;

/// Runs the world of `seed` to its end.
///
/// # Panics
/// If a core does what it must not, or does not what it must. The caller names the seed.
#[must_use]
pub fn run(seed: u64) -> Report {
    world::World::new(seed).run()
}
