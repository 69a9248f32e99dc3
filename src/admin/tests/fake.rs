//! Real cores with the real gateway on the test's own thread, and clients that speak WebSocket.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Instant;

use crate::admin::{Admin, AdminSettings, GatewayRoutes, Phase, Teller};
use crate::api::{Core, Host, Io, LocalFuture};
use crate::base::{CoreId, Key, Micros, Rng};
use crate::command::{Desk, Errand, Full, Workers};
use crate::config::{LogLevel, Options, Tables};
use crate::gateway::{self, GatewaySettings};
use crate::shard::{Birth, CoreMask, Interest, Settings, Shard, Step};

/// The workers as the admin core sees them: a queue that the world works off.
pub(super) struct Queue {
    cores: usize,
    errands: Mutex<VecDeque<(CoreId, Errand)>>,
    waker: Mutex<Option<Waker>>,
    /// Takes nothing more.
    pub(super) full: AtomicBool,
    /// Cores that do not work off anything, a bit each.
    pub(super) silent: AtomicU64,
}

impl Workers for Queue {
    fn cores(&self) -> usize {
        self.cores
    }

    fn send(&self, core: CoreId, errand: Errand) -> Result<(), Full> {
        if self.full.load(Ordering::Relaxed) {
            return Err(Full);
        }
        self.errands.lock().unwrap().push_back((core, errand));
        if let Some(waker) = self.waker.lock().unwrap().take() {
            waker.wake();
        }
        Ok(())
    }
}

struct TestHost(Instant);

impl Host for TestHost {
    fn now_us(&self) -> Micros {
        u64::try_from(self.0.elapsed().as_micros()).unwrap()
    }

    fn spawn(&self, _future: LocalFuture) {
        panic!("the gateway has no async handlers");
    }

    fn flush_soon(&self) {}

    fn abort(&self, why: &str) {
        panic!("{why}");
    }
}

/// Everybody may have a member of any room.
struct Everybody(usize);

impl Interest for Everybody {
    fn bucket(&self, _namespace: &str, _room: &str) -> u32 {
        0
    }

    fn set(&self, _bucket: u32, _core: CoreId) {}

    fn clear(&self, _bucket: u32, _core: CoreId) {}

    fn mask(&self, _bucket: u32) -> CoreMask {
        let mut mask = CoreMask::default();
        (0..self.0).for_each(|core| mask.set(CoreId::from_index(core)));
        mask
    }
}

pub(super) struct World {
    cores: Vec<Rc<Core>>,
    pub(super) queue: Arc<Queue>,
    pub(super) admin: Arc<Admin>,
    runtime: tokio::runtime::Runtime,
    /// What the admin core said of workers, and how it says it.
    pub(super) said: Arc<Mutex<Vec<(LogLevel, String)>>>,
    pub(super) tell: Arc<Teller>,
}

/// A client's connection: its core and its key there.
#[derive(Clone, Copy)]
pub(super) struct Client(usize, Key);

impl World {
    /// So many cores, the gateway, no key; what differs is changed by `change`.
    pub(super) fn new(cores: usize, change: impl FnOnce(&mut AdminSettings)) -> Self {
        let epoch = Instant::now();
        let settings = Rc::new(Settings::default());
        let namespaces = vec![String::from("/"), String::from("/n")];
        let settings_of = GatewaySettings { rooms_open: true, namespaces, ..Default::default() };
        let gateway = Arc::new(settings_of);
        let core = |index: usize| {
            let mut rng = Rng::new(7, index as u64);
            let shard = Shard::new(
                Rc::clone(&settings),
                Birth {
                    core: CoreId::from_index(index),
                    cores,
                    hash_seed: 1,
                    unix_base_ms: 1_700_000_000_000,
                    interest: Rc::new(Everybody(cores)),
                    entropy: Box::new(move |bytes| {
                        bytes.iter_mut().for_each(|byte| *byte = rng.draw().to_le_bytes()[0]);
                    }),
                },
            );
            let core = Core::new(shard, Box::new(TestHost(epoch)));
            core.install(&|io| gateway::app(io, Arc::clone(&gateway)));
            core
        };
        let queue = Arc::new(Queue {
            cores,
            errands: Mutex::default(),
            waker: Mutex::default(),
            full: AtomicBool::new(false),
            silent: AtomicU64::new(0),
        });
        let (options, tables) = (Options::default(), Tables::default());
        let mut admin = AdminSettings::new(&options, &tables, GatewayRoutes::On, epoch);
        change(&mut admin);
        let desk = Desk::new(Arc::clone(&queue) as Arc<dyn Workers>, 9);
        let admin = Admin::new(admin, desk);
        admin.set_phase(Phase::Serving);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_io().enable_time().build().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        let tell: Arc<Teller> = Arc::new(move |level, event, fields| {
            let line = fields.iter().map(|(name, value)| format!(" {name}={value}"));
            heard.lock().unwrap().push((level, format!("{event}{}", line.collect::<String>())));
        });
        runtime.spawn(super::collect(Arc::clone(&admin), Arc::clone(&tell)));
        Self { cores: (0..cores).map(core).collect(), queue, admin, runtime, said, tell }
    }

