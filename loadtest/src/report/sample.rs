//! Runs made up for tests: figures of the size that real ones have.

use std::collections::BTreeMap;

use crate::model::{
    BudgetLine, ClientSide, FORMAT, Latency, Machine, Oracle, Report, Series, ServerSide, Step,
    Target, Tick, Totals,
};
use crate::report::levels;

/// A latency whose half is `half_us` and whose tail grows by `tail` for each factor of ten.
fn latency(count: u64, half_us: f64, tail: f64) -> Latency {
    let mut bins: Vec<(f64, u64)> = Vec::new();
    let mut below = 0;
    for at in 1..=400 {
        // Evenly over the logarithm of 1/(1-q), as far as there are values to tell apart.
        let beyond = 10_f64.powf(-(count as f64).log10() * f64::from(at) / 400.0);
        let total = ((1.0 - beyond) * count as f64).round().min(count as f64) as u64;
        let factor = tail.powf((-beyond.log10() - 0.3).max(-0.3)) * (1.0 - 0.4 * beyond);
        let value = (half_us * factor * 1.25).round();
        if total > below {
            match bins.last_mut() {
                Some((last, n)) if *last >= value => *n += total - below,
                _ => bins.push((value, total - below)),
            }
            below = total;
        }
    }
    if let Some((_, n)) = bins.last_mut() {
        *n += count - below;
    }
    of_bins(bins)
}

/// What a histogram with these values says.
fn of_bins(bins: Vec<(f64, u64)>) -> Latency {
    let count: u64 = bins.iter().map(|(_, n)| n).sum();
    let at = |quantile: f64| {
        let wanted = (quantile * count as f64).ceil().max(1.0) as u64;
        let mut total = 0;
        let found = bins.iter().find(|(_, n)| {
            total += n;
            total >= wanted
        });
        found.map_or(0.0, |(value, _)| *value)
    };
    let sum: f64 = bins.iter().map(|(value, n)| value * *n as f64).sum();
    Latency {
        count,
        min: bins.first().map_or(0.0, |(value, _)| *value),
        mean: sum / count.max(1) as f64,
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        p9999: at(0.9999),
        max: bins.last().map_or(0.0, |(value, _)| *value),
        curve: levels(&bins).iter().map(|level| (level.quantile, level.value)).collect(),
        bins,
    }
}

/// A wave with some roughness, -1 to 1, the same each time.
fn rough(at: u32) -> f64 {
    let noise = f64::from(at.wrapping_mul(2_654_435_761) >> 16) / 32_768.0 - 1.0;
    (f64::from(at) / 5.0).sin() * 0.4 + noise * 0.6
}

fn timeline(seconds: u32, rate: f64, half_us: f64) -> Vec<Tick> {
    let tick = |at: u32| {
        let wave = rough(at);
        // One second in which the machine did something else.
        let stall = if at == seconds / 2 { 0.55 } else { 1.0 };
        Tick {
            at_seconds: f64::from(at),
            connections: 1_000,
            sent: (rate / 1_000.0) as u64,
            operations: (rate * stall * (1.0 + wave * 0.03)) as u64,
            p50: half_us * (1.0 + wave * 0.06),
            p99: half_us * (2.4 + wave * 0.5) / (stall * stall * stall),
            server_cpus: Some(0.97 * (1.0 + wave * 0.02) * stall),
            server_rss_bytes: Some(14_600_000 + u64::from(at.min(12)) * 52_000),
            client_busy: 0.71 + wave * 0.04,
        }
    };
    (1..=seconds).map(tick).collect()
}

fn machine() -> Machine {
    Machine {
        kernel: "6.18.44".to_owned(),
        cpu: "Intel(R) Xeon(R) Processor @ 2.70GHz".to_owned(),
        cpus: 2,
        memory_bytes: 8 << 30,
        congestion_control: "bbr".to_owned(),
    }
}

