//! Budget files: what a run must keep, a line each, so that a build can fail on a figure.
//!
//! ```text
//! # A comment.
//! p99 <= 5ms
//! round_trip.p99.9 <= 20 ms
//! lost == 0
//! rate >= 10k
//! cpu_us_per_operation <= 6
//! memory_per_connection <= 2KiB
//! ```
//!
//! A bare percentile is that of the scenario's main latency. Whatever a line asks for and the run
//! did not measure breaks that line: a budget that nobody measured is not kept.

use std::fmt;

use crate::model::{BudgetLine, Latency, Report};
use crate::report;

/// What a figure is measured in, and so which units its bound may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// Microseconds; a bound names its unit.
    Time,
    /// Microseconds; a bound may be bare, since the metric's name holds the unit.
    Microseconds,
    /// Bytes; a bound names its unit.
    Bytes,
    /// Things, or things a second.
    Count,
    /// 0 to 1, or per cent.
    Share,
}

impl Unit {
    /// Suffixes and what they multiply by; the first is what is found is shown in where a bound
    /// has none.
    const fn suffixes(self) -> &'static [(&'static str, f64)] {
        const KIB: f64 = 1024.0;
        match self {
            Self::Time => &[("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)],
            Self::Microseconds => &[("", 1.0), ("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)],
            Self::Bytes => {
                &[("B", 1.0), ("KiB", KIB), ("MiB", KIB * KIB), ("GiB", KIB * KIB * KIB)]
            }
            Self::Count => &[("", 1.0), ("k", 1e3), ("M", 1e6)],
            Self::Share => &[("", 1.0), ("%", 0.01)],
        }
    }

    const fn help(self) -> &'static str {
        match self {
            Self::Time => "a time with its unit: us, ms or s, as in 5ms",
            Self::Microseconds => "microseconds, as in 6 or 6us",
            Self::Bytes => "a size with its unit: B, KiB, MiB or GiB, as in 2KiB",
            Self::Count => "a number, with k or M behind it if it is large, as in 10k",
            Self::Share => "a share, as in 0.9 or 90%",
        }
    }
}

type Read = fn(&Report) -> Option<f64>;

/// Every metric that is not a percentile: name, unit, and where it stands in a report.
const SCALARS: &[(&str, Unit, Read)] = &[
    ("rate", Unit::Count, |run| Some(run.totals.rate)),
    ("sustained_rate", Unit::Count, |run| run.totals.sustained_rate),
    ("operations", Unit::Count, |run| Some(run.totals.operations as f64)),
    ("sent", Unit::Count, |run| Some(run.totals.sent as f64)),
    ("connections", Unit::Count, |run| Some(run.totals.connections as f64)),
    ("connect_failures", Unit::Count, |run| Some(run.totals.connect_failures as f64)),
    ("expected", Unit::Count, |run| Some(run.oracle.expected as f64)),
    ("delivered", Unit::Count, |run| Some(run.oracle.delivered as f64)),
    ("lost", Unit::Count, |run| Some(run.oracle.lost as f64)),
    ("doubled", Unit::Count, |run| Some(run.oracle.doubled as f64)),
    ("reordered", Unit::Count, |run| Some(run.oracle.reordered as f64)),
    ("corrupted", Unit::Count, |run| Some(run.oracle.corrupted as f64)),
    ("client_busy", Unit::Share, |run| Some(run.client.busy)),
    ("cpu_us_per_operation", Unit::Microseconds, |run| {
        run.server.as_ref().and_then(|server| server.cpu_us_per_operation)
    }),
    ("memory_per_connection", Unit::Bytes, report::memory_per_connection),
];

type ReadLatency = fn(&Latency) -> f64;

/// Every figure of a latency, in microseconds but for `count`.
const STATISTICS: &[(&str, Unit, ReadLatency)] = &[
    ("count", Unit::Count, |found| found.count as f64),
    ("min", Unit::Time, |found| found.min),
    ("mean", Unit::Time, |found| found.mean),
    ("p50", Unit::Time, |found| found.p50),
    ("p90", Unit::Time, |found| found.p90),
    ("p99", Unit::Time, |found| found.p99),
    ("p99.9", Unit::Time, |found| found.p999),
    ("p99.99", Unit::Time, |found| found.p9999),
    ("max", Unit::Time, |found| found.max),
];

type Compare = fn(f64, f64) -> bool;

/// The longer ones first: `<` begins `<=`.
const COMPARISONS: &[(&str, Compare)] = &[
    ("<=", |found, bound| found <= bound),
    (">=", |found, bound| found >= bound),
    ("==", |found, bound| found == bound),
    ("!=", |found, bound| found != bound),
    ("<", |found, bound| found < bound),
    (">", |found, bound| found > bound),
];

/// Where the figure of a line is found.
#[derive(Clone, Debug)]
enum Metric {
    Scalar { name: &'static str, read: Read },
    Latency { of: Option<String>, read: ReadLatency },
}

/// A line of a budget file.
#[derive(Clone, Debug)]
struct Line {
    text: String,
    metric: Metric,
    compare: Compare,
    /// In the metric's own unit: microseconds, bytes, things, 0 to 1.
    bound: f64,
    /// The unit of the bound, and what it multiplies by.
    suffix: &'static str,
    size: f64,
}

/// What a run must keep.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    lines: Vec<Line>,
}

/// A line of a budget file that says nothing we can check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetError {
    /// Its number in the file, from 1.
    pub line: usize,
    /// The line as it stands there.
    pub text: String,
    /// What is wrong with it, and what would be right.
    pub why: String,
}

impl fmt::Display for BudgetError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "budget line {}, `{}`: {}", self.line, self.text, self.why)
    }
}

impl std::error::Error for BudgetError {}

