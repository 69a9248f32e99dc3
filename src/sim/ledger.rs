//! What must happen, what may, and what must not: the simulator's account of every emit.
//!
//! A client is surely in a room from the answer to its join until it asks to leave, and surely
//! not before it asked to join and after the answer to its leave. In between nobody can tell,
//! and a message may or may not reach it.

use std::collections::{BTreeMap, BTreeSet};

/// One socket: a client's seat in a namespace, from its CONNECT on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SeatId(pub(super) usize);

/// Rooms of a namespace.
pub(super) const ROOMS: usize = 5;

/// Whether something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holds {
    No,
    Unsure,
    Yes,
}

/// What is known of one socket.
#[derive(Debug)]
struct Seat {
    namespace: usize,
    /// Its public id once it has joined.
    id: String,
    joined: Holds,
    rooms: [Holds; ROOMS],
    /// Joins and leaves that are not answered.
    pending: [usize; ROOMS],
    /// It may be cut at any time, so nothing is sure of it.
    doubted: bool,
    /// It has begun to go.
    going: bool,
    /// The server learns of that late, by a deadline of its own.
    vanished: bool,
    /// Nothing may reach it any more, whatever the server knows.
    dead: bool,
}

/// Whom an emit is for.
#[derive(Clone, Debug, Default)]
pub(super) struct Aim {
    pub(super) namespace: usize,
    pub(super) rooms: Vec<usize>,
    /// Single sockets, by their own ids.
    pub(super) seats: Vec<SeatId>,
    pub(super) except: Vec<usize>,
    /// The sender is left out.
    pub(super) others: bool,
}

impl Aim {
    fn is_whole(&self) -> bool {
        self.rooms.is_empty() && self.seats.is_empty()
    }
}

/// What an emit promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sure,
    /// It may be dropped, and arrives once at most.
    Volatile,
    /// Nothing is sent; somebody counts.
    Count,
}

#[derive(Debug)]
struct Emit {
    from: SeatId,
    aim: Aim,
    kind: Kind,
    /// Emits whose order is kept are numbered.
    serial: Option<u64>,
    status: BTreeMap<SeatId, Holds>,
    got: BTreeSet<SeatId>,
    /// The server has said that it was issued.
    acked: bool,
}

/// A join or leave of all members of a room.
#[derive(Debug)]
struct Mass {
    namespace: usize,
    from: usize,
    to: usize,
    join: bool,
    acked: bool,
    sure: BTreeSet<SeatId>,
}

/// The account.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    seats: Vec<Seat>,
    emits: BTreeMap<u64, Emit>,
    masses: BTreeMap<u64, Mass>,
    /// The last numbered emit that went from one socket to another.
    last: BTreeMap<(SeatId, SeatId), u64>,
    next: u64,
    pub(super) delivered: u64,
}

impl Ledger {
    /// A client asks to join a namespace. Its `id` is empty if the server will choose one.
    pub(super) fn seat_asked(&mut self, namespace: usize, id: &str) -> SeatId {
        let seat = SeatId(self.seats.len());
        self.seats.push(Seat {
            namespace,
            id: id.to_owned(),
            joined: Holds::Unsure,
            rooms: [Holds::No; ROOMS],
            pending: [0; ROOMS],
            doubted: false,
            going: false,
            vanished: false,
            dead: false,
        });
        let same = |other: &SeatId| !id.is_empty() && self.seats[other.0].id == id;
        for emit in self.emits.values_mut() {
            let aimed = emit.aim.is_whole() || emit.aim.seats.iter().any(same);
            if emit.aim.namespace == namespace && aimed {
                emit.status.insert(seat, Holds::Unsure);
            }
        }
        seat
    }

    /// The server let it in.
    pub(super) fn seat_joined(&mut self, seat: SeatId, id: &str) {
        let entry = &mut self.seats[seat.0];
        entry.joined = if entry.doubted || entry.going { Holds::Unsure } else { Holds::Yes };
        id.clone_into(&mut entry.id);
    }

    /// It begins to go, or has lost its connection.
    pub(super) fn seat_goes(&mut self, seat: SeatId) {
        self.seats[seat.0].going = true;
        self.seat_doubted(seat);
    }

    /// The server may cut it at any time from now on.
    pub(super) fn seat_doubted(&mut self, seat: SeatId) {
        self.seats[seat.0].doubted = true;
        self.seats[seat.0].joined = self.seats[seat.0].joined.min(Holds::Unsure);
        for emit in self.emits.values_mut() {
            if emit.from == seat && !emit.acked {
                for status in emit.status.values_mut() {
                    *status = (*status).min(Holds::Unsure);
                }
            }
            if let Some(status) = emit.status.get_mut(&seat) {
                *status = (*status).min(Holds::Unsure);
            }
        }
        for mass in self.masses.values_mut() {
            mass.sure.remove(&seat);
        }
    }

