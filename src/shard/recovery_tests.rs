//! Sessions that break off anywhere and are taken up anywhere: several cores whose messages to
//! each other are late, clients that lose what was on its way, a process that another replaces.

mod away;
mod one;
mod overlap;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;

use super::alone::Alone;
use super::history::Offset;
use super::message::{Completion, Gathered, MeshMsg};
use super::sibling::SiblingMsg;
use super::{Birth, Dispatch, Emit, RecoveryTerms, Settings, Shard, Step, Target};
use crate::base::{CoreId, Key, Limits, Rng};
use crate::seeds::run_seeds;
use crate::ws;

const UPGRADE: &str = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n\
    Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const ROOMS: [&str; 3] = ["a", "b", "c"];
/// Whoever is in it is spared by some events.
const SPARED: &str = "spared";

/// Of the offsets of each process.
const EPOCHS: [u64; 2] = [0xE, 0xF];
/// How far the second one's clock is ahead of the first one's.
const AHEAD_US: u64 = 7_000_000;

/// Where a client is, and what it has.
#[derive(Default)]
struct Client {
    /// Its core and connection, and whether it still looks at it.
    line: Option<(usize, Key)>,
    arriving: Vec<u8>,
    /// The core has closed it.
    is_closed: bool,
    is_open: bool,
    joined: bool,
    pid: Option<String>,
    sid: Option<String>,
    offset: Option<String>,
    /// Events that came before the answer to CONNECT.
    early: Vec<(u64, String)>,
    got: Vec<u64>,
    /// How much it had when it began anew, each time.
    anew_at: Vec<usize>,
    rooms: Vec<&'static str>,
    came_back: u32,
    lost: u32,
    /// The session that it was to lose for good.
    kicked: Option<String>,
}

struct World {
    /// Those of one process, then those of the one that replaces it.
    shards: Vec<Shard>,
    /// How many each process has.
    cores: usize,
    /// Shards that have clients and send: those of a process that has not begun have not.
    serving: usize,
    lanes: BTreeMap<(usize, usize), VecDeque<MeshMsg>>,
    /// Between the processes, to those that know of the other one.
    wires: BTreeMap<(usize, usize), VecDeque<Vec<u8>>>,
    knows: BTreeSet<usize>,
    /// Those whose first words are on their way, or have come.
    begun: BTreeSet<usize>,
    /// They do not hear each other any more.
    is_apart: bool,
    clients: Vec<Client>,
    rng: Rng,
    now_ms: u64,
    sent: Vec<(usize, Target, bool)>,
    /// Clients break off only when they are in.
    patient: bool,
}

impl World {
    fn new(seed: u64, cores: usize, limits: &Limits) -> Self {
        let shards = (0..2 * cores).map(|at| {
            let epoch = EPOCHS[at / cores];
            let terms = RecoveryTerms { epoch, window_ms: 120_000 };
            let settings =
                Settings { limits: *limits, recovery: Some(terms), ..Settings::default() };
            let mut ids = Rng::new(seed, at as u64);
            let birth = Birth {
                core: CoreId::from_index(at % cores),
                cores,
                hash_seed: seed,
                unix_base_ms: 0,
                interest: Rc::new(Alone),
                entropy: Box::new(move |bytes| bytes.fill_with(|| ids.draw().to_le_bytes()[0])),
            };
            Shard::new(Rc::new(settings), birth)
        });
        Self {
            shards: shards.collect(),
            cores,
            serving: cores,
            lanes: BTreeMap::new(),
            wires: BTreeMap::new(),
            knows: BTreeSet::new(),
            begun: BTreeSet::new(),
            is_apart: false,
            clients: Vec::new(),
            rng: Rng::new(seed, 0x5E),
            now_ms: 1,
            sent: Vec::new(),
            patient: seed.is_multiple_of(2),
        }
    }

    /// A core hears what time it is before it hears anything else.
    fn set_now(&mut self, core: usize) {
        let ahead_us = if core < self.cores { 0 } else { AHEAD_US };
        self.shards[core].set_now(self.now_ms * 1_000 + ahead_us);
    }

    fn say(&mut self, core: usize, conn: Key, mut bytes: Vec<u8>) {
        let mut used = 0;
        loop {
            match self.shards[core].next(conn, &mut bytes[used..]) {
                Step::Wait { .. } => break,
                Step::Run { consumed, dispatch } => {
                    used += consumed;
                    if let Dispatch::Connect { socket } = dispatch {
                        self.let_in(core, socket);
                    }
                }
                Step::Handover { .. } | Step::Forward { .. } => panic!("nobody asked for it"),
            }
        }
    }

