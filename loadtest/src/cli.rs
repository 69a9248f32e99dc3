//! The command line.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks to its terminal")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::check::oracle;
use crate::engine::{self, Options};
use crate::model::Report;
use crate::peers::cli::{BareArgs, FloorArgs, PeersArgs};
use crate::scenario::{self, Scenario};
use crate::wire::rest::Rest;
use crate::wire::target::Target;

/// Something was measured, and it is not as it should be.
const BROKEN: u8 = 1;
/// Nothing could be measured.
const UNUSABLE: u8 = 2;

/// Load tests for Socket.IO servers.
#[derive(Debug, Parser)]
#[command(name = "loadtest", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario against a server.
    Run(RunArgs),
    /// Run Corewire and its peers in turns, and write the table of their ratios.
    Peers(PeersArgs),
    /// Measure what bare sends cost.
    Floor(FloorArgs),
    /// Serve the bench contract with bare system calls: the floor as a server of `peers`.
    #[command(hide = true)]
    BareServer(BareArgs),
}

/// How to run a scenario.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The scenario's file.
    scenario: PathBuf,
    /// The server.
    #[arg(long, default_value = "http://127.0.0.1:3001", value_name = "URL")]
    url: String,
    /// The server's admin listener, for REST calls.
    #[arg(long, default_value = "http://127.0.0.1:3002", value_name = "URL")]
    admin_url: String,
    /// The key for REST calls, if the server wants one.
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// The server's process id, for its CPU time and memory.
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Replaces the scenario's `transport`: websocket, polling or upgrade.
    #[arg(long, value_name = "NAME")]
    transport: Option<String>,
    /// Replaces the scenario's `threads`.
    #[arg(long, value_name = "N")]
    threads: Option<u32>,
    /// CPUs to pin the threads to, such as 1 or 1,3.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cores: Vec<usize>,
    /// Replaces a key of the scenario; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Show no progress.
    #[arg(long)]
    quiet: bool,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help that cannot be shown has nobody to show it to.
            let _shown = error.print();
            return if error.use_stderr() { ExitCode::from(UNUSABLE) } else { ExitCode::SUCCESS };
        }
    };
    let done = match cli.command {
        Command::Run(args) => run(&args).map(|report| verdict(&report)),
        Command::Peers(args) => args.run().map(|()| ExitCode::SUCCESS),
        Command::Floor(args) => args.run().map(|()| ExitCode::SUCCESS),
        Command::BareServer(args) => args.run().map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        Err(line) => {
            eprintln!("loadtest: {line}");
            ExitCode::from(UNUSABLE)
        }
    }
}

fn run(args: &RunArgs) -> Result<Report, String> {
    let mut sets = args.sets.clone();
    sets.extend(args.transport.iter().map(|name| format!("transport={name}")));
    sets.extend(args.threads.iter().map(|threads| format!("threads={threads}")));
    let scenario: Scenario = scenario::read(&args.scenario, &sets)?;
    let options = Options {
        rest: Rest {
            public: Target::parse(&args.url)?,
            admin: Target::parse(&args.admin_url)?,
            key: args.api_key.clone(),
        },
        pid: args.pid,
        cores: args.cores.clone(),
        quiet: args.quiet,
        anon_before: None,
    };
    let report = engine::run(&scenario, &options)?;
    println!("{}", line(&report));
    Ok(report)
}

/// The run in one line.
fn line(report: &Report) -> String {
    use std::fmt::Write as _;
    let mut line = format!("{}: {:.0} operations/s", report.name, report.totals.rate);
    for (name, latency) in &report.latencies {
        // Writing to a string cannot fail.
        let _written = write!(line, ", {name} p50 {:.0} us p99 {:.0} us", latency.p50, latency.p99);
    }
    if let Some(rate) = report.totals.sustained_rate {
        let tries = report.steps.len();
        let _written = write!(line, ", sustained {rate:.0} operations/s ({tries} tries)");
    }
    if let Some(server) = &report.server {
        if let Some(cpu) = server.cpu_us_per_operation {
            let _written = write!(line, ", server {cpu:.3} CPU-us/operation");
        }
        if let Some(bytes) = server.anon_bytes_per_connection {
            let _written = write!(line, ", {bytes:.0} B/connection");
        }
    }
    let oracle = &report.oracle;
    let _written = write!(
        line,
        ", client {:.0} % busy{}, {} of {} delivered, {} lost, {} doubled, {} reordered, {} corrupted",
        report.client.busy * 100.0,
        if report.client.was_the_limit { " AND THE LIMIT" } else { "" },
        oracle.delivered,
        oracle.expected,
        oracle.lost,
        oracle.doubled,
        oracle.reordered,
        oracle.corrupted
    );
    line
}

fn verdict(report: &Report) -> ExitCode {
    let kept = report.budget.iter().all(|line| line.kept);
    if oracle::is_clean(&report.oracle) && kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(BROKEN)
    }
}
