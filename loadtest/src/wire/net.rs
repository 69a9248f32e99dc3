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
use super::target::Target;
use crate::clock::Nanos;

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
        count: u32,
        auth: Box<dyn Fn(u32) -> String>,
    ) -> io::Result<Self> {
        let conn = || Conn {
            socket: None,
            phase: Phase::Absent,
            is_dirty: false,
            is_blocked: false,
            is_deaf: false,
            began_at: 0,
            unsent: Vec::new(),
            partial: Vec::new(),
            fragments: None,
        };
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
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
        epoll::add(&self.epoll, fd, EventData::new_u64(u64::MAX), EventFlags::IN)?;
        Ok(())
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
        place.phase = Phase::Upgrading;
        place.began_at = now;
        place.unsent.clear();
        place.partial.clear();
        place.unsent.extend_from_slice(handshake::request(&self.target.host, "").as_bytes());
        place.is_blocked = true;
        match open(&self.epoll, &self.target, conn) {
            Ok(socket) => place.socket = Some(socket),
            Err(why) => self.broken.push_back((conn, format!("connect: {why}"))),
        }
    }

    /// Ends a connection without a word to anybody here. With `reset` the server sees no goodbye.
    pub fn close(&mut self, conn: u32) {
        let place = &mut self.conns[conn as usize];
        place.socket = None;
        place.phase = Phase::Absent;
        place.unsent = Vec::new();
        place.partial = Vec::new();
        place.fragments = None;
    }

    /// Sends a Socket.IO packet. It leaves with everything else this connection sends in the
    /// tick, or later if the kernel takes no more.
    #[inline]
    pub fn send(&mut self, conn: u32, packet: &[u8]) {
        // An Engine.IO message is a 4 and the packet; the caller's packets begin with it.
        let place = &mut self.conns[conn as usize];
        if place.socket.is_none() {
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
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let zero = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let spare = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, spare, Some(&zero)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(why) => return Err(why.into()),
        }
        for event in &events {
            let Ok(conn) = u32::try_from(event.data.u64()) else { continue };
            let flags = event.flags;
            if flags.contains(EventFlags::OUT) && self.conns[conn as usize].is_blocked {
                self.write(conn);
            }
            if flags.intersects(EventFlags::IN | EventFlags::ERR | EventFlags::HUP) {
                self.read(listener, conn);
            }
            self.flush();
        }
        let count = events.len();
        self.events = events;
        Ok(count)
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
                    self.conns[conn as usize].phase = Phase::Opening;
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
            [b'0', ..] => {
                self.conns[conn as usize].phase = Phase::Joining;
                let connect = format!("40{}", (self.auth)(conn));
                self.send(conn, connect.as_bytes());
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

    /// Stops or resumes the reading of a connection. What came meanwhile is read at the next
    /// turn.
    pub fn set_deaf(&mut self, listener: &mut impl Listener, conn: u32, deaf: bool) {
        self.conns[conn as usize].is_deaf = deaf;
        if !deaf {
            self.read(listener, conn);
        }
    }
}

fn open(epoll: &OwnedFd, target: &Target, conn: u32) -> Result<OwnedFd, Errno> {
    let family = if target.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
    match rustix::net::connect(&socket, &target.address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(why) => return Err(why),
    }
    let interest = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
    epoll::add(epoll, socket.as_fd(), EventData::new_u64(conn.into()), interest)?;
    Ok(socket)
}
