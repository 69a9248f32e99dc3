//! A client's engine half: requests, the WebSocket, the upgrade between them, and all the ways
//! in which clients come and go.

use std::collections::VecDeque;

use super::link::{Asked, Link};
use super::user::{Desk, User};
use super::wire::{Answer, Dialect, Pkt, Request, take_answer};
use crate::base::{CoreId, Id20, Micros, Rng};
use crate::engineio::Revision;
use crate::ws;

/// What a client is like; drawn once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    pub(super) dialect: Dialect,
    /// It begins with polling.
    pub(super) polling: bool,
    /// It moves on to WebSocket.
    pub(super) upgrades: bool,
    /// It breaks rules, stalls and vanishes.
    pub(super) naughty: bool,
    /// How often it comes.
    pub(super) lives: u32,
}

/// Where a client is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Away,
    Opening,
    Open,
    /// It has said or shown that it goes, and waits for the far end.
    Leaving,
    Retired,
}

/// A change of transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upgrade {
    No,
    /// The request for a WebSocket, and then the probe, are under way.
    Asked(usize),
    /// Probed: once no request is under way, it moves.
    Pausing(usize),
    Done,
}

/// Something a client does later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alarm {
    Come,
    Poll,
    Upgrade,
    GiveUp,
    Ping,
    Doom,
}

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    index: usize,
    pub(super) habits: Habits,
    pub(super) stage: Stage,
    pub(super) life: u32,
    pub(super) sid: String,
    pub(super) polling: bool,
    pub(super) get: Option<usize>,
    pub(super) post: Option<usize>,
    pub(super) ws: Option<usize>,
    pub(super) polls: bool,
    poll_later: bool,
    pub(super) posting: bool,
    pub(super) upgrade: Upgrade,
    /// It does not answer pings.
    pub(super) mute: bool,
    /// It has broken a rule; what it hears need not make sense any more.
    pub(super) doomed: bool,
    alarms: Vec<(Micros, u32, Alarm)>,
    pub(super) out: VecDeque<Pkt>,
    /// WebSocket pings that are not answered yet.
    ws_pings: usize,
    pub(super) user: User,
}

/// What a client may touch.
pub(super) struct Ctx<'a> {
    pub(super) desk: Desk<'a>,
    pub(super) links: &'a mut Vec<Link>,
    pub(super) cores: usize,
    pub(super) faults: &'a mut Rng,
    pub(super) ping_interval_ms: u64,
    /// The server may cut anybody.
    pub(super) tight: bool,
}

impl Client {
    pub(super) fn new(index: usize, habits: Habits) -> Self {
        Self {
            index,
            habits,
            stage: Stage::Away,
            life: 0,
            sid: String::new(),
            polling: habits.polling,
            get: None,
            post: None,
            ws: None,
            polls: false,
            poll_later: false,
            posting: false,
            upgrade: Upgrade::No,
            mute: false,
            doomed: false,
            alarms: vec![(0, 0, Alarm::Come)],
            out: VecDeque::new(),
            ws_pings: 0,
            user: User::new(habits.dialect, habits.naughty),
        }
    }

    /// The simulation ends here: the server did what it must not, or did not what it must.
    pub(super) fn wrong(&self, what: &str) -> ! {
        panic!("client {} in session {} ({:?}): {what}", self.index, self.life, self.habits);
    }

    /// When it does something next by itself.
    pub(super) fn due(&self) -> Option<Micros> {
        let mine = self.alarms.iter().filter(|(_, life, _)| *life == self.life);
        mine.map(|(at, ..)| *at).min()
    }

    pub(super) fn alarm(&mut self, alarm: Alarm, wait_ms: u64, ctx: &Ctx<'_>) {
        self.alarms.push((ctx.desk.now + wait_ms * 1_000, self.life, alarm));
    }

    /// Does what is due.
    pub(super) fn fire(&mut self, ctx: &mut Ctx<'_>) {
        let life = self.life;
        self.alarms.retain(|(_, owner, _)| *owner == life);
        let due = self.alarms.iter().position(|(at, ..)| *at <= ctx.desk.now);
        let Some(due) = due else { return };
        let (_, _, alarm) = self.alarms.swap_remove(due);
        match (alarm, self.stage) {
            (Alarm::Come, Stage::Away) => self.come(ctx),
            (Alarm::Poll, Stage::Open) => {
                self.poll_later = false;
                self.poll(ctx);
            }
            (Alarm::Upgrade, Stage::Open) => self.begin_upgrade(ctx),
            (Alarm::Ping, Stage::Open) => {
                if !self.mute {
                    self.out.push_back(Pkt::Text(String::from("2")));
                }
                self.alarm(Alarm::Ping, ctx.ping_interval_ms * 2 / 3, ctx);
            }
            (Alarm::GiveUp, Stage::Leaving) => self.end(ctx),
            (Alarm::Doom, Stage::Open) => self.leave(ctx),
            _ => {}
        }
        self.go_on(ctx);
    }