impl Budget {
    /// Reads a budget file.
    ///
    /// # Errors
    ///
    /// [`BudgetError`] for the first wrong line: it names the line and what is allowed there.
    pub fn parse(text: &str) -> Result<Self, BudgetError> {
        let mut lines = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let stated = line.split('#').next().unwrap_or_default().trim();
            if stated.is_empty() {
                continue;
            }
            let read = parse_line(stated);
            lines.push(read.map_err(|why| BudgetError {
                line: at + 1,
                text: stated.to_owned(),
                why,
            })?);
        }
        Ok(Self { lines })
    }

    /// What came of each line in a run.
    #[must_use]
    pub fn check(&self, run: &Report) -> Vec<BudgetLine> {
        self.lines.iter().map(|line| line.check(run)).collect()
    }
}

/// Whether every line was kept.
#[must_use]
pub fn passed(lines: &[BudgetLine]) -> bool {
    lines.iter().all(|line| line.kept)
}

impl Line {
    fn check(&self, run: &Report) -> BudgetLine {
        let (found, kept) = match self.metric.find(run) {
            Ok(found) => (self.show(found), (self.compare)(found, self.bound)),
            Err(why) => (why, false),
        };
        BudgetLine { text: self.text.clone(), found, kept }
    }

    /// What was found, in the unit of the bound.
    fn show(&self, found: f64) -> String {
        let figure = found / self.size;
        let digits = match figure.abs() {
            _ if figure.fract() == 0.0 => 0,
            size if size < 10.0 => 3,
            size if size < 1000.0 => 1,
            _ => 0,
        };
        let gap = if matches!(self.suffix, "" | "%") { "" } else { " " };
        format!("{figure:.digits$}{gap}{}", self.suffix)
    }
}

impl Metric {
    fn find(&self, run: &Report) -> Result<f64, String> {
        match self {
            Self::Scalar { name, read } => read(run).ok_or_else(|| absent(name)),
            Self::Latency { of: None, read } => match report::main_latency(run) {
                Some((_, found)) => Ok(read(found)),
                None => Err(format!("this run timed nothing of its own; it has {}", known(run))),
            },
            Self::Latency { of: Some(name), read } => match run.latencies.get(name) {
                Some(found) if found.count > 0 => Ok(read(found)),
                _ => Err(format!("no latency `{name}` in this run; it has {}", known(run))),
            },
        }
    }
}

/// Why a scalar may be missing.
fn absent(name: &str) -> String {
    match name {
        "sustained_rate" => "not measured: the scenario has no [steps]".to_owned(),
        "memory_per_connection" => {
            "not measured: start a fresh server, and give its process id with --pid".to_owned()
        }
        _ => "not measured: give the server's process id with --pid".to_owned(),
    }
}

fn known(run: &Report) -> String {
    let seen = run.latencies.iter().filter(|(_, found)| found.count > 0);
    let names: Vec<&str> = seen.map(|(name, _)| name.as_str()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn parse_line(text: &str) -> Result<Line, String> {
    let found = COMPARISONS
        .iter()
        .filter_map(|(sign, compare)| text.find(sign).map(|at| (at, *sign, *compare)));
    // The leftmost, and of those at one place the longest, which the table has first.
    let Some((at, sign, compare)) = found.min_by_key(|(at, ..)| *at) else {
        return Err(
            "a line is a metric, one of <= < >= > == != and a bound, as in p99 <= 5ms".to_owned()
        );
    };
    let (metric, unit) = parse_metric(text[..at].trim())?;
    let (bound, suffix, size) = parse_bound(text[at + sign.len()..].trim(), unit)?;
    Ok(Line { text: text.to_owned(), metric, compare, bound, suffix, size })
}

fn parse_metric(name: &str) -> Result<(Metric, Unit), String> {
    if let Some((name, unit, read)) = SCALARS.iter().find(|(known, ..)| *known == name) {
        return Ok((Metric::Scalar { name, read: *read }, *unit));
    }
    let (of, statistic) = match STATISTICS.iter().any(|(known, ..)| *known == name) {
        true => (None, name),
        // The first dot parts them: the statistic may have one of its own.
        false => match name.split_once('.') {
            Some((of, statistic)) if !of.is_empty() => (Some(of.to_owned()), statistic),
            _ => return Err(unknown(name)),
        },
    };
    match STATISTICS.iter().find(|(known, ..)| *known == statistic) {
        Some((_, unit, read)) => Ok((Metric::Latency { of, read: *read }, *unit)),
        None => Err(unknown(name)),
    }
}

fn unknown(name: &str) -> String {
    let statistics: Vec<&str> = STATISTICS.iter().map(|(name, ..)| *name).collect();
    let scalars: Vec<&str> = SCALARS.iter().map(|(name, ..)| *name).collect();
    format!(
        "no metric `{name}`; there are {}, and of latencies {} (of one latency as in \
         round_trip.p99)",
        scalars.join(", "),
        statistics.join(", ")
    )
}

/// A bound in the metric's own unit, the suffix it was written with, and what that multiplies by.
fn parse_bound(text: &str, unit: Unit) -> Result<(f64, &'static str, f64), String> {
    let wrong = || format!("`{text}` is no bound here; this metric takes {}", unit.help());
    let digits = |c: char| c.is_ascii_digit() || c == '.';
    let end = text.find(|c| !digits(c)).unwrap_or(text.len());
    let figure: f64 = text[..end].parse().map_err(|_| wrong())?;
    let written = text[end..].trim();
    let suffix = unit.suffixes().iter().find(|(suffix, _)| *suffix == written);
    let (suffix, size) = suffix.ok_or_else(wrong)?;
    Ok((figure * size, suffix, *size))
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
