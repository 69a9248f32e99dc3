//! Messages to rooms, many small ones or one large.
//!
//! A lane sends for the rooms that are its own ([`Layout::rooms_of`]) and checks what its members
//! receive. A room's window counts deliveries: with `outstanding` messages of m receivers each on
//! their way, the next one leaves when a whole message's worth has come. With one outstanding
//! that is when the last receiver has it.

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::Load;
use super::pace::Turns;
use super::talk::{Talk, ack_id, is_event, is_refusal};
use crate::check::oracle::Pair;
use crate::check::token::Token;
use crate::clock::{MILLI, Nanos};
use crate::engine::meter::Timing;
use crate::engine::{Board, Cx, Layout, Stretch};
use crate::scenario::Publish;
use crate::wire::helpers::{Answer, Call};

/// Messages sent in a row before input is looked at again.
const SENDS_IN_A_ROW: u32 = 256;
/// Joins of a connection on their way at once.
const JOINS_AT_ONCE: u32 = 64;
/// How often a lane that may sleep looks at the windows of rooms that span lanes.
const SPAN_LOOK: Nanos = MILLI;

/// A room this lane sends to.
#[derive(Clone, Copy, Default)]
struct Room {
    /// Deliveries owed for what was sent.
    owed: u64,
    /// Deliveries that came, as far as this lane knows.
    came: u64,
    /// Receivers of a message.
    receivers: u64,
    /// Whose turn it is.
    turn: u32,
}

/// A connection on its way into its rooms.
#[derive(Clone, Copy, Default)]
struct Entry {
    asked: u32,
    answered: u32,
}

/// A lane's members and rooms.
pub(crate) struct Rooms {
    talk: Talk,
    publish: Publish,
    /// Members at the end of each room that stop reading.
    slow: u32,
    layout: Layout,
    lane: u32,
    /// Members of this lane, by their numbers over all lanes.
    members: Range<u32>,
    rooms: Range<u32>,
    publishers: u32,
    entries: Vec<Entry>,
    /// By member, room of it and sender.
    pairs: Vec<Pair>,
    own: Vec<Room>,
    /// Came in this turn for rooms that span lanes, by room.
    spanning: Vec<u64>,
    outstanding: u64,
    turns: Turns,
    hint: usize,
}

impl Rooms {
    pub(crate) fn new(board: &Board, lane: u32) -> Self {
        let layout = board.layout.clone();
        let members = layout.members_of(lane);
        let rooms = layout.rooms_of(lane);
        let publishers = layout.publishers_of(lane);
        let pairs = members.len() * layout.rooms_each as usize * layout.senders as usize;
        Self {
            talk: Talk::new(&board.scenario, layout.rooms),
            publish: board.scenario.publish,
            slow: board.scenario.slow_per_room,
            publishers: publishers.end - publishers.start,
            entries: vec![Entry::default(); members.len()],
            pairs: vec![Pair::default(); pairs],
            own: vec![Room::default(); rooms.len()],
            spanning: vec![0; if Self::shares(&layout) { layout.rooms as usize } else { 0 }],
            outstanding: board.scenario.outstanding.into(),
            lane,
            members,
            rooms,
            layout,
            turns: Turns::default(),
            hint: 0,
        }
    }

    /// Whether what is received in one lane may be what another sent.
    const fn shares(layout: &Layout) -> bool {
        layout.lanes > 1 && (layout.spans || layout.publishers > 0)
    }

    /// The connection that sends for a room in its turn, and its place among the senders.
    fn sender(&self, room: u32, turn: u32) -> (u32, u32) {
        if self.publishers > 0 {
            let members = self.members.end - self.members.start;
            return (members + (room - self.rooms.start) % self.publishers, 0);
        }
        let place = turn % self.layout.senders;
        if self.layout.spans {
            return (place, place);
        }
        let group = room / self.layout.rooms_each;
        (group * self.layout.room_size - self.members.start + place, place)
    }

    /// Whether a member stops reading. Nothing is owed to it.
    const fn is_slow(&self, conn: u32) -> bool {
        self.slow > 0
            && conn < self.members.end - self.members.start
            && (self.members.start + conn) % self.layout.room_size
                >= self.layout.room_size - self.slow
    }

