//! One core's numbers on their way, and the totals they are absorbed into.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::{Counters, Endings, Histograms, Merged, Percentiles, Stage, hist};

/// What a core sends to the admin core once a second: the state of its counters and the full
/// histograms of the interval, which come back empty.
///
/// Cost: about 2 KiB beside the bins; send it in a box.
#[derive(Clone, Debug)]
pub struct CoreSnapshot {
    /// The core's index; 0 is the first worker.
    pub core: usize,
    /// What it is, for a reader: `worker-0`, `admin`.
    pub label: String,
    /// Counters and gauges, absolute since the core started.
    pub counters: Counters,
    /// Endings, absolute since the core started.
    pub endings: Endings,
    /// The latencies of the interval only.
    pub hists: Histograms,
    /// When it was taken: microseconds on the clock that all cores share.
    pub taken_at_us: u64,
    /// How long the core has been running.
    pub uptime_us: u64,
    /// The CPU its thread is pinned to, if it is.
    pub pinned: Option<usize>,
    /// What drives its I/O: the rung of the ladder that the start line names.
    pub driver: String,
    /// Time spent working and not waiting, since the core started.
    pub busy_us: u64,
}

/// The last that is known of one core.
#[derive(Clone, Debug)]
pub struct CoreTotals {
    /// The core's index.
    pub core: usize,
    /// What it is: `worker-0`, `admin`.
    pub label: String,
    /// Counters and gauges as of the last snapshot.
    pub counters: Counters,
    /// Endings as of the last snapshot.
    pub endings: Endings,
    /// When the last snapshot was taken.
    pub taken_at_us: u64,
    /// How long the core had been running then.
    pub uptime_us: u64,
    /// The CPU its thread is pinned to, if it is.
    pub pinned: Option<usize>,
    /// What drives its I/O.
    pub driver: String,
    /// Time spent working since the core started.
    pub busy_us: u64,
    /// The share of the last interval spent working, 0 to 1.
    pub busy_ratio: f64,
}

/// The seconds that [`Totals::events_per_minute`] looks back.
const WINDOW_SECONDS: u64 = 60;

/// Events of the last minute, a slot a second.
#[derive(Clone, Debug)]
struct Window {
    slots: [u64; WINDOW_SECONDS as usize],
    newest: u64,
}

impl Window {
    const fn new() -> Self {
        Self { slots: [0; WINDOW_SECONDS as usize], newest: 0 }
    }

    /// Books `events` in `second`; what is older than the window is forgotten.
    fn add(&mut self, second: u64, events: u64) {
        self.move_to(second);
        if self.newest - second < WINDOW_SECONDS {
            let slot = &mut self.slots[Self::slot(second)];
            *slot = slot.saturating_add(events);
        }
    }

    /// Opens the seconds up to `second`, empty; one that lies back opens nothing.
    fn move_to(&mut self, second: u64) {
        let second = second.max(self.newest);
        let opened = (second - self.newest).min(WINDOW_SECONDS);
        for back in 0..opened {
            self.slots[Self::slot(second - back)] = 0;
        }
        self.newest = second;
    }

    fn sum(&self) -> u64 {
        self.slots.iter().fold(0, |sum, slot| sum.saturating_add(*slot))
    }

    const fn slot(second: u64) -> usize {
        (second % WINDOW_SECONDS) as usize
    }
}

/// Everything that was ever absorbed, on the admin core.
///
/// Cost: 180 KiB of histograms, and about 1 KiB a core.
#[derive(Clone, Debug)]
pub struct Totals {
    cores: BTreeMap<usize, CoreTotals>,
    merged: Merged,
    events: Window,
}

impl Default for Totals {
    fn default() -> Self {
        Self::new()
    }
}

impl Totals {
    /// Nothing absorbed yet.
    #[must_use]
    pub fn new() -> Self {
        Self { cores: BTreeMap::new(), merged: Merged::new(), events: Window::new() }
    }

