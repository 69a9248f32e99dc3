//! Joining and leaving: the library is told here, the keeper of the room by an errand.
//!
//! A join takes effect at once and is answered when the keeper has counted it. A room that is one
//! too many is counted all the same and the socket taken out again, so that what the keeper is
//! told always adds up.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use super::backend::{self, FactKind};
use super::error::{Done, VerbError};
use super::events;
use super::identity::Identity;
use super::keeper::Entered;
use super::local::Pending;
use super::{Gateway, on};
use crate::api::{Disconnected, Io, Socket, Target, TargetVerb};
use crate::base::{CoreId, Key};

/// What a keeper is told of a user's sockets, and asked at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Enter(u32),
    Exit(u32),
    /// Nothing changed; only the count is wanted.
    Ask,
}

/// Tells the keeper of a room; `pending` names the question that waits for its answer here.
fn tell(
    gateway: &Gateway,
    io: &Io,
    space: u16,
    (room, user): (&Arc<str>, &Arc<str>),
    change: Change,
    pending: Option<Key>,
) {
    let (room, user, asker) = (Arc::clone(room), Arc::clone(user), io.core());
    on(io, gateway.home(&room), move |gateway, io| {
        let entered = apply(gateway, io, space, &room, &user, change);
        if let Some(key) = pending {
            on(io, asker, move |gateway, io| settle(gateway, io, key, entered));
        }
    });
}

/// On the keeper.
fn apply(
    gateway: &Gateway,
    io: &Io,
    space: u16,
    room: &str,
    user: &Arc<str>,
    change: Change,
) -> Entered {
    let now_ms = io.unix_ms();
    let mut space = gateway.space(space).borrow_mut();
    let users = match change {
        Change::Enter(sockets) => return space.enter(room, user, sockets, now_ms),
        Change::Exit(sockets) => space.exit(room, user, sockets, now_ms),
        Change::Ask => space.users_in(room, now_ms),
    };
    Entered { users, accepted: true }
}

/// A socket joins a room because its client asked for it, and may.
pub(super) fn join(gateway: &Gateway, io: &Io, pending: Pending) -> Result<(), VerbError> {
    let change = if pending.socket.is_in(&pending.room) {
        Change::Ask
    } else if pending.socket.join(&pending.room) {
        Change::Enter(1)
    } else {
        // The name was judged, so the socket has as many rooms as it may have.
        return Err(VerbError::LimitReached);
    };
    if change == Change::Enter(1) {
        tell_back_ends(gateway, io, &pending, FactKind::Joined(Arc::clone(&pending.room)));
    }
    ask(gateway, io, pending, change);
    Ok(())
}

/// A client's own joins and leaves are facts at once: whatever follows, they keep their order.
fn tell_back_ends(gateway: &Gateway, io: &Io, pending: &Pending, kind: FactKind) {
    let from = (&*pending.socket.id(), &*pending.who);
    backend::tell_fact(gateway, io, pending.space, from, kind);
}

/// A socket leaves a room because its client asked for it.
pub(super) fn leave(gateway: &Gateway, io: &Io, pending: Pending) {
    let left = pending.socket.leave(&pending.room);
    if left {
        tell_back_ends(gateway, io, &pending, FactKind::Left(Arc::clone(&pending.room)));
    }
    let change = if left { Change::Exit(1) } else { Change::Ask };
    ask(gateway, io, pending, change);
}

fn ask(gateway: &Gateway, io: &Io, pending: Pending, change: Change) {
    let (room, who, space) = (Arc::clone(&pending.room), Rc::clone(&pending.who), pending.space);
    let due_ms = io.unix_ms() + KEEPER_TIMEOUT_MS;
    let key = gateway.local.borrow_mut().pending.insert(due_ms, pending);
    tell(gateway, io, space, (&room, &who.user), change, Some(key));
}

/// The keeper has answered.
fn settle(gateway: &Rc<Gateway>, io: &Io, key: Key, entered: Entered) {
    let pending = gateway.local.borrow_mut().pending.remove(key);
    let Some(Pending { socket, who, ack, room, space, .. }) = pending else {
        return;
    };
    if entered.accepted {
        if let Some(ack) = ack {
            events::send_room_ack(ack, &room, entered.users, false);
        }
        return;
    }
    if socket.leave(&room) {
        tell(gateway, io, space, (&room, &who.user), Change::Exit(1), None);
        let from = (&*socket.id(), &*who);
        backend::tell_fact(gateway, io, space, from, FactKind::Left(Arc::clone(&room)));
    }
    events::refuse(&socket, &who, ack, &VerbError::LimitReached);
}

