//! `[[routes]]`: which client events go to which back end.

use super::super::ConfigError;
use super::super::shapes::{self, is_name};
use super::key::KeyTemplate;
use super::row::Row;
use super::rules::glob_match;

/// Where events of some names go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The namespace, as it stands.
    pub namespace: String,
    /// Pattern of event names.
    pub event: String,
    /// Who takes them.
    pub to: Destination,
    /// When the client's acknowledgement is sent.
    pub ack: RouteAck,
    /// How long the back end may take before the client hears `TIMEOUT`.
    pub timeout_ms: u64,
    /// RabbitMQ: the exchange, if it is not the one of client events.
    pub exchange: Option<String>,
    /// RabbitMQ: the routing key.
    pub key: KeyTemplate,
    /// RabbitMQ: how long an event is worth something.
    pub expiration_ms: Option<u64>,
}

/// Who takes routed events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The message broker.
    Rabbitmq,
    /// The row of `[[hooks]]` with this name.
    Hook(String),
}

/// What a client's acknowledgement waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteAck {
    /// The back end has the event and will not lose it.
    Confirm,
    /// The back end has answered; its answer is the acknowledgement.
    Reply,
    /// Nothing: it is on its way.
    Immediate,
}

const ACKS: &[(&str, RouteAck)] = &[
    ("confirm", RouteAck::Confirm),
    ("reply", RouteAck::Reply),
    ("immediate", RouteAck::Immediate),
];
const KEYS: &[&str] =
    &["namespace", "event", "to", "ack", "timeout_ms", "exchange", "routing_key", "expiration_ms"];
const KEY: &str = "1 to 255 visible ASCII characters with places such as {event}, {ns}, {user}, \
                   {session} and {args.0.toolId}";
/// Time a back end has, unless said otherwise.
const TIMEOUT_MS: u64 = 30_000;
const DESTINATIONS: &str = "rabbitmq, or hook: with the name of a row of [[hooks]]";

impl Route {
    pub(super) fn read(row: &Row<'_>) -> Result<Self, ConfigError> {
        row.only(KEYS)?;
        let key =
            row.text_or("routing_key", "{event}", KEY, |text| KeyTemplate::parse(text).is_some())?;
        let key = KeyTemplate::parse(&key).ok_or_else(|| row.refused("routing_key", &key, KEY))?;
        let has = |member: &str| row.members.contains_key(member);
        let exchange = "1 to 255 visible ASCII characters";
        let is_exchange = |text: &str| {
            (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let is_namespace = |text: &str| shapes::namespace(text).is_some();
        let to = row.text("to", DESTINATIONS, |text| destination(text).is_some())?;
        Ok(Self {
            namespace: row.text_or("namespace", "/", "a name that starts with /", is_namespace)?,
            event: row.text("event", "a pattern of 1 to 256 bytes with * and ?", is_name)?,
            to: destination(&to).unwrap_or(Destination::Rabbitmq),
            ack: row.word_or("ack", RouteAck::Confirm, ACKS)?,
            timeout_ms: row.number_or("timeout_ms", TIMEOUT_MS, 100..=600_000)?,
            exchange: match has("exchange") {
                true => Some(row.text("exchange", exchange, is_exchange)?),
                false => None,
            },
            key,
            expiration_ms: match has("expiration_ms") {
                true => Some(row.number_or("expiration_ms", 0, 100..=604_800_000)?),
                false => None,
            },
        })
    }

    /// Whether it takes events that it does not name.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        self.event.contains(['*', '?'])
    }

    /// Whether this is where an event goes. The first route of the file that takes it has it.
    #[must_use]
    pub fn takes(&self, namespace: &str, event: &str) -> bool {
        self.namespace == namespace && glob_match(&self.event, event)
    }
}

fn destination(text: &str) -> Option<Destination> {
    match text.strip_prefix("hook:") {
        Some(name) => is_name(name).then(|| Destination::Hook(name.to_owned())),
        None => (text == "rabbitmq").then_some(Destination::Rabbitmq),
    }
}
