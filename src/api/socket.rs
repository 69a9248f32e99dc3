//! A socket as handlers see it.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::broadcast::Broadcast;
use super::core::{Core, LocalFuture};
use super::event::write_args;
use super::io::Io;
use super::promise::promise;
use crate::base::Key;
use crate::shard::{AckArgs, AckOutcome, Emit, Ending, Gone, Handshake};
use crate::socketio;

/// Why an ack did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckError {
    /// The client did not answer in time.
    TimedOut,
    /// The socket is gone.
    Gone,
}

/// A handle on one socket; cheap to clone, harmless to keep: once the socket is gone, nothing
/// happens.
#[derive(Clone)]
pub struct Socket {
    core: Rc<Core>,
    key: Key,
}

impl Socket {
    pub(super) fn new(core: Rc<Core>, key: Key) -> Self {
        Self { core, key }
    }

    pub(super) fn core(&self) -> &Rc<Core> {
        &self.core
    }

    /// Its key on this core, to keep things by.
    #[must_use]
    pub fn key(&self) -> Key {
        self.key
    }

    /// The whole server, as seen from this core.
    #[must_use]
    pub fn io(&self) -> Io {
        Io::new(Rc::clone(&self.core))
    }

    /// Its public id; empty once it is gone.
    #[must_use]
    pub fn id(&self) -> String {
        self.core.look(|shard| shard.socket_id(self.key)).unwrap_or_default()
    }

    /// Its namespace; empty once it is gone.
    #[must_use]
    pub fn namespace(&self) -> Arc<str> {
        self.core.look(|shard| shard.socket_namespace(self.key)).unwrap_or_else(|| Arc::from(""))
    }

