//! Instruction counts of every case, compared with `benches/baseline.toml`.
//!
//! ```sh
//! cargo bench --bench instructions                     # all, judged
//! cargo bench --bench instructions -- shard/echo       # those whose names hold this, shown
//! UPDATE_BASELINE=1 cargo bench --bench instructions   # all, and the baseline renewed
//! ```
//!
//! A run without `--bench`, as `cargo test --all-targets` does it, only shows that the cases work.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks to its terminal")]
#![expect(clippy::disallowed_methods, reason = "it is told by the environment what to do")]

mod cases;
mod count;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cases::Case;
use count::callgrind::{self, Run};
use count::compare::{Baseline, Change, RENEW, Ratio, judge};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Costs that must stay near each other, whatever they are.
const RATIOS: &[Ratio] = &[
    Ratio {
        what: "a delivery of the gateway against one of the library",
        over: "gateway/message-1000",
        under: "shard/pub-1000",
        at_most: 1.15,
    },
    Ratio {
        what: "a room message by REST against one by event",
        over: "gateway/message-1000-by-rest",
        under: "gateway/message-1000",
        at_most: 1.1,
    },
    Ratio {
        what: "members over two cores against all on one",
        over: "mesh/pub-1000-over-2",
        under: "shard/pub-1000",
        at_most: 1.15,
    },
    Ratio {
        what: "a room of 100,000 against one of 1,000",
        over: "shard/pub-100000",
        under: "shard/pub-1000",
        at_most: 1.1,
    },
    Ratio {
        what: "joining a room of 100,000 against one of 1,000",
        over: "rooms/join-100000",
        under: "rooms/join-1000",
        at_most: 1.1,
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    if has(callgrind::FEATURES) {
        println!("{}", callgrind::features());
        return ExitCode::SUCCESS;
    }
    if let [flag, name] = &args[..]
        && flag == callgrind::CHILD
    {
        return child(name);
    }
    if !has("--bench") {
        return smoke();
    }
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let outcome = if wanted.is_empty() { whole() } else { some(&wanted) };
    outcome.unwrap_or_else(|error| {
        eprintln!("instructions: {error}");
        ExitCode::FAILURE
    })
}

fn child(name: &str) -> ExitCode {
    let Some(case) = cases::all().into_iter().find(|case| case.name == name) else {
        eprintln!("no such case: {name}");
        return ExitCode::FAILURE;
    };
    println!("{}", callgrind::child((case.build)()));
    ExitCode::SUCCESS
}

/// Runs each case twice, without counting.
fn smoke() -> ExitCode {
    let cases: Vec<Case> = cases::all().into_iter().filter(|case| !case.heavy).collect();
    for case in &cases {
        let mut live = (case.build)();
        for _ in 0..2 {
            live.prepare();
            live.run();
        }
    }
    println!("{} cases run", cases.len());
    ExitCode::SUCCESS
}

fn wants_update() -> bool {
    std::env::var("UPDATE_BASELINE").is_ok_and(|value| value == "1")
}

/// Counts of some cases, shown.
fn some(wanted: &[&String]) -> Result<ExitCode, String> {
    if wants_update() {
        return Err(format!("a baseline is renewed as a whole: {RENEW}"));
    }
    let mut cases = cases::all();
    cases.retain(|case| wanted.iter().any(|part| case.name.contains(part.as_str())));
    let runs = count_all(&cases)?;
    report(&cases, &runs, &read_baseline()?);
    for case in &cases {
        println!("profile: {}", callgrind::profile(case.name).display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Counts of all cases, judged or made the baseline.
fn whole() -> Result<ExitCode, String> {
    let cases = cases::all();
    let here = callgrind::made_with(&program()?)?;
    let runs = count_all(&cases)?;
    let baseline = read_baseline()?;
    let (counts, sends) = report(&cases, &runs, &baseline);
    let in_counts = RATIOS.iter().filter_map(|ratio| ratio.failure("instructions", &counts));
    let in_sends = RATIOS.iter().filter_map(|ratio| ratio.failure("sends", &sends));
    let too_great: Vec<String> = in_counts.chain(in_sends).collect();
    let update = wants_update();
    let judgement = judge(&baseline, &here, &counts);
    if update {
        let renewed = Baseline { made_with: here, instructions: counts };
        std::fs::write(baseline_path(), renewed.render()).map_err(|error| error.to_string())?;
        println!("renewed: benches/baseline.toml");
    } else {
        for hint in &judgement.hints {
            println!("{hint}");
        }
    }
    let judged = if update { &[] } else { &judgement.failures[..] };
    for failure in judged.iter().chain(&too_great) {
        println!("FAILED: {failure}");
    }
    let failed = !judged.is_empty() || !too_great.is_empty();
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn program() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("this program cannot find itself: {error}"))
}

fn baseline_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/baseline.toml")
}

fn read_baseline() -> Result<Baseline, String> {
    match std::fs::read_to_string(baseline_path()) {
        Ok(text) => Baseline::parse(&text),
        Err(error) => {
            println!("benches/baseline.toml cannot be read ({error}); make it with {RENEW}");
            Ok(Baseline::default())
        }
    }
}

/// Counts the cases, one process a CPU at a time; those that take long first.
fn count_all(cases: &[Case]) -> Result<Vec<Run>, String> {
    let program = program()?;
    let mut order: Vec<usize> = (0..cases.len()).collect();
    order.sort_by_key(|at| !cases[*at].heavy);
    let next = AtomicUsize::new(0);
    let found: Mutex<BTreeMap<usize, Result<Run, String>>> = Mutex::default();
    let work = || {
        while let Some(at) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            let run = callgrind::count(&program, cases[*at].name);
            found.lock().expect("nobody panics with it").insert(*at, run);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    found.into_inner().expect("nobody panics with it").into_values().collect()
}

/// Figures a unit, by case.
type Figures = BTreeMap<String, f64>;

/// Prints a line a case and a line a ratio; gives back instructions and, where there are any,
/// sends.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn report(cases: &[Case], runs: &[Run], baseline: &Baseline) -> (Figures, Figures) {
    let (mut counts, mut all_sends) = (Figures::new(), Figures::new());
    println!(
        "{:<34} {:>12} {:>12} {:>8}  {:<12}",
        "case", "instructions", "baseline", "change", "for one"
    );
    for (case, run) in cases.iter().zip(runs) {
        let units = f64::from(case.units);
        // As precise as the file, so that what was written compares equal.
        let count = (run.instructions as f64 / units * 10.0).round() / 10.0;
        let known = baseline.instructions.get(case.name).copied();
        let change = match Change::of(count, known) {
            Change::New => String::from("new"),
            Change::Same(percent) | Change::Grown(percent) | Change::Shrunk(percent) => {
                format!("{percent:+.1} %")
            }
        };
        let known = known.map_or_else(|| String::from("-"), |known| format!("{known:.1}"));
        let (sends, reads) = (run.tally.sends as f64 / units, run.tally.clock_reads as f64 / units);
        let host = if reads > 0.0 {
            format!("  sends {sends:.2}, clock reads {reads:.2}")
        } else {
            String::new()
        };
        println!(
            "{:<34} {count:>12.1} {known:>12} {change:>8}  {:<12}{host}",
            case.name, case.unit
        );
        counts.insert(case.name.to_owned(), count);
        if run.tally.sends > 0 {
            all_sends.insert(case.name.to_owned(), sends);
        }
    }
    for ratio in RATIOS {
        let Some(found) = ratio.of(&counts) else { continue };
        let sends = ratio.of(&all_sends);
        let sends = sends.map(|found| format!(", {found:.3} in sends")).unwrap_or_default();
        println!("{}: {found:.3}{sends} (at most {})", ratio.what, ratio.at_most);
    }
    (counts, all_sends)
}
