//! # gateway: the product
//!
//! An application on the library and nothing else: who a socket belongs to, which events clients
//! may send and what becomes of them, rooms with rules, presence, and the verbs behind REST.
//!
//! Owns, on every core: what is under way to the keepers (`local.rs`), and the rooms and users whose
//! names hash to it (`keeper.rs`). Nobody writes another core's state; facts and questions travel
//! as errands ([`Io::run_on`]), which are never lost and keep their order from core to core.
//! Imports: `api`, `auth`, `config`, `socketio` for raw arguments, `base`. No clock, no socket, no task.
//!
//! Holds at all times:
//! - a keeper's sums are the joins and leaves it was told of; every join and leave of a socket
//!   goes through `membership.rs`, which tells it;
//! - nothing is relayed that was not judged by the table in `schema.rs`, and what is relayed are
//!   the sender's own bytes;
//! - whoever asked for an acknowledgement gets exactly one;
//! - rooms of a user or a session and rooms of a socket's id are never open to clients.
//!
//! Read first: `events.rs` (what clients see), then `membership.rs`, then `verbs.rs` (what REST
//! calls).

pub mod backend;
mod door;
mod error;
mod events;
pub mod fair;
mod identity;
mod keeper;
mod local;
mod members;
mod membership;
mod presence;
mod rules;
pub mod schema;
mod table;
#[cfg(test)]
mod tests;
mod tokens;
pub mod verbs;
mod views;
mod waiting;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::api::{App, Io};
use crate::base::{CoreId, Slab};
use crate::config::{AuthMode, Hook, HookEvent, Options, Route, Rule, Tables, UnknownEvent};

pub use error::{Done, MemberError, VerbError};
pub use schema::{Payload, request, validate};
pub use tokens::{TokenGate, TokenRequest, TokenVerdict, settle_token, verdict_timeout_ms};
pub use views::{
    ConnectedView, KeptView, MembershipView, RecipientsView, ReplyView, RoomView, SocketView,
    UserView,
};

/// What the gateway must know of the configuration.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    /// The namespaces served; the first one is `/`, where REST acts.
    pub namespaces: Vec<String>,
    /// Whether every client may join and publish to every room that rules could open.
    pub rooms_open: bool,
    /// What users may do in which rooms.
    pub rules: Vec<Rule>,
    /// Most rooms of one namespace, on all cores together.
    pub rooms_max: usize,
    /// How long a room made by REST stays while it is empty.
    pub room_idle_ttl_ms: u64,
    /// Rooms that hear of users who come and go; none if nobody is to.
    pub presence_rooms: Vec<String>,
    /// Which events go to back ends.
    pub routes: Vec<Route>,
    /// Who takes them; without it, nobody does.
    pub backends: Option<Arc<dyn backend::Backends>>,
    /// Namespaces where a back end says who may come in, and whose sockets are whose.
    pub judged: Vec<String>,
    /// How long a back end may take to say who may come in.
    pub admission_timeout_ms: u64,
    /// How long a token may take to be verified by somebody else.
    pub token_timeout_ms: u64,
    /// Whether a client of which nobody else is asked is believed.
    pub trusted: bool,
    /// Whether back ends want to hear of clients that come and go, join and leave.
    pub facts: bool,
    /// How much clients may do; nothing if it is not limited.
    pub fair: Option<Arc<fair::FairUse>>,
    /// How tokens are verified; without it clients are who they say they are.
    pub tokens: Option<Arc<TokenGate>>,
    /// Seed of the hash maps, drawn at the start: names come from clients.
    pub hash_seed: u64,
}

impl GatewaySettings {
    /// The settings that a configuration asks for. The caller draws [`Self::hash_seed`].
    #[must_use]
    pub fn from(options: &Options, tables: &Tables) -> Self {
        let mut namespaces = vec![String::from("/")];
        for name in &options.namespaces {
            if !namespaces.contains(name) {
                namespaces.push(name.clone());
            }
        }
        let presence = if options.presence_events { &options.presence_rooms[..] } else { &[] };
        Self {
            rooms_open: options.rooms_open,
            rules: tables.rules.clone(),
            rooms_max: options.rooms_max,
            room_idle_ttl_ms: options.room_idle_ttl_ms,
            presence_rooms: presence.to_vec(),
            routes: routes(options, tables),
            backends: None,
            trusted: options.auth_mode == AuthMode::Trusted,
            admission_timeout_ms: judges(tables).map(|hook| hook.timeout_ms).max().unwrap_or(0),
            token_timeout_ms: verdict_timeout_ms(options.idp_timeout_ms),
            judged: judged(&namespaces, tables),
            namespaces,
            facts: false,
            fair: None,
            tokens: None,
            hash_seed: 0,
        }
    }

    fn namespace(&self, space: u16) -> &str {
        &self.namespaces[usize::from(space)]
    }
}

