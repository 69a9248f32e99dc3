//! One connection: what the kernel said of it, and how far it goes without waiting.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::Waker;

use super::entrance::{Channel, Door};
use super::fd;
use super::inbox::{AdminCall, Item, Moved};
use super::moves::{Known, Move, Question, Turn};
use super::ready::Sign;
use super::run::Worker;
use crate::base::{CoreId, Key};
use crate::shard::{Entrance, Shard, Step};

/// The worker's half of a connection; the shard has the other. No buffer while idle.
#[derive(Debug)]
pub(super) struct ConnIo {
    pub(super) fd: OwnedFd,
    key: Key,
    /// There is input, or an end, that we have not come to.
    readable: bool,
    /// A short read is not the last one, see [`Sign::reads_on`].
    reads_on: bool,
    /// Nobody takes an answer any more: its input is read to the end without waiting.
    broken: bool,
    /// No more input: the end was read, or the connection is broken.
    pub(super) ended: bool,
    /// What is unread may be looked at again.
    look: bool,
    /// Among those that the next round looks at.
    again: bool,
    /// Goes to this core as soon as nothing is unsent.
    moves_to: Option<CoreId>,
    /// The kernel did not take all it was given; the shard keeps the rest until it does.
    pub(super) blocked: bool,
    backlog: Option<Box<Backlog>>,
    /// What stands between the socket and the shard, if it is not plain.
    pub(super) channel: Option<Box<Channel>>,
}

/// What a connection holds while it is not idle.
#[derive(Debug, Default)]
struct Backlog {
    /// Read and not consumed: an unfinished frame or head, or requests that wait their turn.
    unread: Vec<u8>,
}

impl ConnIo {
    fn has_unread(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| !backlog.unread.is_empty())
    }

    /// Bytes kept of what has arrived.
    fn held_bytes(&self) -> usize {
        let unread = self.backlog.as_ref().map_or(0, |backlog| backlog.unread.capacity());
        unread + self.channel.as_ref().map_or(0, |channel| channel.held_bytes())
    }

    /// What its next move follows from.
    fn known(&self, signed_out: bool) -> Known {
        Known {
            moves_to: self.moves_to,
            blocked: self.blocked,
            ended: self.ended,
            unread: self.has_unread(),
            look: self.look,
            readable: self.readable,
            broken: self.broken,
            at_handshake: self.channel.as_ref().is_some_and(|channel| channel.is_at_handshake()),
            signed_out,
            ..Known::default()
        }
    }

    pub(super) fn take_unread(&mut self) -> Vec<u8> {
        self.backlog.as_mut().map(|backlog| std::mem::take(&mut backlog.unread)).unwrap_or_default()
    }

    fn keep_unread(&mut self, bytes: Vec<u8>) {
        self.backlog = (!bytes.is_empty()).then(|| Box::new(Backlog { unread: bytes }));
    }
}

/// The connections of a worker, by the slot of their key, in pages as the shard has them.
#[derive(Default)]
pub(super) struct Conns(Vec<Vec<Option<ConnIo>>>);

const PAGE: usize = 128;

impl Conns {
    fn put(&mut self, io: ConnIo) {
        let (page, place) = (io.key.slot() as usize / PAGE, io.key.slot() as usize % PAGE);
        while self.0.len() <= page {
            self.0.push((0..PAGE).map(|_| None).collect());
        }
        self.0[page][place] = Some(io);
    }

    pub(super) fn get(&mut self, key: Key) -> Option<&mut ConnIo> {
        let slot = key.slot() as usize;
        let io = self.0.get_mut(slot / PAGE)?.get_mut(slot % PAGE)?.as_mut()?;
        (io.key == key).then_some(io)
    }

    pub(super) fn take(&mut self, key: Key) -> Option<ConnIo> {
        self.get(key)?;
        let slot = key.slot() as usize;
        self.0[slot / PAGE][slot % PAGE].take()
    }
}

/// Reads in a row before other connections get their turn.
const READS_IN_A_ROW: usize = 4;

/// What to do after the bytes at hand have been fed to the shard.
pub(super) enum Next {
    Read,
    Handover(CoreId),
}

impl Worker {
    /// Takes a new connection in.
    pub(super) fn enter(self: &Rc<Self>, fd: OwnedFd, peer: SocketAddr, door: Door) {
        if door.proxy && !self.core.with(|shard| shard.admit_proxy(peer)) {
            return;
        }
        if !self.core.with(Shard::takes_connections) {
            return;
        }
        let Some(key) = self.core.with(|shard| shard.open_conn(peer)) else { return };
        if door == Door::default() {
            self.hold(fd, key, Vec::new(), None);
            return;
        }
        self.core.with(|shard| {
            if door.entrance() != Entrance::Passed {
                shard.expect_entrance(key, door.entrance());
            }
        });
        let channel = Channel::new(door, self.tls.borrow().as_ref());
        match channel {
            Some(channel) => self.hold(fd, key, Vec::new(), Some(Box::new(channel))),
            None => self.core.with(|shard| shard.handle_eof(key)),
        }
    }

