//! Stands where `src/mesh/sync.rs` does, on loom.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;

use loom::sync::atomic::AtomicUsize;
use loom::sync::{Condvar, Mutex};

pub(super) use loom::sync::Arc;
pub(super) use loom::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    /// Set by the test that shows what fences are for.
    pub(super) static FENCELESS: Cell<bool> = const { Cell::new(false) };
    /// Set where a flag is written more than once; see [`AtomicBool::store`].
    pub(super) static STORES_SWAP: Cell<bool> = const { Cell::new(false) };
}

/// A flag.
#[derive(Debug)]
pub(super) struct AtomicBool(loom::sync::atomic::AtomicBool);

impl AtomicBool {
    pub(super) fn new(value: bool) -> Self {
        Self(loom::sync::atomic::AtomicBool::new(value))
    }

    pub(super) fn swap(&self, value: bool, order: Ordering) -> bool {
        self.0.swap(value, order)
    }

    /// A swap reads the last value before its own, and no store comes between the two. Loom 0.7
    /// forgets the second half: it lets a later swap step over a plain store that was made after
    /// the value the swap before it had read, and finds a sleeper that no machine has. Where that
    /// can be, stores are swaps too, which is also what they are on x86.
    pub(super) fn store(&self, value: bool, order: Ordering) {
        if STORES_SWAP.get() {
            self.0.swap(value, order);
        } else {
            self.0.store(value, order);
        }
    }
}

pub(super) fn fence(order: Ordering) {
    if !FENCELESS.get() {
        loom::sync::atomic::fence(order);
    }
}

/// A bounded channel. As in crossbeam's, whether it is empty is seen from counters and without a
/// lock: that is what a sleeper's last look depends on.
struct Channel<T> {
    items: Mutex<VecDeque<T>>,
    slots: usize,
    sent: AtomicUsize,
    taken: AtomicUsize,
}

pub(super) enum TrySendError<T> {
    Full(T),
    #[expect(dead_code, reason = "receivers live as long as their model")]
    Disconnected(T),
}

pub(super) struct Sender<T>(Arc<Channel<T>>);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Sender<T> {
    pub(super) fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        let mut items = self.0.items.lock().expect("nobody panics with it");
        if items.len() == self.0.slots {
            return Err(TrySendError::Full(item));
        }
        // As in crossbeam's: the place is counted before the item can be taken.
        self.0.sent.fetch_add(1, Ordering::SeqCst);
        items.push_back(item);
        Ok(())
    }
}

pub(super) struct Receiver<T>(Arc<Channel<T>>);

impl<T> Receiver<T> {
    pub(super) fn try_recv(&self) -> Result<T, ()> {
        let mut items = self.0.items.lock().expect("nobody panics with it");
        let item = items.pop_front().ok_or(())?;
        self.0.taken.fetch_add(1, Ordering::SeqCst);
        Ok(item)
    }

    pub(super) fn is_empty(&self) -> bool {
        let taken = self.0.taken.load(Ordering::SeqCst);
        taken == self.0.sent.load(Ordering::SeqCst)
    }
}

pub(super) fn bounded<T>(slots: usize) -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(Channel {
        items: Mutex::new(VecDeque::new()),
        slots,
        sent: AtomicUsize::new(0),
        taken: AtomicUsize::new(0),
    });
    (Sender(Arc::clone(&channel)), Receiver(channel))
}

/// An eventfd: a count, and somebody who waits until it is not 0.
#[derive(Debug)]
pub(super) struct Signal(SignalFd);

pub(super) type SignalFd = Arc<(Mutex<u64>, Condvar)>;

impl Signal {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new((Mutex::new(0), Condvar::new()))))
    }

    pub(super) fn raise(&self) {
        *self.0.0.lock().expect("nobody panics with it") += 1;
        self.0.1.notify_one();
    }

    pub(super) fn clear(&self) {
        *self.0.0.lock().expect("nobody panics with it") = 0;
    }

    pub(super) fn fd(&self) -> io::Result<SignalFd> {
        Ok(Arc::clone(&self.0))
    }
}

/// Whether a worker's ring would wake up.
pub(super) fn is_raised(fd: &SignalFd) -> bool {
    *fd.0.lock().expect("nobody panics with it") > 0
}

/// Waits as a worker's ring does.
pub(super) fn wait(fd: &SignalFd) {
    let mut count = fd.0.lock().expect("nobody panics with it");
    while *count == 0 {
        count = fd.1.wait(count).expect("nobody panics with it");
    }
}
