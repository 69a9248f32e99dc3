//! Requests by event, answered by REST: `ai_request` in, relayed to the user's other socket,
//! `ai_response` by a REST call to the user's room, timed from the request to the answer.
//!
//! Every user has two sockets: an even one that asks and an odd one that stands for the back end.
//! Four things are owed for a request: its acknowledgement, the relay, and the answer at both.

use super::Load;
use super::pace::Turns;
use super::talk::{self, Talk, ack_id, is_event, is_refusal};
use crate::check::oracle::Pair;
use crate::check::token::Token;
use crate::clock::Nanos;
use crate::engine::meter::Timing;
use crate::engine::{Board, Cx, Stretch};
use crate::wire::helpers::{Answer, Call};

/// Requests sent in a row before input is looked at again.
const SENDS_IN_A_ROW: u32 = 64;
/// What is owed for a request.
const OWED: u64 = 4;

/// A user and its four streams of messages.
#[derive(Clone, Copy, Default)]
struct User {
    sent: u32,
    acks: Pair,
    relayed: Pair,
    answers: [Pair; 2],
}

/// Users of a lane.
pub(crate) struct Ai {
    talk: Talk,
    users: Vec<User>,
    first: u32,
    lane: u32,
    lanes: u32,
    outstanding: u32,
    turns: Turns,
}

impl Ai {
    pub(crate) fn new(board: &Board, lane: u32) -> Self {
        let members = board.layout.members_of(lane);
        Self {
            talk: Talk::new(&board.scenario, board.layout.rooms),
            users: vec![User::default(); members.len() / 2],
            first: members.start / 2,
            lane,
            lanes: board.layout.lanes,
            outstanding: board.scenario.outstanding,
            turns: Turns::default(),
        }
    }

    fn ask(&mut self, cx: &mut Cx<'_>, user: u32, time: Nanos) {
        let conn = user * 2;
        if !cx.is_up(conn) || !cx.is_up(conn + 1) {
            return;
        }
        let state = &mut self.users[user as usize];
        let token = Token { room: self.first + user, sender: 0, sequence: state.sent, time };
        state.sent += 1;
        cx.owe(OWED);
        cx.meter.sent(1);
        let number = cx.number(conn);
        cx.send(conn, self.talk.echo(&token, self.lane, number));
    }

    /// The token in a packet, if it belongs to this user.
    fn token(&self, packet: &[u8], user: u32) -> Option<Token> {
        let text = self.talk.to_self.find(packet, &mut 0);
        let token = text.and_then(|text| self.talk.to_self.read(text));
        token.filter(|token| token.room == self.first + user)
    }

    fn answer(&mut self, cx: &mut Cx<'_>, user: u32, token: &Token) {
        let body = self.talk.ai_response(token, &talk::user(self.lane, user));
        let since = cx.meter.now;
        let path = "/socket/rooms/message";
        cx.call(user, Call { path, body, tag: user, since });
    }
}

impl Load for Ai {
    fn up(&mut self, cx: &mut Cx<'_>, _conn: u32) {
        cx.ready();
    }

    fn packet(&mut self, cx: &mut Cx<'_>, conn: u32, packet: &[u8]) {
        let (user, is_back_end) = (conn / 2, conn % 2 == 1);
        let is_ack = ack_id(packet).is_some();
        let is_request = is_event(packet, b"ai_request");
        if !is_ack && !is_request && !is_event(packet, b"ai_response") {
            return;
        }
        cx.came();
        if is_ack && is_refusal(packet) {
            cx.trouble(&format!("ai_request refused: {}", String::from_utf8_lossy(packet)));
        }
        let Some(token) =
            self.token(packet, user).filter(|_| is_request == is_back_end || !is_request)
        else {
            cx.meter.oracle.corrupted += 1;
            return;
        };
        let state = &mut self.users[user as usize];
        let oracle = &mut cx.meter.oracle;
        if is_ack {
            state.acks.hear(token.sequence, oracle);
            cx.meter.operation(Timing::RoundTrip, token.time);
        } else if is_request {
            state.relayed.hear(token.sequence, oracle);
            self.answer(cx, user, &token);
        } else {
            state.answers[usize::from(is_back_end)].hear(token.sequence, oracle);
            if !is_back_end {
                cx.meter.operation(Timing::EndToEnd, token.time);
                if !self.turns.is_paced() && cx.may_send() {
                    self.ask(cx, user, cx.meter.now);
                }
            }
        }
    }

    fn answered(&mut self, cx: &mut Cx<'_>, answer: &Answer) {
        match &answer.status {
            Ok(200) => {}
            Ok(status) => cx.trouble(&format!("ai_response was answered {status}")),
            Err(why) => cx.trouble(&format!("ai_response: {why}")),
        }
    }

    fn begin(&mut self, _cx: &mut Cx<'_>, stretch: &Stretch) {
        let share = stretch.rate.map(|rate| rate / f64::from(self.lanes));
        self.turns.begin(stretch, share, f64::from(self.lane) / f64::from(self.lanes));
    }

    fn due(&mut self, cx: &mut Cx<'_>) -> bool {
        // What should have been sent by the end is sent, if after it.
        if !cx.has_begun() {
            return false;
        }
        let users = cx.count() / 2;
        if cx.may_send() && self.turns.starts() {
            for user in 0..users {
                for _ in 0..self.outstanding {
                    self.ask(cx, user, cx.meter.now);
                }
            }
            return true;
        }
        let mut sent = 0;
        while sent < SENDS_IN_A_ROW {
            let Some((at, user)) = self.turns.take(cx.meter.now, users) else {
                break;
            };
            self.ask(cx, user, at);
            sent += 1;
        }
        sent > 0
    }

    fn next_due(&self, _now: Nanos) -> Option<Nanos> {
        self.turns.next_due()
    }

    fn owes_sends(&self) -> bool {
        self.turns.owes_sends()
    }

    fn finish(&mut self, cx: &mut Cx<'_>) {
        let oracle = &mut cx.meter.oracle;
        for user in &mut self.users {
            let sent = user.sent;
            user.acks.close(sent, oracle);
            user.relayed.close(sent, oracle);
            user.answers.iter_mut().for_each(|pair| pair.close(sent, oracle));
        }
        self.turns.stop();
    }
}
