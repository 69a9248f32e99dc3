//! The connections of one thread, on an edge-triggered epoll set.
//!
//! Why not a monoio task a connection: a client that polls busily must not pay for arming a
//! wait and waking a task for every message, or it is dearer than the server it measures. So one
//! task of the runtime owns the sockets and reads them in a loop; while there is nothing to do it
//! either spins (`busy_poll`) or waits in the runtime for the epoll set itself to be readable.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};

use super::frame::{self, Kind, Masks};
use super::handshake;
pub use super::handshake::Phase;
use super::helpers::{Answer, Call, Helpers, Line, Post};
use super::poll::Poller;
use super::rest::{self, Rest};
use super::target::Target;
use crate::clock::Nanos;
use crate::scenario::Transport;

/// Received at once, and so the largest frame.
pub(super) const SCRATCH_BYTES: usize = 1 << 20;
/// Events taken from the kernel at once.
const EVENTS: usize = 512;

/// What happened to a connection.
pub enum Event<'a> {
    /// Its namespace is connected.
    Up,
    /// A Socket.IO packet came.
    Packet(&'a [u8]),
    /// It is gone: refused, closed or broken.
    Down(String),
}

/// Hears what happens on the connections of a thread.
pub trait Listener {
    /// Something happened. What it sends leaves when it returns.
    fn hear(&mut self, net: &mut Net, conn: u32, event: Event<'_>);
    /// A batch of input was received: a good moment to look at the clock.
    fn received(&mut self, net: &mut Net);
    /// A REST call was answered.
    fn answered(&mut self, net: &mut Net, answer: Answer);
}

/// One connection.
pub(super) struct Conn {
    pub(super) socket: Option<OwnedFd>,
    pub(super) phase: Phase,
    /// Is in `dirty`.
    pub(super) is_dirty: bool,
    /// The kernel took less than was sent.
    pub(super) is_blocked: bool,
    /// Does not read.
    pub(super) is_deaf: bool,
    /// Takes little into the kernel, so that a server soon feels it if it does not read.
    pub(super) is_narrow: bool,
    /// How often it was connected.
    pub(super) life: u32,
    /// What a connection by polling posts; none on a WebSocket.
    pub(super) post: Option<Rc<Post>>,
    /// Of the polling session that is to be upgraded.
    pub(super) sid: String,
    pub(super) began_at: Nanos,
    /// Waits to be sent.
    pub(super) unsent: Vec<u8>,
    /// The beginning of a frame or of the answer to the upgrade.
    pub(super) partial: Vec<u8>,
    /// The message of which fragments came.
    pub(super) fragments: Option<Vec<u8>>,
}

/// The connections of one thread.
pub struct Net {
    pub(super) epoll: OwnedFd,
    pub(super) conns: Vec<Conn>,
    /// What each says in its CONNECT, if anything.
    pub(super) auth: Box<dyn Fn(u32) -> String>,
    target: Rc<Target>,
    pub(super) transport: Transport,
    pub(super) helpers: Rc<Helpers>,
    lines: Vec<Rc<Line>>,
    pub(super) masks: Masks,
    pub(super) scratch: Vec<u8>,
    pub(super) events: Vec<epoll::Event>,
    dirty: Vec<u32>,
    /// Broke while being written to; heard about at the next turn.
    pub(super) broken: VecDeque<(u32, String)>,
    /// Bytes received.
    pub bytes_in: u64,
}

impl Net {
    /// `count` connections that do not stand yet. `auth` is asked for the payload of CONNECT.
    ///
    /// # Errors
    /// No epoll set can be made.
    pub fn new(
        target: Rc<Target>,
        transport: Transport,
        count: u32,
        auth: Box<dyn Fn(u32) -> String>,
    ) -> io::Result<Self> {
        let conn = || Conn {
            socket: None,
            phase: Phase::Absent,
            is_dirty: false,
            is_blocked: false,
            is_deaf: false,
            is_narrow: false,
            life: 0,
            post: None,
            sid: String::new(),
            began_at: 0,
            unsent: Vec::new(),
            partial: Vec::new(),
            fragments: None,
        };
        let helpers = Helpers::new()?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        watch(&epoll, helpers.wake_fd())?;
        Ok(Self {
            epoll,
            transport,
            helpers,
            lines: Vec::new(),
            conns: (0..count).map(|_| conn()).collect(),
            auth,
            target,
            masks: Masks::new(0x9e37_79b9),
            scratch: vec![0; SCRATCH_BYTES],
            events: Vec::with_capacity(EVENTS),
            dirty: Vec::new(),
            broken: VecDeque::new(),
            bytes_in: 0,
        })
    }

    /// Another handle on the epoll set, to wait for it to become readable.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn waitable(&self) -> io::Result<OwnedFd> {
        self.epoll.try_clone()
    }

