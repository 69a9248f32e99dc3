//! Many seeds through the simulator. `SIM_SEED=n cargo test --test sim replay` runs one again;
//! `SIM_COUNT=n` sets how many follow it.
#![expect(
    clippy::disallowed_methods,
    reason = "fresh seeds come from the clock, and from whoever replays one"
)]

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use corewire::sim::{Report, run};

/// Seeds that once failed, and of what.
const SEEDS: &[(u64, &str)] = &[];

/// Seeds that always run, from 0.
const FIXED: u64 = 1_000;
/// Seeds nobody has seen before: at least so many, more while time is left.
const FRESH: u64 = 40;
const FRESH_TIME: Duration = Duration::from_secs(10);

/// Time one seed may take: a core that never returns must not go unnamed either.
const SEED_TIME: Duration = Duration::from_secs(60);

/// Runs a seed; a failure names it.
fn attempt(seed: u64) -> Report {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        // Whoever waits for it may have given up.
        let _late = send.send(catch_unwind(|| run(seed)));
    });
    let outcome = receive.recv_timeout(SEED_TIME);
    let what = match outcome {
        Ok(Ok(report)) => return report,
        Ok(Err(_)) => "failed",
        Err(_) => "hangs",
    };
    panic!("seed {seed} {what}; SIM_SEED={seed} cargo test --test sim replay -- --nocapture");
}

#[test]
fn fixed_seeds_hold_and_cover_what_they_are_for() {
    let mut all: Option<Report> = None;
    let mut traces = BTreeSet::new();
    for seed in 0..FIXED {
        let report = attempt(seed);
        traces.insert(report.trace);
        match &mut all {
            None => all = Some(report),
            Some(all) => {
                all.steps += report.steps;
                all.delivered += report.delivered;
                all.answers += report.answers;
                all.counters.merge(&report.counters);
            }
        }
    }
    assert_eq!(traces.len() as u64, FIXED, "two seeds made the same choices");
    let all = all.expect("there are seeds");
    let counters = &all.counters;
    // What never happens is not tested. Each of these was seen to happen hundreds of times.
    let covered = [
        ("messages delivered", all.delivered),
        ("events answered", all.answers),
        ("connections moved to their session's core", counters.handovers_out),
        ("transports changed", counters.upgrades_completed),
        ("changes of transport that failed", counters.upgrades_failed),
        ("polls that met another", counters.polls_duplicate),
        ("messages between cores", counters.mesh_messages_in),
        ("messages between cores in vain", counters.mesh_useless),
        ("inboxes that were full", counters.mesh_full),
        ("reading that was stopped", counters.overload_pauses),
        ("clients too slow", counters.slow_consumers),
        ("volatile messages dropped", counters.volatile_dropped),
        ("acks that were late", counters.acks_timed_out),
        ("handlers that panicked", counters.handler_panics),
        ("packets that made no sense", counters.parse_errors),
    ];
    println!("{} steps", all.steps);
    for (what, count) in covered {
        println!("{count:9} {what}");
        assert!(count >= FIXED / 20, "only {count} {what}: the simulator stopped covering it");
    }
}

#[test]
fn seeds_that_once_failed_hold() {
    for (seed, why) in SEEDS {
        println!("seed {seed}: {why}");
        let _report = attempt(*seed);
    }
}

#[test]
fn a_seed_replays_to_the_last_byte_and_its_neighbour_differs() {
    for seed in [7, 1_000_003, u64::MAX - 1] {
        assert_eq!(attempt(seed), attempt(seed), "seed {seed} does not replay");
        assert_ne!(attempt(seed).trace, attempt(seed + 1).trace, "seed {seed}");
    }
}

#[test]
fn fresh_seeds_hold() {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let first = u64::try_from(clock.as_nanos() % (1 << 62)).expect("62 bits");
    let began = Instant::now();
    let mut count = 0;
    while count < FRESH || began.elapsed() < FRESH_TIME {
        let _report = attempt(first + count);
        count += 1;
    }
    println!("seeds {first} to {}", first + count - 1);
}

#[test]
fn replay() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let Some(seed) = number("SIM_SEED") else { return };
    for seed in seed..seed + number("SIM_COUNT").unwrap_or(1) {
        println!("seed {seed}: {:?}", attempt(seed));
    }
}
