//! Whole servers without a socket or a clock: shards, a host that does nothing by itself, and
//! clients that are bytes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use serde_json::{Value, json};

use crate::api::{Core, Host, Io, LocalFuture};
use crate::base::{CoreId, Key, Limits, Micros, Rng};
use crate::gateway::{Done, GatewaySettings, ROOM_BYTES_MAX, VerbError, app};
use crate::shard::{Birth, CoreMask, Interest, RecoveryTerms, Settings, Shard, Step};
use crate::ws;

/// 2026-01-01T00:00:00Z.
pub(super) const EPOCH_MS: u64 = 1_767_225_600_000;

#[derive(Default)]
struct Table(RefCell<BTreeMap<u32, CoreMask>>);

impl Interest for Table {
    fn bucket(&self, namespace: &str, room: &str) -> u32 {
        let bytes = namespace.bytes().chain([0]).chain(room.bytes());
        bytes.fold(7, |hash: u32, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)))
    }

    fn set(&self, bucket: u32, core: CoreId) {
        self.0.borrow_mut().entry(bucket).or_default().set(core);
    }

    fn clear(&self, bucket: u32, core: CoreId) {
        self.0.borrow_mut().entry(bucket).or_default().clear(core);
    }

    fn mask(&self, bucket: u32) -> CoreMask {
        self.0.borrow().get(&bucket).copied().unwrap_or_default()
    }
}

/// Futures that are not done yet.
type Tasks = Rc<RefCell<Vec<LocalFuture>>>;

struct Clock {
    now_us: Rc<Cell<Micros>>,
    tasks: Tasks,
}

impl Host for Clock {
    fn now_us(&self) -> Micros {
        self.now_us.get()
    }

    fn spawn(&self, future: LocalFuture) {
        self.tasks.borrow_mut().push(future);
    }

    fn flush_soon(&self) {}

    fn abort(&self, why: &str) {
        panic!("{why}");
    }
}

/// Some cores, and everything between them.
pub(super) struct Cluster {
    cores: Vec<Rc<Core>>,
    clock: Rc<Cell<Micros>>,
    tasks: Tasks,
    /// What came out for each connection and was not read yet.
    outputs: BTreeMap<(usize, Key), Vec<u8>>,
    rng: Rng,
}

/// A client, by its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Client {
    pub(super) core: usize,
    conn: Key,
}

impl Cluster {
    pub(super) fn new(cores: usize, settings: GatewaySettings) -> Self {
        Self::build(cores, settings, None)
    }

    /// The same, where sessions are recovered.
    pub(super) fn that_recovers(cores: usize, settings: GatewaySettings) -> Self {
        Self::build(cores, settings, Some(RecoveryTerms { epoch: 0xE, window_ms: 60_000 }))
    }

    fn build(cores: usize, settings: GatewaySettings, recovery: Option<RecoveryTerms>) -> Self {
        let limits =
            Limits { name_bytes_max: ROOM_BYTES_MAX, rooms_per_socket_max: 6, ..Limits::DEFAULT };
        let shard_settings = Rc::new(Settings { limits, recovery, ..Settings::default() });
        let settings = Arc::new(settings);
        let (interest, clock) = (Rc::new(Table::default()), Rc::new(Cell::new(0)));
        let tasks = Tasks::default();
        let build = |core| {
            let mut rng = Rng::new(core as u64, 1);
            let interest: Rc<dyn Interest> = Rc::clone(&interest) as _;
            let birth = Birth {
                core: CoreId::from_index(core),
                cores,
                hash_seed: 3,
                unix_base_ms: EPOCH_MS,
                interest,
                entropy: Box::new(move |bytes| {
                    let count = bytes.len();
                    bytes.copy_from_slice(&rng.bytes(count));
                }),
            };
            let shard = Shard::new(Rc::clone(&shard_settings), birth);
            let host = Clock { now_us: Rc::clone(&clock), tasks: Rc::clone(&tasks) };
            let core = Core::new(shard, Box::new(host));
            core.install(&|io| app(io, Arc::clone(&settings)));
            core
        };
        let cores = (0..cores).map(build).collect();
        Self { cores, clock, tasks, outputs: BTreeMap::new(), rng: Rng::new(5, 5) }
    }