    fn send(&mut self, cx: &mut Cx<'_>, room: u32, time: Nanos) {
        let index = (room - self.rooms.start) as usize;
        let turn = self.own[index].turn;
        let (conn, sender) = self.sender(room, turn);
        let own = &mut self.own[index];
        own.turn = (turn + 1) % self.layout.senders;
        if self.publish == Publish::Event && !cx.is_up(conn) {
            return;
        }
        let place = room as usize * self.layout.senders as usize + sender as usize;
        let sequence = cx.board.sent[place].fetch_add(1, Ordering::Relaxed);
        own.owed += own.receivers;
        cx.owe(own.receivers);
        cx.meter.sent(1);
        let token = Token { room, sender, sequence, time };
        match self.publish {
            Publish::Event => cx.send(conn, self.talk.publish(&token)),
            Publish::Rest | Publish::Post => {
                let is_post = self.publish == Publish::Post;
                let path = if is_post { "/pub" } else { "/socket/rooms/message" };
                let body = self.talk.publish_body(&token, self.publish);
                cx.call(room, Call { path, body, tag: room, since: time });
            }
        }
    }

    /// Sends until the room's window is full.
    fn fill(&mut self, cx: &mut Cx<'_>, room: u32) {
        let index = (room - self.rooms.start) as usize;
        let mut tries = self.layout.senders;
        loop {
            let Room { owed, came, receivers, .. } = self.own[index];
            if receivers == 0 || tries == 0 {
                return;
            }
            if owed.saturating_sub(came) > (self.outstanding - 1) * receivers {
                return;
            }
            self.send(cx, room, cx.meter.now);
            // A sender that is gone sends nothing; the others have their turns.
            if self.own[index].owed == owed {
                tries -= 1;
            }
        }
    }

    fn send_paced(&mut self, cx: &mut Cx<'_>) -> bool {
        let count = self.rooms.end - self.rooms.start;
        let mut sent = 0;
        while sent < SENDS_IN_A_ROW {
            let Some((at, turn)) = self.turns.take(cx.meter.now, count) else {
                break;
            };
            let room = self.rooms.start + turn;
            self.send(cx, room, at);
            sent += 1;
        }
        sent > 0
    }

    /// Gives what came for rooms of other lanes to them, and looks what came for one's own.
    fn exchange(&mut self, cx: &mut Cx<'_>) -> bool {
        for (room, came) in self.spanning.iter_mut().enumerate() {
            if *came > 0 {
                cx.board.came[room].fetch_add(std::mem::take(came), Ordering::Relaxed);
            }
        }
        let mut any = false;
        for (index, own) in self.own.iter_mut().enumerate() {
            let room = self.rooms.start as usize + index;
            let came = cx.board.came[room].load(Ordering::Relaxed);
            any |= came != own.came;
            own.came = came;
        }
        any
    }

    fn ask_to_join(&mut self, cx: &mut Cx<'_>, conn: u32) {
        let first = self.layout.first_room(self.members.start + conn);
        let entry = &mut self.entries[conn as usize];
        while entry.asked < self.layout.rooms_each && entry.asked - entry.answered < JOINS_AT_ONCE {
            cx.send(conn, self.talk.join(entry.asked, first + entry.asked));
            entry.asked += 1;
        }
    }

    fn joined(&mut self, cx: &mut Cx<'_>, conn: u32, id: u32, packet: &[u8]) {
        let first = self.layout.first_room(self.members.start + conn);
        if id >= self.layout.rooms_each {
            return;
        }
        if is_refusal(packet) {
            let why = format!("join refused: {}", String::from_utf8_lossy(packet));
            return cx.trouble(&why);
        }
        if !self.is_slow(conn) {
            cx.board.members[(first + id) as usize].fetch_add(1, Ordering::Relaxed);
        }
        let entry = &mut self.entries[conn as usize];
        entry.answered += 1;
        if entry.answered == self.layout.rooms_each {
            cx.ready();
        } else {
            self.ask_to_join(cx, conn);
        }
    }

    /// Checks a delivery. The room it belongs to, if it is as it should be.
    #[inline]
    fn check(&mut self, cx: &mut Cx<'_>, conn: u32, packet: &[u8]) -> Option<u32> {
        let text = self.talk.to_rooms.find(packet, &mut self.hint);
        let token = text.and_then(|text| self.talk.to_rooms.read(text));
        let first = self.layout.first_room(self.members.start + conn);
        let (each, senders) = (self.layout.rooms_each, self.layout.senders);
        let is_owed = |token: &Token| {
            token.room.wrapping_sub(first) < each
                && token.sender < senders
                && conn < self.members.end - self.members.start
        };
        let Some(token) = token.filter(is_owed) else {
            cx.meter.oracle.corrupted += 1;
            return None;
        };
        let place = (conn * each + token.room - first) as usize * senders as usize;
        let pair = &mut self.pairs[place + token.sender as usize];
        pair.hear(token.sequence, &mut cx.meter.oracle);
        cx.meter.operation(Timing::Delivery, token.time);
        Some(token.room)
    }
}

