//! One core: the loops of `worker/` (`conn.rs` and `flush.rs` there), a step at a time.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::fault::Tally;
use super::host::{ClockOfCore, Desk, SimHost};
use super::link::{Candidacy, Link, Place, Served, Waits};
use super::mutant::{Mutant, Saboteur};
use crate::api::Core;
use crate::base::{CoreId, Key, Limits, Micros, Millis};
use crate::shard::{MeshMsg, Settings, Shard, Step};

/// What goes from core to core.
pub(super) enum Item {
    Batch { messages: Vec<MeshMsg> },
    Moved { link: usize, bytes: Vec<u8> },
}

/// What is on its way from one core to each other.
pub(super) struct Lanes {
    pub(super) to: Vec<VecDeque<Item>>,
    /// Batches one of them holds.
    pub(super) room: usize,
    /// What is on its way to each core does not arrive before that.
    pub(super) late_until: Vec<Micros>,
}

/// One core and the worker's half of its connections.
pub(super) struct Node {
    pub(super) core: Rc<Core>,
    pub(super) desk: Rc<Desk>,
    clock: Rc<Cell<Micros>>,
    links: BTreeMap<Key, usize>,
    /// Connections whose requests are with the admin core.
    pub(super) forwarded: RefCell<Vec<Key>>,
    /// Set while another core's inbox is full: no flush before that.
    pub(super) retry_at: Option<Micros>,
    /// The core does nothing until then.
    pub(super) stopped_until: Micros,
    /// How far its clock is behind.
    pub(super) behind_us: Rc<Cell<Micros>>,
    notes: Notes,
}

/// Whoever watches, and whoever spoils.
#[derive(Clone)]
pub(super) struct Notes {
    pub(super) tally: Rc<Tally>,
    pub(super) saboteur: Rc<Saboteur>,
}

/// Bytes joined into one write.
const WRITE_BYTES: usize = 64 << 10;
/// How long a worker waits for a full inbox.
const RETRY_US: Micros = 1_000;

impl Node {
    pub(super) fn new(shard: Shard, clock: &Rc<Cell<Micros>>, notes: Notes) -> Self {
        let desk = Rc::new(Desk::default());
        let behind_us = Rc::new(Cell::new(0));
        let clock_of_core =
            ClockOfCore { clock: Rc::clone(clock), behind_us: Rc::clone(&behind_us) };
        let host = SimHost { clock: clock_of_core, desk: Rc::clone(&desk) };
        Self {
            core: Core::new(shard, Box::new(host)),
            desk,
            clock: Rc::clone(clock),
            links: BTreeMap::new(),
            forwarded: RefCell::new(Vec::new()),
            retry_at: None,
            stopped_until: 0,
            behind_us,
            notes,
        }
    }

    fn me(&self) -> usize {
        self.core.with(|shard| shard.core().index())
    }

    /// Takes a connection in: a new one, or one from another core with bytes it had read.
    pub(super) fn adopt(
        &mut self,
        links: &mut [Link],
        id: usize,
        bytes: Vec<u8>,
        lanes: &mut Lanes,
    ) {
        self.desk.stir();
        let port = u16::try_from(id % 60_000).expect("below") + 1;
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let Some(key) = self.core.with(|shard| shard.open_conn(peer)) else {
            self.notes.tally.count("a connection refused");
            links[id].place = Place::Closed;
            links[id].down_ended = true;
            return;
        };
        self.links.insert(key, id);
        links[id].place = Place::Served(Served {
            core: self.me(),
            key,
            unread: bytes,
            blocked: false,
            waits: Waits::Input,
            resume: false,
        });
        self.go_on(links, id, lanes);
    }

    /// The connection's task reads `count` of the bytes that are there, or their end.
    pub(super) fn read(&mut self, links: &mut [Link], id: usize, count: usize, lanes: &mut Lanes) {
        self.desk.stir();
        let mut bytes = links[id].take(count);
        if self.notes.saboteur.strikes(Mutant::DoubledRead) {
            bytes.extend_from_within(..);
        }
        let served = served(&mut links[id]);
        if count == 0 {
            served.waits = Waits::End;
            self.end(links, id);
            return;
        }
        served.unread.extend_from_slice(&bytes);
        self.go_on(links, id, lanes);
    }

