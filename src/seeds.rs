//! Which seeds a test runs: its own, or those that whoever runs it asks for.
#![expect(clippy::disallowed_methods, reason = "seeds that nobody has run come from outside")]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs so many seeds from 0 on; the first one that fails is named. True if these were run, of
/// which the test may expect more than that they hold.
///
/// `SIM_SEED` and `SIM_COUNT` ask for other ones, as of `tests/sim.rs`.
pub(crate) fn run_seeds(fixed: u64, mut run: impl FnMut(u64)) -> bool {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let asked = number("SIM_SEED");
    let first = asked.unwrap_or(0);
    let count = asked.map_or(fixed, |_| number("SIM_COUNT").unwrap_or(1));
    for seed in (0..count).map(|more| first.wrapping_add(more)) {
        if let Err(why) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            println!("seed {seed} fails; SIM_SEED={seed} runs it again");
            resume_unwind(why);
        }
    }
    if asked.is_some() {
        println!("{count} seeds from {first} hold");
    }
    asked.is_none()
}
