//! The totals as Prometheus text.

use std::fmt::{Display, Write as _};

use super::{Counters, Kind, Merged, Stage, Totals};

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper edges of the latency buckets: the label `le` in seconds, and the same in microseconds.
///
/// A histogram bin that straddles an edge counts above it, so a bucket never flatters; it is at
/// most 1 % of its edge short.
const EDGES: [(&str, u64); 16] = [
    ("0.0001", 100),
    ("0.0002", 200),
    ("0.0005", 500),
    ("0.001", 1_000),
    ("0.002", 2_000),
    ("0.005", 5_000),
    ("0.01", 10_000),
    ("0.02", 20_000),
    ("0.05", 50_000),
    ("0.1", 100_000),
    ("0.2", 200_000),
    ("0.5", 500_000),
    ("1", 1_000_000),
    ("2", 2_000_000),
    ("5", 5_000_000),
    ("10", 10_000_000),
];

/// The label of an ending that the endings table given does not know.
const UNKNOWN: &str = "unknown";

/// Prometheus text that grows family by family.
///
/// Rule: Prometheus text exposition format 0.0.4: `HELP` and `TYPE` once, before the samples of
/// their family, which stand together.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// No families yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a family; its samples follow, before the next family is opened.
    pub fn family(&mut self, name: &str, help: &str, kind: Kind) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.open(name, help, kind);
    }

    /// One sample. `value` must read as a decimal number.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        for (index, (label, content)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(label);
            self.text.push_str("=\"");
            escape(&mut self.text, content, true);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.line(format_args!(" {value}"));
    }

    /// The text.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }

    fn open(&mut self, name: &str, help: &str, kind: &str) {
        self.text.push_str("# HELP ");
        self.text.push_str(name);
        self.text.push(' ');
        escape(&mut self.text, help, false);
        self.line(format_args!("\n# TYPE {name} {kind}"));
    }

    fn line(&mut self, arguments: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{arguments}").expect("a String takes all that is written");
    }
}

/// Rule: Prometheus text exposition format 0.0.4: a backslash and a line feed are escaped
/// everywhere, a quotation mark in label values.
fn escape(text: &mut String, content: &str, quoted: bool) {
    for character in content.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quoted => text.push_str("\\\""),
            other => text.push(other),
        }
    }
}

/// Everything in `totals` as Prometheus text, open for families that others own.
///
/// `ending_labels` are the labels of the endings table, by index; rows that share a label are
/// added up. The series are `cores * (numbers + endings) + stages * edges`: no label holds what a
/// client sent.
#[must_use]
pub fn render(totals: &Totals, ending_labels: &[&'static str], version: &str) -> Exposition {
    let mut out = Exposition::new();
    out.family("corewire_build_info", "The running version; the value is always 1.", Kind::Gauge);
    out.sample("corewire_build_info", &[("version", version)], 1);
    cores(&mut out, totals);
    for row in Counters::TABLE {
        out.family(row.metric, row.help, row.kind);
        for known in totals.per_core() {
            let core = known.core.to_string();
            out.sample(row.metric, &[("core", &core)], (row.read)(&known.counters));
        }
    }
    endings(&mut out, totals, ending_labels);
    latencies(&mut out, totals.merged());
    out
}

/// What each core is, and how its time goes.
fn cores(out: &mut Exposition, totals: &Totals) {
    out.family(
        "corewire_core_info",
        "What each core is, what drives its I/O and its CPU; the value is always 1.",
        Kind::Gauge,
    );
    for known in totals.per_core() {
        let core = known.core.to_string();
        let cpu = known.pinned.map_or_else(String::new, |cpu| cpu.to_string());
        let labels = [
            ("core", core.as_str()),
            ("label", &known.label),
            ("driver", &known.driver),
            ("cpu", &cpu),
        ];
        out.sample("corewire_core_info", &labels, 1);
    }
    out.family(
        "corewire_core_busy_seconds_total",
        "Time each core spent working and not waiting.",
        Kind::Counter,
    );
    for known in totals.per_core() {
        let core = known.core.to_string();
        let busy = seconds(known.busy_us);
        out.sample("corewire_core_busy_seconds_total", &[("core", &core)], busy);
    }
    out.family("corewire_core_uptime_seconds", "Time since each core started.", Kind::Gauge);
    for known in totals.per_core() {
        let core = known.core.to_string();
        let uptime = seconds(known.uptime_us);
        out.sample("corewire_core_uptime_seconds", &[("core", &core)], uptime);
    }
}

fn endings(out: &mut Exposition, totals: &Totals, labels: &[&'static str]) {
    const NAME: &str = "corewire_endings_total";
    out.family(
        NAME,
        "Connections, sessions and sockets that ended, by the row of the endings table.",
        Kind::Counter,
    );
    for known in totals.per_core() {
        let core = known.core.to_string();
        let mut sums: Vec<(&str, u64)> = Vec::with_capacity(labels.len());
        for index in 0..labels.len().max(known.endings.counts().len()) {
            let label = labels.get(index).copied().unwrap_or(UNKNOWN);
            let count = known.endings.get(index);
            match sums.iter_mut().find(|(known, _)| *known == label) {
                Some((_, sum)) => *sum = sum.saturating_add(count),
                None => sums.push((label, count)),
            }
        }
        for (label, sum) in sums {
            out.sample(NAME, &[("ending", label), ("core", &core)], sum);
        }
    }
}

fn latencies(out: &mut Exposition, merged: &Merged) {
    out.open(
        "corewire_latency_seconds",
        "Latency by stage, from all cores since the start.",
        "histogram",
    );
    for &stage in Stage::ALL {
        let name = stage.name();
        let count = merged.count(stage);
        let mut below = 0_u64;
        for ((edge, _), inside) in EDGES.iter().zip(buckets(merged, stage)) {
            below = below.saturating_add(inside);
            let labels = [("stage", name), ("le", *edge)];
            out.sample("corewire_latency_seconds_bucket", &labels, below.min(count));
        }
        let labels = [("stage", name), ("le", "+Inf")];
        out.sample("corewire_latency_seconds_bucket", &labels, count);
        let labels = [("stage", name)];
        let sum = seconds(merged.sum_us(stage));
        out.sample("corewire_latency_seconds_sum", &labels, sum);
        out.sample("corewire_latency_seconds_count", &labels, count);
    }
}

/// How many values lie between each edge and the one before; what is beyond the last is left out.
fn buckets(merged: &Merged, stage: Stage) -> [u64; EDGES.len()] {
    let mut inside = [0_u64; EDGES.len()];
    for bin in merged.stage(stage).iter_recorded() {
        let upper_us = bin.value_iterated_to();
        let index = EDGES.partition_point(|(_, edge_us)| *edge_us < upper_us);
        if let Some(bucket) = inside.get_mut(index) {
            *bucket = bucket.saturating_add(bin.count_at_value());
        }
    }
    inside
}

/// Microseconds as seconds, to the last figure.
fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

#[cfg(test)]
#[path = "prometheus_tests.rs"]
mod tests;