    /// Nothing may reach it any more.
    pub(super) fn seat_dead(&mut self, seat: SeatId) {
        self.seat_goes(seat);
        self.seats[seat.0].dead = true;
    }

    /// It goes without a word.
    pub(super) fn seat_vanishes(&mut self, seat: SeatId) {
        self.seat_goes(seat);
        self.seats[seat.0].vanished = true;
    }

    /// The public id of a socket, if it surely is there.
    pub(super) fn id_of(&self, seat: SeatId) -> Option<&str> {
        let entry = &self.seats[seat.0];
        (entry.joined == Holds::Yes).then_some(&*entry.id)
    }

    /// Sockets that surely are there.
    pub(super) fn present(&self, namespace: usize) -> Vec<SeatId> {
        let present = |seat: &Seat| seat.joined == Holds::Yes && seat.namespace == namespace;
        let all = self.seats.iter().enumerate();
        all.filter(|(_, seat)| present(seat)).map(|(at, _)| SeatId(at)).collect()
    }

    /// A client asks to join or to leave a room.
    pub(super) fn room_asked(&mut self, seat: SeatId, room: usize) {
        self.unsettle(seat, room);
        self.seats[seat.0].pending[room] += 1;
        let namespace = self.seats[seat.0].namespace;
        for mass in self.masses.values_mut().filter(|mass| mass.namespace == namespace) {
            if mass.from == room || mass.to == room {
                mass.sure.remove(&seat);
            }
        }
    }

    /// The server has answered that.
    pub(super) fn room_answered(&mut self, seat: SeatId, room: usize, member: bool) {
        let namespace = self.seats[seat.0].namespace;
        let stirred = self
            .masses
            .values()
            .any(|mass| mass.namespace == namespace && mass.to == room && mass.join != member);
        let entry = &mut self.seats[seat.0];
        entry.pending[room] -= 1;
        if !stirred && entry.pending[room] == 0 {
            entry.rooms[room] = if member { Holds::Yes } else { Holds::No };
        }
    }

    /// Nobody can tell any more whether `seat` is in `room`, nor whether it is in rooms to which
    /// somebody is just moving the members of that one.
    fn unsettle(&mut self, seat: SeatId, room: usize) {
        let namespace = self.seats[seat.0].namespace;
        let mut rooms = vec![room];
        while let Some(next) = rooms.iter().find_map(|room| {
            let mut masses = self.masses.values().filter(|mass| mass.namespace == namespace);
            masses.find(|mass| mass.from == *room && !rooms.contains(&mass.to)).map(|mass| mass.to)
        }) {
            rooms.push(next);
        }
        for room in rooms {
            self.seats[seat.0].rooms[room] = Holds::Unsure;
            for emit in self.emits.values_mut().filter(|emit| emit.aim.namespace == namespace) {
                if emit.aim.rooms.contains(&room) || emit.aim.except.contains(&room) {
                    emit.status.insert(seat, Holds::Unsure);
                }
            }
        }
    }

    /// Somebody puts all members of `from` into `to`, or takes them out.
    pub(super) fn mass(&mut self, namespace: usize, from: usize, to: usize, join: bool) -> u64 {
        let at = |seat: SeatId| (seat, namespace);
        let here = (0..self.seats.len()).map(SeatId).map(at);
        let concerned: Vec<SeatId> = here
            .filter(|(seat, namespace)| {
                let entry = &self.seats[seat.0];
                entry.namespace == *namespace && entry.rooms[from] != Holds::No
            })
            .map(|(seat, _)| seat)
            .collect();
        let contested = self
            .masses
            .values()
            .any(|mass| mass.namespace == namespace && (mass.to == to || mass.to == from));
        let mut sure = BTreeSet::new();
        for seat in concerned {
            let entry = &self.seats[seat.0];
            let settled = entry.rooms[to] != Holds::Unsure && entry.joined == Holds::Yes;
            if entry.rooms[from] == Holds::Yes && settled && !contested && from != to {
                sure.insert(seat);
            }
            self.unsettle(seat, to);
        }
        for mass in self.masses.values_mut().filter(|mass| mass.namespace == namespace) {
            if mass.to == to || mass.from == to {
                mass.sure.clear();
            }
        }
        self.next += 1;
        self.masses.insert(self.next, Mass { namespace, from, to, join, acked: false, sure });
        self.next
    }

    /// All cores have done that.
    pub(super) fn mass_answered(&mut self, mass: u64) {
        if let Some(mass) = self.masses.get_mut(&mass) {
            mass.acked = true;
        }
    }