/// Answers clients whose keeper is silent with what is known here: the sockets of this core.
pub(super) fn answer_late(gateway: &Gateway, io: &Io) {
    let now_ms = io.unix_ms();
    let mut late = Vec::new();
    let mut local = gateway.local.borrow_mut();
    // What the keeper says at last still counts, so that they stay.
    while late.len() < LATE_AT_ONCE
        && let Some(pending) = local.pending.next_late(now_ms)
    {
        if let Some(ack) = pending.ack.take() {
            late.push((ack, pending.space, Arc::clone(&pending.room)));
        }
    }
    drop(local);
    for (ack, space, room) in late {
        let sockets = io.room_size_here(gateway.settings.namespace(space), &room);
        events::send_room_ack(ack, &room, sockets, true);
    }
}

/// How long a client waits for the keeper of a room at most, to the second.
const KEEPER_TIMEOUT_MS: u64 = 1_000;
/// Clients that are answered so in one go; the others a second later.
const LATE_AT_ONCE: usize = 4_096;

/// A socket joins the rooms of its user and its session. False if the library refused.
pub(super) fn join_own_rooms(socket: &Socket, who: &Identity) -> bool {
    socket.join(&who.user_room()) && who.session_room().is_none_or(|room| socket.join(&room))
}

/// Tells the keeper of the session's room of a socket that joined; the user's room needs none,
/// its members are the user's sockets.
pub(super) fn tell_own_rooms(gateway: &Gateway, io: &Io, space: u16, who: &Identity) {
    if let Some(room) = who.session_room() {
        tell(gateway, io, space, (&room.into(), &who.user), Change::Enter(1), None);
    }
}

/// The same for a socket that may have come in with more rooms.
pub(super) fn tell_first_rooms(gateway: &Gateway, space: u16, who: &Identity, socket: &Socket) {
    let (io, id, user_room) = (socket.io(), socket.id(), who.user_room());
    for room in socket.rooms().into_iter().filter(|room| *room != id && *room != user_room) {
        tell(gateway, &io, space, (&room.into(), &who.user), Change::Enter(1), None);
    }
}

/// Puts a socket into a room, or takes it out, for another reason than its client's wish.
pub(super) fn put(
    gateway: &Gateway,
    space: u16,
    (socket, who): (&Socket, &Identity),
    room: &str,
    joins: bool,
) {
    let (changed, change) = match joins {
        true => (!socket.is_in(room) && socket.join(room), Change::Enter(1)),
        false => (socket.leave(room), Change::Exit(1)),
    };
    if changed {
        tell(gateway, &socket.io(), space, (&room.into(), &who.user), change, None);
    }
}

/// Tells the keepers of all rooms that a socket was in when it went, each once.
pub(super) fn tell_gone(gateway: &Gateway, space: u16, who: &Identity, gone: &Disconnected) {
    let mut by_keeper: BTreeMap<CoreId, Vec<Box<str>>> = BTreeMap::new();
    let user_room = who.user_room();
    for room in gone.rooms().iter().filter(|room| ***room != *user_room) {
        by_keeper.entry(gateway.home(room)).or_default().push((**room).into());
    }
    for (core, rooms) in by_keeper {
        let user = Arc::clone(&who.user);
        on(gone.io(), core, move |gateway, io| {
            for room in rooms {
                apply(gateway, io, space, &room, &user, Change::Exit(1));
            }
        });
    }
}

/// Sockets that a back end puts into a room or takes out of one.
pub(super) struct Wish {
    pub(super) space: u16,
    pub(super) target: Arc<Target>,
    pub(super) room: Arc<str>,
    pub(super) joins: bool,
}

/// What became of a wish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Sockets that the target meant.
    pub matched: u64,
    /// Sockets that are in the room now, or that left it.
    pub done_for: u64,
}

/// A wish that all cores are doing their part of.
pub(super) struct Job {
    cores_left: usize,
    changed: Changed,
    space: u16,
    room: Arc<str>,
    joins: bool,
    done: Done<Changed>,
}

