//! Who calls what: dispatches and completions of the shard become calls of handlers.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::app::{Gate, Handlers, Refusal};
use super::core::{Core, LocalFuture};
use super::event::Event;
use super::io::{EngineMessage, Errand, Io, PlainMessage};
use super::socket::{Disconnected, Socket};
use crate::base::{Key, Micros};
use crate::shard::{Completion, Dispatch, Handshake, Name, RawMessage};
use crate::telemetry::Stage;

/// A future whose panic is a value.
pub(super) struct CatchUnwind(pub(super) LocalFuture);

impl Future for CatchUnwind {
    type Output = Result<(), ()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.0.as_mut();
        match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(_) => Poll::Ready(Err(())),
        }
    }
}

impl Core {
    /// Runs the handlers of a dispatch. `received_at` is when the host read its bytes.
    pub fn run(self: &Rc<Self>, dispatch: Dispatch<'_>, received_at: Micros) {
        // The time at hand: what was read just now, or the end of the handler before. So an event
        // costs one reading of the clock and not two, which is a tenth of what it costs.
        let began = self.look(crate::shard::Shard::now);
        let socket = match &dispatch {
            Dispatch::Event { socket, .. } | Dispatch::Connect { socket } => Some(*socket),
            _ => None,
        };
        self.guarded(socket, || self.call(dispatch));
        let ended = self.tell_time();
        self.with(|shard| {
            shard.record(Stage::ReceiveToDispatch, began.saturating_sub(received_at));
            shard.record(Stage::Handler, ended - began);
        });
    }

    /// Runs what the application waits for, until nothing is left.
    pub fn pump(self: &Rc<Self>) {
        while let Some(completion) = self.with(crate::shard::Shard::take_completion) {
            match completion {
                Completion::Ack(done, outcome) => self.guarded(None, || done(outcome)),
                Completion::Gather(done, found) => self.guarded(None, || done(found)),
                Completion::Gone(gone) => {
                    let (app, name) = (self.app(), &gone.namespace);
                    let dynamic = || app.find_dynamic(name, || Arc::from(""));
                    let Some(handlers) = app.find_named(name).or_else(dynamic) else { continue };
                    let disconnected = Disconnected { io: Io::new(Rc::clone(self)), gone };
                    for handler in &handlers.on_disconnect {
                        self.guarded(None, || handler(&disconnected));
                    }
                }
                Completion::Connect { socket } => {
                    let socket = Socket::new(Rc::clone(self), socket);
                    self.guarded(Some(socket.key()), || self.connect(&socket));
                }
                Completion::App { message } => {
                    if let Ok(errand) = message.downcast::<Errand>() {
                        let io = Io::new(Rc::clone(self));
                        self.guarded(None, || errand(&io));
                    }
                }
            }
        }
    }

    /// Runs something of the admin core or of a bridge, with the care given to handlers.
    pub fn errand(&self, errand: impl FnOnce()) {
        self.guarded(None, errand);
    }

    /// Calls a handler; its panic ends the socket it was called for, and nothing else.
    fn guarded(&self, socket: Option<Key>, handler: impl FnOnce()) {
        let outcome: Result<(), Box<dyn Any + Send>> = catch_unwind(AssertUnwindSafe(handler));
        if outcome.is_err() {
            self.handler_panicked(socket);
        }
    }

    pub(super) fn handler_panicked(&self, socket: Option<Key>) {
        if self.is_torn() {
            self.host().abort("a panic inside the shard: half-changed state must not serve on");
            return;
        }
        self.with(|shard| shard.handler_panicked(socket));
    }

    /// The handlers of a socket's namespace.
    ///
    /// Cost: the name is looked at where it lies, unless it is a dynamic namespace's: whoever
    /// says which those are is called outside the shard.
    fn handlers_of(&self, socket: &Socket) -> Option<&Rc<Handlers>> {
        let named = self.look(|shard| {
            shard.socket_namespace_ref(socket.key()).and_then(|name| self.app().find_named(name))
        });
        named.or_else(|| self.app().find_dynamic(&socket.namespace(), || socket.raw_auth()))
    }

