//! Hostile crowds against one core with small limits: whatever they do, no budget is passed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::alone::Alone;
use super::{
    AckOutcome, Birth, Dispatch, Emit, Ending, Settings, Shard, SocketError, Step, Target,
};
use crate::base::{CoreId, Key, Limits, Pressure, Rng, Strain};
use crate::ws;

pub(super) const UPGRADE: &str = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n\
    Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const POLLING: &str = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n";

/// A core and its host: what was not consumed, what the kernel did not take.
pub(super) struct Crowd {
    pub(super) shard: Shard,
    unread: BTreeMap<Key, Vec<u8>>,
    pub(super) unsent: BTreeSet<Key>,
    sockets: Vec<Key>,
    now_ms: u64,
    /// Whether the kernel takes what is written.
    pub(super) reads: bool,
    /// Those of whom it takes nothing even so.
    pub(super) deaf: BTreeSet<Key>,
    /// What it took of the others.
    pub(super) taken: BTreeMap<Key, Vec<u8>>,
}

impl Crowd {
    pub(super) fn new(limits: &Limits, pressure: &Arc<Pressure>) -> Self {
        let pressure = Arc::clone(pressure);
        Self::with(Settings { limits: *limits, pressure, ..Settings::default() })
    }

    pub(super) fn with(settings: Settings) -> Self {
        let mut ids = Rng::new(1, 2);
        let birth = Birth {
            core: CoreId(0),
            cores: 1,
            hash_seed: 3,
            unix_base_ms: 0,
            interest: Rc::new(Alone),
            entropy: Box::new(move |bytes| bytes.fill_with(|| ids.draw().to_le_bytes()[0])),
        };
        Self {
            shard: Shard::new(Rc::new(settings), birth),
            unread: BTreeMap::new(),
            unsent: BTreeSet::new(),
            sockets: Vec::new(),
            now_ms: 1,
            reads: false,
            deaf: BTreeSet::new(),
            taken: BTreeMap::new(),
        }
    }

    pub(super) fn connect(&mut self) -> Option<Key> {
        self.shard.open_conn(SocketAddr::from(([127, 0, 0, 1], 9)))
    }

    /// A client's bytes, as far as its connection is read.
    pub(super) fn say(&mut self, conn: Key, bytes: &[u8]) {
        let mut unread = self.unread.remove(&conn).unwrap_or_default();
        unread.extend_from_slice(bytes);
        let mut used = 0;
        loop {
            let dispatch = match self.shard.next(conn, &mut unread[used..]) {
                Step::Wait { consumed } => {
                    used += consumed;
                    break;
                }
                Step::Run { consumed, dispatch } => {
                    used += consumed;
                    if let Dispatch::Connect { socket } = dispatch { Some(socket) } else { None }
                }
                Step::Handover { .. } | Step::Forward { .. } => panic!("one core, no REST"),
            };
            if let Some(socket) = dispatch {
                assert!(self.shard.accept(socket));
                self.sockets.push(socket);
            }
        }
        unread.drain(..used);
        self.shard.note_partial(conn, unread.len());
        if !unread.is_empty() {
            self.unread.insert(conn, unread);
        }
    }

    pub(super) fn frame(&mut self, conn: Key, packet: &str) {
        let mut bytes = Vec::new();
        let kind = ws::Kind::Text;
        ws::write_client_frame(&mut bytes, kind, true, [1, 2, 3, 4], packet.as_bytes());
        self.say(conn, &bytes);
    }

    /// A client of `/` on a WebSocket; its socket, if it got in.
    pub(super) fn join(&mut self, auth: &str) -> Option<(Key, Key)> {
        self.join_with("", auth)
    }

    /// The same with these lines in its handshake.
    pub(super) fn join_with(&mut self, lines: &str, auth: &str) -> Option<(Key, Key)> {
        let conn = self.connect()?;
        self.say(conn, format!("{UPGRADE}{lines}\r\n").as_bytes());
        let before = self.sockets.len();
        self.frame(conn, &format!("40{auth}"));
        (self.sockets.len() > before).then(|| (conn, self.sockets[before]))
    }

