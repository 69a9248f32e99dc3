//! From rounds to the table: ratios paired by round, since a machine drifts and a ratio less so.

use std::fmt::Write;

use super::results::{Results, Row};
use super::server::Which;
use super::workloads::{self, Measure, Workload};

/// How one server stands to Corewire in one measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    /// The median of the ratios of each round: how many times better Corewire is (below 1: worse).
    pub median: f64,
    /// The ratio of the best round of each, whichever round that was.
    pub best_of: f64,
    /// (greatest - least) / median of the ratios of each round.
    pub spread: f64,
    /// Rounds that both ran in.
    pub rounds: usize,
    /// In some round the client was the limit of one of them: what it says of rates is the client's.
    pub is_clients: bool,
    /// In some round other programs ran beside one of them.
    pub is_disturbed: bool,
}

/// The figure of a measure in a row: less is better, so a rate is turned round.
fn cost(row: &Row, measure: Measure) -> Option<f64> {
    let cost = match measure {
        Measure::Cpu => row.cpu_us,
        Measure::Memory => row.anon_bytes,
        Measure::Rate => Some(1.0 / row.rate),
    };
    cost.filter(|cost| cost.is_finite() && *cost > 0.0)
}

fn median(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(upper, sorted[sorted.len() / 2 - 1]))
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Compares a server with Corewire over the rounds of a workload that both ran in; `None` if
/// there is no such round.
#[must_use]
pub fn ratio(rows: &[Row], workload: &str, server: Which, measure: Measure) -> Option<Ratio> {
    let of = |which: Which| {
        rows.iter().filter(move |row| row.workload == workload && row.server == which)
    };
    let mut pairs = Vec::new();
    let (mut is_clients, mut is_disturbed) = (false, false);
    for ours in of(Which::Corewire) {
        let Some(theirs) = of(server).find(|row| row.round == ours.round) else { continue };
        let (Some(our_cost), Some(their_cost)) = (cost(ours, measure), cost(theirs, measure))
        else {
            continue;
        };
        is_clients |= ours.client_was_the_limit || theirs.client_was_the_limit;
        is_disturbed |= ours.is_disturbed() || theirs.is_disturbed();
        pairs.push((our_cost, their_cost));
    }
    let ratios = sorted(pairs.iter().map(|(ours, theirs)| theirs / ours));
    let median = median(&ratios)?;
    let least = |costs: Vec<f64>| costs.first().copied();
    let our_best = least(sorted(pairs.iter().map(|pair| pair.0)))?;
    let their_best = least(sorted(pairs.iter().map(|pair| pair.1)))?;
    Some(Ratio {
        median,
        best_of: their_best / our_best,
        spread: (ratios.last()? - ratios.first()?) / median,
        rounds: ratios.len(),
        is_clients: is_clients && measure == Measure::Rate,
        is_disturbed: is_disturbed && measure == Measure::Rate,
    })
}

/// All of it as Markdown: what it is, the ratios, the figures they were made of.
#[must_use]
pub fn markdown(results: &Results) -> String {
    let mut text = String::new();
    put(&mut text, &heading(results));
    put(&mut text, &ratios(results));
    put(&mut text, &floor(results));
    put(&mut text, &figures(results));
    text
}

fn put(text: &mut String, part: &str) {
    if !part.is_empty() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(part);
    }
}

fn heading(results: &Results) -> String {
    let machine = &results.machine;
    let versions: Vec<String> =
        results.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    format!(
        "{}, {} CPUs, Linux {}; servers on CPU {}, client on CPU {}, loopback; 64-byte payloads.\n\
         {}.\n",
        machine.cpu,
        machine.cpus,
        machine.kernel,
        results.server_core,
        results.client_core,
        versions.join(", ")
    )
}

/// Workloads that have rows, in the order of the table.
fn measured(results: &Results) -> impl Iterator<Item = &'static Workload> {
    workloads::ALL
        .iter()
        .filter(|workload| results.rows.iter().any(|row| row.workload == workload.name))
}

