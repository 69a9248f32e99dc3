//! The rounds as they were measured, and the file that keeps them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::server::Which;
use crate::model::{Machine, Report};

/// The number of this file format; a reader refuses others.
const FORMAT: u32 = 1;

/// All rounds, and what they were made with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// The number of this file format.
    pub format: u32,
    /// RFC 3339, UTC: the first round.
    pub started_at: String,
    /// Where it ran.
    pub machine: Machine,
    /// Names and versions of the programs.
    pub versions: BTreeMap<String, String>,
    /// CPU of the servers.
    pub server_core: usize,
    /// CPU of the client.
    pub client_core: usize,
    /// One for each server in each round of a workload, in the order they ran.
    pub rows: Vec<Row>,
}

/// One server in one round of one workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the workload.
    pub workload: String,
    /// Rounds are counted for each workload, from 0.
    pub round: u32,
    /// The server.
    pub server: Which,
    /// Operations a second; the greatest that was sustained where steps looked for it.
    pub rate: f64,
    /// CPU time of the server's process for one operation, in microseconds.
    pub cpu_us: Option<f64>,
    /// The kernel's share of it.
    #[serde(default)]
    pub kernel_share: Option<f64>,
    /// CPUs the server used.
    pub server_busy: Option<f64>,
    /// Share of its time in which the client had something to do.
    pub client_busy: f64,
    /// The client, not the server, was the limit: the rate is the client's.
    pub client_was_the_limit: bool,
    /// Of the main latency, in microseconds.
    pub p50_us: f64,
    /// Likewise.
    pub p99_us: f64,
    /// Anonymous memory of the server for one connection.
    pub anon_bytes: Option<f64>,
    /// Messages lost, doubled, reordered or corrupted.
    pub faults: u64,
    /// Measured time.
    pub seconds: f64,
    /// Share of the two CPUs' time that other programs took, from the server's start to its end.
    pub others: f64,
}

/// A run that is over.
#[derive(Clone, Debug)]
pub struct Run {
    /// What the load found.
    pub report: Report,
    /// [`Row::others`].
    pub others: f64,
}

/// Others took so much that a rate is no longer the server's own.
const OTHERS_MAX: f64 = 0.05;

impl Row {
    /// Whether other programs ran beside the server and its client.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        self.others > OTHERS_MAX
    }

    /// What a run says, for the comparison.
    #[must_use]
    pub fn of(workload: &str, round: u32, server: Which, run: &Run) -> Self {
        let report = &run.report;
        let side = report.server.as_ref();
        let main = ["round_trip", "delivery", "connect"]
            .into_iter()
            .find_map(|name| report.latencies.get(name))
            .cloned()
            .unwrap_or_default();
        let oracle = report.oracle;
        Self {
            workload: workload.to_owned(),
            round,
            server,
            rate: report.totals.sustained_rate.unwrap_or(report.totals.rate),
            cpu_us: side.and_then(|side| side.cpu_us_per_operation),
            kernel_share: side.and_then(|side| side.kernel_share),
            server_busy: side.map(|side| side.cpu_seconds / report.totals.seconds),
            client_busy: report.client.busy,
            client_was_the_limit: report.client.was_the_limit,
            p50_us: main.p50,
            p99_us: main.p99,
            anon_bytes: side.and_then(|side| side.anon_bytes_per_connection),
            faults: oracle.lost + oracle.doubled + oracle.reordered + oracle.corrupted,
            seconds: report.totals.seconds,
            others: run.others,
        }
    }
}

impl Results {
    /// None yet.
    #[must_use]
    pub fn new(versions: BTreeMap<String, String>, server_core: usize, client_core: usize) -> Self {
        Self {
            format: FORMAT,
            started_at: String::new(),
            machine: Machine::default(),
            versions,
            server_core,
            client_core,
            rows: Vec::new(),
        }
    }

    /// Reads a file that [`Self::write`] wrote.
    ///
    /// # Errors
    /// One line: it cannot be read, or it is none of this version's.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text =
            std::fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))?;
        let results: Self = serde_json::from_str(&text)
            .map_err(|why| format!("{}: {why}; name another file", path.display()))?;
        if results.format != FORMAT {
            return Err(format!(
                "{}: format {}, this program writes {FORMAT}; name another file",
                path.display(),
                results.format
            ));
        }
        Ok(results)
    }

    /// Writes the file whole, so that a run that is ended leaves the last one.
    ///
    /// # Errors
    /// One line: it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let named = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let text = serde_json::to_string_pretty(self).map_err(|why| named(&why))?;
        let fresh = path.with_extension("json.new");
        std::fs::write(&fresh, text + "\n").map_err(|why| named(&why))?;
        std::fs::rename(&fresh, path).map_err(|why| named(&why))
    }

    /// The number of the next round of a workload.
    #[must_use]
    pub fn next_round(&self, workload: &str) -> u32 {
        let rows = self.rows.iter().filter(|row| row.workload == workload);
        rows.map(|row| row.round + 1).max().unwrap_or(0)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A row of which only the figures given matter.
    pub(in crate::peers) fn row(workload: &str, round: u32, server: Which, cpu_us: f64) -> Row {
        Row {
            workload: workload.to_owned(),
            round,
            server,
            rate: 1e6 / cpu_us,
            cpu_us: Some(cpu_us),
            kernel_share: Some(0.9),
            server_busy: Some(1.0),
            client_busy: 0.5,
            client_was_the_limit: false,
            p50_us: 10.0,
            p99_us: 20.0,
            anon_bytes: None,
            faults: 0,
            seconds: 1.0,
            others: 0.0,
        }
    }

    #[test]
    fn rounds_are_counted_for_each_workload() {
        let mut results = Results::new(BTreeMap::new(), 0, 1);
        assert_eq!(results.next_round("a"), 0);
        results.rows.push(row("a", 0, Which::Corewire, 1.0));
        results.rows.push(row("a", 1, Which::Corewire, 1.0));
        assert_eq!((results.next_round("a"), results.next_round("b")), (2, 0));
    }

    #[test]
    fn a_file_comes_back_and_another_format_is_refused() {
        let path = std::env::temp_dir().join(format!("peers-{}.json", std::process::id()));
        let mut results = Results::new(BTreeMap::new(), 0, 1);
        results.rows.push(row("a", 0, Which::Bare, 1.5));
        results.write(&path).unwrap();
        assert_eq!(Results::read(&path).unwrap().rows, results.rows);
        results.format = 99;
        results.write(&path).unwrap();
        assert!(Results::read(&path).unwrap_err().contains("format 99"));
        std::fs::remove_file(&path).unwrap();
    }
}
