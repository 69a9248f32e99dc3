//! # sim: many cores, one thread, one seed
//!
//! The shards and the application layer are the production ones; sockets, clock, threads and
//! clients are this folder's. A seed decides everything: which clients there are, what they do,
//! where their bytes are cut, who runs next, what fails. So a failure is a number.
//!
//! Owns: nothing beyond one call of [`run`].
//! Imports: `api`, `shard`, `telemetry`, the codecs for the clients' side, `base`.
//!
//! Holds at all times: no clock, no chance and no order that the seed does not give; streams of
//! chance for plan, schedule, workload, faults and the ids of a core, and one for each act, so that
//! drawing more from one does not reshuffle the others; checking never draws.
//!
//! What is asserted: after each step every invariant of the core that moved; each emit reaches
//! whom it must, once, in its sender's order, and nobody else (`ledger.rs`); answers come once and
//! say what they should (`answers.rs`); nothing follows an end (`hear.rs`); at rest nothing is left
//! (`world.rs`).
//!
//! A failure is made smaller by leaving out what it does not need (`shrink.rs`); what is left is a
//! line (`script.rs`). Servers that are wrong on purpose show that the checks bite (`mutant.rs`).
//!
//! Read first: `world.rs`, then `choice.rs`, then `node.rs`, whose loops are those of the worker.

mod acts;
mod answers;
mod app;
mod choice;
mod client;
mod fault;
mod hear;
mod host;
mod leave;
mod ledger;
mod link;
mod mutant;
mod node;
mod plan;
mod script;
mod shrink;
mod user;
mod wire;
mod world;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

pub use mutant::Mutant;
pub use script::{Act, Script, WORLD};
pub use shrink::{Failure, shrink};
pub use world::Report;

/// Runs the world of `seed` to its end.
///
/// # Panics
/// If a core does what it must not, or does not what it must. The caller names the seed.
#[must_use]
pub fn run(seed: u64) -> Report {
    world::World::new(&Script::of(seed), &Rc::default()).run()
}

/// Runs a script to its end, or to where it fails.
///
/// # Errors
/// What failed, and what had been done until then.
pub fn attempt(script: &Script) -> Result<Report, Box<Failure>> {
    let told = world::Told::default();
    let mut clients = 0;
    let run = || {
        let world = world::World::new(script, &told);
        clients = world.clients.len();
        world.run()
    };
    catch_unwind(AssertUnwindSafe(run))
        .map_err(|panic| Box::new(Failure { why: words_of(&*panic), acts: told.take(), clients }))
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked without words").to_owned()
}
