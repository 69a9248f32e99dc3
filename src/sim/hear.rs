//! What a client hears from the server's engine.

use super::client::{Alarm, Client, Ctx, Stage, Upgrade};
use super::link::Asked;
use super::wire::{Answer, Pkt, take_answer};
use crate::engineio::Revision;
use crate::ws;

impl Client {
    /// The client has read more from a connection.
    pub(super) fn hear(&mut self, id: usize, ctx: &mut Ctx<'_>) {
        loop {
            if ctx.links[id].life != self.life || matches!(self.stage, Stage::Away | Stage::Retired)
            {
                return;
            }
            let is_socket = self.ws == Some(id) || self.upgrade_link() == Some(id);
            if is_socket && ctx.links[id].asked.is_empty() {
                if !self.frame(id, ctx) {
                    break;
                }
                continue;
            }
            let Some(answer) = take_answer(&mut ctx.links[id].got) else { break };
            let Some(asked) = ctx.links[id].asked.pop_front() else {
                self.over(&format!("an answer to no request: {answer:?}"), ctx);
                return;
            };
            self.answer(id, asked, &answer, ctx);
        }
        self.go_on(ctx);
    }

    /// The far end has closed a connection.
    pub(super) fn hear_end(&mut self, id: usize, ctx: &mut Ctx<'_>) {
        ctx.links[id].close();
        if ctx.links[id].life != self.life || matches!(self.stage, Stage::Away | Stage::Retired) {
            return;
        }
        let owed = !ctx.links[id].asked.is_empty();
        if self.ws == Some(id) {
            self.socket_over(id, "the WebSocket ended", ctx);
        } else if self.upgrade_link() == Some(id) {
            let probed = matches!(self.upgrade, Upgrade::Pausing(_));
            let late = ctx.links[id].was_late(ctx.upgrade_timeout_ms);
            if !late && (probed || !self.habits.naughty) {
                self.over("the upgrade failed", ctx);
            }
            // Rule: engine.io: a failed upgrade leaves the polling session as it was.
            self.upgrade = Upgrade::No;
            let wait_ms = ctx.faults.below(300) as u64;
            self.alarm(Alarm::Upgrade, wait_ms, ctx);
        } else if owed {
            self.over("a request was not answered", ctx);
        }
        self.forget_line(id);
        self.go_on(ctx);
    }

    fn answer(&mut self, id: usize, asked: Asked, answer: &Answer, ctx: &mut Ctx<'_>) {
        let done = !answer.keep_alive && answer.status != 101 || ctx.faults.below(12) == 0;
        if done && ctx.links[id].asked.is_empty() && asked != Asked::Socket {
            ctx.links[id].close();
            self.forget_line(id);
        }
        match (asked, answer.status) {
            (Asked::Nothing, 400 | 404 | 202) | (Asked::Socket, 101) => {
                if asked == Asked::Socket && self.upgrade_link() == Some(id) {
                    self.send_probe(id, ctx);
                }
            }
            (Asked::Open, 200) => self.payload(answer, ctx),
            (Asked::Poll, 200) => {
                self.polls = false;
                self.payload(answer, ctx);
            }
            (Asked::Post, 200) if answer.body == b"ok" => self.posting = false,
            (Asked::Socket, _) if self.upgrade_link() == Some(id) => {
                self.upgrade = Upgrade::No;
                ctx.links[id].close();
                self.over(&format!("no upgrade: {answer:?}"), ctx);
            }
            _ => self.over(&format!("{asked:?} was answered with {answer:?}"), ctx),
        }
    }

    fn payload(&mut self, answer: &Answer, ctx: &mut Ctx<'_>) {
        let packets = match self.habits.dialect.split(&answer.body, answer.octets) {
            Ok(packets) => packets,
            Err(what) => self.wrong(&what),
        };
        let last = packets.len();
        for (at, packet) in packets.into_iter().enumerate() {
            let closes = packet == Pkt::Text(String::from("1"));
            if closes && at + 1 < last {
                self.wrong("packets follow a close packet");
            }
            self.incoming(packet, ctx);
        }
    }

