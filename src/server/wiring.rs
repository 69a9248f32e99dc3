//! The admin core's thread, and how workers and it reach each other.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::log::Log;
use super::memory::{self, MemoryLimits};
use super::renewal::Renewal;
use super::sibling::Siblings;
use crate::admin::{self, Admin, AdminSettings, GatewayRoutes, Phase};
use crate::base::{CoreId, Pressure};
use crate::bridge;
use crate::command::{Desk, Errand, Full, HookDesk, Workers};
use crate::config::{Options, Tables};
use crate::mesh::Outlet;
use crate::telemetry::Outside;
use crate::worker::{AdminCall, Item};

/// REST requests of the public listener that may wait for the admin core.
const CALLS_WAITING_MAX: usize = 1_024;
/// REST requests of the public listener that are answered at one time.
const CALLS_AT_ONCE: usize = 256;
/// Time in which another process takes this one's last words, once the workers are gone.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Time that requests of back ends have once the sessions are closed; a little more than they are
/// given.
const LAST_ANSWERS: Duration = Duration::from_millis(2_500);
/// Between two looks of the gateway at what has become old.
const SWEEP: Duration = Duration::from_secs(1);

/// What the admin core is given at its start.
pub(super) struct AdminStart {
    pub(super) listener: std::net::TcpListener,
    pub(super) outlets: Vec<Outlet<Item>>,
    pub(super) options: Options,
    pub(super) tables: Tables,
    pub(super) gateway: bool,
    pub(super) desk: Arc<Desk>,
    pub(super) hooks: Arc<bridge::Hooks>,
    pub(super) outside: Arc<Outside>,
    pub(super) renewal: Option<Renewal>,
    pub(super) siblings: Option<Siblings>,
    pub(super) memory: MemoryLimits,
    pub(super) pressure: Arc<Pressure>,
    pub(super) log: Log,
    pub(super) epoch: (Instant, u64),
}

/// The admin core, from outside.
pub(super) struct AdminThread {
    pub(super) calls: mpsc::Sender<AdminCall>,
    admin: Arc<Admin>,
    closing: watch::Sender<bool>,
    /// The workers are gone.
    ending: watch::Sender<bool>,
    /// Told when the last request has been answered.
    silent: std::sync::mpsc::Receiver<()>,
    thread: JoinHandle<()>,
}

/// The workers' inboxes, as the admin core sees them.
struct Inboxes(Vec<Outlet<Item>>);

impl Workers for Inboxes {
    fn cores(&self) -> usize {
        self.0.len()
    }

    fn send(&self, core: CoreId, errand: Errand) -> Result<(), Full> {
        self.0[core.index()].try_send(Item::Errand(errand)).map_err(|_| Full)
    }
}

/// Where the commands of back ends are done, whichever door they come by.
pub(super) fn desk(outlets: &[Outlet<Item>], seed: u64) -> Arc<Desk> {
    Desk::new(Arc::new(Inboxes(outlets.to_vec())), seed)
}

/// Starts the bridges' thread.
pub(super) fn bridge(
    server: &super::Server,
    inlets: bridge::Inlets,
    desk: &Arc<Desk>,
    log: &super::log::Log,
    outside: Arc<Outside>,
) -> std::io::Result<bridge::BridgeThread> {
    // Whoever starts a server has looked whether they can be read.
    let token_keys = server.token_keys.as_ref().cloned().unwrap_or_default();
    let log = log.clone();
    bridge::start(bridge::BridgeStart {
        inlets,
        workers: Arc::clone(desk.workers()),
        desk: Arc::clone(desk),
        options: server.options.clone(),
        tables: server.tables.clone(),
        hooks: Arc::clone(&server.hooks),
        token_keys,
        log: Arc::new(move |level, event, fields| log.line(level, event, fields)),
        outside,
    })
}

/// Starts the thread.
pub(super) fn start(start: AdminStart) -> std::io::Result<AdminThread> {
    let routes = if start.gateway { GatewayRoutes::On } else { GatewayRoutes::Off };
    let mut settings = AdminSettings::new(&start.options, &start.tables, routes, start.epoch.0);
    settings.hooks = Some(Arc::clone(&start.hooks) as Arc<dyn HookDesk>);
    let settings = AdminSettings {
        outside: Arc::clone(&start.outside),
        pressure: Arc::clone(&start.pressure),
        ..settings
    };
    let admin = Admin::new(settings, Arc::clone(&start.desk));
    let (calls, waiting) = mpsc::channel(CALLS_WAITING_MAX);
    let (closing, closed) = watch::channel(false);
    let (ending, ended) = watch::channel(false);
    let (hush, silent) = std::sync::mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let core = Arc::clone(&admin);
    let thread = std::thread::Builder::new()
        .name(String::from("admin"))
        .spawn(move || runtime.block_on(live(core, start, (waiting, closed, ended), hush)))?;
    Ok(AdminThread { calls, admin, closing, ending, silent, thread })
}

