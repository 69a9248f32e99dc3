//! Rooms: one socket's, and those of whole targets.

use std::rc::Rc;
use std::sync::Arc;

use super::Shard;
use super::message::{Gathered, MeshMsg, Part, SocketInfo, Target, Verb};
use super::socket::{Socket, SocketError};
use crate::base::{Key, MEMBERSHIP_BYTES, ROOM_BYTES, Slab};
use crate::socketio::{Join, Joined, Leave, Member, Memberships};

impl Memberships for Slab<Socket> {
    fn of(&mut self, member: Member) -> &mut Joined {
        &mut self.at_mut(member).expect("members live").rooms
    }
}

impl Shard {
    /// Puts a socket into a room. True if it was not a member before.
    ///
    /// # Errors
    /// The socket is gone, has too many rooms, or the name is too long.
    pub fn join(&mut self, key: Key, room: &str) -> Result<bool, SocketError> {
        let limits = self.settings.limits;
        if room.is_empty() || room.len() > limits.name_bytes_max {
            return Err(SocketError::BadName);
        }
        let socket = self.sockets.get(key).ok_or(SocketError::Gone)?;
        let namespace = self.namespaces.get_mut(socket.namespace);
        if socket.rooms.len() >= limits.rooms_per_socket_max
            && !namespace.rooms.contains(&socket.rooms, room)
        {
            self.counters.limits_hit += 1;
            return Err(SocketError::TooManyRooms);
        }
        let most = self.held.rooms_bytes + membership_bytes(room, true);
        if most > limits.rooms_bytes_max && !namespace.rooms.contains(&socket.rooms, room) {
            self.counters.limits_hit += 1;
            return Err(SocketError::TooManyRooms);
        }
        let joined = namespace.rooms.join(key.slot(), &mut self.sockets, room);
        if joined != Join::Already {
            self.held.rooms_bytes += membership_bytes(room, joined == Join::First);
        }
        if joined == Join::First {
            let name = Arc::clone(&namespace.name);
            self.interest.add(&name, room);
        }
        if joined != Join::Already {
            self.track_room(key, room, true);
        }
        Ok(joined != Join::Already)
    }

    /// Takes a socket out of a room. True if it was a member.
    pub fn leave(&mut self, key: Key, room: &str) -> bool {
        let Some(socket) = self.sockets.get(key) else { return false };
        let namespace = self.namespaces.get_mut(socket.namespace);
        let left = namespace.rooms.leave(key.slot(), &mut self.sockets, room);
        if left != Leave::NotMember {
            self.held.rooms_bytes -= membership_bytes(room, left == Leave::Last);
        }
        if left == Leave::Last {
            let name = Arc::clone(&namespace.name);
            self.interest.remove(&name, room);
        }
        if left != Leave::NotMember {
            self.track_room(key, room, false);
        }
        left != Leave::NotMember
    }

    /// A socket's rooms, its own id not among them.
    #[must_use]
    pub fn rooms_of(&self, key: Key) -> Vec<Rc<str>> {
        let Some(socket) = self.sockets.get(key) else { return Vec::new() };
        let rooms = &self.namespaces.get(socket.namespace).rooms;
        rooms.names(&socket.rooms).cloned().collect()
    }

    /// Whether a socket is in a room; its own id counts as one.
    #[must_use]
    pub fn is_in(&self, key: Key, room: &str) -> bool {
        let Some(socket) = self.sockets.get(key) else { return false };
        self.namespaces.get(socket.namespace).rooms.contains(&socket.rooms, room)
            || self.find_socket(socket.namespace, room) == Some(key)
    }

    /// Does something to every socket of a target, on all cores unless `local`.
    pub fn apply(
        &mut self,
        namespace: &str,
        target: Target,
        verb: &Verb,
        local: bool,
        done: Option<Box<dyn FnOnce(Gathered)>>,
    ) {
        let target = Arc::new(target);
        self.strike(namespace, &target, verb, local);
        let remote =
            if local { super::CoreMask::default() } else { self.remote(namespace, &target) };
        let timeout_ms = self.settings.limits.gather_timeout_ms;
        let gather = self.gather_for(remote.count(), None, timeout_ms, done);
        let (count, sockets) = self.apply_here(namespace, &target, verb);
        if let Some(gather) = gather {
            self.answer(gather, Part::Done { count, queued: 0, sockets });
        }
        let namespace: Arc<str> = Arc::from(namespace);
        for core in remote.iter() {
            self.send_mesh(
                core,
                MeshMsg::Apply {
                    namespace: Arc::clone(&namespace),
                    target: Arc::clone(&target),
                    verb: verb.clone(),
                    gather,
                },
            );
        }
    }

    /// The part of [`Self::apply`] that concerns this core.
    pub(super) fn apply_here(
        &mut self,
        namespace: &str,
        target: &Target,
        verb: &Verb,
    ) -> (u64, Vec<SocketInfo>) {
        let chosen = self.select(namespace, target);
        let mut sockets = Vec::new();
        for key in &chosen {
            match verb {
                Verb::Join(rooms) => {
                    for room in rooms {
                        // A refusal concerns this socket alone and is counted as a limit.
                        let _refused = self.join(*key, room);
                    }
                }
                Verb::Leave(rooms) => {
                    for room in rooms {
                        self.leave(*key, room);
                    }
                }
                Verb::Disconnect { close } => self.disconnect(*key, *close),
                Verb::CloseTransport => self.close_transport(*key),
                Verb::Count => {}
                Verb::Fetch => sockets.extend(self.socket_info(*key)),
            }
        }
        (chosen.len() as u64, sockets)
    }
}

/// What a membership is reckoned at; the first and the last one of a room stand for the room too.
pub(super) const fn membership_bytes(room: &str, with_room: bool) -> usize {
    MEMBERSHIP_BYTES + if with_room { ROOM_BYTES + 2 * room.len() } else { 0 }
}