    /// Takes the next frame out of what was read from a WebSocket.
    fn frame(&mut self, id: usize, ctx: &mut Ctx<'_>) -> bool {
        let got = &ctx.links[id].got;
        let frame = match ws::read_server_frame(got) {
            Ok(Some(frame)) => frame,
            Ok(None) => return false,
            Err(why) => self.wrong(&format!("a bad frame: {why:?}")),
        };
        let (kind, fin, consumed) = (frame.kind, frame.fin, frame.consumed);
        let payload = frame.payload.to_vec();
        if !fin {
            self.wrong("a message in parts");
        }
        ctx.links[id].got.drain(..consumed);
        if self.upgrade_link() == Some(id) {
            let probed = kind == ws::Kind::Text && payload == b"3probe";
            match kind {
                _ if probed => self.upgrade = Upgrade::Pausing(id),
                ws::Kind::Close => {}
                _ => self.wrong(&format!("{kind:?} {payload:?} instead of a probe")),
            }
            return true;
        }
        match kind {
            ws::Kind::Text => {
                let text = String::from_utf8(payload);
                let Ok(text) = text else { self.wrong("text that is not UTF-8") };
                self.incoming(Pkt::Text(text), ctx);
            }
            ws::Kind::Binary if self.habits.dialect.revision == Revision::V3 => {
                match payload.split_first() {
                    Some((4, data)) => self.incoming(Pkt::Binary(data.to_vec()), ctx),
                    _ => self.wrong("binary without its kind"),
                }
            }
            ws::Kind::Binary => self.incoming(Pkt::Binary(payload), ctx),
            ws::Kind::Pong if payload == b"between" && self.ws_pings > 0 => self.ws_pings -= 1,
            ws::Kind::Close => {
                if !ctx.links[id].got.is_empty() {
                    self.wrong("bytes follow a close frame");
                }
                self.socket_over(id, &format!("a close frame: {payload:?}"), ctx);
            }
            _ if self.doomed => {}
            _ => self.wrong(&format!("a frame of kind {kind:?}")),
        }
        true
    }

    /// The WebSocket of the session is over. If the move to it took longer than a move may, the
    /// server has given it up with the `5` still under way, and knows the session as one that
    /// polls, until a deadline of its own.
    fn socket_over(&mut self, id: usize, why: &str, ctx: &mut Ctx<'_>) {
        if ctx.links[id].was_late(ctx.upgrade_timeout_ms) {
            self.user.vanishes(ctx.desk.ledger);
            self.end(ctx);
        } else {
            self.over(why, ctx);
        }
    }

    /// One engine packet arrived.
    fn incoming(&mut self, packet: Pkt, ctx: &mut Ctx<'_>) {
        if matches!(self.stage, Stage::Away | Stage::Retired) {
            self.wrong(&format!("{packet:?} follows the end"));
        }
        let outcome = match packet {
            Pkt::Binary(data) => self.user.binary(data, &mut ctx.desk),
            Pkt::Text(text) => match (text.as_bytes().first(), self.stage) {
                (Some(b'4'), _) => self.user.text(&text[1..], &mut ctx.desk),
                (Some(b'0'), Stage::Opening) => {
                    self.opened(&text[1..], ctx);
                    Ok(())
                }
                (Some(b'0'), Stage::Leaving) => Ok(()),
                (Some(b'2'), _) if self.habits.dialect.revision == Revision::V4 => {
                    if !self.mute && self.stage == Stage::Open {
                        self.out.push_back(Pkt::Text(String::from("3")));
                    }
                    Ok(())
                }
                (Some(b'3'), _) if self.habits.dialect.revision == Revision::V3 => Ok(()),
                (Some(b'6'), _) => Ok(()),
                (Some(b'1'), _) => {
                    self.over("a close packet", ctx);
                    return;
                }
                _ => Err(format!("an engine packet that must not be: {text}")),
            },
        };
        if let Err(what) = outcome
            && !self.doomed
        {
            self.wrong(&what);
        }
        let new = std::mem::take(&mut self.user.out);
        if self.stage == Stage::Open {
            self.out.extend(new);
        }
    }

    fn opened(&mut self, json: &str, ctx: &mut Ctx<'_>) {
        let open: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
        let Some(sid) = open["sid"].as_str() else { self.wrong("no sid in the open packet") };
        sid.clone_into(&mut self.sid);
        self.stage = Stage::Open;
        self.user.open(&self.sid, ctx.desk.ledger);
        if self.polling && self.habits.upgrades {
            let wait_ms = ctx.desk.work.below(400) as u64;
            self.alarm(Alarm::Upgrade, wait_ms, ctx);
        }
        if self.habits.dialect.revision == Revision::V3 {
            self.alarm(Alarm::Ping, ctx.ping_interval_ms / 2, ctx);
        }
    }
}
