//! Cores from bytes in to bytes out as plain function calls: what `worker/round.rs`,
//! `conn.rs` and `flush.rs` do around a shard, in the same order, with buffers in place of sockets.
//! Whoever changes those loops changes these.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use corewire::api::{App, Core, Host, Io, LocalFuture};
use corewire::base::{CoreId, Key, Limits, Micros, Millis, Rng};
use corewire::mesh::{Inbox, InterestTable, Outlet, TableOf, inbox};
use corewire::shard::{Birth, Forwarded, MeshMsg, Settings, Shard, Step};
use corewire::telemetry::Stage;
use corewire::ws;

use super::Tally;

/// A clock that stands still unless it is moved, and a count of what is asked for.
struct BenchHost {
    clock: Rc<Cell<Micros>>,
    tally: Rc<Cell<Tally>>,
    flush: Rc<Cell<bool>>,
}

impl Host for BenchHost {
    fn now_us(&self) -> Micros {
        let mut tally = self.tally.get();
        tally.clock_reads += 1;
        self.tally.set(tally);
        self.clock.get()
    }

    fn spawn(&self, _: LocalFuture) {
        panic!("no case has async handlers");
    }

    fn flush_soon(&self) {
        self.flush.set(true);
    }

    fn abort(&self, why: &str) {
        panic!("the core gave up: {why}");
    }
}

/// The worker's half of a connection.
struct ConnIo {
    key: Key,
    /// What it holds while it is not idle, which no case lets happen.
    backlog: Option<Box<[u8]>>,
}

/// The connections, by the slot of their key, in pages as the worker has them.
#[derive(Default)]
struct Conns(Vec<Vec<Option<ConnIo>>>);

const PAGE: usize = 128;

impl Conns {
    fn put(&mut self, io: ConnIo) {
        let (page, place) = (io.key.slot() as usize / PAGE, io.key.slot() as usize % PAGE);
        while self.0.len() <= page {
            self.0.push((0..PAGE).map(|_| None).collect());
        }
        self.0[page][place] = Some(io);
    }

    fn get(&mut self, key: Key) -> Option<&mut ConnIo> {
        let slot = key.slot() as usize;
        let io = self.0.get_mut(slot / PAGE)?.get_mut(slot % PAGE)?.as_mut()?;
        (io.key == key).then_some(io)
    }
}

/// What one core sends another: when, and what.
type Batch = (Micros, Vec<MeshMsg>);

/// One core.
pub(super) struct Node {
    pub(super) core: Rc<Core>,
    conns: RefCell<Conns>,
    outlets: Vec<Outlet<Batch>>,
    inbox: Inbox<Batch>,
    out: Cell<Vec<u8>>,
    /// The last bytes that were sent.
    sent: RefCell<Vec<u8>>,
    keep_sent: Cell<bool>,
    /// Requests for the admin core.
    pub(super) forwarded: RefCell<Vec<Forwarded>>,
    /// A flush was asked for.
    flush: Rc<Cell<bool>>,
    /// A round is under way, whose end is a flush.
    in_round: Cell<bool>,
    clock: Rc<Cell<Micros>>,
    tally: Rc<Cell<Tally>>,
}

/// Connections written to at one time of the clock.
const WRITES_A_CLOCK: usize = 16;
/// Bytes joined into one write.
const WRITE_BYTES: usize = 64 << 10;
/// The moment at which the cores start, in microseconds.
const START_US: Micros = 1_000_000;

