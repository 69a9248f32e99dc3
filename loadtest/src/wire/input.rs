//! What comes in: events of the epoll set, bytes, frames, Engine.IO packets.

use std::io;
use std::rc::Rc;

use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::frame::{self, Kind};
use super::handshake;
use super::helpers::News;
use super::net::{Event, Listener, Net, Phase, SCRATCH_BYTES};
use super::poll::{self, SEPARATOR};
use crate::scenario::Transport;

impl Net {
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
                self.conns[conn as usize].sid = poll::session(open).unwrap_or_default();
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
