//! A lane: a thread, its connections, its load.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use monoio::net::TcpStream;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::board::{Board, Order, Outcome, Stretch};
use super::meter::{Meter, Window};
use crate::clock::{MILLI, Nanos, SECOND};
use crate::load::{self, Load};
use crate::scenario::Kind;
use crate::wire::net::{Event, Listener, Net, Phase};

/// A lane that sleeps looks for orders at least this often.
const SLEEP_MAX: Nanos = 20 * MILLI;
/// Batches of input between two looks at the clock.
const CLOCK_EVERY: u32 = 8;
/// Turns of a busy lane between two turns of the runtime.
const YIELD_EVERY: u32 = 64;
/// Entries of the ring: the lane has few operations in it, since its sockets are on epoll.
const ENTRIES: u32 = 1_024;

/// What a load may do.
pub struct Cx<'a> {
    /// To send.
    pub net: &'a mut Net,
    /// To count.
    pub meter: &'a mut Meter,
    /// What all lanes share.
    pub board: &'a Board,
    books: &'a mut Books,
    may_send: bool,
}

impl Cx<'_> {
    /// Whether load is wanted now.
    #[inline]
    #[must_use]
    pub fn may_send(&self) -> bool {
        self.may_send && self.meter.now < self.meter.window.to
    }

    /// A connection is prepared for load.
    pub fn ready(&mut self) {
        self.books.ready += 1;
    }

    /// Deliveries or answers are owed from now on.
    #[inline]
    pub fn owe(&mut self, count: u64) {
        self.books.owed += count;
        self.meter.oracle.expected += count;
    }

    /// One of them came.
    #[inline]
    pub fn came(&mut self) {
        self.books.came += 1;
    }
}

/// Counters that the board gets a copy of every turn.
#[derive(Default)]
struct Books {
    ready: u64,
    failed: u64,
    owed: u64,
    came: u64,
}

/// Everything of a lane but its sockets.
struct Desk {
    board: Arc<Board>,
    load: Box<dyn Load>,
    meter: Meter,
    books: Books,
    stretch: Option<Stretch>,
    batches: u32,
    /// Connections that are being made, and the next one to make.
    in_flight: u32,
    next: u32,
    window: u32,
}

impl Desk {
    fn with_load<R>(
        &mut self,
        net: &mut Net,
        run: impl FnOnce(&mut dyn Load, &mut Cx<'_>) -> R,
    ) -> R {
        let began = self.stretch.is_some_and(|stretch| self.meter.now >= stretch.begin);
        let mut cx = Cx {
            net,
            meter: &mut self.meter,
            board: &self.board,
            books: &mut self.books,
            may_send: began,
        };
        run(&mut *self.load, &mut cx)
    }
}

impl Listener for Desk {
    #[inline]
    fn hear(&mut self, net: &mut Net, conn: u32, event: Event<'_>) {
        match event {
            Event::Packet(packet) => {
                self.with_load(net, |load, cx| load.packet(cx, conn, packet));
            }
            Event::Up => {
                self.in_flight = self.in_flight.saturating_sub(1);
                self.meter.now = self.board.clock.now();
                let since = net.began_at(conn);
                if self.board.scenario.kind == Kind::Connect {
                    self.meter.operation(since);
                } else {
                    self.meter.time(super::meter::Timing::Connect, since);
                }
                self.with_load(net, |load, cx| load.up(cx, conn));
            }
            Event::Down(why) => {
                self.in_flight = self.in_flight.saturating_sub(1);
                self.books.failed += 1;
                self.board.trouble(&why);
                self.with_load(net, |load, cx| load.down(cx, conn));
            }
        }
    }

    #[inline]
    fn received(&mut self, _net: &mut Net) {
        self.batches += 1;
        if self.batches.is_multiple_of(CLOCK_EVERY) {
            self.meter.now = self.board.clock.now();
        }
    }
}

/// One lane, on its own thread.
pub(super) struct Lane {
    board: Arc<Board>,
    index: u32,
    net: Net,
    desk: Desk,
    timer: OwnedFd,
    orders_seen: u64,
    turns: u32,
}

/// Runs a lane on this thread until it is told to end.
///
/// # Errors
/// No runtime, no epoll set, or one that fails.
pub(super) fn run(board: Arc<Board>, index: u32, cpu: Option<usize>) -> io::Result<()> {
    if let Some(cpu) = cpu {
        let mut set = rustix::thread::CpuSet::new();
        set.set(cpu);
        rustix::thread::sched_setaffinity(None, &set)?;
    }
    let mut builder = io_uring::IoUring::builder();
    builder.setup_coop_taskrun().setup_single_issuer();
    let runtime = RuntimeBuilder::<IoUringDriver>::new()
        .with_entries(ENTRIES)
        .uring_builder(builder)
        .enable_timer()
        .build();
    if let Ok(mut runtime) = runtime {
        return runtime.block_on(async { Lane::new(board, index)?.live().await });
    }
    let mut runtime = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?;
    runtime.block_on(async { Lane::new(board, index)?.live().await })
}

impl Lane {
    fn new(board: Arc<Board>, index: u32) -> io::Result<Self> {
        let load = load::make(&board, index);
        let members = board.layout.members_of(index);
        let count = members.end - members.start + board.layout.publishers_of(index);
        let net = Net::new(Rc::new(board.target.clone()), count, load.auth())?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        net.watch(&timer)?;
        let window = (board.scenario.connect_window / board.layout.lanes).max(1);
        let desk = Desk {
            board: Arc::clone(&board),
            meter: Meter::new(load.main()),
            load,
            books: Books::default(),
            stretch: None,
            batches: 0,
            in_flight: 0,
            next: u32::MAX,
            window,
        };
        Ok(Self { board, index, net, desk, timer, orders_seen: 0, turns: 0 })
    }