/// Requests of the public listener; whether no more are taken; whether the workers are gone.
type Signals = (mpsc::Receiver<AdminCall>, watch::Receiver<bool>, watch::Receiver<bool>);

async fn live(
    admin: Arc<Admin>,
    start: AdminStart,
    (waiting, mut closed, mut ended): Signals,
    hush: std::sync::mpsc::Sender<()>,
) {
    let log = start.log;
    tokio::spawn(memory::watch(start.memory, start.pressure, log.clone()));
    let tell = Arc::new(move |level, event, fields| log.line(level, event, fields));
    tokio::spawn(admin::collect(Arc::clone(&admin), tell));
    tokio::spawn(answer_calls(Arc::clone(&admin), start.outlets.clone(), waiting));
    if let Some(renewal) = start.renewal {
        tokio::spawn(renewal.run(start.outlets.clone()));
    }
    let siblings = start.siblings.map(|siblings| tokio::spawn(siblings.run(closed.clone())));
    if start.gateway {
        tokio::spawn(sweep(start.outlets));
    }
    let shutdown = async move {
        // A sender that is gone means the process ends.
        let _gone = closed.wait_for(|closed| *closed).await;
    };
    // The listener was opened by us; if it cannot be used, health says so from outside.
    let _unusable = admin::serve(vec![start.listener], admin, shutdown).await;
    drop(hush);
    // Requests of the public listener are answered as long as there are workers.
    let _gone = ended.wait_for(|ended| *ended).await;
    if let Some(siblings) = siblings {
        // What was published here until the end is to reach the clients that have moved on.
        let _late = tokio::time::timeout(LAST_WORDS, siblings).await;
    }
}

/// Answers what came in on the public listener; a worker writes the answer.
async fn answer_calls(
    admin: Arc<Admin>,
    outlets: Vec<Outlet<Item>>,
    mut waiting: mpsc::Receiver<AdminCall>,
) {
    let router = admin::router(&admin);
    let at_once = Arc::new(tokio::sync::Semaphore::new(CALLS_AT_ONCE));
    while let Some(call) = waiting.recv().await {
        let Ok(permit) = Arc::clone(&at_once).acquire_owned().await else { return };
        let (router, outlet) = (router.clone(), outlets[call.core.index()].clone());
        tokio::spawn(async move {
            let AdminCall { conn, peer, head, body, .. } = call;
            let (bytes, keep_alive) = admin::call(&router, &head, body, peer).await;
            let mut item = Item::Answer { conn, bytes, keep_alive };
            while let Err(back) = outlet.try_send(item) {
                item = back;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            drop(permit);
        });
    }
}

/// Lets the gateway of every core look at what has become old.
async fn sweep(outlets: Vec<Outlet<Item>>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        for outlet in &outlets {
            // A core that is behind is swept a second later.
            let _behind = outlet.try_send(Item::Errand(Box::new(crate::gateway::sweep)));
        }
    }
}

impl AdminThread {
    /// All workers run, each on this driver and CPU.
    pub(super) fn workers_run<'a>(
        &self,
        workers: impl Iterator<Item = (CoreId, &'a str, Option<usize>)>,
    ) {
        for (core, driver, cpu) in workers {
            self.admin.introduce(core, driver, cpu);
        }
        self.admin.set_phase(Phase::Serving);
    }

    /// From now on the process is not ready.
    pub(super) fn set_draining(&self) {
        self.admin.set_phase(Phase::Draining);
    }

    /// Takes no more requests, and waits until those under way are answered: workers must not go
    /// before.
    pub(super) fn close(&self) {
        self.closing.send_replace(true);
        // The other end is dropped when the last one is answered.
        let _silent = self.silent.recv_timeout(LAST_ANSWERS);
    }

    /// The workers are gone: the thread, which was closed, ends.
    pub(super) fn end(self) -> JoinHandle<()> {
        self.ending.send_replace(true);
        self.thread
    }
}
