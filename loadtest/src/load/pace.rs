//! When messages of an open loop should be sent.

use super::Stretch;
use crate::clock::Nanos;

/// Moments at even distances. Message n is due at its own moment whatever became of those before:
/// a sender that was held up sends what it owes at once, and latency counts from the moment due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    begin: Nanos,
    interval: f64,
    sent: u64,
    end: Nanos,
}

impl Pace {
    /// `rate` messages a second from `begin` to `end`, shifted by a share of their distance so
    /// that lanes alternate.
    pub(crate) fn new(begin: Nanos, end: Nanos, rate: f64, shift: f64) -> Self {
        let interval = 1e9 / rate;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of an interval, positive and small"
        )]
        let begin = begin + (interval * shift) as Nanos;
        Self { begin, interval, sent: 0, end }
    }

    /// The moment of the next message; none after the end.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "below 2^53 ns, which is a hundred days"
    )]
    pub(crate) fn next(&self) -> Option<Nanos> {
        let at = self.begin + (self.sent as f64 * self.interval) as Nanos;
        (at < self.end).then_some(at)
    }

    /// Takes the next message if it is due, with the moment it should have been sent.
    #[inline]
    pub(crate) fn take(&mut self, now: Nanos) -> Option<Nanos> {
        let at = self.next()?;
        if at > now {
            return None;
        }
        self.sent += 1;
        Some(at)
    }
}

/// When a lane sends in a stretch, and whose turn it is: at a pace in an open loop; in a closed one
/// first messages are due at its beginning, and what comes back for them keeps it going.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turns {
    pace: Option<Pace>,
    /// Closed loop: the first messages of a stretch are still to be sent.
    begins_at: Option<Nanos>,
    turn: u32,
}

impl Turns {
    /// A stretch begins. `rate` is this lane's share of an open loop's, `shift` as for
    /// [`Pace::new`].
    pub(crate) fn begin(&mut self, stretch: &Stretch, rate: Option<f64>, shift: f64) {
        self.pace = rate.map(|rate| Pace::new(stretch.begin, stretch.window.to, rate, shift));
        self.begins_at = self.pace.is_none().then_some(stretch.begin);
    }

    /// Whether it is an open loop.
    #[inline]
    pub(crate) const fn is_paced(&self) -> bool {
        self.pace.is_some()
    }

    /// Closed loop: whether the first messages are to be sent now, which is said once.
    pub(crate) fn starts(&mut self) -> bool {
        self.begins_at.take().is_some()
    }

    /// Open loop: takes the next message if it is due, with the moment it should have been sent and
    /// which of `count` senders has its turn.
    #[inline]
    pub(crate) fn take(&mut self, now: Nanos, count: u32) -> Option<(Nanos, u32)> {
        if count == 0 {
            return None;
        }
        let at = self.pace.as_mut()?.take(now)?;
        let turn = self.turn % count;
        self.turn = (turn + 1) % count;
        Some((at, turn))
    }

    /// When something is to be sent next.
    pub(crate) fn next_due(&self) -> Option<Nanos> {
        self.begins_at.or_else(|| self.pace.and_then(|pace| pace.next()))
    }

    /// Whether messages of an open loop have not been sent yet.
    pub(crate) fn owes_sends(&self) -> bool {
        self.pace.is_some_and(|pace| pace.next().is_some())
    }

    /// The stretch is over.
    pub(crate) fn stop(&mut self) {
        self.pace = None;
        self.begins_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SECOND;

    #[test]
    fn moments_are_even_and_end_with_the_stretch() {
        let mut pace = Pace::new(0, SECOND, 3.0, 0.0);
        let mut moments = Vec::new();
        while let Some(at) = pace.take(10 * SECOND) {
            moments.push(at);
        }
        assert_eq!(moments, [0, 333_333_333, 666_666_666]);
    }

    #[test]
    fn a_sender_that_was_held_up_owes_every_moment() {
        let mut pace = Pace::new(100, 2 * SECOND, 1_000.0, 0.5);
        assert_eq!(pace.take(100), None, "shifted by half an interval");
        assert_eq!(pace.next(), Some(500_100));
        let late = SECOND;
        let mut count = 0;
        while let Some(at) = pace.take(late) {
            assert!(at <= late);
            count += 1;
        }
        assert_eq!(count, 1_000);
        assert!(pace.next().is_some_and(|at| at > late));
    }
}
