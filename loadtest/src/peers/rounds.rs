//! The rounds: every workload on every server in turn, the order rotated.

use std::path::Path;

use super::results::{Results, Row};
use super::server::{Programs, Running, Which};
use super::workloads::Workload;
use crate::engine;
use crate::model::Report;
use crate::wire::rest::Rest;
use crate::wire::target::Target;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rounds to run, beside those that the file of results may hold.
    pub rounds: u32,
    /// The workloads.
    pub workloads: Vec<Workload>,
    /// The servers.
    pub servers: Vec<Which>,
    /// Measured time of a run.
    pub seconds: f64,
    /// Where the programs are.
    pub programs: Programs,
}

/// Runs them all; `results` is written after each workload of a round, so that a run that is
/// ended keeps its whole ones. `say` hears a line for each run.
///
/// # Errors
/// One line: a server does not start, a scenario cannot be run, the file cannot be written.
pub fn run(
    plan: &Plan,
    results: &mut Results,
    path: &Path,
    say: &mut dyn FnMut(&str),
) -> Result<(), String> {
    for _ in 0..plan.rounds {
        for workload in &plan.workloads {
            let round = results.next_round(workload.name);
            let mut rows = Vec::new();
            for which in in_turn(&plan.servers, round) {
                if !workload.includes(which) {
                    continue;
                }
                let report = one(plan, workload, which, results)
                    .map_err(|why| format!("{} on {}: {why}", workload.name, which.name()))?;
                let row = Row::of(workload.name, round, which, &report);
                say(&line(&row));
                if results.started_at.is_empty() {
                    results.started_at.clone_from(&report.started_at);
                    results.machine = report.machine;
                }
                rows.push(row);
            }
            results.rows.append(&mut rows);
            results.write(path)?;
        }
    }
    Ok(())
}

/// The servers of a round: each round another one begins, so that none always follows the same.
fn in_turn(servers: &[Which], round: u32) -> Vec<Which> {
    let mut order = servers.to_vec();
    if !order.is_empty() {
        let places = order.len();
        order.rotate_left(round as usize % places);
        // Rotating alone would keep the neighbours; every second time round goes backwards.
        if (round as usize / places) % 2 == 1 {
            order.reverse();
        }
    }
    order
}

/// Starts a server, puts the load on it, ends it.
fn one(
    plan: &Plan,
    workload: &Workload,
    which: Which,
    results: &Results,
) -> Result<Report, String> {
    let scenario = workload.scenario(which, plan.seconds)?;
    let server = Running::start(which, &plan.programs, results.server_core)?;
    let url = Target::parse(&server.url)?;
    let options = engine::Options {
        rest: Rest { public: url.clone(), admin: url, key: None },
        pid: Some(server.pid()),
        cores: vec![results.client_core],
        quiet: true,
        anon_before: None,
    };
    engine::run(&scenario, &options)
}

fn line(row: &Row) -> String {
    format!(
        "round {} {:<13} {:<13} {:>10.0}/s {:>8} us/op  client {:>3.0} %{}{}",
        row.round + 1,
        row.workload,
        row.server.name(),
        row.rate,
        row.cpu_us.map_or_else(|| String::from("-"), |us| format!("{us:.2}")),
        100.0 * row.client_busy,
        if row.client_was_the_limit { " (the limit)" } else { "" },
        if row.faults > 0 { format!(" FAULTS: {}", row.faults) } else { String::new() },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_begins_a_round_and_none_is_left_out() {
        let servers = [Which::Corewire, Which::Socketioxide, Which::Socketio];
        let mut firsts = Vec::new();
        for round in 0..6 {
            let order = in_turn(&servers, round);
            firsts.push(order[0]);
            let mut all = order.clone();
            all.sort();
            assert_eq!(all, servers);
        }
        for server in servers {
            assert_eq!(firsts.iter().filter(|first| **first == server).count(), 2);
        }
        assert_eq!(in_turn(&servers, 3), [Which::Socketio, Which::Socketioxide, Which::Corewire]);
    }
}
