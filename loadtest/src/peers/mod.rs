//! # peers: the same load on Corewire and on other servers, in turns
//!
//! Owns: the workloads of the comparison, the servers' start and end, the rounds, the file of
//! results and its table, and the floor that runs as one more server.
//! Imports: `cores`, `engine`, `floor`, `model`, `scenario`, `wire`.
//!
//! Holds at all times:
//! - servers run one at a time, each on the same core, the client on another;
//! - every server of a round runs the same workload within the same minutes, the order rotated
//!   from round to round; only figures of one round are divided by each other;
//! - a row is what one run said: nothing is dropped, smoothed or run again.
//!
//! Read first: `rounds.rs`, then `table.rs`.

pub mod bare;
pub mod cli;
pub mod results;
pub mod rounds;
pub mod server;
pub mod table;
pub mod versions;
pub mod workloads;
