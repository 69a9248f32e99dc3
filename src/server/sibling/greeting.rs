//! How two processes find each other and what they say first.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net as unix;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::parting::Parting;
use crate::shard::{SIBLING_VERSION, SiblingTerms};

/// How long a process waits for the other one's first word.
pub(super) const GREETING: Duration = Duration::from_secs(1);
/// Between two tries to reach one that may not have its name yet.
const RETRY: Duration = Duration::from_millis(1);
/// Bytes of a greeting.
const HELLO_BYTES_MAX: usize = 256;

/// The first word of each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    /// Of the messages.
    version: u32,
    epoch: u64,
    cores: u16,
    /// The moment whose `Micros` are 0, in microseconds of the machine's monotonic clock.
    zero_us: u64,
}

impl Hello {
    pub(super) fn new(epoch: u64, cores: usize, zero: Instant) -> Self {
        let cores = u16::try_from(cores).expect("a core's number is a byte");
        Self { version: SIBLING_VERSION, epoch, cores, zero_us: zero_us(zero) }
    }

    /// What our workers are told of the other process.
    pub(super) fn terms(self, theirs: Self) -> SiblingTerms {
        let ahead_us = theirs.zero_us.cast_signed().saturating_sub(self.zero_us.cast_signed());
        SiblingTerms { epoch: theirs.epoch, cores: usize::from(theirs.cores), ahead_us }
    }

    /// Its bytes, their number in front.
    fn framed(self) -> Vec<u8> {
        let bytes = postcard::to_allocvec(&self).unwrap_or_default();
        let len = u32::try_from(bytes.len()).unwrap_or_default().to_le_bytes();
        [&len[..], &bytes].concat()
    }

    /// Reads the other one's.
    fn read(self, bytes: &[u8]) -> Result<Self, Parting> {
        let theirs: Self = postcard::from_bytes(bytes).map_err(|_| Parting::Foreign)?;
        let is_like = theirs.version == self.version && theirs.epoch != self.epoch;
        let is_sane = (1..=256).contains(&theirs.cores);
        if is_like && is_sane { Ok(theirs) } else { Err(Parting::Foreign) }
    }

    /// Says it to a process that takes over.
    pub(super) async fn answer(self, stream: &mut UnixStream) -> Result<(), Parting> {
        Ok(stream.write_all(&self.framed()).await?)
    }

    /// Hears what a process says that takes over.
    pub(super) async fn hear(self, stream: &mut UnixStream) -> Result<Self, Parting> {
        same_user(&*stream)?;
        let mut len = [0; 4];
        stream.read_exact(&mut len).await?;
        let mut bytes = vec![0; hello_len(len)?];
        stream.read_exact(&mut bytes).await?;
        let heard = self.read(&bytes);
        if heard.is_err() {
            // So that the other one can say why.
            self.answer(stream).await?;
        } else if matches!(stream.try_read(&mut [0]), Ok(0)) {
            // It has given up long ago.
            return Err(Parting::Silent);
        }
        heard
    }

    /// Reaches the process that is replaced, and greets it. Blocks, for seconds at most.
    pub(super) fn greet(self, name: &Name) -> Result<(unix::UnixStream, Self), Parting> {
        let mut stream = name.reach()?;
        same_user(&stream)?;
        stream.set_read_timeout(Some(GREETING))?;
        stream.write_all(&self.framed())?;
        let mut len = [0; 4];
        stream.read_exact(&mut len).map_err(|_| Parting::Silent)?;
        let mut bytes = vec![0; hello_len(len)?];
        stream.read_exact(&mut bytes)?;
        let theirs = self.read(&bytes)?;
        stream.set_nonblocking(true)?;
        Ok((stream, theirs))
    }
}

/// By which two processes find each other: an abstract name, of which nothing stays on a disk.
pub(super) struct Name(SockAddr);

impl Name {
    /// Made of the first address, which both have in common.
    pub(super) fn of(address: SocketAddr) -> io::Result<Self> {
        SockAddr::unix(format!("\0corewire {address}")).map(Self)
    }

    fn socket() -> io::Result<Socket> {
        Socket::new(Domain::UNIX, Type::STREAM, None)
    }

    /// Listens, if nobody else does by this name.
    pub(super) fn listen(&self) -> io::Result<tokio::net::UnixListener> {
        let socket = Self::socket()?;
        socket.bind(&self.0)?;
        socket.listen(16)?;
        socket.set_nonblocking(true)?;
        tokio::net::UnixListener::from_std(unix::UnixListener::from(OwnedFd::from(socket)))
    }

    /// Connects. One that has just replaced another itself may not have the name yet; and whoever
    /// has it may let everybody wait.
    fn reach(&self) -> Result<unix::UnixStream, Parting> {
        let began = Instant::now();
        loop {
            let socket = Self::socket()?;
            socket.set_write_timeout(Some(GREETING))?;
            match socket.connect(&self.0) {
                Ok(()) => return Ok(unix::UnixStream::from(OwnedFd::from(socket))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(Parting::Silent);
                }
                Err(error)
                    if error.kind() != io::ErrorKind::ConnectionRefused
                        || began.elapsed() >= GREETING =>
                {
                    return Err(error.into());
                }
                Err(_) => std::thread::sleep(RETRY),
            }
        }
    }
}

fn hello_len(len: [u8; 4]) -> Result<usize, Parting> {
    let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
    if len <= HELLO_BYTES_MAX { Ok(len) } else { Err(Parting::Foreign) }
}

/// Anybody on this machine can have an abstract name, or connect to one.
fn same_user(stream: impl AsFd) -> Result<(), Parting> {
    let theirs = rustix::net::sockopt::socket_peercred(stream).map_err(io::Error::from)?;
    if theirs.uid == rustix::process::geteuid() { Ok(()) } else { Err(Parting::Stranger) }
}

/// A moment on the machine's clock, which both processes read.
fn zero_us(zero: Instant) -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now_us = now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000;
    now_us.saturating_sub(u64::try_from(zero.elapsed().as_micros()).unwrap_or(u64::MAX))
}
