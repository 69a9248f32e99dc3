//! The table of routes: a row is a path, who may call it, what answers and what the document
//! says of it. The router and the OpenAPI document are both built from it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use utoipa::ToSchema;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{Ref, RefOr};

use super::access::Access;
use super::answer::{Failure, Reply};
use super::health::{self, Health, Pulse};
use super::hooks;
use super::pages;
use super::state::Admin;
use super::stats::{self, Latency, Stats};
use super::verbs;
use crate::command::{
    AskedView, BatchView, ChangedView, DeadLetterView, DisconnectedView, EmittedView, ReplayView,
    Verb,
};
use crate::config::Scope;
use crate::gateway::verbs::{ASK_TIMEOUT_MAX_MS, RevokedView};
use crate::gateway::{
    ConnectedView, MembershipView, Payload, RecipientsView, RoomView, SocketView, UserView,
};
use crate::http::Query;

/// A call that may be answered: it came in by the right door, with the right key and a body that
/// is not too long.
pub(super) struct Call {
    /// The variable parts of the path, decoded.
    pub(super) params: Vec<(String, String)>,
    /// The query.
    pub(super) query: Query,
    /// The body; empty but for writes.
    pub(super) body: Vec<u8>,
    /// The scopes of the caller.
    pub(super) scopes: Vec<Scope>,
    /// The name of the caller's key; empty without one.
    pub(super) caller: String,
    /// The header `Idempotency-Key`.
    pub(super) idempotency_key: Option<String>,
}

impl Call {
    pub(super) fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// A variable part of the path.
    pub(super) fn param(&self, name: &str) -> &str {
        let found = self.params.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

pub(super) type Answering = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>>;
pub(super) type Handler = fn(Arc<Admin>, Call) -> Answering;

/// What a caller does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Looks.
    Get,
    /// Changes or sends.
    Post,
}

/// Where a route is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On both listeners.
    Everywhere,
    /// On both, if the application is the gateway.
    Gateway,
    /// On the admin listener.
    AdminListener,
}

/// Schemas by name, as the document collects them.
pub(super) type Schemas = Vec<(String, RefOr<Schema>)>;
/// Adds a schema to those collected and gives a reference to it.
pub(super) type SchemaOf = fn(&mut Schemas) -> RefOr<Schema>;

/// What a success looks like.
#[derive(Clone, Copy)]
pub(super) enum Answers {
    /// `data` is one of these.
    Data(SchemaOf),
    /// `data` is a list of these, whole.
    List(SchemaOf),
    /// `data` maps names to these.
    Map(SchemaOf),
    /// `data` is a list of these, with `nextCursor` beside it.
    Page(SchemaOf),
    /// The body is not in the contract's shape: a media type.
    Raw(&'static str),
}

/// One parameter of the query.
pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
}

/// What a query may hold.
#[derive(Clone, Copy)]
pub(super) enum Params {
    /// Nothing.
    None,
    /// These.
    Listed(&'static [Param]),
    /// The members of a shape.
    Members(Payload),
}

/// Time that everything behind the gates has for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// The same where clients are asked: their time, and that of the workers.
const ASK_WITHIN: Duration = Duration::from_millis(ASK_TIMEOUT_MAX_MS + 5_000);

/// One row of the table.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) access: Access,
    pub(super) place: Place,
    pub(super) handler: Handler,
    /// The name of the operation in the document.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) query: Params,
    pub(super) body: Option<Payload>,
    pub(super) answers: Answers,
    /// Statuses of its own, beside those that follow from the columns.
    pub(super) statuses: &'static [(u16, &'static str)],
    /// Time for an answer.
    pub(super) within: Duration,
    /// It takes the header `Idempotency-Key`.
    pub(super) idempotent: bool,
}

fn of<T: ToSchema>(schemas: &mut Schemas) -> RefOr<Schema> {
    schemas.push((T::name().into_owned(), T::schema()));
    T::schemas(schemas);
    Ref::from_schema_name(T::name()).into()
}

const LIMIT: Param =
    Param { name: "limit", help: "Entries of one page: 1 to 10,000, 1,000 if absent." };
const CURSOR: Param =
    Param { name: "cursor", help: "`nextCursor` of the page before; absent for the first." };

const UNWELL: (u16, &str) = (503, "It is not, or not now; `error.code` says why.");