    fn frame(&mut self, core: usize, conn: Key, packet: &str) {
        let mut bytes = Vec::new();
        ws::write_client_frame(&mut bytes, ws::Kind::Text, true, [1; 4], packet.as_bytes());
        self.say(core, conn, bytes);
    }

    /// The application: who is new joins its rooms.
    fn let_in(&mut self, core: usize, socket: Key) {
        let shard = &mut self.shards[core];
        if !shard.accept(socket) {
            return;
        }
        if !shard.is_recovered(socket) {
            let auth = shard.socket_auth(socket).expect("it has just come");
            for room in ROOMS.iter().chain([&SPARED]) {
                if auth.contains(&format!("\"{room}\"")) {
                    shard.join(socket, room).expect("there is room");
                }
            }
        }
    }

    fn connect(&mut self, at: usize) {
        let core = self.rng.below(self.serving);
        self.connect_to(at, core);
    }

    fn connect_to(&mut self, at: usize, core: usize) {
        self.set_now(core);
        let peer = SocketAddr::from(([127, 0, 0, 1], 9));
        let conn = self.shards[core].open_conn(peer).expect("there is room");
        let client = &mut self.clients[at];
        client.line = Some((core, conn));
        (client.is_open, client.is_closed, client.joined) = (false, false, false);
        client.arriving.clear();
        client.early.clear();
        let rooms = client.rooms.clone();
        let mut auth = serde_json::json!({ "rooms": rooms });
        if let Some(pid) = &client.pid {
            auth["pid"] = pid.as_str().into();
            if let Some(offset) = &client.offset {
                auth["offset"] = offset.as_str().into();
            }
        }
        self.say(core, conn, UPGRADE.as_bytes().to_vec());
        self.frame(core, conn, &format!("40{auth}"));
    }

    /// A core's tick: what is written is on its way to clients, messages are on their way too.
    fn tick(&mut self, core: usize) {
        self.now_ms += 1;
        self.set_now(core);
        self.shards[core].handle_timeout();
        while let Some(completion) = self.shards[core].take_completion() {
            match completion {
                Completion::Connect { socket } => self.let_in(core, socket),
                Completion::Gather(done, found) => done(found),
                _ => {}
            }
        }
        let shard = &mut self.shards[core];
        while shard.take_log().is_some() {}
        while let Some(conn) = shard.take_dirty() {
            let (mut out, mut is_closed) = (Vec::new(), shard.is_aborted(conn));
            if is_closed {
                shard.handle_eof(conn);
            } else {
                let fill = shard.fill(conn, &mut out, 1 << 20);
                assert!(!fill.more, "a megabyte is enough");
                is_closed = fill.shut;
            }
            let is_his = |client: &&mut Client| client.line == Some((core, conn));
            if let Some(client) = self.clients.iter_mut().find(is_his) {
                client.arriving.extend_from_slice(&out);
                client.is_closed |= is_closed;
            }
        }
        let process = core / self.cores * self.cores;
        for to in process..process + self.cores {
            if to != core {
                let batch = self.shards[core].take_mesh(CoreId::from_index(to - process));
                self.lanes.entry((core, to)).or_default().extend(batch);
            }
        }
        let other = self.cores - process;
        for message in self.shards[core].take_sibling() {
            self.begun.insert(core);
            let mut bytes = Vec::new();
            assert!(message.pack(&mut bytes), "every message can be packed");
            for to in other..other + self.cores {
                if message.core().is_none_or(|core| core.index() == to - other) {
                    self.wires.entry((core, to)).or_default().push_back(bytes.clone());
                }
            }
        }
        let shard = &self.shards[core];
        shard.check();
        shard.check_bill(&shard.settings.limits);
    }

    fn deliver(&mut self, from: usize, to: usize) {
        self.set_now(to);
        if let Some(message) = self.lanes.entry((from, to)).or_default().pop_front() {
            self.shards[to].handle_mesh(message);
        }
        if self.knows.contains(&to)
            && let Some(bytes) = self.wires.entry((from, to)).or_default().pop_front()
        {
            let message = SiblingMsg::unpack(&bytes).expect("it reads as it was packed");
            self.shards[to].handle_sibling(message);
        }
    }

