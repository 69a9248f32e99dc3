//! The bridges' thread: what it is given, its start, its end.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::http::Http;
use super::webhook::{self, Caller, Hooks};
use super::{Inlets, Logger, identity, rabbitmq};
use crate::api::Io;
use crate::auth::KeySet;
use crate::base::CoreId;
use crate::command::{Desk, Errand, Workers};
use crate::config::{Options, Tables};
use crate::gateway::backend::{
    self, AdmissionRequest, Fact, Outcome, RouteFailure, RoutedEvent, Ticket, Verdict,
};
use crate::gateway::{TokenVerdict, settle_token};
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
    /// Its webhooks.
    pub hooks: Arc<Hooks>,
    /// Keys of the configuration that tokens may be signed with.
    pub token_keys: KeySet,
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
pub const CLOSING_MAX: Duration = Duration::from_secs(5);

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
    pub(super) async fn closing(&self) {
        let mut standing = self.standing.clone();
        // A sender that is gone means the same.
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

    /// Tells a core what became of an event.
    pub(super) async fn settle(&self, ticket: Ticket, outcome: Outcome) {
        self.tell(ticket.core, outcome, move |io, outcome| backend::settle(io, ticket, outcome))
            .await;
    }

    /// Tells a core what a token says.
    pub(super) async fn settle_token(&self, ticket: Ticket, verdict: TokenVerdict) {
        self.tell(ticket.core, verdict, move |io, verdict| settle_token(io, ticket, verdict)).await;
    }

    /// Tells a core whether a client may come in.
    pub(super) async fn settle_admission(&self, ticket: Ticket, verdict: Verdict) {
        let settle = move |io: &Io, verdict| backend::settle_admission(io, ticket, verdict);
        self.tell(ticket.core, verdict, settle).await;
    }

    /// A core that is behind is tried again, as long as there are cores.
    async fn tell<T: Clone + Send + 'static>(
        &self,
        core: CoreId,
        what: T,
        settle: impl FnOnce(&Io, T) + Clone + Send + 'static,
    ) {
        loop {
            let (what, settle) = (what.clone(), settle.clone());
            let errand: Errand = Box::new(move |io| settle(io, what));
            if self.workers.send(core, errand).is_ok()
                || *self.standing.borrow() == Standing::Closing
            {
                return;
            }
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
    let BridgeStart { inlets, workers, desk, options, tables, token_keys, hooks, log, outside } =
        start;
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
        .spawn(move || runtime.block_on(live(common, inlets, token_keys, hooks)))?;
    Ok(BridgeThread { standing, thread })
}

/// Runs every bridge that is configured, until all have ended.
async fn live(common: Common, inlets: Inlets, token_keys: KeySet, hooks: Arc<Hooks>) {
    let Inlets { broker, hooks: hook_events, admissions, tokens, broker_facts, hook_facts } =
        inlets;
    let mut bridges = JoinSet::new();
    bridges.spawn(identity::run(common.clone(), token_keys, tokens));
    bridges.spawn(broker_or_none(common.clone(), broker, broker_facts));
    if common.tables.hooks.is_empty() {
        bridges.spawn(without_hooks(common.clone(), hook_events));
        bridges.spawn(answer_admissions(common, None, admissions));
    } else {
        let caller = Caller::new(common.clone(), hooks, Http::new());
        bridges.spawn(webhook::run(caller.clone(), hook_events, hook_facts));
        bridges.spawn(answer_admissions(common, Some(caller), admissions));
    }
    while bridges.join_next().await.is_some() {}
}

/// Asks whoever is configured whether clients may come in.
async fn answer_admissions(
    common: Common,
    hooks: Option<Caller>,
    mut requests: mpsc::Receiver<AdmissionRequest>,
) {
    // Bounded by whoever is asked; clients that still wait end with the workers.
    let mut asking = JoinSet::new();
    loop {
        tokio::select! {
            request = common.next(&mut requests) => match (request, &hooks) {
                (Some(request), Some(hooks)) if hooks.judges(&request.namespace) => {
                    drop(asking.spawn(hooks.clone().admit(request)));
                }
                (Some(request), _) => nobody_to_ask(&common, request).await,
                (None, _) => return,
            },
            Some(_) = asking.join_next() => {}
        }
    }
}

/// Hands events and facts to the broker, if there is one.
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

/// The checks of the configuration keep this from happening, too.
async fn nobody_to_ask(common: &Common, request: AdmissionRequest) {
    let verdict = Verdict::Refuse {
        message: String::from("nobody can be asked about clients"),
        code: String::from("AUTH_UNAVAILABLE"),
        retryable: true,
    };
    common.settle_admission(request.ticket, verdict).await;
}

impl BridgeThread {
    /// The process drains.
    pub fn drain(&self) {
        self.standing.send_replace(Standing::Draining);
    }

    /// The workers are gone: the thread ends, once what it kept has left or is written down.
    pub fn end(self) -> JoinHandle<()> {
        self.standing.send_replace(Standing::Closing);
        self.thread
    }
}
