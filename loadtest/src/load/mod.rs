//! # load: what connections send, and what they must receive
//!
//! Owns: one type for each kind of traffic, pacing, the building of packets.
//! Imports: `check`, `clock`, `engine` (to send and count), `scenario`, `wire`.
//!
//! Holds at all times:
//! - every message carries a token, and everything received is checked against it;
//! - what is owed is counted when it is sent.
//!
//! Read first: [`Load`], then `echo.rs`.

mod ai;
mod churn;
mod echo;
mod idle;
mod notify;
mod pace;
mod rooms;
mod talk;

use crate::clock::Nanos;
use crate::engine::meter::Timing;
use crate::engine::{Board, Cx, Stretch};
use crate::scenario::{App, Kind};
use crate::wire::helpers::Answer;

/// What some connections of a lane do. They are numbered from 0.
pub trait Load {
    /// A connection's namespace is connected. The load says [`Cx::ready`] once it has prepared it.
    fn up(&mut self, cx: &mut Cx<'_>, conn: u32);
    /// A Socket.IO packet of type EVENT or ACK came.
    fn packet(&mut self, cx: &mut Cx<'_>, conn: u32, packet: &[u8]);
    /// A connection is gone.
    fn down(&mut self, _cx: &mut Cx<'_>, _conn: u32) {}
    /// A REST call was answered.
    fn answered(&mut self, _cx: &mut Cx<'_>, _answer: &Answer) {}
    /// Whether a connection is to take little into the kernel.
    fn is_narrow(&self, _conn: u32) -> bool {
        false
    }
    /// A stretch is about to begin.
    fn begin(&mut self, cx: &mut Cx<'_>, stretch: &Stretch);
    /// Sends what is due. Called every turn; true if there was something to do.
    fn due(&mut self, cx: &mut Cx<'_>) -> bool;
    /// When something will be due, if nothing comes in.
    fn next_due(&self, now: Nanos) -> Option<Nanos>;
    /// Open loop: whether messages that should have been sent are still to be sent.
    fn owes_sends(&self) -> bool {
        false
    }
    /// The stretch is over: counts what never came.
    fn finish(&mut self, cx: &mut Cx<'_>);
}

/// Which latency is a scenario's main one: the one of its operations.
#[must_use]
pub const fn main_timing(kind: Kind) -> Timing {
    match kind {
        Kind::Connect | Kind::Idle => Timing::Connect,
        Kind::Echo => Timing::RoundTrip,
        Kind::Rooms | Kind::Notify | Kind::Slow | Kind::Mixed => Timing::Delivery,
        Kind::Ai => Timing::EndToEnd,
        Kind::Churn => Timing::Join,
    }
}

/// The loads of a lane, each with the number of its connections.
#[must_use]
pub fn make(board: &Board, lane: u32) -> Vec<(Box<dyn Load>, u32)> {
    let layout = &board.layout;
    let members = layout.members_of(lane);
    let count = members.end - members.start;
    let load: Box<dyn Load> = match board.scenario.kind {
        Kind::Connect | Kind::Idle => Box::new(idle::Idle),
        Kind::Echo => Box::new(echo::Echo::new(board, lane, members, echo::Rate::OfStretch)),
        Kind::Notify => Box::new(notify::Notify::new(board, lane)),
        Kind::Ai => Box::new(ai::Ai::new(board, lane)),
        Kind::Rooms | Kind::Churn | Kind::Slow | Kind::Mixed => {
            return make_rooms(board, lane, count);
        }
    };
    vec![(load, count)]
}

fn make_rooms(board: &Board, lane: u32, members: u32) -> Vec<(Box<dyn Load>, u32)> {
    let layout = &board.layout;
    let publishers = layout.publishers_of(lane);
    let rooms = Box::new(rooms::Rooms::new(board, lane));
    let mut parts: Vec<(Box<dyn Load>, u32)> =
        vec![(rooms, members + publishers.end - publishers.start)];
    let churners = layout.share(layout.churners, lane);
    if !churners.is_empty() {
        let count = churners.end - churners.start;
        parts.push((Box::new(churn::Churn::new(board, churners)), count));
    }
    let echoers = layout.share(layout.echoers, lane);
    if !echoers.is_empty() {
        let count = echoers.end - echoers.start;
        let rate = echo::Rate::Own(board.scenario.echo_rate);
        parts.push((Box::new(echo::Echo::new(board, lane, echoers, rate)), count));
    }
    let idlers = layout.share(layout.idlers, lane);
    parts.push((Box::new(idle::Idle), idlers.end - idlers.start));
    parts
}

/// What the connections of a lane say in their CONNECT: the gateway wants an identity.
#[must_use]
pub fn identities(board: &Board, lane: u32) -> Box<dyn Fn(u32) -> String> {
    let together = board.scenario.kind.sockets_together();
    match board.scenario.app {
        App::Bench => Box::new(|_| String::new()),
        App::Gateway => Box::new(move |conn| {
            let (user, session) = (talk::user(lane, conn / together), talk::session(lane, conn));
            format!("{{\"userId\":\"{user}\",\"sessionId\":\"{session}\"}}")
        }),
    }
}
