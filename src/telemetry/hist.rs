//! Latency: the stages a message passes, a histogram each, and what is read from them.

use std::array;
use std::fmt::Write as _;

use hdrhistogram::{Counter, Histogram};
use serde::Serialize;

/// The longest latency a histogram tells apart. A longer one counts as this long, and enters the
/// sum whole.
pub const HIGHEST_US: u64 = 60_000_000;

/// Relative precision of every histogram: two digits, so an error of at most 1 %.
pub const SIGNIFICANT_DIGITS: u8 = 2;

macro_rules! stages {
    ($($variant:ident, $name:literal, $help:literal;)+) => {
        /// A stretch of a message's way that is timed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Stage {
            $(#[doc = $help] $variant,)+
        }

        impl Stage {
            /// Every stage, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in JSON and in the label `stage` of the metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence: from where to where.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)+ }
            }
        }
    };
}

stages! {
    Handshake, "handshake", "From the handshake request to the answer of the first namespace joined.";
    ReceiveToDispatch, "receive_to_dispatch",
        "From the bytes received to the event given to its handler.";
    Handler, "handler", "From the event given to its handler to the handler being done.";
    PublishToQueued, "publish_to_queued",
        "From a broadcast begun to its frame queued for the last member on this core.";
    MeshHop, "mesh_hop", "From a batch sent by one core to its arrival on another.";
    QueuedToWritten, "queued_to_written", "From a frame queued to its bytes taken by the kernel.";
    AckRoundTrip, "ack_round_trip", "From a question sent to a client to its acknowledgement.";
    PingRoundTrip, "ping_round_trip", "From a ping sent to a client to its pong.";
    RestCall, "rest_call", "From a REST request read to its response ready.";
}

/// How many stages there are.
const STAGES: usize = Stage::ALL.len();

impl Stage {
    /// The stage of a name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|stage| stage.name() == name)
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// One histogram with what it cannot tell exactly: how often and how long in all.
#[derive(Clone, Debug)]
struct Lane<C: Counter> {
    values: Histogram<C>,
    count: u64,
    sum_us: u64,
}

impl<C: Counter> Lane<C> {
    fn new() -> Self {
        Self {
            values: Histogram::new_with_bounds(1, HIGHEST_US, SIGNIFICANT_DIGITS)
                .expect("the bounds are constants within what the format allows"),
            count: 0,
            sum_us: 0,
        }
    }
}

/// The latencies of one core over one interval. Its core is the only writer.
///
/// Cost: a stage is allocated at its first value and then takes 10 KiB (2,560 bins of 4 bytes),
/// 90 KiB with all nine. A core has two of these, one that fills and one that travels. Recording
/// writes one bin and five words. A bin holds 2^32 - 1 values and stays there when it is full,
/// which an interval of a second never sees.
#[derive(Clone, Debug)]
pub struct Histograms {
    lanes: [Option<Lane<u32>>; STAGES],
}

impl Default for Histograms {
    fn default() -> Self {
        Self::new()
    }
}

impl Histograms {
    /// Nothing recorded and nothing allocated.
    #[must_use]
    pub fn new() -> Self {
        Self { lanes: array::from_fn(|_| None) }
    }

    /// Records one latency in microseconds.
    #[inline]
    pub fn record(&mut self, stage: Stage, us: u64) {
        self.record_n(stage, us, 1);
    }

    /// Records the same latency `n` times: the frames that left in one write share a timestamp.
    #[inline]
    pub fn record_n(&mut self, stage: Stage, us: u64, n: u32) {
        if n == 0 {
            return;
        }
        let lane = self.lanes[stage.index()].get_or_insert_with(Lane::new);
        lane.values.saturating_record_n(us.min(HIGHEST_US), n);
        lane.count = lane.count.saturating_add(u64::from(n));
        lane.sum_us = lane.sum_us.saturating_add(us.saturating_mul(u64::from(n)));
    }

    /// How many values `stage` has seen since the last reset.
    #[must_use]
    pub fn count(&self, stage: Stage) -> u64 {
        self.lanes[stage.index()].as_ref().map_or(0, |lane| lane.count)
    }

    /// The exact sum of the values of `stage`, in microseconds.
    #[must_use]
    pub fn sum_us(&self, stage: Stage) -> u64 {
        self.lanes[stage.index()].as_ref().map_or(0, |lane| lane.sum_us)
    }

    /// Whether nothing was recorded since the last reset.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().flatten().all(|lane| lane.count == 0)
    }

    /// Forgets every value and keeps the memory.
    pub fn reset(&mut self) {
        for lane in self.lanes.iter_mut().flatten() {
            if lane.count > 0 {
                lane.values.reset();
                lane.count = 0;
                lane.sum_us = 0;
            }
        }
    }

