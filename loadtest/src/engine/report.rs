//! From what was measured to a [`Report`].

use super::meter::Hist;
use super::run::{Found, Run};
use crate::clock::Nanos;
use crate::load::main_timing;
use crate::model::{ClientSide, FORMAT, Latency, Report, ServerSide, Target, Totals};
use crate::scenario::Kind;
use crate::server::{self, Cpu};

/// A client that is busier than this, while the server had time left, was the limit.
pub(super) const LIMIT_BUSY: f64 = 0.95;
/// Share of its CPUs above which a server had no time left.
const SERVER_FULL: f64 = 0.93;

/// Nanoseconds as microseconds.
#[expect(clippy::cast_precision_loss, reason = "a latency is far below 2^53 ns")]
pub(super) const fn micros(nanos: Nanos) -> f64 {
    nanos as f64 / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are below 2^53")]
const fn float(count: u64) -> f64 {
    count as f64
}

/// The figures of a histogram.
pub(super) fn latency(hist: &Hist) -> Latency {
    let at = |quantile| micros(hist.value_at_quantile(quantile));
    let curve = hist
        .iter_quantiles(5)
        .map(|step| (step.quantile_iterated_to(), micros(step.value_iterated_to())));
    let bins =
        hist.iter_recorded().map(|bin| (micros(bin.value_iterated_to()), bin.count_at_value()));
    Latency {
        count: hist.len(),
        min: micros(if hist.is_empty() { 0 } else { hist.min() }),
        mean: hist.mean() / 1e3,
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        p9999: at(0.9999),
        max: micros(hist.max()),
        curve: curve.collect(),
        bins: bins.collect(),
    }
}

/// CPUs the server used, if it is known.
pub(super) fn server_cpus(found: &Found) -> Option<f64> {
    found.cpu.map(|cpu| float(cpu.ns) / float(found.wall_ns.max(1)))
}

/// Whether the clients were the limit. Without the server's id, a busy client is suspected.
pub(super) fn was_the_limit(found: &Found) -> bool {
    let server_had_time = server_cpus(found).is_none_or(|cpus| {
        let whole = cpus.ceil().max(1.0);
        cpus / whole < SERVER_FULL
    });
    found.busy >= LIMIT_BUSY && server_had_time
}

pub(super) fn make(run: &Run, started_at: String, found: &Found) -> Report {
    let scenario = &run.board.scenario;
    let connections = run.connections;
    let is_timed = scenario.kind != Kind::Idle;
    let totals = Totals {
        seconds: found.seconds,
        connections,
        connect_failures: run.board.sum(|lane| &lane.failed),
        sent: found.counted.sent,
        operations: found.counted.operations,
        rate: float(found.counted.operations) / found.seconds,
        bytes_in: found.bytes_in,
        target_rate: scenario.rate,
        sustained_rate: None,
    };
    let server = run.process.as_ref().map(|process| {
        let cpu = found.cpu.map_or(0, |cpu| cpu.ns);
        let grown = float(run.anon_after) - float(run.anon_before);
        ServerSide {
            pid: process.pid,
            command: process.command(),
            cpu_seconds: float(cpu) / 1e9,
            cpu_us_per_operation: (found.operations > 0)
                .then(|| micros(cpu) / float(found.operations)),
            kernel_share: found.cpu.and_then(Cpu::kernel_share),
            anon_before_bytes: run.anon_before,
            anon_after_bytes: run.anon_after,
            anon_bytes_per_connection: (connections > 0).then(|| grown / float(connections)),
        }
    });
    let client = ClientSide {
        threads: scenario.threads as usize,
        cores: run.options.cores.clone(),
        busy: found.busy,
        was_the_limit: is_timed && was_the_limit(found),
    };
    let named = found.latencies.iter().filter(|(_, hist)| !hist.is_empty());
    Report {
        format: FORMAT,
        tool: format!("corewire-loadtest {}", env!("CARGO_PKG_VERSION")),
        started_at,
        name: scenario.name.clone(),
        scenario: toml::to_string(scenario).unwrap_or_default(),
        target: Target {
            url: run.options.rest.public.url.clone(),
            transport: scenario.transport.name().to_owned(),
            version: String::new(),
        },
        machine: server::machine(),
        client,
        server,
        totals,
        oracle: found.oracle,
        latencies: named.map(|(name, hist)| ((*name).to_owned(), latency(hist))).collect(),
        main_latency: main_timing(scenario.kind).name().to_owned(),
        trouble: run.first_trouble().unwrap_or_default(),
        timeline: run.ticks.taken(),
        steps: Vec::new(),
        series: Vec::new(),
        budget: Vec::new(),
    }
}