    pub(super) fn io(&self, core: usize) -> Io {
        Io::new(Rc::clone(&self.cores[core]))
    }

    pub(super) fn counters(&self, core: usize) -> crate::telemetry::Counters {
        self.cores[core].with(|shard| shard.counters())
    }

    /// Time passes, and no core does anything.
    pub(super) fn wait(&mut self, ms: u64) {
        self.clock.set(self.clock.get() + ms * 1_000);
    }

    /// Time passes, on all cores.
    pub(super) fn pass(&mut self, ms: u64) {
        self.wait(ms);
        for core in &self.cores {
            core.with(Shard::handle_timeout);
        }
        self.settle();
    }

    /// One core does what it has to do; its messages go where they are for.
    pub(super) fn tick(&mut self, from: usize) {
        let core = Rc::clone(&self.cores[from]);
        core.begin_flush();
        core.pump();
        for to in (0..self.cores.len()).filter(|to| *to != from) {
            let to_id = CoreId::from_index(to);
            for message in core.with(|shard| shard.take_mesh(to_id)) {
                self.cores[to].with(|shard| shard.handle_mesh(message));
            }
        }
        while let Some(conn) = core.with(Shard::take_dirty) {
            let out = self.outputs.entry((from, conn)).or_default();
            while core.with(|shard| shard.fill(conn, out, 1 << 20)).more {}
        }
    }

    /// Until nothing is left to do, in an order that is different each time.
    pub(super) fn settle(&mut self) {
        self.poll();
        while self.cores.iter().any(|core| core.with(|shard| shard.has_output())) {
            let core = self.rng.below(self.cores.len());
            self.tick(core);
            for core in &self.cores {
                while core.with(Shard::take_log).is_some() {}
                core.with(Shard::take_resumed);
            }
            self.poll();
        }
    }

    /// Polls every future once; what it waits for tells nobody, so all are asked.
    fn poll(&self) {
        let mut context = Context::from_waker(Waker::noop());
        let mut tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        tasks.retain_mut(|task| task.as_mut().poll(&mut context).is_pending());
        self.tasks.borrow_mut().append(&mut tasks);
    }

    fn feed(&mut self, client: Client, bytes: &[u8]) {
        let core = Rc::clone(&self.cores[client.core]);
        let mut bytes = bytes.to_vec();
        while !bytes.is_empty() {
            match core.with(|shard| shard.next(client.conn, &mut bytes)) {
                Step::Wait { consumed } => {
                    assert!(consumed == bytes.len(), "whole frames are fed");
                    return;
                }
                Step::Run { consumed, dispatch } => {
                    core.run(dispatch, self.clock.get());
                    bytes.drain(..consumed);
                }
                Step::Handover { .. } | Step::Forward { .. } => panic!("nothing leads elsewhere"),
            }
        }
    }

    /// Opens a WebSocket without a namespace.
    pub(super) fn open(&mut self, core: usize, query: &str) -> Client {
        let peer = "127.0.0.1:9".parse().expect("an address");
        let conn = self.cores[core].with(|shard| shard.open_conn(peer)).expect("there is room");
        let client = Client { core, conn };
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket{query} HTTP/1.1\r\nHost: a\r\n\
             Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.feed(client, request.as_bytes());
        self.settle();
        let out = self.outputs.get_mut(&(core, conn)).expect("an answer");
        let head = out.windows(4).position(|end| end == b"\r\n\r\n").expect("a head");
        assert!(out.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(out));
        out.drain(..head + 4);
        assert!(self.packets(client)[0].starts_with("0{"), "the handshake");
        client
    }

