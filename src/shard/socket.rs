//! One session's seat in one namespace, and the verbs on it.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use super::ack::{Party, PendingAck};
use super::message::{Completion, Gone, SocketInfo};
use super::recall::{Claimed, Settled};
use super::session::Parser;
use super::{Ending, Handshake, LogEvent, Shard};
use crate::base::{Id20, IdText, Key, Micros, Millis};
use crate::engineio::Revision;
use crate::socketio::{self, Joined};
use crate::telemetry::Stage;

/// Whether a socket has joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seat {
    /// CONNECT came, the application has not decided.
    Asking,
    Joined,
}

/// One socket.
pub(crate) struct Socket {
    pub(crate) session: Key,
    pub(crate) namespace: u32,
    pub(crate) id: Id20,
    pub(crate) seat: Seat,
    /// The last broadcast that looked at it; so that a union reaches it once.
    pub(crate) epoch: u32,
    pub(crate) in_namespace: u32,
    pub(crate) rooms: Joined,
    pub(crate) acks: Vec<PendingAck>,
    pub(crate) acks_timer_at: Option<Millis>,
    pub(crate) auth: Arc<str>,
    pub(crate) data: Option<Rc<dyn Any>>,
    pub(crate) public: Option<Arc<str>>,
    pub(crate) connected_at: Micros,
    pub(crate) active_at: Micros,
    /// What is recovered or can be, where sessions can.
    pub(crate) claimed: Option<Claimed>,
}

impl Socket {
    /// When other cores must have answered what this socket claims.
    pub(crate) fn claim_due_at(&self) -> Option<Millis> {
        match &self.claimed {
            Some(Claimed::Asking { due, .. }) => Some(*due),
            _ => None,
        }
    }
}

/// Why a verb on a socket did nothing. Callers of the library see it; peers cannot cause it
/// beyond what the limits say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketError {
    /// The socket is gone.
    Gone,
    /// The limit `rooms_per_socket_max`, or that of all rooms of a core.
    TooManyRooms,
    /// A room's name is empty or longer than `name_bytes_max`.
    BadName,
    /// The limit `acks_pending_max`, or that of all acks of a core.
    TooManyAcks,
}

/// Tells of a socket's state whose it is.
pub type Namer = fn(&dyn Any) -> Option<Arc<str>>;

impl Shard {
    /// Seats a session in a namespace, waiting for the application's verdict.
    pub(super) fn seat(&mut self, session: Key, name: &str, auth: &str) -> Key {
        let namespace = self.namespaces.open(name);
        let (revision, sid) = {
            let session = &self.sessions.get(session).expect("the caller looked");
            (session.revision, session.sid)
        };
        let id = match revision {
            // Rule: Socket.IO before v3: the socket's id is the engine's.
            Revision::V3 => sid,
            Revision::V4 => self.new_id(),
        };
        let sockets = &self.namespaces.get(namespace).sockets;
        let in_namespace = u32::try_from(sockets.len()).expect("sockets are bounded by conns_max");
        let key = self.sockets.insert(Socket {
            session,
            namespace,
            id,
            seat: Seat::Asking,
            epoch: 0,
            in_namespace,
            rooms: Joined::default(),
            acks: Vec::new(),
            acks_timer_at: None,
            auth: if auth.is_empty() { Arc::clone(self.namespaces.empty()) } else { auth.into() },
            data: None,
            public: None,
            connected_at: self.now,
            active_at: self.now,
            claimed: None,
        });
        self.held.kept_bytes += auth.len();
        self.namespaces.get_mut(namespace).sockets.push(key);
        if let Some(session) = self.sessions.get_mut(session) {
            session.sockets.reserve_exact(1);
            session.sockets.push(key);
        }
        key
    }