fn ratios(results: &Results) -> String {
    let others = [Which::Socketioxide, Which::Socketio, Which::Gateway];
    let ran = |server: &Which| results.rows.iter().any(|row| row.server == *server);
    let servers: Vec<Which> = others.into_iter().filter(ran).collect();
    if servers.is_empty() || !ran(&Which::Corewire) {
        return String::new();
    }
    let titles: Vec<_> = servers.iter().map(|server| server.title()).collect();
    let mut text = format!(
        "How many times better Corewire's library is: CPU and memory, their cost over ours; rate, \
         ours over theirs. The median of the ratios of each round (best-of: best round over best \
         round; spread: greatest less least, over the median; rounds).\n\n\
         | | compared | {} |\n| --- | --- |{}\n",
        titles.join(" | "),
        " --- |".repeat(servers.len())
    );
    for workload in measured(results) {
        for measure in workload.measures {
            let cells: Vec<String> = servers
                .iter()
                .map(|server| ratio(&results.rows, workload.name, *server, *measure))
                .map(|found| shown(found.as_ref(), ratio_cell))
                .collect();
            text.push_str(&format!(
                "| {} (`{}`) | {} | {} |\n",
                workload.what,
                workload.name,
                measure.name(workload.operation),
                cells.join(" | ")
            ));
        }
    }
    if results.rows.iter().any(|row| row.client_was_the_limit) {
        text.push_str(
            "\n\\* The client, not the server, was the limit in at least one of the runs: the \
             ratio of rates is the client's, and only the CPU for an operation counts.\n",
        );
    }
    if results.rows.iter().any(Row::is_disturbed) {
        text.push_str(
            "\n\u{2020} Other programs took over 5 % of the two CPUs in at least one of the runs: \
             the ratio of rates is partly theirs.\n",
        );
    }
    text
}

fn ratio_cell(found: &Ratio) -> String {
    format!(
        "**{:.2}**{}{} ({:.2}; {:.0} %; {})",
        found.median,
        if found.is_clients { " \\*" } else { "" },
        if found.is_disturbed { " \u{2020}" } else { "" },
        found.best_of,
        100.0 * found.spread,
        found.rounds
    )
}

/// The other way round: what a server's operation costs, in bare sends.
fn floor(results: &Results) -> String {
    let mut text = String::new();
    for workload in measured(results).filter(|workload| workload.has_floor) {
        for server in Which::ALL.into_iter().filter(|which| *which != Which::Bare) {
            // Paired with the floor as if that were ours: their cost over the floor's.
            let rows: Vec<Row> =
                results.rows.iter().filter_map(|row| as_base(row, server)).collect();
            let found = ratio(&rows, workload.name, Which::Bare, Measure::Cpu);
            let Some(found) = found else { continue };
            writeln!(
                text,
                "| `{}` | {} | {:.2} | {:.2} | {:.0} % | {} |",
                workload.name,
                server.title(),
                found.median,
                found.best_of,
                100.0 * found.spread,
                found.rounds
            )
            .unwrap_or_default();
        }
    }
    if text.is_empty() {
        return text;
    }
    format!(
        "CPU for an operation over that of bare system calls (one `recv` for what came, one \
         `send(2)` for each frame, the same bytes) in the same round:\n\n\
         | workload | server | median | best-of | spread | rounds |\n\
         | --- | --- | --- | --- | --- | --- |\n{text}"
    )
}

/// The floor's rows in Corewire's place, and those of one server; nothing else.
fn as_base(row: &Row, server: Which) -> Option<Row> {
    let mut row = row.clone();
    match row.server {
        Which::Bare => row.server = Which::Corewire,
        // A place that no server of `Which` has but the floor, which has just left it.
        which if which == server => row.server = Which::Bare,
        _ => return None,
    }
    Some(row)
}

fn figures(results: &Results) -> String {
    let mut text = String::from(
        "Medians of the rounds (best in brackets):\n\n\
         | workload | server | rounds | operations/s | CPU-us/operation | the kernel's of it | server busy | \
         client busy | p50 | p99 | memory/connection | faults | others |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for workload in measured(results) {
        for server in Which::ALL {
            let rows: Vec<&Row> = results
                .rows
                .iter()
                .filter(|row| row.workload == workload.name && row.server == server)
                .collect();
            if !rows.is_empty() {
                text.push_str(&figures_line(workload, server, &rows));
            }
        }
    }
    text
}

