//! A client's Socket.IO half: its seats, what it asks for, and whether the answers are right.

use std::collections::BTreeMap;

use serde_json::Value;

use super::app::NAMESPACES;
use super::ledger::{Ledger, SeatId};
use super::wire::{Dialect, Pkt};
use crate::base::{Micros, Rng};
use crate::engineio::Revision;

/// A client's state in one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    Out,
    /// CONNECT is under way; what still comes is for the seat it had before.
    Asked(SeatId, Option<SeatId>),
    In(SeatId),
    /// It has said that it leaves.
    Left(SeatId),
}

/// What an ack is expected to say.
#[derive(Clone, Debug)]
pub(super) enum Expect {
    Room(usize, bool),
    Said(u64, bool),
    Echo(Value),
    Asked(u64, u64),
    Me(u64, u64),
    Count(u64),
    Mass(u64),
}

#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) namespace: usize,
    pub(super) seat: SeatId,
    pub(super) since: Micros,
    pub(super) expect: Expect,
}

/// Packets with attachments that have not all come.
#[derive(Debug)]
pub(super) struct Parted {
    pub(super) text: String,
    pub(super) missing: usize,
    pub(super) attachments: Vec<Vec<u8>>,
}

/// The Socket.IO half of a client, for one session.
#[derive(Debug)]
pub(super) struct User {
    pub(super) dialect: Dialect,
    pub(super) seats: [Seat; NAMESPACES.len()],
    pub(super) waiting: BTreeMap<u64, Waiting>,
    /// Numbers sent to a core and back to us.
    pub(super) errands: Vec<(u64, usize, SeatId)>,
    pub(super) next_ack: u64,
    pub(super) parted: Option<Parted>,
    /// It leaves questions unanswered now and then.
    pub(super) lazy: bool,
    /// The engine's id of the session.
    pub(super) sid: String,
    /// It is owed nothing: the server may cut it at any time.
    pub(super) excused: bool,
    /// It has asked to be disconnected.
    pub(super) quits: bool,
    /// It has done what ends a connection.
    pub(super) closes: bool,
    /// What it sends next.
    pub(super) out: Vec<Pkt>,
    /// Answers that came.
    pub(super) answers: u64,
}

/// What a user needs from the world.
pub(super) struct Desk<'a> {
    pub(super) now: Micros,
    pub(super) ledger: &'a mut Ledger,
    pub(super) work: &'a mut Rng,
}

/// Time the server waits for the answer to a question, at most.
pub(super) const ASK_MS_MAX: u64 = 400;

impl User {
    pub(super) fn new(dialect: Dialect, lazy: bool) -> Self {
        Self {
            dialect,
            seats: [Seat::Out; NAMESPACES.len()],
            waiting: BTreeMap::new(),
            errands: Vec::new(),
            next_ack: 0,
            parted: None,
            lazy,
            sid: String::new(),
            excused: false,
            quits: false,
            closes: false,
            out: Vec::new(),
            answers: 0,
        }
    }