    /// The application lets a socket in: it joins, and the client is told.
    ///
    /// Rule: socket.io-protocol v5, "Connection to a namespace": `40{"sid":"…"}`; EIO 3 clients
    /// get a bare `40`. Returns false if the socket is gone or was answered before.
    pub fn accept(&mut self, key: Key) -> bool {
        let Some(socket) = self.sockets.get_mut(key) else { return false };
        if socket.seat == Seat::Joined {
            return false;
        }
        socket.seat = Seat::Joined;
        socket.connected_at = self.now;
        let (session, namespace) = (socket.session, socket.namespace);
        let settled = self.settle_claim(key);
        let Some(id) = self.sockets.get(key).map(|socket| socket.id) else { return false };
        self.ids.insert((namespace, id), key);
        let name = self.namespace_name(namespace);
        self.interest.add(&name, "");
        let is_first = self.has_joined(session);
        if let Some(session) = self.sessions.get_mut(session) {
            if is_first {
                self.hists.record(Stage::Handshake, self.now - session.opened_at);
            }
            if session.parser == Parser::Unknown {
                session.parser = Parser::Default;
            }
        }
        let mut pid = None;
        if let Some(Settled { pid: known, missed }) = settled {
            pid = Some(known.text());
            self.replay(key, session, missed);
            if !self.is_joined(key) {
                // All sessions together had too much waiting. Its application has not met it.
                let is_its = |done: &Completion| matches!(done, Completion::Gone(gone) if gone.socket == key);
                self.completions.retain(|done| !is_its(done));
                return false;
            }
        }
        let sid = self.is_v4(session).then(|| id.text());
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        match &sid {
            Some(sid) => {
                let pid = pid.as_ref().map(IdText::as_str);
                socketio::encode::connect(&mut text, &name, sid.as_str(), pid);
            }
            None => socketio::connect_bare(&mut text, &name),
        }
        self.send_packet(session, &text);
        self.scratch = text;
        self.logs.push_back(LogEvent::Joined { namespace: name, id: id.text() });
        true
    }

    /// The application refuses a socket; the connection and its other namespaces stay.
    ///
    /// Shape: `44{"message":"…","data":…}`; EIO 3 clients get the data alone, or the message.
    pub fn refuse(&mut self, key: Key, message: &str, data: Option<&str>) {
        let Some(socket) = self.sockets.get(key) else { return };
        if socket.seat == Seat::Joined {
            return;
        }
        let (session, namespace) = (socket.session, socket.namespace);
        let name = self.namespace_name(namespace);
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        if self.is_v4(session) {
            socketio::encode::connect_error(&mut text, &name, message, data);
        } else {
            socketio::connect_error_v4(&mut text, &name, message, data);
        }
        self.send_packet(session, &text);
        self.scratch = text;
        let (name, message) = (name, message.to_owned());
        self.logs.push_back(LogEvent::Refused { namespace: name, message });
        self.unseat(key, Ending::ServerLeft);
    }

    /// Ends a socket: the client is told, and with `close` the whole connection goes.
    pub fn disconnect(&mut self, key: Key, close: bool) {
        self.dismiss(key, close, Ending::ServerLeft);
    }

    /// Takes a socket that misbehaves out of its namespace, which its client is told.
    pub fn expel(&mut self, key: Key) {
        self.dismiss(key, false, Ending::Abuse);
    }

    fn dismiss(&mut self, key: Key, close: bool, ending: Ending) {
        let Some(socket) = self.sockets.get(key) else { return };
        let (session, namespace) = (socket.session, socket.namespace);
        let joined = socket.seat == Seat::Joined;
        if close {
            let seats = self.sessions.get(session).map(|s| s.sockets.clone()).unwrap_or_default();
            for seat in seats {
                self.disconnect(seat, false);
            }
            self.end_session(session, Ending::ServerClosed);
            return;
        }
        let name = self.namespace_name(namespace);
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        if joined {
            socketio::encode::disconnect(&mut text, &name);
            self.send_packet(session, &text);
        }
        self.scratch = text;
        self.unseat(key, ending);
    }

    /// Ends a socket's session without telling its namespaces.
    pub fn close_transport(&mut self, key: Key) {
        if let Some(session) = self.sockets.get(key).map(|socket| socket.session) {
            self.end_session(session, Ending::ServerClosed);
        }
    }