fn figures_line(workload: &Workload, server: Which, rows: &[&Row]) -> String {
    let all =
        |figure: &dyn Fn(&Row) -> Option<f64>| sorted(rows.iter().filter_map(|row| figure(row)));
    let rates = all(&|row| Some(row.rate));
    let cpu = all(&|row| row.cpu_us);
    let limit = rows.iter().any(|row| row.client_was_the_limit);
    let percent = |shares: &[f64]| shown(median(shares), |share| format!("{:.0} %", 100.0 * share));
    let memory_only = workload.measures == [Measure::Memory];
    // With few connections it is the server's start that is divided by their number.
    let memory = median(&all(&|row| row.anon_bytes)).filter(|_| memory_only);
    let unless_idle = |cell: String| if memory_only { String::from("-") } else { cell };
    let rate_cell = format!(
        "{} ({}){}",
        shown(median(&rates), scaled),
        shown(rates.last().copied(), scaled),
        if limit { " \\*" } else { "" }
    );
    let cpu_cell = format!(
        "{} ({})",
        shown(median(&cpu), |us| format!("{us:.2}")),
        shown(cpu.first().copied(), |us| format!("{us:.2}"))
    );
    format!(
        "| `{}` | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
        workload.name,
        server.title(),
        rows.len(),
        unless_idle(rate_cell),
        unless_idle(cpu_cell),
        unless_idle(percent(&all(&|row| row.kernel_share))),
        percent(&all(&|row| row.server_busy)),
        percent(&all(&|row| Some(row.client_busy))),
        unless_idle(shown(median(&all(&|row| Some(row.p50_us))), micros)),
        unless_idle(shown(median(&all(&|row| Some(row.p99_us))), micros)),
        shown(memory, |bytes| format!("{:.2} KiB", bytes / 1024.0)),
        rows.iter().map(|row| row.faults).sum::<u64>(),
        percent(&all(&|row| Some(row.others)))
    )
}

fn shown<T>(value: Option<T>, how: impl Fn(T) -> String) -> String {
    value.map_or_else(|| String::from("-"), how)
}

/// A rate with a prefix.
fn scaled(rate: f64) -> String {
    match rate {
        rate if rate >= 1e6 => format!("{:.2} M", rate / 1e6),
        rate if rate >= 1e4 => format!("{:.0} k", rate / 1e3),
        rate => format!("{rate:.0}"),
    }
}

/// A latency with its unit.
fn micros(us: f64) -> String {
    if us >= 1e3 { format!("{:.1} ms", us / 1e3) } else { format!("{us:.0} us") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::results::tests::row;
    use std::collections::BTreeMap;

    /// Rounds in which all drifts by the same factor, and one in which the peer had bad luck.
    fn rounds() -> Vec<Row> {
        let mut rows = Vec::new();
        for (round, (drift, bad_luck)) in [(1.0, 1.0), (2.0, 1.0), (1.5, 2.0)].iter().enumerate() {
            let round = u32::try_from(round).unwrap();
            rows.push(row("echo-c100", round, Which::Corewire, 4.0 * drift));
            rows.push(row("echo-c100", round, Which::Socketioxide, 8.0 * drift * bad_luck));
            rows.push(row("echo-c100", round, Which::Bare, 3.2 * drift));
        }
        rows
    }

    #[test]
    fn drift_cancels_and_one_bad_round_does_not_move_the_median() {
        let found = ratio(&rounds(), "echo-c100", Which::Socketioxide, Measure::Cpu).unwrap();
        assert!((found.median - 2.0).abs() < 1e-9, "{found:?}");
        assert!((found.best_of - 2.0).abs() < 1e-9, "{found:?}");
        assert!((found.spread - 1.0).abs() < 1e-9, "{found:?}");
        assert_eq!((found.rounds, found.is_clients), (3, false));
    }

    #[test]
    fn rates_are_ours_over_theirs_and_marked_if_the_client_was_the_limit() {
        let mut rows = rounds();
        rows[0].client_was_the_limit = true;
        let found = ratio(&rows, "echo-c100", Which::Socketioxide, Measure::Rate).unwrap();
        assert!((found.median - 2.0).abs() < 1e-9);
        assert!(found.is_clients);
        let found = ratio(&rows, "echo-c100", Which::Socketioxide, Measure::Cpu).unwrap();
        assert!(!found.is_clients, "the CPU of an operation counts all the same");
    }

    #[test]
    fn rounds_are_paired_by_their_number_only() {
        let mut rows = rounds();
        rows.retain(|row| row.server == Which::Corewire || row.round == 2);
        let found = ratio(&rows, "echo-c100", Which::Socketioxide, Measure::Cpu).unwrap();
        assert_eq!(found.rounds, 1);
        assert!((found.median - 4.0).abs() < 1e-9);
        assert_eq!(ratio(&rows, "echo-c100", Which::Socketio, Measure::Cpu), None);
        assert_eq!(ratio(&rows, "other", Which::Socketioxide, Measure::Cpu), None);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), Some(3.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn the_floor_is_told_the_other_way_round() {
        let mut results = Results::new(BTreeMap::new(), 0, 1);
        results.rows = rounds();
        let text = markdown(&results);
        let floor = text.lines().find(|line| line.starts_with("| `echo-c100` | Corewire | 1.25 |"));
        assert!(floor.is_some(), "{text}");
        assert!(text.contains("| CPU a round trip | **2.00** (2.00; 100 %; 3) |"), "{text}");
        assert!(text.contains("| `echo-c100` | socketioxide | 3 |"), "{text}");
    }
}
