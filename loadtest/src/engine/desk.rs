//! What a lane has beside its sockets: loads, meters, books.

use std::sync::Arc;

use super::board::{Board, Stretch};
use super::meter::{Meter, Timing};
use crate::clock::Nanos;
use crate::load::{self, Load};
use crate::wire::helpers::{Answer, Call};
use crate::wire::net::{Event, Listener, Net, Phase};

/// What a load may do. Connections are numbered from 0 within the load.
pub struct Cx<'a> {
    /// To count.
    pub meter: &'a mut Meter,
    /// What all lanes share.
    pub board: &'a Board,
    net: &'a mut Net,
    books: &'a mut Books,
    may_send: bool,
    first: u32,
    count: u32,
}

impl Cx<'_> {
    /// Whether load is wanted now.
    #[inline]
    #[must_use]
    pub fn may_send(&self) -> bool {
        self.may_send && self.meter.now < self.meter.window.to
    }

    /// Whether the stretch has begun; it may have ended too.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.may_send
    }

    /// How many connections the load has.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The number of a connection among all of the lane.
    #[must_use]
    pub const fn number(&self, conn: u32) -> u32 {
        self.first + conn
    }

    /// Whether a connection's namespace is connected.
    #[inline]
    #[must_use]
    pub fn is_up(&self, conn: u32) -> bool {
        self.net.phase(self.first + conn) == Phase::Up
    }

    /// Sends an Engine.IO packet.
    #[inline]
    pub fn send(&mut self, conn: u32, packet: &[u8]) {
        self.net.send(self.first + conn, packet);
    }

    /// Writes what was sent so far.
    pub fn flush(&mut self) {
        self.net.flush();
    }

    /// Ends a connection and makes it anew.
    pub fn reconnect(&mut self, conn: u32) {
        self.net.close(self.first + conn);
        self.books.ready = self.books.ready.saturating_sub(1);
        self.net.connect(self.first + conn, self.meter.now);
    }

    /// Stops a connection's reading for good.
    pub fn deafen(&mut self, conn: u32) {
        self.net.set_deaf(self.first + conn);
    }

    /// Makes a REST call; its answer comes to the load.
    pub fn call(&mut self, line: u32, call: Call) {
        self.net.call(line, call);
    }

    /// A connection is prepared for load.
    pub fn ready(&mut self) {
        self.books.ready += 1;
    }

    /// Something went wrong that is no delivery: kept as the reason of a failure.
    pub fn trouble(&mut self, why: &str) {
        self.books.failed += 1;
        self.board.trouble(why);
    }

    /// Deliveries or answers are owed from now on.
    #[inline]
    pub fn owe(&mut self, count: u64) {
        self.books.owed += count;
        self.meter.oracle.expected += count;
    }

    /// One of them came.
    #[inline]
    pub fn came(&mut self) {
        self.books.came += 1;
    }
}

/// Counters that the board gets a copy of every turn.
#[derive(Default)]
pub(super) struct Books {
    pub(super) ready: u64,
    pub(super) failed: u64,
    pub(super) owed: u64,
    pub(super) came: u64,
}

/// A load and its connections: `count` of them from `first` on.
pub(super) struct Part {
    load: Box<dyn Load>,
    first: u32,
    count: u32,
}

/// Everything of a lane but its sockets.
pub(super) struct Desk {
    pub(super) board: Arc<Board>,
    pub(super) parts: Vec<Part>,
    pub(super) meter: Meter,
    pub(super) books: Books,
    pub(super) stretch: Option<Stretch>,
    /// Connections that are being made.
    pub(super) in_flight: u32,
}

impl Desk {
    pub(super) fn new(board: &Arc<Board>, lane: u32) -> Self {
        let mut parts = Vec::new();
        let mut first = 0;
        for (load, count) in load::make(board, lane) {
            parts.push(Part { load, first, count });
            first += count;
        }
        Self {
            board: Arc::clone(board),
            meter: Meter::new(load::main_timing(board.scenario.kind)),
            parts,
            books: Books::default(),
            stretch: None,
            in_flight: 0,
        }
    }

