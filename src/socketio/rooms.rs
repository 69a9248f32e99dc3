//! Who is in which room, for the sockets of one core and one namespace.

use std::rc::Rc;

use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::base::Map;

/// A socket's slot in its core's slab.
pub type Member = u32;

/// A member of a room, and where the room stands in its own list.
#[derive(Clone, Copy, Debug)]
struct Seat {
    member: Member,
    in_joined: u32,
}

#[derive(Debug)]
struct Room {
    name: Rc<str>,
    seats: SmallVec<[Seat; 2]>,
}

/// The rooms a socket is in, as slots of the index and places among their members. An idle
/// socket's own id is no entry here: the id itself names its socket.
///
/// Cost: two rooms need no memory beyond this value; a room is found by looking through up to
/// 32 of them, beyond that in a map.
#[derive(Debug, Default)]
pub struct Joined {
    list: SmallVec<[(u32, u32); 2]>,
    at: Option<Box<Map<u32, u32>>>,
}

/// Rooms of one socket that are looked through before a map of them pays.
const LOOKED_THROUGH: usize = 32;

impl Joined {
    /// How many rooms it is in.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether it is in none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn find(&self, slot: u32) -> Option<usize> {
        match &self.at {
            Some(at) => at.get(&slot).map(|at| *at as usize),
            None => self.list.iter().position(|(room, _)| *room == slot),
        }
    }

    fn push(&mut self, slot: u32, in_members: u32, hasher: &ahash::RandomState) {
        self.list.push((slot, in_members));
        if let Some(at) = &mut self.at {
            at.insert(slot, small(self.list.len() - 1));
        } else if self.list.len() > LOOKED_THROUGH {
            let mut at = Map::with_hasher(hasher.clone());
            at.extend(self.list.iter().zip(0..).map(|((slot, _), at)| (*slot, at)));
            self.at = Some(Box::new(at));
        }
    }

    /// Takes an entry out; what now stands at its place, if anything does.
    fn swap_remove(&mut self, at: usize) -> ((u32, u32), Option<(u32, u32)>) {
        let gone = self.list.swap_remove(at);
        let moved = self.list.get(at).copied();
        if self.list.len() <= LOOKED_THROUGH / 2 {
            self.at = None;
        } else if let Some(index) = &mut self.at {
            index.remove(&gone.0);
            if let Some((slot, _)) = moved {
                index.insert(slot, small(at));
            }
        }
        (gone, moved)
    }
}

/// Where the lists of the sockets are: the index changes those of a room's members.
pub trait Memberships {
    /// The list of a socket that is a member of something.
    fn of(&mut self, member: Member) -> &mut Joined;
}

/// The index. Cost: join and leave O(1), listing O(result), 16 bytes a membership, about 60 and
/// the name a room.
#[derive(Debug)]
pub struct Rooms {
    by_name: HashTable<u32>,
    rooms: Vec<Option<Room>>,
    free: Vec<u32>,
    memberships: usize,
    hasher: ahash::RandomState,
}

/// What a join did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// The socket was a member already.
    Already,
    /// It is one now.
    Joined,
    /// It is the room's first member on this core: the other cores must hear of it.
    First,
}

/// What a leave did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// The socket was no member.
    NotMember,
    /// It left.
    Left,
    /// It was the room's last member on this core.
    Last,
}

impl Rooms {
    /// An empty index.
    #[must_use]
    pub fn new(hasher: ahash::RandomState) -> Self {
        Self {
            by_name: HashTable::new(),
            rooms: Vec::new(),
            free: Vec::new(),
            memberships: 0,
            hasher,
        }
    }

    /// Puts `member` into `name`.
    pub fn join(&mut self, member: Member, lists: &mut impl Memberships, name: &str) -> Join {
        let found = self.find(name);
        let joined = lists.of(member);
        if found.is_some_and(|slot| joined.find(slot).is_some()) {
            return Join::Already;
        }
        let slot = found.unwrap_or_else(|| self.open(name));
        let room = self.rooms[slot as usize].as_mut().expect("names lead to living rooms");
        room.seats.push(Seat { member, in_joined: small(joined.len()) });
        joined.push(slot, small(room.seats.len() - 1), &self.hasher);
        self.memberships += 1;
        if found.is_none() { Join::First } else { Join::Joined }
    }

