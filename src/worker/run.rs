//! A worker from its first line to its last.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::conn::Conns;
use super::driver::{self, Rung, Wanted};
use super::entrance::Door;
use super::inbox::{self, AdminCall, Item};
use super::ready::Ready;
use super::sibling::SiblingOutlet;
use super::{accept, notify, round};
use crate::api::{App, Core, Host, Io, LocalFuture};
use crate::base::{CoreId, Key, Load, Micros, Millis};
use crate::mesh::{Inbox, Outlet, TableOf};
use crate::shard::{Birth, LogEvent, Settings, Shard, Way};
use crate::telemetry::{Sampler, Verdict};

/// What the main thread wants of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orders {
    /// Close the next row of listeners; a worker without listeners takes no more connections.
    StopAccepting,
    /// Close a share of the sessions: one in `of` of those that are left.
    CloseSome {
        /// How many such orders will come, this one included.
        of: usize,
    },
    /// End.
    End,
}

/// What a worker is given at its start.
pub struct WorkerStart {
    /// Which core.
    pub core: CoreId,
    /// The CPU to pin to, if any.
    pub cpu: Option<usize>,
    /// What to run on.
    pub wanted: Wanted,
    /// The shard's settings.
    pub settings: Settings,
    /// Builds the application on this core.
    pub build: Arc<dyn Fn(&Io) -> App + Send + Sync>,
    /// Its listeners in rows, one an address in each. Rows close one by one.
    pub listeners: Vec<Vec<std::net::TcpListener>>,
    /// How connections of each listener of a row begin.
    pub doors: Vec<Door>,
    /// What TLS is begun with, if any of them has it.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Its inbox.
    pub inbox: Inbox<Item>,
    /// The inboxes of all workers.
    pub outlets: Vec<Outlet<Item>>,
    /// The way to the admin core.
    pub to_admin: tokio::sync::mpsc::Sender<AdminCall>,
    /// Where log events go, with the core and how many were left out before.
    pub log: Arc<dyn Fn(CoreId, LogEvent, u64) + Send + Sync>,
    /// Log events a second.
    pub log_per_second: u32,
    /// Which cores have members of a room.
    pub interest: Arc<crate::mesh::InterestTable>,
    /// The moment whose `Micros` are 0, and its milliseconds since the epoch.
    pub epoch: (Instant, u64),
    /// Seed of the hash maps.
    pub hash_seed: u64,
    /// Hears how it runs, or why not at all.
    pub started: std::sync::mpsc::Sender<io::Result<Standing>>,
    /// Sessions that are left, for the drain.
    pub left: Arc<std::sync::atomic::AtomicUsize>,
}

/// How a worker runs, once it does.
pub struct Standing {
    /// Which one it is.
    pub core: CoreId,
    /// On what it waits for the kernel.
    pub rung: Rung,
    /// Why not on a better rung.
    pub why: Option<String>,
    /// The CPU it is pinned to, if the kernel agreed.
    pub cpu: Option<usize>,
}

/// One worker's state; everything of it stays on its thread.
pub(super) struct Worker {
    pub(super) core: Rc<Core>,
    pub(super) conns: RefCell<Conns>,
    pub(super) ready: Ready,
    /// Connections that are to be looked at again, although the kernel has nothing new of them.
    pub(super) again: RefCell<Vec<Key>>,
    /// For [`Self::park_once`].
    pub(super) always_readable: OwnedFd,
    /// There is no ring: a wait for what is ready already lets nobody else run.
    pub(super) on_epoll: bool,
    /// Who goes round, while it waits.
    pub(super) round_waker: Cell<Option<Waker>>,
    pub(super) outlets: Vec<Outlet<Item>>,
    pub(super) to_admin: tokio::sync::mpsc::Sender<AdminCall>,
    /// The way to the process that replaces this one, while there is one.
    pub(super) sibling: RefCell<Option<SiblingOutlet>>,
    /// Requests that the admin core has of this one.
    pub(super) forwarded: Load,
    /// What lies in the other cores' inboxes of this one.
    pub(super) sent: Vec<Load>,
    /// Received into; lent to one read at a time.
    pub(super) scratch: Cell<Vec<u8>>,
    /// What TLS has opened.
    pub(super) plain: Cell<Vec<u8>>,
    /// What TLS has sealed.
    pub(super) sealed: Cell<Vec<u8>>,
    /// What TLS of new connections is begun with.
    pub(super) tls: RefCell<Option<Arc<rustls::ServerConfig>>>,
    /// Signatures of handshakes that this round may still make.
    pub(super) handshakes_left: Cell<u32>,
    /// Written from.
    pub(super) out: Cell<Vec<u8>>,
    /// Another core's inbox was full at the last flush.
    pub(super) stuck: Cell<bool>,
    /// A retry after that is under way.
    pub(super) retries: Cell<bool>,
    log: Arc<dyn Fn(CoreId, LogEvent, u64) + Send + Sync>,
    sampler: RefCell<Sampler>,
    /// Listeners that accept nobody until there is a way in, in the order in which they came to
    /// that: one that is told to go on and stops again is the last.
    pub(super) paused: RefCell<VecDeque<Rc<notify::Notify>>>,
    /// Told to stop, one a listener, in rows as they close.
    stops: RefCell<VecDeque<Vec<Rc<notify::Notify>>>>,
    ended: Cell<bool>,
    end: notify::Notify,
    left: Arc<std::sync::atomic::AtomicUsize>,
}