    /// The end of a tick. Those that are given up go; what is written is taken, or not.
    pub(super) fn flush(&mut self) {
        while self.shard.take_completion().is_some() {}
        while self.shard.take_log().is_some() {}
        while let Some(key) = self.shard.take_dirty() {
            if self.shard.is_aborted(key) {
                self.unsent.remove(&key);
                self.unread.remove(&key);
                self.shard.handle_eof(key);
                continue;
            }
            if self.unsent.contains(&key) {
                continue;
            }
            let mut out = Vec::new();
            let fill = self.shard.fill(key, &mut out, 4_096);
            if self.reads && !self.deaf.contains(&key) {
                self.taken.entry(key).or_default().extend_from_slice(&out);
                if fill.more {
                    self.shard.handle_written(key);
                }
            } else if !out.is_empty() {
                self.unsent.insert(key);
                out.shrink_to_fit();
                self.shard.handle_blocked(key, out);
            }
        }
        for key in self.shard.take_resumed() {
            if self.shard.needs_step(key) {
                self.say(key, &[]);
            }
        }
        self.sockets.retain(|socket| self.shard.is_joined(*socket));
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        self.shard.set_now(self.now_ms * 1_000);
        self.shard.relieve_memory();
        self.shard.handle_timeout();
        self.flush();
    }

    pub(super) fn check(&self) {
        self.shard.check();
        self.shard.check_bill(&self.shard.settings().limits);
    }

    fn endings(&self, ending: Ending) -> u64 {
        self.shard.endings().get(ending as usize)
    }
}

/// Limits that a few dozen clients reach.
fn small() -> Limits {
    Limits {
        conns_max: 60,
        sessions_max: 18,
        opening_max: 12,
        unjoined_max: 10,
        sockets_max: 45,
        namespaces_max: 8,
        namespaces_per_conn_max: 4,
        kept_bytes_max: 12_000,
        rooms_bytes_max: 12_000,
        partials_bytes_max: 6_000,
        outbox_bytes_max: 14_000,
        outbox_soft_bytes: 3_500,
        outboxes_bytes_max: 70_000,
        acks_pending_max: 20,
        acks_max: 70,
        message_bytes_max: 2_000,
        packet_bytes_max: 4_000,
        ..Limits::DEFAULT
    }
}

pub(super) fn emit(args: &str) -> Emit<'_> {
    Emit { name: "e", args, attachments: &[], volatile: false }
}

