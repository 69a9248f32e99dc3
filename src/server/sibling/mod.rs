//! # sibling: two processes on the same ports, one replacing the other
//!
//! A Unix socket between their admin cores, over which their workers tell each other events and
//! give each other sessions. Whoever recovers sessions listens by a name made of its first
//! address, as soon as it has that name for itself; whoever takes over connects to it before its
//! workers serve. Only a process of the same user is spoken with, and one at a time.
//!
//! Owns: the socket, what waits to be written to it, the words of the log about it.
//! Imports: the mesh's inboxes, the worker's items, the shard's messages.
//!
//! Holds at all times: a worker hears `Open`, then messages, then `Close`; everything that a
//! worker says between the first and the last reaches the other process in its order, or the two
//! part.
//!
//! Read first: [`Siblings::run`].

mod greeting;
mod line;
mod parting;

use std::net::SocketAddr;
use std::os::unix::net as unix;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;

use self::greeting::{GREETING, Hello, Name};
use self::line::{Line, Reader};
use self::parting::Parting;
use super::error::resource;
use super::log::Log;
use super::{Server, StartError};
use crate::base::Load;
use crate::config::LogLevel;
use crate::mesh::Outlet;
use crate::shard::SiblingMsg;
use crate::worker::{Item, OfSibling, SIBLING_BYTES_MAX};

/// Between two tries to have the name, and after somebody was left alone.
const RETRY: Duration = Duration::from_millis(100);
/// Tries after which the log says that somebody else has it.
const TRIES_UNSAID: u32 = 100;
/// Between two looks at a worker that is behind.
const RETRY_INBOX: Duration = Duration::from_millis(1);
/// Successors of a process in its life. Each leaves a place in every log.
const SUCCESSORS_MAX: usize = 8;

const PREDECESSOR: &str = "the process that is replaced";
const SUCCESSOR: &str = "the process that takes over";

/// What the admin core does about other processes on these ports.
pub(super) struct Siblings {
    name: Name,
    hello: Hello,
    outlets: Vec<Outlet<Item>>,
    log: Log,
    /// Bytes of messages that workers have yet to take.
    arrived: Load,
    /// The process that is replaced.
    predecessor: Option<(unix::UnixStream, Line)>,
}

impl Siblings {
    /// Finds the process that is replaced, if there is one, before any worker runs. None where
    /// nothing is recovered: then processes have nothing to say to each other.
    pub(super) fn of(
        server: &Server,
        (address, is_beside): (Option<SocketAddr>, bool),
        outlets: &[Outlet<Item>],
        zero: Instant,
        log: &Log,
    ) -> Result<Option<Self>, StartError> {
        let (Some(epoch), Some(address)) = (server.recovery_epoch(), address) else {
            return Ok(None);
        };
        let name = Name::of(address)
            .map_err(resource("the name by which a successor finds this process"))?;
        let mut this = Self {
            name,
            hello: Hello::new(epoch, outlets.len(), zero),
            outlets: outlets.to_vec(),
            log: log.clone(),
            arrived: Load::default(),
            predecessor: None,
        };
        if is_beside {
            match this.hello.greet(&this.name) {
                Ok((stream, theirs)) => this.predecessor = this.open_at_once(stream, theirs),
                Err(why) => {
                    let lost = format!("sessions of {PREDECESSOR} cannot be recovered: {why}");
                    this.note(LogLevel::Warn, lost);
                }
            }
        }
        Ok(Some(this))
    }

    /// Workers that do not run yet find it in their inboxes, before anything else.
    fn open_at_once(
        &self,
        stream: unix::UnixStream,
        theirs: Hello,
    ) -> Option<(unix::UnixStream, Line)> {
        let (outlet, line) = Line::new();
        for inbox in &self.outlets {
            let open = OfSibling::Open(self.hello.terms(theirs), outlet.clone());
            inbox.try_send(Item::Sibling(open)).ok()?;
        }
        Some((stream, line))
    }

    fn note(&self, level: LogLevel, note: String) {
        self.log.line(level, "overlap", vec![("note", note)]);
    }