/// Puts all sockets of a target into a room, or takes them out: those that are meant as it begins
/// on their core, and are still there when their turn comes.
///
/// The keeper of the room leads: it asks every core, so that it has heard of every change before
/// it answers.
pub(super) fn change(gateway: &Gateway, io: &Io, wish: Wish, done: Done<Changed>) {
    on(io, gateway.home(&wish.room), move |gateway, io| {
        let Wish { space, target, room, joins } = wish;
        let held = || gateway.space(space).borrow_mut().hold(&room, io.unix_ms());
        if joins && held().is_err() {
            done(Err(VerbError::LimitReached));
            return;
        }
        let (cores_left, keeper) = (gateway.cores, io.core());
        let (changed, name) = (Changed::default(), Arc::clone(&room));
        let job = Job { cores_left, changed, space, room: name, joins, done };
        let key = gateway.jobs.borrow_mut().insert(job);
        if !joins {
            // Nobody comes back into it who is away just now.
            let verb = TargetVerb::Leave(vec![(*room).into()]);
            io.strike(gateway.settings.namespace(space), &target, &verb);
        }
        for core in (0..cores_left).map(CoreId::from_index) {
            let (target, room) = (Arc::clone(&target), Arc::clone(&room));
            on(io, core, move |gateway, io| {
                let namespace = gateway.settings.namespace(space);
                let sockets = io.select_here(namespace, &target);
                in_slices(io, keys_of(&sockets), move |io, sockets, is_last| {
                    let part = PartDone { is_last, ..change_here(sockets, &room, joins) };
                    // Told at once: what these sockets do next is told after it.
                    on(io, keeper, move |gateway, io| part_done(gateway, io, key, &part));
                });
            });
        }
    });
}

/// Sockets that something is done to in one go. A worker serves its clients in between: each is a
/// few look-ups, or a connection that is closed.
const SOCKETS_A_SLICE: usize = 64;

/// The names of sockets, which outlive a slice although the sockets may not.
pub(super) fn keys_of(sockets: &[Socket]) -> VecDeque<Key> {
    sockets.iter().map(Socket::key).collect()
}

/// Does something to sockets of this core, a slice at a time; the first one now. Told of each
/// slice is whether it is the last, which may be empty.
pub(super) fn in_slices(
    io: &Io,
    mut keys: VecDeque<Key>,
    work: impl Fn(&Io, &[Socket], bool) + Send + 'static,
) {
    let slice = keys.drain(..keys.len().min(SOCKETS_A_SLICE));
    let sockets: Vec<Socket> = slice.map(|key| io.socket(key)).collect();
    let is_last = keys.is_empty();
    work(io, &sockets, is_last);
    if !is_last {
        io.go_on(io.core(), move |io| in_slices(io, keys, work));
    }
}

/// What one core did for a job in one slice, and what its keeper must be told: sockets by user.
#[derive(Default)]
struct PartDone {
    is_last: bool,
    changed: Changed,
    by_user: BTreeMap<Arc<str>, u32>,
}

fn change_here(sockets: &[Socket], room: &str, joins: bool) -> PartDone {
    let mut part = PartDone::default();
    for socket in sockets {
        let Some(who) = socket.data::<Identity>() else {
            continue;
        };
        part.changed.matched += 1;
        let was_in = socket.is_in(room);
        let is_done = if joins { was_in || socket.join(room) } else { socket.leave(room) };
        part.changed.done_for += u64::from(is_done);
        if is_done && was_in != joins {
            *part.by_user.entry(Arc::clone(&who.user)).or_default() += 1;
        }
    }
    part
}

fn part_done(gateway: &Gateway, io: &Io, key: Key, part: &PartDone) {
    let mut jobs = gateway.jobs.borrow_mut();
    let Some(job) = jobs.get_mut(key) else { return };
    job.cores_left -= usize::from(part.is_last);
    job.changed.matched += part.changed.matched;
    job.changed.done_for += part.changed.done_for;
    for (user, sockets) in &part.by_user {
        let change = if job.joins { Change::Enter(*sockets) } else { Change::Exit(*sockets) };
        apply(gateway, io, job.space, &job.room, user, change);
    }
    if job.cores_left > 0 {
        return;
    }
    let job = jobs.remove(key);
    drop(jobs);
    let Some(Job { changed, space, room, joins, done, .. }) = job else {
        return;
    };
    if joins {
        gateway.space(space).borrow_mut().release(&room, io.unix_ms());
    }
    let refused = joins && changed.matched > 0 && changed.done_for == 0;
    done(if refused { Err(VerbError::LimitReached) } else { Ok(changed) });
}
