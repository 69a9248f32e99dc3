//! Who is in which room, for the sockets of one core and one namespace.

use std::rc::Rc;

use crate::base::Map;

/// A socket's slot in its core's slab.
pub type Member = u32;

#[derive(Debug)]
struct Room {
    name: Rc<str>,
    members: Vec<Member>,
}

/// Where a membership stands in the two lists that name it.
#[derive(Clone, Copy, Debug)]
struct Place {
    in_members: u32,
    in_rooms: u32,
}

/// The rooms a socket is in, as slots of the index. An idle socket's own id is no entry here:
/// the id itself names its socket.
pub type Joined = Vec<u32>;

/// The index. Cost: join and leave O(1), listing O(result), about 40 bytes a membership.
#[derive(Debug)]
pub struct Rooms {
    by_name: Map<Rc<str>, u32>,
    rooms: Vec<Option<Room>>,
    free: Vec<u32>,
    places: Map<(u32, Member), Place>,
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
            by_name: Map::with_hasher(hasher.clone()),
            rooms: Vec::new(),
            free: Vec::new(),
            places: Map::with_hasher(hasher),
        }
    }

    /// Puts `member` into `name`; `joined` is that socket's own list.
    pub fn join(&mut self, member: Member, joined: &mut Joined, name: &str) -> Join {
        let (slot, first) = match self.by_name.get(name) {
            Some(slot) => (*slot, false),
            None => (self.open(name), true),
        };
        let room = self.rooms[slot as usize].as_mut().expect("names lead to living rooms");
        let place = Place { in_members: small(room.members.len()), in_rooms: small(joined.len()) };
        if !first && self.places.contains_key(&(slot, member)) {
            return Join::Already;
        }
        self.places.insert((slot, member), place);
        room.members.push(member);
        joined.push(slot);
        if first { Join::First } else { Join::Joined }
    }

    /// Takes `member` out of `name`.
    pub fn leave(&mut self, member: Member, joined: &mut Joined, name: &str) -> Leave {
        match self.by_name.get(name) {
            Some(&slot) => self.leave_slot(member, joined, slot),
            None => Leave::NotMember,
        }
    }

    /// Takes `member` out of everything and returns the names, and whether each is empty now.
    pub fn leave_all(&mut self, member: Member, joined: &mut Joined) -> Vec<(Rc<str>, bool)> {
        let mut left = Vec::with_capacity(joined.len());
        while let Some(&slot) = joined.last() {
            let room = self.rooms[slot as usize].as_ref().expect("joined rooms live");
            let name = Rc::clone(&room.name);
            let last = self.leave_slot(member, joined, slot) == Leave::Last;
            left.push((name, last));
        }
        left
    }

    /// The members of a room, in no particular order.
    #[must_use]
    pub fn members(&self, name: &str) -> &[Member] {
        let room = self.by_name.get(name).and_then(|slot| self.rooms[*slot as usize].as_ref());
        room.map_or(&[], |room| &room.members)
    }

    /// Whether `member` is in `name`.
    #[must_use]
    pub fn contains(&self, member: Member, name: &str) -> bool {
        self.by_name.get(name).is_some_and(|slot| self.places.contains_key(&(*slot, member)))
    }

    /// The names of a socket's rooms, in the order it joined them unless it left one.
    pub fn names<'a>(&'a self, joined: &'a Joined) -> impl Iterator<Item = &'a Rc<str>> {
        joined.iter().filter_map(|slot| self.rooms[*slot as usize].as_ref()).map(|room| &room.name)
    }

    /// Every room with the number of its members here.
    pub fn iter(&self) -> impl Iterator<Item = (&Rc<str>, usize)> {
        self.rooms.iter().flatten().map(|room| (&room.name, room.members.len()))
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
    pub fn memberships(&self) -> usize {
        self.places.len()
    }

    fn open(&mut self, name: &str) -> u32 {
        let name: Rc<str> = Rc::from(name);
        let room = Room { name: Rc::clone(&name), members: Vec::new() };
        let slot = if let Some(slot) = self.free.pop() {
            self.rooms[slot as usize] = Some(room);
            slot
        } else {
            self.rooms.push(Some(room));
            small(self.rooms.len() - 1)
        };
        self.by_name.insert(name, slot);
        slot
    }

    fn leave_slot(&mut self, member: Member, joined: &mut Joined, slot: u32) -> Leave {
        let Some(place) = self.places.remove(&(slot, member)) else { return Leave::NotMember };
        joined.swap_remove(place.in_rooms as usize);
        if let Some(&moved) = joined.get(place.in_rooms as usize) {
            let moved = self.places.get_mut(&(moved, member)).expect("both lists name it");
            moved.in_rooms = place.in_rooms;
        }
        let room = self.rooms[slot as usize].as_mut().expect("memberships lead to living rooms");
        room.members.swap_remove(place.in_members as usize);
        if let Some(&moved) = room.members.get(place.in_members as usize) {
            let moved = self.places.get_mut(&(slot, moved)).expect("both lists name it");
            moved.in_members = place.in_members;
            return Leave::Left;
        }
        if !room.members.is_empty() {
            return Leave::Left;
        }
        let name = Rc::clone(&room.name);
        self.by_name.remove(&name);
        self.rooms[slot as usize] = None;
        self.free.push(slot);
        Leave::Last
    }

    /// Walks the whole index and asserts that its lists mirror each other; O(n).
    ///
    /// # Panics
    /// If they do not: a mistake of ours.
    pub fn check(&self, joined_of: impl Fn(Member) -> Joined) {
        let mut memberships = 0;
        for (name, &slot) in &self.by_name {
            let room = self.rooms[slot as usize].as_ref().expect("a name leads to a room");
            assert_eq!(&room.name, name);
            assert!(!room.members.is_empty(), "room {name} is kept although empty");
            for (at, member) in room.members.iter().enumerate() {
                let place = self.places[&(slot, *member)];
                assert_eq!(place.in_members as usize, at);
                assert_eq!(joined_of(*member)[place.in_rooms as usize], slot);
                memberships += 1;
            }
        }
        assert_eq!(memberships, self.places.len());
    }
}