impl Load for Rooms {
    fn up(&mut self, cx: &mut Cx<'_>, conn: u32) {
        if conn >= self.members.end - self.members.start {
            cx.ready();
            return;
        }
        self.ask_to_join(cx, conn);
    }

    #[inline]
    fn packet(&mut self, cx: &mut Cx<'_>, conn: u32, packet: &[u8]) {
        if !is_event(packet, b"msg") {
            if let Some(id) = ack_id(packet) {
                self.joined(cx, conn, id, packet);
            }
            return;
        }
        if self.is_slow(conn) {
            return;
        }
        cx.came();
        let Some(room) = self.check(cx, conn, packet) else { return };
        if let Some(came) = self.spanning.get_mut(room as usize) {
            *came += 1;
            return;
        }
        self.own[(room - self.rooms.start) as usize].came += 1;
        if !self.turns.is_paced() && cx.may_send() {
            self.fill(cx, room);
        }
    }

    fn down(&mut self, cx: &mut Cx<'_>, conn: u32) {
        let is_member = conn < self.members.end - self.members.start;
        if !is_member || self.is_slow(conn) {
            return;
        }
        // What was sent stays owed; what will be sent is not.
        let entry = std::mem::take(&mut self.entries[conn as usize]);
        let first = self.layout.first_room(self.members.start + conn);
        for room in first..first + entry.answered {
            cx.board.members[room as usize].fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn answered(&mut self, cx: &mut Cx<'_>, answer: &Answer) {
        match &answer.status {
            Ok(200) => {}
            Ok(status) => cx.trouble(&format!("publishing was answered {status}")),
            Err(why) => cx.trouble(&format!("publishing: {why}")),
        }
    }

    fn is_narrow(&self, conn: u32) -> bool {
        self.is_slow(conn)
    }

    fn begin(&mut self, cx: &mut Cx<'_>, stretch: &Stretch) {
        let by_member = self.publish == Publish::Event && self.publishers == 0;
        let deaf_sender = u64::from(!self.talk.hears_itself() && by_member);
        for conn in 0..self.members.end - self.members.start {
            if self.is_slow(conn) {
                cx.deafen(conn);
            }
        }
        for (room, own) in self.rooms.clone().zip(&mut self.own) {
            let members = cx.board.members[room as usize].load(Ordering::Relaxed);
            own.receivers = u64::from(members).saturating_sub(deaf_sender);
        }
        let share = f64::from(self.rooms.end - self.rooms.start) / f64::from(self.layout.rooms);
        let shift = f64::from(self.lane) / f64::from(self.layout.lanes);
        self.turns.begin(stretch, stretch.rate.map(|rate| rate * share), shift);
    }

    fn due(&mut self, cx: &mut Cx<'_>) -> bool {
        let news = !self.spanning.is_empty() && self.exchange(cx);
        // What should have been sent by the end is sent, if after it.
        if self.turns.is_paced() && cx.has_begun() {
            return self.send_paced(cx) || news;
        }
        if !cx.may_send() {
            return news;
        }
        if self.turns.starts() || news {
            for room in self.rooms.clone() {
                self.fill(cx, room);
            }
            return true;
        }
        false
    }

    fn next_due(&self, now: Nanos) -> Option<Nanos> {
        let span = (!self.spanning.is_empty()).then_some(now + SPAN_LOOK);
        let due = self.turns.next_due();
        [span, due].into_iter().flatten().min()
    }

    fn owes_sends(&self) -> bool {
        self.turns.owes_sends()
    }

    fn finish(&mut self, cx: &mut Cx<'_>) {
        let (each, senders) = (self.layout.rooms_each as usize, self.layout.senders as usize);
        let by_member = self.publish == Publish::Event && self.publishers == 0;
        let skips_itself = by_member && !self.talk.hears_itself();
        for (index, pair) in self.pairs.iter_mut().enumerate() {
            let (conn, rest) = (index / (each * senders), index % (each * senders));
            let conn = u32::try_from(conn).unwrap_or(u32::MAX);
            if self.slow > 0
                && (self.members.start + conn) % self.layout.room_size
                    >= self.layout.room_size - self.slow
            {
                continue;
            }
            let member = self.members.start + conn;
            let room = self.layout.first_room(member) as usize + rest / senders;
            let sender = rest % senders;
            let place = room * senders + sender;
            let own_place = if self.layout.spans { conn } else { member % self.layout.room_size };
            let is_itself = skips_itself && own_place as usize == sender;
            if is_itself {
                continue;
            }
            pair.close(cx.board.sent[place].load(Ordering::Relaxed), &mut cx.meter.oracle);
        }
        self.turns.stop();
    }
}
