//! What the main thread and the lanes share.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Thread;

use super::layout::Layout;
use super::meter::{Counts, Hist, Second, Timing, Window};
use crate::clock::{Clock, Nanos};
use crate::model::Oracle;
use crate::scenario::Scenario;
use crate::wire::rest::Rest;
use crate::wire::target::Target;

/// A time of load.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// When sending begins.
    pub begin: Nanos,
    /// What is measured; sending ends with it.
    pub window: Window,
    /// Open loop: messages a second over all lanes.
    pub rate: Option<f64>,
}

/// What lanes are to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// Wait.
    Wait,
    /// Make the connections.
    Connect(Window),
    /// Load.
    Run(Stretch),
    /// Hand over what was measured.
    Collect,
    /// Close and end.
    End,
}

/// Counters of a lane, read by the main thread.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct LaneBoard {
    /// Connections that stand and are prepared.
    pub(super) ready: AtomicU64,
    /// Connections that failed or went.
    pub(super) failed: AtomicU64,
    /// Deliveries and answers that are owed.
    pub(super) owed: AtomicU64,
    /// 1 while not all has been sent that should have been.
    pub(super) behind: AtomicU64,
    /// Those that came.
    pub(super) came: AtomicU64,
    /// [`Counts`] of everything.
    pub(super) sent: AtomicU64,
    pub(super) operations: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    /// How many orders were carried out.
    pub(super) done: AtomicU64,
}

/// What a lane hands over at the end of a stretch.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) counted: Counts,
    pub(super) oracle: Oracle,
    pub(super) latencies: Vec<(Timing, Hist)>,
    pub(super) idle: Nanos,
}

/// What the main thread and the lanes share.
pub struct Board {
    /// The time of the run.
    pub clock: Clock,
    /// What is run.
    pub scenario: Scenario,
    /// Against what.
    pub target: Target,
    /// Where REST calls go.
    pub rest: Rest,
    /// Who does what.
    pub layout: Layout,
    /// By room and sender: how many were sent.
    pub sent: Box<[AtomicU32]>,
    /// By room: how many deliveries came, where a room spans lanes.
    pub came: Box<[AtomicU64]>,
    /// By room: members that have joined.
    pub members: Box<[AtomicU32]>,
    pub(super) lanes: Box<[LaneBoard]>,
    pub(super) seconds: Mutex<Vec<Second>>,
    pub(super) outcomes: Mutex<Vec<Outcome>>,
    /// Why connections failed: the first reason.
    pub(super) trouble: Mutex<Option<String>>,
    orders: AtomicU64,
    order: Mutex<Order>,
    main: Thread,
}

impl Board {
    pub(super) fn new(clock: Clock, scenario: Scenario, rest: Rest) -> Self {
        let layout = Layout::new(&scenario);
        let rooms = layout.rooms as usize;
        let senders = layout.senders as usize;
        Self {
            clock,
            target: rest.public.clone(),
            rest,
            sent: (0..rooms * senders).map(|_| AtomicU32::new(0)).collect(),
            came: (0..rooms).map(|_| AtomicU64::new(0)).collect(),
            members: (0..rooms).map(|_| AtomicU32::new(0)).collect(),
            lanes: (0..layout.lanes).map(|_| LaneBoard::default()).collect(),
            seconds: Mutex::default(),
            outcomes: Mutex::default(),
            trouble: Mutex::default(),
            orders: AtomicU64::new(0),
            order: Mutex::new(Order::Wait),
            main: std::thread::current(),
            layout,
            scenario,
        }
    }

    /// Gives all lanes an order. Returns its number.
    pub(super) fn give(&self, order: Order) -> u64 {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner) = order;
        self.orders.fetch_add(1, Ordering::Release) + 1
    }

    /// The newest order, if it is another than number `seen`.
    #[inline]
    pub(super) fn order_after(&self, seen: u64) -> Option<(u64, Order)> {
        let number = self.orders.load(Ordering::Acquire);
        (number != seen)
            .then(|| (number, *self.order.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Wakes the main thread.
    pub(super) fn wake_main(&self) {
        self.main.unpark();
    }

    /// Sums a counter over the lanes.
    pub(super) fn sum(&self, counter: impl Fn(&LaneBoard) -> &AtomicU64) -> u64 {
        self.lanes.iter().map(|lane| counter(lane).load(Ordering::Acquire)).sum()
    }

    pub(super) fn trouble(&self, why: &str) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.get_or_insert_with(|| why.to_owned());
    }
}
