//! How a message descends: encoded once, queued for every receiver, sent to other cores.

use std::sync::Arc;

use super::ack::{Party, Waiter};
use super::frame::{Frame, Wire};
use super::history::{Mark, Offset};
use super::message::{AckOutcome, Ask, GatherRef, Gathered, MeshMsg, Part, Target, Terms};
use super::outbox::Push;
use super::sibling::SiblingMsg;
use super::socket::Seat;
use super::{CoreMask, Ending, Shard};
use crate::base::{Id20, Key};

/// An event to send: its name, its arguments as raw JSON without brackets, its attachments.
#[derive(Clone, Copy, Debug)]
pub struct Emit<'a> {
    /// The event's name.
    pub name: &'a str,
    /// Its arguments, `1,{"a":2}` for instance; already valid.
    pub args: &'a str,
    /// Its binary attachments, in the order of their placeholders.
    pub attachments: &'a [Vec<u8>],
    /// Whether clients that are behind may miss it.
    pub volatile: bool,
}

/// What a broadcast did on one core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Members there were.
    pub(crate) matched: u64,
    /// Those whose queue took the frame.
    pub(crate) queued: u64,
}

/// How a broadcast is handed to its members.
#[derive(Clone, Copy)]
pub(super) struct Delivery {
    /// Clients that are behind may miss it.
    pub(super) volatile: bool,
    /// Everybody's ack is wanted.
    pub(super) ask: Option<(Ask, GatherRef)>,
    /// Its place in the log, where there is one.
    pub(super) mark: Option<Mark>,
}

/// Time after the clients' deadline in which other cores say who missed it.
const LATE_MS: u64 = 250;

impl Shard {
    fn encode(
        &mut self,
        namespace: &str,
        ack_id: Option<u64>,
        emit: &Emit<'_>,
        offset: Option<Offset>,
    ) -> Wire {
        emit.write(&mut self.scratch, namespace, ack_id, offset);
        Wire::packet(&self.scratch, emit.attachments)
    }

    /// Sends an event to every socket of a target, on all cores unless `local`.
    ///
    /// With `counted`, somebody is told how many it was queued for, once all cores have said.
    /// Cost: one encoding; here a pointer a member, one message a core that has members.
    pub fn broadcast(
        &mut self,
        namespace: &str,
        target: Target,
        emit: &Emit<'_>,
        local: bool,
        counted: Option<Box<dyn FnOnce(Gathered)>>,
    ) {
        self.counters.broadcasts += 1;
        let offset = self.next_offset();
        let wire = self.encode(namespace, None, emit, offset);
        let remote = if local { CoreMask::default() } else { self.remote(namespace, &target) };
        let timeout_ms = self.settings.limits.gather_timeout_ms;
        let beyond = if local { 0 } else { self.sibling_cores() };
        let gather = self.gather_for(remote.count() + beyond, None, timeout_ms, counted);
        self.ask_beyond(gather, beyond);
        let mut to = Delivery { volatile: emit.volatile, ask: None, mark: None };
        if remote == CoreMask::default() && offset.is_none() {
            let reached = self.deliver_here(namespace, &target, &Frame::from(wire), to);
            self.answer_if(gather, reached);
            return;
        }
        let (wire, target) = (Arc::new(wire), Arc::new(target));
        let frame = Frame::from(Arc::clone(&wire));
        let namespace: Arc<str> = Arc::from(namespace);
        if let Some(offset) = offset {
            let event = (&namespace, &target, &wire);
            to.mark = self.log_broadcast(offset, event, emit.volatile);
            if beyond > 0 {
                self.tell_sibling(SiblingMsg::event(event, emit.volatile, offset, gather));
            }
        }
        let reached = self.deliver_here(&namespace, &target, &frame, to);
        self.answer_if(gather, reached);
        for core in remote.iter() {
            self.send_mesh(
                core,
                MeshMsg::Broadcast {
                    namespace: Arc::clone(&namespace),
                    target: Arc::clone(&target),
                    wire: Arc::clone(&wire),
                    volatile: emit.volatile,
                    ask: None,
                    gather,
                    offset,
                },
            );
        }
    }

