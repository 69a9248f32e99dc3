//! The application that the simulated clients talk to, and what it notices by itself.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use crate::api::{App, Broadcast, Event, NamespaceBuilder, OwnedEvent, Socket, promise};
use crate::base::{CoreId, Key};
use crate::shard::Verb;

/// The namespaces served. The second one lets sockets in after a question to all cores.
pub(super) const NAMESPACES: [&str; 2] = ["/", "/b"];

/// What all instances of the application know together.
#[derive(Default)]
pub(super) struct Presence {
    /// Sockets that are connected, as the handlers were told: core and key.
    here: RefCell<BTreeSet<(u8, Key)>>,
    /// What handlers noticed that must not be. They cannot panic: a panic of theirs is a case
    /// the server copes with.
    wrong: RefCell<Option<String>>,
    /// Async handlers that have begun and not ended.
    pub(super) running: Cell<i64>,
}

impl Presence {
    /// What handlers noticed that must not be.
    pub(super) fn wrong(&self) -> Option<String> {
        self.wrong.borrow().clone()
    }

    /// Whether all handlers have been told that their sockets are gone.
    pub(super) fn is_empty(&self) -> bool {
        self.here.borrow().is_empty()
    }

    fn expect(&self, truth: bool, what: &str) {
        if !truth {
            *self.wrong.borrow_mut() = Some(what.to_owned());
        }
    }

    fn came(&self, socket: &Socket) {
        let new = self.here.borrow_mut().insert((socket.io().core().0, socket.key()));
        self.expect(new, "a socket connected twice");
    }

    fn saw(&self, socket: &Socket) {
        let known = self.here.borrow().contains(&(socket.io().core().0, socket.key()));
        self.expect(known, "an event of a socket that is not connected");
    }

    fn went(&self, core: u8, key: Key) {
        let known = self.here.borrow_mut().remove(&(core, key));
        self.expect(known, "a socket disconnected twice, or was never there");
    }
}

/// Ends with its handler, however that ends.
struct Running(Rc<Presence>);

impl Running {
    fn begin(presence: &Rc<Presence>) -> Self {
        presence.running.set(presence.running.get() + 1);
        Self(Rc::clone(presence))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
    }
}

/// The application of one core.
pub(super) fn build(presence: &Rc<Presence>) -> App {
    let [first, second] = NAMESPACES;
    App::new()
        .allow_request(|_| async { Ok(()) })
        .namespace(first, |namespace| serve(namespace, presence))
        .namespace(second, |namespace| {
            namespace.gate_async(|socket| async move {
                count(socket.io().of(NAMESPACES[0]), Verb::Count).await;
                Ok(())
            });
            serve(namespace, presence);
        })
}

fn serve(namespace: &mut NamespaceBuilder, presence: &Rc<Presence>) {
    let know = || Rc::clone(presence);
    let (here, saw, gone, began) = (know(), know(), know(), know());
    namespace.on_connect(move |socket| here.came(socket));
    namespace.on_any(move |event| saw.saw(event.socket()));
    namespace.on_disconnect(move |socket| gone.went(socket.io().core().0, socket.key()));
    namespace.on_args("join", |socket, (room,): (String,), ack| {
        let joined = socket.join(&room);
        ack.send(&(joined, socket.is_in(&room)));
    });
    namespace.on_args("leave", |socket, (room,): (String,), ack| {
        let left = socket.leave(&room);
        ack.send(&(left, socket.is_in(&room)));
    });
    namespace.on("say", say);
    namespace.on("echo", |event| event.ack().send_raw(event.raw_args(), event.attachments()));
    namespace.on_args("quit", |socket, (close,): (bool,), _| socket.disconnect(close));
    namespace.on_args("drop", |socket, (), _| socket.close_transport());
    // Unwinds without a word on the error stream.
    namespace.on("boom", |_| std::panic::resume_unwind(Box::new("boom")));
    asks(namespace, &began);
    namespace.on_args("purge", |socket, (room, close): (String, bool), _| {
        socket.io().of(&socket.namespace()).to(&room).disconnect_sockets(close);
    });
    namespace.on_args("errand", |socket, (nonce, core): (u64, u8), _| {
        let (home, key) = (socket.io().core(), socket.key());
        socket.io().run_on(CoreId(core), move |there| {
            let seen = there.core().0;
            there.run_on(home, move |here| {
                here.socket(key).emit("back", &(nonce, seen));
            });
        });
    });
    namespace.on_args("mass", |socket, args: (u64, String, String, bool), ack| {
        let (_, from, to, join) = args;
        let to = vec![to.into()];
        let verb = if join { Verb::Join(to) } else { Verb::Leave(to) };
        let all = socket.io().of(&socket.namespace()).to(&from);
        all.apply(&verb, move |found| ack.send(&(found.count, found.partial)));
    });
}