fn small(count: usize) -> u32 {
    u32::try_from(count).expect("limits keep rooms and members far below 2^32")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Rng, hasher};

    #[test]
    fn rooms_agree_with_a_list_of_pairs() {
        for seed in 0..300 {
            let mut rng = Rng::new(seed, 0x2007);
            // Swarm: each seed has its own taste, so in some runs nobody leaves or nobody stays.
            let leave_weight = rng.below(10);
            let mut rooms = Rooms::new(hasher(seed));
            let mut joined: Vec<Joined> = vec![Vec::new(); 6];
            let mut naive: Vec<(Member, &str)> = Vec::new();
            for _ in 0..200 {
                let member = small(rng.below(6));
                let name = ["a", "b", "c", "d"][rng.below(4)];
                let list = &mut joined[member as usize];
                let had = naive.contains(&(member, name));
                let others = naive.iter().any(|pair| pair.1 == name && pair.0 != member);
                if rng.below(10) < leave_weight {
                    if rng.below(4) == 0 {
                        let left = rooms.leave_all(member, list);
                        assert_eq!(left.len(), naive.iter().filter(|p| p.0 == member).count());
                        naive.retain(|pair| pair.0 != member);
                    } else {
                        let expected = match (had, others) {
                            (false, _) => Leave::NotMember,
                            (true, true) => Leave::Left,
                            (true, false) => Leave::Last,
                        };
                        assert_eq!(rooms.leave(member, list, name), expected, "seed {seed}");
                        naive.retain(|pair| *pair != (member, name));
                    }
                } else {
                    let expected = match (had, others) {
                        (true, _) => Join::Already,
                        (false, true) => Join::Joined,
                        (false, false) => Join::First,
                    };
                    assert_eq!(rooms.join(member, list, name), expected, "seed {seed}");
                    if !had {
                        naive.push((member, name));
                    }
                }
                rooms.check(|member| joined[member as usize].clone());
                let mut expected: Vec<_> =
                    naive.iter().filter(|p| p.1 == name).map(|p| p.0).collect();
                let mut found = rooms.members(name).to_vec();
                expected.sort_unstable();
                found.sort_unstable();
                assert_eq!(found, expected, "seed {seed}");
                assert_eq!(rooms.memberships(), naive.len());
            }
        }
    }
}
