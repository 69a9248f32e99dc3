//! Two processes on the same ports, one replacing the other: a Unix socket between their admin
//! cores, over which their workers tell each other events and give each other sessions.
//!
//! Whoever recovers sessions listens on an abstract name made of its first address, as soon as it
//! has that name for itself; whoever takes over connects to it before its workers serve. Only a
//! process of the same user is spoken with.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net as unix;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;

use super::log::Log;
use super::run::resource;
use super::{Server, StartError};
use crate::base::{CoreId, Load};
use crate::config::LogLevel;
use crate::mesh::Outlet;
use crate::shard::{SIBLING_VERSION, SiblingMsg, SiblingTerms};
use crate::worker::{Item, OfSibling, SiblingBatch, SiblingOutlet};

/// How long a process waits for the other one's first word.
const GREETING: Duration = Duration::from_secs(1);
/// How long the other one may take nothing.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two tries to have the name, or to tell a worker whose inbox is full.
const RETRY: Duration = Duration::from_millis(100);
const RETRY_INBOX: Duration = Duration::from_millis(1);
/// Bytes of one message.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Bytes of a greeting.
const HELLO_BYTES_MAX: usize = 256;
/// Bytes written at once, the last message left out.
const WRITE_BYTES: usize = 64 << 10;
/// Successors of a process in its life. Each leaves a place in every log.
const SUCCESSORS_MAX: usize = 8;

/// The first word of each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Hello {
    /// Of the messages.
    version: u32,
    epoch: u64,
    cores: u8,
    /// The moment whose `Micros` are 0, in microseconds of the machine's monotonic clock.
    zero_us: u64,
}

/// Why two processes do not speak with each other, or not any more.
#[derive(Debug)]
enum Parting {
    Io(io::Error),
    /// It belongs to another user.
    Stranger,
    /// It is of another version, or no server at all.
    Foreign,
    /// It takes nothing, or says nothing.
    Silent,
    /// A worker of this process is busy with a handler.
    Busy,
    /// Something could not be handed over: too much waits.
    Behind,
    /// This process ends, and has said everything.
    Done,
    /// It sent what nobody can read.
    Garbled,
    /// A message is larger than any may be.
    TooLarge,
}

impl std::fmt::Display for Parting {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                write!(out, "it has no recovery, or does not run")
            }
            Self::Io(error) => write!(out, "{error}"),
            Self::Stranger => write!(out, "it belongs to another user"),
            Self::Foreign => write!(out, "it is of another version"),
            Self::Silent => write!(out, "it does not answer"),
            Self::Busy => write!(out, "a worker here is held up"),
            Self::Behind => write!(out, "it does not keep up"),
            Self::Done => write!(out, "this process ends"),
            Self::Garbled => write!(out, "it sent what cannot be read"),
            Self::TooLarge => write!(out, "a message is too large for it"),
        }
    }
}

impl From<io::Error> for Parting {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A line to another process, as the admin core keeps it.
struct Line {
    /// What workers have said before anybody was to hear it.
    first: Vec<SiblingBatch>,
    waiting: mpsc::UnboundedReceiver<SiblingBatch>,
    broken: Arc<Notify>,
}

/// What the admin core does about other processes on these ports.
pub(super) struct Siblings {
    name: unix::SocketAddr,
    hello: Hello,
    outlets: Vec<Outlet<Item>>,
    log: Log,
    /// The process that is replaced.
    predecessor: Option<(unix::UnixStream, Line)>,
}

impl Siblings {
    /// Finds the process that is replaced, if this one takes over, before any worker runs. None
    /// where nothing is recovered: then processes have nothing to say to each other.
    pub(super) fn of(
        server: &Server,
        address: Option<SocketAddr>,
        outlets: &[Outlet<Item>],
        zero: Instant,
        log: &Log,
    ) -> Result<Option<Self>, StartError> {
        let (Some(epoch), Some(address)) = (server.recovery_epoch(), address) else {
            return Ok(None);
        };
        let name = unix::SocketAddr::from_abstract_name(format!("corewire {address}"))
            .map_err(resource("the name by which a successor finds this process"))?;
        let cores = CoreId::from_index(outlets.len() - 1).0 + 1;
        let hello = Hello { version: SIBLING_VERSION, epoch, cores, zero_us: zero_us(zero) };
        let (outlets, log) = (outlets.to_vec(), log.clone());
        let mut this = Self { name, hello, outlets, log, predecessor: None };
        if server.options.takeover {
            match this.connect() {
                Ok((stream, theirs)) => this.predecessor = this.open_at_once(stream, theirs),
                Err(why) => {
                    let lost = "sessions of the process that is replaced cannot be recovered";
                    this.note(LogLevel::Warn, format!("{lost}: {why}"));
                }
            }
        }
        Ok(Some(this))
    }