    /// Sends an event to every socket of a target and gathers their acks.
    ///
    /// Rule: Socket.IO, "Broadcast with acknowledgement": one ack id for all recipients; complete
    /// when everybody reached has answered, or as many as `terms` want, partial at the deadline.
    pub fn broadcast_with_ack(
        &mut self,
        namespace: &str,
        target: Target,
        emit: &Emit<'_>,
        terms: Terms,
        done: Box<dyn FnOnce(Gathered)>,
    ) {
        self.counters.broadcasts += 1;
        let timeout_ms = terms.timeout_ms;
        let ask = Ask { id: self.next_ack_id(), timeout_ms };
        let wire = Arc::new(self.encode(namespace, Some(ask.id), emit, None));
        let remote = self.remote(namespace, &target);
        let due_ms = timeout_ms.saturating_add(LATE_MS);
        let others = remote.count();
        let Some(gather) = self.gather_for(others, Some(terms), due_ms, Some(done)) else {
            return;
        };
        let target = Arc::new(target);
        let name: Arc<str> = Arc::from(namespace);
        for core in remote.iter() {
            self.send_mesh(
                core,
                MeshMsg::Broadcast {
                    namespace: Arc::clone(&name),
                    target: Arc::clone(&target),
                    wire: Arc::clone(&wire),
                    volatile: false,
                    ask: Some(ask),
                    gather: Some(gather),
                    offset: None,
                },
            );
        }
        let frame = Frame::from(wire);
        let to = Delivery { volatile: false, ask: Some((ask, gather)), mark: None };
        let reached = self.deliver_here(namespace, &target, &frame, to);
        self.answer_if(Some(gather), reached);
    }

    /// Registers a question to this core and so many others, if anybody wants the answer. If too
    /// many are under way the asker is told at once that nothing can be said.
    pub(super) fn gather_for(
        &mut self,
        others: usize,
        terms: Option<Terms>,
        timeout_ms: u64,
        done: Option<Box<dyn FnOnce(Gathered)>>,
    ) -> Option<GatherRef> {
        match self.open_gather(others + 1, terms, timeout_ms, done?) {
            Ok(gather) => Some(gather),
            Err(done) => {
                let nothing = Gathered { partial: true, refused: true, ..Gathered::default() };
                self.completions.push_back(super::Completion::Gather(done, nothing));
                None
            }
        }
    }

    /// Tells whoever counts what this core has done.
    pub(super) fn answer_if(&mut self, gather: Option<GatherRef>, reached: Reached) {
        if let Some(gather) = gather {
            let Reached { matched: count, queued } = reached;
            self.answer(gather, Part::Done { count, queued, sockets: Vec::new() });
        }
    }

    /// The other cores that may have members of a target.
    pub(super) fn remote(&self, namespace: &str, target: &Target) -> CoreMask {
        let mut mask = CoreMask::default();
        if self.cores == 1 {
            return mask;
        }
        if self.recovery.is_some() {
            // Every core's log has every event, and sockets may live elsewhere than their ids say.
            return self.other_cores();
        }
        if target.rooms.is_empty() {
            mask = self.interest.mask(namespace, "");
        }
        for room in &target.rooms {
            mask.merge(&self.interest.mask(namespace, room));
            // A socket's own id is in no table: it names its core.
            let id = room.rsplit_once('#').map_or(&**room, |(_, id)| id);
            if let Some(id) = Id20::parse(id)
                && id.core().index() < self.cores
            {
                mask.set(id.core());
            }
        }
        mask.clear(self.core);
        mask
    }

    /// The sockets of a target on this core, each once.
    pub fn select(&mut self, namespace: &str, target: &Target) -> Vec<Key> {
        let Some(slot) = self.namespaces.find(namespace) else { return Vec::new() };
        let single = target.except.is_empty() && target.rooms.len() <= 1;
        self.epoch = self.epoch.wrapping_add(1);
        let epoch = self.epoch;
        if !single {
            for room in &target.except {
                let except = self.find_socket(slot, room);
                let members = self.namespaces.get(slot).rooms.members(room);
                for member in members.chain(except.map(Key::slot)) {
                    if let Some(socket) = self.sockets.at_mut(member) {
                        socket.epoch = epoch;
                    }
                }
            }
        }
        let mut chosen = Vec::new();
        if target.rooms.is_empty() {
            let all = &self.namespaces.get(slot).sockets;
            let sockets = &mut self.sockets;
            chosen.extend(all.iter().copied().filter(|key| {
                sockets.get_mut(*key).is_some_and(|socket| take(socket, epoch, single))
            }));
            return chosen;
        }
        for room in &target.rooms {
            let own = self.find_socket(slot, room);
            let members = self.namespaces.get(slot).rooms.members(room);
            chosen.reserve(members.len());
            let several = !single || own.is_some();
            for member in members.chain(own.map(Key::slot)) {
                if let Some(key) = self.sockets.key_at(member)
                    && let Some(socket) = self.sockets.get_mut(key)
                    && take(socket, epoch, !several)
                {
                    chosen.push(key);
                }
            }
        }
        chosen
    }

