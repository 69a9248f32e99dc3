//! What runs in tasks beside a lane's own sockets: polling and REST calls, both over HTTP.
//!
//! They need no hurry: what costs is the HTTP. A task tells its news into a queue that the lane
//! empties once a turn, so that loads hear of everything in one place.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Poll, Waker};

use rustix::event::{EventfdFlags, eventfd};

use crate::clock::Nanos;

/// Wakes one task.
#[derive(Default)]
pub(super) struct Bell {
    rung: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Bell {
    pub(super) fn ring(&self) {
        self.rung.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Waits until it is rung, or returns at once if it was since the last wait.
    pub(super) async fn wait(&self) {
        poll_fn(|cx| {
            if self.rung.take() {
                return Poll::Ready(());
            }
            self.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// A REST call.
#[derive(Debug)]
pub struct Call {
    /// Where to, on the admin listener or, for `/pub`, the public one.
    pub path: &'static str,
    /// JSON.
    pub body: Vec<u8>,
    /// Comes back with the answer.
    pub tag: u32,
    /// When it should have been made.
    pub since: Nanos,
}

/// What became of a REST call.
#[derive(Clone, Debug)]
pub struct Answer {
    /// That of the call.
    pub tag: u32,
    /// That of the call.
    pub since: Nanos,
    /// The status, or why there is none.
    pub status: Result<u16, String>,
}

/// What a task has to tell.
pub(super) enum News {
    /// Packets came by polling.
    Body { conn: u32, life: u32, body: bytes::Bytes },
    /// A connection by polling is gone.
    Down { conn: u32, life: u32, why: String },
    /// A REST call was answered.
    Answer(Answer),
}

/// A connection for REST calls, and what waits for it.
#[derive(Default)]
pub(super) struct Line {
    pub(super) calls: RefCell<VecDeque<Call>>,
    pub(super) bell: Bell,
}

/// What a polling connection has to post.
#[derive(Default)]
pub(super) struct Post {
    /// Packets, separated as in a body.
    pub(super) packets: RefCell<Vec<u8>>,
    pub(super) bell: Bell,
    pub(super) is_closed: Cell<bool>,
}

impl Post {
    pub(super) fn push(&self, packet: &[u8]) {
        let mut packets = self.packets.borrow_mut();
        if !packets.is_empty() {
            packets.push(super::poll::SEPARATOR);
        }
        packets.extend_from_slice(packet);
        drop(packets);
        self.bell.ring();
    }
}

/// The queue between the tasks and the lane.
pub(super) struct Helpers {
    news: RefCell<VecDeque<News>>,
    /// Tasks that may have something to do.
    pub(super) active: Cell<u32>,
    /// The lane waits in the kernel.
    pub(super) lane_sleeps: Cell<bool>,
    wake: OwnedFd,
}

impl Helpers {
    pub(super) fn new() -> std::io::Result<Rc<Self>> {
        Ok(Rc::new(Self {
            news: RefCell::default(),
            active: Cell::new(0),
            lane_sleeps: Cell::new(false),
            wake: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
        }))
    }

    pub(super) fn wake_fd(&self) -> &OwnedFd {
        &self.wake
    }

    pub(super) fn tell(&self, news: News) {
        self.news.borrow_mut().push_back(news);
        if self.lane_sleeps.replace(false) {
            // The counter cannot overflow, and a lane that is awake anyway needs no waking.
            let _woken = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }

    pub(super) fn hear(&self) -> Option<News> {
        self.news.borrow_mut().pop_front()
    }
}