    /// A client takes some of what has arrived.
    fn read(&mut self, at: usize, bytes: usize) {
        let client = &mut self.clients[at];
        let mut text = client.arriving[..bytes.min(client.arriving.len())].to_vec();
        let mut used = 0;
        if !client.is_open {
            let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") else { return };
            client.is_open = true;
            used = end + 4;
        }
        while let Some((packet, len)) = whole_frame(&mut text[used..]) {
            used += len;
            client.hear(&packet);
        }
        client.arriving.drain(..used);
        if client.is_closed && client.arriving.is_empty() {
            self.cut(at, true);
        }
    }

    /// The line breaks: what was on its way is lost. The core hears of it now, or later.
    fn cut(&mut self, at: usize, is_told: bool) {
        let Some((core, conn)) = self.clients[at].line.take() else { return };
        if is_told {
            self.shards[core].handle_eof(conn);
        }
    }

    fn emit(&mut self) {
        let core = self.rng.below(self.serving);
        let mut target = Target::default();
        for room in ROOMS {
            if self.rng.below(3) == 0 {
                target.rooms.push(room.into());
            }
        }
        if self.rng.below(4) == 0 {
            target.except.push(SPARED.into());
        }
        let volatile = self.rng.below(5) == 0;
        let number = self.sent.len();
        self.sent.push((core, target.clone(), volatile));
        let args = format!("{number}");
        let emit = Emit { name: "m", args: &args, attachments: &[], volatile };
        let counts: Option<Box<dyn FnOnce(Gathered)>> =
            if self.rng.below(4) == 0 { Some(Box::new(|_| ())) } else { None };
        self.shards[core].broadcast("/", target, &emit, false, counts);
    }

    fn step(&mut self) {
        let cores = self.shards.len();
        let at = self.rng.below(self.clients.len());
        match self.rng.below(12) {
            0..3 => self.emit(),
            3..6 => {
                let core = self.rng.below(cores);
                self.tick(core);
            }
            6..9 => {
                let (from, to) = (self.rng.below(cores), self.rng.below(cores));
                self.deliver(from, to);
            }
            9..11 => {
                let bytes = self.rng.below(self.clients[at].arriving.len() + 1);
                self.read(at, bytes);
            }
            _ => {
                let is_told = self.rng.below(2) == 0;
                let client = &self.clients[at];
                if client.line.is_some() {
                    if client.joined || !self.patient {
                        self.cut(at, is_told);
                    }
                } else {
                    self.connect(at);
                }
            }
        }
    }

    /// Everything arrives that is on its way.
    fn settle(&mut self) {
        for _ in 0..6 {
            for core in 0..self.shards.len() {
                self.tick(core);
            }
            for from in 0..self.shards.len() {
                for to in 0..self.shards.len() {
                    while self.lanes.get(&(from, to)).is_some_and(|lane| !lane.is_empty())
                        || self.wires.get(&(from, to)).is_some_and(|wire| !wire.is_empty())
                    {
                        self.deliver(from, to);
                    }
                }
            }
        }
        for at in 0..self.clients.len() {
            self.read(at, usize::MAX);
        }
    }
}

impl Client {
    fn hear(&mut self, packet: &str) {
        if let Some(event) = packet.strip_prefix("42") {
            let (_, number, offset): (String, u64, String) =
                serde_json::from_str(event).expect("an event with its offset");
            assert!(Offset::parse(&offset).is_some(), "{offset}");
            if self.joined {
                self.take(number, offset);
            } else {
                self.early.push((number, offset));
            }
        } else if let Some(connect) = packet.strip_prefix("40") {
            let told: serde_json::Value = serde_json::from_str(connect).expect("JSON");
            let (sid, pid) = (told["sid"].as_str(), told["pid"].as_str());
            let recovered = self.pid.is_some() && self.pid.as_deref() == pid;
            if recovered {
                assert_eq!(self.sid.as_deref(), sid, "its id is what it was");
                self.came_back += 1;
            } else {
                assert!(self.early.is_empty(), "a new session has missed nothing");
                self.lost += u32::from(self.pid.is_some());
                self.anew_at.push(self.got.len());
                self.offset = None;
            }
            (self.sid, self.pid) = (sid.map(String::from), pid.map(String::from));
            self.joined = true;
            for (number, offset) in std::mem::take(&mut self.early) {
                self.take(number, offset);
            }
        } else if packet == "41" {
            self.is_closed = true;
        }
    }

    fn take(&mut self, number: u64, offset: String) {
        self.got.push(number);
        self.offset = Some(offset);
    }

    fn is_meant(&self, target: &Target) -> bool {
        let is_in = |room: &str| self.rooms.contains(&room);
        (target.rooms.is_empty() || target.rooms.iter().any(|room| is_in(room)))
            && !target.except.iter().any(|room| is_in(room))
    }
}

