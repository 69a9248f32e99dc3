//! The whole server, as seen from one core.

use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;

use super::broadcast::Broadcast;
use super::core::{Core, LocalFuture};
use super::socket::Socket;
use crate::base::{CoreId, Key, Micros};
use crate::shard::{NamespaceView, SocketInfo, Target, Verb as TargetVerb};
use crate::telemetry::{Counters, Endings, Histograms};

/// A closure on its way to another core.
pub(super) type Errand = Box<dyn FnOnce(&Io) + Send>;

/// A handle on the whole server, as seen from one core; cheap to clone.
#[derive(Clone)]
pub struct Io {
    core: Rc<Core>,
}

impl Io {
    /// The handle of a core.
    #[must_use]
    pub fn new(core: Rc<Core>) -> Self {
        Self { core }
    }

    /// All sockets of a namespace.
    pub fn of(&self, namespace: &str) -> Broadcast {
        Broadcast::new(Rc::clone(&self.core), Arc::from(namespace))
    }

    /// The sockets of a room of `/`.
    pub fn to(&self, room: &str) -> Broadcast {
        self.of("/").to(room)
    }

    /// Sends an event to everybody in `/`.
    pub fn emit(&self, name: &str, args: &(impl Serialize + ?Sized)) {
        self.of("/").emit(name, args);
    }

    /// What the application keeps on this core, if it is of this type.
    #[must_use]
    pub fn state<T: 'static>(&self) -> Option<Rc<T>> {
        self.core.state().cloned()?.downcast().ok()
    }

    /// This core.
    #[must_use]
    pub fn core(&self) -> CoreId {
        self.core.look(crate::shard::Shard::core)
    }

    /// How many cores there are.
    #[must_use]
    pub fn cores(&self) -> usize {
        self.core.look(crate::shard::Shard::cores)
    }

    /// Runs a closure on another core (or on this one, a little later). Nothing is lost and the
    /// order from core to core is kept.
    pub fn run_on(&self, core: CoreId, errand: impl FnOnce(&Self) + Send + 'static) {
        let errand: Errand = Box::new(errand);
        self.core.with(|shard| shard.send_app(core, Box::new(errand)));
    }

    /// Goes on with something long on a core. On this one all else has its turn first, which
    /// [`Self::run_on`] does not grant: there it is run as soon as what runs now is done.
    ///
    /// Cost on this core: a task and a look at the kernel, some microseconds.
    pub fn go_on(&self, core: CoreId, errand: impl FnOnce(&Self) + Send + 'static) {
        let turn = if core == self.core() { self.core.host().turn() } else { None };
        let Some(turn) = turn else { return self.run_on(core, errand) };
        let io = self.clone();
        self.spawn(Box::pin(async move {
            turn.await;
            errand(&io);
        }));
    }

    /// Runs a future on this core. A panic in it is counted and goes no further.
    pub fn spawn(&self, future: LocalFuture) {
        let core = Rc::clone(&self.core);
        self.core.host().spawn(Box::pin(async move {
            if super::run::CatchUnwind(future).await.is_err() {
                core.handler_panicked(None);
            }
        }));
    }

    /// Microseconds since the process started.
    #[must_use]
    pub fn now_us(&self) -> Micros {
        self.core.now_us()
    }

    /// The same, as the core last read it: what happens in one handler happens at one time.
    #[must_use]
    pub fn held_us(&self) -> Micros {
        self.core.look(crate::shard::Shard::now)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        self.core.with(|shard| shard.unix_ms())
    }

    /// Whether another core is so far behind that nothing more should be taken on.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        self.core.look(crate::shard::Shard::overloaded)
    }

    /// Counts something.
    pub fn count(&self, add: impl FnOnce(&mut Counters)) {
        self.core.with(|shard| add(shard.counters_mut()));
    }

    /// How many sockets of this core are in a room.
    #[must_use]
    pub fn room_size_here(&self, namespace: &str, room: &str) -> usize {
        self.core.look(|shard| shard.room_size(namespace, room))
    }

    /// The joined sockets of a namespace on this core.
    #[must_use]
    pub fn sockets_here(&self, namespace: &str) -> Vec<Socket> {
        let keys = self.core.look(|shard| shard.sockets_of(namespace));
        keys.into_iter().map(|key| self.socket(key)).collect()
    }

    /// The joined sockets of a room on this core.
    #[must_use]
    pub fn members_here(&self, namespace: &str, room: &str) -> Vec<Socket> {
        let keys = self.core.look(|shard| shard.members_of(namespace, room));
        keys.into_iter().map(|key| self.socket(key)).collect()
    }

    /// The joined sockets of a target on this core, each once.
    #[must_use]
    pub fn select_here(&self, namespace: &str, target: &Target) -> Vec<Socket> {
        let keys = self.core.with(|shard| shard.select(namespace, target));
        keys.into_iter().map(|key| self.socket(key)).collect()
    }

    /// Sees to it that nobody comes back with what a verb takes away: who left, or was sent away,
    /// stays so although it was away. Sockets are told apart. Nothing where no session is recovered.
    pub(crate) fn strike(&self, namespace: &str, target: &Arc<Target>, verb: &TargetVerb) {
        self.core.with(|shard| shard.strike(namespace, target, verb, false));
    }

    /// A page of the joined sockets of a namespace on this core: up to `limit` of those after
    /// `after`, and where the next page begins. It may be short or empty although more follow.
    /// Sockets that come meanwhile may be left out.
    #[must_use]
    pub fn page_here(
        &self,
        namespace: &str,
        after: Option<u32>,
        limit: usize,
    ) -> (Vec<Socket>, Option<u32>) {
        let (keys, next) = self.core.look(|shard| shard.page_of(namespace, after, limit));
        (keys.into_iter().map(|key| self.socket(key)).collect(), next)
    }

    /// Describes a socket of this core.
    #[must_use]
    pub fn socket_info(&self, key: Key) -> Option<SocketInfo> {
        self.core.look(|shard| shard.socket_info(key))
    }

    /// The handle of a socket of this core.
    #[must_use]
    pub fn socket(&self, key: Key) -> Socket {
        Socket::new(Rc::clone(&self.core), key)
    }

    /// The namespaces that have a socket on this core.
    #[must_use]
    pub fn namespaces_here(&self) -> Vec<NamespaceView> {
        self.core.look(crate::shard::Shard::namespaces)
    }

    /// What this core has counted so far, and the latencies since the last call. `spare` takes
    /// those that come next: empty, with its memory.
    #[must_use]
    pub fn snapshot(&self, spare: Histograms) -> SnapshotParts {
        self.core.with(|shard| SnapshotParts {
            counters: shard.counters(),
            endings: shard.endings().clone(),
            hists: shard.swap_histograms(spare),
            now_us: shard.now(),
            overloaded: shard.overloaded(),
        })
    }
}

