//! Counts that all cores share keep their limit and end at nothing, whoever comes and goes when.

use std::sync::atomic::{AtomicU64, Ordering};

use corewire::base::{Counted, Rng, SharedCounts};

/// Threads that come and go under few names, in a table so small that names lose their slots to
/// others all the time.
#[test]
fn counts_of_many_threads_keep_their_limit_and_end_at_nothing() {
    const NAMES: usize = 24;
    for round in 0..40 {
        let shared = SharedCounts::new(3, 8, round);
        // What is held at the least: told after it was counted, taken back before it is not.
        let held: Vec<AtomicU64> = (0..NAMES).map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (shared, held) = (&shared, &held);
                scope.spawn(move || come_and_go(shared, held, &mut Rng::new(thread, round)));
            }
        });
        assert_eq!(shared.sum(), 0, "round {round}");
    }
}

fn come_and_go(shared: &SharedCounts, held: &[AtomicU64], rng: &mut Rng) {
    let mut own = Vec::new();
    let leave = |(name, counted): (usize, Counted)| {
        held[name].fetch_sub(1, Ordering::SeqCst);
        shared.remove(counted);
    };
    for _ in 0..5_000 {
        let name = rng.below(held.len());
        if rng.below(2) > 0 {
            if !own.is_empty() {
                leave(own.swap_remove(rng.below(own.len())));
            }
        } else if let Ok(Some(counted)) = shared.add(&[name as u8]) {
            assert!(held[name].fetch_add(1, Ordering::SeqCst) < 3, "name {name}");
            own.push((name, counted));
        }
    }
    own.into_iter().for_each(leave);
}
