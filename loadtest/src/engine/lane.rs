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

use super::board::{Board, Order, Outcome};
use super::desk::Desk;
use super::meter::Window;
use crate::clock::{MILLI, Nanos, SECOND};
use crate::load;
use crate::wire::net::Net;

/// A lane that sleeps looks for orders at least this often.
const SLEEP_MAX: Nanos = 20 * MILLI;
/// Turns of a busy lane between two turns of the runtime.
const YIELD_EVERY: u32 = 64;
/// Entries of the ring: the lane has few operations in it, since its sockets are on epoll.
const ENTRIES: u32 = 1_024;

/// One lane, on its own thread.
pub(super) struct Lane {
    board: Arc<Board>,
    index: u32,
    net: Net,
    desk: Desk,
    timer: OwnedFd,
    orders_seen: u64,
    turns: u32,
    /// Connections made at once, and the next one to make.
    window: u32,
    next: Option<u32>,
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
        let desk = Desk::new(&board, index);
        let (target, transport) = (Rc::new(board.target.clone()), board.scenario.transport);
        let auth = load::identities(&board, index);
        let mut net = Net::new(target, transport, desk.count(), auth)?;
        for conn in desk.narrow() {
            net.set_narrow(conn);
        }
        let lines = board.layout.share(board.scenario.rest_connections, index);
        net.open_lines(lines.end - lines.start, &Rc::new(board.rest.clone()));
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        net.watch(&timer)?;
        let window = (board.scenario.connect_window / board.layout.lanes).max(1);
        Ok(Self { board, index, net, desk, timer, orders_seen: 0, turns: 0, window, next: None })
    }

    async fn live(mut self) -> io::Result<()> {
        let wait = std::net::TcpStream::from(self.net.waitable()?);
        let wait = TcpStream::from_std(wait)?;
        let is_busy = self.board.scenario.busy_poll;
        loop {
            self.turns = self.turns.wrapping_add(1);
            let began = self.board.clock.now();
            self.desk.meter.now = began;
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
            let did = self.desk.each(&mut self.net, |load, cx| load.due(cx));
            self.net.flush();
            let count = self.net.turn(&mut self.desk)?;
            self.publish();
            let is_idle = count == 0 && !did;
            if self.turns.is_multiple_of(YIELD_EVERY) || self.net.has_helpers_at_work() {
                yield_now().await;
            }
            if !is_idle {
                continue;
            }
            if !is_busy {
                self.net.falls_asleep();
                self.arm_timer(began)?;
                wait.readable(false).await?;
            }
            let now = self.board.clock.now();
            self.desk.meter.now = now;
            self.desk.meter.idle(now - began);
        }
    }

    /// Lets the timer end the wait when something is due.
    fn arm_timer(&self, now: Nanos) -> io::Result<()> {
        let due = self.desk.next_due(now).unwrap_or(Nanos::MAX);
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
                self.next = Some(0);
            }
            Order::Run(stretch) => {
                self.desk.meter.begin(stretch.window);
                self.desk.stretch = Some(stretch);
                self.desk.each(&mut self.net, |load, cx| {
                    load.begin(cx, &stretch);
                    true
                });
            }
            Order::Collect => self.collect(),
            Order::End => return true,
        }
        false
    }

    fn collect(&mut self) {
        self.desk.stretch = None;
        self.desk.each(&mut self.net, |load, cx| {
            load.finish(cx);
            true
        });
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
        let Some(mut next) = self.next else { return };
        while next < self.net.count() && self.desk.in_flight < self.window {
            self.desk.in_flight += 1;
            self.net.connect(next, self.desk.meter.now);
            next += 1;
        }
        self.next = (next < self.net.count()).then_some(next);
    }

    /// Copies the counters to where the main thread sees them.
    fn publish(&self) {
        let board = &self.board.lanes[self.index as usize];
        let (books, all) = (&self.desk.books, &self.desk.meter.all);
        board.ready.store(books.ready, Ordering::Release);
        board.failed.store(books.failed, Ordering::Release);
        board.owed.store(books.owed, Ordering::Release);
        board.came.store(books.came, Ordering::Release);
        board.behind.store(u64::from(self.desk.owes_sends()), Ordering::Release);
        board.sent.store(all.sent, Ordering::Release);
        board.operations.store(all.operations, Ordering::Release);
        board.bytes_in.store(self.net.bytes_in, Ordering::Release);
    }
}

/// Lets the runtime do what else there is. A task that woke itself would starve all others.
async fn yield_now() {
    monoio::spawn(async {}).await;
}