    /// Ends the session of a socket for a reason of its own.
    pub fn close_as(&mut self, key: Key, ending: Ending) {
        if let Some(session) = self.sockets.get(key).map(|socket| socket.session) {
            self.end_session(session, ending);
        }
    }

    /// Writes to the log that something a joined socket asked for was refused for the sake of
    /// security. `message` holds nothing secret.
    pub fn log_refused(&mut self, key: Key, message: &str) {
        if let Some(namespace) = self.socket_namespace(key) {
            self.logs.push_back(LogEvent::Refused { namespace, message: message.to_owned() });
        }
    }

    /// A handler panicked; the session it was called for ends.
    pub fn handler_panicked(&mut self, key: Option<Key>) {
        self.counters.handler_panics += 1;
        let session = key.and_then(|key| self.sockets.get(key)).map(|socket| socket.session);
        if let Some(session) = session {
            self.end_session(session, Ending::HandlerPanic);
        }
    }

    /// Takes a socket out of everything; its handlers hear of it if it had joined.
    pub(super) fn unseat(&mut self, key: Key, ending: Ending) {
        let saved = self.saved_of(key);
        let Some(socket) = self.sockets.get(key) else { return };
        let namespace = self.namespaces.get_mut(socket.namespace);
        let left = namespace.rooms.leave_all(key.slot(), &mut self.sockets);
        let mut socket = self.sockets.remove(key).expect("it was found above");
        let at = socket.in_namespace as usize;
        namespace.sockets.swap_remove(at);
        if let Some(&moved) = namespace.sockets.get(at) {
            let moved = self.sockets.get_mut(moved).expect("the namespace lists living sockets");
            moved.in_namespace = socket.in_namespace;
        }
        let name = Arc::clone(&namespace.name);
        self.held.kept_bytes -= socket.auth.len();
        for (room, last) in &left {
            self.held.rooms_bytes -= super::room::membership_bytes(room, *last);
            if *last {
                self.interest.remove(&name, room);
            }
        }
        if let Some(session) = self.sessions.get_mut(socket.session) {
            session.sockets.retain(|seat| *seat != key);
        }
        let id = self.id_text(socket.session, &name, socket.id);
        let party = Party { socket: key, session: socket.session };
        self.lose_acks(party, std::mem::take(&mut socket.acks));
        let joined = socket.seat == Seat::Joined;
        if joined {
            self.ids.remove(&(socket.namespace, socket.id));
            self.interest.remove(&name, "");
        }
        self.namespaces.close_if_empty(socket.namespace);
        if let Some(saved) = saved {
            self.save_track(saved, ending);
        } else if let Some(claimed) = socket.claimed.take() {
            self.give_back(claimed, ending);
        }
        if !joined {
            return;
        }
        let handshake = self.sessions.get(socket.session).map(|s| Arc::clone(&s.handshake));
        self.logs.push_back(LogEvent::Left {
            namespace: Arc::clone(&name),
            id: id.clone(),
            ending,
        });
        self.completions.push_back(Completion::Gone(Gone {
            socket: key,
            id,
            namespace: name,
            rooms: left.into_iter().map(|(room, _)| room).collect(),
            ending,
            data: socket.data,
            handshake: handshake.expect("sessions outlive their sockets"),
        }));
    }

    pub(super) fn is_v4(&self, session: Key) -> bool {
        self.sessions.get(session).is_none_or(|session| session.revision == Revision::V4)
    }

    fn id_text(&self, session: Key, namespace: &str, id: Id20) -> String {
        if namespace != "/" && !self.is_v4(session) {
            return format!("{namespace}#{id}");
        }
        id.to_string()
    }

    /// Whether a socket has joined and is not gone.
    #[must_use]
    pub fn is_joined(&self, key: Key) -> bool {
        self.sockets.get(key).is_some_and(|socket| socket.seat == Seat::Joined)
    }

    /// A socket's public id.
    #[must_use]
    pub fn socket_id(&self, key: Key) -> Option<String> {
        let socket = self.sockets.get(key)?;
        let name = &self.namespaces.get(socket.namespace).name;
        Some(self.id_text(socket.session, name, socket.id))
    }