/// Cores that know each other.
pub(super) fn nodes(
    cores: usize,
    settings: &Settings,
    tally: &Rc<Cell<Tally>>,
    build: &dyn Fn(&Io) -> App,
) -> Vec<Node> {
    let all = 200_000;
    let limits = Limits { conns_max: all, sessions_max: all, sockets_max: all, ..settings.limits };
    let settings = Rc::new(Settings { limits, ..settings.clone() });
    let clock = Rc::new(Cell::new(START_US));
    let table = InterestTable::new(cores, 7);
    let inboxes = (0..cores).map(|_| inbox(limits.inbox_batches_max).expect("a descriptor"));
    let (outlets, inboxes): (Vec<_>, Vec<_>) = inboxes.unzip();
    let node = |(at, inbox): (usize, Inbox<Batch>)| {
        let mut ids = Rng::new(11, at as u64);
        let birth = Birth {
            core: CoreId::from_index(at),
            cores,
            hash_seed: 5,
            unix_base_ms: 1_700_000_000_000,
            interest: Rc::new(TableOf(Arc::clone(&table))),
            entropy: Box::new(move |bytes| bytes.fill_with(|| ids.draw().to_le_bytes()[0])),
        };
        let flush = Rc::new(Cell::new(false));
        let host = BenchHost {
            clock: Rc::clone(&clock),
            tally: Rc::clone(tally),
            flush: Rc::clone(&flush),
        };
        let core = Core::new(Shard::new(Rc::clone(&settings), birth), Box::new(host));
        core.install(build);
        Node {
            core,
            conns: RefCell::default(),
            outlets: outlets.clone(),
            inbox,
            out: Cell::default(),
            sent: RefCell::default(),
            keep_sent: Cell::new(false),
            forwarded: RefCell::default(),
            flush,
            in_round: Cell::new(false),
            clock: Rc::clone(&clock),
            tally: Rc::clone(tally),
        }
    };
    inboxes.into_iter().enumerate().map(node).collect()
}

impl Node {
    /// A new connection.
    pub(super) fn open(&self) -> Key {
        let peer = SocketAddr::from(([127, 0, 0, 1], 4_000));
        let key = self.core.with(|shard| shard.open_conn(peer)).expect("below the limit");
        self.conns.borrow_mut().put(ConnIo { key, backlog: None });
        key
    }

    /// The peer is gone.
    pub(super) fn close(&self, key: Key) {
        self.core.with(|shard| shard.handle_eof(key));
        self.conns.borrow_mut().0[key.slot() as usize / PAGE][key.slot() as usize % PAGE] = None;
    }

    /// What one read of a connection brought, as part of a round. Whole frames and requests only.
    pub(super) fn read(&self, key: Key, bytes: &mut [u8]) {
        self.core.claim_flush();
        self.in_round.set(true);
        let paused = self.core.with(|shard| shard.reads_paused(key));
        assert!(!paused, "no case is over a limit");
        self.core.at_one_time(|| self.read_into(key, bytes));
    }

    fn read_into(&self, key: Key, bytes: &mut [u8]) {
        let count = bytes.len();
        let unread = self.conns.borrow_mut().get(key).and_then(|io| io.backlog.take());
        assert!(unread.is_none(), "nothing is left over");
        self.core.with(|shard| shard.counters_mut().bytes_in += count as u64);
        let used = self.feed(key, bytes);
        assert_eq!(used, count, "a case hands in whole frames");
        if let Some(io) = self.conns.borrow_mut().get(key) {
            io.backlog = None;
        }
        self.core.with(|shard| shard.note_partial(key, 0));
    }

    fn feed(&self, key: Key, bytes: &mut [u8]) -> usize {
        let received_at = self.core.with(|shard| shard.now());
        let mut used = 0;
        loop {
            let rest = &mut bytes[used..];
            match self.core.with(|shard| shard.next(key, rest)) {
                Step::Wait { consumed } => return used + consumed,
                Step::Run { consumed, dispatch } => {
                    self.core.run(dispatch, received_at);
                    used += consumed;
                }
                Step::Forward { consumed, request } => {
                    used += consumed;
                    self.forwarded.borrow_mut().push(request);
                }
                Step::Handover { .. } => panic!("every client of a case is at home"),
            }
        }
    }

    /// The end of a round, or a flush that was asked for.
    pub(super) fn flush(&self) {
        let asked = self.flush.replace(false);
        if self.in_round.replace(false) {
            self.run_due();
        } else if !asked {
            return;
        }
        loop {
            self.core.pump();
            while self.core.with(Shard::take_log).is_some() {}
            self.send_batches();
            while self.write_some() {}
            for key in self.core.with(Shard::take_resumed) {
                if self.core.with(|shard| shard.needs_step(key)) {
                    self.feed(key, &mut []);
                }
            }
            if !self.core.with(|shard| shard.has_output()) {
                break;
            }
        }
        self.core.begin_flush();
    }

