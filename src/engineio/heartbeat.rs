//! The heartbeat of one session.

use super::Revision;
use crate::base::Millis;

/// Lateness of our own timers that is taken off the wait for the pong.
const LATE_MS: u64 = 25;

/// What a due deadline asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Not due yet, or nothing to do.
    Quiet,
    /// Send a ping.
    Ping,
    /// The peer is gone: end the session with `ping timeout`.
    Dead,
}

/// Who owes whom a sign of life, and until when.
///
/// Rule: engine.io-protocol v4, "Heartbeat": the server pings every `interval`, counted from the
/// last pong; a client that has not answered within `timeout` is gone. In v3 the client pings,
/// and is gone when it has not done so for `interval + timeout`.
///
/// Deviation from Node: any packet that arrives while a pong is owed extends the wait, not only
/// the first one, but never beyond twice `timeout` after the ping: a long upload must not be
/// mistaken for silence, and chatter must not replace pongs for ever.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    interval_ms: u32,
    timeout_ms: u32,
    revision: Revision,
    /// When the ping went out; `None` while no pong is owed (and always in v3).
    pinged_at: Option<Millis>,
    due: Millis,
}

impl Heartbeat {
    /// Starts counting at the open packet.
    #[must_use]
    pub fn new(now: Millis, revision: Revision, interval_ms: u64, timeout_ms: u64) -> Self {
        let small = |ms: u64| u32::try_from(ms).unwrap_or(u32::MAX);
        let (interval_ms, timeout_ms) = (small(interval_ms), small(timeout_ms));
        let first = match revision {
            Revision::V3 => u64::from(interval_ms) + u64::from(timeout_ms),
            Revision::V4 => u64::from(interval_ms),
        };
        Self { interval_ms, timeout_ms, revision, pinged_at: None, due: now.plus(first) }
    }

    /// When [`Self::handle_due`] has something to say.
    #[must_use]
    pub const fn due(&self) -> Millis {
        self.due
    }

    /// The deadline may have passed; early calls are harmless.
    pub fn handle_due(&mut self, now: Millis) -> Beat {
        if now < self.due {
            return Beat::Quiet;
        }
        if self.revision == Revision::V3 || self.pinged_at.is_some() {
            return Beat::Dead;
        }
        // A timer that fired a little late must not lengthen the cycle: the peer counts too.
        let base = if now.since(self.due) <= LATE_MS { self.due } else { now };
        self.pinged_at = Some(now);
        self.due = base.plus(u64::from(self.timeout_ms));
        Beat::Ping
    }

    /// A pong arrived (v4). Returns the round trip if one was owed; unasked ones are ignored.
    pub fn handle_pong(&mut self, now: Millis) -> Option<u64> {
        let pinged_at = self.pinged_at.take()?;
        self.due = now.plus(u64::from(self.interval_ms));
        Some(now.since(pinged_at))
    }

    /// A ping arrived (v3).
    pub fn handle_ping(&mut self, now: Millis) {
        self.due = now.plus(u64::from(self.interval_ms) + u64::from(self.timeout_ms));
    }

    /// Any other packet arrived.
    pub fn handle_traffic(&mut self, now: Millis) {
        if let Some(pinged_at) = self.pinged_at {
            let timeout = u64::from(self.timeout_ms);
            self.due = now.plus(timeout).min(pinged_at.plus(2 * timeout)).max(self.due);
        }
    }

    /// The session moved to another transport. A pong that got lost with the old one must not
    /// leave the session without a heartbeat, as it does in Node: the ping is sent again.
    pub fn handle_upgrade(&mut self, now: Millis) {
        if self.pinged_at.take().is_some() {
            self.due = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4() -> Heartbeat {
        Heartbeat::new(Millis(0), Revision::V4, 300, 200)
    }

    #[test]
    fn silence_after_a_ping_ends_the_session() {
        let mut heartbeat = v4();
        assert_eq!(heartbeat.handle_due(Millis(299)), Beat::Quiet);
        assert_eq!(heartbeat.handle_due(Millis(300)), Beat::Ping);
        assert_eq!(heartbeat.handle_due(Millis(499)), Beat::Quiet);
        assert_eq!(heartbeat.handle_due(Millis(500)), Beat::Dead);
    }

    #[test]
    fn the_interval_counts_from_the_pong() {
        let mut heartbeat = v4();
        assert_eq!(heartbeat.handle_pong(Millis(10)), None, "nobody asked");
        assert_eq!(heartbeat.due(), Millis(300));
        assert_eq!(heartbeat.handle_due(Millis(300)), Beat::Ping);
        assert_eq!(heartbeat.handle_pong(Millis(350)), Some(50));
        assert_eq!(heartbeat.due(), Millis(650));
    }

    #[test]
    fn traffic_extends_the_wait_but_not_for_ever() {
        let mut heartbeat = v4();
        assert_eq!(heartbeat.handle_due(Millis(300)), Beat::Ping);
        for at in [400, 550, 690] {
            heartbeat.handle_traffic(Millis(at));
        }
        assert_eq!(heartbeat.due(), Millis(700));
        assert_eq!(heartbeat.handle_due(Millis(700)), Beat::Dead);
    }

    #[test]
    fn a_lost_pong_at_the_upgrade_is_asked_for_again() {
        let mut heartbeat = v4();
        assert_eq!(heartbeat.handle_due(Millis(300)), Beat::Ping);
        heartbeat.handle_upgrade(Millis(310));
        assert_eq!(heartbeat.handle_due(Millis(310)), Beat::Ping);
    }

    #[test]
    fn a_v3_client_must_ping_by_itself() {
        let mut heartbeat = Heartbeat::new(Millis(0), Revision::V3, 300, 200);
        assert_eq!(heartbeat.handle_due(Millis(499)), Beat::Quiet);
        heartbeat.handle_ping(Millis(450));
        assert_eq!(heartbeat.handle_due(Millis(949)), Beat::Quiet);
        assert_eq!(heartbeat.handle_due(Millis(950)), Beat::Dead);
    }
}
