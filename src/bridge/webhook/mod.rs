//! Webhooks: HTTP servers that are asked whether clients may come in, are handed events, and are
//! told of what happens.
//!
//! Who waits for an answer (a client at the door, an event with a route) gets one call, repeated
//! only where the server has surely not done it. What nobody waits for is queued: in order for each
//! session, in batches, at least once, until it has arrived or becomes a dead letter. A breaker
//! leaves a server alone that fails in a row.
//!
//! Pure: `breaker.rs`, `queue.rs`, `dead.rs`, `sign.rs`, `shape.rs`. `desk.rs` is what other
//! threads see, `call.rs` is one call, `deliver.rs` empties the queues.

mod breaker;
mod call;
mod dead;
mod deliver;
mod desk;
mod queue;
#[cfg(test)]
mod queue_tests;
mod shape;
#[cfg(test)]
mod shape_tests;
mod sign;

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use desk::Hooks;
pub use shape::{reply, verdict};

use self::call::{Fault, Message};
use self::desk::Pushed;
use super::http::Http;
use super::thread::Common;
use crate::bridge::body;
use crate::command::unix_ms;
use crate::config::{HookEvent, LogLevel, OnError, RouteAck};
use crate::gateway::backend::{
    AdmissionRequest, Client, Fact, FactKind, Outcome, RouteFailure, RoutedEvent, Verdict,
};

/// Whoever calls hooks. Cheap to clone.
#[derive(Clone)]
pub(super) struct Caller {
    common: Common,
    hooks: Arc<Hooks>,
    http: Http,
    /// Breakers and queues count milliseconds from here.
    epoch: Instant,
}