    /// Takes `member` out of `name`.
    pub fn leave(&mut self, member: Member, lists: &mut impl Memberships, name: &str) -> Leave {
        let found = self.find(name).and_then(|slot| lists.of(member).find(slot));
        match found {
            Some(at) => self.leave_at(member, lists, at),
            None => Leave::NotMember,
        }
    }

    /// Takes `member` out of everything and returns the names, and whether each is empty now.
    pub fn leave_all(
        &mut self,
        member: Member,
        lists: &mut impl Memberships,
    ) -> Vec<(Rc<str>, bool)> {
        let mut left = Vec::with_capacity(lists.of(member).len());
        while let Some(&(slot, _)) = lists.of(member).list.last() {
            let room = self.rooms[slot as usize].as_ref().expect("joined rooms live");
            let name = Rc::clone(&room.name);
            let at = lists.of(member).len() - 1;
            left.push((name, self.leave_at(member, lists, at) == Leave::Last));
        }
        left
    }

    /// The members of a room, in no particular order.
    pub fn members(&self, name: &str) -> impl ExactSizeIterator<Item = Member> {
        let room = self.find(name).and_then(|slot| self.rooms[slot as usize].as_ref());
        room.map_or(&[][..], |room| &room.seats).iter().map(|seat| seat.member)
    }

    /// Whether the socket of this list is in `name`.
    #[must_use]
    pub fn contains(&self, joined: &Joined, name: &str) -> bool {
        self.find(name).is_some_and(|slot| joined.find(slot).is_some())
    }

    /// The names of a socket's rooms, in the order it joined them unless it left one.
    pub fn names<'a>(&'a self, joined: &'a Joined) -> impl Iterator<Item = &'a Rc<str>> {
        let rooms = joined.list.iter().filter_map(|(slot, _)| self.rooms[*slot as usize].as_ref());
        rooms.map(|room| &room.name)
    }

    /// Every room with the number of its members here.
    pub fn iter(&self) -> impl Iterator<Item = (&Rc<str>, usize)> {
        self.rooms.iter().flatten().map(|room| (&room.name, room.seats.len()))
    }

    /// How many rooms have a member here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether no room has a member here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// How many memberships there are.
    #[must_use]
    pub const fn memberships(&self) -> usize {
        self.memberships
    }

    fn find(&self, name: &str) -> Option<u32> {
        let is_it = |slot: &u32| name_of(&self.rooms, *slot) == name;
        self.by_name.find(self.hasher.hash_one(name), is_it).copied()
    }

    fn open(&mut self, name: &str) -> u32 {
        let room = Room { name: Rc::from(name), seats: SmallVec::new() };
        let slot = if let Some(slot) = self.free.pop() {
            self.rooms[slot as usize] = Some(room);
            slot
        } else {
            self.rooms.push(Some(room));
            small(self.rooms.len() - 1)
        };
        let Self { by_name, rooms, hasher, .. } = self;
        let hash = |slot: &u32| hasher.hash_one(name_of(rooms, *slot));
        by_name.insert_unique(hasher.hash_one(name), slot, hash);
        slot
    }

    /// Takes a member out of the room at one place of its list. Whatever moves into a gap, in
    /// either list, is told where it stands now.
    fn leave_at(&mut self, member: Member, lists: &mut impl Memberships, at: usize) -> Leave {
        let ((slot, in_members), moved) = lists.of(member).swap_remove(at);
        if let Some((other, in_other)) = moved {
            let other = self.rooms[other as usize].as_mut().expect("joined rooms live");
            other.seats[in_other as usize].in_joined = small(at);
        }
        self.memberships -= 1;
        let room = self.rooms[slot as usize].as_mut().expect("joined rooms live");
        room.seats.swap_remove(in_members as usize);
        if let Some(moved) = room.seats.get(in_members as usize) {
            lists.of(moved.member).list[moved.in_joined as usize].1 = in_members;
        }
        if !room.seats.is_empty() {
            return Leave::Left;
        }
        let hash = self.hasher.hash_one(&*room.name);
        if let Ok(entry) = self.by_name.find_entry(hash, |other| *other == slot) {
            entry.remove();
        }
        self.rooms[slot as usize] = None;
        self.free.push(slot);
        Leave::Last
    }