    fn connect(&self) -> Result<(unix::UnixStream, Hello), Parting> {
        let mut stream = self.reach()?;
        same_user(&stream)?;
        stream.set_read_timeout(Some(GREETING))?;
        stream.set_write_timeout(Some(GREETING))?;
        stream.write_all(&framed(&self.hello))?;
        let mut len = [0; 4];
        stream.read_exact(&mut len).map_err(|_| Parting::Silent)?;
        let mut bytes = vec![0; hello_len(len)?];
        stream.read_exact(&mut bytes)?;
        let theirs = self.read_hello(&bytes)?;
        stream.set_nonblocking(true)?;
        Ok((stream, theirs))
    }

    /// One that has just replaced another itself may not have the name yet.
    fn reach(&self) -> io::Result<unix::UnixStream> {
        let began = Instant::now();
        loop {
            match unix::UnixStream::connect_addr(&self.name) {
                Err(error)
                    if error.kind() == io::ErrorKind::ConnectionRefused
                        && began.elapsed() < GREETING =>
                {
                    std::thread::sleep(RETRY_INBOX);
                }
                other => return other,
            }
        }
    }

    /// Workers that do not run yet find it in their inboxes, before anything else.
    fn open_at_once(
        &self,
        stream: unix::UnixStream,
        theirs: Hello,
    ) -> Option<(unix::UnixStream, Line)> {
        let (outlet, line) = line();
        for inbox in &self.outlets {
            let open = OfSibling::Open(self.terms(theirs), outlet.clone());
            inbox.try_send(Item::Sibling(open)).ok()?;
        }
        Some((stream, line))
    }

    fn read_hello(&self, bytes: &[u8]) -> Result<Hello, Parting> {
        let hello: Hello = postcard::from_bytes(bytes).map_err(|_| Parting::Foreign)?;
        let is_like = hello.version == self.hello.version && hello.epoch != self.hello.epoch;
        if is_like && hello.cores > 0 { Ok(hello) } else { Err(Parting::Foreign) }
    }

    fn terms(&self, theirs: Hello) -> SiblingTerms {
        let ahead_us =
            theirs.zero_us.cast_signed().saturating_sub(self.hello.zero_us.cast_signed());
        SiblingTerms { epoch: theirs.epoch, cores: usize::from(theirs.cores), ahead_us }
    }

    fn note(&self, level: LogLevel, note: String) {
        self.log.line(level, "overlap", vec![("note", note)]);
    }

    /// Speaks with the process that is replaced, and then with those that replace this one. Ends
    /// when this process does and every worker's last word is out.
    pub(super) async fn run(mut self, mut closed: watch::Receiver<bool>) {
        if let Some((stream, line)) = self.predecessor.take() {
            let who = "the process that is replaced";
            match UnixStream::from_std(stream) {
                Ok(stream) => self.talk(stream, line, who).await,
                Err(error) => self.part(who, &error.into()).await,
            }
        }
        let mut listener = None;
        for _ in 0..SUCCESSORS_MAX {
            let (stream, theirs) = tokio::select! {
                next = self.successor(&mut listener) => next,
                // A sender that is gone means that the process ends.
                _ = closed.wait_for(|closed| *closed) => return,
            };
            self.meet(stream, theirs).await;
        }
    }