    fn call(self: &Rc<Self>, dispatch: Dispatch<'_>) {
        match dispatch {
            Dispatch::Connect { socket } => self.connect(&Socket::new(Rc::clone(self), socket)),
            Dispatch::Event { socket, text, name, args, ack, attachments } => {
                let name = match &name {
                    Name::InText(range) => &text[range.clone()],
                    Name::Owned(name) => name,
                };
                let event = Event {
                    socket: Socket::new(Rc::clone(self), socket),
                    name,
                    args: &text[args],
                    attachments: &attachments,
                    ack,
                };
                self.event(&event);
            }
            Dispatch::EngineMessage { session, message } => {
                let Some(handler) = &self.app().on_engine else { return };
                let message = raw(&message);
                handler(EngineMessage { core: self, session, message });
            }
            Dispatch::PlainMessage { conn, message } => {
                let Some(handler) = &self.app().on_plain else { return };
                let message = raw(&message);
                handler(PlainMessage { core: self, conn, message });
            }
            Dispatch::AllowRequest { conn, handshake } => self.allow_request(conn, handshake),
        }
    }

    fn allow_request(self: &Rc<Self>, conn: Key, handshake: Arc<Handshake>) {
        let Some(hook) = &self.app().allow_request else {
            self.with(|shard| shard.allow(conn, Ok(())));
            return;
        };
        let (core, verdict) = (Rc::clone(self), hook(handshake));
        Io::new(Rc::clone(self)).spawn(Box::pin(async move {
            let verdict = verdict.await;
            core.with(|shard| shard.allow(conn, verdict));
        }));
    }

    fn connect(self: &Rc<Self>, socket: &Socket) {
        let Some(handlers) = self.handlers_of(socket) else {
            self.refuse(socket, &Refusal::new("Invalid namespace"));
            return;
        };
        for (at, gate) in handlers.gates.iter().enumerate() {
            match gate {
                Gate::Sync(gate) => {
                    if let Err(refusal) = gate(socket) {
                        self.refuse(socket, &refusal);
                        return;
                    }
                }
                Gate::Async(_) => {
                    let (core, socket) = (Rc::clone(self), socket.clone());
                    let handlers = Rc::clone(handlers);
                    let waiting = socket.clone();
                    waiting.spawn(Box::pin(core.rest_of_gates(socket, handlers, at)));
                    return;
                }
            }
        }
        self.let_in(socket, handlers);
    }

    /// The gates from the first async one on.
    async fn rest_of_gates(self: Rc<Self>, socket: Socket, handlers: Rc<Handlers>, from: usize) {
        for gate in &handlers.gates[from..] {
            let verdict = match gate {
                Gate::Sync(gate) => gate(&socket),
                Gate::Async(gate) => gate(socket.clone()).await,
            };
            if let Err(refusal) = verdict {
                self.refuse(&socket, &refusal);
                return;
            }
        }
        self.let_in(&socket, &handlers);
    }

    fn let_in(&self, socket: &Socket, handlers: &Handlers) {
        if self.with(|shard| shard.accept(socket.key())) {
            for handler in &handlers.on_connect {
                handler(socket);
            }
        }
    }

    fn refuse(&self, socket: &Socket, refusal: &Refusal) {
        let (message, data) = (&refusal.message, refusal.data.as_deref());
        self.with(|shard| shard.refuse(socket.key(), message, data));
    }

    fn event(&self, event: &Event<'_>) {
        let Some(handlers) = self.handlers_of(event.socket()) else { return };
        for filter in &handlers.filters {
            if let Err(refusal) = filter(event) {
                for handler in &handlers.on_refused {
                    handler(event.socket(), &refusal);
                }
                return;
            }
        }
        for handler in &handlers.on_any {
            handler(event);
        }
        let found = handlers.on.as_ref().and_then(|on| on.get(event.name()));
        match (found, &handlers.on_unknown) {
            (Some(found), _) => {
                for handler in found {
                    handler(event);
                }
            }
            (None, Some(handler)) => handler(event),
            (None, None) => self.with(|shard| shard.counters_mut().events_unknown += 1),
        }
    }
}

fn raw<'a>(message: &'a RawMessage<'_>) -> Result<&'a str, &'a [u8]> {
    match message {
        RawMessage::Text(text) => Ok(text),
        RawMessage::Binary(data) => Err(data),
    }
}
