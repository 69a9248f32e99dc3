//! What a run finds: the JSON file, the table and the HTML report are all made from [`Report`].
//!
//! Times are microseconds, sizes bytes, shares 0 to 1, unless a name says otherwise.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The number of this file format; a reader refuses others.
pub const FORMAT: u32 = 1;

/// Everything about one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// Name and version of this program.
    pub tool: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// Name of the scenario, from its file.
    pub name: String,
    /// The scenario as it ran, defaults filled in, as TOML.
    pub scenario: String,
    /// The server as it was addressed.
    pub target: Target,
    /// Where this program ran.
    pub machine: Machine,
    /// The clients' own side: were they the limit?
    pub client: ClientSide,
    /// The server's process, if its id was given.
    pub server: Option<ServerSide>,
    /// Sums over the measured time.
    pub totals: Totals,
    /// What became of every message.
    pub oracle: Oracle,
    /// By name: `round_trip`, `delivery`, `connect`, `rest`, `end_to_end`, …
    pub latencies: BTreeMap<String, Latency>,
    /// Which of them the scenario is about: `Tick` and `Step` hold this one, and a bare `p99` of a
    /// budget means it. Empty if it times nothing.
    #[serde(default)]
    pub main_latency: String,
    /// What went wrong first beside deliveries: a connection refused, a REST call answered with
    /// an error. Empty if nothing did.
    #[serde(default)]
    pub trouble: String,
    /// One entry a second.
    pub timeline: Vec<Tick>,
    /// Open loop with steps: one entry a rate that was tried.
    pub steps: Vec<Step>,
    /// Sweeps: how a cost grows with a size.
    pub series: Vec<Series>,
    /// Lines of the budget file and what came of them.
    pub budget: Vec<BudgetLine>,
}

/// The server as it was addressed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Target {
    /// As given.
    pub url: String,
    /// `websocket`, `polling` or `upgrade`.
    pub transport: String,
    /// What the server is, as whoever ran the test said, or as it says itself; else empty.
    pub version: String,
}

/// Where this program ran.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Release of the kernel.
    pub kernel: String,
    /// Name of the CPU.
    pub cpu: String,
    /// CPUs online.
    pub cpus: usize,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// TCP congestion control in force.
    pub congestion_control: String,
}

/// The clients' own side.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ClientSide {
    /// Threads.
    pub threads: usize,
    /// CPUs they were pinned to; empty if none.
    pub cores: Vec<usize>,
    /// Share of its time in which the busiest thread had something to do.
    pub busy: f64,
    /// The clients, not the server, were the limit: figures of rate and latency are theirs.
    pub was_the_limit: bool,
}

/// The server's process, over the measured time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ServerSide {
    /// Its id.
    pub pid: u32,
    /// Its command line.
    pub command: String,
    /// CPU time of all its threads.
    pub cpu_seconds: f64,
    /// The same for one operation; none if there was no operation.
    pub cpu_us_per_operation: Option<f64>,
    /// The kernel's share of that time; none if the run was too short to tell.
    #[serde(default)]
    pub kernel_share: Option<f64>,
    /// Anonymous resident memory before the first connection.
    pub anon_before_bytes: u64,
    /// The same with all of them up, at rest.
    pub anon_after_bytes: u64,
    /// The difference, for one connection; none if there was no connection.
    pub anon_bytes_per_connection: Option<f64>,
}

/// Sums over the measured time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    /// The measured time.
    pub seconds: f64,
    /// Connections that stood.
    pub connections: u64,
    /// Connections that were refused or failed.
    pub connect_failures: u64,
    /// Messages sent.
    pub sent: u64,
    /// What the scenario counts: round trips, deliveries, handshakes.
    pub operations: u64,
    /// Operations a second.
    pub rate: f64,
    /// Bytes received by the clients.
    pub bytes_in: u64,
    /// Open loop: the rate that was asked for.
    pub target_rate: Option<f64>,
    /// The greatest rate that was sustained, where steps looked for it.
    pub sustained_rate: Option<f64>,
}

/// What became of every message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oracle {
    /// Deliveries that were owed.
    pub expected: u64,
    /// Deliveries that came, each once and as it was sent.
    pub delivered: u64,
    /// Owed and never came.
    pub lost: u64,
    /// Came again.
    pub doubled: u64,
    /// Came after a later one of the same sender.
    pub reordered: u64,
    /// Came with other bytes than were sent, or was owed to somebody else.
    pub corrupted: u64,
}

/// One histogram.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Values.
    pub count: u64,
    /// Smallest, in microseconds, as are all below.
    pub min: f64,
    /// Mean.
    pub mean: f64,
    /// Half of the values are at most this.
    pub p50: f64,
    /// …
    pub p90: f64,
    /// …
    pub p99: f64,
    /// …
    pub p999: f64,
    /// …
    pub p9999: f64,
    /// Largest.
    pub max: f64,
    /// Pairs of quantile (0 to 1) and value, fit for a curve on a log axis.
    pub curve: Vec<(f64, f64)>,
    /// The histogram itself, for `.hgrm` files and for adding runs up: pairs of value and how many,
    /// ascending, none of them empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bins: Vec<(f64, u64)>,
}

/// One second of the run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tick {
    /// Since the start of the measured time.
    pub at_seconds: f64,
    /// Connections up.
    pub connections: u64,
    /// Messages sent in this second.
    pub sent: u64,
    /// Operations in this second.
    pub operations: u64,
    /// Of the main latency, in this second.
    pub p50: f64,
    /// Likewise.
    pub p99: f64,
    /// CPUs the server used; none without its id.
    pub server_cpus: Option<f64>,
    /// Its resident memory.
    pub server_rss_bytes: Option<u64>,
    /// Share of its time in which the busiest client thread had something to do.
    pub client_busy: f64,
}

/// A rate that was tried.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Step {
    /// Operations a second that were asked for.
    pub target_rate: f64,
    /// What came.
    pub rate: f64,
    /// Of the main latency, from the intended time on.
    pub p50: f64,
    /// Likewise.
    pub p99: f64,
    /// Likewise.
    pub p999: f64,
    /// Share of its time in which the busiest client thread had something to do.
    pub client_busy: f64,
    /// Whether the server kept up.
    pub sustained: bool,
    /// Why not; empty if it did.
    pub why: String,
}

/// How a cost grows with a size.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Series {
    /// What it shows, for a heading.
    pub name: String,
    /// What the size is.
    pub x_label: String,
    /// What the cost is, with its unit.
    pub y_label: String,
    /// Size and cost.
    pub points: Vec<(f64, f64)>,
}

/// A line of the budget file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BudgetLine {
    /// As it stands in the file.
    pub text: String,
    /// What was found, in the unit of the line.
    pub found: String,
    /// Whether it was kept.
    pub kept: bool,
}