/// Namespaces that some hook says may be come into or not.
fn judged(namespaces: &[String], tables: &Tables) -> Vec<String> {
    let is_judged =
        |name: &&String| tables.hooks.iter().any(|hook| hook.hears(HookEvent::Connect, name));
    namespaces.iter().filter(is_judged).cloned().collect()
}

/// Hooks that say who may come in.
fn judges(tables: &Tables) -> impl Iterator<Item = &Hook> {
    tables.hooks.iter().filter(|hook| hook.events.contains(&HookEvent::Connect))
}

/// The routes in force: those for whatever is unknown only where that is wanted.
fn routes(options: &Options, tables: &Tables) -> Vec<Route> {
    let all = options.unknown_event == UnknownEvent::Route;
    let mut routes = tables.routes.clone();
    for route in routes.iter_mut().filter(|route| !all && route.is_pattern()) {
        // Rows keep their numbers: bridges know them by these.
        route.event.clear();
    }
    routes
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self::from(&Options::default(), &Tables::default())
    }
}

/// The namespace REST acts in: the first one, `/`.
const ROOT: u16 = 0;

/// The gateway of one core.
struct Gateway {
    settings: Arc<GatewaySettings>,
    cores: usize,
    local: RefCell<local::Local>,
    /// One a namespace. No borrow lives across a call of the library.
    spaces: Vec<RefCell<keeper::Space>>,
    jobs: RefCell<Slab<membership::Job>>,
}

impl Gateway {
    fn new(io: &Io, settings: Arc<GatewaySettings>) -> Self {
        let cores = io.cores();
        let seed = settings.hash_seed;
        let share = settings.rooms_max.div_ceil(cores.max(1));
        let space = |_| keeper::Space::new(seed, share, settings.room_idle_ttl_ms);
        Self {
            cores,
            local: RefCell::new(local::Local::new(seed, settings.namespaces.len())),
            spaces: settings.namespaces.iter().map(space).map(RefCell::new).collect(),
            jobs: RefCell::new(Slab::default()),
            settings,
        }
    }

    fn space(&self, space: u16) -> &RefCell<keeper::Space> {
        &self.spaces[usize::from(space)]
    }

    /// The gateway of a core, and the number of a namespace if it is served.
    fn space_of(io: &Io, namespace: &str) -> Option<(Rc<Self>, u16)> {
        let gateway = io.state::<Self>()?;
        let at = gateway.settings.namespaces.iter().position(|known| known == namespace)?;
        Some((gateway, u16::try_from(at).ok()?))
    }

    fn home(&self, name: &str) -> CoreId {
        keeper::home(name, self.cores)
    }
}

/// Runs something on another core's gateway.
fn on(io: &Io, core: CoreId, errand: impl FnOnce(&Rc<Gateway>, &Io) + Send + 'static) {
    io.run_on(core, move |io| {
        if let Some(gateway) = io.state::<Gateway>() {
            errand(&gateway, io);
        }
    });
}

/// The gateway as an application; the server builds one on every core.
///
/// Besides, the server calls [`sweep`] once a second, and starts its shards with a limit on names
/// that leaves `session:` in front of a name its place: [`ROOM_BYTES_MAX`].
#[must_use]
pub fn app(io: &Io, settings: Arc<GatewaySettings>) -> App {
    let gateway = Rc::new(Gateway::new(io, settings));
    let mut app = App::new().state(Rc::clone(&gateway)).named(identity::user_of);
    app = app.recoverable_as(identity::likeness_of);
    for (space, name) in (0..).zip(&gateway.settings.namespaces) {
        app = app.namespace(name, |builder| events::serve(builder, &gateway, space));
    }
    app
}

/// Bytes of the longest room: a session's, with the longest name a session may have.
pub const ROOM_BYTES_MAX: usize = "session:".len() + schema::NAME_BYTES_MAX;

/// What is to be done about once a second on every core: empty rooms expire, keepers hear where
/// something was said, and whoever waits for a silent keeper is answered without it.
pub fn sweep(io: &Io) {
    let Some(gateway) = io.state::<Gateway>() else {
        return;
    };
    membership::answer_late(&gateway, io);
    backend::answer_late(&gateway, io);
    tokens::sweep(&gateway, io);
    let now_ms = io.unix_ms();
    for space in &gateway.spaces {
        space.borrow_mut().sweep(now_ms);
    }
    let mut by_keeper: Vec<Vec<_>> = (0..gateway.cores).map(|_| Vec::new()).collect();
    for touched in gateway.local.borrow_mut().take_touched() {
        by_keeper[gateway.home(&touched.1).index()].push(touched);
    }
    for (core, touched) in by_keeper.into_iter().enumerate().filter(|(_, all)| !all.is_empty()) {
        on(io, CoreId::from_index(core), move |gateway, _| {
            for (space, room, at_ms) in touched {
                gateway.space(space).borrow_mut().touch(&room, at_ms);
            }
        });
    }
}
