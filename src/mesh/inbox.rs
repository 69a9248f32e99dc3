//! What a core receives, and the bell that says so.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rustix::event::{EventfdFlags, eventfd};

/// Wakes a worker that sleeps in its ring.
///
/// Cost: nothing while the worker is awake; one write of 8 bytes to wake it, measured at 12 µs
/// where the core had gone to sleep.
#[derive(Debug)]
pub struct Bell {
    asleep: AtomicBool,
    eventfd: OwnedFd,
}

impl Bell {
    fn new() -> std::io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { asleep: AtomicBool::new(false), eventfd })
    }

    /// Something was put into the inbox.
    ///
    /// The fence pairs with the one in [`Inbox::sleep`]: either this side sees the flag, or the
    /// other side sees the message.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.swap(false, Ordering::SeqCst) {
            // The counter is far from overflowing, and a bell that rings already needs no more.
            let _full = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes());
        }
    }
}

/// A way into a core's inbox.
pub struct Outlet<T> {
    sender: Sender<T>,
    bell: Arc<Bell>,
}

impl<T> Clone for Outlet<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), bell: Arc::clone(&self.bell) }
    }
}

impl<T> Outlet<T> {
    /// Puts an item in and rings.
    ///
    /// # Errors
    /// The inbox is full or its core has ended: the item comes back.
    pub fn try_send(&self, item: T) -> Result<(), T> {
        match self.sender.try_send(item) {
            Ok(()) => {
                self.bell.ring();
                Ok(())
            }
            Err(TrySendError::Full(item) | TrySendError::Disconnected(item)) => Err(item),
        }
    }
}

/// A core's inbox.
pub struct Inbox<T> {
    receiver: Receiver<T>,
    bell: Arc<Bell>,
}

/// An inbox of `slots` and a way into it.
///
/// # Errors
/// There is no descriptor left for the bell.
pub fn inbox<T>(slots: usize) -> std::io::Result<(Outlet<T>, Inbox<T>)> {
    let (sender, receiver) = bounded(slots);
    let bell = Arc::new(Bell::new()?);
    let outlet = Outlet { sender, bell: Arc::clone(&bell) };
    Ok((outlet, Inbox { receiver, bell }))
}

impl<T> Inbox<T> {
    /// The next item, if there is one.
    #[must_use]
    pub fn try_recv(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }

    /// Declares the worker asleep. False if an item came in meanwhile: look again instead.
    #[must_use]
    pub fn sleep(&self) -> bool {
        self.bell.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.receiver.is_empty() {
            return true;
        }
        self.bell.asleep.store(false, Ordering::SeqCst);
        false
    }

    /// The worker woke up: the bell is silent again.
    pub fn wake(&self) {
        self.bell.asleep.store(false, Ordering::SeqCst);
        let mut count = [0; 8];
        // Nothing to read means it was not rung, which is just as well.
        let _silent = rustix::io::read(&self.bell.eventfd, &mut count);
    }

    /// A duplicate of the bell's descriptor, to wait on.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn bell_fd(&self) -> std::io::Result<OwnedFd> {
        let fd: BorrowedFd<'_> = self.bell.eventfd.as_fd();
        fd.try_clone_to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeper_is_always_woken() {
        let (outlet, inbox) = inbox::<u32>(64).expect("a descriptor is left");
        let sender = std::thread::spawn(move || {
            for item in 0..50_000 {
                let mut item = item;
                while let Err(back) = outlet.try_send(item) {
                    item = back;
                    std::thread::yield_now();
                }
            }
        });
        let bell = inbox.bell_fd().expect("a descriptor is left");
        let mut next = 0;
        while next < 50_000 {
            while let Some(item) = inbox.try_recv() {
                assert_eq!(item, next);
                next += 1;
            }
            if next < 50_000 && inbox.sleep() {
                let mut polled = [rustix::event::PollFd::new(&bell, rustix::event::PollFlags::IN)];
                let limit = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
                let ready = rustix::event::poll(&mut polled, Some(&limit)).expect("poll works");
                assert_eq!(ready, 1, "asleep with an item in the inbox and no ring");
                inbox.wake();
            }
        }
        sender.join().expect("the sender ends");
    }

    #[test]
    fn a_full_inbox_gives_the_item_back() {
        let (outlet, inbox) = inbox(1).expect("a descriptor is left");
        assert_eq!(outlet.try_send(1), Ok(()));
        assert_eq!(outlet.try_send(2), Err(2));
        assert_eq!(inbox.try_recv(), Some(1));
    }
}