    async fn live(mut self) -> io::Result<()> {
        let wait = std::net::TcpStream::from(self.net.waitable()?);
        let wait = TcpStream::from_std(wait)?;
        let is_busy = self.board.scenario.busy_poll;
        let mut last = self.board.clock.now();
        loop {
            self.turns = self.turns.wrapping_add(1);
            self.desk.meter.now = self.board.clock.now();
            let since_last = self.desk.meter.now - last;
            last = self.desk.meter.now;
            if let Some((number, order)) = self.board.order_after(self.orders_seen) {
                self.orders_seen = number;
                let ended = self.obey(order);
                self.publish();
                if ended {
                    return Ok(());
                }
            }
            self.cut_seconds();
            self.connect_more();
            let did = self.desk.with_load(&mut self.net, |load, cx| load.due(cx));
            self.net.flush();
            let count = self.net.turn(&mut self.desk)?;
            self.publish();
            if count > 0 || did {
                if self.turns.is_multiple_of(YIELD_EVERY) {
                    yield_now().await;
                }
                continue;
            }
            if is_busy {
                self.desk.meter.idle(since_last);
                if self.turns.is_multiple_of(YIELD_EVERY) {
                    yield_now().await;
                }
                continue;
            }
            let slept_at = self.board.clock.now();
            self.arm_timer(slept_at)?;
            wait.readable(false).await?;
            last = self.board.clock.now();
            self.desk.meter.idle(last - slept_at);
        }
    }

    /// Lets the timer end the wait when something is due.
    fn arm_timer(&self, now: Nanos) -> io::Result<()> {
        let due = self.desk.load.next_due().unwrap_or(Nanos::MAX);
        let wait = due.saturating_sub(now).clamp(1, SLEEP_MAX);
        let it_value = Timespec {
            tv_sec: i64::try_from(wait / SECOND).unwrap_or(0),
            tv_nsec: i64::try_from(wait % SECOND).unwrap_or(0),
        };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let new = Itimerspec { it_interval, it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &new)?;
        Ok(())
    }

    /// Carries out an order. True if it was the last.
    fn obey(&mut self, order: Order) -> bool {
        match order {
            Order::Wait => {}
            Order::Connect(window) => {
                self.desk.meter.begin(window);
                self.desk.next = 0;
            }
            Order::Run(stretch) => {
                self.desk.meter.begin(stretch.window);
                self.desk.stretch = Some(stretch);
                self.desk.with_load(&mut self.net, |load, cx| load.begin(cx, &stretch));
            }
            Order::Collect => self.collect(),
            Order::End => return true,
        }
        false
    }

    fn collect(&mut self) {
        self.desk.stretch = None;
        self.desk.with_load(&mut self.net, |load, cx| load.finish(cx));
        let meter = &mut self.desk.meter;
        let outcome = Outcome {
            counted: meter.counted,
            oracle: meter.oracle,
            idle: meter.idle,
            latencies: meter.end(),
        };
        meter.window = Window::default();
        let mut outcomes =
            self.board.outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        outcomes.push(outcome);
        drop(outcomes);
        self.board.lanes[self.index as usize].done.store(self.orders_seen, Ordering::Release);
        self.board.wake_main();
    }

    fn cut_seconds(&mut self) {
        while let Some(second) = self.desk.meter.take_second() {
            let mut seconds =
                self.board.seconds.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            seconds.push(second);
        }
    }

    fn connect_more(&mut self) {
        let desk = &mut self.desk;
        let total = self.net.count();
        while desk.next < total && desk.in_flight < desk.window {
            if self.net.phase(desk.next) == Phase::Absent {
                desk.in_flight += 1;
                self.net.connect(desk.next, desk.meter.now);
            }
            desk.next += 1;
        }
    }

    /// Copies the counters to where the main thread sees them.
    fn publish(&self) {
        let board = &self.board.lanes[self.index as usize];
        let (books, all) = (&self.desk.books, &self.desk.meter.all);
        board.ready.store(books.ready, Ordering::Release);
        board.failed.store(books.failed, Ordering::Release);
        board.owed.store(books.owed, Ordering::Release);
        board.came.store(books.came, Ordering::Release);
        board.sent.store(all.sent, Ordering::Release);
        board.operations.store(all.operations, Ordering::Release);
        board.bytes_in.store(self.net.bytes_in, Ordering::Release);
    }
}

/// Lets the runtime do what else there is. A task that woke itself would starve all others.
async fn yield_now() {
    monoio::spawn(async {}).await;
}