/// What a core tells of itself; what it is, its host knows.
#[derive(Clone, Debug)]
pub struct SnapshotParts {
    /// Counters and gauges, absolute since the core started.
    pub counters: Counters,
    /// Endings, absolute since the core started.
    pub endings: Endings,
    /// Latencies since the last snapshot.
    pub hists: Histograms,
    /// When it was taken.
    pub now_us: Micros,
    /// Whether another core is so far behind that nothing more should be taken on.
    pub overloaded: bool,
}

/// A message of a raw Engine.IO session.
pub struct EngineMessage<'a> {
    pub(super) core: &'a Rc<Core>,
    pub(super) session: Key,
    /// The message.
    pub message: Result<&'a str, &'a [u8]>,
}

impl EngineMessage<'_> {
    /// Answers with a message; `Err` is binary.
    pub fn reply(&self, message: Result<&str, &[u8]>) {
        self.core.with(|shard| shard.send_message(self.session, message));
    }
}

/// A message of a plain WebSocket.
pub struct PlainMessage<'a> {
    pub(super) core: &'a Rc<Core>,
    pub(super) conn: Key,
    /// The message.
    pub message: Result<&'a str, &'a [u8]>,
}

impl PlainMessage<'_> {
    /// Answers with a message; `Err` is binary.
    pub fn reply(&self, message: Result<&str, &[u8]>) {
        self.core.with(|shard| shard.send_plain(self.conn, message));
    }
}