/// One thing that somebody hostile, or the application in a busy moment, may do.
fn act(crowd: &mut Crowd, conns: &mut Vec<Key>, rng: &mut Rng) {
    let pick = |from: &[Key], rng: &mut Rng| {
        if from.is_empty() { None } else { Some(from[rng.below(from.len())]) }
    };
    let padding = "x".repeat(rng.below(700));
    match rng.below(16) {
        0 => conns.extend(crowd.connect()),
        1 => {
            if let Some(conn) = crowd.connect() {
                crowd.say(conn, format!("{POLLING}Pad: {padding}").as_bytes());
                conns.push(conn);
            }
        }
        2 => {
            if let Some(conn) = crowd.connect() {
                crowd.say(conn, format!("{UPGRADE}Pad: {padding}\r\n\r\n").as_bytes());
                conns.push(conn);
            }
        }
        3 => conns.extend(crowd.join(&format!("{{\"a\":\"{padding}\"}}")).map(|(conn, _)| conn)),
        4 => {
            if let Some(conn) = pick(conns, rng) {
                // Answers that nobody reads, as many as fit.
                crowd.say(conn, format!("{POLLING}Pad: {padding}\r\n\r\n").repeat(5).as_bytes());
            }
        }
        5 => {
            if let Some(conn) = pick(conns, rng) {
                crowd.frame(conn, &format!("40/room-{},", rng.below(14)));
            }
        }
        6 => {
            if let Some(conn) = pick(conns, rng) {
                let mut half = Vec::new();
                let kind = ws::Kind::Text;
                ws::write_client_frame(&mut half, kind, false, [1; 4], padding.as_bytes());
                crowd.say(conn, &half);
            }
        }
        7 | 8 => {
            if let Some(socket) = pick(&crowd.sockets, rng) {
                let name = format!("{}-{}", rng.below(30), "n".repeat(rng.below(200)));
                let joined = crowd.shard.join(socket, &name);
                assert!(!matches!(joined, Err(SocketError::BadName)));
            }
        }
        9 | 10 => {
            if let Some(socket) = pick(&crowd.sockets, rng) {
                let done = Box::new(|_: AckOutcome| ());
                for _ in 0..3 {
                    let _full = crowd.shard.emit_with_ack(socket, &emit("1"), 5_000, done.clone());
                }
            }
        }
        11 | 12 => {
            let args = format!("\"{}\"", padding.repeat(3));
            crowd.shard.broadcast("/", Target::default(), &emit(&args), true, None);
        }
        13 => crowd.flush(),
        14 => {
            let ms = rng.below(400) as u64;
            crowd.pass(ms);
        }
        _ => {
            if let Some(conn) = pick(conns, rng) {
                crowd.shard.handle_eof(conn);
                crowd.unread.remove(&conn);
                crowd.unsent.remove(&conn);
            }
        }
    }
    conns.retain(|conn| crowd.shard.peer(*conn).is_some());
}

