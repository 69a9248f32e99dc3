//! The floor as a server: the bench contract with nothing in it but the kernel's work.
//!
//! It speaks just enough to serve this program's own client over WebSocket, and then does what no
//! server can do without: one `recv` for what came and one bare `send` for each frame that leaves.
//! As the same client drives it in the same rounds, its cost for a delivery is the floor beneath
//! all others of that run. It believes its client and is no server for anybody else.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

/// The answer to the one key that this program's client sends, that of RFC 6455's example.
const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// No ping comes within a run.
const OPEN: &[u8] = br#"0{"sid":"bare","upgrades":[],"pingInterval":3600000,"pingTimeout":3600000,"maxPayload":1000000}"#;
const SCRATCH_BYTES: usize = 256 << 10;
const EVENTS: usize = 512;
/// The listener's place among the connections.
const LISTENER: u64 = u64::MAX;

/// One connection.
struct Conn {
    stream: TcpStream,
    is_upgraded: bool,
    /// What came and is not whole.
    partial: Vec<u8>,
    rooms: Vec<String>,
}

/// All of it; one thread.
struct Bare {
    epoll: std::os::fd::OwnedFd,
    listener: TcpListener,
    conns: Vec<Option<Conn>>,
    rooms: BTreeMap<String, Vec<usize>>,
    /// Answers to the sender of what is being read; they leave in one write.
    answers: Vec<u8>,
}

/// Serves until it is killed; says where it listens on `out`.
///
/// # Errors
/// The address is taken, or a client reads too slowly for a send that does not wait.
pub fn serve(address: SocketAddr, out: &mut dyn Write) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    // std's own backlog is short of a storm of connections; listening again widens it.
    rustix::net::listen(&listener, 4096)?;
    writeln!(out, "listening on {}", listener.local_addr()?)?;
    out.flush()?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut bare =
        Bare { epoll, listener, conns: Vec::new(), rooms: BTreeMap::new(), answers: Vec::new() };
    let mut scratch = vec![0; SCRATCH_BYTES];
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        events.clear();
        match epoll::wait(&bare.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            match event.data.u64() {
                LISTENER => bare.accept()?,
                place => bare.read(usize::try_from(place).unwrap_or(usize::MAX), &mut scratch)?,
            }
        }
    }
}