    /// Adds this interval to what was seen before.
    ///
    /// Cost: a walk over 2,560 bins a stage that saw anything; no allocation.
    pub fn merge_into(&self, merged: &mut Merged) {
        for (lane, into) in self.lanes.iter().zip(&mut merged.lanes) {
            let Some(lane) = lane.as_ref().filter(|lane| lane.count > 0) else {
                continue;
            };
            for bin in lane.values.iter_recorded() {
                // Both have the same bins, and the highest bin reaches beyond the bound: recorded
                // at its bound, so that no value moves to another bin.
                let value_us = bin.value_iterated_to().min(HIGHEST_US);
                into.values.saturating_record_n(value_us, u64::from(bin.count_at_value()));
            }
            into.count = into.count.saturating_add(lane.count);
            into.sum_us = into.sum_us.saturating_add(lane.sum_us);
        }
    }

    /// Bytes of the bins allocated so far.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let bins = |lane: &Lane<u32>| lane.values.distinct_values() * size_of::<u32>();
        self.lanes.iter().flatten().map(bins).sum()
    }
}

/// Latencies added up over intervals and cores, with counts that do not run full.
///
/// Cost: all stages at once, 180 KiB.
#[derive(Clone, Debug)]
pub struct Merged {
    lanes: [Lane<u64>; STAGES],
}

impl Default for Merged {
    fn default() -> Self {
        Self::new()
    }
}

impl Merged {
    /// Nothing merged yet.
    #[must_use]
    pub fn new() -> Self {
        Self { lanes: array::from_fn(|_| Lane::new()) }
    }

    /// The histogram of one stage, in microseconds.
    #[must_use]
    pub fn stage(&self, stage: Stage) -> &Histogram<u64> {
        &self.lanes[stage.index()].values
    }

    /// How many values `stage` has seen.
    #[must_use]
    pub fn count(&self, stage: Stage) -> u64 {
        self.lanes[stage.index()].count
    }

    /// The exact sum of the values of `stage`, in microseconds.
    #[must_use]
    pub fn sum_us(&self, stage: Stage) -> u64 {
        self.lanes[stage.index()].sum_us
    }

    /// The exact mean of `stage` in microseconds; 0 when it has seen nothing.
    #[must_use]
    pub fn mean_us(&self, stage: Stage) -> f64 {
        let lane = &self.lanes[stage.index()];
        if lane.count == 0 {
            return 0.0;
        }
        lane.sum_us as f64 / lane.count as f64
    }
}

/// One stage at a glance, in microseconds; all 0 when nothing was recorded.
///
/// Every value but `mean` is the upper edge of its bin (`min` the lower one), so at most 1 % off
/// and at most [`HIGHEST_US`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// How many values.
    pub count: u64,
    /// The smallest.
    pub min: u64,
    /// The exact mean, values beyond [`HIGHEST_US`] included whole.
    pub mean: f64,
    /// Half of the values are at or below.
    pub p50: u64,
    /// Nine of ten.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1,000.
    #[serde(rename = "p99.9")]
    pub p999: u64,
    /// 9,999 of 10,000.
    #[serde(rename = "p99.99")]
    pub p9999: u64,
    /// The largest.
    pub max: u64,
}

/// Reads one stage of `merged`.
#[must_use]
pub fn percentiles(merged: &Merged, stage: Stage) -> Percentiles {
    let values = merged.stage(stage);
    if values.is_empty() {
        return Percentiles::default();
    }
    let at = |quantile| values.value_at_quantile(quantile).min(HIGHEST_US);
    Percentiles {
        count: merged.count(stage),
        min: values.min(),
        mean: merged.mean_us(stage),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        p9999: at(0.9999),
        max: values.max().min(HIGHEST_US),
    }
}

/// Steps a half distance to 100 % is cut into; five is what every `HdrHistogram` tool writes.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// The percentile distribution of a histogram as text, as the plotters of `HdrHistogram` read it.
///
/// Rule: `HdrHistogram`, `outputPercentileDistribution`: a head, four columns a line, the last
/// line without its fourth (it would be infinite), three lines of totals.
/// Units: values in microseconds.
#[must_use]
pub fn hgrm<C: Counter>(values: &Histogram<C>) -> String {
    let mut text = format!(
        "{:>14} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut total = 0_u64;
    for step in values.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        total = total.saturating_add(step.count_since_last_iteration());
        // One column wider than the original: some readers want a blank before the first figure.
        put(
            &mut text,
            format_args!(
                "{:>14.3} {:2.12} {total:10}",
                step.value_iterated_to() as f64,
                step.quantile_iterated_to(),
            ),
        );
        let beyond = 1.0 - step.quantile_iterated_to();
        if beyond > 0.0 {
            put(&mut text, format_args!(" {:14.2}", 1.0 / beyond));
        }
        text.push('\n');
    }
    put(
        &mut text,
        format_args!(
            "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]\n\
             #[Max     = {:12.3}, Total count    = {:12}]\n\
             #[Buckets = {:12}, SubBuckets     = {:12}]\n",
            values.mean(),
            values.stdev(),
            values.max() as f64,
            values.len(),
            values.buckets(),
            // Each bucket but the first uses the upper half of its sub-buckets only.
            values.distinct_values() / (usize::from(values.buckets()) + 1) * 2,
        ),
    );
    text
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a String takes all that is written");
}

#[cfg(test)]
#[path = "hist_tests.rs"]
mod tests;
