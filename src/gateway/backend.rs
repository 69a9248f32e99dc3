//! The way to back ends: what a core hands over, and what it is told of it later.
//!
//! A client's event that a route takes, a client that wants in, and facts of clients that come and
//! go leave a core through [`Backends`], which never blocks. What became of it comes back as an
//! errand with the [`Ticket`] it left with; a ticket whose socket is gone, or that comes twice,
//! finds nothing. One that nobody settles is settled here when it is due (`answer_late`): a
//! bridge that is slow, or whose task has panicked, keeps no client waiting for ever.

use std::fmt::Debug;
use std::rc::Rc;
use std::sync::Arc;

use super::Gateway;
use super::error::VerbError;
use super::events::refuse;
use super::identity::Identity;
use crate::api::{Ack, Event, Handshake, Io, Resolver, Socket, promise};
use crate::auth::{Claims, TokenError};
use crate::base::{CoreId, Key, Loaded};
use crate::socketio::escape_json;

/// Who takes what leaves a core: the bridges in production. Called on worker cores, so it never
/// blocks: it takes a matter or says at once that it does not.
pub trait Backends: Debug + Send + Sync {
    /// Takes an event to its back end. What becomes of it is told to [`settle`], within the time
    /// of its route; the gateway itself answers the client `TIMEOUT` soon after that.
    ///
    /// # Errors
    /// Nothing was taken; the client is told why.
    fn route(&self, event: RoutedEvent) -> Result<(), RouteFailure>;

    /// Asks whether a client may come in. The verdict is told to [`settle_admission`].
    ///
    /// # Errors
    /// Nobody can be asked now.
    fn admit(&self, request: AdmissionRequest) -> Result<(), Busy>;

    /// Verifies a token that is too dear, or too far away, for a worker. What it says is told to
    /// [`settle_token`](super::settle_token).
    ///
    /// # Errors
    /// Nobody can be asked now.
    fn verify(&self, request: super::TokenRequest) -> Result<(), Busy> {
        drop(request);
        Err(Busy)
    }

    /// Takes note of something that happened. What cannot be kept is counted by the taker.
    fn tell(&self, fact: Fact);
}

/// A place in a core where an answer is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The core that waits.
    pub core: CoreId,
    pub(super) key: Key,
}

#[cfg(test)]
impl Ticket {
    /// A ticket of nobody's.
    pub(crate) const fn for_test(core: CoreId, key: Key) -> Self {
        Self { core, key }
    }
}

/// Nobody can be asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// A client as back ends know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its public id.
    pub socket_id: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Whose it is.
    pub user: Arc<str>,
    /// The user's session, if it named one.
    pub session: Option<Arc<str>>,
}

/// An event of a client on its way to a back end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutedEvent {
    /// Which row of the configuration's routes takes it.
    pub route: usize,
    /// Who sent it.
    pub client: Client,
    /// Its name.
    pub event: String,
    /// Its arguments: JSON without the brackets, valid by JavaScript's grammar.
    pub args: String,
    /// Its binary attachments, to which placeholders in the arguments refer.
    pub attachments: Vec<Vec<u8>>,
    /// The payload's own `requestId`, if it is an object that has one.
    pub request_id: Option<String>,
    /// Its number among all that this socket gave to back ends, from 1.
    pub seq: u64,
    /// When it arrived, milliseconds since the epoch.
    pub at_unix_ms: u64,
    /// Whether its client asked for an acknowledgement.
    pub wants_ack: bool,
    /// Where the outcome is waited for.
    pub ticket: Ticket,
    /// Counts its bytes for as long as it is kept.
    pub load: Arc<Loaded>,
}

/// What became of a routed event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The back end has it and will not lose it.
    Accepted {
        /// Its id there.
        message_id: String,
    },
    /// It is kept here until the back end can have it.
    Queued {
        /// The id it will have there.
        message_id: String,
    },
    /// The back end has answered: arguments for the acknowledgement, raw as in
    /// [`RoutedEvent::args`].
    Reply {
        /// The arguments.
        args: String,
        /// Their attachments.
        attachments: Vec<Vec<u8>>,
    },
    /// It did not get there, or nobody knows.
    Failed(RouteFailure),
}

