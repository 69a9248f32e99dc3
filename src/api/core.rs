//! The one door to a core's shard, and what a host must offer.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use super::App;
use crate::base::Micros;
use crate::shard::Shard;

/// A future of one core.
pub type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// What the world around a core offers: the worker in production, the simulator's own in tests.
pub trait Host {
    /// Microseconds since the process started.
    fn now_us(&self) -> Micros;
    /// Runs a future on this core.
    fn spawn(&self, future: LocalFuture);
    /// Asks for [`Core::pump`] and the writes once everything runnable has run. Called at most
    /// once until the host has begun to do so.
    fn flush_soon(&self);
    /// What to await so that all else of this core has its turn first: clients, timers, errands.
    /// None if that is of no matter here: then errands that wait for it run after all others.
    fn turn(&self) -> Option<LocalFuture> {
        None
    }
    /// The process cannot go on: half-changed state must not serve. Never returns in production.
    fn abort(&self, why: &str);
}

/// One core: its shard, its application, its host.
pub struct Core {
    shard: RefCell<Shard>,
    host: Box<dyn Host>,
    app: OnceCell<App>,
    state: OnceCell<Rc<dyn Any>>,
    flush_asked: Cell<bool>,
    in_shard: Cell<bool>,
    /// The clock is not read again for verbs, see [`Self::at_one_time`].
    holds_time: Cell<bool>,
}

impl Core {
    /// A core without an application yet.
    #[must_use]
    pub fn new(shard: Shard, host: Box<dyn Host>) -> Rc<Self> {
        Rc::new(Self {
            shard: RefCell::new(shard),
            host,
            app: OnceCell::new(),
            state: OnceCell::new(),
            flush_asked: Cell::new(false),
            in_shard: Cell::new(false),
            holds_time: Cell::new(false),
        })
    }

    /// Builds the application of this core. Call it once, before the first connection.
    pub fn install(self: &Rc<Self>, build: &dyn Fn(&super::Io) -> App) {
        let mut app = build(&super::Io::new(Rc::clone(self)));
        if let Some(state) = app.take_state() {
            // The first one stays; `install` is called once.
            let _second = self.state.set(state);
        }
        if let Some(namer) = app.namer {
            self.shard.borrow_mut().set_namer(namer);
        }
        if let Some(likeness) = app.likeness {
            self.shard.borrow_mut().set_likeness(likeness);
        }
        let _second = self.app.set(app);
    }

    pub(super) fn app(&self) -> &App {
        self.app.get().expect("install comes before the first connection")
    }

    pub(super) fn state(&self) -> Option<&Rc<dyn Any>> {
        self.state.get()
    }

    pub(super) fn host(&self) -> &dyn Host {
        &*self.host
    }

    /// The time.
    #[must_use]
    pub fn now_us(&self) -> Micros {
        self.host.now_us()
    }

    /// Reads the clock and hands the time in; verbs inside [`Self::at_one_time`] go on from it.
    pub(super) fn tell_time(&self) -> Micros {
        let now = self.host.now_us();
        let mut shard = self.shard.borrow_mut();
        shard.set_now(now);
        // A clock that went back is not followed.
        shard.now()
    }

    /// Runs something short in which all verbs happen at the same time: the clock is read once
    /// and not at every verb, of which an event has a dozen.
    pub fn at_one_time<R>(&self, short: impl FnOnce() -> R) -> R {
        struct Held<'a>(&'a Cell<bool>, bool);
        impl Drop for Held<'_> {
            fn drop(&mut self) {
                self.0.set(self.1);
            }
        }
        self.tell_time();
        let _held = Held(&self.holds_time, self.holds_time.replace(true));
        short()
    }

    /// The one way into the shard. The closure cannot be async, so a borrow cannot live across
    /// an await: that mistake does not compile.
    ///
    /// # Panics
    /// If called from inside itself, which no public type makes possible.
    pub fn with<R>(&self, verb: impl FnOnce(&mut Shard) -> R) -> R {
        self.in_shard.set(true);
        let (result, output) = {
            let mut shard = self.shard.borrow_mut();
            if !self.holds_time.get() {
                shard.set_now(self.host.now_us());
            }
            let result = verb(&mut shard);
            (result, !self.flush_asked.get() && shard.has_output())
        };
        self.in_shard.set(false);
        if output {
            self.flush_asked.set(true);
            self.host.flush_soon();
        }
        result
    }

    /// Like [`Self::with`] for looking, without a clock read.
    pub(super) fn look<R>(&self, look: impl FnOnce(&Shard) -> R) -> R {
        look(&self.shard.borrow())
    }

    /// The host flushes in a moment, whatever happens until then: it need not be asked.
    pub fn claim_flush(&self) {
        self.flush_asked.set(true);
    }

    /// The host begins to flush: a new request to do so may come.
    pub fn begin_flush(&self) {
        self.flush_asked.set(false);
    }

    /// Whether a panic unwound out of the shard.
    pub(super) fn is_torn(&self) -> bool {
        self.in_shard.get()
    }
}
