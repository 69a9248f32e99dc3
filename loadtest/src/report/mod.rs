//! # report: what a run found, told
//!
//! Owns: the table of a terminal, the JSON file and its reading, `.hgrm` files, the page of one
//! run, the comparison of two, and the units all of them are written in.
//! Imports: `model` only. Everything here is a function from a [`Report`] to text; the caller
//! writes the files.
//!
//! Holds at all times:
//! - a figure that was not measured is left out or named as such, never shown as 0;
//! - what makes a run worthless (lost messages, a client that was the limit, a broken budget) is
//!   said before the figures it makes worthless;
//! - a page needs nothing but itself: no network, no script from elsewhere, and without its few
//!   lines of script it loses only the values under the pointer;
//! - text that came from outside (names, addresses, command lines) is escaped.
//!
//! The plots are SVG made here, with no plotting crate: the shapes are stretched to the width of
//! the page and the labels are HTML over them, so that type keeps its size from phone to print,
//! colours follow the reader's scheme, and a page is some ten kilobytes and its points. A crate
//! that draws text into a fixed SVG can do none of these.
//!
//! Read first: `units.rs`, `table.rs`, then `chart.rs` and `page.rs`.

mod chart;
mod compare;
mod compare_page;
mod facts;
mod files;
mod hist;
mod json;
mod page;
mod plots;
mod plots_steps;
#[cfg(test)]
pub(crate) mod sample;
mod scale;
mod sections;
mod table;
mod units;

pub use compare::{Ratio, Trend, ratios, table as compare_table, warnings};
pub use compare_page::page as compare_page;
pub use files::{File, files};
pub use hist::{Level, hgrm, levels};
pub use json::{ReadError, read, write as json};
pub use page::page as html;
pub use table::table;
pub use units::{bytes, count, duration, quantity, share};

use crate::model::{Latency, Report};

/// The latencies that have values, the main one first.
fn timed(report: &Report) -> Vec<(&str, &Latency)> {
    let seen = report.latencies.iter().filter(|(_, found)| found.count > 0);
    let mut all: Vec<(&str, &Latency)> = seen.map(|(name, found)| (name.as_str(), found)).collect();
    // A stable sort: the others stay in the order of their names.
    all.sort_by_key(|(name, _)| *name != report.main_latency);
    all
}

/// Memory a connection takes of the server, in bytes; none where it was not measured, or on a
/// server that had it already, from connections before.
#[must_use]
pub fn memory_per_connection(report: &Report) -> Option<f64> {
    facts::held_bytes(report)
}

/// Whether so few values lie beyond a quantile that it is an anecdote.
fn is_anecdote(found: &Latency, quantile: f64) -> bool {
    const BEYOND_MIN: f64 = 9.999;
    (found.count as f64) * (1.0 - quantile) < BEYOND_MIN
}

/// The latency a scenario is about, with its name: what a bare `p99` of a budget file means. None
/// where the run timed nothing.
#[must_use]
pub fn main_latency(report: &Report) -> Option<(&str, &Latency)> {
    let (name, found) = report.latencies.get_key_value(&report.main_latency)?;
    (found.count > 0).then_some((name, found))
}