    /// A client that has joined `/`.
    pub(super) fn join(&mut self, core: usize, auth: &Value) -> Client {
        let client = self.open(core, "");
        self.say(client, &format!("40{auth}"));
        let packets = self.packets(client);
        assert!(packets[0].starts_with(r#"40{"sid":"#), "{packets:?}");
        client
    }

    pub(super) fn user(&mut self, core: usize, user: &str) -> Client {
        self.join(core, &json!({ "userId": user }))
    }

    /// The client sends an engine packet, and everything runs its course.
    pub(super) fn say(&mut self, client: Client, packet: &str) {
        self.whisper(client, packet);
        self.settle();
    }

    /// The client sends an engine packet, and nothing else happens yet.
    pub(super) fn whisper(&mut self, client: Client, packet: &str) {
        let mut frame = Vec::new();
        ws::write_client_frame(&mut frame, ws::Kind::Text, true, [1, 2, 3, 4], packet.as_bytes());
        self.feed(client, &frame);
    }

    /// Sends an event in `/` and takes its ack.
    pub(super) fn ask(&mut self, client: Client, event: &str, payload: &Value) -> Value {
        self.say(client, &format!("427{}", json!([event, payload])));
        let mut packets = self.packets(client);
        let acks = packets.extract_if(.., |packet| packet.starts_with("437"));
        let acks: Vec<String> = acks.collect();
        assert_eq!(acks.len(), 1, "exactly one ack; beside it {packets:?}");
        assert!(packets.is_empty(), "nothing but the ack: {packets:?}");
        let args: Value = serde_json::from_str(&acks[0][3..]).expect("JSON");
        args[0].clone()
    }

    /// Packets that reached a client since the last time.
    pub(super) fn packets(&mut self, client: Client) -> Vec<String> {
        let packets = self.binary_packets(client).into_iter();
        let texts = packets.map(|packet| String::from_utf8(packet).expect("UTF-8"));
        // The server's own pings come when time passes.
        texts.filter(|packet| packet != "2").collect()
    }

    /// The same, text or not.
    pub(super) fn binary_packets(&mut self, client: Client) -> Vec<Vec<u8>> {
        let out = self.outputs.entry((client.core, client.conn)).or_default();
        let (mut at, mut packets) = (0, Vec::new());
        while let Some(frame) = ws::read_server_frame(&out[at..]).expect("frames") {
            at += frame.consumed;
            packets.push(frame.payload.to_vec());
        }
        out.clear();
        packets
    }

    /// Events in `/` that reached a client since the last time, as `[name, args…]`.
    pub(super) fn events(&mut self, client: Client) -> Vec<Value> {
        let packets = self.packets(client);
        packets
            .iter()
            .map(|packet| {
                let event = packet.strip_prefix("42").unwrap_or_else(|| panic!("{packet}"));
                serde_json::from_str(event).expect("JSON")
            })
            .collect()
    }

    /// The connection breaks.
    pub(super) fn vanish(&mut self, client: Client) {
        self.cores[client.core].with(|shard| shard.handle_eof(client.conn));
        self.settle();
    }

    /// Runs a verb on a core and waits for its answer.
    pub(super) fn call<T: Send + 'static>(
        &mut self,
        core: usize,
        verb: impl FnOnce(&Io, Done<T>),
    ) -> Result<T, VerbError> {
        self.answer(core, true, verb)
    }

    /// Runs a verb on a core that answers at once.
    pub(super) fn call_now<T: Send + 'static>(
        &mut self,
        core: usize,
        verb: impl FnOnce(&Io, Done<T>),
    ) -> Result<T, VerbError> {
        self.answer(core, false, verb)
    }

    fn answer<T: Send + 'static>(
        &mut self,
        core: usize,
        settle: bool,
        verb: impl FnOnce(&Io, Done<T>),
    ) -> Result<T, VerbError> {
        let answer = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&answer);
        let done: Done<T> = Box::new(move |result| {
            *keep.lock().expect("one thread") = Some(result);
        });
        verb(&self.io(core), done);
        if settle {
            self.settle();
        }
        answer.lock().expect("one thread").take().expect("every verb answers")
    }

    /// Every invariant of every shard.
    pub(super) fn check(&self) {
        for core in &self.cores {
            core.with(|shard| shard.check());
        }
    }
}