impl Caller {
    pub(super) fn new(common: Common, hooks: Arc<Hooks>, http: Http) -> Self {
        Self { common, hooks, http, epoch: Instant::now() }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether a hook says who may come into a namespace.
    pub(super) fn judges(&self, namespace: &str) -> bool {
        self.hooks.judge_of(namespace).is_some()
    }

    /// Asks whether a client may come in, and tells its core.
    pub(super) async fn admit(self, request: AdmissionRequest) {
        let verdict = self.verdict(&request).await;
        self.common.settle_admission(request.ticket, verdict).await;
    }

    async fn verdict(&self, request: &AdmissionRequest) -> Verdict {
        let Some(index) = self.hooks.judge_of(&request.namespace) else { return unavailable() };
        let line = self.hooks.line(index);
        let answer = match self.admit_asker(line) {
            Some(_asker) => {
                let body = shape::connect(request, &line.hook.headers, unix_ms());
                let deadline = Instant::now() + Duration::from_millis(line.hook.timeout_ms);
                let (id, body) = (new_id(), Bytes::from(body));
                self.ask(line, &Message { id: &id, body: &body }, deadline).await
            }
            None => Err(Fault::Crowded),
        };
        match answer {
            Ok(answer) => shape::verdict(&answer.body).unwrap_or_else(|| {
                line.note_error("its answer to connect fits no schema");
                // It was asked, and may have said no: nobody comes in by a mistake in its words.
                unavailable()
            }),
            Err(fault) if line.hook.on_error == OnError::Allow && fault.is_its_own() => {
                Verdict::Abstain
            }
            Err(_) => unavailable(),
        }
    }

    /// Hands an event over, and tells its core what became of it.
    pub(super) async fn route(self, event: RoutedEvent) {
        let outcome = self.outcome(&event).await;
        self.common.settle(event.ticket, outcome).await;
    }

    async fn outcome(&self, event: &RoutedEvent) -> Outcome {
        let route = self.common.tables.routes.get(event.route);
        let hook = route.and_then(|route| match &route.to {
            crate::config::Destination::Hook(name) => {
                self.hooks.lines.iter().position(|line| line.hook.name == *name)
            }
            crate::config::Destination::Rabbitmq => None,
        });
        let (Some(route), Some(index)) = (route, hook) else {
            return Outcome::Failed(RouteFailure::Unroutable);
        };
        let line = self.hooks.line(index);
        let body = body::event(event);
        let id = new_id();
        if route.ack == RouteAck::Immediate {
            return match self.keep(index, &event.client, body) {
                Pushed::Kept => Outcome::Queued { message_id: id },
                _ => Outcome::Failed(RouteFailure::HookUnavailable { retry_after_ms: 1_000 }),
            };
        }
        let deadline = Instant::now() + Duration::from_millis(route.timeout_ms);
        let answer = match self.admit_asker(line) {
            Some(_asker) => {
                let body = Bytes::from(body);
                self.ask(line, &Message { id: &id, body: &body }, deadline).await
            }
            None => Err(Fault::Crowded),
        };
        match answer {
            Ok(answer) if route.ack == RouteAck::Reply => {
                let outcome = shape::reply(&answer.body);
                if outcome == Outcome::Failed(RouteFailure::HookFailed) {
                    line.note_error("its answer to an event fits no schema");
                }
                outcome
            }
            Ok(_) => Outcome::Accepted { message_id: id },
            Err(fault) => Outcome::Failed(failure(&fault)),
        }
    }

    /// Tells every hook that wants to hear of it.
    fn tell(&self, fact: &Fact) {
        let kind = match fact.kind {
            FactKind::Connected | FactKind::Recovered => HookEvent::Connected,
            FactKind::Disconnected(_) => HookEvent::Disconnect,
            FactKind::Joined(_) => HookEvent::Join,
            FactKind::Left(_) => HookEvent::Leave,
        };
        for (index, line) in self.hooks.lines.iter().enumerate() {
            if line.hook.hears(kind, &fact.client.namespace) {
                self.keep(index, &fact.client, shape::fact(fact));
            }
        }
    }

    fn keep(&self, index: usize, client: &Client, json: String) -> Pushed {
        let pushed = self.hooks.push(index, &lane(client), json, self.now_ms());
        if pushed == Pushed::LostFirst {
            let fields = vec![("hook", self.hooks.line(index).hook.name.clone())];
            (self.common.log)(LogLevel::Warn, "webhook queue full, facts are lost", fields);
        }
        pushed
    }
}

/// What must arrive in order: the events of a session; without one, those of a socket.
fn lane(client: &Client) -> Arc<str> {
    match &client.session {
        Some(session) => Arc::from(format!("{}\0{}\0{session}", client.namespace, client.user)),
        None => Arc::clone(&client.socket_id),
    }
}

fn unavailable() -> Verdict {
    Verdict::Refuse {
        message: String::from("the back end cannot be asked now"),
        code: String::from("HOOK_UNAVAILABLE"),
        retryable: true,
    }
}

fn failure(fault: &Fault) -> RouteFailure {
    match fault {
        Fault::Skipped { .. } | Fault::Crowded | Fault::NotSent(_) | Fault::Later { .. } => {
            RouteFailure::HookUnavailable { retry_after_ms: fault.client_retry_ms() }
        }
        Fault::TimedOut => RouteFailure::Timeout,
        Fault::Status(_) | Fault::Failed(_) => RouteFailure::HookFailed,
    }
}

/// An id that no other message has.
fn new_id() -> String {
    let number = || getrandom::u64().unwrap_or(0);
    format!("msg_{:016x}{:016x}", number(), number())
}

/// Calls hooks until the process closes; then what is queued has a while to leave.
pub(super) async fn run(
    caller: Caller,
    mut events: mpsc::Receiver<RoutedEvent>,
    mut facts: mpsc::Receiver<Fact>,
) {
    let mut pumps = JoinSet::new();
    for index in 0..caller.hooks.lines.len() {
        pumps.spawn(deliver::pump(caller.clone(), index));
    }
    // Bounded by each hook's own `queue_max`; whoever waits ends with the workers.
    let mut asking = JoinSet::new();
    let (mut more_events, mut more_facts) = (true, true);
    loop {
        tokio::select! {
            event = events.recv(), if more_events => match event {
                Some(event) => drop(asking.spawn(caller.clone().route(event))),
                None => more_events = false,
            },
            fact = facts.recv(), if more_facts => match fact {
                Some(fact) => caller.tell(&fact),
                None => more_facts = false,
            },
            Some(_) = asking.join_next() => {}
            () = caller.common.closing() => break,
        }
    }
    drop(asking);
    while let Ok(fact) = facts.try_recv() {
        caller.tell(&fact);
    }
    deliver::finish(&caller, pumps).await;
}
