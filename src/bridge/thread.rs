//! The bridges' thread: what it is given, its start, its end.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::{Inlets, Logger, rabbitmq};
use crate::command::{Desk, Workers};
use crate::config::{Options, Tables};
use crate::gateway::backend::{
    self, AdmissionRequest, Fact, Outcome, RouteFailure, RoutedEvent, Ticket, Verdict,
};
use crate::telemetry::Outside;

/// What the bridges are given.
pub struct BridgeStart {
    /// What workers hand over.
    pub inlets: Inlets,
    /// The way to the workers.
    pub workers: Arc<dyn Workers>,
    /// Where what back ends ask for is done.
    pub desk: Arc<Desk>,
    /// The configuration.
    pub options: Options,
    /// What only the file says.
    pub tables: Tables,
    /// The log.
    pub log: Logger,
    /// Where bridges write down what they count, and how their links are.
    pub outside: Arc<Outside>,
}

/// Where a process is, as bridges see it. It only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Back ends are heard and told.
    Open,
    /// Nothing new is taken from outside; what was taken is finished, and clients that leave are
    /// still told of.
    Draining,
    /// The workers are gone: what is kept is handed over or written down, and then this ends.
    Closing,
}

/// The thread, from outside.
pub struct BridgeThread {
    standing: watch::Sender<Standing>,
    thread: JoinHandle<()>,
}

/// Time that what was kept has to leave once the workers are gone.
pub(super) const CLOSING_MAX: Duration = Duration::from_secs(5);

/// What all bridges are given alike.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) workers: Arc<dyn Workers>,
    pub(super) desk: Arc<Desk>,
    pub(super) options: Arc<Options>,
    pub(super) tables: Arc<Tables>,
    pub(super) log: Logger,
    /// What bridges count, and how their links are.
    pub(super) outside: Arc<Outside>,
    pub(super) standing: watch::Receiver<Standing>,
}

impl Common {
    /// Waits until the workers are gone.
    async fn closing(&self) {
        let mut standing = self.standing.clone();
        let _gone = standing.wait_for(|standing| *standing == Standing::Closing).await;
    }

    /// The next thing that workers hand over; nothing more once they are gone, whoever still holds
    /// their end of the queue.
    pub(super) async fn next<T>(&self, queue: &mut mpsc::Receiver<T>) -> Option<T> {
        tokio::select! {
            taken = queue.recv() => taken,
            () = self.closing() => None,
        }
    }

    /// Tells a core what became of an event; a core that is behind is tried again.
    pub(super) async fn settle(&self, ticket: Ticket, outcome: Outcome) {
        let errand = move |outcome: Outcome| {
            let errand: crate::command::Errand =
                Box::new(move |io: &crate::api::Io| backend::settle(io, ticket, outcome));
            errand
        };
        while self.workers.send(ticket.core, errand(outcome.clone())).is_err() {
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Tells a core whether a client may come in.
    pub(super) async fn settle_admission(&self, ticket: Ticket, verdict: Verdict) {
        let errand = move |verdict: Verdict| {
            let errand: crate::command::Errand =
                Box::new(move |io: &crate::api::Io| backend::settle_admission(io, ticket, verdict));
            errand
        };
        while self.workers.send(ticket.core, errand(verdict.clone())).is_err() {
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Between two tries to reach a core that is behind.
const AGAIN: Duration = Duration::from_millis(2);

/// Starts the thread.
///
/// # Errors
/// No thread or no runtime is to be had.
pub fn start(start: BridgeStart) -> std::io::Result<BridgeThread> {
    let (standing, heard) = watch::channel(Standing::Open);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let BridgeStart { inlets, workers, desk, options, tables, log, outside } = start;
    let common = Common {
        workers,
        desk,
        options: Arc::new(options),
        tables: Arc::new(tables),
        log,
        outside,
        standing: heard,
    };
    let thread = std::thread::Builder::new()
        .name(String::from("bridge"))
        .spawn(move || runtime.block_on(live(common, inlets)))?;
    Ok(BridgeThread { standing, thread })
}

/// Runs every bridge that is configured, until all have ended.
async fn live(common: Common, inlets: Inlets) {
    let Inlets { broker, hooks, admissions, broker_facts, hook_facts } = inlets;
    drop(hook_facts);
    let mut bridges = JoinSet::new();
    bridges.spawn(broker_or_none(common.clone(), broker, broker_facts));
    bridges.spawn(without_hooks(common.clone(), hooks));
    bridges.spawn(without_provider(common, admissions));
    while bridges.join_next().await.is_some() {}
}

async fn broker_or_none(
    common: Common,
    events: mpsc::Receiver<RoutedEvent>,
    facts: mpsc::Receiver<Fact>,
) {
    let work = rabbitmq::Work { events, facts };
    if let Some(work) = rabbitmq::run(common.clone(), work).await {
        without_broker(common, work.events).await;
    }
}

/// Nobody is configured to take these; the checks of the configuration keep it from happening.
async fn without_broker(common: Common, mut events: mpsc::Receiver<RoutedEvent>) {
    while let Some(event) = common.next(&mut events).await {
        common.settle(event.ticket, Outcome::Failed(RouteFailure::Unroutable)).await;
    }
}

async fn without_hooks(common: Common, mut events: mpsc::Receiver<RoutedEvent>) {
    while let Some(event) = common.next(&mut events).await {
        common.settle(event.ticket, Outcome::Failed(RouteFailure::Unroutable)).await;
    }
}

async fn without_provider(common: Common, mut requests: mpsc::Receiver<AdmissionRequest>) {
    while let Some(request) = common.next(&mut requests).await {
        let verdict = Verdict::Refuse {
            message: String::from("nobody can be asked about clients"),
            code: String::from("AUTH_UNAVAILABLE"),
            retryable: true,
        };
        common.settle_admission(request.ticket, verdict).await;
    }
}

impl BridgeThread {
    /// The process drains.
    pub fn drain(&self) {
        self.standing.send_replace(Standing::Draining);
    }

    /// The workers are gone: ends the thread, once what it kept has left or is written down.
    pub fn end(self) {
        self.standing.send_replace(Standing::Closing);
        // A panic there has been reported already.
        let _panicked = self.thread.join();
    }
}
