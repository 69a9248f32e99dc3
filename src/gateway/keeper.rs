//! What a core keeps of the rooms and users that are its to keep.
//!
//! Every room and every user has one keeper, found by a hash of the name. The other cores tell it
//! each change of their own sockets, in order; the sums it forms are therefore exact once all that
//! was sent has arrived, and never below zero on the way.

use std::sync::Arc;

use super::identity::user_room;
use super::members::Members;
use super::table::Table;
use super::views::RoomView;
use crate::base::rfc3339;
use crate::base::{CoreId, Key, Millis, TimerQueue};
use crate::config::is_reserved_room;

/// The core that keeps something, by its name.
///
/// Rule: the hash is FNV-1a with a final mix, and is part of nothing that outlives the process.
pub(super) fn home(name: &str, cores: usize) -> CoreId {
    let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    let mixed = (hash ^ hash >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    let core = (mixed ^ mixed >> 32) % cores.max(1) as u64;
    CoreId::from_index(usize::try_from(core).expect("below the number of cores"))
}

/// One room. Most are of one user, who is in it alone: such a room is small.
struct Room {
    users: Members,
    /// What only a room made by REST has.
    made: Option<Box<Made>>,
    created_ms: u64,
    active_ms: u64,
    sockets: u32,
    /// Joins by REST under way: it stays although it may still be empty.
    held: u32,
    /// A `user:` or `session:` room: not counted against the limit, not listed unless asked for.
    automatic: bool,
    /// It came in over the limit; whoever joined is being told and leaves again.
    provisional: bool,
}

/// A room made by REST, which stays for a time while it is empty.
struct Made {
    title: Box<str>,
    empty_since_ms: u64,
    /// It has an entry among the rooms that may expire.
    queued: bool,
}

/// One user.
struct User {
    sockets: u32,
    since_ms: u64,
    active_ms: u64,
}

/// The limit on rooms is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// What joining did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entered {
    /// Users in the room now, however many sockets each has.
    pub(super) users: usize,
    /// False if the room is one too many: those who joined must leave it again.
    pub(super) accepted: bool,
}

/// The rooms and users of one namespace.
pub(super) struct Space {
    rooms: Table<Room>,
    users: Table<User>,
    expiring: TimerQueue<Key>,
    /// Rooms that count against the limit.
    counted: usize,
    rooms_max: usize,
    idle_ttl_ms: u64,
    hash_seed: u64,
}

/// Rooms looked at in one go, for a page.
const LOOKED_AT_MAX: usize = 2_048;

/// Positions of users in a list begin here; those of rooms end below.
const USERS_FROM: u32 = 1 << 31;

impl Space {
    /// `rooms_max` is this core's share.
    pub(super) fn new(hash_seed: u64, rooms_max: usize, idle_ttl_ms: u64) -> Self {
        Self {
            rooms: Table::new(hash_seed),
            users: Table::new(hash_seed),
            expiring: TimerQueue::new(1_000),
            counted: 0,
            rooms_max,
            idle_ttl_ms,
            hash_seed,
        }
    }

    /// A socket of a user has joined the namespace. True for the first one.
    pub(super) fn user_up(&mut self, user: Arc<str>, now_ms: u64) -> bool {
        let found = self.users.find(&user).and_then(|key| self.users.get_mut(key));
        if let Some(known) = found {
            known.sockets += 1;
            known.active_ms = now_ms;
            return false;
        }
        self.users.insert(user, User { sockets: 1, since_ms: now_ms, active_ms: now_ms });
        true
    }

    /// A socket of a user is gone. True for the last one.
    pub(super) fn user_down(&mut self, user: &str, now_ms: u64) -> bool {
        let Some(key) = self.users.find(user) else {
            return false;
        };
        let Some(known) = self.users.get_mut(key) else {
            return false;
        };
        known.sockets -= 1;
        known.active_ms = now_ms;
        let last = known.sockets == 0;
        if last {
            self.users.remove(key);
        }
        last
    }

    /// How many sockets a user has.
    pub(super) fn sockets_of(&self, user: &str) -> u32 {
        let found = self.users.find(user).and_then(|key| self.users.get(key));
        found.map_or(0, |(_, user)| user.sockets)
    }

    /// Sockets of a user have joined a room.
    pub(super) fn enter(
        &mut self,
        room: &str,
        user: &Arc<str>,
        sockets: u32,
        now_ms: u64,
    ) -> Entered {
        let key = self.find(room, now_ms).unwrap_or_else(|| self.open(room, now_ms));
        let accepted = self.count_in(key);
        let Some(room) = self.rooms.get_mut(key) else {
            return Entered { users: 0, accepted };
        };
        room.users.add(user, sockets, self.hash_seed);
        room.sockets += sockets;
        room.active_ms = now_ms;
        Entered { users: room.users.len(), accepted }
    }