    /// The shard has said that the input may be looked at again.
    pub(super) fn resume(&mut self, links: &mut [Link], id: usize, lanes: &mut Lanes) {
        self.desk.stir();
        let served = served(&mut links[id]);
        served.resume = false;
        if served.waits == Waits::End {
            self.end(links, id);
        } else {
            self.go_on(links, id, lanes);
        }
    }

    /// The peer has said all it wants; it may still be waiting for the answer.
    fn end(&mut self, links: &mut [Link], id: usize) {
        let served = served(&mut links[id]);
        let key = served.key;
        if self.core.with(|shard| shard.owes_answer(key)) || served.blocked {
            return;
        }
        if !self.notes.saboteur.strikes(Mutant::ForgottenEnd) {
            self.core.with(|shard| shard.handle_eof(key));
        }
        self.links.remove(&key);
        links[id].place = Place::Closed;
        links[id].down_ended = true;
    }

    /// Feeds what is unread, then decides what to wait for.
    fn go_on(&mut self, links: &mut [Link], id: usize, lanes: &mut Lanes) {
        let served = served(&mut links[id]);
        let key = served.key;
        if !served.unread.is_empty() {
            let mut unread = std::mem::take(&mut served.unread);
            let (handover, used) = self.feed(key, &mut unread);
            unread.drain(..used);
            let bytes = unread.len();
            served.unread = unread;
            self.core.with(|shard| shard.note_partial(key, bytes));
            if let Some(core) = handover {
                served.waits = Waits::Handover(core);
                self.hand_over(links, id, lanes);
                return;
            }
        }
        let waits = self.core.with(|shard| {
            (shard.is_busy(key) && !served.unread.is_empty()) || shard.reads_paused(key)
        });
        served.waits = if waits { Waits::Resume } else { Waits::Input };
    }

    /// Feeds bytes to the shard and runs the handlers it asks for. Returns how many were used.
    fn feed(&self, key: Key, bytes: &mut [u8]) -> (Option<CoreId>, usize) {
        let mut used = 0;
        loop {
            let rest = &mut bytes[used..];
            match self.core.with(|shard| shard.next(key, rest)) {
                Step::Wait { consumed } => return (None, used + consumed),
                Step::Run { consumed, dispatch } => {
                    self.core.run(dispatch, self.core.now_us());
                    used += consumed;
                }
                Step::Handover { core } => return (Some(core), used),
                Step::Forward { consumed, request } => {
                    used += consumed;
                    self.forwarded.borrow_mut().push(request.conn);
                }
            }
        }
    }

    fn hand_over(&mut self, links: &mut [Link], id: usize, lanes: &mut Lanes) {
        let served = served(&mut links[id]);
        let Waits::Handover(core) = served.waits else { return };
        if served.blocked {
            self.notes.tally.count("a move that waits for a write");
            return;
        }
        if !self.core.with(|shard| shard.may_move(served.key)) {
            // What it was still to be sent was thrown away: nobody may go on behind that.
            self.notes.tally.count("cut before it moved");
            served.waits = Waits::Input;
            return;
        }
        let (key, bytes) = (served.key, std::mem::take(&mut served.unread));
        self.core.with(|shard| shard.release_conn(key));
        self.links.remove(&key);
        links[id].place = Place::Moving;
        // The request for which it moves is read again where it is at home.
        assert!(!bytes.is_empty(), "connection {id} moves without its request");
        let is_late = links[id].up_ended;
        let what =
            if is_late { "moved after its client had gone" } else { "moved with what was read" };
        self.notes.tally.count(what);
        if !self.notes.saboteur.strikes(Mutant::LostMove) {
            lanes.to[core.index()].push_back(Item::Moved { link: id, bytes });
        }
    }