    /// Walks the whole index and asserts that its lists mirror each other; O(n).
    ///
    /// # Panics
    /// If they do not: a mistake of ours.
    pub fn check<'a>(&self, joined_of: impl Fn(Member) -> &'a Joined) {
        let mut memberships = 0;
        for (slot, room) in (0..).zip(&self.rooms) {
            let Some(room) = room else { continue };
            assert_eq!(self.find(&room.name), Some(slot), "a name leads to its room");
            assert!(!room.seats.is_empty(), "room {} is kept although empty", room.name);
            for (at, seat) in (0..).zip(&room.seats) {
                let joined = joined_of(seat.member);
                assert_eq!(joined.list[seat.in_joined as usize], (slot, at));
                assert_eq!(joined.find(slot), Some(seat.in_joined as usize));
                memberships += 1;
            }
        }
        assert_eq!(memberships, self.memberships);
        assert_eq!(self.rooms.iter().flatten().count(), self.by_name.len());
    }
}

fn name_of(rooms: &[Option<Room>], slot: u32) -> &str {
    &rooms[slot as usize].as_ref().expect("names lead to living rooms").name
}

fn small(count: usize) -> u32 {
    u32::try_from(count).expect("limits keep rooms and members far below 2^32")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Rng, hasher};

    struct Lists(Vec<Joined>);

    impl Memberships for Lists {
        fn of(&mut self, member: Member) -> &mut Joined {
            &mut self.0[member as usize]
        }
    }

    /// Runs random joins and leaves against a list of pairs.
    fn against_pairs(seed: u64, members: usize, names: &[String], steps: usize) {
        let mut rng = Rng::new(seed, 0x2007);
        // Swarm: each seed has its own taste, so in some runs nobody leaves or nobody stays.
        let leave_weight = rng.below(10);
        let mut rooms = Rooms::new(hasher(seed));
        let mut lists = Lists((0..members).map(|_| Joined::default()).collect());
        let mut naive: Vec<(Member, &str)> = Vec::new();
        for _ in 0..steps {
            let member = small(rng.below(members));
            let name = &*names[rng.below(names.len())];
            let had = naive.contains(&(member, name));
            let others = naive.iter().any(|pair| pair.1 == name && pair.0 != member);
            assert_eq!(rooms.contains(&lists.0[member as usize], name), had, "seed {seed}");
            if rng.below(10) < leave_weight {
                if rng.below(4 * names.len()) == 0 {
                    let left = rooms.leave_all(member, &mut lists);
                    assert_eq!(left.len(), naive.iter().filter(|p| p.0 == member).count());
                    naive.retain(|pair| pair.0 != member);
                } else {
                    let expected = match (had, others) {
                        (false, _) => Leave::NotMember,
                        (true, true) => Leave::Left,
                        (true, false) => Leave::Last,
                    };
                    assert_eq!(rooms.leave(member, &mut lists, name), expected, "seed {seed}");
                    naive.retain(|pair| *pair != (member, name));
                }
            } else {
                let expected = match (had, others) {
                    (true, _) => Join::Already,
                    (false, true) => Join::Joined,
                    (false, false) => Join::First,
                };
                assert_eq!(rooms.join(member, &mut lists, name), expected, "seed {seed}");
                if !had {
                    naive.push((member, name));
                }
            }
            rooms.check(|member| &lists.0[member as usize]);
            let mut expected: Vec<_> = naive.iter().filter(|p| p.1 == name).map(|p| p.0).collect();
            let mut found: Vec<_> = rooms.members(name).collect();
            expected.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, expected, "seed {seed}");
            assert_eq!(rooms.memberships(), naive.len());
        }
    }

    #[test]
    fn rooms_agree_with_a_list_of_pairs() {
        let names: Vec<String> = ["a", "b", "c", "d"].map(String::from).into();
        for seed in 0..300 {
            against_pairs(seed, 6, &names, 200);
        }
    }

    #[test]
    fn a_socket_in_more_rooms_than_are_looked_through_agrees_too() {
        let names: Vec<String> = (0..3 * LOOKED_THROUGH).map(|at| format!("room {at}")).collect();
        for seed in 0..10 {
            against_pairs(seed, 2, &names, 500);
        }
    }
}
