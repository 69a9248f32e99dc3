//! The room index of one core, alone.

use std::hint::black_box;

use corewire::base::hasher;
use corewire::socketio::{Joined, Member, Rooms};

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

/// A room that has so many members beside its guests.
struct Crowd {
    rooms: Rooms,
    /// The list of each guest's rooms.
    guests: Vec<Joined>,
    first_guest: Member,
}

impl Crowd {
    fn new(members: Member) -> Self {
        let mut rooms = Rooms::new(hasher(5));
        for member in 0..members {
            rooms.join(member, &mut Joined::new(), ROOM);
        }
        Self { rooms, guests: vec![Joined::new(); GUESTS as usize], first_guest: members }
    }

    fn join(&mut self) {
        for (guest, joined) in (self.first_guest..).zip(&mut self.guests) {
            black_box(self.rooms.join(guest, joined, black_box(ROOM)));
        }
    }

    /// In the order they came, so that each leaves a gap that another one fills.
    fn leave(&mut self) {
        for (guest, joined) in (self.first_guest..).zip(&mut self.guests) {
            black_box(self.rooms.leave(guest, joined, black_box(ROOM)));
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
        let joined = &mut crowd.guests[0];
        crowd.rooms.join(crowd.first_guest, joined, black_box("alone"));
        crowd.rooms.leave(crowd.first_guest, joined, black_box("alone"));
    })
}

fn members() -> Box<dyn Live> {
    steady(Crowd::new(1_000), |crowd| {
        let sum: u64 = crowd.rooms.members(black_box(ROOM)).iter().copied().map(u64::from).sum();
        black_box(sum);
    })
}