    /// All connections of the lane.
    pub(super) fn count(&self) -> u32 {
        self.parts.last().map_or(0, |part| part.first + part.count)
    }

    /// The connections that are to be narrow.
    pub(super) fn narrow(&self) -> Vec<u32> {
        let of = |part: &Part| {
            let narrow = (0..part.count).filter(|conn| part.load.is_narrow(*conn));
            narrow.map(|conn| part.first + conn).collect::<Vec<_>>()
        };
        self.parts.iter().flat_map(of).collect()
    }

    /// Whether the stretch is not over yet, or was too short for what it should have sent.
    pub(super) fn owes_sends(&self) -> bool {
        self.stretch.is_some()
            && (self.meter.now < self.meter.window.to
                || self.parts.iter().any(|part| part.load.owes_sends()))
    }

    /// When something is due, if nothing comes in.
    pub(super) fn next_due(&self, now: Nanos) -> Option<Nanos> {
        self.parts.iter().filter_map(|part| part.load.next_due(now)).min()
    }

    #[inline]
    fn with_part<R>(
        &mut self,
        net: &mut Net,
        index: usize,
        run: impl FnOnce(&mut dyn Load, &mut Cx<'_>) -> R,
    ) -> R {
        let may_send = self.stretch.is_some_and(|stretch| self.meter.now >= stretch.begin);
        let part = &mut self.parts[index];
        let mut cx = Cx {
            net,
            meter: &mut self.meter,
            board: &self.board,
            books: &mut self.books,
            may_send,
            first: part.first,
            count: part.count,
        };
        run(&mut *part.load, &mut cx)
    }

    /// Asks each load; whether any said yes.
    pub(super) fn each(
        &mut self,
        net: &mut Net,
        mut run: impl FnMut(&mut dyn Load, &mut Cx<'_>) -> bool,
    ) -> bool {
        let mut any = false;
        for index in 0..self.parts.len() {
            any |= self.with_part(net, index, &mut run);
        }
        any
    }

    /// Runs with the load of a connection and its number there.
    #[inline]
    fn with_owner(
        &mut self,
        net: &mut Net,
        conn: u32,
        run: impl FnOnce(&mut dyn Load, &mut Cx<'_>, u32),
    ) {
        let mut index = 0;
        while conn >= self.parts[index].first + self.parts[index].count {
            index += 1;
        }
        let local = conn - self.parts[index].first;
        self.with_part(net, index, |load, cx| run(load, cx, local));
    }
}

impl Listener for Desk {
    #[inline]
    fn hear(&mut self, net: &mut Net, conn: u32, event: Event<'_>) {
        match event {
            Event::Packet(packet) => {
                self.with_owner(net, conn, |load, cx, conn| load.packet(cx, conn, packet));
            }
            Event::Up => {
                self.in_flight = self.in_flight.saturating_sub(1);
                self.meter.now = self.board.clock.now();
                self.meter.operation(Timing::Connect, net.began_at(conn));
                self.with_owner(net, conn, |load, cx, conn| load.up(cx, conn));
            }
            Event::Down(why) => {
                self.in_flight = self.in_flight.saturating_sub(1);
                self.books.failed += 1;
                self.board.trouble(&why);
                self.with_owner(net, conn, |load, cx, conn| load.down(cx, conn));
            }
        }
    }

    /// A look costs 30 ns, the batch at least 1,000: every one gets its own moment.
    #[inline]
    fn received(&mut self, _net: &mut Net) {
        self.meter.now = self.board.clock.now();
    }

    fn answered(&mut self, net: &mut Net, answer: Answer) {
        self.meter.now = self.board.clock.now();
        // Only one load of a scenario makes calls.
        self.meter.operation(Timing::Rest, answer.since);
        for index in 0..self.parts.len() {
            self.with_part(net, index, |load, cx| load.answered(cx, &answer));
        }
    }
}