    /// The kernel has room again for a connection that had none.
    pub(super) fn send_rest(&mut self, links: &mut [Link], id: usize, lanes: &mut Lanes) {
        self.desk.stir();
        let now = self.clock.get();
        if links[id].refuses() {
            self.give_up(links, id);
            return self.hand_over(links, id, lanes);
        }
        let key = served(&mut links[id]).key;
        let mut unsent = self.core.with(|shard| shard.take_unsent(key));
        let count = links[id].write(&unsent, now);
        unsent.drain(..count);
        let done = unsent.is_empty();
        self.core.with(|shard| shard.handle_progress(key, count, unsent));
        let served = served(&mut links[id]);
        served.blocked = !done;
        if done {
            self.core.with(|shard| shard.handle_written(key));
            served.resume = true;
            self.hand_over(links, id, lanes);
        }
    }

    /// The kernel refuses to send: what waits will not be sent, and nothing more is read.
    fn give_up(&self, links: &mut [Link], id: usize) {
        self.notes.tally.count("a write that failed");
        let served = served(&mut links[id]);
        served.blocked = false;
        self.core.with(|shard| shard.handle_progress(served.key, 0, Vec::new()));
        if !matches!(served.waits, Waits::Handover(_)) {
            served.waits = Waits::End;
            served.resume = true;
        }
    }

    /// The end of a tick: completions, messages to other cores, one write a connection.
    pub(super) fn flush(&mut self, links: &mut [Link], lanes: &mut Lanes) {
        self.desk.stir();
        self.desk.flush.set(false);
        if self.notes.saboteur.strikes(Mutant::ForgottenFlush) {
            return;
        }
        loop {
            self.core.pump();
            while self.core.with(Shard::take_log).is_some() {}
            self.send_batches(lanes);
            while let Some(key) = self.core.with(Shard::take_dirty) {
                if let Some(id) = self.links.get(&key).copied() {
                    self.write(links, id, key);
                    // It may have been cut, and then nothing waits to be sent any more.
                    self.hand_over(links, id, lanes);
                }
            }
            for key in self.core.with(Shard::take_resumed) {
                if self.core.with(|shard| shard.needs_step(key)) {
                    // Without bytes nothing can be consumed, and nobody asks for another core.
                    let _nothing = self.feed(key, &mut []);
                }
                if let Some(id) = self.links.get(&key) {
                    served(&mut links[*id]).resume = true;
                }
            }
            if !self.core.with(|shard| shard.has_output()) || self.retry_at.is_some() {
                break;
            }
        }
        self.core.begin_flush();
    }

    fn send_batches(&mut self, lanes: &mut Lanes) {
        self.retry_at = None;
        let (me, now) = (self.me(), self.clock.get());
        for (to, lane) in lanes.to.iter_mut().enumerate().filter(|(to, _)| *to != me) {
            let to = CoreId::from_index(to);
            let messages = self.core.with(|shard| shard.take_mesh(to));
            if messages.is_empty() || self.notes.saboteur.strikes(Mutant::LostBatch) {
                continue;
            }
            if lane.len() >= lanes.room {
                self.core.with(|shard| shard.return_mesh(to, messages));
                self.retry_at = Some(now + RETRY_US);
            } else if !lane.is_empty() && self.notes.saboteur.strikes(Mutant::HastyBatch) {
                lane.push_front(Item::Batch { messages });
            } else {
                lane.push_back(Item::Batch { messages });
            }
        }
    }