    /// Speaks with the process that is replaced, and then with those that replace this one. Ends
    /// when this process does and every worker's last word is out.
    pub(super) async fn run(mut self, mut closed: watch::Receiver<bool>) {
        if let Some((stream, line)) = self.predecessor.take() {
            match UnixStream::from_std(stream) {
                Ok(stream) => self.talk(stream, line, PREDECESSOR).await,
                Err(error) => self.part(PREDECESSOR, &error.into()).await,
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
        let note = format!("{SUCCESSORS_MAX} processes have come and gone: no other one is heard");
        self.note(LogLevel::Warn, note);
    }

    /// Waits for a process that takes over.
    async fn successor(&self, listener: &mut Option<UnixListener>) -> (UnixStream, Hello) {
        loop {
            let listener = match listener {
                Some(listener) => listener,
                None => listener.insert(self.listen().await),
            };
            if let Ok((mut stream, _)) = listener.accept().await {
                match timeout(GREETING, self.hello.hear(&mut stream)).await {
                    Ok(Ok(theirs)) => return (stream, theirs),
                    Ok(Err(Parting::Silent)) | Err(_) => {}
                    Ok(Err(why)) => {
                        self.note(LogLevel::Warn, format!("a process is left alone: {why}"));
                    }
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// A predecessor has the name as long as it lives.
    async fn listen(&self) -> UnixListener {
        for tries in 0_u32.. {
            if let Ok(listener) = self.name.listen() {
                return listener;
            }
            if tries == TRIES_UNSAID {
                let why = "another process has the name by which a successor would find this one";
                self.note(LogLevel::Warn, String::from(why));
            }
            tokio::time::sleep(RETRY).await;
        }
        std::future::pending().await
    }

    /// Answers a process that takes over. It serves nobody before it has the answer, and the
    /// answer says that every event goes there from now on: each worker has said where its begin.
    async fn meet(&self, mut stream: UnixStream, theirs: Hello) {
        let (outlet, mut line) = Line::new();
        for inbox in &self.outlets {
            tell(inbox, OfSibling::Open(self.hello.terms(theirs), outlet.clone())).await;
        }
        drop(outlet);
        let answered = match timeout(GREETING, line.begin(self.outlets.len())).await {
            Ok(()) => self.hello.answer(&mut stream).await,
            Err(_) => Err(Parting::Busy),
        };
        match answered {
            Ok(()) => self.talk(stream, line, SUCCESSOR).await,
            Err(why) => self.part(SUCCESSOR, &why).await,
        }
    }

    /// Carries messages until one side ends or does not keep up.
    async fn talk(&self, stream: UnixStream, line: Line, who: &str) {
        self.note(LogLevel::Info, format!("{who} is there: events and sessions go both ways"));
        let (reader, writer) = stream.into_split();
        let Line { first, mut waiting, broken } = line;
        let mut read = pin!(self.read(reader));
        let (why, is_heard) = tokio::select! {
            biased;
            () = broken.notified() => (Parting::Behind, true),
            why = &mut read => (why, true),
            why = line::write(writer, first, &mut waiting) => {
                let is_heard = !why.is_end();
                (why, is_heard)
            }
        };
        // It has ended, perhaps with words that were not read yet. They are heard out, and what
        // workers still say to it goes nowhere.
        let why = if is_heard {
            why
        } else {
            tokio::select! {
                why = read => why,
                why = line::forget(&mut waiting) => why,
            }
        };
        self.part(who, &why).await;
    }

    async fn part(&self, who: &str, why: &Parting) {
        if matches!(why, Parting::Done) {
            return;
        }
        if why.is_end() {
            self.note(LogLevel::Info, format!("{who} has ended"));
        } else {
            let lost = "what it still has cannot be recovered";
            self.note(LogLevel::Warn, format!("{who} is left alone: {why}; {lost}"));
        }
        for inbox in &self.outlets {
            tell(inbox, OfSibling::Close).await;
        }
    }

    async fn read(&self, reader: OwnedReadHalf) -> Parting {
        let mut reader = Reader::new(reader);
        loop {
            match reader.next().await {
                Ok(message) => self.spread(message).await,
                Err(why) => return why,
            }
        }
    }

    /// Hands a message to the worker it is for, or to all. While too much waits for workers,
    /// nothing more is read.
    async fn spread(&self, message: SiblingMsg) {
        while self.arrived.bytes() > SIBLING_BYTES_MAX {
            tokio::time::sleep(RETRY_INBOX).await;
        }
        let hand = |message: SiblingMsg| {
            let load = self.arrived.give(message.cost());
            OfSibling::Message(message, load)
        };
        if let Some(core) = message.core() {
            if let Some(inbox) = self.outlets.get(core.index()) {
                tell(inbox, hand(message)).await;
            }
            return;
        }
        let Some((last, others)) = self.outlets.split_last() else { return };
        for inbox in others {
            tell(inbox, hand(message.again())).await;
        }
        tell(last, hand(message)).await;
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
