//! What the mesh is built on. `tests/loom` compiles the files beside this one with another such
//! file, in which every order of steps that threads may take is tried.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

pub(super) use std::sync::Arc;
pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

pub(super) use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

/// What a worker waits on.
pub(super) type SignalFd = OwnedFd;

/// An eventfd.
#[derive(Debug)]
pub(super) struct Signal(OwnedFd);

impl Signal {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
    }

    pub(super) fn raise(&self) {
        // The counter is far from overflowing, and a bell that rings already needs no more.
        let _full = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    pub(super) fn clear(&self) {
        let mut count = [0; 8];
        // Nothing to read means it was not rung, which is just as well.
        let _silent = rustix::io::read(&self.0, &mut count);
    }

    /// A duplicate, to wait on.
    pub(super) fn fd(&self) -> io::Result<SignalFd> {
        self.0.as_fd().try_clone_to_owned()
    }
}