/// Why a routed event did not reach its back end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteFailure {
    /// No queue is bound for it.
    Unroutable,
    /// The broker has refused it.
    BrokerNack,
    /// Nobody said in time whether the broker has it; it may arrive, or may have.
    Unconfirmed,
    /// There is no broker, and no room to keep it.
    BrokerUnavailable {
        /// When it is worth trying again.
        retry_after_ms: u64,
    },
    /// The webhook cannot be called now.
    HookUnavailable {
        /// When it is worth trying again.
        retry_after_ms: u64,
    },
    /// The webhook answered something that is no answer.
    HookFailed,
    /// The back end has refused it, with its own words.
    Refused {
        /// For a program, `UPPER_SNAKE`.
        code: String,
        /// For a person.
        message: String,
        /// Whether the same may succeed later.
        retryable: bool,
    },
    /// The back end did not answer in time.
    Timeout,
}

impl RouteFailure {
    /// For a program.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Unroutable => "UNROUTABLE",
            Self::BrokerNack => "BROKER_NACK",
            Self::Unconfirmed => "UNCONFIRMED",
            Self::BrokerUnavailable { .. } => "BROKER_UNAVAILABLE",
            Self::HookUnavailable { .. } => "HOOK_UNAVAILABLE",
            Self::HookFailed => "HOOK_FAILED",
            Self::Refused { code, .. } => code,
            Self::Timeout => "TIMEOUT",
        }
    }

    /// For a person.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::Unroutable => "nobody takes such requests",
            Self::BrokerNack => "the broker has refused it",
            Self::Unconfirmed => "the broker did not say in time whether it has it",
            Self::BrokerUnavailable { .. } => "the broker cannot be reached",
            Self::HookUnavailable { .. } => "the webhook cannot be called now",
            Self::HookFailed => "the webhook did not answer properly",
            Self::Refused { message, .. } => message,
            Self::Timeout => "the back end did not answer in time",
        }
    }

    /// Whether the same event may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Unroutable => false,
            Self::Refused { retryable, .. } => *retryable,
            _ => true,
        }
    }

    /// How long to wait before that, if it can be said.
    #[must_use]
    pub const fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::BrokerUnavailable { retry_after_ms }
            | Self::HookUnavailable { retry_after_ms } => Some(*retry_after_ms),
            _ => None,
        }
    }
}

/// A client that wants in.
#[derive(Clone, Debug)]
pub struct AdmissionRequest {
    /// The namespace it wants to be in.
    pub namespace: Arc<str>,
    /// Its auth payload, raw JSON; empty if there was none.
    pub auth: Arc<str>,
    /// The request its connection came with.
    pub handshake: Arc<Handshake>,
    /// Where the verdict is waited for.
    pub ticket: Ticket,
}

/// Whether a client may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may, as this user, with what comes along: rooms, grants, labels.
    Admit(Box<Claims>),
    /// It may not.
    Refuse {
        /// For a person.
        message: String,
        /// For a program, `UPPER_SNAKE`.
        code: String,
        /// Whether the same may succeed later.
        retryable: bool,
    },
    /// Nobody could be asked, and the configuration says that it may then come in as whoever it
    /// says it is.
    Abstain,
}