    /// Takes a connection in from another core, with the bytes that it had read.
    pub(super) fn adopt(self: &Rc<Self>, moved: Moved) {
        let Moved { fd, peer, secure, bytes, channel } = moved;
        let Some(key) = self.core.with(|shard| shard.open_conn(peer)) else { return };
        if secure {
            self.core.with(|shard| shard.set_secure(key));
        }
        self.hold(fd, key, bytes, channel);
    }

    fn hold(self: &Rc<Self>, fd: OwnedFd, key: Key, bytes: Vec<u8>, channel: Option<Box<Channel>>) {
        if self.ready.add(fd.as_fd(), key).is_err() {
            self.core.with(|shard| shard.handle_eof(key));
            return;
        }
        let look = !bytes.is_empty();
        let mut io = ConnIo {
            fd,
            key,
            readable: false,
            reads_on: false,
            broken: false,
            ended: false,
            look,
            again: false,
            moves_to: None,
            blocked: false,
            backlog: None,
            channel,
        };
        io.keep_unread(bytes);
        self.conns.borrow_mut().put(io);
        if look {
            self.drive(key);
        }
    }

    /// The kernel said something of a connection.
    pub(super) fn handle_sign(self: &Rc<Self>, sign: Sign) {
        let mut unsent = false;
        if let Some(io) = self.conns.borrow_mut().get(sign.key) {
            io.readable |= sign.readable;
            io.reads_on |= sign.reads_on;
            io.broken |= sign.broken;
            unsent = sign.writable && io.blocked;
        }
        if unsent {
            self.send_rest(sign.key);
        }
        if sign.readable {
            self.drive(sign.key);
        }
    }

    /// The connection is broken: what waits for it will not be sent, nothing more is read.
    pub(super) fn give_up(&self, key: Key) {
        if let Some(io) = self.conns.borrow_mut().get(key) {
            io.blocked = false;
            io.ended = true;
        }
        self.core.with(|shard| shard.handle_progress(key, 0, Vec::new()));
        self.look_again(key);
    }

    /// Has the next round look at a connection: something it waited for may have come.
    pub(super) fn look_again(&self, key: Key) {
        if let Some(io) = self.conns.borrow_mut().get(key) {
            io.look = true;
            if !std::mem::replace(&mut io.again, true) {
                self.again.borrow_mut().push(key);
            }
        }
        if let Some(waker) = self.round_waker.take() {
            waker.wake();
        }
    }

    /// Whether the next round has somebody to look at. If not, [`Self::look_again`] wakes it.
    pub(super) fn has_again(&self, waker: &Waker) -> bool {
        if !self.again.borrow().is_empty() {
            return true;
        }
        self.round_waker.set(Some(waker.clone()));
        false
    }

    /// Goes on with those that asked for another look. True if there were any.
    pub(super) fn drive_again(self: &Rc<Self>) -> bool {
        let keys = self.again.take();
        for key in &keys {
            if let Some(io) = self.conns.borrow_mut().get(*key) {
                io.again = false;
            }
            self.drive(*key);
        }
        !keys.is_empty()
    }

    /// Goes on with a connection as far as it goes without waiting.
    fn drive(self: &Rc<Self>, key: Key) {
        let mut reads = 0;
        loop {
            let next = match self.next_move(key) {
                Move::Rest => return,
                Move::End => return self.end(key),
                Move::Handover(core) => return self.hand_over(key, core),
                Move::LookAgain => self.feed_unread(key),
                Move::Later => return self.look_again(key),
                Move::Read if reads == READS_IN_A_ROW => return self.look_again(key),
                Move::Read => {
                    reads += 1;
                    self.read(key)
                }
            };
            if let Next::Handover(core) = next
                && let Some(io) = self.conns.borrow_mut().get(key)
            {
                io.moves_to = Some(core);
            }
        }
    }

    fn next_move(&self, key: Key) -> Move {
        let mut conns = self.conns.borrow_mut();
        let Some(io) = conns.get(key) else { return Move::Rest };
        let mut known = io.known(self.handshakes_left.get() == 0);
        let to = loop {
            match known.turn() {
                Turn::Goes(to) => break to,
                Turn::Asks(question) => self.core.with(|shard| match question {
                    Question::MayMove => known.may_move = Some(shard.may_move(key)),
                    Question::Owes => known.owes = Some(shard.owes_answer(key)),
                    Question::Waits => {
                        let busy = known.unread && shard.is_busy(key);
                        known.waits = Some(busy || shard.reads_paused(key));
                    }
                }),
            }
        };
        io.look &= !known.has_looked();
        to
    }

    /// Receives once and feeds it to the shard.
    fn read(self: &Rc<Self>, key: Key) -> Next {
        let mut scratch = self.scratch.take();
        let next = self.core.at_one_time(|| self.read_into(key, &mut scratch));
        self.scratch.replace(scratch);
        next
    }