    /// Sockets of a user have left a room; how many users are left.
    pub(super) fn exit(&mut self, room: &str, user: &str, sockets: u32, now_ms: u64) -> usize {
        let Some(key) = self.rooms.find(room) else {
            return 0;
        };
        let Some(room) = self.rooms.get_mut(key) else {
            return 0;
        };
        let Some(left) = room.users.take(user, sockets) else {
            return room.users.len();
        };
        room.sockets -= left;
        room.active_ms = now_ms;
        let users = room.users.len();
        self.settle(key, now_ms);
        users
    }

    /// How many users are in a room.
    pub(super) fn users_in(&mut self, room: &str, now_ms: u64) -> usize {
        let key = self.find(room, now_ms);
        key.and_then(|key| self.rooms.get(key)).map_or(0, |(_, room)| room.users.len())
    }

    /// Something was said in a room.
    pub(super) fn touch(&mut self, room: &str, now_ms: u64) {
        if let Some(room) = self.rooms.find(room).and_then(|key| self.rooms.get_mut(key)) {
            room.active_ms = room.active_ms.max(now_ms);
        }
    }

    /// Makes a room that stays while it is empty, for a time; true if it was not there before.
    pub(super) fn create(
        &mut self,
        name: &str,
        title: &str,
        now_ms: u64,
    ) -> Result<(RoomView, bool), Full> {
        let found = self.find(name, now_ms);
        let key = found.unwrap_or_else(|| self.open(name, now_ms));
        if !self.count_in(key) {
            self.settle(key, now_ms);
            return Err(Full);
        }
        if let Some(room) = self.rooms.get_mut(key)
            && room.made.is_none()
        {
            let made = Made { title: title.into(), empty_since_ms: now_ms, queued: false };
            room.made = Some(Box::new(made));
        }
        if found.is_none() {
            self.settle(key, now_ms);
        }
        let (name, room) = self.rooms.get(key).expect("it was found or opened above");
        Ok((room.view(name), found.is_none()))
    }

    /// Keeps a room, made if need be, until [`Self::release`].
    pub(super) fn hold(&mut self, name: &str, now_ms: u64) -> Result<(), Full> {
        let key = self.find(name, now_ms).unwrap_or_else(|| self.open(name, now_ms));
        if !self.count_in(key) {
            self.settle(key, now_ms);
            return Err(Full);
        }
        if let Some(room) = self.rooms.get_mut(key) {
            room.held += 1;
        }
        Ok(())
    }

    /// Ends [`Self::hold`].
    pub(super) fn release(&mut self, name: &str, now_ms: u64) {
        let Some(key) = self.rooms.find(name) else {
            return;
        };
        if let Some(room) = self.rooms.get_mut(key) {
            room.held = room.held.saturating_sub(1);
        }
        self.settle(key, now_ms);
    }

    /// Lets go of rooms made by REST that nobody was in for long enough.
    pub(super) fn sweep(&mut self, now_ms: u64) {
        while let Some(keys) = self.expiring.pop(Millis(now_ms)) {
            for key in keys {
                let Some(room) = self.rooms.get_mut(key) else {
                    continue;
                };
                if let Some(made) = &mut room.made {
                    made.queued = false;
                }
                if room.is_expired(now_ms, self.idle_ttl_ms) {
                    self.remove(key);
                } else if room.is_idle() {
                    self.queue(key);
                }
            }
        }
    }

    /// A page of rooms whose names begin with `prefix`, and where the next one begins.
    pub(super) fn page(
        &self,
        after: Option<u32>,
        limit: usize,
        automatic: bool,
        prefix: &str,
    ) -> (Vec<RoomView>, Option<u32>) {
        let mut found = Vec::new();
        let mut last = after;
        let mut looked_at = 0;
        // A page that few fit is cut short, and goes on from where this one looked.
        let mut is_full = move |found: &Vec<RoomView>| {
            looked_at += 1;
            found.len() == limit || looked_at > LOOKED_AT_MAX
        };
        let rooms_after = after.filter(|slot| *slot < USERS_FROM);
        if after.is_none() || rooms_after.is_some() {
            for (slot, name, room) in self.rooms.after(rooms_after) {
                if is_full(&found) {
                    return (found, last);
                }
                last = Some(slot);
                let hidden = (room.automatic && !automatic) || room.provisional;
                if !hidden && name.starts_with(prefix) {
                    found.push(room.view(name));
                }
            }
        }
        if automatic {
            let users_after = after.and_then(|slot| slot.checked_sub(USERS_FROM));
            for (slot, name, user) in self.users.after(users_after) {
                if is_full(&found) {
                    return (found, last);
                }
                last = Some(USERS_FROM | slot);
                let room = user.view(name);
                if room.id.starts_with(prefix) {
                    found.push(room);
                }
            }
        }
        (found, None)
    }