/// Something that happened to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What.
    pub kind: FactKind,
    /// To whom.
    pub client: Client,
    /// Its number among all that this socket gave to back ends, from 1.
    pub seq: u64,
    /// When, milliseconds since the epoch.
    pub at_unix_ms: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FactKind {
    /// It came in.
    Connected,
    /// It came back and goes on with its session: the same socket id, the same rooms.
    Recovered,
    /// It is gone, for this reason, as a Node server words it.
    Disconnected(&'static str),
    /// It joined a room that its client asked for.
    Joined(Arc<str>),
    /// It left a room that its client wanted to leave.
    Left(Arc<str>),
}

/// An event whose outcome is waited for.
pub(super) struct Awaited {
    socket: Socket,
    who: Rc<Identity>,
    ack: Ack,
    /// The payload's `requestId`, raw JSON.
    request: Option<String>,
    /// Answers to these go to the user if the socket is gone.
    is_ai_request: bool,
    space: u16,
    /// Counts the event's bytes until its outcome is known.
    _load: Arc<Loaded>,
}

/// Bytes of one core's events that back ends have, or that wait for them; more are refused.
pub const ROUTED_BYTES_MAX: usize = 64 << 20;

/// Events of one core whose outcome may be waited for; more are refused.
pub(super) const AWAITED_MAX: usize = 65_536;
/// How much longer than a bridge may take a client waits for one that is silent.
pub(super) const GRACE_MS: u64 = 2_000;
/// Tickets of each kind that are settled here in one go, so that a bridge that is silent holds no
/// core up; the others are due again a second later.
const LATE_AT_ONCE: usize = 4_096;

/// The route that takes an event of a client.
pub(super) fn route_of(gateway: &Gateway, space: u16, event: &str) -> Option<usize> {
    let namespace = gateway.settings.namespace(space);
    gateway.settings.routes.iter().position(|route| route.takes(namespace, event))
}

/// A client as back ends know it.
pub(super) fn client(gateway: &Gateway, space: u16, id: &str, who: &Identity) -> Client {
    Client {
        socket_id: id.into(),
        namespace: gateway.settings.namespace(space).into(),
        user: Arc::clone(&who.user),
        session: who.session.clone(),
    }
}

/// Hands an event to the back end of a route; the client hears what became of it. `args` may
/// differ from what was sent; `request` is the payload's own `requestId`, raw.
pub(super) fn route(
    gateway: &Gateway,
    (space, who): (u16, &Rc<Identity>),
    event: &Event<'_>,
    (route, args): (usize, &str),
    request: Option<&str>,
) -> Result<(), VerbError> {
    let (socket, io) = (event.socket(), event.socket().io());
    let (Some(backends), Some(row)) =
        (&gateway.settings.backends, gateway.settings.routes.get(route))
    else {
        return Err(VerbError::UnknownEvent);
    };
    let now_ms = io.unix_ms();
    let attached: usize = event.attachments().iter().map(Vec::len).sum();
    let routed = gateway.local.borrow().routed.clone();
    let load = Arc::new(routed.give(args.len() + attached));
    let is_full = routed.bytes() > ROUTED_BYTES_MAX;
    let awaited = Awaited {
        _load: Arc::clone(&load),
        socket: socket.clone(),
        who: Rc::clone(who),
        ack: event.ack(),
        request: request.map(str::to_owned),
        is_ai_request: event.name() == "ai_request",
        space,
    };
    let mut local = gateway.local.borrow_mut();
    if is_full || local.awaited.len() >= AWAITED_MAX {
        drop(local);
        io.count(|counters| counters.limits_hit += 1);
        return Err(VerbError::Overloaded);
    }
    let key = local.awaited.insert(now_ms + row.timeout_ms + GRACE_MS, awaited);
    drop(local);
    let taken = backends.route(RoutedEvent {
        route,
        client: client(gateway, space, &socket.id(), who),
        event: event.name().to_owned(),
        args: args.to_owned(),
        attachments: event.attachments().to_vec(),
        request_id: request.and_then(super::schema::text_of).map(std::borrow::Cow::into_owned),
        seq: who.next_seq(),
        at_unix_ms: now_ms,
        wants_ack: event.wants_ack(),
        ticket: Ticket { core: io.core(), key },
        load,
    });
    io.count(|counters| counters.events_routed += 1);
    taken.map_err(|failure| {
        gateway.local.borrow_mut().awaited.remove(key);
        VerbError::Route(failure)
    })
}

/// Tells a core what became of an event it routed. Run it on the ticket's core.
pub fn settle(io: &Io, ticket: Ticket, outcome: Outcome) {
    let Some(gateway) = io.state::<Gateway>() else { return };
    let awaited = gateway.local.borrow_mut().awaited.remove(ticket.key);
    if let Some(awaited) = awaited {
        tell(&gateway, io, awaited, outcome);
    }
}

fn tell(gateway: &Gateway, io: &Io, awaited: Awaited, outcome: Outcome) {
    let Awaited { socket, who, ack, request, is_ai_request, space, .. } = awaited;
    let (status, message_id) = match outcome {
        Outcome::Accepted { message_id } => ("accepted", message_id),
        Outcome::Queued { message_id } => ("queued", message_id),
        Outcome::Reply { args, attachments } if socket.is_connected() => {
            return ack.send_raw(&args, &attachments);
        }
        Outcome::Reply { args, attachments } => {
            // The answer finds the user where the user is now.
            if is_ai_request {
                let everywhere = io.of(gateway.settings.namespace(space)).to(&who.user_room());
                everywhere.emit_raw("ai_response", &args, &attachments);
            }
            return;
        }
        Outcome::Failed(failure) => {
            return refuse(&socket, &who, Some(ack), &VerbError::Route(failure));
        }
    };
    let mut answer = Vec::from(format!(r#"{{"success":true,"status":"{status}","messageId":"#));
    escape_json(&mut answer, &message_id);
    if let Some(request) = request {
        answer.extend_from_slice(b",\"requestId\":");
        answer.extend_from_slice(request.as_bytes());
    }
    answer.push(b'}');
    ack.send_raw(&String::from_utf8_lossy(&answer), &[]);
}

/// Settles what nobody else has settled in time.
pub(super) fn answer_late(gateway: &Gateway, io: &Io) {
    let now_ms = io.unix_ms();
    let mut local = gateway.local.borrow_mut();
    let awaited = local.awaited.take_due(now_ms, LATE_AT_ONCE);
    let admissions = local.admissions.take_due(now_ms, LATE_AT_ONCE);
    let tokens = local.tokens.take_due(now_ms, LATE_AT_ONCE);
    drop(local);
    for awaited in awaited {
        tell(gateway, io, awaited, Outcome::Failed(RouteFailure::Timeout));
    }
    for resolver in admissions {
        resolver.resolve(Verdict::Refuse {
            message: String::from("the back end did not answer in time"),
            code: String::from("HOOK_UNAVAILABLE"),
            retryable: true,
        });
    }
    for resolver in tokens {
        resolver.resolve(Err(TokenError::Unavailable));
    }
}

/// Asks a back end whether a client may come in; an async gate awaits the verdict.
pub(super) async fn admission(gateway: &Gateway, socket: &Socket) -> Result<Verdict, Busy> {
    let (Some(backends), Some(handshake)) = (&gateway.settings.backends, socket.handshake()) else {
        return Err(Busy);
    };
    let (resolver, verdict) = promise();
    let key = {
        let mut local = gateway.local.borrow_mut();
        if local.admissions.len() >= AWAITED_MAX {
            return Err(Busy);
        }
        let due_ms = socket.io().unix_ms() + gateway.settings.admission_timeout_ms + GRACE_MS;
        local.admissions.insert(due_ms, resolver)
    };
    let ticket = Ticket { core: socket.io().core(), key };
    let (namespace, auth) = (socket.namespace(), socket.raw_auth());
    if backends.admit(AdmissionRequest { namespace, auth, handshake, ticket }).is_err() {
        gateway.local.borrow_mut().admissions.remove(key);
        return Err(Busy);
    }
    verdict.await.ok_or(Busy)
}

/// Tells a core whether a client may come in. Run it on the ticket's core.
pub fn settle_admission(io: &Io, ticket: Ticket, verdict: Verdict) {
    let Some(gateway) = io.state::<Gateway>() else { return };
    let asked: Option<Resolver<Verdict>> = gateway.local.borrow_mut().admissions.remove(ticket.key);
    if let Some(asked) = asked {
        asked.resolve(verdict);
    }
}

/// Tells back ends of something that happened, if any wants to know.
pub(super) fn tell_fact(
    gateway: &Gateway,
    io: &Io,
    space: u16,
    (id, who): (&str, &Identity),
    kind: FactKind,
) {
    let Some(backends) = gateway.settings.backends.as_ref().filter(|_| gateway.settings.facts)
    else {
        return;
    };
    let client = client(gateway, space, id, who);
    backends.tell(Fact { kind, client, seq: who.next_seq(), at_unix_ms: io.unix_ms() });
}
