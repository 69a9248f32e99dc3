//! What a core knows of its own sockets: who sits here, and what is under way to a keeper.

use std::rc::Rc;
use std::sync::Arc;

use super::identity::Identity;
use crate::api::{Ack, Socket};
use crate::base::{Key, Map, Slab, hasher};

/// A socket of `/`.
struct Seat {
    socket: Key,
    who: Rc<Identity>,
    /// Its place among the seats of its user.
    place: usize,
}

/// A client's question that the keeper of a room is answering.
pub(super) struct Pending {
    pub(super) socket: Socket,
    pub(super) who: Rc<Identity>,
    /// Taken once the client has been answered.
    pub(super) ack: Option<Ack>,
    pub(super) room: Arc<str>,
    pub(super) space: u16,
    pub(super) asked_ms: u64,
}

/// Rooms of one namespace whose activity one core may hold back for a second; more are not noted.
const TOUCHED_MAX: usize = 10_000;

/// The state of one core. Only sockets of `/` have seats: REST acts there and nowhere else.
pub(super) struct Local {
    seats: Slab<Seat>,
    slots: u32,
    users: Map<Arc<str>, Vec<Key>>,
    /// Bounded by what clients may have under way: a core that is behind is not read from.
    pub(super) pending: Slab<Pending>,
    touched: Vec<Map<Box<str>, u64>>,
}

impl Local {
    pub(super) fn new(hash_seed: u64, spaces: usize) -> Self {
        Self {
            seats: Slab::default(),
            slots: 0,
            users: Map::with_hasher(hasher(hash_seed)),
            pending: Slab::default(),
            touched: (0..spaces).map(|_| Map::with_hasher(hasher(hash_seed))).collect(),
        }
    }

    /// A socket has joined `/`.
    pub(super) fn sit(&mut self, socket: Key, who: &Rc<Identity>) {
        let mates = self.users.entry(Arc::clone(&who.user)).or_default();
        let key = self.seats.insert(Seat { socket, who: Rc::clone(who), place: mates.len() });
        mates.reserve_exact(usize::from(mates.is_empty()));
        mates.push(key);
        self.slots = self.slots.max(key.slot() + 1);
        who.seat.set(Some(key));
    }

    /// It is gone.
    pub(super) fn rise(&mut self, who: &Identity) {
        let Some(seat) = who.seat.take().and_then(|key| self.seats.remove(key)) else {
            return;
        };
        let Some(mates) = self.users.get_mut(&who.user) else {
            return;
        };
        mates.swap_remove(seat.place);
        if let Some(moved) = mates.get(seat.place).copied() {
            if let Some(moved) = self.seats.get_mut(moved) {
                moved.place = seat.place;
            }
        } else if mates.is_empty() {
            self.users.remove(&who.user);
        }
    }

    /// The sockets of a user here.
    pub(super) fn sockets_of(&self, user: &str) -> Vec<Key> {
        let mates = self.users.get(user).map_or(&[][..], Vec::as_slice);
        mates.iter().filter_map(|key| self.seats.get(*key)).map(|seat| seat.socket).collect()
    }

    /// A page of sockets, of one user if asked for, and where the next page begins.
    pub(super) fn page(
        &self,
        after: Option<u32>,
        limit: usize,
        user: Option<&str>,
    ) -> (Vec<(Key, Rc<Identity>)>, Option<u32>) {
        let from = after.map_or(0, |slot| slot.saturating_add(1));
        let mut found = match user {
            Some(user) => {
                let mates = self.users.get(user).map_or(&[][..], Vec::as_slice);
                let mut keys: Vec<Key> =
                    mates.iter().copied().filter(|key| key.slot() >= from).collect();
                keys.sort_unstable_by_key(|key| key.slot());
                keys.truncate(limit.saturating_add(1));
                keys
            }
            None => {
                let keys = (from..self.slots).filter_map(|slot| self.seats.key_at(slot));
                keys.take(limit.saturating_add(1)).collect()
            }
        };
        let more = found.len() > limit;
        found.truncate(limit);
        let next = if more { found.last().map(|key| key.slot()).or(after) } else { None };
        let seats = found.into_iter().filter_map(|key| self.seats.get(key));
        (seats.map(|seat| (seat.socket, Rc::clone(&seat.who))).collect(), next)
    }

    /// Something was said in a room; its keeper hears of it within a second.
    pub(super) fn touch(&mut self, space: u16, room: &str, now_ms: u64) {
        let Some(touched) = self.touched.get_mut(usize::from(space)) else {
            return;
        };
        if let Some(last) = touched.get_mut(room) {
            *last = now_ms;
        } else if touched.len() < TOUCHED_MAX {
            touched.insert(room.into(), now_ms);
        }
    }

    /// What was said where since the last time.
    pub(super) fn take_touched(&mut self) -> Vec<(u16, Box<str>, u64)> {
        let spaces = (0..).zip(&mut self.touched);
        spaces
            .flat_map(|(space, rooms)| rooms.drain().map(move |(room, at)| (space, room, at)))
            .collect()
    }
}