#[test]
fn a_hostile_crowd_comes_to_the_end_of_each_budget_and_passes_none() {
    let limits = small();
    let mut most = [0; 8];
    let mut endings = BTreeSet::new();
    let mut refused = 0;
    for seed in 0..40 {
        let mut crowd = Crowd::new(&limits, &Arc::default());
        let (mut rng, mut conns) = (Rng::new(seed, 0x4E1D), Vec::new());
        for _ in 0..600 {
            act(&mut crowd, &mut conns, &mut rng);
            crowd.check();
            let counters = crowd.shard.counters();
            let levels = [
                counters.opening,
                counters.unjoined,
                counters.sessions,
                counters.namespaces,
                counters.kept_bytes,
                counters.rooms_bytes,
                counters.outbox_bytes + counters.answer_bytes,
                counters.acks_pending,
            ];
            for (most, level) in most.iter_mut().zip(levels) {
                *most = level.max(*most);
            }
        }
        refused += crowd.shard.counters().limits_hit;
        let seen = Ending::ALL.iter().filter(|ending| crowd.endings(**ending) > 0);
        endings.extend(seen.map(|ending| ending.label()));
        crowd.reads = true;
        crowd.pass(200_000);
        for conn in crowd.shard.conn_keys() {
            crowd.shard.handle_eof(conn);
        }
        crowd.pass(200_000);
        crowd.check();
        let left = crowd.shard.counters();
        assert_eq!((left.sessions, left.kept_bytes, left.rooms_bytes), (0, 0, 0), "seed {seed}");
        assert_eq!((left.outbox_bytes, left.answer_bytes, left.partial_bytes), (0, 0, 0));
    }
    let within = |level: u64, max: usize| level * 5 >= max as u64 * 4;
    let maxima = [
        limits.opening_max,
        limits.unjoined_max,
        limits.sessions_max,
        limits.namespaces_max,
        limits.kept_bytes_max,
        limits.rooms_bytes_max,
        limits.outboxes_bytes_max,
        limits.acks_max,
    ];
    for (at, (level, max)) in most.into_iter().zip(maxima).enumerate() {
        assert!(within(level, max), "budget {at}: {level} of {max}");
    }
    for ending in ["opening_full", "unjoined_full", "sessions_full", "core_full", "partials_full"] {
        assert!(endings.contains(ending), "nobody met {ending}: {endings:?}");
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn one_look_sheds_for_many_frames() {
    const CLIENTS: usize = 1_000;
    let limits = Limits {
        outboxes_bytes_max: 1 << 20,
        outbox_bytes_max: 64 << 10,
        opening_max: CLIENTS,
        unjoined_max: CLIENTS,
        ..Limits::DEFAULT
    };
    let mut crowd = Crowd::new(&limits, &Arc::default());
    for _ in 0..CLIENTS {
        assert!(crowd.join("").is_some());
    }
    crowd.reads = true;
    crowd.flush();
    crowd.reads = false;
    let before = crowd.shard.counters();
    let args = format!("\"{}\"", "x".repeat(100));
    let mut frames = 0_u64;
    // A frame for one after the other: all outboxes are small, and the core is full.
    while crowd.shard.counters().sheds < 4 {
        for at in 0..crowd.sockets.len() {
            frames += u64::from(crowd.shard.emit(crowd.sockets[at], &emit(&args)));
            assert!(crowd.shard.counters().outbox_bytes <= 1 << 20);
        }
    }
    let after = crowd.shard.counters();
    let cut = after.slow_consumers - before.slow_consumers;
    assert!(cut > 100 && cut < 900, "{cut} were cut");
    // An eighth of 1 MiB is 131,072 bytes: more than 500 frames between two looks.
    assert!(frames > 4_000 + 3 * 400, "{frames} frames for 4 looks");
    crowd.flush();
    crowd.check();
}

#[test]
fn the_largest_queue_goes_first_and_answers_are_queues_too() {
    let limits = Limits { outboxes_bytes_max: 40_000, ..Limits::DEFAULT };
    let mut crowd = Crowd::new(&limits, &Arc::default());
    let (_, small) = crowd.join("").expect("there is room");
    let (_, large) = crowd.join("").expect("there is room");
    crowd.reads = true;
    crowd.flush();
    crowd.reads = false;
    let args = format!("\"{}\"", "x".repeat(3_000));
    for _ in 0..3 {
        assert!(crowd.shard.emit(small, &emit(&args)));
    }
    while crowd.shard.is_joined(large) {
        assert!(crowd.shard.emit(large, &emit(&args)));
    }
    assert!(crowd.shard.is_joined(small));
    assert_eq!(crowd.endings(Ending::CoreFull), 1);
    // Somebody who asks and never reads the answers.
    let asker = crowd.connect().expect("there is room");
    for _ in 0..2_000 {
        crowd.say(asker, format!("{POLLING}\r\n").as_bytes());
        crowd.flush();
        crowd.check();
    }
    assert!(crowd.shard.is_joined(small), "nothing more waited for it");
}

#[test]
fn deadlines_of_those_that_are_gone_are_forgotten() {
    let mut crowd = Crowd::new(&Limits::DEFAULT, &Arc::default());
    crowd.reads = true;
    for _ in 0..20_000 {
        let conn = crowd.connect().expect("they go at once");
        crowd.say(conn, b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n");
        crowd.flush();
        crowd.shard.handle_eof(conn);
        crowd.pass(0);
    }
    let counters = crowd.shard.counters();
    let owners = counters.connections + counters.sessions;
    let timers_max = 2 * owners + super::held::TIMERS_SLACK as u64;
    assert!(counters.timers <= timers_max + 2, "{} for {owners} owners", counters.timers);
    crowd.check();
}

#[test]
fn handlers_of_all_clients_together_have_a_limit_and_nobody_is_forgotten() {
    let limits = Limits { tasks_max: 8, ..Limits::DEFAULT };
    let mut crowd = Crowd::new(&limits, &Arc::default());
    let (one, first) = crowd.join("").expect("there is room");
    let (two, second) = crowd.join("").expect("there is room");
    let sessions: Vec<_> = (0..8).map(|_| crowd.shard.begin_task(first, 10)).collect();
    crowd.frame(two, r#"42["waits"]"#);
    assert_eq!(crowd.shard.counters().events_in, 0, "the core runs as many as it may");
    assert!(crowd.shard.reads_paused(two) && crowd.shard.reads_paused(one));
    crowd.reads = true;
    crowd.flush();
    crowd.shard.end_task(sessions[0], 10);
    let resumed = crowd.shard.take_resumed();
    assert!(resumed.contains(&two), "7 of 8 are at work, an eighth is free");
    crowd.say(two, &[]);
    assert_eq!(crowd.shard.counters().events_in, 1);
    for session in &sessions[1..] {
        crowd.shard.end_task(*session, 10);
    }
    assert!(crowd.shard.is_joined(second));
    crowd.check();
}

#[test]
fn where_memory_is_short_new_clients_are_refused_and_then_queues_are_halved() {
    let pressure = Arc::new(Pressure::default());
    let mut crowd = Crowd::new(&Limits::DEFAULT, &pressure);
    let clients: Vec<_> = (0..10).filter_map(|_| crowd.join("")).collect();
    crowd.reads = true;
    crowd.flush();
    let args = format!("\"{}\"", "x".repeat(20_000));
    for (at, (_, socket)) in clients.iter().enumerate() {
        for _ in 0..at {
            assert!(crowd.shard.emit(*socket, &emit(&args)));
        }
    }
    let waiting = crowd.shard.counters().outbox_bytes;
    pressure.publish(Strain::Refuse, 9, [8, 10]);
    crowd.shard.relieve_memory();
    assert_eq!(crowd.shard.counters().outbox_bytes, waiting, "short is not very short");
    let conn = crowd.connect().expect("connections are still taken");
    crowd.say(conn, format!("{POLLING}\r\n").as_bytes());
    let mut answer = Vec::new();
    crowd.shard.fill(conn, &mut answer, usize::MAX);
    let answer = String::from_utf8(answer).expect("text");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: 10"), "{answer}");
    assert_eq!(crowd.endings(Ending::MemoryRefused), 1);
    assert!(crowd.shard.takes_connections());

    pressure.publish(Strain::Shed, 11, [8, 10]);
    assert!(!crowd.shard.takes_connections());
    crowd.shard.relieve_memory();
    let half = crowd.shard.counters().outbox_bytes;
    assert!(half <= waiting / 2 && half > waiting / 4, "{half} of {waiting}");
    crowd.shard.relieve_memory();
    assert_eq!(crowd.shard.counters().outbox_bytes, half, "one look, one relief");
    let alive = clients.iter().filter(|(_, socket)| crowd.shard.is_joined(*socket)).count();
    assert_eq!(crowd.endings(Ending::MemoryShed), 10 - alive as u64);
    assert!(crowd.shard.is_joined(clients[0].1), "those with little stay");
    assert!(!crowd.shard.is_joined(clients[9].1));
    pressure.publish(Strain::None, 1, [8, 10]);
    assert!(crowd.join("").is_some());
    crowd.flush();
    crowd.check();
}

/// Who sends a long message while others' queues are what fills the memory is not to blame.
#[test]
fn where_memory_is_short_the_larger_of_queues_and_parts_is_halved() {
    let pressure = Arc::new(Pressure::default());
    let mut crowd = Crowd::new(&Limits::DEFAULT, &pressure);
    let (_, sleeper) = crowd.join("").expect("there is room");
    let (sender, speaker) = crowd.join("").expect("there is room");
    assert!(crowd.shard.emit(sleeper, &emit(&format!("\"{}\"", "x".repeat(1_000_000)))));
    let mut bytes = Vec::new();
    ws::write_client_frame(&mut bytes, ws::Kind::Text, true, [0; 4], &[b'2'; 200_000]);
    crowd.say(sender, &bytes[..100_000]);
    pressure.publish(Strain::Shed, 11, [8, 10]);
    crowd.shard.relieve_memory();
    assert!(!crowd.shard.is_joined(sleeper) && crowd.shard.is_joined(speaker));
    pressure.publish(Strain::Shed, 11, [8, 10]);
    crowd.shard.relieve_memory();
    assert!(!crowd.shard.is_joined(speaker));
}
