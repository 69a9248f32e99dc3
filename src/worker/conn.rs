//! One connection: a task that waits for input, and what it does with it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use monoio::net::TcpStream;

use super::fd;
use super::inbox::{AdminCall, Item};
use super::notify::Notify;
use super::run::Worker;
use crate::base::{CoreId, Key};
use crate::shard::Step;

/// The worker's half of a connection; the shard has the other. No buffer while idle.
#[derive(Debug)]
pub(super) struct ConnIo {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    /// Read and not consumed: an unfinished frame or head, or requests that wait their turn.
    pub(super) unread: RefCell<Vec<u8>>,
    /// Taken from the shard and not sent: the kernel takes nothing more at the moment.
    pub(super) unsent: RefCell<Vec<u8>>,
    /// The shard says that the input may be looked at again, or that the kernel took all.
    pub(super) resume: Notify,
    /// No more input: the descriptor was shut.
    pub(super) ended: Cell<bool>,
}

/// Reads in a row before other connections get their turn.
const READS_IN_A_ROW: usize = 4;

/// What to do after the bytes at hand have been fed to the shard.
enum Next {
    Read,
    Handover(CoreId),
}

impl Worker {
    /// Takes a connection in: a new one, or one from another core with bytes it had read.
    pub(super) fn adopt(
        self: &Rc<Self>,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        bytes: Vec<u8>,
    ) {
        let Some(key) = self.core.with(|shard| shard.open_conn(peer)) else { return };
        let Ok(stream) = TcpStream::from_std(stream) else {
            self.core.with(|shard| shard.handle_eof(key));
            return;
        };
        let io = Rc::new(ConnIo {
            stream,
            peer,
            unread: RefCell::new(bytes),
            unsent: RefCell::new(Vec::new()),
            resume: Notify::default(),
            ended: Cell::new(false),
        });
        self.conns.borrow_mut().put(key, Rc::clone(&io));
        // The handle is dropped at once: nobody awaits a connection.
        drop(monoio::spawn(Rc::clone(self).serve(key, io)));
    }

    async fn serve(self: Rc<Self>, key: Key, io: Rc<ConnIo>) {
        let mut has_unread = !io.unread.borrow().is_empty();
        loop {
            if has_unread {
                let next = self.feed_unread(key, &io);
                if let Next::Handover(core) = next {
                    // Boxed: it is rare, and would make every connection's task larger.
                    Box::pin(self.hand_over(key, io, core)).await;
                    return;
                }
            }
            if !self.wait(key, &io).await {
                break;
            }
            match self.read(key, &io) {
                Ok(Next::Read) => has_unread = !io.unread.borrow().is_empty(),
                Ok(Next::Handover(core)) => {
                    // Boxed: it is rare, and would make every connection's task larger.
                    Box::pin(self.hand_over(key, io, core)).await;
                    return;
                }
                Err(()) => break,
            }
        }
        // A peer that has said all it wants may still be waiting for the answer.
        while self.core.with(|shard| shard.owes_answer(key)) || !io.unsent.borrow().is_empty() {
            io.resume.wait().await;
        }
        io.ended.set(true);
        self.core.with(|shard| shard.handle_eof(key));
        self.conns.borrow_mut().take(key);
    }

    /// Waits until there is something to look at. False if the connection is over.
    async fn wait(&self, key: Key, io: &ConnIo) -> bool {
        loop {
            let waits = self.core.with(|shard| {
                (shard.is_busy(key) && !io.unread.borrow().is_empty()) || shard.reads_paused(key)
            });
            if !waits {
                break;
            }
            io.resume.wait().await;
            if !io.unread.borrow().is_empty() {
                return true;
            }
        }
        io.stream.readable(false).await.is_ok()
    }

    /// Receives what is there and feeds it to the shard.
    fn read(self: &Rc<Self>, key: Key, io: &ConnIo) -> Result<Next, ()> {
        let mut scratch = self.scratch.take();
        let outcome = self.read_into(key, io, &mut scratch);
        self.scratch.replace(scratch);
        outcome
    }