    /// A socket's namespace.
    #[must_use]
    pub fn socket_namespace(&self, key: Key) -> Option<Arc<str>> {
        self.sockets.get(key).map(|socket| self.namespace_name(socket.namespace))
    }

    /// A socket's namespace, without a reference counted.
    #[must_use]
    pub fn socket_namespace_ref(&self, key: Key) -> Option<&str> {
        self.sockets.get(key).map(|socket| &*self.namespaces.get(socket.namespace).name)
    }

    /// The request a socket's session came with.
    #[must_use]
    pub fn socket_handshake(&self, key: Key) -> Option<Arc<Handshake>> {
        let session = self.sessions.get(self.sockets.get(key)?.session)?;
        Some(Arc::clone(&session.handshake))
    }

    /// The auth payload of a socket's CONNECT, raw JSON, empty if there was none.
    #[must_use]
    pub fn socket_auth(&self, key: Key) -> Option<Arc<str>> {
        self.sockets.get(key).map(|socket| Arc::clone(&socket.auth))
    }

    /// Lets go of the auth payload of a socket's CONNECT.
    pub fn forget_auth(&mut self, key: Key) {
        if let Some(socket) = self.sockets.get_mut(key) {
            self.held.kept_bytes -= socket.auth.len();
            socket.auth = Arc::clone(self.namespaces.empty());
        }
    }

    /// The name of a socket's transport at the moment.
    #[must_use]
    pub fn socket_transport(&self, key: Key) -> Option<&'static str> {
        let session = self.sessions.get(self.sockets.get(key)?.session)?;
        Some(match session.transport {
            super::session::Transport::WebSocket { .. } => "websocket",
            _ => "polling",
        })
    }

    /// Says how whoever asked for acks learns whose socket answered, from its application's state.
    pub fn set_namer(&mut self, namer: Namer) {
        self.namer = Some(namer);
    }

    /// Says what of its application's state must be the same for a socket to be recovered.
    pub fn set_likeness(&mut self, likeness: Namer) {
        self.likeness = Some(likeness);
    }

    /// The application's state of a socket.
    #[must_use]
    pub fn socket_data(&self, key: Key) -> Option<Rc<dyn Any>> {
        self.sockets.get(key).and_then(|socket| socket.data.clone())
    }

    /// Sets the application's state of a socket.
    pub fn set_socket_data(&mut self, key: Key, data: Option<Rc<dyn Any>>) {
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.data = data;
        }
    }

    /// Sets what other cores and REST may know of a socket, raw JSON.
    pub fn set_socket_public(&mut self, key: Key, public: Arc<str>) {
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.public = Some(public);
        }
    }

    /// Everything there is to say of a socket.
    #[must_use]
    pub fn socket_info(&self, key: Key) -> Option<SocketInfo> {
        let socket = self.sockets.get(key)?;
        let session = self.sessions.get(socket.session)?;
        let namespace = self.namespaces.get(socket.namespace);
        let id = self.id_text(socket.session, &namespace.name, socket.id);
        let rooms = namespace.rooms.names(&socket.rooms).map(|room| room.to_string());
        Some(SocketInfo {
            rooms: std::iter::once(id.clone()).chain(rooms).collect(),
            id,
            namespace: Arc::clone(&namespace.name),
            handshake: Arc::clone(&session.handshake),
            auth: Arc::clone(&socket.auth),
            connected_at_unix_ms: self.unix_base_ms + socket.connected_at / 1_000,
            last_activity_unix_ms: self.unix_base_ms + socket.active_at / 1_000,
            public: socket.public.clone().unwrap_or_else(|| Arc::clone(self.namespaces.empty())),
        })
    }

    /// The socket with this public id, if it lives here.
    pub(super) fn find_socket(&self, namespace: u32, room: &str) -> Option<Key> {
        let id = room.rsplit_once('#').map_or(room, |(_, id)| id);
        let id = Id20::parse(id)?;
        let key = self.ids.get(&(namespace, id)).copied()?;
        let plain = id.text().as_str() == room;
        (plain || self.socket_id(key).as_deref() == Some(room)).then_some(key)
    }
}
