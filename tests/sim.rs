//! Many seeds through the simulator. A seed that fails is made smaller, and what is left of it is
//! printed as a line that runs it again:
//!
//! ```sh
//! SIM_SCRIPT="42 clients=0,2 acts=0.3,w.1" cargo test --test sim replay -- --nocapture
//! SIM_SEED=42 SIM_COUNT=1000 cargo test --test sim replay      # seeds from there on
//! ```
#![expect(
    clippy::disallowed_methods,
    reason = "fresh seeds come from the clock, and from whoever replays one"
)]

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use corewire::sim::{Failure, Mutant, Report, Script, attempt, shrink};

/// Seeds that once failed, and of what.
const SEEDS: &[(u64, &str)] = &[
    (
        1_795_898_995_269_642_259,
        "cores that stood still and a client that did not read made an upgrade take 1,513 of the \
     1,500 ms it may, and the client was not to be told so",
    ),
    (
        1_795_917_966_152_292_007,
        "a connection that was cut for being slow, half an answer unsent, moved to another core before \
     the flush closed it, and the next answer followed the half",
    ),
];

/// What goes wrong in the fixed seeds, each several times.
const FAULTS: [&str; 16] = [
    "reset before it was accepted",
    "reset",
    "reset between cores",
    "reset before it moved",
    "reset in the middle of a write",
    "reset in the middle of a request",
    "a move that waits for a write",
    "moved after its client had gone",
    "moved with what was read",
    "cut before it moved",
    "a connection refused",
    "a write that failed",
    "a late batch",
    "a core that stood still",
    "a clock that jumped",
    "a clock that went back",
];

/// Seeds that always run, from 0.
const FIXED: u64 = 1_000;

/// Seeds in which a mutant must show.
const MUTANT_SEEDS: u64 = 300;

/// Time one seed may take: a core that never returns must not go unnamed either.
const SEED_TIME: Duration = Duration::from_secs(60);

/// One failure is made smaller at a time: what panics on the way there is nobody's news.
static SHRINKING: Mutex<()> = Mutex::new(());

/// Runs that making a failure smaller may take.
const SHRINK_RUNS: usize = 600;

/// Runs a script apart, so that one that never returns has a name too.
fn apart(script: &Script) -> Result<Report, Box<Failure>> {
    let (send, receive) = mpsc::channel();
    let own = script.clone();
    std::thread::spawn(move || {
        // Whoever waits for it may have given up.
        let _late = send.send(attempt(&own));
    });
    receive.recv_timeout(SEED_TIME).unwrap_or_else(|_| {
        Err(Box::new(Failure { why: String::from("it hangs"), acts: Vec::new(), clients: 0 }))
    })
}

/// Runs a seed; a failure is made smaller and named.
fn run_seed(seed: u64) -> Report {
    let script = Script::of(seed);
    match apart(&script) {
        Ok(report) => report,
        Err(failure) => panic!("{}", smaller(&script, &failure)),
    }
}

/// The smallest failure of a script, with the line that runs it again.
fn smaller(script: &Script, failure: &Failure) -> String {
    // Every try says on the error stream what it panicked of.
    let one = SHRINKING.lock().unwrap_or_else(PoisonError::into_inner);
    std::panic::set_hook(Box::new(|_| {}));
    let small = shrink(script, SHRINK_RUNS, |script| apart(script).err().map(|why| *why));
    drop(std::panic::take_hook());
    drop(one);
    let (script, failure) = small.unwrap_or_else(|| (script.clone(), failure.clone()));
    let acts = failure.acts.iter().map(|(act, what)| format!("\n    {act} {what}"));
    let acts: String = acts.collect();
    format!(
        "{}\n  what was done:{acts}\n  SIM_SCRIPT=\"{script}\" cargo test --test sim replay -- --nocapture",
        failure.why
    )
}