    fn read_into(self: &Rc<Self>, key: Key, io: &ConnIo, scratch: &mut [u8]) -> Result<Next, ()> {
        for _ in 0..READS_IN_A_ROW {
            let Ok(received) = fd::receive(&io.stream, scratch) else { return Err(()) };
            let Some(count) = received else { return Ok(Next::Read) };
            if count == 0 {
                return Err(());
            }
            self.core.with(|shard| shard.counters_mut().bytes_in += count as u64);
            let next = if io.unread.borrow().is_empty() {
                let (next, used) = self.feed(key, &mut scratch[..count]);
                if used < count {
                    io.unread.replace(scratch[used..count].to_vec());
                }
                self.note_unread(key, io);
                next
            } else {
                io.unread.borrow_mut().extend_from_slice(&scratch[..count]);
                self.feed_unread(key, io)
            };
            if let Next::Handover(_) = next {
                return Ok(next);
            }
            let waits = self.core.with(|shard| shard.is_busy(key) || shard.reads_paused(key));
            if count < scratch.len() || waits {
                return Ok(Next::Read);
            }
        }
        Ok(Next::Read)
    }

    fn feed_unread(self: &Rc<Self>, key: Key, io: &ConnIo) -> Next {
        let mut unread = io.unread.take();
        let (next, used) = self.feed(key, &mut unread);
        if used == unread.len() {
            unread = Vec::new();
        } else if used > 0 {
            unread.drain(..used);
        }
        io.unread.replace(unread);
        self.note_unread(key, io);
        next
    }

    fn note_unread(&self, key: Key, io: &ConnIo) {
        let bytes = io.unread.borrow().capacity();
        self.core.with(|shard| shard.note_partial(key, bytes));
    }

    /// Feeds bytes to the shard and runs the handlers it asks for. Returns how many were used.
    fn feed(self: &Rc<Self>, key: Key, bytes: &mut [u8]) -> (Next, usize) {
        let received_at = self.core.now_us();
        let mut used = 0;
        loop {
            let step = self.core.with(|shard| shard.next(key, &mut bytes[used..]));
            match step {
                Step::Wait { consumed } => return (Next::Read, used + consumed),
                Step::Run { consumed, dispatch } => {
                    self.core.run(dispatch, &bytes[used..], received_at);
                    used += consumed;
                }
                Step::Handover { core } => return (Next::Handover(core), used),
                Step::Forward { consumed, request } => {
                    used += consumed;
                    self.forward(key, request);
                }
            }
        }
    }

    /// Lets the shard go on with a connection although no bytes arrived.
    pub(super) fn step(self: &Rc<Self>, key: Key) {
        // Without bytes nothing can be consumed, and no request can ask for another core.
        let (_, _nothing) = self.feed(key, &mut []);
    }

    fn forward(&self, key: Key, request: crate::shard::Forwarded) {
        let peer = self.conns.borrow().get(key).map(|io| io.peer);
        let Some(peer) = peer else { return };
        let core = self.core.with(|shard| shard.core());
        let crate::shard::Forwarded { conn, head, body } = request;
        let call = AdminCall { core, conn, peer, head, body };
        if self.to_admin.try_send(call).is_err() {
            let body = b"{\"success\":false,\"message\":\"The admin core is busy\",\
                         \"error\":{\"code\":\"OVERLOADED\"}}";
            let answer = crate::http::Response::json(503, body.to_vec()).with("Retry-After", "1");
            let mut bytes = Vec::new();
            answer.write(&mut bytes, true);
            self.core.with(|shard| shard.respond_forwarded(conn, &bytes, true));
        }
    }

    /// Moves a connection to the core its session lives on, from its own task and with nothing
    /// pending: the wait for input has ended, and what was to be sent is sent first.
    async fn hand_over(self: &Rc<Self>, key: Key, io: Rc<ConnIo>, core: CoreId) {
        while !io.unsent.borrow().is_empty() && !io.ended.get() {
            io.resume.wait().await;
        }
        self.core.with(|shard| shard.release_conn(key));
        self.conns.borrow_mut().take(key);
        let Some(io) = Rc::into_inner(io) else { return };
        let (bytes, peer) = (io.unread.into_inner(), io.peer);
        let mut item = Item::Moved { fd: fd::take(io.stream), peer, bytes };
        while let Err(back) = self.outlets[core.index()].try_send(item) {
            item = back;
            self.core.with(|shard| shard.counters_mut().mesh_full += 1);
            monoio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}