    /// The rooms with the most sockets, the largest first.
    pub(super) fn top(&self, count: usize) -> Vec<(String, u64)> {
        let listed = self.rooms.after(None).filter(|(_, _, room)| !room.automatic);
        let mut rooms: Vec<_> =
            listed.map(|(_, name, room)| (u64::from(room.sockets), name)).collect();
        if rooms.len() > count {
            rooms.select_nth_unstable_by(count, |one, other| other.cmp(one));
            rooms.truncate(count);
        }
        rooms.sort_unstable_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(other.1)));
        rooms.into_iter().map(|(sockets, name)| (name.to_string(), sockets)).collect()
    }

    /// Rooms that count against the limit, and users.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.counted, self.users.len())
    }

    /// A room, unless its time is over.
    fn find(&mut self, name: &str, now_ms: u64) -> Option<Key> {
        let key = self.rooms.find(name)?;
        let (_, room) = self.rooms.get(key)?;
        if room.is_expired(now_ms, self.idle_ttl_ms) {
            self.remove(key);
            return None;
        }
        Some(key)
    }

    /// A new room, over the limit until [`Self::count_in`] has looked.
    fn open(&mut self, name: &str, now_ms: u64) -> Key {
        let automatic = is_reserved_room(name);
        self.rooms.insert(
            name.into(),
            Room {
                users: Members::Nobody,
                made: None,
                created_ms: now_ms,
                active_ms: now_ms,
                sockets: 0,
                held: 0,
                automatic,
                provisional: !automatic,
            },
        )
    }

    /// Counts a room against the limit if it was not yet; false if there is no place for it.
    fn count_in(&mut self, key: Key) -> bool {
        let Some(room) = self.rooms.get_mut(key) else {
            return false;
        };
        if room.provisional && self.counted < self.rooms_max {
            room.provisional = false;
            self.counted += 1;
        }
        !room.provisional
    }

    /// A room may have become empty: made by joining, it goes; made by REST, its time begins.
    fn settle(&mut self, key: Key, now_ms: u64) {
        let Some(room) = self.rooms.get_mut(key) else {
            return;
        };
        if room.sockets > 0 || room.held > 0 {
            return;
        }
        let provisional = room.provisional;
        match &mut room.made {
            Some(made) if !provisional => {
                made.empty_since_ms = now_ms;
                self.queue(key);
            }
            _ => self.remove(key),
        }
    }

    fn queue(&mut self, key: Key) {
        if let Some(made) = self.rooms.get_mut(key).and_then(|room| room.made.as_deref_mut())
            && !std::mem::replace(&mut made.queued, true)
        {
            self.expiring.add(Millis(made.empty_since_ms).plus(self.idle_ttl_ms), key);
        }
    }

    fn remove(&mut self, key: Key) {
        if let Some(room) = self.rooms.remove(key)
            && !room.automatic
            && !room.provisional
        {
            self.counted -= 1;
        }
    }
}

impl Room {
    fn is_idle(&self) -> bool {
        self.made.is_some() && self.sockets == 0 && self.held == 0
    }

    fn is_expired(&self, now_ms: u64, ttl_ms: u64) -> bool {
        let over = |made: &Made| made.empty_since_ms.saturating_add(ttl_ms) <= now_ms;
        self.is_idle() && self.made.as_deref().is_some_and(over)
    }

    fn view(&self, name: &str) -> RoomView {
        RoomView {
            id: name.to_owned(),
            name: self.made.as_deref().map_or(name, |made| &made.title).to_owned(),
            user_count: self.users.len() as u64,
            sockets: u64::from(self.sockets),
            created_at: rfc3339(self.created_ms),
            last_activity: rfc3339(self.active_ms),
        }
    }
}

impl User {
    fn view(&self, name: &str) -> RoomView {
        let room = user_room(name);
        RoomView {
            name: room.clone(),
            id: room,
            user_count: 1,
            sockets: u64::from(self.sockets),
            created_at: rfc3339(self.since_ms),
            last_activity: rfc3339(self.active_ms),
        }
    }
}
