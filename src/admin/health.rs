//! Whether the server is well: for balancers in a word, for operators in detail.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Failure, Reply};
use super::process;
use super::route::Call;
use super::state::{Admin, Book, Phase, label};
use crate::base::{Strain, rfc3339};
use crate::command::HookHealth;
use crate::config::Scope;
use crate::telemetry::{CertificateState, Link};

/// How the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum Status {
    /// Every worker answers and takes on more.
    Healthy,
    /// Some worker is silent or overloaded, or the server is about to end.
    Degraded,
    /// No worker answers.
    Unhealthy,
}

/// What anybody may know.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Pulse {
    /// How the server is.
    status: Status,
}

/// What `GET /socket/health` tells. Who has no `read` scope gets `status` alone.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Health {
    /// How the server is.
    status: Status,
    /// Milliseconds since the process started.
    #[schema(required = false)]
    uptime: u64,
    /// Resident memory in bytes.
    #[schema(required = false)]
    memory_usage: u64,
    /// Whether memory suffices.
    #[schema(required = false)]
    memory: Memory,
    /// Processors kept busy over the last second or so: 0 to their number.
    #[schema(required = false)]
    cpu_usage: f64,
    /// Sessions that live now.
    #[schema(required = false)]
    active_connections: u64,
    /// When a worker was last heard, RFC 3339; null before the first time.
    #[schema(required = false)]
    last_heartbeat: Option<String>,
    /// Every worker.
    #[schema(required = false)]
    workers: Vec<Worker>,
    /// Every webhook.
    #[schema(required = false)]
    hooks: Vec<HookHealth>,
    /// The links to brokers, by name.
    #[schema(required = false, value_type = Object)]
    bridges: BTreeMap<&'static str, Link>,
    /// The certificate of the TLS listeners: `endsAt`, and `problem` if there is one; left
    /// out without such listeners.
    #[schema(required = false, value_type = Object)]
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<CertificateState>,
}

/// Whether memory suffices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum MemoryState {
    /// It does.
    Enough,
    /// New clients are refused.
    Short,
    /// No connections are taken, and the largest queues are let go.
    VeryShort,
}

/// Memory of the process as it was last looked at, about once a second.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Memory {
    /// Whether it suffices.
    state: MemoryState,
    /// Bytes in use, those of files left out.
    used: u64,
    /// Bytes from which new clients are refused.
    soft: u64,
    /// Bytes from which queues are let go.
    hard: u64,
}

/// One worker, as it last told.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Worker {
    /// Its index.
    core: usize,
    /// Its name.
    label: String,
    /// What drives its I/O.
    driver: String,
    /// The CPU its thread is pinned to; null if it is not.
    cpu: Option<usize>,
    /// TCP connections open now.
    connections: u64,
    /// Engine.IO sessions that live now.
    sessions: u64,
    /// Sockets of namespaces now.
    sockets: u64,
    /// Events received since the start.
    events: u64,
    /// Share of the last second or so that its thread was busy, 0 to 1.
    busy: f64,
    /// Whether it has been heard within three seconds.
    healthy: bool,
    /// Whether it holds back because another core is behind.
    overloaded: bool,
    /// Milliseconds since it was last heard.
    silent_ms: u64,
    /// What the kernel says its thread is doing, while it is not healthy: running, sleeping.
    stuck_in: Option<&'static str>,
}

impl Admin {
    pub(super) fn status(&self) -> Status {
        let book = self.book();
        let healthy = book.known.iter().filter(|known| known.is_healthy()).count();
        if healthy == 0 {
            return Status::Unhealthy;
        }
        let strained = book.known.iter().any(|known| known.overloaded);
        let missing = self.settings.outside.missing().is_some() || self.is_short_of_memory();
        if healthy < book.known.len() || strained || missing || self.phase() != Phase::Serving {
            return Status::Degraded;
        }
        Status::Healthy
    }

    fn is_short_of_memory(&self) -> bool {
        self.settings.pressure.strain() != Strain::None
    }

