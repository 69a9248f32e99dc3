//! How clients go, stall and break rules.

use super::client::{Alarm, Client, Ctx, Stage};
use super::link::Asked;
use super::wire::{Pkt, Request};
use crate::engineio::Revision;
use crate::ws;

/// Packets that no rule allows, or that come at the wrong time.
const NONSENSE: [&str; 24] = [
    "",
    "9",
    "4",
    "2",
    "0",
    "4x",
    "42",
    "42[",
    "42{}",
    "42[\"connect\"]",
    "43",
    "43abc[]",
    "4399[1]",
    "44{\"message\":\"no\"}",
    "40",
    "40/b,",
    "40{",
    "41/nowhere,",
    "42/nowhere,[\"x\"]",
    "40/nowhere,",
    "45",
    "451-[\"x\",{\"_placeholder\":true,\"num\":7}]",
    "b!!",
    "1",
];

impl Client {
    /// Goes, in one of all the ways in which clients do.
    pub(super) fn leave(&mut self, ctx: &mut Ctx<'_>) {
        self.user.goes(ctx.desk.ledger);
        self.stage = Stage::Leaving;
        let wait_ms = 5 + ctx.faults.below(200) as u64;
        self.alarm(Alarm::GiveUp, wait_ms, ctx);
        self.out.clear();
        if self.polling {
            self.user.vanishes(ctx.desk.ledger);
            self.leave_polling(ctx);
        } else {
            self.leave_socket(ctx);
        }
    }

    fn leave_socket(&mut self, ctx: &mut Ctx<'_>) {
        let Some(id) = self.ws else { return };
        let mut bytes = Vec::new();
        let mask = [1, 2, 3, 4];
        let way = ctx.faults.below(7);
        match way {
            0 | 1 => {
                if way == 1 {
                    ws::write_client_frame(&mut bytes, ws::Kind::Text, true, mask, b"41");
                }
                let code = 1000_u16.to_be_bytes();
                ws::write_client_frame(&mut bytes, ws::Kind::Close, true, mask, &code);
            }
            2 => ws::write_client_frame(&mut bytes, ws::Kind::Text, true, mask, b"1"),
            3 => {
                ws::write_client_frame(&mut bytes, ws::Kind::Text, true, mask, b"42[\"never\"]");
                bytes.truncate(1 + ctx.faults.below(bytes.len() - 1));
            }
            4 => ws::write_client_frame(&mut bytes, ws::Kind::Text, false, mask, b"42[\"nev"),
            _ => {}
        }
        let link = &mut ctx.links[id];
        link.up.extend_from_slice(&bytes);
        match way {
            0 | 1 => {}
            6 => {
                link.cut = true;
                self.user.vanishes(ctx.desk.ledger);
            }
            _ => link.close(),
        }
    }

    fn leave_polling(&mut self, ctx: &mut Ctx<'_>) {
        let lines = [self.get, self.post, self.upgrade_link()];
        let mut lines = lines.into_iter().flatten();
        match ctx.faults.below(5) {
            0 if !self.posting => self.post_packets(&[Pkt::Text(String::from("1"))], ctx),
            1 if !self.posting => {
                let packets = ["41", "1"].map(|text| Pkt::Text(text.to_owned()));
                self.post_packets(&packets, ctx);
            }
            // The end of the connection in the middle of a body.
            2 if !self.posting => {
                let request = self.half_a_post();
                let line = self.ask(ctx, self.post, Asked::Post, &request);
                lines.chain([line]).for_each(|line| ctx.links[line].close());
            }
            3 => lines.for_each(|line| ctx.links[line].cut = true),
            _ => lines.by_ref().for_each(|line| ctx.links[line].close()),
        }
    }

    fn half_a_post(&self) -> Vec<u8> {
        let body = Some((b"42[\"never\"]".as_slice(), false));
        let (dialect, sid) = (self.habits.dialect, &*self.sid);
        let mut bytes = Request { dialect, sid, websocket: false, body, chunked: false }.bytes();
        bytes.truncate(bytes.len() - 4);
        bytes
    }

    /// Reads nothing for a while; a long while may cost it its connection.
    pub(super) fn stall(&mut self, ctx: &mut Ctx<'_>) {
        let long = self.habits.naughty && ctx.faults.below(2) == 0;
        let stall_ms = if long { 1_000 + ctx.faults.below(5_000) } else { ctx.faults.below(600) };
        if long {
            self.user.doubt(ctx.desk.ledger);
        }
        let until = ctx.desk.now + stall_ms as u64 * 1_000;
        for line in [self.get, self.post, self.ws].into_iter().flatten() {
            ctx.links[line].slow_until = until;
        }
    }

    /// Breaks a rule. What the server makes of it is its business, as long as it stands.
    pub(super) fn sin(&mut self, ctx: &mut Ctx<'_>) {
        self.user.doubt(ctx.desk.ledger);
        match ctx.faults.below(6) {
            0 => {
                self.mute = true;
                return;
            }
            1 => {
                let noise = ctx.faults.bytes(60);
                let lines = [self.get, self.post, self.ws];
                if let Some(line) = lines.into_iter().flatten().next() {
                    ctx.links[line].up.extend_from_slice(&noise);
                }
            }
            2 if self.polling && self.polls => {
                // A second poll.
                let (dialect, sid) = (self.habits.dialect, &*self.sid);
                let poll = Request { dialect, sid, websocket: false, body: None, chunked: false };
                let request = poll.bytes();
                self.ask(ctx, None, Asked::Poll, &request);
            }
            // A second post while the first is on its way.
            4 if self.polling && !self.posting => {
                let request = self.half_a_post();
                self.ask(ctx, None, Asked::Post, &request);
                self.post_packets(&[Pkt::Text(String::from("3"))], ctx);
            }
            3 if self.polling && !self.posting => {
                let body = Some((b"\x00\x01\xff4".as_slice(), true));
                let (dialect, sid) = (self.habits.dialect, &*self.sid);
                let post = Request { dialect, sid, websocket: false, body, chunked: true };
                let request = post.bytes();
                self.posting = true;
                self.post = Some(self.ask(ctx, self.post, Asked::Post, &request));
            }
            _ => {
                for _ in 0..1 + ctx.faults.below(3) {
                    let text = NONSENSE[ctx.faults.below(NONSENSE.len())];
                    self.out.push_back(Pkt::Text(text.to_owned()));
                    if let Some(namespace) = ["40", "40/b,"].iter().position(|join| *join == text) {
                        // It may be let in, and does not listen any more.
                        let seat = ctx.desk.ledger.seat_asked(namespace, "");
                        ctx.desk.ledger.seat_vanishes(seat);
                    }
                }
                if self.habits.dialect.revision == Revision::V4 && ctx.faults.below(4) == 0 {
                    self.out.push_back(Pkt::Binary(ctx.faults.bytes(9)));
                }
            }
        }
        // Nobody knows what is still understood: it gives up if it is not thrown out.
        self.gives_up(ctx);
    }

    fn gives_up(&mut self, ctx: &mut Ctx<'_>) {
        self.go_on(ctx);
        self.doomed = true;
        let wait_ms = 300 + ctx.faults.below(500) as u64;
        self.alarm(Alarm::Doom, wait_ms, ctx);
    }
}
