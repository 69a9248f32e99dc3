//! Connections that do nothing once they stand.

use super::Load;
use crate::clock::Nanos;
use crate::engine::meter::Timing;
use crate::engine::{Board, Cx, Stretch};
use crate::load::identity;

/// Connections that do nothing.
pub(crate) struct Idle {
    main: Timing,
    first: u32,
    app: crate::scenario::App,
}

impl Idle {
    pub(crate) fn new(board: &Board, lane: u32, main: Timing) -> Self {
        Self { main, first: board.layout.members_of(lane).start, app: board.scenario.app }
    }
}

impl Load for Idle {
    fn main(&self) -> Timing {
        self.main
    }

    fn auth(&self) -> Box<dyn Fn(u32) -> String> {
        identity(self.app, self.first)
    }

    fn up(&mut self, cx: &mut Cx<'_>, _conn: u32) {
        cx.ready();
    }

    fn packet(&mut self, _cx: &mut Cx<'_>, _conn: u32, _packet: &[u8]) {}

    fn down(&mut self, _cx: &mut Cx<'_>, _conn: u32) {}

    fn begin(&mut self, _cx: &mut Cx<'_>, _stretch: &Stretch) {}

    fn due(&mut self, _cx: &mut Cx<'_>) -> bool {
        false
    }

    fn next_due(&self) -> Option<Nanos> {
        None
    }

    fn finish(&mut self, _cx: &mut Cx<'_>) {}
}
