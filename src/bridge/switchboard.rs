//! What workers hold of the bridges: bounded queues, one a back end.

use tokio::sync::mpsc;

use crate::config::{Destination, Route, Tables};
use crate::gateway::TokenRequest;
use crate::gateway::backend::{AdmissionRequest, Backends, Busy, Fact, RouteFailure, RoutedEvent};

/// Events that may wait for one back end to take them over.
const EVENTS_WAITING_MAX: usize = 16_384;
/// Clients that may wait to be asked about.
const ADMISSIONS_WAITING_MAX: usize = 16_384;
/// New tokens of clients that are in already, which may wait to be verified.
const REFRESHES_WAITING_MAX: usize = 1_024;
/// Facts that may wait for one back end.
const FACTS_WAITING_MAX: usize = 65_536;
/// When a client that met a full queue should try again.
const RETRY_AFTER_MS: u64 = 1_000;

/// The workers' end of the queues.
#[derive(Debug)]
pub struct Switchboard {
    destinations: Vec<Destination>,
    broker: mpsc::Sender<RoutedEvent>,
    hooks: mpsc::Sender<RoutedEvent>,
    admissions: mpsc::Sender<AdmissionRequest>,
    logins: mpsc::Sender<TokenRequest>,
    refreshes: mpsc::Sender<TokenRequest>,
    facts: Vec<mpsc::Sender<Fact>>,
}

/// The bridges' end of the queues.
#[derive(Debug)]
pub struct Inlets {
    /// Events for the broker.
    pub broker: mpsc::Receiver<RoutedEvent>,
    /// Events for webhooks.
    pub hooks: mpsc::Receiver<RoutedEvent>,
    /// Clients that want in.
    pub admissions: mpsc::Receiver<AdmissionRequest>,
    /// Tokens to verify.
    pub tokens: TokenInlets,
    /// Facts for the broker.
    pub broker_facts: mpsc::Receiver<Fact>,
    /// Facts for webhooks.
    pub hook_facts: mpsc::Receiver<Fact>,
}

/// Tokens to verify. Whoever is in already does not stand in line before those at the door.
#[derive(Debug)]
pub struct TokenInlets {
    /// Of clients that want in.
    pub logins: mpsc::Receiver<TokenRequest>,
    /// New ones of clients that are in.
    pub refreshes: mpsc::Receiver<TokenRequest>,
}

/// Both ends, for the routes of a configuration. `facts` says whether broker and webhooks want to
/// hear of facts.
#[must_use]
pub fn switchboard(tables: &Tables, facts: [bool; 2]) -> (Switchboard, Inlets) {
    let (broker, broker_in) = mpsc::channel(EVENTS_WAITING_MAX);
    let (hooks, hooks_in) = mpsc::channel(EVENTS_WAITING_MAX);
    let (admissions, admissions_in) = mpsc::channel(ADMISSIONS_WAITING_MAX);
    let (logins, logins_in) = mpsc::channel(ADMISSIONS_WAITING_MAX);
    let (refreshes, refreshes_in) = mpsc::channel(REFRESHES_WAITING_MAX);
    let (broker_facts, broker_facts_in) = mpsc::channel(FACTS_WAITING_MAX);
    let (hook_facts, hook_facts_in) = mpsc::channel(FACTS_WAITING_MAX);
    let wanted = [broker_facts, hook_facts].into_iter().zip(facts);
    let switchboard = Switchboard {
        destinations: tables.routes.iter().map(|route: &Route| route.to.clone()).collect(),
        broker,
        hooks,
        admissions,
        logins,
        refreshes,
        facts: wanted.filter_map(|(queue, wanted)| wanted.then_some(queue)).collect(),
    };
    let inlets = Inlets {
        broker: broker_in,
        hooks: hooks_in,
        admissions: admissions_in,
        tokens: TokenInlets { logins: logins_in, refreshes: refreshes_in },
        broker_facts: broker_facts_in,
        hook_facts: hook_facts_in,
    };
    (switchboard, inlets)
}

impl Backends for Switchboard {
    fn route(&self, event: RoutedEvent) -> Result<(), RouteFailure> {
        let retry_after_ms = RETRY_AFTER_MS;
        match self.destinations.get(event.route) {
            Some(Destination::Hook(_)) => self
                .hooks
                .try_send(event)
                .map_err(|_| RouteFailure::HookUnavailable { retry_after_ms }),
            Some(Destination::Rabbitmq) => self
                .broker
                .try_send(event)
                .map_err(|_| RouteFailure::BrokerUnavailable { retry_after_ms }),
            None => Err(RouteFailure::Unroutable),
        }
    }

    fn admit(&self, request: AdmissionRequest) -> Result<(), Busy> {
        self.admissions.try_send(request).map_err(|_| Busy)
    }

    fn verify(&self, request: TokenRequest) -> Result<(), Busy> {
        let queue = if request.is_refresh { &self.refreshes } else { &self.logins };
        queue.try_send(request).map_err(|_| Busy)
    }

    fn tell(&self, fact: Fact) {
        for queue in &self.facts {
            // A back end that is this far behind misses facts; their numbers show the gap.
            let _full = queue.try_send(fact.clone());
        }
    }
}