/// A fan-out to one room, half a minute, all well.
pub(crate) fn fanout() -> Report {
    let operations = 62_400_000;
    let seconds = 30.0;
    Report {
        trouble: String::new(),
        format: FORMAT,
        tool: "loadtest 0.1.0".to_owned(),
        started_at: "2026-11-25T08:10:27Z".to_owned(),
        name: "fanout".to_owned(),
        scenario: "name = \"fanout\"\nkind = \"fanout\"\nconnections = 1000\nwindow = 8\n\
                   payload_bytes = 64\nseconds = 30\nbusy_poll = true\n"
            .to_owned(),
        target: Target {
            url: "http://127.0.0.1:3001".to_owned(),
            transport: "websocket".to_owned(),
            version: "corewire 0.1.0".to_owned(),
        },
        machine: machine(),
        client: ClientSide { threads: 1, cores: vec![1], busy: 0.71, was_the_limit: false },
        server: Some(ServerSide {
            pid: 4711,
            command: "target/release/examples/bench_server --workers 1 --worker-cores 0".to_owned(),
            cpu_seconds: 29.1,
            cpu_us_per_operation: Some(29.1e6 / operations as f64),
            kernel_share: Some(0.85),
            anon_before_bytes: 3_200_000,
            anon_after_bytes: 4_982_000,
            anon_bytes_per_connection: Some(1_782.0),
        }),
        totals: Totals {
            seconds,
            connections: 1_000,
            connect_failures: 0,
            sent: operations / 1_000,
            operations,
            rate: operations as f64 / seconds,
            bytes_in: operations * 78,
            target_rate: None,
            sustained_rate: None,
        },
        oracle: Oracle { expected: operations, delivered: operations, ..Oracle::default() },
        latencies: BTreeMap::from([
            ("connect".to_owned(), latency(1_000, 9_400.0, 1.35)),
            ("delivery".to_owned(), latency(operations, 3_600.0, 1.6)),
        ]),
        main_latency: "delivery".to_owned(),
        timeline: timeline(30, operations as f64 / seconds, 3_600.0),
        steps: Vec::new(),
        series: Vec::new(),
        budget: Vec::new(),
    }
}

/// The same on a server that is slower, where a message was lost and a budget broken.
pub(crate) fn slower() -> Report {
    let mut run = fanout();
    run.started_at = "2026-11-25T08:14:02Z".to_owned();
    run.target.version = "socketioxide 0.18.9".to_owned();
    run.totals.operations = 20_100_000;
    run.totals.rate = 670_000.0;
    run.oracle = Oracle { expected: 20_100_000, delivered: 20_099_998, lost: 2, ..run.oracle };
    run.latencies.insert("delivery".to_owned(), latency(20_100_000, 11_300.0, 1.9));
    run.timeline = timeline(30, 670_000.0, 11_300.0);
    let server = run.server.as_mut().expect("it has one");
    server.cpu_us_per_operation = Some(1.45);
    server.anon_bytes_per_connection = Some(40_050.0);
    run.budget = vec![
        BudgetLine { text: "p99 <= 5ms".to_owned(), found: "27.1 ms".to_owned(), kept: false },
        BudgetLine { text: "rate >= 500k".to_owned(), found: "670 k".to_owned(), kept: true },
    ];
    run
}

/// Steps of an open loop, and a sweep over the size of a room.
pub(crate) fn steps() -> Report {
    let mut run = fanout();
    run.name = "fanout-steps".to_owned();
    run.totals.target_rate = Some(1_790_000.0);
    run.totals.sustained_rate = Some(1_790_000.0);
    let rates = [0.2, 0.4, 0.8, 1.6, 3.2, 2.26, 1.90, 1.79].map(|millions| millions * 1e6);
    let step = |target_rate: f64| {
        let load = target_rate / 1_900_000.0;
        let sustained = load < 0.99;
        let p50 = if sustained { 300.0 / (1.0 - load * 0.9) } else { 240_000.0 * load };
        Step {
            target_rate,
            rate: target_rate.min(1_880_000.0),
            p50,
            p99: p50 * 2.6,
            p999: p50 * 4.1,
            client_busy: (0.2 + 0.6 * load).min(0.93),
            sustained,
            why: if sustained { String::new() } else { "p99 over 50 ms".to_owned() },
        }
    };
    run.steps = rates.map(step).to_vec();
    let sizes = [100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 30_000.0, 100_000.0];
    run.series = vec![
        Series {
            name: "Cost of a delivery against memberships held".to_owned(),
            x_label: "room memberships held".to_owned(),
            y_label: "server CPU per delivery (µs)".to_owned(),
            points: sizes.iter().zip([0.47, 0.45, 0.46, 0.47, 0.48, 0.49, 0.5]).map(pair).collect(),
        },
        Series {
            name: "Memory of a connection against connections".to_owned(),
            x_label: "connections".to_owned(),
            y_label: "memory per connection (bytes)".to_owned(),
            points: vec![(1e3, 1_790.0), (2e3, 1_775.0), (5e3, 1_786.0), (15e3, 1_781.0)],
        },
    ];
    run
}

fn pair((size, cost): (&f64, f64)) -> (f64, f64) {
    (*size, cost)
}
