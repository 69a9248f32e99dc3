//! Round trips: each connection sends and waits for the acknowledgement.

use std::ops::Range;

use super::Load;
use super::pace::Turns;
use super::talk::{Talk, ack_id};
use crate::check::oracle::Pair;
use crate::check::token::Token;
use crate::clock::Nanos;
use crate::engine::meter::Timing;
use crate::engine::{Board, Cx, Stretch};

/// Messages sent in a row before input is looked at again.
const SENDS_IN_A_ROW: u32 = 256;

/// One connection's round trips.
#[derive(Clone, Copy, Default)]
struct Line {
    pair: Pair,
    sent: u32,
}

/// Where the rate of an open loop comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rate {
    /// The stretch has it, if there is one.
    OfStretch,
    /// Its own, if there is one: round trips are not what the scenario is about.
    Own(Option<f64>),
}

/// Round trips of a lane's connections.
pub(crate) struct Echo {
    talk: Talk,
    rate: Rate,
    lines: Vec<Line>,
    /// The number of the first connection over all lanes.
    first: u32,
    lane: u32,
    lanes: u32,
    outstanding: u32,
    turns: Turns,
    hint: usize,
}

impl Echo {
    /// For the connections `range`, by their numbers over all lanes.
    pub(crate) fn new(board: &Board, lane: u32, range: Range<u32>, rate: Rate) -> Self {
        Self {
            talk: Talk::new(&board.scenario, board.layout.rooms),
            rate,
            lines: vec![Line::default(); range.len()],
            first: range.start,
            lane,
            lanes: board.layout.lanes,
            outstanding: board.scenario.outstanding,
            turns: Turns::default(),
            hint: 0,
        }
    }

    #[inline]
    fn send(&mut self, cx: &mut Cx<'_>, conn: u32, time: Nanos) {
        let line = &mut self.lines[conn as usize];
        let token = Token { room: self.first + conn, sender: 0, sequence: line.sent, time };
        line.sent += 1;
        cx.owe(1);
        cx.meter.sent(1);
        let session = cx.number(conn);
        cx.send(conn, self.talk.echo(&token, self.lane, session));
    }

    fn send_paced(&mut self, cx: &mut Cx<'_>) -> bool {
        let count = cx.count();
        let mut sent = 0;
        while sent < SENDS_IN_A_ROW {
            let Some((at, conn)) = self.turns.take(cx.meter.now, count) else {
                break;
            };
            if cx.is_up(conn) {
                self.send(cx, conn, at);
            }
            sent += 1;
        }
        sent > 0
    }
}

impl Load for Echo {
    fn up(&mut self, cx: &mut Cx<'_>, _conn: u32) {
        cx.ready();
    }

    #[inline]
    fn packet(&mut self, cx: &mut Cx<'_>, conn: u32, packet: &[u8]) {
        let Some(id) = ack_id(packet) else { return };
        cx.came();
        let text = self.talk.to_self.find(packet, &mut self.hint);
        let token = text.and_then(|text| self.talk.to_self.read(text));
        let is_ours = |token: &Token| token.room == self.first + conn && token.sequence == id;
        let Some(token) = token.filter(is_ours) else {
            cx.meter.oracle.corrupted += 1;
            return;
        };
        self.lines[conn as usize].pair.hear(token.sequence, &mut cx.meter.oracle);
        cx.meter.operation(Timing::RoundTrip, token.time);
        if !self.turns.is_paced() && cx.may_send() {
            self.send(cx, conn, cx.meter.now);
        }
    }

    fn begin(&mut self, _cx: &mut Cx<'_>, stretch: &Stretch) {
        let rate = match self.rate {
            Rate::OfStretch => stretch.rate,
            Rate::Own(rate) => rate,
        };
        let share = rate.map(|rate| rate / f64::from(self.lanes));
        self.turns.begin(stretch, share, f64::from(self.lane) / f64::from(self.lanes));
    }

    fn due(&mut self, cx: &mut Cx<'_>) -> bool {
        // What should have been sent by the end is sent, if after it.
        if self.turns.is_paced() && cx.has_begun() {
            return self.send_paced(cx);
        }
        if !cx.may_send() {
            return false;
        }
        if !self.turns.starts() {
            return false;
        }
        for conn in 0..cx.count() {
            for _ in 0..self.outstanding {
                if cx.is_up(conn) {
                    self.send(cx, conn, cx.meter.now);
                }
            }
            cx.flush();
        }
        true
    }

    fn next_due(&self, _now: Nanos) -> Option<Nanos> {
        self.turns.next_due()
    }

    fn owes_sends(&self) -> bool {
        self.turns.owes_sends()
    }

    fn finish(&mut self, cx: &mut Cx<'_>) {
        for line in &mut self.lines {
            line.pair.close(line.sent, &mut cx.meter.oracle);
        }
        self.turns.stop();
    }
}