    /// Takes a core's numbers in and gives its histograms back, empty and with their memory.
    ///
    /// The histograms are merged once. Counters replace what was known of that core, unless a
    /// later snapshot of it has been absorbed already.
    pub fn absorb(&mut self, snapshot: CoreSnapshot) -> Histograms {
        let CoreSnapshot {
            core,
            label,
            counters,
            endings,
            mut hists,
            taken_at_us,
            uptime_us,
            pinned,
            driver,
            busy_us,
        } = snapshot;
        hists.merge_into(&mut self.merged);
        hists.reset();

        let before = self.cores.get(&core);
        if before.is_some_and(|before| taken_at_us < before.taken_at_us) {
            return hists;
        }
        let events_before = before.map_or(0, |before| before.counters.events_in);
        self.events.add(taken_at_us / 1_000_000, since(counters.events_in, events_before));
        let (taken_before_us, busy_before_us) = match before {
            Some(before) => (before.taken_at_us, before.busy_us),
            None => (taken_at_us.saturating_sub(uptime_us), 0),
        };
        let busy_ratio = ratio(since(busy_us, busy_before_us), taken_at_us - taken_before_us);
        let known = CoreTotals {
            core,
            label,
            counters,
            endings,
            taken_at_us,
            uptime_us,
            pinned,
            driver,
            busy_us,
            busy_ratio,
        };
        self.cores.insert(core, known);
        hists
    }

    /// Counters and gauges of all cores added up.
    ///
    /// The gauge `rooms` is then not the number of rooms: a room counts on each of its cores.
    #[must_use]
    pub fn counters_total(&self) -> Counters {
        let mut total = Counters::default();
        for core in self.cores.values() {
            total.merge(&core.counters);
        }
        total
    }

    /// Endings of all cores added up.
    #[must_use]
    pub fn endings_total(&self) -> Endings {
        let mut total = Endings::default();
        for core in self.cores.values() {
            total.merge(&core.endings);
        }
        total
    }

    /// The last that is known of each core, by index.
    pub fn per_core(&self) -> impl ExactSizeIterator<Item = &CoreTotals> {
        self.cores.values()
    }

    /// The latencies of all cores since the start.
    #[must_use]
    pub const fn merged(&self) -> &Merged {
        &self.merged
    }

    /// The histogram of one stage since the start, in microseconds.
    #[must_use]
    pub fn stage(&self, stage: Stage) -> &Histogram<u64> {
        self.merged.stage(stage)
    }

    /// One stage since the start, at a glance.
    #[must_use]
    pub fn percentiles(&self, stage: Stage) -> Percentiles {
        hist::percentiles(&self.merged, stage)
    }

    /// Events received from clients (`events_in`) in the 60 seconds up to the newest snapshot.
    /// A younger server tells what it has seen and does not extrapolate.
    #[must_use]
    pub fn events_per_minute(&self) -> u64 {
        self.events.sum()
    }

    /// The server's own part of an answered event, on average since the start: the means of
    /// receive-to-dispatch, handler and queued-to-written, added up, in milliseconds. The network
    /// and the wait for the other end are not in it.
    #[must_use]
    pub fn average_latency_ms(&self) -> f64 {
        let stages = [Stage::ReceiveToDispatch, Stage::Handler, Stage::QueuedToWritten];
        let total_us: f64 = stages.iter().map(|stage| self.merged.mean_us(*stage)).sum();
        total_us / 1_000.0
    }
}

/// What an absolute counter has grown by. One that went back has started anew.
const fn since(value: u64, before: u64) -> u64 {
    if value < before { value } else { value - before }
}

