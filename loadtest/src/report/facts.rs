//! What is said of a run in words, the same in a terminal and on a page.

use super::{bytes, count, duration, is_anecdote, quantity, share, timed};
use crate::model::{Latency, Machine, Oracle, Report, Step};

/// How a fact is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should be.
    Good,
    /// The figures of the run are to be doubted, or the run has failed.
    Bad,
    /// Neither.
    Plain,
}

/// A sentence about a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) tone: Tone,
    pub(super) text: String,
}

fn verdict(tone: Tone, text: String) -> Verdict {
    Verdict { tone, text }
}

/// What has to be known before any figure is read; the bad first.
pub(super) fn verdicts(run: &Report) -> Vec<Verdict> {
    let mut said = vec![oracle(&run.oracle), client(run)];
    let failed = run.totals.connect_failures;
    if failed > 0 {
        let text = format!("{} connections were refused or failed.", count(failed));
        said.push(verdict(Tone::Bad, text));
    }
    let broken = run.budget.iter().filter(|line| !line.kept).count();
    let lines = run.budget.len();
    if broken > 0 {
        said.push(verdict(Tone::Bad, format!("Budget broken: {broken} of {lines} lines.")));
    } else if lines > 0 {
        said.push(verdict(Tone::Good, format!("Budget kept: all {lines} lines.")));
    }
    said.sort_by_key(|verdict| verdict.tone != Tone::Bad);
    said
}

/// How many deliveries were not as they should have been.
pub(super) const fn faults(oracle: &Oracle) -> u64 {
    oracle.lost + oracle.doubled + oracle.reordered + oracle.corrupted
}

/// What became of the messages.
pub(super) fn oracle(found: &Oracle) -> Verdict {
    if faults(found) > 0 {
        let parts = [
            (found.lost, "lost"),
            (found.doubled, "doubled"),
            (found.reordered, "reordered"),
            (found.corrupted, "corrupted"),
        ];
        let named = parts.iter().filter(|(n, _)| *n > 0);
        let named: Vec<String> = named.map(|(n, what)| format!("{} {what}", count(*n))).collect();
        let expected = count(found.expected);
        let text = format!("The oracle found {} of {expected} deliveries.", named.join(", "));
        return verdict(Tone::Bad, text);
    }
    if found.expected == 0 {
        let text = "The oracle had nothing to check: no message was owed.".to_owned();
        return verdict(Tone::Plain, text);
    }
    let text =
        format!("All {} deliveries came once, in order and unaltered.", count(found.expected));
    verdict(Tone::Good, text)
}

fn client(run: &Report) -> Verdict {
    let busy = share(run.client.busy);
    if run.client.was_the_limit {
        let text = format!(
            "The client was the limit ({busy} busy): rate and latency are its own. CPU per \
             operation holds."
        );
        return verdict(Tone::Bad, text);
    }
    verdict(Tone::Plain, format!("The client was not the limit: {busy} busy."))
}

/// `fanout, http://127.0.0.1:3001 over websocket, corewire 0.1.0`, in parts.
pub(super) fn subject(run: &Report) -> Vec<String> {
    let target = &run.target;
    let version = match version(run) {
        NOT_TOLD => format!("version {NOT_TOLD}"),
        told => told.to_owned(),
    };
    vec![format!("{} over {}", target.url, target.transport), version]
}

/// Where nobody said what the server is.
const NOT_TOLD: &str = "not told (--server-version)";

/// What the server is.
pub(super) fn version(run: &Report) -> &str {
    let told = run.target.version.as_str();
    if told.is_empty() { NOT_TOLD } else { told }
}

/// What one operation of the run is called: the unit of its rate.
pub(super) const OPERATION: &str = "operations";