    fn write(&self, links: &mut [Link], id: usize, key: Key) {
        let now = self.clock.get();
        if self.core.with(|shard| shard.is_aborted(key)) {
            let served = served(&mut links[id]);
            if served.blocked {
                // The task that waits to send the rest wakes up, finds nothing, and says so.
                served.blocked = false;
                served.resume = true;
                self.core.with(|shard| shard.handle_written(key));
            }
            links[id].abort();
            return;
        }
        if served(&mut links[id]).blocked {
            return;
        }
        loop {
            let mut buffer = Vec::new();
            let fill = self.core.with(|shard| shard.fill(key, &mut buffer, WRITE_BYTES));
            if links[id].refuses() && !buffer.is_empty() {
                return self.give_up(links, id);
            }
            if self.notes.saboteur.strikes(Mutant::DoubledWrite) {
                buffer.extend_from_within(..);
            }
            if self.notes.saboteur.strikes(Mutant::LostWrite) {
                buffer.clear();
            }
            let count = links[id].write(&buffer, now);
            if count < buffer.len() {
                served(&mut links[id]).blocked = true;
                let unsent = buffer[count..].to_vec();
                self.core.with(|shard| shard.handle_blocked(key, unsent));
                return;
            }
            if fill.shut {
                links[id].down_ended = true;
            }
            if !fill.more {
                return;
            }
        }
    }

    /// Messages from another core.
    pub(super) fn take(&mut self, messages: Vec<MeshMsg>) {
        self.desk.stir();
        self.core.with(|shard| {
            for message in messages {
                shard.handle_mesh(message);
            }
        });
    }

    /// Asserts that no connection waits for a word of the shard that will not come.
    pub(super) fn check_waits(&self, links: &mut [Link]) {
        for (key, id) in &self.links {
            let served = served(&mut links[*id]);
            if served.resume || served.blocked {
                continue;
            }
            let unread = !served.unread.is_empty();
            let waits = self.core.with(|shard| match served.waits {
                Waits::Input => true,
                Waits::Resume => (shard.is_busy(*key) && unread) || shard.reads_paused(*key),
                Waits::Handover(_) => false,
                Waits::End => shard.owes_answer(*key),
            });
            assert!(waits, "connection {id} waits for nothing: {served:?}");
        }
    }

    /// The admin core answers one of the requests it was sent; the connection may be gone.
    pub(super) fn answer(&mut self, at: usize) {
        self.desk.stir();
        let conn = self.forwarded.borrow_mut().swap_remove(at);
        let bytes =
            b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n{}";
        self.core.with(|shard| shard.respond_forwarded(conn, bytes, true));
    }

    /// Deadlines.
    pub(super) fn handle_timeout(&mut self) {
        self.desk.stir();
        self.core.with(Shard::handle_timeout);
    }

    /// When the next deadline is, by everybody's clock.
    pub(super) fn next_due(&self) -> Option<Micros> {
        let due = self.core.with(|shard| shard.next_due())?;
        Some(due.0 * 1_000 + self.behind_us.get())
    }

    /// Takes down how long each upgrade takes, after every step: when it began, and when it was
    /// done or given up. One that has its time behind it must not be left when nothing is due.
    pub(super) fn watch_upgrades(&self, links: &mut [Link], settings: &Settings) {
        let most_ms = settings.upgrade_timeout_ms + settings.slot_ms();
        let (now, idle) = self.core.with(|shard| {
            let now = Millis::of(shard.now());
            (now, shard.next_due().is_none_or(|due| due > now))
        });
        for (key, id) in &self.links {
            let link = &mut links[*id];
            let is_candidate = self.core.with(|shard| shard.is_candidate(*key));
            match link.candidacy {
                Candidacy::No if is_candidate => link.candidacy = Candidacy::Since(now),
                Candidacy::Since(began) if is_candidate => {
                    let overdue = idle && now.since(began) >= most_ms;
                    assert!(!overdue, "connection {id} may upgrade for ever: {link:?}");
                }
                Candidacy::Since(began) => link.candidacy = Candidacy::Over(now.since(began)),
                Candidacy::No | Candidacy::Over(_) => {}
            }
        }
    }

    /// Asserts every invariant of this core, and that it holds no more than it may.
    pub(super) fn check(&self, limits: &Limits) {
        self.core.with(|shard| {
            shard.check();
            shard.check_bill(limits);
        });
    }
}

fn served(link: &mut Link) -> &mut Served {
    match &mut link.place {
        Place::Served(served) => served,
        _ => panic!("only what is served here is looked at"),
    }
}