    /// The namespace's prefix in a packet.
    pub(super) fn prefix(namespace: usize) -> &'static str {
        ["", "/b,"][namespace]
    }

    pub(super) fn send(&mut self, text: &str, attachments: &[Vec<u8>]) {
        self.out.extend(self.dialect.pack(text, attachments));
    }

    /// A session is asked for.
    pub(super) fn begin(&mut self, ledger: &mut Ledger) {
        if self.dialect.revision == Revision::V3 {
            // Rule: Socket.IO before v3: the server joins `/` by itself.
            self.seats[0] = Seat::Asked(ledger.seat_asked(0, ""), None);
        }
    }

    /// The session is open: the first namespace is joined.
    pub(super) fn open(&mut self, sid: &str, ledger: &mut Ledger) {
        sid.clone_into(&mut self.sid);
        if self.dialect.revision == Revision::V4 {
            self.connect(0, ledger);
        }
    }

    /// Rule: Socket.IO before v3: the id is the engine's, behind the namespace's name.
    pub(super) fn old_id(&self, namespace: usize) -> Option<String> {
        match (self.dialect.revision, namespace) {
            (Revision::V4, _) => None,
            (Revision::V3, 0) => Some(self.sid.clone()),
            (Revision::V3, _) => Some(format!("{}#{}", NAMESPACES[namespace], self.sid)),
        }
    }

    /// Joins a namespace.
    pub(super) fn connect(&mut self, namespace: usize, ledger: &mut Ledger) {
        let old = match self.seats[namespace] {
            Seat::Left(old) => Some(old),
            _ => None,
        };
        let id = self.old_id(namespace).unwrap_or_default();
        self.seats[namespace] = Seat::Asked(ledger.seat_asked(namespace, &id), old);
        self.send(&format!("0{}", Self::prefix(namespace)), &[]);
    }

    /// Leaves a namespace and keeps the connection.
    pub(super) fn disconnect(&mut self, namespace: usize, ledger: &mut Ledger) {
        if let Seat::In(seat) = self.seats[namespace] {
            ledger.seat_goes(seat);
            self.seats[namespace] = Seat::Left(seat);
            self.send(&format!("1{}", Self::prefix(namespace)), &[]);
        }
    }

    /// Whatever it was or is: each seat of this session.
    fn all_seats(&self) -> Vec<SeatId> {
        let seats = self.seats.iter().flat_map(|seat| match *seat {
            Seat::Out => [None, None],
            Seat::Asked(seat, old) => [Some(seat), old],
            Seat::In(seat) | Seat::Left(seat) => [Some(seat), None],
        });
        seats.flatten().collect()
    }

    /// The connection is going, by its own doing.
    pub(super) fn goes(&mut self, ledger: &mut Ledger) {
        self.excused = true;
        self.all_seats().into_iter().for_each(|seat| ledger.seat_goes(seat));
    }

    /// The connection goes in a way of which the server learns late.
    pub(super) fn vanishes(&mut self, ledger: &mut Ledger) {
        self.all_seats().into_iter().for_each(|seat| ledger.seat_vanishes(seat));
    }

    /// The server may cut it from now on.
    pub(super) fn doubt(&mut self, ledger: &mut Ledger) {
        self.excused = true;
        self.all_seats().into_iter().for_each(|seat| ledger.seat_doubted(seat));
    }

    /// The connection is gone; nothing is read from it any more.
    pub(super) fn gone(&mut self, ledger: &mut Ledger) {
        self.all_seats().into_iter().for_each(|seat| ledger.seat_dead(seat));
        self.seats = [Seat::Out; NAMESPACES.len()];
        self.waiting.clear();
        self.parted = None;
        self.out.clear();
    }

    /// Whether nothing is under way; if not, what.
    pub(super) fn unsettled(&self) -> Option<String> {
        let asked = self.seats.iter().find(|seat| matches!(seat, Seat::Asked(..)));
        let present = |waiting: &&Waiting| self.seats[waiting.namespace] == Seat::In(waiting.seat);
        let owed = self.waiting.values().find(present);
        let away = self.errands.iter().find(|(.., seat)| self.seats.contains(&Seat::In(*seat)));
        match (asked, owed) {
            _ if self.closes => Some(String::from("it should have been closed")),
            _ if self.excused => None,
            _ if self.quits => Some(String::from("it was not sent away")),
            (Some(seat), _) => Some(format!("{seat:?} was never answered")),
            (_, Some(waiting)) => Some(format!("no answer came: {waiting:?}")),
            _ if away.is_some() => Some(format!("{away:?} did not come back")),
            _ => None,
        }
    }

    /// All is quiet: answers that have not come never will. Who is owed nothing was not waited
    /// for, and may be answered yet.
    pub(super) fn settle(&mut self) {
        if !self.excused {
            self.waiting.clear();
        }
    }
}