/// Sums, as pairs of a name and a figure.
pub(super) fn totals(run: &Report) -> Vec<(&'static str, String)> {
    let totals = &run.totals;
    let failed = match totals.connect_failures {
        0 => String::new(),
        failed => format!(", {} failed", count(failed)),
    };
    let mut rows = vec![
        ("measured", format!("{:.1} s", totals.seconds)),
        ("connections", format!("{}{failed}", count(totals.connections))),
        (OPERATION, format!("{} ({}/s)", count(totals.operations), quantity(totals.rate))),
        (
            "messages",
            format!("{} sent, {} received", count(totals.sent), bytes(totals.bytes_in as f64)),
        ),
    ];
    if let Some(rate) = totals.target_rate {
        rows.push(("asked for", format!("{}/s, open loop", quantity(rate))));
    }
    if let Some(rate) = totals.sustained_rate {
        rows.push(("sustained", format!("{}/s, the greatest rate of the steps", quantity(rate))));
    }
    rows
}

/// The server's process, as pairs; empty if it was not looked at.
pub(super) fn server(run: &Report) -> Vec<(&'static str, String)> {
    let Some(server) = &run.server else { return Vec::new() };
    let cpus = server.cpu_seconds / run.totals.seconds.max(f64::MIN_POSITIVE);
    let each = server.cpu_us_per_operation;
    let each = each.map(|us| format!(", {} an operation", duration(us))).unwrap_or_default();
    let kernel = server.kernel_share;
    let kernel = kernel.map(|share| format!(", {:.0} % in the kernel", 100.0 * share));
    let kernel = kernel.unwrap_or_default();
    let held = server.anon_bytes_per_connection;
    let held = held.map(|size| {
        let doubt = match held_bytes(run) {
            None => " (reused: start a fresh server)",
            Some(_) => "",
        };
        format!(", {} a connection{doubt}", bytes(size))
    });
    let held = held.unwrap_or_default();
    vec![
        ("server CPU", format!("{:.2} s ({cpus:.2} CPUs){each}{kernel}", server.cpu_seconds)),
        (
            "server memory",
            format!(
                "{} before, {} with all connections{held}",
                bytes(server.anon_before_bytes as f64),
                bytes(server.anon_after_bytes as f64)
            ),
        ),
    ]
}

/// A server that takes less than this for a connection had the memory already, from connections
/// before: no server keeps one in so few bytes.
const HELD_MIN: f64 = 128.0;

/// Memory a connection takes of the server, in bytes; none where it was not measured, or on a
/// server that had it already.
pub(super) fn held_bytes(run: &Report) -> Option<f64> {
    let found = run.server.as_ref().and_then(|server| server.anon_bytes_per_connection);
    found.filter(|size| *size >= HELD_MIN)
}

/// The client's side in a line.
pub(super) fn client_line(run: &Report) -> String {
    let client = &run.client;
    let threads = match client.threads {
        1 => "1 thread".to_owned(),
        threads => format!("{threads} threads"),
    };
    let cores: Vec<String> = client.cores.iter().map(usize::to_string).collect();
    let pinned = match cores.len() {
        0 => ", not pinned".to_owned(),
        1 => format!(" on CPU {}", cores[0]),
        _ => format!(" on CPUs {}", cores.join(", ")),
    };
    format!("{threads}{pinned}, the busiest {} busy", share(client.busy))
}

