//! # load: what connections send, and what they must receive
//!
//! Owns: one type for each kind of scenario, pacing, the building of packets.
//! Imports: `check`, `clock`, `engine` (to send and count), `scenario`.
//!
//! Holds at all times:
//! - every message carries a token, and everything received is checked against it;
//! - what is owed is counted when it is sent.
//!
//! Read first: [`Load`], then `echo.rs`.

mod echo;
mod idle;
mod pace;
mod rooms;
mod talk;

use crate::clock::Nanos;
use crate::engine::meter::Timing;
use crate::engine::{Board, Cx, Stretch};
use crate::scenario::{App, Kind};

/// What the connections of a lane do.
pub trait Load {
    /// Which latency is the scenario's main one.
    fn main(&self) -> Timing;
    /// What a connection says in its CONNECT: JSON, or nothing.
    fn auth(&self) -> Box<dyn Fn(u32) -> String>;
    /// A connection's namespace is connected. The load says [`Cx::ready`] once it has prepared it.
    fn up(&mut self, cx: &mut Cx<'_>, conn: u32);
    /// A Socket.IO packet of type EVENT or ACK came.
    fn packet(&mut self, cx: &mut Cx<'_>, conn: u32, packet: &[u8]);
    /// A connection is gone.
    fn down(&mut self, cx: &mut Cx<'_>, conn: u32);
    /// A stretch is about to begin.
    fn begin(&mut self, cx: &mut Cx<'_>, stretch: &Stretch);
    /// Sends what is due. Called every turn; true if there was something to do.
    fn due(&mut self, cx: &mut Cx<'_>) -> bool;
    /// When something will be due, if nothing comes in.
    fn next_due(&self) -> Option<Nanos>;
    /// The stretch is over: counts what never came.
    fn finish(&mut self, cx: &mut Cx<'_>);
}

/// The load of a lane.
#[must_use]
pub fn make(board: &Board, lane: u32) -> Box<dyn Load> {
    match board.scenario.kind {
        Kind::Connect => Box::new(idle::Idle::new(board, lane, Timing::Connect)),
        Kind::Idle => Box::new(idle::Idle::new(board, lane, Timing::Connect)),
        Kind::Echo => Box::new(echo::Echo::new(board, lane)),
        Kind::Rooms => Box::new(rooms::Rooms::new(board, lane)),
    }
}

/// What connection number `first` + n says in its CONNECT: the gateway wants an identity, each
/// connection its own.
fn identity(app: App, first: u32) -> Box<dyn Fn(u32) -> String> {
    match app {
        App::Bench => Box::new(|_| String::new()),
        App::Gateway => Box::new(move |conn| {
            let number = first + conn;
            format!("{{\"userId\":\"u{number}\",\"sessionId\":\"s{number}\"}}")
        }),
    }
}