/// The text of the first frame, if it is all there, and the frame's length.
fn whole_frame(bytes: &mut [u8]) -> Option<(String, usize)> {
    let (&first, rest) = bytes.split_first()?;
    let (len, head) = match *rest.first()? {
        126 => (usize::from(u16::from_be_bytes([*rest.get(1)?, *rest.get(2)?])), 4),
        len => (usize::from(len), 2),
    };
    let text = bytes.get(head..head + len)?;
    let text =
        if first == 0x81 { String::from_utf8_lossy(text).into_owned() } else { String::new() };
    Some((text, head + len))
}

/// Runs a seed, in which something happens midway; every client is there at the end.
fn play(seed: u64, midway: fn(&mut World)) -> World {
    let cores = 1 + usize::try_from(seed % 3).expect("small");
    let mut world = World::new(seed, cores, &Limits::DEFAULT);
    for _ in 0..4 {
        let mut rooms: Vec<&str> = ROOMS.into_iter().filter(|_| world.rng.below(2) == 0).collect();
        if world.rng.below(3) == 0 {
            rooms.push(SPARED);
        }
        world.clients.push(Client { rooms, ..Client::default() });
    }
    for at in 0..world.clients.len() {
        world.connect(at);
    }
    world.settle();
    assert!(world.clients.iter().all(|client| client.joined));
    midway(&mut world);
    for _ in 0..400 {
        world.step();
    }
    world.settle();
    while let Some(at) = world.clients.iter().position(|client| client.line.is_none()) {
        world.connect(at);
        world.settle();
    }
    world
}

/// The same; and each client has had what was meant for it, each event once.
fn run(seed: u64, midway: fn(&mut World)) -> (u32, u32) {
    let (world, mut sums) = (play(seed, midway), (0, 0));
    for (at, client) in world.clients.iter().enumerate() {
        assert!(client.joined, "seed {seed}: client {at} is not back");
        check(seed, &world, client);
        sums.0 += client.came_back;
        sums.1 += client.lost;
    }
    sums
}

fn check(seed: u64, world: &World, client: &Client) {
    let mut last: BTreeMap<usize, u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (at, number) in client.got.iter().enumerate() {
        if world.is_apart && client.anew_at.contains(&at) {
            // What was under way when the two lost each other may have come to one core and not to
            // the next. A session that begins there gets it late, and its client may have had it in
            // the one that it lost.
            last.clear();
            seen.clear();
        }
        let (origin, target, _) = &world.sent[usize::try_from(*number).expect("small")];
        assert!(client.is_meant(target), "seed {seed}: {number} was not for it");
        assert!(seen.insert(*number), "seed {seed}: {number} came twice");
        let before = last.insert(*origin, *number);
        assert!(before.is_none_or(|before| before < *number), "seed {seed}: order of {origin}");
    }
    if client.lost == 0 && !world.is_apart {
        for (number, (_, target, volatile)) in (0_u64..).zip(&world.sent) {
            let due = client.is_meant(target) && !volatile;
            assert!(!due || seen.contains(&number), "seed {seed}: {number} is lost");
        }
    }
}

#[test]
fn whoever_breaks_off_wherever_and_comes_back_anywhere_gets_each_event_once() {
    let (mut came_back, mut lost) = (0, 0);
    let are_fixed = run_seeds(300, |seed| {
        let (back, anew) = run(seed, |_| ());
        // Who is in before breaking off again never loses a session. Who is not may: it is on its
        // way from core to core when its client asks a third one, and the client knows.
        assert!(anew == 0 || seed % 2 == 1 && seed % 3 > 0, "seed {seed}: {anew} began anew");
        came_back += back;
        lost += anew;
    });
    let held = came_back > 2_000 && lost * 10 < came_back;
    assert!(held || !are_fixed, "{came_back} came back, {lost} did not");
}

#[test]
fn an_offset_reads_as_it_was_written_and_nothing_else_does() {
    let offset = Offset { epoch: 0xAB, origin: CoreId(3), seq: 17 };
    assert_eq!(offset.to_string(), "ab-3-11");
    assert_eq!(Offset::parse("ab-3-11"), Some(offset));
    for text in ["", "ab-3", "AB-3-11", "ab-03-11", "ab-3-11-", "ab-3-+1", "ab-100-1", "hello"] {
        assert_eq!(Offset::parse(text), None, "{text}");
    }
}