/// Where the run was, as pairs.
pub(super) fn machine(machine: &Machine) -> Vec<(&'static str, String)> {
    let rows = [
        ("CPU", machine.cpu.clone()),
        ("CPUs", machine.cpus.to_string()),
        ("memory", bytes(machine.memory_bytes as f64)),
        ("kernel", machine.kernel.clone()),
        ("congestion control", machine.congestion_control.clone()),
    ];
    rows.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// The head of [`latencies`].
pub(super) const LATENCY_HEAD: [&str; 9] =
    ["latency", "count", "min", "p50", "p90", "p99", "p99.9", "p99.99", "max"];

/// A row a latency. A percentile with fewer than ten values beyond it is marked.
pub(super) fn latencies(run: &Report) -> Vec<Vec<String>> {
    let row = |(name, found): (&str, &Latency)| {
        let percentile = |us: f64, quantile: f64| {
            let mark = if is_anecdote(found, quantile) { "*" } else { " " };
            format!("{}{mark}", duration(us))
        };
        vec![
            super::plots::spoken(name),
            count(found.count),
            duration(found.min),
            percentile(found.p50, 0.5),
            percentile(found.p90, 0.9),
            percentile(found.p99, 0.99),
            percentile(found.p999, 0.999),
            percentile(found.p9999, 0.9999),
            duration(found.max),
        ]
    };
    timed(run).into_iter().map(row).collect()
}

/// What the star behind a percentile means.
pub(super) const ANECDOTE: &str = "* fewer than ten values lie beyond: an anecdote";

/// The head of [`step`].
pub(super) const STEP_HEAD: [&str; 7] =
    ["step: asked", "came", "p50", "p99", "p99.9", "client", "sustained"];

/// A step as a row.
pub(super) fn step(step: &Step) -> Vec<String> {
    let sustained = match (step.sustained, step.why.is_empty()) {
        (true, _) => "yes".to_owned(),
        (false, true) => "no".to_owned(),
        (false, false) => format!("no: {}", step.why),
    };
    vec![
        format!("{}/s", quantity(step.target_rate)),
        format!("{}/s", quantity(step.rate)),
        duration(step.p50),
        duration(step.p99),
        duration(step.p999),
        share(step.client_busy),
        sustained,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_bad_is_said_first() {
        let mut run = sample::slower();
        run.client.was_the_limit = true;
        run.client.busy = 0.98;
        run.totals.connect_failures = 3;
        let said = verdicts(&run);
        assert!(said.iter().all(|verdict| verdict.tone == Tone::Bad));
        let all: Vec<&str> = said.iter().map(|verdict| verdict.text.as_str()).collect();
        assert_eq!(all[0], "The oracle found 2 lost of 20,100,000 deliveries.");
        assert!(all[1].starts_with("The client was the limit (98% busy)"));
        assert_eq!(all[2], "3 connections were refused or failed.");
        assert_eq!(all[3], "Budget broken: 1 of 2 lines.");
    }

    #[test]
    fn a_good_run_says_so_and_one_without_messages_claims_nothing() {
        let mut run = sample::fanout();
        let texts = |run: &Report| -> Vec<(Tone, String)> {
            verdicts(run).into_iter().map(|verdict| (verdict.tone, verdict.text)).collect()
        };
        let good = "All 62,400,000 deliveries came once, in order and unaltered.";
        assert_eq!(texts(&run)[0], (Tone::Good, good.to_owned()));
        run.oracle = Oracle::default();
        assert_eq!(texts(&run)[0].0, Tone::Plain);
    }

    #[test]
    fn memory_that_a_server_had_already_is_doubted() {
        let mut run = sample::fanout();
        let memory = |run: &Report| server(run)[1].1.clone();
        assert!(memory(&run).ends_with("1.74 KiB a connection"), "{}", memory(&run));
        run.server.as_mut().expect("it has one").anon_bytes_per_connection = Some(41.0);
        let said = memory(&run);
        assert!(said.ends_with("41 B a connection (reused: start a fresh server)"), "{said}");
    }

    #[test]
    fn percentiles_of_few_values_are_marked() {
        let rows = latencies(&sample::fanout());
        assert_eq!((rows[0][0].as_str(), rows[1][0].as_str()), ("delivery", "connect"));
        assert!(!rows[0][7].ends_with('*'), "{}", rows[0][7]);
        assert!(!rows[1][5].ends_with('*'), "ten of a thousand lie beyond p99: {}", rows[1][5]);
        assert!(rows[1][6].ends_with('*'), "{}", rows[1][6]);
    }
}