/// Bytes received at once.
pub(super) const SCRATCH_BYTES: usize = 64 << 10;

/// The world around a core, in production.
struct WorkerHost {
    epoch: Instant,
    worker: Rc<RefCell<std::rc::Weak<Worker>>>,
}

impl Host for WorkerHost {
    fn now_us(&self) -> Micros {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn spawn(&self, future: LocalFuture) {
        drop(monoio::spawn(future));
    }

    fn flush_soon(&self) {
        if let Some(worker) = self.worker.borrow().upgrade() {
            drop(monoio::spawn(async move { worker.flush().await }));
        }
    }

    fn turn(&self) -> Option<LocalFuture> {
        let worker = self.worker.borrow().upgrade()?;
        Some(Box::pin(async move { worker.park_once().await }))
    }

    fn abort(&self, why: &str) {
        // The log thread may be behind; this must be read.
        use std::io::Write as _;
        let _unread = writeln!(std::io::stderr(), "corewire: aborting: {why}");
        std::process::abort();
    }
}

/// Runs a worker on this thread until it is told to end.
pub fn run(start: WorkerStart) {
    let pin = |id: &usize| core_affinity::set_for_current(core_affinity::CoreId { id: *id });
    let cpu = start.cpu.filter(pin);
    let started = start.started.clone();
    let core = start.core;
    let watches = match watches() {
        Ok(watches) => watches,
        Err(error) => {
            let _gone = started.send(Err(error));
            return;
        }
    };
    let outcome = driver::block_on(start.wanted, |rung, refused| {
        let why = refused.map(|error| error.to_string());
        // The main thread waits for this; if it is gone there is nobody to tell.
        let _gone = start.started.send(Ok(Standing { core, rung, why, cpu }));
        live(start, watches, rung == Rung::Epoll)
    });
    if let Err(error) = outcome {
        let _gone = started.send(Err(error));
    }
}

/// The watch over connections, and a descriptor that is always readable.
fn watches() -> io::Result<(Ready, OwnedFd)> {
    let flags = rustix::event::EventfdFlags::NONBLOCK | rustix::event::EventfdFlags::CLOEXEC;
    Ok((Ready::new()?, rustix::event::eventfd(1, flags)?))
}

async fn live(start: WorkerStart, (ready, always_readable): (Ready, OwnedFd), on_epoll: bool) {
    let mut settings = start.settings;
    settings.limits.inbox_batches_max = settings.limits.inbox_batches_max.max(1);
    let mut chance = Chance::new();
    let birth = Birth {
        core: start.core,
        cores: start.outlets.len(),
        hash_seed: start.hash_seed,
        unix_base_ms: start.epoch.1,
        interest: Rc::new(TableOf(start.interest)),
        entropy: Box::new(move |bytes| chance.fill(bytes)),
    };
    let shard = Shard::new(Rc::new(settings), birth);
    let place = Rc::new(RefCell::new(std::rc::Weak::new()));
    let host = WorkerHost { epoch: start.epoch.0, worker: Rc::clone(&place) };
    let core = Core::new(shard, Box::new(host));
    let worker = Rc::new(Worker {
        core: Rc::clone(&core),
        conns: RefCell::new(Conns::default()),
        ready,
        again: RefCell::new(Vec::new()),
        always_readable,
        on_epoll,
        round_waker: Cell::new(None),
        sent: start.outlets.iter().map(|_| Load::default()).collect(),
        outlets: start.outlets,
        to_admin: start.to_admin,
        sibling: RefCell::new(None),
        forwarded: Load::default(),
        scratch: Cell::new(vec![0; SCRATCH_BYTES]),
        plain: Cell::new(Vec::new()),
        sealed: Cell::new(Vec::new()),
        tls: RefCell::new(start.tls),
        handshakes_left: Cell::new(0),
        out: Cell::new(Vec::new()),
        stuck: Cell::new(false),
        retries: Cell::new(false),
        log: start.log,
        sampler: RefCell::new(Sampler::new(start.log_per_second, 0)),
        paused: RefCell::new(VecDeque::new()),
        stops: RefCell::new(VecDeque::new()),
        ended: Cell::new(false),
        end: notify::Notify::default(),
        left: start.left,
    });
    *place.borrow_mut() = Rc::downgrade(&worker);
    core.install(&*start.build);
    // Before the first connection: what lies in the inbox at the start is to be known by then.
    drop(monoio::spawn(unless_deaf(inbox::serve(Rc::clone(&worker), start.inbox))));
    for row in start.listeners {
        let mut stops = Vec::new();
        for (listener, door) in row.into_iter().zip(start.doors.iter().copied()) {
            let stop = Rc::new(notify::Notify::default());
            stops.push(Rc::clone(&stop));
            drop(monoio::spawn(accept::serve(Rc::clone(&worker), listener, door, stop)));
        }
        worker.stops.borrow_mut().push_back(stops);
    }
    drop(monoio::spawn(timers(Rc::clone(&worker))));
    drop(monoio::spawn(unless_deaf(round::serve(Rc::clone(&worker)))));
    worker.end.wait().await;
}

/// A core that cannot hear its clients or the other cores must not serve on.
async fn unless_deaf(listens: impl Future<Output = io::Result<()>>) {
    if listens.await.is_err() {
        std::process::abort();
    }
}

/// Runs what is due, to the width of a timer slot.
async fn timers(worker: Rc<Worker>) {
    let slot_ms = worker.core.with(|shard| shard.settings().slot_ms());
    while !worker.has_ended() {
        monoio::time::sleep(Duration::from_millis(slot_ms)).await;
        worker.run_due();
    }
}

impl Worker {
    /// Runs what is due.
    pub(super) fn run_due(&self) {
        let now = Millis::of(self.core.now_us());
        self.core.with(|shard| {
            shard.relieve_memory();
            if shard.next_due().is_some_and(|due| due <= now) {
                shard.handle_timeout();
            }
        });
        self.end_pause();
    }

