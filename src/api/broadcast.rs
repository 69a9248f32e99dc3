//! Sets of sockets: sending to them, and doing something to them.

use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;

use super::core::Core;
use super::event::write_args;
use super::promise::promise;
use crate::shard::{Emit, Gathered, SocketInfo, Target, Terms, Verb};
use crate::telemetry::Stage;

/// A set of sockets, narrowed step by step; every step gives a new one.
///
/// Rule: rooms are a union, and a socket in several of them is reached once; `except` takes out.
#[derive(Clone)]
#[must_use = "a broadcast does nothing until something is sent"]
pub struct Broadcast {
    core: Rc<Core>,
    namespace: Arc<str>,
    target: Target,
    local: bool,
    volatile: bool,
    timeout_ms: u64,
}

/// Time clients have to answer a broadcast, unless said otherwise; Node's cluster requests.
const TIMEOUT_MS: u64 = 5_000;

impl Broadcast {
    pub(super) fn new(core: Rc<Core>, namespace: Arc<str>) -> Self {
        Self {
            core,
            namespace,
            target: Target::default(),
            local: false,
            volatile: false,
            timeout_ms: TIMEOUT_MS,
        }
    }

    /// Exactly these sockets.
    pub fn target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// Adds a room (or a socket's id).
    pub fn to(mut self, room: &str) -> Self {
        self.target.rooms.push(room.into());
        self
    }

    /// Adds rooms.
    pub fn to_all<S: AsRef<str>>(mut self, rooms: impl IntoIterator<Item = S>) -> Self {
        self.target.rooms.extend(rooms.into_iter().map(|room| room.as_ref().into()));
        self
    }

    /// Takes the members of a room out.
    pub fn except(mut self, room: &str) -> Self {
        self.target.except.push(room.into());
        self
    }

    /// Takes the members of rooms out.
    pub fn except_all<S: AsRef<str>>(mut self, rooms: impl IntoIterator<Item = S>) -> Self {
        self.target.except.extend(rooms.into_iter().map(|room| room.as_ref().into()));
        self
    }

    /// Only sockets of this process. All cores of it are one server, so nothing changes as long
    /// as no other process is in the cluster.
    pub fn local(self) -> Self {
        self
    }

    /// Only sockets of this core.
    pub fn this_core(mut self) -> Self {
        self.local = true;
        self
    }

    /// Clients that are behind may miss it.
    pub fn volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    /// Whether it may be compressed. Accepted for the sake of Node's API: compression is not
    /// built yet, so nothing is compressed either way.
    pub fn compress(self, _compress: bool) -> Self {
        self
    }

    /// Time clients have to answer.
    pub fn timeout(mut self, ms: u64) -> Self {
        self.timeout_ms = ms;
        self
    }

    /// Sends an event; a tuple becomes its arguments, `()` none.
    pub fn emit(self, name: &str, args: &(impl Serialize + ?Sized)) {
        self.send(name, &write_args(args), &[], None);
    }

    /// Sends an event whose arguments are JSON already, without the brackets.
    pub fn emit_raw(self, name: &str, args: &str, attachments: &[Vec<u8>]) {
        self.send(name, args, attachments, None);
    }

    /// Sends an event and calls back with how many sockets it was queued for.
    pub fn emit_counted(
        self,
        name: &str,
        raw_args: &str,
        attachments: &[Vec<u8>],
        done: impl FnOnce(Gathered) + 'static,
    ) {
        self.send(name, raw_args, attachments, Some(Box::new(done)));
    }

    fn send(
        self,
        name: &str,
        args: &str,
        attachments: &[Vec<u8>],
        done: Option<Box<dyn FnOnce(Gathered)>>,
    ) {
        let Self { core, namespace, target, local, volatile, .. } = self;
        let emit = Emit { name, args, attachments, volatile };
        core.with(|shard| {
            let began = shard.now();
            shard.broadcast(&namespace, target, &emit, local, done);
            shard.set_now(core.now_us());
            let took = shard.now() - began;
            shard.record(Stage::PublishToQueued, took);
        });
    }

    /// Sends an event to all and gathers their answers; partial at the deadline.
    pub async fn emit_with_ack(self, name: &str, args: &(impl Serialize + ?Sized)) -> Gathered {
        let (resolver, promise) = promise();
        let args = write_args(args);
        self.emit_with_ack_then(name, &args, &[], |found| resolver.resolve(found));
        promise.await.unwrap_or_default()
    }

    /// Sends an event to all and calls back with their answers; partial at the deadline.
    pub fn emit_with_ack_then(
        self,
        name: &str,
        raw_args: &str,
        attachments: &[Vec<u8>],
        done: impl FnOnce(Gathered) + 'static,
    ) {
        let terms = Terms::all(self.timeout_ms);
        self.ask(name, raw_args, attachments, terms, done);
    }

    /// Sends an event to all and calls back with their answers as soon as the terms are met, or
    /// at the deadline.
    pub fn ask(
        self,
        name: &str,
        raw_args: &str,
        attachments: &[Vec<u8>],
        terms: Terms,
        done: impl FnOnce(Gathered) + 'static,
    ) {
        let Self { core, namespace, target, .. } = self;
        let emit = Emit { name, args: raw_args, attachments, volatile: false };
        core.with(|shard| {
            shard.broadcast_with_ack(&namespace, target, &emit, terms, Box::new(done));
        });
    }

    /// Describes the sockets.
    pub async fn fetch_sockets(self) -> Vec<SocketInfo> {
        let (resolver, promise) = promise();
        self.apply(&Verb::Fetch, |found| resolver.resolve(found));
        promise.await.unwrap_or_default().sockets
    }

    /// Counts the sockets.
    pub async fn count(self) -> u64 {
        let (resolver, promise) = promise();
        self.apply(&Verb::Count, |found| resolver.resolve(found));
        promise.await.unwrap_or_default().count
    }

    /// Puts the sockets into a room.
    pub fn sockets_join(self, room: &str) {
        self.apply(&Verb::Join(vec![room.into()]), drop);
    }

    /// Takes the sockets out of a room.
    pub fn sockets_leave(self, room: &str) {
        self.apply(&Verb::Leave(vec![room.into()]), drop);
    }

    /// Disconnects the sockets; with `close` their whole connections go.
    pub fn disconnect_sockets(self, close: bool) {
        self.apply(&Verb::Disconnect { close }, drop);
    }

    /// Does something to the sockets and calls back with how many there were.
    pub fn apply(self, verb: &Verb, done: impl FnOnce(Gathered) + 'static) {
        let Self { core, namespace, target, local, .. } = self;
        core.with(|shard| shard.apply(&namespace, target, verb, local, Some(Box::new(done))));
    }
}
