//! Notifications by REST to users: a call in, an event out.

use std::ops::Range;

use super::Load;
use super::pace::Turns;
use super::talk::{self, Talk, is_event};
use crate::check::oracle::Pair;
use crate::check::token::Token;
use crate::clock::Nanos;
use crate::engine::meter::Timing;
use crate::engine::{Board, Cx, Stretch};
use crate::wire::helpers::{Answer, Call};

/// Calls queued in a row before input is looked at again.
const CALLS_IN_A_ROW: u32 = 64;

/// A user, and what was sent to it.
#[derive(Clone, Copy, Default)]
struct User {
    pair: Pair,
    sent: u32,
}

/// Users of a lane, one socket each, and the lines that notify them. User n is always notified on
/// line n, counted round, so that its notifications have an order.
pub(crate) struct Notify {
    talk: Talk,
    users: Vec<User>,
    members: Range<u32>,
    lane: u32,
    lanes: u32,
    lines: u32,
    /// When something is sent; open loop: whose turn it is.
    pace: Turns,
    /// Closed loop: whose turn it is, by line.
    turns: Vec<u32>,
    hint: usize,
}

impl Notify {
    pub(crate) fn new(board: &Board, lane: u32) -> Self {
        let members = board.layout.members_of(lane);
        let lines = board.layout.share(board.scenario.rest_connections, lane);
        Self {
            talk: Talk::new(&board.scenario, board.layout.rooms),
            users: vec![User::default(); members.len()],
            members,
            lane,
            lanes: board.layout.lanes,
            lines: lines.end - lines.start,
            pace: Turns::default(),
            turns: (0..lines.end - lines.start).collect(),
            hint: 0,
        }
    }

    fn send(&mut self, cx: &mut Cx<'_>, conn: u32, since: Nanos) {
        let user = &mut self.users[conn as usize];
        let room = self.members.start + conn;
        let token = Token { room, sender: 0, sequence: user.sent, time: since };
        user.sent += 1;
        cx.owe(1);
        cx.meter.sent(1);
        let body = self.talk.notification(&token, &talk::user(self.lane, conn));
        let path = "/socket/notifications";
        cx.call(conn % self.lines, Call { path, body, tag: conn % self.lines, since });
    }

    /// The next notification of a line in a closed loop.
    fn send_next(&mut self, cx: &mut Cx<'_>, line: u32) {
        let count = cx.count();
        let Some(turn) = self.turns.get_mut(line as usize) else { return };
        let conn = *turn;
        *turn = if conn + self.lines < count { conn + self.lines } else { line };
        if conn < count && cx.is_up(conn) {
            self.send(cx, conn, cx.meter.now);
        }
    }
}

impl Load for Notify {
    fn up(&mut self, cx: &mut Cx<'_>, _conn: u32) {
        cx.ready();
    }

    fn packet(&mut self, cx: &mut Cx<'_>, conn: u32, packet: &[u8]) {
        if !is_event(packet, b"notification") {
            return;
        }
        cx.came();
        let text = self.talk.to_rooms.find(packet, &mut self.hint);
        let token = text.and_then(|text| self.talk.to_rooms.read(text));
        let Some(token) = token.filter(|token| token.room == self.members.start + conn) else {
            cx.meter.oracle.corrupted += 1;
            return;
        };
        self.users[conn as usize].pair.hear(token.sequence, &mut cx.meter.oracle);
        cx.meter.operation(Timing::Delivery, token.time);
    }

    fn answered(&mut self, cx: &mut Cx<'_>, answer: &Answer) {
        match &answer.status {
            Ok(200) => {}
            Ok(status) => cx.trouble(&format!("a notification was answered {status}")),
            Err(why) => cx.trouble(&format!("a notification: {why}")),
        }
        if !self.pace.is_paced() && cx.may_send() && answer.status.is_ok() {
            self.send_next(cx, answer.tag);
        }
    }

    fn begin(&mut self, _cx: &mut Cx<'_>, stretch: &Stretch) {
        let share = stretch.rate.map(|rate| rate / f64::from(self.lanes));
        self.pace.begin(stretch, share, f64::from(self.lane) / f64::from(self.lanes));
    }

    fn due(&mut self, cx: &mut Cx<'_>) -> bool {
        // What should have been sent by the end is sent, if after it.
        if !cx.has_begun() {
            return false;
        }
        if cx.may_send() && self.pace.starts() {
            for line in 0..self.lines {
                self.send_next(cx, line);
            }
            return true;
        }
        let mut sent = 0;
        while sent < CALLS_IN_A_ROW {
            let Some((at, conn)) = self.pace.take(cx.meter.now, cx.count()) else {
                break;
            };
            self.send(cx, conn, at);
            sent += 1;
        }
        sent > 0
    }

    fn next_due(&self, _now: Nanos) -> Option<Nanos> {
        self.pace.next_due()
    }

    fn owes_sends(&self) -> bool {
        self.pace.owes_sends()
    }

    fn finish(&mut self, cx: &mut Cx<'_>) {
        for user in &mut self.users {
            user.pair.close(user.sent, &mut cx.meter.oracle);
        }
        self.pace.stop();
    }
}