    /// Waits for a process that takes over.
    async fn successor(&self, listener: &mut Option<UnixListener>) -> (UnixStream, Hello) {
        loop {
            let listener = match listener {
                Some(listener) => listener,
                None => listener.insert(self.listen().await),
            };
            let Ok((mut stream, _)) = listener.accept().await else {
                tokio::time::sleep(RETRY).await;
                continue;
            };
            match timeout(GREETING, self.greeting(&mut stream)).await {
                Ok(Ok(theirs)) => return (stream, theirs),
                Ok(Err(why)) => {
                    self.note(LogLevel::Warn, format!("a process is left alone: {why}"));
                }
                Err(_) => {}
            }
        }
    }

    async fn meet(&self, stream: UnixStream, theirs: Hello) {
        let (outlet, line) = line();
        for inbox in &self.outlets {
            tell(inbox, OfSibling::Open(self.terms(theirs), outlet.clone())).await;
        }
        drop(outlet);
        self.answer(stream, line).await;
    }

    /// A predecessor has the name as long as it lives.
    async fn listen(&self) -> UnixListener {
        loop {
            let bound = unix::UnixListener::bind_addr(&self.name).and_then(|listener| {
                listener.set_nonblocking(true)?;
                UnixListener::from_std(listener)
            });
            match bound {
                Ok(listener) => return listener,
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }

    async fn greeting(&self, stream: &mut UnixStream) -> Result<Hello, Parting> {
        same_user(&*stream)?;
        let mut len = [0; 4];
        stream.read_exact(&mut len).await?;
        let mut bytes = vec![0; hello_len(len)?];
        stream.read_exact(&mut bytes).await?;
        self.read_hello(&bytes)
    }

    /// Answers a process that takes over. It serves nobody before it has the answer, and the
    /// answer says that every event goes there from now on: each worker has said where its begin.
    async fn answer(&self, mut stream: UnixStream, mut line: Line) {
        let who = "the process that takes over";
        let begun = timeout(GREETING, line.begin(self.outlets.len())).await;
        let answered = match begun {
            Ok(()) => stream.write_all(&framed(&self.hello)).await.map_err(Parting::Io),
            Err(_) => Err(Parting::Busy),
        };
        match answered {
            Ok(()) => self.talk(stream, line, who).await,
            Err(why) => self.part(who, &why).await,
        }
    }

    /// Carries messages until one side ends or does not keep up.
    async fn talk(&self, stream: UnixStream, line: Line, who: &str) {
        self.note(LogLevel::Info, format!("{who} is there: events and sessions go both ways"));
        let (reader, writer) = stream.into_split();
        let why = tokio::select! {
            why = self.read(reader) => why,
            why = write(writer, line.first, line.waiting) => why,
            () = line.broken.notified() => Parting::Behind,
        };
        self.part(who, &why).await;
    }

    async fn part(&self, who: &str, why: &Parting) {
        match why {
            Parting::Done => return,
            Parting::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.note(LogLevel::Info, format!("{who} has ended"));
            }
            why => {
                let lost = "what it still has cannot be recovered";
                self.note(LogLevel::Warn, format!("{who} is left alone: {why}; {lost}"));
            }
        }
        for inbox in &self.outlets {
            tell(inbox, OfSibling::Close).await;
        }
    }

    async fn read(&self, mut reader: OwnedReadHalf) -> Parting {
        let mut bytes = Vec::new();
        loop {
            match read_message(&mut reader, &mut bytes).await {
                Ok(message) => self.spread(message).await,
                Err(why) => return why,
            }
        }
    }

    /// Hands a message to the worker it is for, or to all.
    async fn spread(&self, message: SiblingMsg) {
        if let Some(core) = message.core() {
            if let Some(inbox) = self.outlets.get(core.index()) {
                tell(inbox, OfSibling::Message(message)).await;
            }
            return;
        }
        let Some((last, others)) = self.outlets.split_last() else { return };
        for inbox in others {
            tell(inbox, OfSibling::Message(message.again())).await;
        }
        tell(last, OfSibling::Message(message)).await;
    }
}

fn line() -> (SiblingOutlet, Line) {
    let (queue, waiting) = mpsc::unbounded_channel();
    let broken = Arc::new(Notify::new());
    let outlet = SiblingOutlet { queue, load: Load::default(), broken: Arc::clone(&broken) };
    (outlet, Line { first: Vec::new(), waiting, broken })
}

impl Line {
    /// Waits until so many workers have begun.
    async fn begin(&mut self, mut workers: usize) {
        while workers > 0
            && let Some(batch) = self.waiting.recv().await
        {
            let begins = |message: &&SiblingMsg| matches!(message, SiblingMsg::Begin { .. });
            workers = workers.saturating_sub(batch.0.iter().filter(begins).count());
            self.first.push(batch);
        }
    }
}

/// A full inbox empties soon; meanwhile nothing more is read from the other process.
async fn tell(inbox: &Outlet<Item>, news: OfSibling) {
    let mut item = Item::Sibling(news);
    while let Err(back) = inbox.try_send(item) {
        item = back;
        tokio::time::sleep(RETRY_INBOX).await;
    }
}

async fn read_message(
    reader: &mut OwnedReadHalf,
    bytes: &mut Vec<u8>,
) -> Result<SiblingMsg, Parting> {
    let mut len = [0; 4];
    reader.read_exact(&mut len).await?;
    let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
    if len > MESSAGE_BYTES_MAX {
        return Err(Parting::TooLarge);
    }
    bytes.resize(len, 0);
    reader.read_exact(bytes).await?;
    let message = SiblingMsg::unpack(bytes).ok_or(Parting::Garbled);
    bytes.shrink_to(WRITE_BYTES);
    message
}

async fn write(
    mut writer: OwnedWriteHalf,
    first: Vec<SiblingBatch>,
    mut waiting: mpsc::UnboundedReceiver<SiblingBatch>,
) -> Parting {
    let (mut bytes, mut first) = (Vec::new(), first.into_iter());
    while let Some((messages, load)) = match first.next() {
        Some(batch) => Some(batch),
        None => waiting.recv().await,
    } {
        for message in messages {
            if let Err(why) = append(&mut bytes, &message) {
                return why;
            }
            if bytes.len() >= WRITE_BYTES
                && let Err(why) = send(&mut writer, &mut bytes).await
            {
                return why;
            }
        }
        drop(load);
        if waiting.is_empty()
            && let Err(why) = send(&mut writer, &mut bytes).await
        {
            return why;
        }
    }
    // No worker is left.
    Parting::Done
}

async fn send(writer: &mut OwnedWriteHalf, bytes: &mut Vec<u8>) -> Result<(), Parting> {
    timeout(WRITE_TIMEOUT, writer.write_all(bytes)).await.map_err(|_| Parting::Silent)??;
    bytes.clear();
    bytes.shrink_to(2 * WRITE_BYTES);
    Ok(())
}

/// Appends a message with its length in front.
fn append(bytes: &mut Vec<u8>, message: &SiblingMsg) -> Result<(), Parting> {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    let packed = message.pack(bytes);
    let len = bytes.len() - start - 4;
    if !packed || len > MESSAGE_BYTES_MAX {
        return Err(Parting::TooLarge);
    }
    let len = u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
    bytes[start..start + 4].copy_from_slice(&len);
    Ok(())
}

fn framed(hello: &Hello) -> Vec<u8> {
    let bytes = postcard::to_allocvec(hello).unwrap_or_default();
    let len = u32::try_from(bytes.len()).unwrap_or_default().to_le_bytes();
    [&len[..], &bytes].concat()
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