    /// A client asks for something to be sent. Returns the number that names it.
    pub(super) fn issue(&mut self, from: SeatId, aim: Aim, kind: Kind, ordered: bool) -> u64 {
        self.next += 1;
        let mut status = BTreeMap::new();
        for (at, seat) in self.seats.iter().enumerate() {
            let holds = self.reaches(&aim, SeatId(at), seat, from);
            let holds = if kind == Kind::Volatile { holds.min(Holds::Unsure) } else { holds };
            if holds != Holds::No {
                status.insert(SeatId(at), holds);
            }
        }
        let serial = ordered.then_some(self.next);
        let got = BTreeSet::new();
        self.emits.insert(self.next, Emit { from, aim, kind, serial, status, got, acked: false });
        self.next
    }

    fn reaches(&self, aim: &Aim, id: SeatId, seat: &Seat, from: SeatId) -> Holds {
        if seat.namespace != aim.namespace {
            return Holds::No;
        }
        let best = |rooms: &[usize]| rooms.iter().map(|room| seat.rooms[*room]).max();
        let same = |other: &SeatId| !seat.id.is_empty() && self.seats[other.0].id == seat.id;
        let aimed = if aim.is_whole() || aim.seats.iter().any(same) {
            Holds::Yes
        } else {
            best(&aim.rooms).unwrap_or(Holds::No)
        };
        let left_out = if aim.others && id == from {
            Holds::Yes
        } else {
            best(&aim.except).unwrap_or(Holds::No)
        };
        let kept = match left_out {
            Holds::No => Holds::Yes,
            Holds::Unsure => Holds::Unsure,
            Holds::Yes => Holds::No,
        };
        aimed.min(kept).min(seat.joined)
    }

    /// The server says that it was sent.
    pub(super) fn emit_acked(&mut self, emit: u64) {
        if let Some(emit) = self.emits.get_mut(&emit) {
            emit.acked = true;
        }
    }

    /// It may not be sent at all: its sender did what ends a connection.
    pub(super) fn receive(&mut self, seat: SeatId, emit: u64) -> Result<(), String> {
        if self.seats[seat.0].dead {
            return Err(format!("emit {emit} reached {seat:?} after its end"));
        }
        let Some(entry) = self.emits.get_mut(&emit) else {
            return Err(format!("emit {emit} reached {seat:?} long after all was quiet"));
        };
        if !entry.status.contains_key(&seat) {
            return Err(format!("emit {emit} reached {seat:?}, who must not get it: {entry:?}"));
        }
        if !entry.got.insert(seat) {
            return Err(format!("emit {emit} reached {seat:?} twice"));
        }
        self.delivered += 1;
        if let Some(serial) = entry.serial {
            let last = self.last.entry((entry.from, seat)).or_insert(0);
            if *last >= serial {
                return Err(format!("emit {serial} overtook {last} on the way to {seat:?}"));
            }
            *last = serial;
        }
        Ok(())
    }

    /// A count was given of whom an emit reached; is it possible?
    pub(super) fn counted(&self, emit: u64, count: u64, partial: bool) -> Result<(), String> {
        let Some(entry) = self.emits.get(&emit) else { return Ok(()) };
        let sure = entry.status.values().filter(|holds| **holds == Holds::Yes).count() as u64;
        let most = entry.status.len() as u64;
        if count > most || (count < sure && !partial) {
            return Err(format!("{count} counted, where {sure} to {most} are possible: {entry:?}"));
        }
        Ok(())
    }

    /// Whether this socket may have got that emit; for the senders of acks.
    pub(super) fn may_have(&self, emit: u64, seat: SeatId) -> bool {
        self.emits.get(&emit).is_none_or(|entry| entry.status.contains_key(&seat))
    }

    /// Whether it is certain who gets that emit.
    pub(super) fn is_certain(&self, emit: u64) -> bool {
        let entry = self.emits.get(&emit);
        entry.is_some_and(|entry| entry.status.values().all(|holds| *holds == Holds::Yes))
    }

    /// What still has to arrive, if anything.
    pub(super) fn owed(&self) -> Option<String> {
        self.emits.iter().find_map(|(id, emit)| {
            let must = |(_, holds): &(&SeatId, &Holds)| **holds == Holds::Yes;
            let missing =
                emit.status.iter().filter(must).find(|(seat, _)| !emit.got.contains(seat));
            let (seat, _) = missing.filter(|_| emit.kind == Kind::Sure)?;
            Some(format!("emit {id} has not reached {seat:?}: {emit:?}"))
        })
    }

    /// All is quiet: whatever was under way has arrived or never will.
    pub(super) fn settle(&mut self) {
        self.emits.clear();
        for mass in std::mem::take(&mut self.masses).into_values() {
            let member = if mass.join { Holds::Yes } else { Holds::No };
            for seat in mass.sure.into_iter().filter(|_| mass.acked) {
                self.seats[seat.0].rooms[mass.to] = member;
            }
        }
        for seat in &mut self.seats {
            if seat.going {
                seat.dead = true;
                seat.joined = if seat.vanished { Holds::Unsure } else { Holds::No };
            }
        }
    }
}
