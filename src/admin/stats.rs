//! Numbers for people and for programs: statistics, latencies, metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Failure, Reply};
use super::health::{Status, Worker, workers};
use super::process;
use super::route::Call;
use super::state::{Admin, GatewayRoutes};
use crate::shard::Ending;
use crate::telemetry::{self, Kind, Percentiles, Stage, Totals};

/// One stage of a message's way at a glance, in microseconds; all 0 when nothing was timed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Latency {
    /// How many values.
    count: u64,
    /// The smallest.
    min: u64,
    /// The exact mean.
    mean: f64,
    /// Half of the values are at or below.
    p50: u64,
    /// Nine of ten.
    p90: u64,
    /// 99 of 100.
    p99: u64,
    /// 999 of 1,000.
    #[serde(rename = "p99.9")]
    p999: u64,
    /// 9,999 of 10,000.
    #[serde(rename = "p99.99")]
    p9999: u64,
    /// The largest.
    max: u64,
}

impl From<Percentiles> for Latency {
    fn from(from: Percentiles) -> Self {
        let Percentiles { count, min, mean, p50, p90, p99, p999, p9999, max } = from;
        Self { count, min, mean, p50, p90, p99, p999, p9999, max }
    }
}

/// What `GET /socket/stats` tells.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stats {
    /// Sessions opened since the start.
    total_connections: u64,
    /// Sessions that live now.
    active_connections: u64,
    /// Events received from clients since the start.
    total_events: u64,
    /// Events received in the last 60 seconds.
    events_per_minute: u64,
    /// The server's own part of an answered event, on average, in milliseconds.
    average_latency: f64,
    /// The 1,000 largest rooms that are not automatic, and how many sockets are in each.
    rooms: BTreeMap<String, u64>,
    /// Every stage of a message's way, by name.
    latency: BTreeMap<&'static str, Latency>,
    /// Every worker.
    workers: Vec<Worker>,
}

/// `GET /socket/stats`.
pub(super) async fn stats(admin: Arc<Admin>, _call: Call) -> Result<Reply, Failure> {
    admin.refresh().await;
    let rooms = match admin.settings.gateway {
        GatewayRoutes::On => super::verbs::largest_rooms(&admin).await,
        GatewayRoutes::Off => BTreeMap::new(),
    };
    let stats = {
        let book = admin.book();
        let total = book.totals.counters_total();
        Stats {
            total_connections: total.sessions_opened,
            active_connections: total.sessions,
            total_events: total.events_in,
            events_per_minute: book.totals.events_per_minute(),
            average_latency: book.totals.average_latency_ms(),
            rooms,
            latency: latencies(&book.totals, Stage::ALL),
            workers: workers(&book),
        }
    };
    Reply::data("Statistics", &stats)
}

fn latencies(totals: &Totals, stages: &[Stage]) -> BTreeMap<&'static str, Latency> {
    let at = |stage: &Stage| (stage.name(), totals.percentiles(*stage).into());
    stages.iter().map(at).collect()
}

/// `GET /socket/latency`.
pub(super) async fn latency(admin: Arc<Admin>, call: Call) -> Result<Reply, Failure> {
    let one;
    let stages = match call.query.get("stage") {
        None => Stage::ALL,
        Some(name) => {
            let names: Vec<_> = Stage::ALL.iter().map(|stage| stage.name()).collect();
            let allowed = || Failure::invalid("stage", &format!("one of {}", names.join(", ")));
            one = [Stage::from_name(name).ok_or_else(allowed)?];
            &one
        }
    };
    admin.refresh().await;
    match call.query.get("format") {
        None | Some("json") => {
            let book = admin.book();
            Reply::data("Latencies in microseconds", &latencies(&book.totals, stages))
        }
        Some("hgrm") => {
            let table = |stage: &Stage| telemetry::hgrm(admin.book().totals.stage(*stage));
            let body = match stages {
                [only] => table(only),
                // Readers of the format skip what starts with a hash.
                several => several.iter().fold(String::new(), |text, stage| {
                    format!("{text}#[Stage = {}, microseconds]\n{}\n", stage.name(), table(stage))
                }),
            };
            let body = body.into();
            Ok(Reply::Text { status: 200, media_type: "text/plain; charset=utf-8", body })
        }
        Some(_) => Err(Failure::invalid("format", "json or hgrm")),
    }
}

/// `GET /metrics`.
pub(super) async fn metrics(admin: Arc<Admin>, _call: Call) -> Result<Reply, Failure> {
    admin.refresh().await;
    let kept = match admin.settings.gateway {
        GatewayRoutes::On => Some(super::verbs::kept(&admin).await),
        GatewayRoutes::Off => None,
    };
    let status = admin.status();
    let book = admin.book();
    let mut out = telemetry::render(&book.totals, Ending::LABELS, admin.settings.version);
    let mut put = |name: &str, help: &str, kind: Kind, value: f64| {
        out.family(name, help, kind);
        out.sample(name, &[], value);
    };
    let resident = process::resident_bytes() as f64;
    let help = "Resident memory in bytes.";
    put("process_resident_memory_bytes", help, Kind::Gauge, resident);
    let pressure = &admin.settings.pressure;
    let help = "Memory: 0 suffices, 1 new clients are refused, 2 queues are let go.";
    let strain = f64::from(pressure.strain() as u8);
    put("corewire_memory_pressure", help, Kind::Gauge, strain);
    let help = "Memory in use when it was last looked at, files left out.";
    put("corewire_memory_used_bytes", help, Kind::Gauge, pressure.used_bytes() as f64);
    let [soft, hard] = pressure.limits();
    let help = "Memory from which new clients are refused.";
    put("corewire_memory_soft_bytes", help, Kind::Gauge, soft as f64);
    let help = "Memory from which queues are let go.";
    put("corewire_memory_hard_bytes", help, Kind::Gauge, hard as f64);
    let cpu_s = process::cpu_us() as f64 / 1e6;
    let help = "Processor time of all threads in seconds.";
    put("process_cpu_seconds_total", help, Kind::Counter, cpu_s);
    let up = if status == Status::Unhealthy { 0.0 } else { 1.0 };
    put("corewire_up", "1 while any worker answers.", Kind::Gauge, up);
    let uptime_s = admin.now_us() as f64 / 1e6;
    put("corewire_uptime_seconds", "Time since the process started.", Kind::Gauge, uptime_s);
    if let Some((rooms, users)) = kept {
        let help = "Rooms with a name of their own.";
        put("corewire_gateway_rooms", help, Kind::Gauge, rooms as f64);
        put("corewire_gateway_users", "Users connected now.", Kind::Gauge, users as f64);
    }
    out.family("corewire_core_healthy", "1 while the worker answers.", Kind::Gauge);
    for (core, known) in book.known.iter().enumerate() {
        let core = core.to_string();
        let healthy = u8::from(known.is_healthy());
        out.sample("corewire_core_healthy", &[("core", &core)], healthy);
    }
    let help = "Times the worker did not answer for more than three seconds.";
    out.family("corewire_core_stalls_total", help, Kind::Counter);
    for (core, known) in book.known.iter().enumerate() {
        let core = core.to_string();
        out.sample("corewire_core_stalls_total", &[("core", &core)], known.stalls);
    }
    if let Some(hooks) = &admin.settings.hooks {
        super::hooks::measure(&mut out, &hooks.health());
    }
    let body = out.finish().into();
    Ok(Reply::Text { status: 200, media_type: telemetry::CONTENT_TYPE, body })
}