impl Bare {
    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let place = self.conns.len();
            epoll::add(&self.epoll, &stream, EventData::new_u64(place as u64), EventFlags::IN)?;
            self.conns.push(Some(Conn {
                stream,
                is_upgraded: false,
                partial: Vec::new(),
                rooms: Vec::new(),
            }));
        }
    }

    /// One `recv`, and all that follows from it.
    fn read(&mut self, place: usize, scratch: &mut [u8]) -> io::Result<()> {
        let Some(conn) = self.conns.get_mut(place).and_then(Option::as_mut) else { return Ok(()) };
        let count = match rustix::net::recv(&conn.stream, &mut *scratch, RecvFlags::DONTWAIT) {
            Ok((0, _)) | Err(Errno::CONNRESET | Errno::PIPE) => {
                self.close(place);
                return Ok(());
            }
            Ok((count, _)) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = std::mem::take(&mut conn.partial);
        bytes.extend_from_slice(&scratch[..count]);
        let mut from = 0;
        if !conn.is_upgraded {
            let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") else {
                conn.partial = bytes;
                return Ok(());
            };
            conn.is_upgraded = true;
            from = end + 4;
            self.answers.extend_from_slice(UPGRADED);
            frame(&mut self.answers, &[OPEN]);
        }
        while let Some((payload, next)) = unmask(&mut bytes, from) {
            self.packet(place, &bytes[payload])?;
            from = next;
        }
        if !self.answers.is_empty() {
            self.send(place, &self.answers)?;
            self.answers.clear();
        }
        if let Some(conn) = self.conns[place].as_mut() {
            bytes.drain(..from);
            conn.partial = bytes;
        }
        Ok(())
    }

    /// A bare send. That the client reads too slowly is an error: a floor that waits is none.
    fn send(&self, place: usize, bytes: &[u8]) -> io::Result<()> {
        let Some(conn) = &self.conns[place] else { return Ok(()) };
        match rustix::net::send(&conn.stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) if count == bytes.len() => Ok(()),
            Ok(_) | Err(Errno::AGAIN) => Err(io::Error::other("the client reads too slowly")),
            // It will be found closed when it is read.
            Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// `40` connects; `42`, an id and an array is an event.
    fn packet(&mut self, place: usize, packet: &[u8]) -> io::Result<()> {
        if packet.starts_with(b"40") {
            frame(&mut self.answers, &[br#"40{"sid":"bare"}"#]);
            return Ok(());
        }
        let Some(event) = packet.strip_prefix(b"42") else { return Ok(()) };
        let digits = event.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (id, array) = event.split_at(digits);
        if let Some(x) = array.strip_prefix(br#"["echo","#) {
            frame(&mut self.answers, &[b"43", id, b"[", x]);
        } else if let Some(object) = array.strip_prefix(br#"["pub","#) {
            self.publish(object)?;
            if digits > 0 {
                frame(&mut self.answers, &[b"43", id, b"[]"]);
            }
        } else if let Ok((_, room)) = serde_json::from_slice::<(String, String)>(array) {
            self.rooms.entry(room.clone()).or_default().push(place);
            if let Some(conn) = self.conns[place].as_mut() {
                conn.rooms.push(room);
            }
            frame(&mut self.answers, &[b"43", id, b"[]"]);
        }
        Ok(())
    }

    /// The frame is made once; each member of the room costs one send.
    fn publish(&self, object: &[u8]) -> io::Result<()> {
        #[derive(serde::Deserialize)]
        struct Publish {
            room: String,
        }
        let json = object.strip_suffix(b"]").unwrap_or(object);
        let publish: Publish = serde_json::from_slice(json)?;
        let mut bytes = Vec::new();
        frame(&mut bytes, &[br#"42["msg","#, object]);
        for member in self.rooms.get(&publish.room).into_iter().flatten() {
            self.send(*member, &bytes)?;
        }
        Ok(())
    }

    fn close(&mut self, place: usize) {
        let Some(conn) = self.conns[place].take() else { return };
        for room in conn.rooms {
            if let Some(members) = self.rooms.get_mut(&room) {
                members.retain(|member| *member != place);
            }
        }
    }
}

/// Appends a text frame of a server.
fn frame(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.push(0x81);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..126), _) => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Unmasks the frame at `from` where it stands, if it is whole: its payload, and where the next begins.
fn unmask(bytes: &mut [u8], from: usize) -> Option<(std::ops::Range<usize>, usize)> {
    let second = *bytes.get(from + 1)?;
    let (length, header) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(*bytes.get(from + 2..)?.first_chunk()?)), 4),
        127 => {
            (usize::try_from(u64::from_be_bytes(*bytes.get(from + 2..)?.first_chunk()?)).ok()?, 10)
        }
        short => (usize::from(short), 2),
    };
    let mask: [u8; 4] = *bytes.get(from + header..)?.first_chunk()?;
    let start = from + header + mask.len();
    let payload = bytes.get_mut(start..start.checked_add(length)?)?;
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
    Some((start..start + length, start + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_unmasked_only_when_they_are_whole() {
        let mask = [1, 2, 3, 4];
        let mut bytes = vec![0x81, 0x80 | 5];
        bytes.extend(mask);
        bytes.extend(b"hello".iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        for cut in 0..bytes.len() {
            assert_eq!(unmask(&mut bytes.clone()[..cut], 0), None);
        }
        let (payload, next) = unmask(&mut bytes, 0).unwrap();
        assert_eq!((&bytes[payload], next), (&b"hello"[..], 11));
    }

    #[test]
    fn a_message_of_64_bytes_is_a_frame_of_76() {
        let mut out = Vec::new();
        frame(&mut out, &[br#"42["msg","#, &[b'x'; 64], b"]"]);
        assert_eq!((out.len(), out[1]), (76, 74));
        let mut long = Vec::new();
        frame(&mut long, &[&[b'x'; 200]]);
        assert_eq!(&long[..4], &[0x81, 126, 0, 200]);
    }
}