    fn request(&self, websocket: bool) -> Request<'_> {
        let (dialect, sid) = (self.habits.dialect, &*self.sid);
        Request { dialect, sid, websocket, body: None, chunked: false }
    }

    pub(super) fn open_link(&self, ctx: &mut Ctx<'_>) -> usize {
        let core = ctx.faults.below(ctx.cores);
        ctx.links.push(Link::new(self.index, self.life, core));
        ctx.links.len() - 1
    }

    fn come(&mut self, ctx: &mut Ctx<'_>) {
        let naughty = self.habits.naughty;
        let alarms = Vec::new();
        *self = Self { life: self.life + 1, alarms, ..Self::new(self.index, self.habits) };
        self.user.lazy = naughty && ctx.desk.work.below(2) == 0;
        self.stage = Stage::Opening;
        self.user.begin(ctx.desk.ledger);
        if ctx.tight {
            self.user.doubt(ctx.desk.ledger);
        }
        let request = self.request(!self.polling).bytes();
        if self.polling {
            self.get = Some(self.ask(ctx, None, Asked::Open, &request));
        } else {
            self.ws = Some(self.ask(ctx, None, Asked::Socket, &request));
        }
    }

    /// Sends a request on `line` or a new connection; now and then behind another request.
    pub(super) fn ask(
        &self,
        ctx: &mut Ctx<'_>,
        line: Option<usize>,
        asked: Asked,
        request: &[u8],
    ) -> usize {
        let line = line.unwrap_or_else(|| self.open_link(ctx));
        if ctx.faults.below(6) == 0 {
            ctx.links[line].up.extend_from_slice(&self.nonsense(ctx.faults, ctx.cores));
            ctx.links[line].asked.push_back(Asked::Nothing);
        }
        ctx.links[line].up.extend_from_slice(request);
        ctx.links[line].asked.push_back(asked);
        line
    }

    /// A request for what does not exist: a path, or a session of some core.
    fn nonsense(&self, chance: &mut Rng, cores: usize) -> Vec<u8> {
        if chance.below(2) == 0 {
            return b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
        }
        let core = CoreId::from_index(chance.below(cores));
        let bytes = chance.bytes(15).try_into().expect("15 were drawn");
        let id = Id20::new(core, bytes).to_string();
        Request { sid: &id, ..self.request(false) }.bytes()
    }

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
            self.over("the WebSocket ended", ctx);
        } else if self.upgrade_link() == Some(id) {
            if matches!(self.upgrade, Upgrade::Pausing(_)) || !self.habits.naughty {
                self.over("the upgrade failed", ctx);
            }
            self.upgrade = Upgrade::No;
        } else if owed {
            self.over("a request was not answered", ctx);
        }
        self.forget_line(id);
        self.go_on(ctx);
    }

    fn forget_line(&mut self, id: usize) {
        for line in [&mut self.get, &mut self.post] {
            if *line == Some(id) {
                *line = None;
            }
        }
    }

    pub(super) fn upgrade_link(&self) -> Option<usize> {
        match self.upgrade {
            Upgrade::Asked(link) | Upgrade::Pausing(link) => Some(link),
            Upgrade::No | Upgrade::Done => None,
        }
    }

    fn answer(&mut self, id: usize, asked: Asked, answer: &Answer, ctx: &mut Ctx<'_>) {
        let done = !answer.keep_alive && answer.status != 101 || ctx.faults.below(12) == 0;
        if done && ctx.links[id].asked.is_empty() && asked != Asked::Socket {
            ctx.links[id].close();
            self.forget_line(id);
        }
        match (asked, answer.status) {
            (Asked::Nothing, 400 | 404) | (Asked::Socket, 101) => {
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
                self.over(&format!("a close frame: {payload:?}"), ctx);
            }
            _ if self.doomed => {}
            _ => self.wrong(&format!("a frame of kind {kind:?}")),
        }
        true
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

    /// The session is over by the server's doing; is that in order?
    fn over(&mut self, why: &str, ctx: &mut Ctx<'_>) {
        if !self.user.excused && self.stage != Stage::Leaving {
            self.wrong(why);
        }
        if self.polling {
            // An answer that makes no sense need not mean that the session is gone.
            self.user.vanishes(ctx.desk.ledger);
        }
        self.end(ctx);
    }

    /// Closes everything; comes back later if it has lives left.
    pub(super) fn end(&mut self, ctx: &mut Ctx<'_>) {
        self.user.gone(ctx.desk.ledger);
        for link in ctx.links.iter_mut().filter(|link| link.client == self.index) {
            link.close();
        }
        self.out.clear();
        self.upgrade = Upgrade::No;
        (self.get, self.post, self.ws) = (None, None, None);
        if self.life < self.habits.lives {
            self.stage = Stage::Away;
            let wait_ms = 20 + ctx.desk.work.below(700) as u64;
            self.alarm(Alarm::Come, wait_ms, ctx);
        } else {
            self.stage = Stage::Retired;
        }
    }

    /// Polls, posts, moves to the new transport: whatever is next.
    pub(super) fn go_on(&mut self, ctx: &mut Ctx<'_>) {
        if self.stage != Stage::Open {
            return;
        }
        if !self.polling {
            self.send_frames(ctx);
            return;
        }
        if let Upgrade::Pausing(link) = self.upgrade {
            // Rule: engine.io-protocol v4, "Upgrade": the client pauses, then sends `5`.
            if !self.polls && !self.posting {
                self.out.push_front(Pkt::Text(String::from("5")));
                (self.polling, self.ws, self.upgrade) = (false, Some(link), Upgrade::Done);
                self.send_frames(ctx);
            }
            return;
        }
        if !self.polls && !self.poll_later {
            if ctx.faults.below(4) == 0 {
                self.poll_later = true;
                let wait_ms = 1 + ctx.faults.below(40) as u64;
                self.alarm(Alarm::Poll, wait_ms, ctx);
            } else {
                self.poll(ctx);
            }
        }
        if !self.posting && !self.out.is_empty() {
            let count = 1 + ctx.faults.below(12);
            let packets: Vec<Pkt> = (0..count).map_while(|_| self.out.pop_front()).collect();
            self.post_packets(&packets, ctx);
        }
    }

    fn poll(&mut self, ctx: &mut Ctx<'_>) {
        if self.polls || !self.polling || matches!(self.upgrade, Upgrade::Pausing(_)) {
            return;
        }
        self.polls = true;
        let request = self.request(false).bytes();
        self.get = Some(self.ask(ctx, self.get, Asked::Poll, &request));
    }

    pub(super) fn post_packets(&mut self, packets: &[Pkt], ctx: &mut Ctx<'_>) {
        let (body, octets) = self.habits.dialect.body(packets, ctx.faults.below(2) == 0);
        let chunked = ctx.faults.below(3) == 0;
        let body = Some((&*body, octets));
        let request = Request { body, chunked, ..self.request(false) }.bytes();
        self.posting = true;
        self.post = Some(self.ask(ctx, self.post, Asked::Post, &request));
    }

    pub(super) fn send_frames(&mut self, ctx: &mut Ctx<'_>) {
        let Some(id) = self.ws else { return };
        while let Some(packet) = self.out.pop_front() {
            let up = &mut ctx.links[id].up;
            let pinged = self.habits.dialect.frames(up, &packet, ctx.faults);
            self.ws_pings += usize::from(pinged);
        }
    }

    fn begin_upgrade(&mut self, ctx: &mut Ctx<'_>) {
        if !self.polling || self.upgrade != Upgrade::No {
            return;
        }
        let request = self.request(true).bytes();
        self.upgrade = Upgrade::Asked(self.ask(ctx, None, Asked::Socket, &request));
    }

    fn send_probe(&mut self, id: usize, ctx: &mut Ctx<'_>) {
        let up = &mut ctx.links[id].up;
        let way = if self.habits.naughty { ctx.faults.below(6) } else { 5 };
        let text: &[u8] = match way {
            0 => b"4nonsense",
            // It says nothing; the server's patience ends.
            1 => return,
            2 => {
                ctx.links[id].close();
                self.upgrade = Upgrade::No;
                return;
            }
            _ => b"2probe",
        };
        ws::write_client_frame(up, ws::Kind::Text, true, [7, 0, 9, 255], text);
    }

    /// Whether nothing is under way that would change its state.
    pub(super) fn unsettled(&self) -> Option<String> {
        let state = || format!("client {}: {:?} {:?}", self.index, self.stage, self.upgrade);
        match self.stage {
            Stage::Opening | Stage::Leaving | Stage::Away => Some(state()),
            Stage::Retired => None,
            Stage::Open if self.mute || self.doomed => Some(state()),
            Stage::Open if self.upgrade_link().is_some() => Some(state()),
            Stage::Open if self.posting || self.poll_later || !self.out.is_empty() => Some(state()),
            Stage::Open if !self.user.excused && self.ws_pings > 0 => {
                Some(String::from("a WebSocket ping was not answered"))
            }
            Stage::Open => self.user.unsettled(),
        }
    }

    /// Whether it is where it can do something.
    pub(super) fn can_act(&self) -> bool {
        self.stage == Stage::Open && self.user.can_act()
    }

    /// Does something: as a user, or as what it is made of.
    pub(super) fn act(&mut self, ctx: &mut Ctx<'_>) {
        if self.stage != Stage::Open {
            return;
        }
        match ctx.desk.work.below(60) {
            0 => self.leave(ctx),
            1..=4 if self.habits.naughty => self.sin(ctx),
            5 => self.stall(ctx),
            6..=8 if self.habits.naughty => self.stall(ctx),
            _ => {
                self.user.act(&mut ctx.desk, ctx.tight, ctx.cores);
                self.out.extend(std::mem::take(&mut self.user.out));
            }
        }
        self.go_on(ctx);
    }
}