    /// Whether it has joined and is not gone.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.core.look(|shard| shard.is_joined(self.key))
    }

    /// Whether it goes on with the session that its client had before its connection broke: with
    /// the same id and rooms, and with the events it missed in between. True in middleware too,
    /// where the application may still refuse it.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.core.look(|shard| shard.is_recovered(self.key))
    }

    /// The request its connection came with.
    #[must_use]
    pub fn handshake(&self) -> Option<Arc<Handshake>> {
        self.core.look(|shard| shard.socket_handshake(self.key))
    }

    /// The auth payload of its CONNECT, raw JSON; empty if there was none.
    #[must_use]
    pub fn raw_auth(&self) -> Arc<str> {
        self.core.look(|shard| shard.socket_auth(self.key)).unwrap_or_else(|| Arc::from(""))
    }

    /// Lets go of the auth payload, for an application that has read what it wants of it and
    /// would rather have the memory; [`Self::raw_auth`] is empty from then on.
    pub fn forget_auth(&self) {
        self.core.with(|shard| shard.forget_auth(self.key));
    }

    /// The auth payload read as a type; `None` if there was none or it does not fit.
    #[must_use]
    pub fn auth<T: DeserializeOwned>(&self) -> Option<T> {
        socketio::from_args::<(T,)>(&self.raw_auth()).ok().map(|(auth,)| auth)
    }

    /// `polling` or `websocket`, by now.
    #[must_use]
    pub fn transport(&self) -> &'static str {
        self.core.look(|shard| shard.socket_transport(self.key)).unwrap_or("")
    }

    /// The application's state of it, if it was set and is of this type.
    #[must_use]
    pub fn data<T: 'static>(&self) -> Option<Rc<T>> {
        self.core.look(|shard| shard.socket_data(self.key))?.downcast().ok()
    }

    /// Sets the application's state of it.
    pub fn set_data<T: 'static>(&self, data: Rc<T>) {
        self.core.with(|shard| shard.set_socket_data(self.key, Some(data as Rc<dyn Any>)));
    }

    /// Sets what other cores and REST may know of it.
    pub fn set_public(&self, public: &impl Serialize) {
        let public = serde_json::to_string(public).unwrap_or_default();
        self.core.with(|shard| shard.set_socket_public(self.key, Arc::from(public)));
    }

    /// Its rooms, its own id first.
    #[must_use]
    pub fn rooms(&self) -> Vec<String> {
        let rooms = self.core.look(|shard| shard.rooms_of(self.key));
        std::iter::once(self.id()).chain(rooms.iter().map(|room| room.to_string())).collect()
    }

    /// Whether it is in a room.
    #[must_use]
    pub fn is_in(&self, room: &str) -> bool {
        self.core.look(|shard| shard.is_in(self.key, room))
    }

    /// Joins a room. False if it is gone, has too many rooms, or the name is too long.
    pub fn join(&self, room: &str) -> bool {
        self.core.with(|shard| shard.join(self.key, room)).is_ok()
    }

    /// Leaves a room. True if it was in it.
    pub fn leave(&self, room: &str) -> bool {
        self.core.with(|shard| shard.leave(self.key, room))
    }

    /// Sends an event; a tuple becomes its arguments, `()` none.
    pub fn emit(&self, name: &str, args: &(impl Serialize + ?Sized)) -> bool {
        self.emit_raw(name, &write_args(args), &[])
    }

    /// Sends an event whose arguments are JSON already, without the brackets.
    pub fn emit_raw(&self, name: &str, args: &str, attachments: &[Vec<u8>]) -> bool {
        let emit = Emit { name, args, attachments, volatile: false };
        self.core.with(|shard| shard.emit(self.key, &emit))
    }

    /// Sends an event that the client may miss if it is behind.
    pub fn emit_volatile(&self, name: &str, args: &(impl Serialize + ?Sized)) -> bool {
        let args = write_args(args);
        let emit = Emit { name, args: &args, attachments: &[], volatile: true };
        self.core.with(|shard| shard.emit(self.key, &emit))
    }

    /// Sends an event and waits for the client's answer.
    ///
    /// # Errors
    /// It did not come.
    pub async fn emit_with_ack(
        &self,
        name: &str,
        args: &(impl Serialize + ?Sized),
        timeout_ms: u64,
    ) -> Result<AckArgs, AckError> {
        let (resolver, promise) = promise();
        self.emit_then(name, &write_args(args), &[], timeout_ms, |outcome| {
            resolver.resolve(outcome);
        });
        match promise.await {
            Some(AckOutcome::Acked(ack)) => Ok(ack),
            Some(AckOutcome::TimedOut) => Err(AckError::TimedOut),
            Some(AckOutcome::Gone) | None => Err(AckError::Gone),
        }
    }

    /// Sends an event and calls back with the client's answer.
    pub fn emit_then(
        &self,
        name: &str,
        raw_args: &str,
        attachments: &[Vec<u8>],
        timeout_ms: u64,
        done: impl FnOnce(AckOutcome) + 'static,
    ) {
        let emit = Emit { name, args: raw_args, attachments, volatile: false };
        self.core.with(|shard| {
            // On an error `done` hears of it; there is nothing to add.
            let _told = shard.emit_with_ack(self.key, &emit, timeout_ms, Box::new(done));
        });
    }

    /// Everybody in its namespace but itself.
    pub fn broadcast(&self) -> Broadcast {
        Broadcast::new(Rc::clone(&self.core), self.namespace()).except(&self.id())
    }

    /// A room, but not itself.
    pub fn to(&self, room: &str) -> Broadcast {
        self.broadcast().to(room)
    }

    /// Leaves the namespace; with `close` the whole connection goes.
    pub fn disconnect(&self, close: bool) {
        self.core.with(|shard| shard.disconnect(self.key, close));
    }

    /// Takes it out of its namespace because it misbehaves: as [`Self::disconnect`], but counted as
    /// abuse.
    pub fn expel(&self) {
        self.core.with(|shard| shard.expel(self.key));
    }

    /// Ends the Engine.IO session without telling the namespace; the client comes back.
    pub fn close_transport(&self) {
        self.core.with(|shard| shard.close_transport(self.key));
    }

    /// The same for a reason that is counted and logged by its name.
    pub fn close_as(&self, ending: Ending) {
        self.core.with(|shard| shard.close_as(self.key, ending));
    }

    /// Writes to the log, sampled, that something this socket asked for was refused for the sake of
    /// security. `message` must hold nothing secret.
    pub fn log_refused(&self, message: &str) {
        self.core.with(|shard| shard.log_refused(self.key, message));
    }

    /// Runs a future for this socket. It counts against the socket's limit of async handlers.
    pub fn spawn(&self, future: LocalFuture) {
        self.spawn_with(0, future);
    }

    /// The same for a future that holds an event of so many bytes.
    pub(super) fn spawn_with(&self, bytes: usize, future: LocalFuture) {
        let session = self.core.with(|shard| shard.begin_task(self.key, bytes));
        let (core, key) = (Rc::clone(&self.core), self.key);
        self.core.host().spawn(Box::pin(async move {
            let outcome = super::run::CatchUnwind(future).await;
            core.with(|shard| shard.end_task(session, bytes));
            if outcome.is_err() {
                core.handler_panicked(Some(key));
            }
        }));
    }
}

/// A socket that is gone, as `on_disconnect` handlers see it. It is in no room any more; which
/// it was in, `rooms` says.
pub struct Disconnected {
    pub(super) io: Io,
    pub(super) gone: Gone,
}

impl Disconnected {
    /// The whole server, as seen from this core.
    #[must_use]
    pub fn io(&self) -> &Io {
        &self.io
    }

    /// Its former key.
    #[must_use]
    pub fn key(&self) -> Key {
        self.gone.socket
    }

    /// Its public id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.gone.id
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.gone.namespace
    }

    /// The rooms it was in, its own id not among them.
    #[must_use]
    pub fn rooms(&self) -> &[Rc<str>] {
        &self.gone.rooms
    }

    /// Why, as a Node server words it.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.gone.ending.reason()
    }

    /// Why, precisely.
    #[must_use]
    pub fn ending(&self) -> Ending {
        self.gone.ending
    }

    /// The application's state of it, if it was set and is of this type.
    #[must_use]
    pub fn data<T: 'static>(&self) -> Option<Rc<T>> {
        self.gone.data.clone()?.downcast().ok()
    }

    /// The request its connection came with.
    #[must_use]
    pub fn handshake(&self) -> &Arc<Handshake> {
        &self.gone.handshake
    }
}