    fn memory(&self) -> Memory {
        let pressure = &self.settings.pressure;
        let [soft, hard] = pressure.limits();
        let state = match pressure.strain() {
            Strain::None => MemoryState::Enough,
            Strain::Refuse => MemoryState::Short,
            Strain::Shed => MemoryState::VeryShort,
        };
        Memory { state, used: pressure.used_bytes(), soft, hard }
    }
}

/// The workers of the book, in order; one that was never heard stands there with zeros.
pub(super) fn workers(book: &Book) -> Vec<Worker> {
    let view = |(core, known): (usize, &super::state::Known)| {
        let last = book.totals.per_core().find(|last| last.core == core);
        let read = |read: fn(&crate::telemetry::Counters) -> u64| {
            last.map_or(0, |last| read(&last.counters))
        };
        Worker {
            core,
            label: label(core),
            driver: known.driver.clone(),
            cpu: known.cpu,
            connections: read(|counters| counters.connections),
            sessions: read(|counters| counters.sessions),
            sockets: read(|counters| counters.sockets),
            events: read(|counters| counters.events_in),
            busy: known.busy.cores().min(1.0),
            healthy: known.is_healthy(),
            overloaded: known.overloaded,
            silent_ms: u64::try_from(known.silence().as_millis()).unwrap_or(u64::MAX),
            stuck_in: known.stuck_in(),
        }
    };
    book.known.iter().enumerate().map(view).collect()
}

/// `GET /socket/health`.
pub(super) async fn health(admin: Arc<Admin>, call: Call) -> Result<Reply, Failure> {
    admin.refresh().await;
    let status = admin.status();
    if !call.may(Scope::Read) {
        return tell(status, &Pulse { status });
    }
    let health = {
        let book = admin.book();
        Health {
            status,
            uptime: admin.now_us() / 1_000,
            memory_usage: process::resident_bytes(),
            memory: admin.memory(),
            cpu_usage: book.cpu.cores(),
            active_connections: book.totals.counters_total().sessions,
            last_heartbeat: (book.heard_unix_ms > 0).then(|| rfc3339(book.heard_unix_ms)),
            workers: workers(&book),
            hooks: admin.settings.hooks.as_ref().map_or_else(Vec::new, |hooks| hooks.health()),
            bridges: admin.settings.outside.links(),
            certificate: admin.settings.outside.certificate(),
        }
    };
    tell(status, &health)
}

fn tell(status: Status, data: &impl Serialize) -> Result<Reply, Failure> {
    match status {
        Status::Healthy => Reply::data("Healthy", data),
        Status::Degraded => Reply::data("Degraded", data),
        Status::Unhealthy => {
            Err(Failure::new(503, "UNHEALTHY", "No worker answers").with_data(data))
        }
    }
}

/// `GET /healthz`: whether the process should live on.
pub(super) async fn alive(admin: Arc<Admin>, _call: Call) -> Result<Reply, Failure> {
    admin.hear_once().await;
    let status = admin.status();
    tell(status, &Pulse { status })
}

/// `GET /readyz`: whether new clients should be sent here.
pub(super) async fn ready(admin: Arc<Admin>, _call: Call) -> Result<Reply, Failure> {
    admin.hear_once().await;
    let status = admin.status();
    let refuse = |code: &'static str, message: &str| {
        Err(Failure::new(503, code, message).with_data(&Pulse { status }))
    };
    match admin.phase() {
        Phase::Starting => return refuse("STARTING", "The server is starting"),
        Phase::Draining => return refuse("DRAINING", "The server is about to end"),
        Phase::Serving => {}
    }
    if status == Status::Unhealthy {
        return refuse("UNHEALTHY", "No worker answers");
    }
    if admin.book().known.iter().any(|known| known.overloaded) {
        return refuse("OVERLOADED", "A worker is behind");
    }
    if admin.is_short_of_memory() {
        return refuse("MEMORY", "Memory is short, and new clients are refused");
    }
    if admin.settings.outside.missing().is_some() {
        return refuse("BRIDGE_DOWN", "A link that is required is not up");
    }
    Reply::data("Ready", &Pulse { status })
}
