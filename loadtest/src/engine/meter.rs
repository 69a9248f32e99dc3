//! What a lane counts and times.

use hdrhistogram::Histogram;

use crate::clock::{Nanos, SECOND};
use crate::model::Oracle;

/// What a latency is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// From a message to its acknowledgement.
    RoundTrip,
    /// From a message to one of its receivers.
    Delivery,
    /// From a socket to a connected namespace.
    Connect,
    /// From `join` to its acknowledgement.
    Join,
    /// From a REST call to its answer.
    Rest,
    /// From a request to the answer that came back another way.
    EndToEnd,
}

/// How many timings there are.
const TIMINGS: usize = 6;

impl Timing {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundTrip => "round_trip",
            Self::Delivery => "delivery",
            Self::Connect => "connect",
            Self::Join => "join",
            Self::Rest => "rest",
            Self::EndToEnd => "end_to_end",
        }
    }

    /// All of them.
    pub const ALL: [Self; TIMINGS] =
        [Self::RoundTrip, Self::Delivery, Self::Connect, Self::Join, Self::Rest, Self::EndToEnd];
}

/// Nanoseconds with three digits, up to two minutes.
pub type Hist = Histogram<u64>;

/// A fresh histogram.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "the bounds are constants, and legal")]
#[expect(clippy::expect_used, reason = "the bounds are constants, and legal")]
pub fn hist() -> Hist {
    Histogram::new_with_bounds(100, 120 * SECOND, 3).expect("the bounds are legal")
}

/// One second of one lane.
#[derive(Debug)]
pub struct Second {
    /// Which second of the measured time.
    pub index: u64,
    /// Messages sent.
    pub sent: u64,
    /// Operations.
    pub operations: u64,
    /// Of the main latency.
    pub main: Hist,
    /// Time without anything to do.
    pub idle: Nanos,
}

/// What is counted between a beginning and an end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Messages sent.
    pub sent: u64,
    /// Operations.
    pub operations: u64,
}

/// When what is counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    /// The first moment.
    pub from: Nanos,
    /// The moment after the last.
    pub to: Nanos,
    /// Whether a message belongs to the moment it should have been sent, not to that it came.
    pub by_intent: bool,
}

/// The meters of a lane.
pub struct Meter {
    /// The time, looked at for every batch of input.
    pub now: Nanos,
    /// When what is counted.
    pub window: Window,
    /// Which of the timings is the scenario's main one.
    pub main: Timing,
    /// Everything that was sent and came since the start; for the server's CPU.
    pub all: Counts,
    /// What belongs to the window.
    pub counted: Counts,
    /// What became of the messages.
    pub oracle: Oracle,
    /// Time without anything to do, within the window.
    pub idle: Nanos,
    main_second: Hist,
    main_total: Hist,
    others: [Option<Box<Hist>>; TIMINGS],
    second: Counts,
    second_idle: Nanos,
    second_index: u64,
}

impl Meter {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(main: Timing) -> Self {
        Self {
            now: 0,
            window: Window::default(),
            main,
            all: Counts::default(),
            counted: Counts::default(),
            oracle: Oracle::default(),
            idle: 0,
            main_second: hist(),
            main_total: hist(),
            others: std::array::from_fn(|_| None),
            second: Counts::default(),
            second_idle: 0,
            second_index: 0,
        }
    }

    /// Begins a stretch: the main latency, counts and oracle start afresh.
    pub fn begin(&mut self, window: Window) {
        self.window = window;
        self.counted = Counts::default();
        self.oracle = Oracle::default();
        self.idle = 0;
        self.main_second.reset();
        self.main_total.reset();
        self.second = Counts::default();
        self.second_idle = 0;
        self.second_index = 0;
    }

    /// Whether the measured time has begun and not ended.
    #[inline]
    #[must_use]
    pub const fn is_measuring(&self) -> bool {
        self.now >= self.window.from && self.now < self.window.to
    }