    /// Queues a frame for every member here.
    pub(super) fn deliver_here(
        &mut self,
        namespace: &str,
        target: &Target,
        frame: &Frame,
        to: Delivery,
    ) -> Reached {
        let Delivery { volatile, ask, mark } = to;
        // By reference: a copy a member would be paid by those who never recover anybody.
        let mark = mark.as_ref();
        let chosen = self.select(namespace, target);
        let mut reached = Reached::default();
        for key in &chosen {
            // An earlier push may have cut a client whose sockets come later.
            let Some(session) = self.sockets.get(*key).map(|socket| socket.session) else {
                continue;
            };
            if mark.is_some_and(|mark| self.had_before(*key, *mark)) {
                continue;
            }
            reached.matched += 1;
            if let Some((ask, gather)) = ask {
                let waiter = Waiter::Gather(gather, frame.mark());
                let owed = self.expect_ack(*key, ask.id, ask.timeout_ms, waiter);
                if let Err((_, waiter)) = owed {
                    // It owes so many answers already that this one will not be looked for.
                    let party = Party { socket: *key, session };
                    self.settle(Some(party), waiter, AckOutcome::TimedOut);
                }
            }
            let queued = self.push(session, frame, volatile);
            reached.queued += u64::from(queued);
            if let Some(mark) = mark.filter(|_| queued) {
                self.note_queued(*key, *mark);
            }
        }
        self.counters.deliveries += reached.matched;
        reached
    }

    /// Queues a frame for one session; false if it was not. The session ends here if a limit of
    /// its outbox is hit.
    pub(super) fn push(&mut self, key: Key, frame: &Frame, volatile: bool) -> bool {
        let Some(session) = self.sessions.get_mut(key) else { return false };
        if session.is_over() {
            return false;
        }
        let conn = session.transport.writable();
        // Rule: a volatile event is dropped if the transport is not writable; a polling client
        // is writable while its request waits.
        let dropped = volatile && conn.is_none();
        if session.outbox.is_empty() && !session.said {
            session.queued_at = self.now;
        }
        let limits = &self.settings.limits;
        let mut pushed =
            if dropped { Push::Dropped } else { session.outbox.push(frame, volatile, limits) };
        if matches!(pushed, Push::BytesExceeded | Push::FramesExceeded)
            && self.room_of(key).is_some_and(|room| room.reads && room.bytes > 0 && room.frames > 0)
            && let Some(session) = self.sessions.get_mut(key)
        {
            // A client that reads is not slow because much was said to it in one tick.
            session.outbox.push_anyway(frame);
            pushed = Push::Queued;
        }
        match pushed {
            Push::Queued => {
                self.outbox_bytes += frame.cost();
                self.counters.packets_out += 1;
                if let Some(conn) = conn {
                    self.mark_dirty(conn);
                }
                self.shed_waiting();
            }
            Push::Dropped => self.counters.volatile_dropped += 1,
            Push::BytesExceeded => self.slow(key, Ending::SlowBytes),
            Push::FramesExceeded => self.slow(key, Ending::SlowFrames),
        }
        pushed == Push::Queued
    }

    /// Moves what waits for an ending session to its WebSocket, so that it leaves before the
    /// close frame.
    pub(super) fn drain_into(&mut self, session: Key, conn: Key) {
        let attachments_max = self.settings.limits.attachments_max;
        let Some(session) = self.sessions.get_mut(session) else { return };
        let form = session.form(attachments_max);
        let mut bytes = Vec::new();
        while let Some(frame) = session.outbox.pop() {
            self.outbox_bytes -= frame.cost();
            frame.write_ws(&mut bytes, form);
        }
        self.write_raw(conn, &bytes);
    }
}

/// Whether a broadcast takes this socket, which it does once.
fn take(socket: &mut super::socket::Socket, epoch: u32, single: bool) -> bool {
    if socket.seat != Seat::Joined {
        return false;
    }
    if single {
        return true;
    }
    let first = socket.epoch != epoch;
    socket.epoch = epoch;
    first
}
