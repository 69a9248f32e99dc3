//! What an application is made of.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::LocalFuture;
use super::event::{Ack, Event, OwnedEvent};
use super::io::{EngineMessage, PlainMessage};
use super::socket::{Disconnected, Socket};
use crate::base::{Map, hasher};
use crate::shard::{Handshake, Namer};

/// Why a socket or an event is refused: what the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For a person.
    pub message: String,
    /// For a program: raw JSON that becomes `error.data` at the client.
    pub data: Option<String>,
}

impl Refusal {
    /// A refusal without data.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), data: None }
    }

    /// Adds data for the client's program. Left out if it cannot be written as JSON.
    #[must_use]
    pub fn with_data(mut self, data: &impl Serialize) -> Self {
        self.data = serde_json::to_string(data).ok();
        self
    }
}

pub(super) type Verdict = Pin<Box<dyn Future<Output = Result<(), Refusal>>>>;
pub(super) type EventHandler = Rc<dyn Fn(&Event<'_>)>;
type Filter = Rc<dyn Fn(&Event<'_>) -> Result<(), Refusal>>;
pub(super) type AllowRequest =
    Rc<dyn Fn(Arc<Handshake>) -> Pin<Box<dyn Future<Output = Result<(), String>>>>>;

/// A step of letting a socket in.
#[derive(Clone)]
pub(super) enum Gate {
    Sync(Rc<dyn Fn(&Socket) -> Result<(), Refusal>>),
    Async(Rc<dyn Fn(Socket) -> Verdict>),
}

/// The handlers of one namespace, shared by all its sockets.
#[derive(Default)]
pub(super) struct Handlers {
    pub(super) gates: Vec<Gate>,
    pub(super) on_connect: Vec<Rc<dyn Fn(&Socket)>>,
    pub(super) filters: Vec<Filter>,
    pub(super) on_refused: Vec<Rc<dyn Fn(&Socket, &Refusal)>>,
    pub(super) on_any: Vec<EventHandler>,
    pub(super) on: Option<Map<String, Vec<EventHandler>>>,
    pub(super) on_unknown: Option<EventHandler>,
    pub(super) on_disconnect: Vec<Rc<dyn Fn(&Disconnected)>>,
}

/// Decides whether a namespace exists: its name and the client's auth payload, raw JSON.
type Matcher = Rc<dyn Fn(&str, &str) -> bool>;

/// An application: the namespaces it serves and what happens in them.
///
/// ```
/// use corewire::api::App;
///
/// let app = App::new().namespace("/", |chat| {
///     chat.on_args("say", |socket, (text,): (String,), ack| {
///         socket.broadcast().emit("said", &(socket.id(), text));
///         ack.send(&("ok",));
///     });
/// });
/// # drop(app);
/// ```
#[derive(Default)]
pub struct App {
    pub(super) namespaces: Vec<(String, Rc<Handlers>)>,
    pub(super) dynamic: Vec<(Matcher, Rc<Handlers>)>,
    pub(super) allow_request: Option<AllowRequest>,
    pub(super) on_engine: Option<Rc<dyn Fn(EngineMessage<'_>)>>,
    pub(super) on_plain: Option<Rc<dyn Fn(PlainMessage<'_>)>>,
    state: Option<Rc<dyn Any>>,
    pub(super) namer: Option<Namer>,
    pub(super) likeness: Option<Namer>,
}

impl App {
    /// An application that serves nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves a namespace.
    #[must_use]
    pub fn namespace(mut self, name: &str, build: impl FnOnce(&mut NamespaceBuilder)) -> Self {
        let mut builder = NamespaceBuilder::default();
        build(&mut builder);
        self.namespaces.push((name.to_owned(), Rc::new(builder.handlers)));
        self
    }

    /// Serves every namespace for which `matches` says so, given its name and the client's auth
    /// payload as raw JSON (empty if there was none). Static names come first.
    #[must_use]
    pub fn dynamic(
        mut self,
        matches: impl Fn(&str, &str) -> bool + 'static,
        build: impl FnOnce(&mut NamespaceBuilder),
    ) -> Self {
        let mut builder = NamespaceBuilder::default();
        build(&mut builder);
        self.dynamic.push((Rc::new(matches), Rc::new(builder.handlers)));
        self
    }

    /// Decides about every handshake before a session exists. The text of an `Err` is the
    /// `message` of the 403 answer. The server must be started with `ask_allow_request`.
    #[must_use]
    pub fn allow_request<F>(mut self, hook: impl Fn(Arc<Handshake>) -> F + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + 'static,
    {
        self.allow_request = Some(Rc::new(move |handshake| Box::pin(hook(handshake))));
        self
    }

    /// Takes the messages of raw Engine.IO endpoints.
    #[must_use]
    pub fn on_engine_message(mut self, handler: impl Fn(EngineMessage<'_>) + 'static) -> Self {
        self.on_engine = Some(Rc::new(handler));
        self
    }

    /// Takes the messages of plain WebSocket endpoints.
    #[must_use]
    pub fn on_plain_message(mut self, handler: impl Fn(PlainMessage<'_>) + 'static) -> Self {
        self.on_plain = Some(Rc::new(handler));
        self
    }

    /// Keeps something of this core that [`super::Io::state`] gives back.
    #[must_use]
    pub fn state<T: 'static>(mut self, state: Rc<T>) -> Self {
        self.state = Some(state);
        self
    }

    /// Says whose a socket is, from the state it was given: whoever asks for acks learns with
    /// each answer ([`crate::shard::Answered::who`]).
    #[must_use]
    pub fn named(mut self, namer: Namer) -> Self {
        self.namer = Some(namer);
        self
    }

    /// Says what of the state that middleware gives a socket must be the same for its client to
    /// take an earlier session up: whose it is, what it may do. Without it every client that knows
    /// a session's private id may.
    #[must_use]
    pub fn recoverable_as(mut self, likeness: Namer) -> Self {
        self.likeness = Some(likeness);
        self
    }

    pub(super) fn take_state(&mut self) -> Option<Rc<dyn Any>> {
        self.state.take()
    }

    /// Who serves a namespace of this very name.
    pub(super) fn find_named(&self, name: &str) -> Option<&Rc<Handlers>> {
        self.namespaces.iter().find(|(served, _)| served == name).map(|(_, handlers)| handlers)
    }

    /// Who serves a namespace that has nobody of its name.
    pub(super) fn find_dynamic(
        &self,
        name: &str,
        auth: impl FnOnce() -> Arc<str>,
    ) -> Option<&Rc<Handlers>> {
        if self.dynamic.is_empty() {
            return None;
        }
        let auth = auth();
        self.dynamic.iter().find(|(matches, _)| matches(name, &auth)).map(|(_, handlers)| handlers)
    }
}

/// Says what happens in a namespace.
#[derive(Default)]
pub struct NamespaceBuilder {
    handlers: Handlers,
}

impl NamespaceBuilder {
    /// Connection middleware: refuses a socket before it joins. They run in the order given.
    pub fn gate(&mut self, gate: impl Fn(&Socket) -> Result<(), Refusal> + 'static) -> &mut Self {
        self.handlers.gates.push(Gate::Sync(Rc::new(gate)));
        self
    }

    /// Connection middleware that may wait.
    pub fn gate_async<F>(&mut self, gate: impl Fn(Socket) -> F + 'static) -> &mut Self
    where
        F: Future<Output = Result<(), Refusal>> + 'static,
    {
        self.handlers.gates.push(Gate::Async(Rc::new(move |socket| Box::pin(gate(socket)))));
        self
    }

    /// A socket has joined; its client has been told.
    pub fn on_connect(&mut self, handler: impl Fn(&Socket) + 'static) -> &mut Self {
        self.handlers.on_connect.push(Rc::new(handler));
        self
    }

    /// Packet middleware: refuses an event before its handlers see it.
    pub fn filter(
        &mut self,
        filter: impl Fn(&Event<'_>) -> Result<(), Refusal> + 'static,
    ) -> &mut Self {
        self.handlers.filters.push(Rc::new(filter));
        self
    }

    /// An event was refused by packet middleware (Node's `error` event of a socket).
    pub fn on_refused(&mut self, handler: impl Fn(&Socket, &Refusal) + 'static) -> &mut Self {
        self.handlers.on_refused.push(Rc::new(handler));
        self
    }

    /// An event of this name arrived. Several handlers of one name run in the order given.
    pub fn on(&mut self, name: &str, handler: impl Fn(&Event<'_>) + 'static) -> &mut Self {
        self.add(name, Rc::new(handler))
    }

    /// An event of this name arrived, its arguments read as a tuple. What does not fit is
    /// counted as `events_bad_args` and goes no further. The ack does nothing if none is wanted.
    pub fn on_args<T: DeserializeOwned>(
        &mut self,
        name: &str,
        handler: impl Fn(&Socket, T, Ack) + 'static,
    ) -> &mut Self {
        self.on(name, move |event| match event.args::<T>() {
            Ok(args) => handler(event.socket(), args, event.ack()),
            Err(_) => event.socket().io().count(|counters| counters.events_bad_args += 1),
        })
    }

    /// An event of this name arrived; its handler may wait. Handlers start in the order of
    /// arrival and run side by side; while a socket has `handler_tasks_max` of them its next
    /// events wait unread.
    pub fn on_async<F>(
        &mut self,
        name: &str,
        handler: impl Fn(OwnedEvent) -> F + 'static,
    ) -> &mut Self
    where
        F: Future<Output = ()> + 'static,
    {
        self.on(name, move |event| {
            let attached: usize = event.attachments().iter().map(Vec::len).sum();
            let bytes = event.raw_args().len() + attached;
            let future: LocalFuture = Box::pin(handler(event.to_owned_event()));
            event.socket().spawn_with(bytes, future);
        })
    }

    /// Every event, before its own handlers.
    pub fn on_any(&mut self, handler: impl Fn(&Event<'_>) + 'static) -> &mut Self {
        self.handlers.on_any.push(Rc::new(handler));
        self
    }

    /// An event without a handler arrived.
    pub fn on_unknown(&mut self, handler: impl Fn(&Event<'_>) + 'static) -> &mut Self {
        self.handlers.on_unknown = Some(Rc::new(handler));
        self
    }

    /// A socket that had joined is gone.
    pub fn on_disconnect(&mut self, handler: impl Fn(&Disconnected) + 'static) -> &mut Self {
        self.handlers.on_disconnect.push(Rc::new(handler));
        self
    }

    fn add(&mut self, name: &str, handler: EventHandler) -> &mut Self {
        // The names are ours, so the hasher needs no secret.
        let on = self.handlers.on.get_or_insert_with(|| Map::with_hasher(hasher(0)));
        on.entry(name.to_owned()).or_default().push(handler);
        self
    }
}
