//! Two runs side by side: what differs between their settings, and by what factor their figures.

use super::table::{figures, grid};
use super::{bytes, duration, facts, is_anecdote, quantity, timed};
use crate::model::Report;

/// Whether a figure is better when it grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trend {
    /// More is better, as of a rate.
    Up,
    /// Less is better, as of a cost.
    Down,
}

/// A figure of both runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    /// What is compared.
    pub name: String,
    /// Of the first run, with its unit.
    pub a: String,
    /// Of the second.
    pub b: String,
    /// The second divided by the first; none where the first is zero.
    pub ratio: Option<f64>,
    /// Which way is better.
    pub trend: Trend,
    /// Too few values are behind it for a verdict.
    pub is_anecdote: bool,
}

/// What lies within this of 1 is called the same: runs of one server differ by that much.
const SAME_WITHIN: f64 = 0.02;

impl Ratio {
    fn new(name: &str, trend: Trend, (a, b): (f64, f64), show: fn(f64) -> String) -> Self {
        let ratio = (a != 0.0).then(|| b / a);
        Self { name: name.to_owned(), a: show(a), b: show(b), ratio, trend, is_anecdote: false }
    }

    /// The second run against the first: `better`, `worse`, `same`, `too few values`, or nothing
    /// to say.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        match (self.ratio, self.trend) {
            (None, _) => "",
            _ if self.is_anecdote => "too few values",
            (Some(ratio), _) if (ratio - 1.0).abs() <= SAME_WITHIN => "same",
            (Some(ratio), Trend::Up) if ratio > 1.0 => "better",
            (Some(ratio), Trend::Down) if ratio < 1.0 => "better",
            _ => "worse",
        }
    }

    /// The factor as text.
    #[must_use]
    pub fn factor(&self) -> String {
        self.ratio.map_or_else(String::new, |ratio| {
            if ratio < 0.1 { format!("{ratio:.3}") } else { format!("{ratio:.2}") }
        })
    }
}

/// What both runs measured, second over first.
#[must_use]
pub fn ratios(a: &Report, b: &Report) -> Vec<Ratio> {
    let mut rows = vec![Ratio::new("rate", Trend::Up, (a.totals.rate, b.totals.rate), per_second)];
    let mut both = |name, trend, a: Option<f64>, b: Option<f64>, show| {
        if let (Some(a), Some(b)) = (a, b) {
            rows.push(Ratio::new(name, trend, (a, b), show));
        }
    };
    let sustained = (a.totals.sustained_rate, b.totals.sustained_rate);
    both("sustained rate", Trend::Up, sustained.0, sustained.1, per_second);
    let cpu = |run: &Report| run.server.as_ref().and_then(|found| found.cpu_us_per_operation);
    both("server CPU per operation", Trend::Down, cpu(a), cpu(b), duration);
    let held = (facts::held_bytes(a), facts::held_bytes(b));
    both("memory per connection", Trend::Down, held.0, held.1, bytes);
    for (name, first) in timed(a) {
        let Some(second) = b.latencies.get(name).filter(|found| found.count > 0) else { continue };
        for (level, quantile, pair) in [
            ("p50", 0.5, (first.p50, second.p50)),
            ("p99", 0.99, (first.p99, second.p99)),
            ("p99.9", 0.999, (first.p999, second.p999)),
        ] {
            let name = format!("{} {level}", super::plots::spoken(name));
            let is_anecdote = is_anecdote(first, quantile) || is_anecdote(second, quantile);
            let ratio = Ratio::new(&name, Trend::Down, pair, duration);
            rows.push(Ratio { is_anecdote, ..ratio });
        }
    }
    rows
}

fn per_second(rate: f64) -> String {
    format!("{}/s", quantity(rate))
}

/// Why the two runs may not be comparable: each a sentence.
#[must_use]
pub fn warnings(a: &Report, b: &Report) -> Vec<String> {
    let mut said = Vec::new();
    let mut differ = |what: &str, a: &str, b: &str| {
        if a != b {
            said.push(format!("{what} differs: {} against {}.", or_none(a), or_none(b)));
        }
    };
    differ("The scenario", &a.name, &b.name);
    differ("The transport", &a.target.transport, &b.target.transport);
    differ("The kernel", &a.machine.kernel, &b.machine.kernel);
    differ("The CPU", &a.machine.cpu, &b.machine.cpu);
    differ("The number of CPUs", &a.machine.cpus.to_string(), &b.machine.cpus.to_string());
    differ(
        "The memory of the machine",
        &bytes(a.machine.memory_bytes as f64),
        &bytes(b.machine.memory_bytes as f64),
    );
    differ("The congestion control", &a.machine.congestion_control, &b.machine.congestion_control);
    differ("The load test", &a.tool, &b.tool);
    let settings = changed_settings(&a.scenario, &b.scenario);
    if !settings.is_empty() {
        said.push(format!("The settings differ: {}.", settings.join("; ")));
    }
    for (name, run) in super::plots::RUN_NAMES.iter().zip([a, b]) {
        let bad = facts::verdicts(run);
        let bad = bad.iter().filter(|verdict| verdict.tone == facts::Tone::Bad);
        said.extend(bad.map(|verdict| format!("{name}: {}", verdict.text)));
    }
    said
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

/// Lines of two settings that are not in both, the first's and the second's side by side.
fn changed_settings(a: &str, b: &str) -> Vec<String> {
    let lines = |text: &str| -> Vec<String> {
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    let (a, b) = (lines(a), lines(b));
    let key = |line: &str| line.split('=').next().unwrap_or(line).trim().to_owned();
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).cloned().collect()
    };
    let (only_a, mut only_b) = (only(&a, &b), only(&b, &a));
    let mut said = Vec::new();
    for line in only_a {
        let partner = only_b.iter().position(|other| key(other) == key(&line));
        match partner.map(|at| only_b.remove(at)) {
            Some(other) => {
                let value = other.split_once('=').map_or(other.as_str(), |(_, value)| value);
                said.push(format!("{line} against {}", value.trim()));
            }
            None => said.push(format!("only A has {line}")),
        }
    }
    said.extend(only_b.iter().map(|line| format!("only B has {line}")));
    said
}