    /// Adds a descriptor whose readiness only has to end a wait.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn watch(&self, fd: &OwnedFd) -> io::Result<()> {
        watch(&self.epoll, fd)
    }

    /// Opens `count` lines for REST calls. They connect when they have something to call.
    pub fn open_lines(&mut self, count: u32, rest: &Rc<Rest>) {
        for _ in 0..count {
            let line = Rc::new(Line::default());
            self.lines.push(Rc::clone(&line));
            let helpers = Rc::clone(&self.helpers);
            drop(monoio::spawn(rest::serve(helpers, line, Rc::clone(rest))));
        }
    }

    /// Makes a REST call on line `line`, counted round.
    pub fn call(&mut self, line: u32, call: Call) {
        let count = self.lines.len().max(1);
        if let Some(line) = self.lines.get(line as usize % count) {
            line.calls.borrow_mut().push_back(call);
            line.bell.ring();
        }
    }

    /// Whether tasks beside the lane's sockets may have something to do.
    #[must_use]
    pub fn has_helpers_at_work(&self) -> bool {
        self.helpers.active.get() > 0 || self.lines.iter().any(|l| !l.calls.borrow().is_empty())
    }

    /// The lane is about to wait: news must wake it.
    pub fn falls_asleep(&self) {
        self.helpers.lane_sleeps.set(true);
    }

    /// Marks a connection that will take little into the kernel.
    pub fn set_narrow(&mut self, conn: u32) {
        self.conns[conn as usize].is_narrow = true;
    }

    /// Stops a connection's reading for good.
    pub fn set_deaf(&mut self, conn: u32) {
        self.conns[conn as usize].is_deaf = true;
    }

    /// How many connections there can be.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.conns.len()).unwrap_or(u32::MAX)
    }

    /// How far a connection is.
    #[must_use]
    pub fn phase(&self, conn: u32) -> Phase {
        self.conns[conn as usize].phase
    }

    /// When a connection was begun.
    #[must_use]
    pub fn began_at(&self, conn: u32) -> Nanos {
        self.conns[conn as usize].began_at
    }

    /// Begins a connection. What comes of it is heard as an event.
    pub fn connect(&mut self, conn: u32, now: Nanos) {
        let place = &mut self.conns[conn as usize];
        place.began_at = now;
        place.life += 1;
        if self.transport == Transport::Websocket {
            return self.open_socket(conn, "");
        }
        place.phase = Phase::Opening;
        let post = Rc::new(Post::default());
        place.post = Some(Rc::clone(&post));
        let poller = Poller {
            helpers: Rc::clone(&self.helpers),
            target: Rc::clone(&self.target),
            post,
            conn,
            life: place.life,
            upgrades: self.transport == Transport::Upgrade,
        };
        drop(monoio::spawn(poller.live()));
    }

    pub(super) fn open_socket(&mut self, conn: u32, query: &str) {
        let place = &mut self.conns[conn as usize];
        place.phase = Phase::Upgrading;
        place.unsent.clear();
        place.partial.clear();
        place.unsent.extend_from_slice(handshake::request(&self.target.host, query).as_bytes());
        place.is_blocked = true;
        match open(&self.epoll, &self.target, conn, place.is_narrow) {
            Ok(socket) => place.socket = Some(socket),
            Err(why) => self.broken.push_back((conn, format!("connect: {why}"))),
        }
    }

    /// Ends a connection; nothing more is heard of it.
    pub fn close(&mut self, conn: u32) {
        let place = &mut self.conns[conn as usize];
        if let Some(post) = place.post.take() {
            post.is_closed.set(true);
            post.push(b"1");
        }
        place.life += 1;
        place.socket = None;
        place.phase = Phase::Absent;
        place.unsent = Vec::new();
        place.partial = Vec::new();
        place.fragments = None;
    }

    /// Sends an Engine.IO packet of text. It leaves with everything else this connection sends in
    /// the tick, or later if the kernel takes no more.
    #[inline]
    pub fn send(&mut self, conn: u32, packet: &[u8]) {
        let place = &mut self.conns[conn as usize];
        if place.socket.is_none() {
            if let Some(post) = &place.post {
                post.push(packet);
            }
            return;
        }
        frame::write(&mut place.unsent, &mut self.masks, Kind::Text, packet);
        if !place.is_dirty && !place.is_blocked {
            place.is_dirty = true;
            self.dirty.push(conn);
        }
    }

    /// Writes what was sent since the last time.
    pub fn flush(&mut self) {
        while let Some(conn) = self.dirty.pop() {
            self.conns[conn as usize].is_dirty = false;
            self.write(conn);
        }
    }

    pub(super) fn write(&mut self, conn: u32) {
        let place = &mut self.conns[conn as usize];
        let Some(socket) = &place.socket else { return };
        if place.unsent.is_empty() {
            place.is_blocked = false;
            return;
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::net::send(socket, &place.unsent, flags) {
            Ok(count) if count == place.unsent.len() => {
                place.unsent.clear();
                place.is_blocked = false;
            }
            Ok(count) => {
                place.unsent.drain(..count);
                place.is_blocked = true;
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::NOTCONN) => place.is_blocked = true,
            Err(why) => self.broken.push_back((conn, format!("send: {why}"))),
        }
    }
}

/// Adds a descriptor whose readiness only has to end a wait. On edges, so that nobody has to read
/// it empty.
fn watch(epoll: &OwnedFd, fd: &OwnedFd) -> io::Result<()> {
    epoll::add(epoll, fd, EventData::new_u64(u64::MAX), EventFlags::IN | EventFlags::ET)?;
    Ok(())
}

/// What a narrow connection takes in.
const NARROW_BYTES: usize = 4_096;

fn open(epoll: &OwnedFd, target: &Target, conn: u32, is_narrow: bool) -> Result<OwnedFd, Errno> {
    let family = if target.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
    if is_narrow {
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, NARROW_BYTES)?;
    }
    match rustix::net::connect(&socket, &target.address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(why) => return Err(why),
    }
    let interest = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
    epoll::add(epoll, socket.as_fd(), EventData::new_u64(conn.into()), interest)?;
    Ok(socket)
}