/// A row with nothing special.
const fn get(path: &'static str, id: &'static str, handler: Handler, answers: Answers) -> Route {
    Route {
        method: Method::Get,
        path,
        access: Access::Needs(Scope::Read),
        place: Place::Everywhere,
        handler,
        id,
        summary: "",
        query: Params::None,
        body: None,
        answers,
        statuses: &[],
        within: ANSWER_WITHIN,
        idempotent: false,
    }
}

/// A command of back ends; what is declared of it stands in the table of verbs.
const fn command(verb: Verb, handler: Handler, answers: Answers) -> Route {
    let facts = verb.facts();
    Route {
        method: if facts.is_get { Method::Get } else { Method::Post },
        access: Access::Needs(facts.scope),
        place: Place::Gateway,
        summary: facts.summary,
        query: if facts.is_get { Params::Members(facts.payload) } else { Params::None },
        body: if facts.is_get { None } else { Some(facts.payload) },
        statuses: facts.statuses,
        idempotent: facts.writes,
        ..get(facts.path, facts.name, handler, answers)
    }
}

/// Every route there is.
pub(super) static ROUTES: &[Route] = &[
    Route {
        access: Access::Open,
        summary: "Whether any worker answers",
        statuses: &[UNWELL],
        ..get("/healthz", "alive", |a, c| Box::pin(health::alive(a, c)), Answers::Data(of::<Pulse>))
    },
    Route {
        access: Access::Open,
        summary: "Whether new clients should be sent here",
        statuses: &[UNWELL],
        ..get("/readyz", "ready", |a, c| Box::pin(health::ready(a, c)), Answers::Data(of::<Pulse>))
    },
    Route {
        access: Access::Open,
        summary: "How the server is; in detail for those who have the scope read",
        statuses: &[UNWELL],
        ..get(
            "/socket/health",
            "health",
            |a, c| Box::pin(health::health(a, c)),
            Answers::Data(of::<Health>),
        )
    },
    Route {
        summary: "Statistics, with the largest rooms, percentiles and workers",
        ..get(
            "/socket/stats",
            "stats",
            |a, c| Box::pin(stats::stats(a, c)),
            Answers::Data(of::<Stats>),
        )
    },
    Route {
        summary: "Latency percentiles of every stage in microseconds",
        query: Params::Listed(&[
            Param { name: "stage", help: "One stage only, by its name." },
            Param {
                name: "format",
                help: "`hgrm` gives the percentile table of HdrHistogram as text instead.",
            },
        ]),
        ..get(
            "/socket/latency",
            "latency",
            |a, c| Box::pin(stats::latency(a, c)),
            Answers::Map(of::<Latency>),
        )
    },
    Route {
        summary: "Connected sockets with their users",
        place: Place::Gateway,
        query: Params::Listed(&[
            LIMIT,
            CURSOR,
            Param { name: "userId", help: "Only this user's." },
        ]),
        ..get(
            "/socket/users",
            "listUsers",
            |a, c| Box::pin(verbs::list_users(a, c)),
            Answers::Page(of::<UserView>),
        )
    },
    Route {
        summary: "Whether a user is connected",
        place: Place::Gateway,
        ..get(
            "/socket/users/{userId}/connected",
            "userConnected",
            |a, c| Box::pin(verbs::connected(a, c)),
            Answers::Data(of::<ConnectedView>),
        )
    },
    Route {
        summary: "Rooms",
        place: Place::Gateway,
        query: Params::Listed(&[
            LIMIT,
            CURSOR,
            Param { name: "auto", help: "`true` lists the rooms of users and sessions too." },
        ]),
        ..get(
            "/socket/rooms",
            "listRooms",
            |a, c| Box::pin(verbs::list_rooms(a, c)),
            Answers::Page(of::<RoomView>),
        )
    },
    Route {
        id: "createRoom",
        ..command(
            Verb::RoomCreate,
            |a, c| Box::pin(verbs::command(a, c, Verb::RoomCreate)),
            Answers::Data(of::<RoomView>),
        )
    },
    Route {
        id: "joinRoom",
        ..command(
            Verb::RoomJoin,
            |a, c| Box::pin(verbs::command(a, c, Verb::RoomJoin)),
            Answers::Data(of::<MembershipView>),
        )
    },
    Route {
        id: "leaveRoom",
        ..command(
            Verb::RoomLeave,
            |a, c| Box::pin(verbs::command(a, c, Verb::RoomLeave)),
            Answers::Data(of::<MembershipView>),
        )
    },
    Route {
        id: "notify",
        ..command(
            Verb::Notification,
            |a, c| Box::pin(verbs::command(a, c, Verb::Notification)),
            Answers::Data(of::<RecipientsView>),
        )
    },
    Route {
        id: "messageRoom",
        ..command(
            Verb::RoomMessage,
            |a, c| Box::pin(verbs::command(a, c, Verb::RoomMessage)),
            Answers::Data(of::<RecipientsView>),
        )
    },
    command(
        Verb::Emit,
        |a, c| Box::pin(verbs::command(a, c, Verb::Emit)),
        Answers::Data(of::<EmittedView>),
    ),
    command(
        Verb::Batch,
        |a, c| Box::pin(verbs::command(a, c, Verb::Batch)),
        Answers::Data(of::<BatchView>),
    ),
    Route {
        within: ASK_WITHIN,
        ..command(
            Verb::Ask,
            |a, c| Box::pin(verbs::command(a, c, Verb::Ask)),
            Answers::Data(of::<AskedView>),
        )
    },
    command(
        Verb::Join,
        |a, c| Box::pin(verbs::command(a, c, Verb::Join)),
        Answers::Data(of::<ChangedView>),
    ),
    command(
        Verb::Leave,
        |a, c| Box::pin(verbs::command(a, c, Verb::Leave)),
        Answers::Data(of::<ChangedView>),
    ),
    command(
        Verb::Disconnect,
        |a, c| Box::pin(verbs::command(a, c, Verb::Disconnect)),
        Answers::Data(of::<DisconnectedView>),
    ),
    Route {
        id: "queryUsers",
        ..command(
            Verb::UsersQuery,
            |a, c| Box::pin(verbs::command(a, c, Verb::UsersQuery)),
            Answers::List(of::<ConnectedView>),
        )
    },
    command(
        Verb::Rooms,
        |a, c| Box::pin(verbs::command(a, c, Verb::Rooms)),
        Answers::Page(of::<RoomView>),
    ),
    command(
        Verb::Sockets,
        |a, c| Box::pin(verbs::command(a, c, Verb::Sockets)),
        Answers::Page(of::<SocketView>),
    ),
    Route {
        summary: "Calls of webhooks that were given up, the oldest first",
        access: Access::Needs(Scope::Admin),
        place: Place::Gateway,
        query: Params::Listed(&[LIMIT, CURSOR, Param { name: "hook", help: "Only this hook's." }]),
        ..get(
            "/api/v1/hooks/dead-letters",
            "deadLetters",
            |a, c| Box::pin(hooks::dead_letters(a, c)),
            Answers::Page(of::<DeadLetterView>),
        )
    },
    Route {
        summary: "Sends dead letters again: one by its id, those of one hook, or all",
        method: Method::Post,
        access: Access::Needs(Scope::Admin),
        place: Place::Gateway,
        body: Some(Payload::ReplayDeadLetters),
        ..get(
            "/api/v1/hooks/dead-letters/replay",
            "replayDeadLetters",
            |a, c| Box::pin(hooks::replay(a, c)),
            Answers::Data(of::<ReplayView>),
        )
    },
    Route {
        id: "revokeTokens",
        ..command(
            Verb::Revoke,
            |a, c| Box::pin(verbs::command(a, c, Verb::Revoke)),
            Answers::Data(of::<RevokedView>),
        )
    },
    Route {
        place: Place::AdminListener,
        summary: "Everything that is counted, as Prometheus text",
        ..get(
            "/metrics",
            "metrics",
            |a, c| Box::pin(stats::metrics(a, c)),
            Answers::Raw(crate::telemetry::CONTENT_TYPE),
        )
    },
    Route {
        access: Access::Open,
        place: Place::AdminListener,
        summary: "This document",
        ..get(
            "/openapi.json",
            "document",
            |a, c| Box::pin(pages::document(a, c)),
            Answers::Raw("application/json"),
        )
    },
    Route {
        access: Access::Open,
        place: Place::AdminListener,
        summary: "A page for people",
        ..get("/", "page", |a, c| Box::pin(pages::index(a, c)), Answers::Raw("text/html"))
    },
];