/// `part` of `whole` between 0 and 1; an empty whole is idle.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (part as f64 / whole as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn snapshot(core: usize, second: u64, events_in: u64) -> CoreSnapshot {
        CoreSnapshot {
            core,
            label: format!("worker-{core}"),
            counters: Counters { events_in, connections: 10, ..Counters::default() },
            endings: Endings::default(),
            hists: Histograms::new(),
            taken_at_us: second * SECOND,
            uptime_us: second * SECOND,
            pinned: Some(core),
            driver: "io_uring".to_owned(),
            busy_us: second * SECOND / 4,
        }
    }

    #[test]
    fn counters_are_absolute_and_histograms_are_deltas() {
        let mut totals = Totals::new();
        for second in 1..=3 {
            for core in 0..2 {
                let mut taken = snapshot(core, second, second * 100);
                taken.endings.count(core);
                taken.hists.record(Stage::Handler, 50);
                let empty = totals.absorb(taken);
                assert!(empty.is_empty());
                assert!(empty.memory_bytes() > 0, "the memory comes back");
            }
        }
        let sum = totals.counters_total();
        assert_eq!((sum.events_in, sum.connections), (600, 20));
        assert_eq!(totals.endings_total().counts(), [1, 1]);
        assert_eq!(totals.stage(Stage::Handler).len(), 6);
        assert_eq!(totals.percentiles(Stage::Handler).count, 6);
        let labels: Vec<_> = totals.per_core().map(|core| core.label.as_str()).collect();
        assert_eq!(labels, ["worker-0", "worker-1"]);
        assert!(totals.per_core().all(|core| (core.busy_ratio - 0.25).abs() < 1e-9));
    }

    #[test]
    fn a_late_snapshot_gives_its_latencies_and_takes_nothing_back() {
        let mut totals = Totals::new();
        totals.absorb(snapshot(0, 5, 500));
        let mut late = snapshot(0, 4, 400);
        late.hists.record(Stage::MeshHop, 9);
        totals.absorb(late);
        assert_eq!(totals.counters_total().events_in, 500);
        assert_eq!(totals.events_per_minute(), 500);
        assert_eq!(totals.percentiles(Stage::MeshHop).count, 1);
    }

    #[test]
    fn a_minute_of_events_slides() {
        let mut totals = Totals::new();
        assert_eq!(totals.events_per_minute(), 0);
        // Ten events a second on one core, from the first second on.
        for second in 1..=200 {
            totals.absorb(snapshot(0, second, second * 10));
            assert_eq!(totals.events_per_minute(), second.min(60) * 10);
        }
        // A core that joins late brings its own events only.
        totals.absorb(snapshot(1, 200, 7));
        assert_eq!(totals.events_per_minute(), 607);
        // Silence: nobody sends, and the minute runs out but for its last second.
        totals.absorb(snapshot(0, 259, 2_000));
        assert_eq!(totals.events_per_minute(), 17);
        totals.absorb(snapshot(0, 260, 2_000));
        assert_eq!(totals.events_per_minute(), 0);
        // A gap far beyond the window, then a core that started anew.
        totals.absorb(snapshot(0, 1_000_000, 2_003));
        assert_eq!(totals.events_per_minute(), 3);
        totals.absorb(snapshot(0, 1_000_001, 5));
        assert_eq!(totals.events_per_minute(), 8);
    }

    #[test]
    fn cores_out_of_step_book_in_their_own_second_or_not_at_all() {
        let mut totals = Totals::new();
        totals.absorb(snapshot(0, 100, 1));
        totals.absorb(snapshot(1, 41, 2));
        assert_eq!(totals.events_per_minute(), 3, "59 seconds back is inside");
        totals.absorb(snapshot(2, 40, 4));
        assert_eq!(totals.events_per_minute(), 3, "60 seconds back is not");
        totals.absorb(snapshot(0, 101, 1));
        assert_eq!(totals.events_per_minute(), 1, "second 41 has left");
    }

    #[test]
    fn average_latency_adds_the_means_of_three_stages() {
        let mut totals = Totals::new();
        assert!(totals.average_latency_ms().abs() < f64::EPSILON);
        let mut taken = snapshot(0, 1, 2);
        taken.hists.record(Stage::ReceiveToDispatch, 100);
        taken.hists.record(Stage::ReceiveToDispatch, 300);
        taken.hists.record(Stage::Handler, 1_000);
        taken.hists.record(Stage::QueuedToWritten, 300);
        taken.hists.record(Stage::AckRoundTrip, 50_000);
        totals.absorb(taken);
        assert!((totals.average_latency_ms() - 1.5).abs() < 1e-9);
    }

    #[test]
    fn busy_is_measured_over_the_last_interval() {
        let mut totals = Totals::new();
        totals.absorb(snapshot(0, 10, 0));
        let mut taken = snapshot(0, 12, 0);
        taken.busy_us = 10 * SECOND / 4 + SECOND;
        totals.absorb(taken);
        let known = totals.per_core().next().expect("one core");
        assert!((known.busy_ratio - 0.5).abs() < 1e-9);
        totals.absorb(snapshot(0, 12, 0));
        let known = totals.per_core().next().expect("one core");
        assert!(known.busy_ratio.abs() < f64::EPSILON, "an empty interval is idle");
    }
}