    /// Has one listener go on that has stopped, if there is a way in by now: somebody has left the
    /// entrance, in this round or before, or is late. Listeners that cannot go on yet cost nothing.
    fn end_pause(&self) {
        if self.paused.borrow().is_empty() || self.core.with(|shard| shard.way_in()) == Way::Shut {
            return;
        }
        if let Some(first) = self.paused.borrow_mut().pop_front() {
            first.notify();
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    pub(super) fn obey(&self, orders: Orders) {
        match orders {
            Orders::StopAccepting => {
                for stop in self.stops.borrow_mut().pop_front().into_iter().flatten() {
                    stop.notify();
                }
            }
            Orders::CloseSome { of } => {
                let left = self.core.with(|shard| {
                    let share = shard.sessions_len().div_ceil(of.max(1));
                    let sessions = shard.drain_some(share);
                    let left = sessions + shard.unfinished();
                    // When all are closed, those that the other process may still ask for.
                    if left == 0 { shard.awaited() } else { left }
                });
                self.left.store(left, std::sync::atomic::Ordering::Release);
            }
            Orders::End => {
                self.send_sibling();
                self.leave_sibling();
                self.ended.set(true);
                self.end.notify();
            }
        }
    }

    /// Sends log events away, as many as are wanted.
    pub(super) fn write_log(&self) {
        while let Some(event) = self.core.with(Shard::take_log) {
            let now_ms = self.core.now_us() / 1_000;
            // What comes once must not be lost among what comes by the thousand.
            let verdict = if event.is_single() {
                Verdict::Log { suppressed: 0 }
            } else {
                self.sampler.borrow_mut().allow(now_ms)
            };
            if let Verdict::Log { suppressed } = verdict {
                let core = self.core.with(|shard| shard.core());
                (self.log)(core, event, suppressed);
            } else {
                self.core.with(|shard| shard.counters_mut().log_suppressed += 1);
            }
        }
    }
}

/// Unguessable bytes, drawn from the kernel in pages.
struct Chance {
    page: [u8; 1_024],
    used: usize,
}

impl Chance {
    fn new() -> Self {
        Self { page: [0; 1_024], used: 1_024 }
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        if self.used + bytes.len() > self.page.len() {
            getrandom::fill(&mut self.page).expect("the kernel gives random bytes after boot");
            self.used = 0;
        }
        bytes.copy_from_slice(&self.page[self.used..self.used + bytes.len()]);
        self.used += bytes.len();
    }
}
