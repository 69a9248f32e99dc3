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
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::frame::{self, Kind, Masks};
use super::handshake;
pub use super::handshake::Phase;
use super::helpers::{Answer, Call, Helpers, Line, News, Post};
use super::poll::{Poller, SEPARATOR};
use super::rest::{self, Rest};
use super::target::Target;
use crate::clock::Nanos;
use crate::scenario::Transport;

/// Received at once, and so the largest frame.
const SCRATCH_BYTES: usize = 1 << 20;
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
struct Conn {
    socket: Option<OwnedFd>,
    phase: Phase,
    /// Is in `dirty`.
    is_dirty: bool,
    /// The kernel took less than was sent.
    is_blocked: bool,
    /// Does not read.
    is_deaf: bool,
    /// Takes little into the kernel, so that a server soon feels it if it does not read.
    is_narrow: bool,
    /// How often it was connected.
    life: u32,
    /// What a connection by polling posts; none on a WebSocket.
    post: Option<Rc<Post>>,
    /// Of the polling session that is to be upgraded.
    sid: String,
    began_at: Nanos,
    /// Waits to be sent.
    unsent: Vec<u8>,
    /// The beginning of a frame or of the answer to the upgrade.
    partial: Vec<u8>,
    /// The message of which fragments came.
    fragments: Option<Vec<u8>>,
}

/// The connections of one thread.
pub struct Net {
    epoll: OwnedFd,
    conns: Vec<Conn>,
    /// What each says in its CONNECT, if anything.
    auth: Box<dyn Fn(u32) -> String>,
    target: Rc<Target>,
    transport: Transport,
    helpers: Rc<Helpers>,
    lines: Vec<Rc<Line>>,
    masks: Masks,
    scratch: Vec<u8>,
    events: Vec<epoll::Event>,
    dirty: Vec<u32>,
    /// Broke while being written to; heard about at the next turn.
    broken: VecDeque<(u32, String)>,
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