/// The handlers that wait for something.
fn asks(namespace: &mut NamespaceBuilder, presence: &Rc<Presence>) {
    let know = || Rc::clone(presence);
    let (one, two, three, four) = (know(), know(), know(), know());
    namespace.on_async("ask", move |event| {
        let running = Running::begin(&one);
        async move {
            let _until_the_end = running;
            let Ok((id, to, wait_ms)) = event.args::<(u64, Vec<String>, u64)>() else { return };
            let all = event.socket.io().of(&event.socket.namespace()).to_all(to).timeout(wait_ms);
            let found = all.emit_with_ack("question", &(id,)).await;
            let answers: Vec<String> = found.acks.into_iter().map(|one| one.ack.args).collect();
            event.ack().send(&(id, found.count, found.partial, answers));
        }
    });
    namespace.on_async("me", move |event| {
        let running = Running::begin(&two);
        async move {
            let _until_the_end = running;
            answer_me(event).await;
        }
    });
    namespace.on_async("count", move |event| {
        let running = Running::begin(&three);
        async move {
            let _until_the_end = running;
            let Ok((id, to, fetch)) = event.args::<(u64, Vec<String>, bool)>() else { return };
            let all = event.socket.io().of(&event.socket.namespace()).to_all(to);
            let verb = if fetch { Verb::Fetch } else { Verb::Count };
            let (found, partial) = count(all, verb).await;
            event.ack().send(&(id, found, partial));
        }
    });
    namespace.on_async("boom later", move |event| {
        let running = Running::begin(&four);
        async move {
            let _until_the_end = running;
            count(event.socket.broadcast(), Verb::Count).await;
            std::panic::resume_unwind(Box::new("boom"));
        }
    });
    // A handler that leaves first and only then has something to wait for.
    namespace.on("quit later", |event| {
        let socket = event.socket().clone();
        socket.disconnect(false);
        let waiting = socket.clone();
        socket.spawn(Box::pin(async move {
            count(waiting.io().of(NAMESPACES[0]), Verb::Count).await;
        }));
    });
}

async fn answer_me(event: OwnedEvent) {
    let Ok((nonce, wait_ms)) = event.args::<(u64, u64)>() else { return };
    match event.socket.emit_with_ack("you", &(nonce,), wait_ms).await {
        Ok(ack) => event.ack().send_raw(&format!("\"ok\",{}", ack.args), &ack.attachments),
        Err(_) => event.ack().send(&("late",)),
    }
}

/// How many there are, and whether somebody did not say.
async fn count(all: Broadcast, verb: Verb) -> (u64, bool) {
    let fetch = matches!(verb, Verb::Fetch);
    let (resolver, promise) = promise();
    all.apply(&verb, |found| resolver.resolve(found));
    let Some(found) = promise.await else { return (0, true) };
    let partial = found.partial;
    (if fetch { found.sockets.len() as u64 } else { found.count }, partial)
}

/// `[id, to, except, others, counted, volatile, …]`: relayed as it came, attachments too.
fn say(event: &Event<'_>) {
    type Args = (u64, Vec<String>, Vec<String>, bool, bool, bool);
    let Ok((id, to, except, others, counted, volatile)) = event.args::<Args>() else { return };
    let socket = event.socket();
    let all = if others { socket.broadcast() } else { socket.io().of(&socket.namespace()) };
    let mut all = all.to_all(to).except_all(except);
    if volatile {
        all = all.volatile();
    }
    let (args, attachments, ack) = (event.raw_args(), event.attachments(), event.ack());
    if counted {
        all.emit_counted("said", args, attachments, move |found| {
            ack.send(&(id, found.count, found.partial));
        });
    } else {
        all.emit_raw("said", args, attachments);
        ack.send(&(id,));
    }
}
