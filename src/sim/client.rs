//! A client's engine half: requests, the WebSocket, the upgrade between them, and all the ways
//! in which clients come and go.

use std::collections::VecDeque;

use super::link::{Asked, Link};
use super::user::{Desk, User};
use super::wire::{Dialect, Pkt, Request};
use crate::base::{CoreId, Id20, Micros, Rng};
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
    pub(super) index: usize,
    pub(super) habits: Habits,
    pub(super) stage: Stage,
    pub(super) life: u32,
    pub(super) sid: String,
    pub(super) polling: bool,
    pub(super) get: Option<usize>,
    pub(super) post: Option<usize>,
    pub(super) ws: Option<usize>,
    pub(super) polls: bool,
    pub(super) poll_later: bool,
    pub(super) posting: bool,
    pub(super) upgrade: Upgrade,
    /// It does not answer pings.
    pub(super) mute: bool,
    /// It has broken a rule; what it hears need not make sense any more.
    pub(super) doomed: bool,
    pub(super) alarms: Vec<(Micros, u32, Alarm)>,
    pub(super) out: VecDeque<Pkt>,
    /// WebSocket pings that are not answered yet.
    pub(super) ws_pings: usize,
    pub(super) user: User,
}

/// What a client may touch.
pub(super) struct Ctx<'a> {
    pub(super) desk: Desk<'a>,
    pub(super) links: &'a mut Vec<Link>,
    pub(super) cores: usize,
    pub(super) kernel_bytes: usize,
    pub(super) faults: &'a mut Rng,
    pub(super) ping_interval_ms: u64,
    pub(super) upgrade_timeout_ms: u64,
    /// The server may cut anybody.
    pub(super) tight: bool,
}

/// A request that the admin core answers.
const REST: &[u8] =
    b"POST /api/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n{\"to\":\"all\"}";

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
        ctx.links.push(Link::new(self.index, self.life, core, ctx.kernel_bytes));
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

    /// A request for something else: a path that does not exist, REST, a session of some core.
    fn nonsense(&self, chance: &mut Rng, cores: usize) -> Vec<u8> {
        match chance.below(4) {
            0 => return b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            1 => return REST.to_vec(),
            _ => {}
        }
        let core = CoreId::from_index(chance.below(cores));
        let bytes = chance.bytes(15).try_into().expect("15 were drawn");
        let id = Id20::new(core, bytes).to_string();
        Request { sid: &id, ..self.request(false) }.bytes()
    }

    pub(super) fn forget_line(&mut self, id: usize) {
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

    /// The session is over by the server's doing; is that in order?
    pub(super) fn over(&mut self, why: &str, ctx: &mut Ctx<'_>) {
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

    pub(super) fn send_probe(&mut self, id: usize, ctx: &mut Ctx<'_>) {
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

    /// Does something: as a user, or as what it is made of. Says what.
    pub(super) fn act(&mut self, ctx: &mut Ctx<'_>) -> &'static str {
        if self.stage != Stage::Open {
            return "nothing";
        }
        let what = match ctx.desk.work.below(60) {
            0 => {
                self.leave(ctx);
                "goes"
            }
            1..=4 if self.habits.naughty => {
                self.sin(ctx);
                "breaks a rule"
            }
            5 => {
                self.stall(ctx);
                "stops reading"
            }
            6..=8 if self.habits.naughty => {
                self.stall(ctx);
                "stops reading"
            }
            _ => {
                let what = self.user.act(&mut ctx.desk, ctx.tight, ctx.cores);
                self.out.extend(std::mem::take(&mut self.user.out));
                what
            }
        };
        self.go_on(ctx);
        what
    }
}