    /// Counts something done that began at `since`: an operation, if it is what the scenario
    /// counts.
    #[inline]
    pub fn operation(&mut self, timing: Timing, since: Nanos) {
        if timing != self.main {
            return self.time(timing, since);
        }
        self.all.operations += 1;
        let moment = if self.window.by_intent { since } else { self.now };
        if moment >= self.window.from && moment < self.window.to {
            self.counted.operations += 1;
            self.second.operations += 1;
            self.main_second.saturating_record(self.now.saturating_sub(since));
        }
    }

    /// Counts messages that were sent.
    #[inline]
    pub fn sent(&mut self, count: u64) {
        self.all.sent += count;
        if self.is_measuring() {
            self.counted.sent += count;
            self.second.sent += count;
        }
    }

    /// Times something that is not the main operation.
    fn time(&mut self, timing: Timing, since: Nanos) {
        let hist = self.others[timing as usize].get_or_insert_with(|| Box::new(hist()));
        hist.saturating_record(self.now.saturating_sub(since));
    }

    /// Counts time without anything to do.
    pub fn idle(&mut self, duration: Nanos) {
        if self.is_measuring() {
            self.idle += duration;
            self.second_idle += duration;
        }
    }

    /// The second that has ended, if one has.
    pub fn take_second(&mut self) -> Option<Second> {
        let elapsed = self.now.checked_sub(self.window.from)? / SECOND;
        let whole = (self.window.to - self.window.from).div_ceil(SECOND);
        if elapsed <= self.second_index || self.second_index >= whole {
            return None;
        }
        Some(self.cut())
    }

    fn cut(&mut self) -> Second {
        let main = self.main_second.clone();
        // Both have the same bounds, so nothing can be out of them.
        let _added = self.main_total.add(&main);
        self.main_second.reset();
        let second = std::mem::take(&mut self.second);
        let ended = Second {
            index: self.second_index,
            sent: second.sent,
            operations: second.operations,
            main,
            idle: std::mem::take(&mut self.second_idle),
        };
        self.second_index += 1;
        ended
    }

    /// Ends the stretch: all latencies of it by name. Those that are not the main one are kept
    /// on, since connecting is timed once for all stretches.
    pub fn end(&mut self) -> Vec<(Timing, Hist)> {
        let _rest = self.cut();
        let mut all = vec![(self.main, self.main_total.clone())];
        for timing in Timing::ALL {
            if let Some(hist) = &self.others[timing as usize] {
                all.push((timing, (**hist).clone()));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_loop_counts_by_intent_and_a_closed_one_by_arrival() {
        for (by_intent, counted) in [(true, 1), (false, 0)] {
            let mut meter = Meter::new(Timing::RoundTrip);
            meter.begin(Window { from: SECOND, to: 2 * SECOND, by_intent });
            meter.now = 3 * SECOND;
            meter.operation(Timing::RoundTrip, SECOND + 5);
            assert_eq!(meter.counted.operations, counted);
            meter.now = SECOND + 10;
            meter.operation(Timing::RoundTrip, SECOND - 5);
            assert_eq!(meter.counted.operations, 1, "one of both each time");
            assert_eq!(meter.all.operations, 2);
        }
    }

    #[test]
    fn seconds_are_cut_and_their_sum_is_the_whole() {
        let mut meter = Meter::new(Timing::Delivery);
        meter.begin(Window { from: 0, to: 2 * SECOND, by_intent: false });
        meter.now = 10;
        meter.operation(Timing::Delivery, 0);
        assert!(meter.take_second().is_none());
        meter.now = SECOND + 10;
        let first = meter.take_second().unwrap();
        assert_eq!((first.index, first.operations), (0, 1));
        meter.operation(Timing::Delivery, SECOND);
        meter.operation(Timing::Delivery, SECOND);
        meter.now = 2 * SECOND;
        assert_eq!(meter.take_second().unwrap().operations, 2);
        assert!(meter.take_second().is_none(), "nothing is measured any more");
        let all = meter.end();
        assert_eq!((all[0].0, all[0].1.len()), (Timing::Delivery, 3));
    }
}
