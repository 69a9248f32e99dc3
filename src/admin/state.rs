//! What the admin core knows: its settings, the workers, and what they last told.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::process::{self, CpuMeter};
use crate::base::{CoreId, Pressure};
use crate::command::{BODY_BYTES_MAX, Desk, HookDesk, Workers};
use crate::config::{ApiKey, Options, Tables};
use crate::http::{Cors, Origins};
use crate::telemetry::{Counters, Histograms, Outside, Stage, Totals};

/// Whether the routes of the gateway are served: users, rooms, notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayRoutes {
    /// The application is the gateway.
    On,
    /// It is another one; those paths answer 404.
    Off,
}

/// Time in which an answer of the admin listener is to be taken, by whoever asked.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What the admin core must know of the configuration.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// The keys that REST accepts. Without any, only this machine may call.
    pub keys: Vec<ApiKey>,
    /// Origins whose pages may call REST; empty sends no CORS headers.
    pub cors_origins: Vec<String>,
    /// Whether the gateway's routes are served.
    pub gateway: GatewayRoutes,
    /// Bytes of a request's body.
    pub body_bytes_max: usize,
    /// Bytes of a request's head, on the admin listener.
    pub head_bytes_max: usize,
    /// Time a request's head or body may take to arrive, on the admin listener.
    pub request_timeout: Duration,
    /// Time until an answer that the kernel does not take at once is read, on the admin listener.
    pub answer_timeout: Duration,
    /// The moment whose `Micros` are 0.
    pub epoch: Instant,
    /// The version that metrics and document name.
    pub version: &'static str,
    /// The webhooks, if there are any to ask about.
    pub hooks: Option<Arc<dyn HookDesk>>,
    /// What the bridges tell of themselves.
    pub outside: Arc<Outside>,
    /// How short of memory the process is.
    pub pressure: Arc<Pressure>,
}

impl AdminSettings {
    /// From the configuration.
    #[must_use]
    pub fn new(options: &Options, tables: &Tables, gateway: GatewayRoutes, epoch: Instant) -> Self {
        Self {
            keys: tables.api_keys.clone(),
            cors_origins: options.admin_cors_origin.clone(),
            gateway,
            body_bytes_max: BODY_BYTES_MAX,
            head_bytes_max: options.http_head_bytes_max,
            request_timeout: Duration::from_millis(options.request_timeout_ms),
            answer_timeout: ANSWER_TIMEOUT,
            epoch,
            version: env!("CARGO_PKG_VERSION"),
            hooks: None,
            outside: Arc::default(),
            pressure: Arc::default(),
        }
    }
}

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Workers are being started.
    Starting,
    /// Clients are served.
    Serving,
    /// No new clients; those there are leave.
    Draining,
}

impl Phase {
    const ALL: [Self; 3] = [Self::Starting, Self::Serving, Self::Draining];
}

/// The admin core. One value a process; its work is done on the admin core's thread.
pub struct Admin {
    pub(super) settings: AdminSettings,
    /// Where commands are done.
    pub(super) desk: Arc<Desk>,
    pub(super) cors: Cors,
    phase: AtomicU8,
    /// Never held across an await.
    book: Mutex<Book>,
    /// Wakes the collector of one core.
    pub(super) nudges: Vec<Notify>,
    /// Told whenever a core has been heard.
    pub(super) heard: Notify,
}

/// What the workers last told, and what the admin core counts itself.
pub(super) struct Book {
    pub(super) totals: Totals,
    pub(super) known: Vec<Known>,
    pub(super) own: Counters,
    pub(super) own_hists: Histograms,
    pub(super) cpu: CpuMeter,
    /// Milliseconds since the epoch of the last snapshot; 0 before the first.
    pub(super) heard_unix_ms: u64,
}

/// The name of a worker for readers.
pub(super) fn label(core: usize) -> String {
    format!("worker-{core}")
}

/// What is known of a worker beside its numbers.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// What drives its I/O: the rung of the ladder that the start line names.
    pub(super) driver: String,
    /// The CPU its thread is pinned to, if it is.
    pub(super) cpu: Option<usize>,
    /// When it was asked what it last answered.
    pub(super) asked_at: Option<Instant>,
    /// When it was last heard.
    pub(super) heard_at: Option<Instant>,
    /// How busy its thread is.
    pub(super) busy: CpuMeter,
    /// Whether it said that another core is too far behind.
    pub(super) overloaded: bool,
    /// The kernel's number of its thread, once it has been heard.
    pub(super) thread: Option<i32>,
    /// How often it fell silent for too long.
    pub(super) stalls: u64,
    /// Since when it has been silent, while the log's last word about it is that it is.
    pub(super) silent_since: Option<Instant>,
}

impl Admin {
    /// An admin core that has heard nothing yet. [`super::collect()`] makes it listen.
    #[must_use]
    pub fn new(settings: AdminSettings, desk: Arc<Desk>) -> Arc<Self> {
        let cores = desk.workers().cores();
        let cors = Cors {
            origins: Origins::from_list(settings.cors_origins.clone()),
            credentials: false,
            exposed: vec!["Retry-After".into(), "Idempotency-Replayed".into()],
            methods: Some(vec!["GET".into(), "HEAD".into(), "POST".into()]),
            allowed_headers: Some(vec![
                "Authorization".into(),
                "Content-Type".into(),
                "Idempotency-Key".into(),
                "X-API-Key".into(),
            ]),
            max_age_s: Some(600),
        };
        let known = (0..cores).map(|_| Known {
            driver: String::new(),
            cpu: None,
            asked_at: None,
            heard_at: None,
            busy: CpuMeter::new(0),
            overloaded: false,
            thread: None,
            stalls: 0,
            silent_since: None,
        });
        let book = Book {
            totals: Totals::new(),
            known: known.collect(),
            own: Counters::default(),
            own_hists: Histograms::new(),
            cpu: CpuMeter::new(process::cpu_us()),
            heard_unix_ms: 0,
        };
        Arc::new(Self {
            settings,
            desk,
            cors,
            phase: AtomicU8::new(Phase::Starting as u8),
            book: Mutex::new(book),
            nudges: (0..cores).map(|_| Notify::new()).collect(),
            heard: Notify::new(),
        })
    }

    pub(super) fn workers(&self) -> &Arc<dyn Workers> {
        self.desk.workers()
    }

    /// Says where the process is in its life; any thread may.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Says what a worker that now runs is like; any thread may.
    pub fn introduce(&self, core: CoreId, driver: &str, cpu: Option<usize>) {
        if let Some(known) = self.book().known.get_mut(core.index()) {
            known.driver = driver.to_owned();
            known.cpu = cpu;
        }
    }

    /// Where the process is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Ordering::Relaxed)) % Phase::ALL.len()]
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        // Numbers that a panicking handler left are no worse than those before.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Microseconds on the clock that all cores share.
    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.settings.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn cores(&self) -> impl Iterator<Item = CoreId> + use<> {
        (0..self.workers().cores()).map(CoreId::from_index)
    }

    /// Books a REST call that was answered.
    pub(super) fn count_call(&self, took: Duration, status: u16) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let mut book = self.book();
        book.own.rest_calls += 1;
        book.own.rest_errors += u64::from(status >= 400);
        book.own_hists.record(Stage::RestCall, took_us);
    }
}
