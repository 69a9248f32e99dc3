//! Connections that do nothing once they stand.

use super::Load;
use crate::clock::Nanos;
use crate::engine::{Cx, Stretch};

/// Connections that do nothing.
pub(crate) struct Idle;

impl Load for Idle {
    fn up(&mut self, cx: &mut Cx<'_>, _conn: u32) {
        cx.ready();
    }

    fn packet(&mut self, _cx: &mut Cx<'_>, _conn: u32, _packet: &[u8]) {}

    fn begin(&mut self, _cx: &mut Cx<'_>, _stretch: &Stretch) {}

    fn due(&mut self, _cx: &mut Cx<'_>) -> bool {
        false
    }

    fn next_due(&self, _now: Nanos) -> Option<Nanos> {
        None
    }

    fn finish(&mut self, _cx: &mut Cx<'_>) {}
}
