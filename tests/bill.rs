//! The memory bill in real bytes: a core whose clients are all as bad as they may be, in a process
//! of its own, whose memory is read from the kernel.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use corewire::base::{CoreId, Key, Limits, Rng};
use corewire::shard::{
    Birth, CoreMask, Dispatch, Emit, Interest, Settings, Shard, SocketError, Step,
};
use corewire::ws;

/// One core needs no table.
struct Alone;

impl Interest for Alone {
    fn bucket(&self, _: &str, _: &str) -> u32 {
        0
    }

    fn set(&self, _: u32, _: CoreId) {}

    fn clear(&self, _: u32, _: CoreId) {}

    fn mask(&self, _: u32) -> CoreMask {
        CoreMask::default()
    }
}

/// Anonymous memory of this process, as the kernel counts it.
fn anonymous_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("it says so");
    let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

fn limits() -> Limits {
    Limits {
        conns_max: 2_000,
        sessions_max: 2_000,
        sockets_max: 4_000,
        opening_max: 400,
        unjoined_max: 400,
        half_open_max: 0,
        namespaces_max: 100,
        partials_bytes_max: 16 << 20,
        kept_bytes_max: 16 << 20,
        rooms_bytes_max: 16 << 20,
        outboxes_bytes_max: 32 << 20,
        acks_max: 40_000,
        gathers_max: 0,
        gathered_bytes_max: 0,
        tasks_max: 1_000,
        tasks_bytes_max: 0,
        mesh_soft_bytes: 0,
        forwarded_bytes_max: 0,
        ..Limits::DEFAULT
    }
}

/// A core, and what its host keeps for it.
struct Host {
    shard: Shard,
    unread: BTreeMap<Key, Vec<u8>>,
    unsent: BTreeMap<Key, Vec<u8>>,
    sockets: Vec<Key>,
}

impl Host {
    fn new() -> Self {
        let settings = Settings { limits: limits(), ..Settings::default() };
        let mut ids = Rng::new(5, 6);
        let birth = Birth {
            core: CoreId(0),
            cores: 1,
            hash_seed: 7,
            unix_base_ms: 0,
            interest: Rc::new(Alone),
            entropy: Box::new(move |bytes| bytes.fill_with(|| ids.draw().to_le_bytes()[0])),
        };
        let shard = Shard::new(Rc::new(settings), birth);
        Self { shard, unread: BTreeMap::new(), unsent: BTreeMap::new(), sockets: Vec::new() }
    }

    fn say(&mut self, conn: Key, bytes: &[u8]) {
        let mut unread = self.unread.remove(&conn).unwrap_or_default();
        unread.extend_from_slice(bytes);
        let mut used = 0;
        loop {
            match self.shard.next(conn, &mut unread[used..]) {
                Step::Wait { consumed } => {
                    used += consumed;
                    break;
                }
                Step::Run { consumed, dispatch } => {
                    used += consumed;
                    if let Dispatch::Connect { socket } = dispatch {
                        self.shard.accept(socket);
                        self.sockets.push(socket);
                    }
                }
                Step::Handover { .. } | Step::Forward { .. } => panic!("one core, no REST"),
            }
        }
        unread.drain(..used);
        unread.shrink_to_fit();
        self.shard.note_partial(conn, unread.capacity());
        if !unread.is_empty() {
            self.unread.insert(conn, unread);
        }
    }

    fn frame(&mut self, conn: Key, last: bool, payload: &str) {
        let mut bytes = Vec::new();
        ws::write_client_frame(&mut bytes, ws::Kind::Text, last, [1; 4], payload.as_bytes());
        self.say(conn, &bytes);
    }

    /// The end of a tick, with a kernel that takes nothing.
    fn flush(&mut self) {
        while self.shard.take_completion().is_some() {}
        while self.shard.take_log().is_some() {}
        while let Some(key) = self.shard.take_dirty() {
            if self.shard.is_aborted(key) {
                self.unsent.remove(&key);
                self.unread.remove(&key);
                self.shard.handle_eof(key);
            } else if !self.unsent.contains_key(&key) {
                let mut out = Vec::new();
                self.shard.fill(key, &mut out, 16 << 10);
                out.shrink_to_fit();
                if !out.is_empty() {
                    self.shard.handle_blocked(key, out.len());
                    self.unsent.insert(key, out);
                }
            }
        }
        let _resumed = self.shard.take_resumed();
        self.sockets.retain(|socket| self.shard.is_joined(*socket));
    }

    fn connect(&mut self, head_bytes: usize, auth_bytes: usize) -> Option<Key> {
        let conn = self.shard.open_conn(SocketAddr::from(([127, 0, 0, 1], 9)))?;
        let pad = "p".repeat(head_bytes);
        let head = format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nPad: {pad}\r\n\
             Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.say(conn, head.as_bytes());
        self.frame(conn, true, &format!("40{{\"a\":\"{}\"}}", "a".repeat(auth_bytes)));
        Some(conn)
    }
}

fn emit(args: &str) -> Emit<'_> {
    Emit { name: "e", args, attachments: &[], volatile: false }
}

/// Everybody joins, owes acks, is sent what it does not read and sends what it does not end.
fn worst(host: &mut Host, round: usize) -> usize {
    let mut most = 0;
    let mut conns = Vec::new();
    while let Some(conn) = host.connect(5_000, 3_000) {
        conns.push(conn);
        if conns.len() % 100 == 0 {
            host.flush();
        }
        if conns.len() > 4_000 {
            break;
        }
    }
    let names = "n".repeat(200);
    'full: for number in 0..200 {
        for at in 0..host.sockets.len() {
            let name = format!("{names}-{number}-{at}");
            if host.shard.join(host.sockets[at], &name) == Err(SocketError::TooManyRooms) {
                break 'full;
            }
        }
    }
    let long = format!("\"{}\"", "x".repeat(3_000));
    for turn in 0..40 {
        for at in 0..host.sockets.len() {
            let socket = host.sockets[at];
            let _full = host.shard.emit_with_ack(socket, &emit("1"), 60_000, Box::new(|_| ()));
            host.shard.emit(socket, &emit(&long));
        }
        host.flush();
        if turn % 8 == 0 {
            for conn in &conns {
                if host.shard.is_websocket(*conn) {
                    host.frame(*conn, false, &"f".repeat(2_500 + round));
                }
            }
        }
        most = most.max(anonymous_bytes());
        host.shard.check_bill(&limits());
    }
    most
}

#[test]
#[ignore = "it does not hold: what waits for clients comes to 1.8 times its bound"]
fn clients_that_do_their_worst_stay_below_the_bill_in_real_bytes() {
    let mut host = Host::new();
    let bill = limits().core_bytes_max(1);
    let before = anonymous_bytes();
    let mut most = 0;
    for round in 0..3 {
        most = most.max(worst(&mut host, round));
        // Half of them vanish, others come.
        for conn in host.shard.conn_keys().into_iter().step_by(2) {
            host.shard.handle_eof(conn);
            host.unread.remove(&conn);
            host.unsent.remove(&conn);
        }
        host.flush();
    }
    host.shard.check();
    let counters = host.shard.counters();
    assert!(counters.sheds > 5, "they were not bad enough: {} looks", counters.sheds);
    let grown = most.saturating_sub(before);
    assert!(grown < bill, "{} KiB of {} KiB", grown >> 10, bill >> 10);
    assert!(grown > bill / 4, "{} KiB of {} KiB: that was no worst case", grown >> 10, bill >> 10);
}
