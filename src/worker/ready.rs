//! Which connections have something to do: one edge-triggered watch for all of them.
//!
//! A connection is told to the kernel once, when it is taken in. After that neither its input nor
//! its waiting costs a system call, a task or a byte of ours: the ring watches this one descriptor,
//! and a round asks it for everybody who became ready.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::base::Key;

/// Connections that one question to the kernel may name.
pub(super) const BATCH: usize = 512;

/// The watch.
pub(super) struct Ready {
    watch: OwnedFd,
}

/// What the kernel has to say of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sign {
    pub(super) key: Key,
    /// There is input, or an end.
    pub(super) readable: bool,
    /// The kernel may take more.
    pub(super) writable: bool,
    /// A short read is not the last one: an end follows the input, or there is a mark in it (urgent
    /// data), at which a read stops.
    pub(super) reads_on: bool,
    /// The connection is broken: nobody takes an answer any more.
    pub(super) broken: bool,
}

impl Ready {
    /// A watch of nothing yet.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { watch: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// A descriptor that is readable while [`Self::take`] has something.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub(super) fn bell_fd(&self) -> io::Result<OwnedFd> {
        self.watch.try_clone()
    }

    /// Watches a connection until its descriptor is closed or taken back.
    ///
    /// # Errors
    /// The kernel has no memory for it.
    pub(super) fn add(&self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        let input = EventFlags::IN | EventFlags::PRI | EventFlags::RDHUP;
        let interest = input | EventFlags::OUT | EventFlags::ET;
        Ok(epoll::add(&self.watch, fd, EventData::new_u64(key.to_u64()), interest)?)
    }

    /// Watches a descriptor no longer that stays open, because it moves to another core.
    pub(super) fn remove(&self, fd: BorrowedFd<'_>) {
        // It was added, and nobody else takes it back.
        let _gone = epoll::delete(&self.watch, fd);
    }

    /// Those that became ready since the last time, `BATCH` of them at most. Keys may be stale.
    pub(super) fn take(&self, events: &mut Vec<Event>) -> usize {
        events.clear();
        let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let room = rustix::buffer::spare_capacity(events);
        // Interrupted means nothing is ready yet; the watch stays readable.
        epoll::wait(self.watch.as_fd(), room, Some(&at_once)).unwrap_or(0)
    }
}

impl From<&Event> for Sign {
    fn from(event: &Event) -> Self {
        let flags = event.flags;
        let broken = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        let reads_on = broken || flags.intersects(EventFlags::RDHUP | EventFlags::PRI);
        Self {
            key: Key::from_u64(event.data.u64()),
            readable: reads_on || flags.contains(EventFlags::IN),
            writable: broken || flags.contains(EventFlags::OUT),
            reads_on,
            broken,
        }
    }
}
