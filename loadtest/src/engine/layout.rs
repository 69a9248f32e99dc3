//! Which connections and rooms are whose.
//!
//! The connections of a lane are numbered in this order: members of rooms (or all, where there are
//! no rooms), publishers, churners, echoers, idlers.

use std::ops::Range;

use crate::scenario::{Publish, Scenario};

/// Members that take turns in publishing, at most: the oracle keeps a pair for each of them and
/// each receiver.
const SENDERS_MAX: u32 = 16;

/// Which connections and rooms are whose.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Members of a room.
    pub room_size: u32,
    /// Rooms of a connection.
    pub rooms_each: u32,
    /// Rooms in all.
    pub rooms: u32,
    /// Senders of a room.
    pub senders: u32,
    /// Rooms have members on several lanes.
    pub spans: bool,
    /// Lanes.
    pub lanes: u32,
    /// Connections that are members.
    pub members: u32,
    /// Connections beside them that publish.
    pub publishers: u32,
    /// Connections that come and go.
    pub churners: u32,
    /// Connections that make round trips beside the rooms.
    pub echoers: u32,
    /// Connections that do nothing.
    pub idlers: u32,
}

/// The part of `count` that a lane has, of `lanes`.
fn share(count: u32, lane: u32, lanes: u32) -> Range<u32> {
    let edge = |lane: u32| {
        let edge = u64::from(count) * u64::from(lane) / u64::from(lanes);
        u32::try_from(edge).unwrap_or(u32::MAX)
    };
    edge(lane)..edge(lane + 1)
}

impl Layout {
    /// That of a scenario.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        let has_rooms = scenario.kind.has_rooms();
        let unit = scenario.kind.sockets_together();
        let room_size = if has_rooms { scenario.room_size } else { unit };
        let rooms_each = if has_rooms { scenario.rooms_per_connection } else { 1 };
        let groups = scenario.connections / room_size;
        let publishers = if has_rooms { scenario.publishers } else { 0 };
        let spans = has_rooms && groups < scenario.threads;
        let in_lane = if spans { room_size / scenario.threads } else { room_size };
        let one_sender = publishers > 0 || scenario.publish != Publish::Event || !has_rooms;
        Self {
            room_size,
            rooms_each,
            rooms: groups * rooms_each,
            senders: if one_sender { 1 } else { in_lane.clamp(1, SENDERS_MAX) },
            spans,
            lanes: scenario.threads,
            members: scenario.connections,
            publishers,
            churners: if has_rooms { scenario.churners } else { 0 },
            echoers: if has_rooms { scenario.echoers } else { 0 },
            idlers: if has_rooms { scenario.idlers } else { 0 },
        }
    }

    /// All connections.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.members + self.publishers + self.churners + self.echoers + self.idlers
    }

    /// The part of some number of connections that a lane has.
    #[must_use]
    pub fn share(&self, count: u32, lane: u32) -> Range<u32> {
        share(count, lane, self.lanes)
    }

    /// The members of a lane, by their numbers over all lanes.
    #[must_use]
    pub fn members_of(&self, lane: u32) -> Range<u32> {
        let unit = if self.spans { 1 } else { self.room_size };
        let units = self.share(self.members / unit, lane);
        units.start * unit..units.end * unit
    }

    /// The rooms whose messages a lane sends.
    #[must_use]
    pub fn rooms_of(&self, lane: u32) -> Range<u32> {
        if self.spans || self.publishers > 0 {
            return self.share(self.rooms, lane);
        }
        let members = self.members_of(lane);
        let of = |member: u32| member / self.room_size * self.rooms_each;
        of(members.start)..of(members.end)
    }

    /// The publishers of a lane: as many as its rooms need, and never more than there are.
    #[must_use]
    pub fn publishers_of(&self, lane: u32) -> Range<u32> {
        if self.publishers >= self.rooms {
            // One a room, so that they are where their rooms are.
            return self.rooms_of(lane);
        }
        self.share(self.publishers, lane)
    }

    /// The first room of a member.
    #[must_use]
    pub const fn first_room(&self, member: u32) -> u32 {
        member / self.room_size * self.rooms_each
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::parse;

    fn layout(keys: &str) -> Layout {
        Layout::new(&parse(&format!("name=\"l\"\nkind=\"rooms\"\n{keys}"), &[]).unwrap())
    }

    #[test]
    fn every_connection_and_room_is_in_exactly_one_lane() {
        for keys in [
            "connections=100\nroom_size=5\nthreads=3",
            "connections=100\nroom_size=100\nthreads=3\npublishers=1",
            "connections=90\nroom_size=9\nthreads=4\nrooms_per_connection=7\npublishers=6",
            "connections=4\nroom_size=2\nthreads=2",
        ] {
            let layout = layout(keys);
            for of in [Layout::members_of, Layout::rooms_of, Layout::publishers_of] {
                let mut next = 0;
                for lane in 0..layout.lanes {
                    let range = of(&layout, lane);
                    assert_eq!(range.start, next, "{keys}");
                    next = range.end;
                }
                assert!([layout.members, layout.rooms, layout.publishers].contains(&next));
            }
        }
    }

    #[test]
    fn small_rooms_stay_in_a_lane_and_large_ones_span() {
        assert!(!layout("connections=100\nroom_size=5\nthreads=3").spans);
        let large = layout("connections=100\nroom_size=100\nthreads=2");
        assert!(large.spans);
        assert_eq!((large.rooms, large.senders), (1, 16));
    }
}
