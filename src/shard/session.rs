//! One Engine.IO session, and the namespaces of a core.

use std::sync::Arc;

use super::Handshake;
use super::frame::Form;
use super::outbox::Outbox;
use crate::base::{Id20, Key, Map, Micros, Millis};
use crate::engineio::{Heartbeat, Revision};
use crate::socketio::Rooms;

/// Which parser a session's packets are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parser {
    /// Nothing arrived yet; the first message tells. A client of the default parser never
    /// starts with a binary one, a client of msgpack always does.
    Unknown,
    Default,
    Msgpack,
}

/// How a session's packets travel at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Long polling; the request that waits for something to be said, if one does.
    Polling {
        poll: Option<Key>,
    },
    WebSocket {
        conn: Key,
    },
    /// Ended: all that is left is to answer one more poll with this packet.
    ///
    /// Rule: a polling client learns of a close only from an answer (engine.io-protocol v4,
    /// "HTTP long-polling"), so the session outlives its sockets for a moment.
    LastWords {
        packet: u8,
        until: Millis,
    },
}

impl Transport {
    /// The connection on which something can be said now: a poll that waits, or the WebSocket.
    pub(crate) const fn writable(self) -> Option<Key> {
        match self {
            Self::WebSocket { conn } => Some(conn),
            Self::Polling { poll } => poll,
            Self::LastWords { .. } => None,
        }
    }
}

/// A candidate WebSocket during an upgrade.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upgrade {
    pub(crate) conn: Key,
    /// When a waiting poll is next released with a noop; set once the probe came.
    pub(crate) noop_due: Option<Millis>,
    pub(crate) until: Millis,
}

/// A packet whose attachments are still to come.
#[derive(Debug)]
pub(crate) struct PartialPacket {
    pub(crate) text: String,
    pub(crate) missing: usize,
    pub(crate) attachments: Vec<Vec<u8>>,
    pub(crate) bytes: usize,
    /// When the last of them must be here.
    pub(crate) due: Millis,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) sid: Id20,
    /// Index into the settings' endpoints.
    pub(crate) endpoint: u8,
    pub(crate) revision: Revision,
    pub(crate) parser: Parser,
    /// EIO 3: the client takes binary polling bodies.
    pub(crate) polls_binary: bool,
    pub(crate) transport: Transport,
    pub(crate) upgrade: Option<Box<Upgrade>>,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) connect_due: Option<Millis>,
    /// EIO 3 on WebSocket: nothing is written before this moment, see `Shard::open_session`.
    pub(crate) hushed_until: Option<Millis>,
    /// The post that is being received.
    pub(crate) post: Option<Key>,
    pub(crate) outbox: Outbox,
    /// Since when something waits to be written, in the outbox or said already.
    pub(crate) queued_at: Micros,
    /// Something was said that its connection has not written, see `Shard::say`.
    pub(crate) said: bool,
    /// Sockets of this session, joined or joining.
    pub(crate) sockets: Vec<Key>,
    pub(crate) partial: Option<Box<PartialPacket>>,
    pub(crate) handshake: Arc<Handshake>,
    /// The earliest entry it has in the timer queue.
    pub(crate) timer_at: Millis,
    /// When its handshake arrived; a latency once the first namespace is joined.
    pub(crate) opened_at: Micros,
    /// Async handlers at work for its sockets.
    pub(crate) tasks: u32,
    /// Bytes of the events they have.
    pub(crate) task_bytes: usize,
}

impl Session {
    pub(crate) fn form(&self, attachments_max: u32) -> Form {
        Form {
            revision: self.revision,
            msgpack: self.parser == Parser::Msgpack,
            attachments_max: attachments_max as usize,
        }
    }

    /// Whether all that is left of it is its last words.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.transport, Transport::LastWords { .. })
    }

    /// The earliest moment at which something is due.
    pub(crate) fn due(&self) -> Millis {
        if let Transport::LastWords { until, .. } = self.transport {
            return until;
        }
        let mut due = self.heartbeat.due();
        for other in [self.connect_due, self.hushed_until].into_iter().flatten() {
            due = due.min(other);
        }
        if let Some(partial) = &self.partial {
            due = due.min(partial.due);
        }
        if let Some(upgrade) = &self.upgrade {
            due = due.min(upgrade.until).min(upgrade.noop_due.unwrap_or(upgrade.until));
        }
        due
    }
}

/// A namespace of one core.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) name: Arc<str>,
    pub(crate) rooms: Rooms,
    pub(crate) sockets: Vec<Key>,
}

/// The namespaces of one core. They exist while they have a socket; what the application
/// registered is the application's business.
#[derive(Debug)]
pub(crate) struct Namespaces {
    by_name: Map<Arc<str>, u32>,
    slots: Vec<Option<Namespace>>,
    hasher: ahash::RandomState,
    empty: Arc<str>,
}

impl Namespaces {
    pub(crate) fn new(hasher: ahash::RandomState) -> Self {
        let by_name = Map::with_hasher(hasher.clone());
        Self { by_name, slots: Vec::new(), hasher, empty: Arc::from("") }
    }

    /// The empty text, shared: most sockets have no auth and nothing public.
    pub(crate) fn empty(&self) -> &Arc<str> {
        &self.empty
    }

    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn open(&mut self, name: &str) -> u32 {
        if let Some(slot) = self.find(name) {
            return slot;
        }
        let name: Arc<str> = Arc::from(name);
        let rooms = Rooms::new(self.hasher.clone());
        let namespace = Namespace { name: Arc::clone(&name), rooms, sockets: Vec::new() };
        let free = self.slots.iter().position(Option::is_none);
        let slot = free.unwrap_or(self.slots.len());
        if free.is_some() {
            self.slots[slot] = Some(namespace);
        } else {
            self.slots.push(Some(namespace));
        }
        let slot = u32::try_from(slot).expect("namespaces are bounded by namespaces_max");
        self.by_name.insert(name, slot);
        slot
    }

    /// Forgets a namespace that has no sockets.
    pub(crate) fn close_if_empty(&mut self, slot: u32) {
        let place = &mut self.slots[slot as usize];
        if place.as_ref().is_some_and(|namespace| namespace.sockets.is_empty()) {
            let namespace = place.take().expect("looked at just now");
            self.by_name.remove(&namespace.name);
        }
    }

    pub(crate) fn get(&self, slot: u32) -> &Namespace {
        self.slots[slot as usize].as_ref().expect("a namespace with sockets is open")
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut Namespace {
        self.slots[slot as usize].as_mut().expect("a namespace with sockets is open")
    }

    pub(crate) fn name(&self, slot: u32) -> Arc<str> {
        Arc::clone(&self.get(slot).name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Namespace> {
        self.slots.iter().flatten()
    }
}