    fn read_into(self: &Rc<Self>, key: Key, scratch: &mut [u8]) -> Next {
        let (count, kept) = {
            let mut conns = self.conns.borrow_mut();
            let Some(io) = conns.get(key) else { return Next::Read };
            let count = match fd::receive(&io.fd, scratch) {
                Ok(None) => {
                    io.readable = false;
                    return Next::Read;
                }
                Err(_) | Ok(Some(0)) => {
                    io.ended = true;
                    return Next::Read;
                }
                Ok(Some(count)) => count,
            };
            // A stream that gave less than it was asked for has no more, unless it was said to.
            io.readable = count == scratch.len() || io.reads_on;
            (count, io.channel.is_none().then(|| io.take_unread()))
        };
        self.core.with(|shard| shard.counters_mut().bytes_in += count as u64);
        match kept {
            Some(unread) => self.take_in(key, unread, &mut scratch[..count]),
            None => self.read_channel(key, &mut scratch[..count]),
        }
    }

    /// Feeds plain bytes to the shard, behind those that were kept.
    pub(super) fn take_in(
        self: &Rc<Self>,
        key: Key,
        mut unread: Vec<u8>,
        bytes: &mut [u8],
    ) -> Next {
        if unread.is_empty() {
            let (next, used) = self.feed(key, bytes);
            self.keep_unread(key, bytes[used..].to_vec());
            return next;
        }
        unread.extend_from_slice(bytes);
        self.feed_kept(key, unread)
    }

    fn feed_unread(self: &Rc<Self>, key: Key) -> Next {
        let unread = self.conns.borrow_mut().get(key).map(ConnIo::take_unread).unwrap_or_default();
        self.feed_kept(key, unread)
    }

    fn feed_kept(self: &Rc<Self>, key: Key, mut unread: Vec<u8>) -> Next {
        let (next, used) = self.feed(key, &mut unread);
        if used == unread.len() {
            unread = Vec::new();
        } else {
            unread.drain(..used);
        }
        self.keep_unread(key, unread);
        next
    }

    fn keep_unread(&self, key: Key, unread: Vec<u8>) {
        let bytes = self.conns.borrow_mut().get(key).map_or(0, |io| {
            io.keep_unread(unread);
            io.held_bytes()
        });
        self.core.with(|shard| shard.note_partial(key, bytes));
    }

    /// Tells the shard how many bytes are kept of what has arrived.
    pub(super) fn note_held(&self, key: Key) {
        let bytes = self.conns.borrow_mut().get(key).map_or(0, |io| io.held_bytes());
        self.core.with(|shard| shard.note_partial(key, bytes));
    }

    /// Feeds bytes to the shard and runs the handlers it asks for. Returns how many were used.
    fn feed(self: &Rc<Self>, key: Key, bytes: &mut [u8]) -> (Next, usize) {
        let received_at = self.core.with(|shard| shard.now());
        let mut used = 0;
        loop {
            let rest = &mut bytes[used..];
            match self.core.with(|shard| shard.next(key, rest)) {
                Step::Wait { consumed } => return (Next::Read, used + consumed),
                Step::Run { consumed, dispatch } => {
                    self.core.run(dispatch, received_at);
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
        let (core, peer) = self.core.with(|shard| (shard.core(), shard.peer(key)));
        let Some(peer) = peer else { return };
        let crate::shard::Forwarded { conn, head, body } = request;
        let bytes = head.capacity() + body.capacity();
        let bytes_max = self.core.with(|shard| shard.settings().limits.forwarded_bytes_max);
        let is_full = self.forwarded.bytes() + bytes > bytes_max;
        let load = self.forwarded.give(bytes);
        let call = AdminCall { core, conn, peer, head, body, load };
        if is_full || self.to_admin.try_send(call).is_err() {
            let body = b"{\"success\":false,\"message\":\"The admin core is busy\",\
                         \"error\":{\"code\":\"OVERLOADED\"}}";
            let answer = crate::http::Response::json(503, body.to_vec()).with("Retry-After", "1");
            let mut bytes = Vec::new();
            answer.write(&mut bytes, true);
            self.core.with(|shard| shard.respond_forwarded(conn, &bytes, true));
        }
    }

    fn end(&self, key: Key) {
        self.core.with(|shard| shard.handle_eof(key));
        self.conns.borrow_mut().take(key);
    }

    /// Moves a connection to the core its session lives on, with the bytes that it has read.
    fn hand_over(&self, key: Key, core: CoreId) {
        let peer = self.core.with(|shard| shard.peer(key));
        let io = self.conns.borrow_mut().take(key);
        let (Some(peer), Some(mut io)) = (peer, io) else { return };
        let secure = self.core.with(|shard| shard.is_secure(key));
        self.core.with(|shard| shard.release_conn(key));
        self.ready.remove(io.fd.as_fd());
        let bytes = io.take_unread();
        let outlet = self.outlets[core.index()].clone();
        let moved = Moved { fd: io.fd, peer, secure, bytes, channel: io.channel };
        let Err(mut item) = outlet.try_send(Item::Moved(moved)) else { return };
        let counted = Rc::clone(&self.core);
        drop(monoio::spawn(async move {
            loop {
                counted.with(|shard| shard.counters_mut().mesh_full += 1);
                monoio::time::sleep(std::time::Duration::from_millis(1)).await;
                match outlet.try_send(item) {
                    Ok(()) => return,
                    Err(back) => item = back,
                }
            }
        }));
    }
}