/// The comparison as text for a terminal.
#[must_use]
pub fn table(a: &Report, b: &Report) -> String {
    let mut text = String::new();
    for (name, run) in super::plots::RUN_NAMES.iter().zip([a, b]) {
        let subject = facts::subject(run).join(", ");
        super::chart::put(
            &mut text,
            format_args!("{name}: {}, {subject}, {}\n", run.name, run.started_at),
        );
    }
    for warning in warnings(a, b) {
        super::chart::put(&mut text, format_args!("!! {warning}\n"));
    }
    let mut rows = vec![["", "A", "B", "B/A", "B is"].map(str::to_owned).to_vec()];
    rows.extend(ratios(a, b).iter().map(|ratio| {
        let verdict = ratio.verdict().to_owned();
        vec![ratio.name.clone(), ratio.a.clone(), ratio.b.clone(), ratio.factor(), verdict]
    }));
    text.push('\n');
    text.push_str(&grid(&rows, figures));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn ratios_are_second_over_first_and_know_which_way_is_better() {
        let (a, b) = (sample::slower(), sample::fanout());
        let rows = ratios(&a, &b);
        let row = |name: &str| rows.iter().find(|row| row.name == name).expect(name).clone();
        let rate = row("rate");
        assert_eq!((rate.a.as_str(), rate.b.as_str()), ("670 k/s", "2.08 M/s"));
        assert_eq!((rate.factor().as_str(), rate.verdict()), ("3.10", "better"));
        let cpu = row("server CPU per operation");
        assert_eq!((cpu.factor().as_str(), cpu.verdict()), ("0.32", "better"));
        let memory = row("memory per connection");
        assert_eq!((memory.factor().as_str(), memory.verdict()), ("0.044", "better"));
        assert_eq!(row("connect p50").verdict(), "same");
        assert_eq!(row("connect p99.9").verdict(), "too few values");
        let back = ratios(&b, &a);
        let p99 = back.iter().find(|row| row.name == "delivery p99").expect("both have it");
        assert_eq!(p99.verdict(), "worse");
    }

    #[test]
    fn memory_of_a_server_that_had_it_already_is_left_out() {
        let (a, mut b) = (sample::fanout(), sample::fanout());
        b.server.as_mut().expect("it has one").anon_bytes_per_connection = Some(41.0);
        assert!(ratios(&a, &a).iter().any(|row| row.name == "memory per connection"));
        assert!(ratios(&a, &b).iter().all(|row| row.name != "memory per connection"));
    }

    #[test]
    fn what_only_one_run_measured_is_left_out() {
        let (a, mut b) = (sample::fanout(), sample::fanout());
        b.server = None;
        b.latencies.remove("connect");
        let names: Vec<String> = ratios(&a, &b).into_iter().map(|row| row.name).collect();
        assert_eq!(names, ["rate", "delivery p50", "delivery p99", "delivery p99.9"]);
    }

    #[test]
    fn a_zero_has_no_ratio() {
        let (mut a, b) = (sample::fanout(), sample::fanout());
        a.totals.rate = 0.0;
        let rate = ratios(&a, &b).remove(0);
        assert_eq!((rate.ratio, rate.factor().as_str(), rate.verdict()), (None, "", ""));
    }

    #[test]
    fn runs_that_are_alike_get_no_warning_and_others_are_told_apart() {
        let a = sample::fanout();
        assert!(warnings(&a, &sample::fanout()).is_empty());
        let mut b = sample::fanout();
        b.machine.kernel = "6.1.0".to_owned();
        b.target.transport = "polling".to_owned();
        b.scenario = b.scenario.replace("window = 8", "window = 1") + "extra = true\n";
        b.client.was_the_limit = true;
        let said = warnings(&a, &b).join("\n");
        for part in [
            "The kernel differs: 6.18.44 against 6.1.0.",
            "The transport differs: websocket against polling.",
            "The settings differ: window = 8 against 1; only B has extra = true.",
            "B: The client was the limit",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
        let text = table(&a, &b);
        assert!(text.contains("!! The kernel differs"), "{text}");
        assert!(text.contains("rate"), "{text}");
    }
}
