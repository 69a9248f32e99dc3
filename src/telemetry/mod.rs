//! # telemetry: what a core counts, and how it is told
//!
//! A core counts in plain numbers that only it writes. Once a second the full interval leaves as
//! a [`CoreSnapshot`]; the admin core absorbs it into [`Totals`], which every page, metric and
//! percentile is read from.
//!
//! Owns: the table of counters and gauges, the table of latency stages and their histograms, the
//! totals of the admin core, the Prometheus text, the bucket that thins out log lines.
//! Imports: nothing of ours. Times are handed in, labels of endings too.
//!
//! Holds at all times:
//! - no atomics: a number has one writer, and readers see snapshots of it;
//! - a name stands once, in its table; struct, Prometheus text and JSON follow from it;
//! - counters are absolute (absorbing a snapshot twice changes nothing), histograms are deltas
//!   (each interval is merged once and handed back empty);
//! - no label names a user, a room or a socket: the number of series does not grow with clients.
//!
//! Read first: `counters.rs`, then `hist.rs`, then `snapshot.rs`.

mod counters;
mod hist;
mod outside;
mod prometheus;
mod sample;
mod snapshot;

pub use counters::{Counters, ENDINGS_MAX, Endings, Kind, Row};
pub use hist::{
    HIGHEST_US, Histograms, Merged, Percentiles, SIGNIFICANT_DIGITS, Stage, hgrm, percentiles,
};
pub use outside::{CertificateState, Link, LinkState, Outside};
pub use prometheus::{CONTENT_TYPE, Exposition, render};
pub use sample::{Sampler, Verdict};
pub use snapshot::{CoreSnapshot, CoreTotals, Totals};