#[test]
fn fixed_seeds_hold_and_cover_what_they_are_for() {
    let mut all: Option<Report> = None;
    let mut traces = BTreeSet::new();
    for seed in 0..FIXED {
        let report = run_seed(seed);
        traces.insert(report.trace);
        match &mut all {
            None => all = Some(report),
            Some(all) => {
                all.steps += report.steps;
                all.delivered += report.delivered;
                all.answers += report.answers;
                all.counters.merge(&report.counters);
                for (fault, count) in report.faults {
                    *all.faults.entry(fault).or_default() += count;
                }
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
    for (fault, count) in &all.faults {
        println!("{count:9} {fault}");
    }
    for fault in FAULTS {
        let count = all.faults.get(fault).copied().unwrap_or_default();
        assert!(count > 0, "only {count} of {fault}: the simulator stopped doing it");
    }
    for (what, count) in covered {
        println!("{count:9} {what}");
        assert!(count >= FIXED / 20, "only {count} {what}: the simulator stopped covering it");
    }
}

#[test]
fn seeds_that_once_failed_hold() {
    for (seed, why) in SEEDS {
        println!("seed {seed}: {why}");
        let _report = run_seed(*seed);
    }
}

#[test]
fn a_seed_replays_to_the_last_byte_and_its_neighbour_differs() {
    for seed in [7, 1_000_003, u64::MAX - 1] {
        assert_eq!(run_seed(seed), run_seed(seed), "seed {seed} does not replay");
        assert_ne!(run_seed(seed).trace, run_seed(seed + 1).trace, "seed {seed}");
    }
}

/// A server that is wrong on purpose is caught: the checks bite.
#[test]
fn every_mutant_is_caught() {
    for mutant in Mutant::ALL {
        let script = |seed| Script { mutant: Some(mutant), ..Script::of(seed) };
        let caught = (0..MUTANT_SEEDS).find_map(|seed| Some((seed, apart(&script(seed)).err()?)));
        let (seed, failure) = caught.unwrap_or_else(|| panic!("nobody notices a {mutant:?}"));
        let why: String = failure.why.chars().take(100).collect();
        println!("{mutant:?}: seed {seed}: {why}");
    }
}

/// What is left of a failure is small, fails again from its line, and holds without the mutant.
#[test]
fn a_failure_is_made_small_and_its_line_runs_it_again() {
    let script = |seed| Script { mutant: Some(Mutant::LostBatch), ..Script::of(seed) };
    let failing = (0..MUTANT_SEEDS).map(script).find_map(|script| {
        let failure = apart(&script).err()?;
        (failure.acts.len() > 20).then_some((script, failure))
    });
    let (whole, failure) = failing.expect("a lost batch is noticed");
    let fails = |script: &Script| apart(script).err().map(|why| *why);
    let (small, why) = shrink(&whole, SHRINK_RUNS, fails).expect("it failed before");
    println!("{} acts became {}: {small}", failure.acts.len(), why.acts.len());
    assert!(why.acts.len() * 5 <= failure.acts.len(), "{small}");
    let again: Script = small.to_string().parse().expect("a script is read as it is written");
    assert_eq!(apart(&again).expect_err("the line fails again"), Box::new(why));
    let healthy = Script { mutant: None, ..again };
    assert!(apart(&healthy).is_ok(), "the server that is right fails too");
}

#[test]
fn replay() {
    if let Ok(line) = std::env::var("SIM_SCRIPT") {
        let script: Script = line.parse().expect("a script");
        match apart(&script) {
            Ok(report) => println!("it holds: {report:?}"),
            Err(failure) => panic!("{}", smaller(&script, &failure)),
        }
    }
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let Some(seed) = number("SIM_SEED") else { return };
    let count = number("SIM_COUNT").unwrap_or(1);
    for seed in (0..count).map(|more| seed.wrapping_add(more)) {
        let report = run_seed(seed);
        if count == 1 {
            println!("seed {seed}: {report:?}");
        }
    }
    println!("{count} seeds from {seed} hold");
}
