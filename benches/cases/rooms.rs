//! The room index of one core, alone.

use std::hint::black_box;
use std::ops::Range;

use corewire::base::hasher;
use corewire::socketio::{Joined, Member, Memberships, Rooms};

use super::{Case, Live, live, steady};

/// The rows of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("rooms/join-10", "join", || join(10)).times(GUESTS),
        Case::new("rooms/join-1000", "join", || join(1_000)).times(GUESTS),
        Case::new("rooms/join-100000", "join", || join(100_000)).times(GUESTS),
        Case::new("rooms/leave-10", "leave", || leave(10)).times(GUESTS),
        Case::new("rooms/leave-1000", "leave", || leave(1_000)).times(GUESTS),
        Case::new("rooms/leave-100000", "leave", || leave(100_000)).times(GUESTS),
        Case::new("rooms/open-and-close", "room", open_and_close),
        Case::new("rooms/members-1000", "member", members).times(1_000),
    ]
}

/// How many come and go in a run: how far a table is searched differs from one to the next.
const GUESTS: Member = 32;

/// The rooms of each socket.
struct Lists(Vec<Joined>);

impl Memberships for Lists {
    fn of(&mut self, member: Member) -> &mut Joined {
        &mut self.0[member as usize]
    }
}

/// A room that has so many members beside its guests.
struct Crowd {
    rooms: Rooms,
    lists: Lists,
    guests: Range<Member>,
}

impl Crowd {
    fn new(members: Member) -> Self {
        let mut rooms = Rooms::new(hasher(5));
        let guests = members..members + GUESTS;
        let mut lists = Lists((0..guests.end).map(|_| Joined::default()).collect());
        for member in 0..members {
            rooms.join(member, &mut lists, ROOM);
        }
        Self { rooms, lists, guests }
    }

    fn join(&mut self) {
        for guest in self.guests.clone() {
            black_box(self.rooms.join(guest, &mut self.lists, black_box(ROOM)));
        }
    }

    /// In the order they came, so that each leaves a gap that another one fills.
    fn leave(&mut self) {
        for guest in self.guests.clone() {
            black_box(self.rooms.leave(guest, &mut self.lists, black_box(ROOM)));
        }
    }
}

const ROOM: &str = "room:of-some-length";

fn join(members: Member) -> Box<dyn Live> {
    live(Crowd::new(members), Crowd::leave, Crowd::join)
}

fn leave(members: Member) -> Box<dyn Live> {
    live(Crowd::new(members), Crowd::join, Crowd::leave)
}

fn open_and_close() -> Box<dyn Live> {
    steady(Crowd::new(1_000), |crowd| {
        let guest = crowd.guests.start;
        crowd.rooms.join(guest, &mut crowd.lists, black_box("alone"));
        crowd.rooms.leave(guest, &mut crowd.lists, black_box("alone"));
    })
}

fn members() -> Box<dyn Live> {
    steady(Crowd::new(1_000), |crowd| {
        let sum: u64 = crowd.rooms.members(black_box(ROOM)).map(u64::from).sum();
        black_box(sum);
    })
}