    fn open_socket(&mut self, conn: u32, query: &str) {
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

    fn write(&mut self, conn: u32) {
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

    /// Handles what is ready, without waiting. Returns how much there was.
    ///
    /// # Errors
    /// The epoll set fails.
    pub fn turn(&mut self, listener: &mut impl Listener) -> io::Result<usize> {
        while let Some((conn, why)) = self.broken.pop_front() {
            self.down(listener, conn, why);
        }
        let mut count = self.hear_helpers(listener);
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let zero = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let spare = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, spare, Some(&zero)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(why) => return Err(why.into()),
        }
        for event in &events {
            // Only wakes.
            let Ok(conn) = u32::try_from(event.data.u64()) else { continue };
            count += 1;
            let flags = event.flags;
            if flags.contains(EventFlags::OUT) && self.conns[conn as usize].is_blocked {
                self.write(conn);
            }
            if flags.intersects(EventFlags::IN | EventFlags::ERR | EventFlags::HUP) {
                self.read(listener, conn);
            }
            self.flush();
        }
        self.events = events;
        Ok(count)
    }

    /// Takes what polling and REST calls brought.
    fn hear_helpers(&mut self, listener: &mut impl Listener) -> usize {
        let mut count = 0;
        let helpers = Rc::clone(&self.helpers);
        while let Some(news) = helpers.hear() {
            count += 1;
            match news {
                News::Body { conn, life, body } if self.conns[conn as usize].life == life => {
                    self.bytes_in += body.len() as u64;
                    listener.received(self);
                    for packet in body.split(|byte| *byte == SEPARATOR) {
                        self.engine(listener, conn, packet);
                    }
                }
                News::Down { conn, life, why } if self.conns[conn as usize].life == life => {
                    self.down(listener, conn, why);
                }
                News::Answer(answer) => listener.answered(self, answer),
                // Of a connection that is no more.
                News::Body { .. } | News::Down { .. } => {}
            }
            self.flush();
        }
        count
    }

    /// Reads a connection until the kernel has no more.
    fn read(&mut self, listener: &mut impl Listener, conn: u32) {
        let mut scratch = std::mem::take(&mut self.scratch);
        loop {
            let place = &mut self.conns[conn as usize];
            let Some(socket) = &place.socket else { break };
            if place.is_deaf {
                break;
            }
            let held = place.partial.len();
            scratch[..held].copy_from_slice(&place.partial);
            place.partial.clear();
            let room = &mut scratch[held..];
            let space = room.len();
            match rustix::net::recv(socket, room, RecvFlags::DONTWAIT) {
                Ok((0, _)) => {
                    self.down(listener, conn, String::from("closed by the server"));
                    break;
                }
                Ok((count, _)) => {
                    self.bytes_in += count as u64;
                    listener.received(self);
                    self.parse(listener, conn, &scratch[..held + count]);
                    // A short read has emptied the socket: the next byte makes a new edge.
                    if count < space {
                        break;
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => {
                    place.partial.extend_from_slice(&scratch[..held]);
                    break;
                }
                Err(why) => {
                    self.down(listener, conn, format!("receive: {why}"));
                    break;
                }
            }
        }
        self.scratch = scratch;
    }

    fn parse(&mut self, listener: &mut impl Listener, conn: u32, bytes: &[u8]) {
        let mut at = 0;
        if self.phase(conn) == Phase::Upgrading {
            match handshake::answer(bytes) {
                Ok(Some(length)) => {
                    at = length;
                    let upgrades = self.transport == Transport::Upgrade;
                    let phase = if upgrades { Phase::Probing } else { Phase::Opening };
                    self.conns[conn as usize].phase = phase;
                    self.conns[conn as usize].is_blocked = false;
                    if upgrades {
                        self.send(conn, b"2probe");
                    }
                }
                Ok(None) => {}
                Err(why) => return self.down(listener, conn, why),
            }
        }
        while self.phase(conn) > Phase::Upgrading {
            match frame::read(bytes, at) {
                Ok(Some(frame)) => {
                    at = frame.payload.end;
                    self.take(listener, conn, &frame, bytes);
                }
                Ok(None) => break,
                Err(frame::Broken) => {
                    return self.down(listener, conn, String::from("a frame no server may send"));
                }
            }
        }
        if at < bytes.len() && self.phase(conn) != Phase::Absent {
            if bytes.len() - at >= SCRATCH_BYTES / 2 {
                return self.down(listener, conn, String::from("a frame of over 512 KiB"));
            }
            self.conns[conn as usize].partial.extend_from_slice(&bytes[at..]);
        }
    }

    /// Takes a frame that stands whole in `bytes`.
    #[inline]
    fn take(
        &mut self,
        listener: &mut impl Listener,
        conn: u32,
        frame: &frame::Frame,
        bytes: &[u8],
    ) {
        let payload = &bytes[frame.payload.clone()];
        if frame.kind == Kind::Text && frame.is_last {
            return self.engine(listener, conn, payload);
        }
        match frame.kind {
            Kind::Text | Kind::Continuation => {
                let place = &mut self.conns[conn as usize];
                let fragments = place.fragments.get_or_insert_default();
                fragments.extend_from_slice(payload);
                if frame.is_last
                    && let Some(whole) = place.fragments.take()
                {
                    self.engine(listener, conn, &whole);
                }
            }
            Kind::Ping => {
                let place = &mut self.conns[conn as usize];
                frame::write(&mut place.unsent, &mut self.masks, Kind::Pong, payload);
                self.write(conn);
            }
            Kind::Close => self.down(listener, conn, String::from("closed by a frame")),
            Kind::Pong | Kind::Binary => {}
        }
    }

    /// Takes an Engine.IO packet.
    #[inline]
    fn engine(&mut self, listener: &mut impl Listener, conn: u32, packet: &[u8]) {
        match packet {
            [b'4', b'2' | b'3', ..] => listener.hear(self, conn, Event::Packet(&packet[1..])),
            [b'2'] => self.send(conn, b"3"),
            b"3probe" => {
                self.send(conn, b"5");
                self.conns[conn as usize].phase = Phase::Up;
                listener.hear(self, conn, Event::Up);
            }
            [b'0', open @ ..] => {
                self.conns[conn as usize].phase = Phase::Joining;
                self.conns[conn as usize].sid = super::poll::session(open).unwrap_or_default();
                let connect = format!("40{}", (self.auth)(conn));
                self.send(conn, connect.as_bytes());
            }
            [b'4', b'0', ..] if self.must_upgrade(conn) => {
                let place = &mut self.conns[conn as usize];
                // What polling had to post is posted; the WebSocket takes over.
                if let Some(post) = place.post.take() {
                    post.is_closed.set(true);
                    post.bell.ring();
                }
                let query = format!("&sid={}", place.sid);
                self.open_socket(conn, &query);
            }
            [b'4', b'0', ..] => {
                self.conns[conn as usize].phase = Phase::Up;
                listener.hear(self, conn, Event::Up);
            }
            [b'4', b'4', why @ ..] => {
                let why = format!("CONNECT refused: {}", String::from_utf8_lossy(why));
                self.down(listener, conn, why);
            }
            [b'4', b'1', ..] | [b'1', ..] => {
                self.down(listener, conn, String::from("disconnected by the server"));
            }
            _ => {}
        }
    }

    fn down(&mut self, listener: &mut impl Listener, conn: u32, why: String) {
        if self.conns[conn as usize].phase != Phase::Absent {
            self.close(conn);
            listener.hear(self, conn, Event::Down(why));
        }
    }

    fn must_upgrade(&self, conn: u32) -> bool {
        self.transport == Transport::Upgrade && self.conns[conn as usize].post.is_some()
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