    /// Writes to some of those that have something waiting. True if more may be left.
    fn write_some(&self) -> bool {
        self.core.at_one_time(|| {
            for _ in 0..WRITES_A_CLOCK {
                let Some(key) = self.core.with(Shard::take_dirty) else { return false };
                self.write(key);
            }
            true
        })
    }

    fn send_batches(&self) {
        let (me, cores) = self.core.with(|shard| (shard.core(), shard.cores()));
        for to in (0..cores).map(CoreId::from_index).filter(|to| *to != me) {
            let messages = self.core.with(|shard| shard.take_mesh(to));
            if messages.is_empty() {
                continue;
            }
            let batch = (self.core.now_us(), messages);
            assert!(self.outlets[to.index()].try_send(batch).is_ok(), "the inbox has room");
        }
    }

    fn write(&self, key: Key) {
        if self.conns.borrow_mut().get(key).is_none_or(|io| io.backlog.is_some()) {
            return;
        }
        let mut buffer = self.out.take();
        loop {
            buffer.clear();
            let fill = self.core.with(|shard| shard.fill(key, &mut buffer, WRITE_BYTES));
            assert!(!fill.aborted, "no case cuts anybody");
            self.send(key, &buffer);
            if !fill.more {
                break;
            }
        }
        self.out.replace(buffer);
    }

    fn send(&self, key: Key, bytes: &[u8]) {
        if bytes.is_empty() || self.conns.borrow_mut().get(key).is_none() {
            return;
        }
        let mut tally = self.tally.get();
        tally.sends += 1;
        self.tally.set(tally);
        std::hint::black_box(bytes);
        if self.keep_sent.get() {
            self.sent.replace(bytes.to_vec());
        }
    }

    /// Takes what other cores have sent.
    pub(super) fn receive(&self) {
        while let Some((sent_at, messages)) = self.inbox.try_recv() {
            self.core.with(|shard| {
                let hop = shard.now().saturating_sub(sent_at);
                shard.record(Stage::MeshHop, hop);
                for message in messages {
                    shard.handle_mesh(message);
                }
            });
        }
    }

    /// Runs deadlines, as the worker does once in a timer slot.
    pub(super) fn run_due(&self) {
        let now = Millis::of(self.core.now_us());
        self.core.with(|shard| {
            if shard.next_due().is_some_and(|due| due <= now) {
                shard.handle_timeout();
            }
        });
    }

    /// Moves the clock of all cores.
    pub(super) fn pass(&self, ms: u64) {
        self.clock.set(self.clock.get() + ms * 1_000);
    }

    /// Reads, flushes, and gives back what was sent last; for set-up and checks.
    pub(super) fn ask(&self, key: Key, bytes: &[u8]) -> Vec<u8> {
        self.keep_sent.set(true);
        self.sent.replace(Vec::new());
        self.read(key, &mut bytes.to_vec());
        self.flush();
        self.keep_sent.set(false);
        self.sent.take()
    }

    /// A client over WebSocket that has joined `/`, with `auth` as its payload.
    pub(super) fn connect(&self, auth: &str) -> Key {
        let key = self.open();
        self.ask(key, UPGRADE);
        let answer = self.ask(key, &text(&format!("40{auth}")));
        assert!(answer.windows(9).any(|nine| nine == b"40{\"sid\":"), "{answer:?}");
        key
    }
}

/// A WebSocket handshake as a browser sends it.
pub(super) const UPGRADE: &[u8] = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n\
    Host: 127.0.0.1:3001\r\nConnection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n\
    Upgrade: websocket\r\nOrigin: http://localhost:3000\r\nSec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

/// A masked text frame.
pub(super) fn text(packet: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    ws::write_client_frame(&mut frame, ws::Kind::Text, true, [1, 2, 3, 4], packet.as_bytes());
    frame
}