    /// Runs a future of the admin core while the workers work.
    pub(super) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let _entered = self.runtime.enter();
        // Deadlines of the cores are looked at as often.
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(5));
        self.runtime.block_on(poll_fn(|context| {
            if tick.poll_tick(context).is_ready() {
                self.cores.iter().for_each(|core| core.with(Shard::handle_timeout));
                context.waker().wake_by_ref();
            }
            if let Poll::Ready(done) = future.as_mut().poll(context) {
                return Poll::Ready(done);
            }
            *self.queue.waker.lock().unwrap() = Some(context.waker().clone());
            if self.work() {
                context.waker().wake_by_ref();
            }
            Poll::Pending
        }))
    }

    /// Works off errands and messages between cores until nothing is left.
    fn work(&self) -> bool {
        let mut worked = false;
        loop {
            let mut busy = false;
            let errands = std::mem::take(&mut *self.queue.errands.lock().unwrap());
            for (core, errand) in errands {
                if self.queue.silent.load(Ordering::Relaxed) >> core.0 & 1 == 1 {
                    self.queue.errands.lock().unwrap().push_back((core, errand));
                    continue;
                }
                errand(&Io::new(Rc::clone(&self.cores[core.index()])));
                busy = true;
            }
            for core in &self.cores {
                core.begin_flush();
                core.pump();
                for (to, target) in self.cores.iter().enumerate() {
                    let batch = core.with(|shard| shard.take_mesh(CoreId::from_index(to)));
                    busy |= !batch.is_empty();
                    for message in batch {
                        target.with(|shard| shard.handle_mesh(message));
                    }
                }
            }
            if !busy {
                return worked;
            }
            worked = true;
        }
    }

    /// Connects a user by WebSocket and reads what it is greeted with.
    pub(super) fn connect(&self, core: usize, user: &str) -> Client {
        let client = self.connect_as(core, &format!("40{{\"userId\":\"{user}\"}}"));
        self.heard(client);
        client
    }

    /// Connects by WebSocket with this CONNECT packet.
    pub(super) fn connect_as(&self, core: usize, packet: &str) -> Client {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 5_000));
        let key = self.cores[core].with(|shard| shard.open_conn(peer)).unwrap();
        let client = Client(core, key);
        self.feed(
            client,
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n\
            Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                .to_vec(),
        );
        self.say(client, packet);
        client
    }

    /// Breaks a connection off.
    pub(super) fn vanish(&self, Client(core, key): Client) {
        self.cores[core].with(|shard| shard.handle_eof(key));
        self.work();
    }

    /// Sends a binary message of at most 125 bytes.
    pub(super) fn say_binary(&self, client: Client, data: &[u8]) {
        let mut frame = vec![0x82, 0x80 | u8::try_from(data.len()).unwrap(), 0, 0, 0, 0];
        frame.extend_from_slice(data);
        self.feed(client, frame);
    }

    /// Sends a text message of at most 125 bytes.
    pub(super) fn say(&self, client: Client, text: &str) {
        let len = u8::try_from(text.len()).unwrap();
        assert!(len < 126);
        let mut frame = vec![0x81, 0x80 | len, 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        self.feed(client, frame);
    }

    fn feed(&self, Client(core, key): Client, mut bytes: Vec<u8>) {
        let core = &self.cores[core];
        loop {
            match core.with(|shard| shard.next(key, &mut bytes)) {
                Step::Wait { consumed } => {
                    assert_eq!(consumed, bytes.len(), "everything was understood");
                    break;
                }
                Step::Run { consumed, dispatch } => {
                    core.run(dispatch, core.now_us());
                    bytes.drain(..consumed);
                }
                other => panic!("{other:?}"),
            }
        }
        self.work();
    }

    /// The text messages that wait for a client.
    pub(super) fn heard(&self, Client(core, key): Client) -> Vec<String> {
        let mut out = Vec::new();
        self.cores[core].with(|shard| shard.fill(key, &mut out, usize::MAX));
        let mut rest = match out.windows(4).position(|four| four == b"\r\n\r\n") {
            Some(at) if out.starts_with(b"HTTP/1.1 101") => &out[at + 4..],
            _ => &out[..],
        };
        let mut texts = Vec::new();
        while let [kind @ (0x81 | 0x82), len, tail @ ..] = rest {
            let (len, tail) = match (len, tail) {
                (126, [high, low, tail @ ..]) => {
                    (usize::from(u16::from_be_bytes([*high, *low])), tail)
                }
                (len, tail) => (usize::from(*len), tail),
            };
            texts.push(match kind {
                0x81 => String::from_utf8(tail[..len].to_vec()).unwrap(),
                _ => format!("{:?}", &tail[..len]),
            });
            rest = &tail[len..];
        }
        assert!(rest.is_empty(), "{rest:?}");
        texts
    }
}
