//! Connections that come, join a room, stay, leave and go, while others talk.
//!
//! Joins and leaves are owed their acknowledgements. Of a room's messages a churner is owed none in
//! particular, since when it begins to belong is the server's to decide; but from the first it
//! hears until it leaves none may be missing, doubled or out of order, and none may come from
//! another room.

use std::collections::VecDeque;
use std::ops::Range;

use super::Load;
use super::talk::{Talk, ack_id, is_event, is_refusal};
use crate::check::oracle::Pair;
use crate::clock::{MILLI, Nanos};
use crate::engine::meter::Timing;
use crate::engine::{Board, Cx, Stretch};
use crate::model::Oracle;

/// Where a churner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// Not connected, or in no room.
    Outside,
    /// `join` is out since.
    Joining(Nanos),
    /// In a room.
    Inside,
    /// `leave` is out.
    Leaving,
}

/// One of them.
struct Churner {
    stand: Stand,
    room: u32,
    /// Joins so far; also the ids of acknowledgements.
    joins: u32,
    /// By sender of the room.
    pairs: Vec<Pair>,
}

/// Churners of a lane.
pub(crate) struct Churn {
    talk: Talk,
    churners: Vec<Churner>,
    /// Their numbers over all lanes.
    range: Range<u32>,
    rooms: u32,
    senders: u32,
    stay: Nanos,
    per_connection: u32,
    /// Who leaves when, in that order: all stay equally long.
    leaving: VecDeque<(Nanos, u32)>,
    begins_at: Option<Nanos>,
    /// What churners heard of rooms.
    aside: Oracle,
    hint: usize,
}

/// Spreads churners over rooms: a prime that no number of rooms will share.
const STRIDE: u32 = 7_919;

impl Churn {
    /// For the churners `range`, by their numbers over all lanes.
    pub(crate) fn new(board: &Board, range: Range<u32>) -> Self {
        let senders = board.layout.senders;
        let churner = |_| Churner {
            stand: Stand::Outside,
            room: 0,
            joins: 0,
            pairs: vec![Pair::joined_under_way(); senders as usize],
        };
        Self {
            talk: Talk::new(&board.scenario, board.layout.rooms),
            churners: range.clone().map(churner).collect(),
            range,
            rooms: board.layout.rooms,
            senders,
            stay: Nanos::from(board.scenario.stay_ms) * MILLI,
            per_connection: board.scenario.joins_per_connection,
            leaving: VecDeque::new(),
            begins_at: None,
            aside: Oracle::default(),
            hint: 0,
        }
    }

    fn join(&mut self, cx: &mut Cx<'_>, conn: u32) {
        let number = self.range.start + conn;
        let churner = &mut self.churners[conn as usize];
        if churner.stand != Stand::Outside || !cx.is_up(conn) {
            return;
        }
        churner.room = number.wrapping_add(churner.joins.wrapping_mul(STRIDE)) % self.rooms;
        churner.pairs.fill(Pair::joined_under_way());
        churner.stand = Stand::Joining(cx.meter.now);
        churner.joins = churner.joins.wrapping_add(1);
        let (id, room) = (churner.joins, churner.room);
        cx.owe(1);
        cx.meter.sent(1);
        cx.send(conn, self.talk.join(id, room));
    }

    fn joined(&mut self, cx: &mut Cx<'_>, conn: u32, since: Nanos) {
        cx.meter.operation(Timing::Join, since);
        self.churners[conn as usize].stand = Stand::Inside;
        if self.stay == 0 {
            self.leave(cx, conn);
        } else {
            self.leaving.push_back((cx.meter.now + self.stay, conn));
        }
    }

    /// Leaves the room, or the server if it is time for that.
    fn leave(&mut self, cx: &mut Cx<'_>, conn: u32) {
        let churner = &mut self.churners[conn as usize];
        if churner.stand != Stand::Inside {
            return;
        }
        let ends = self.per_connection > 0 && churner.joins.is_multiple_of(self.per_connection);
        if ends {
            churner.stand = Stand::Outside;
            cx.reconnect(conn);
            return;
        }
        churner.stand = Stand::Leaving;
        let (id, room) = (churner.joins, churner.room);
        cx.owe(1);
        cx.send(conn, self.talk.leave(id, room));
    }

    fn hear(&mut self, conn: u32, packet: &[u8]) {
        let churner = &mut self.churners[conn as usize];
        let text = self.talk.to_rooms.find(packet, &mut self.hint);
        let token = text.and_then(|text| self.talk.to_rooms.read(text));
        match token {
            Some(token)
                if token.room == churner.room
                    && token.sender < self.senders
                    && churner.stand != Stand::Outside =>
            {
                let pair = &mut churner.pairs[token.sender as usize];
                pair.hear(token.sequence, &mut self.aside);
            }
            _ => self.aside.corrupted += 1,
        }
    }
}

impl Load for Churn {
    fn up(&mut self, cx: &mut Cx<'_>, conn: u32) {
        cx.ready();
        if cx.may_send() {
            self.join(cx, conn);
        }
    }

    fn packet(&mut self, cx: &mut Cx<'_>, conn: u32, packet: &[u8]) {
        if is_event(packet, b"msg") {
            return self.hear(conn, packet);
        }
        let Some(id) = ack_id(packet) else { return };
        let churner = &mut self.churners[conn as usize];
        if id != churner.joins {
            cx.meter.oracle.corrupted += 1;
            return;
        }
        cx.came();
        if is_refusal(packet) {
            // Answered, and yet what was asked for was not had.
            cx.meter.oracle.lost += 1;
            cx.trouble(&format!("refused: {}", String::from_utf8_lossy(packet)));
        } else {
            cx.meter.oracle.delivered += 1;
        }
        match churner.stand {
            Stand::Joining(since) => self.joined(cx, conn, since),
            Stand::Leaving => {
                churner.stand = Stand::Outside;
                if cx.may_send() {
                    self.join(cx, conn);
                }
            }
            Stand::Outside | Stand::Inside => cx.meter.oracle.doubled += 1,
        }
    }

    fn down(&mut self, cx: &mut Cx<'_>, conn: u32) {
        let stand = &mut self.churners[conn as usize].stand;
        if matches!(*stand, Stand::Joining(_) | Stand::Leaving) {
            cx.meter.oracle.lost += 1;
        }
        *stand = Stand::Outside;
    }

    fn begin(&mut self, _cx: &mut Cx<'_>, stretch: &Stretch) {
        self.begins_at = Some(stretch.begin);
    }

    fn due(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut did = false;
        while let Some((at, conn)) = self.leaving.front().copied() {
            if at > cx.meter.now {
                break;
            }
            self.leaving.pop_front();
            self.leave(cx, conn);
            did = true;
        }
        if cx.may_send() && self.begins_at.take().is_some() {
            for conn in 0..cx.count() {
                self.join(cx, conn);
            }
            did = true;
        }
        did
    }

    fn next_due(&self, _now: Nanos) -> Option<Nanos> {
        let leaving = self.leaving.front().map(|(at, _)| *at);
        [self.begins_at, leaving].into_iter().flatten().min()
    }

    fn finish(&mut self, cx: &mut Cx<'_>) {
        let waits =
            |churner: &&Churner| matches!(churner.stand, Stand::Joining(_) | Stand::Leaving);
        let oracle = &mut cx.meter.oracle;
        oracle.lost += self.churners.iter().filter(waits).count() as u64;
        // What they heard was owed once heard.
        let mut aside = std::mem::take(&mut self.aside);
        aside.expected = aside.delivered + aside.lost;
        crate::check::oracle::add(oracle, &aside);
        self.begins_at = None;
    }
}
