//! The command line.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks to its terminal")]

mod reports;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::check::oracle;
use crate::engine::{self, Options};
use crate::model::Report;
use crate::peers::cli::{BareArgs, FloorArgs, PeersArgs};
use crate::report;
use crate::scenario::{self, Scenario};
use crate::wire::rest::Rest;
use crate::wire::target::Target;
use crate::wire::version;

/// Something was measured, and it is not as it should be.
const BROKEN: u8 = 1;
/// Nothing could be measured.
const UNUSABLE: u8 = 2;

/// Where Corewire listens unless told otherwise.
const PUBLIC_URL: &str = "http://127.0.0.1:3001";
const ADMIN_URL: &str = "http://127.0.0.1:3002";

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
    /// Show the report of an earlier run again, and write its files.
    Show(reports::ShowArgs),
    /// Compare two runs by their report.json: ratios, and one page that plots both.
    #[command(long_flag = "compare")]
    Compare(reports::CompareArgs),
}

/// How to run a scenario.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The scenario's file.
    scenario: PathBuf,
    /// The server.
    #[arg(long, default_value = PUBLIC_URL, value_name = "URL")]
    url: String,
    /// The server's admin listener, for REST calls.
    #[arg(long, default_value = ADMIN_URL, value_name = "URL")]
    admin_url: String,
    /// The key for REST calls, if the server wants one.
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// The server's process id, for its CPU time and memory.
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// What the server is, for the report: "corewire 0.1.0". Corewire says it by itself on its
    /// admin listener.
    #[arg(long, value_name = "TEXT")]
    server_version: Option<String>,
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
    /// Folder for report.json, report.html, report.txt and the .hgrm files.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What the run must keep, a line each, such as `p99 <= 5ms`.
    #[arg(long, value_name = "FILE")]
    budget: Option<PathBuf>,
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
    let ended = match cli.command {
        Command::Run(args) => run(&args).map(|report| verdict(&report)),
        Command::Show(args) => reports::show(&args).map(|report| {
            print!("{}", report::table(&report));
            verdict(&report)
        }),
        Command::Compare(args) => reports::compare(&args).map(|text| {
            print!("{text}");
            ExitCode::SUCCESS
        }),
        Command::Peers(args) => args.run().map(|()| ExitCode::SUCCESS),
        Command::Floor(args) => args.run().map(|()| ExitCode::SUCCESS),
        Command::BareServer(args) => args.run().map(|()| ExitCode::SUCCESS),
    };
    match ended {
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
    let budget = reports::budget(args.budget.as_deref())?;
    reports::make_folder(args.out.as_deref())?;
    let version = args.server_version.clone().or_else(|| said_version(args, &options.rest));
    let mut report = engine::run(&scenario, &options)?;
    report.target.version = version.unwrap_or_default();
    if let Some(budget) = budget {
        report.budget = budget.check(&report);
    }
    print!("{}", report::table(&report));
    if !report.trouble.is_empty() {
        println!("\nwhat went wrong first: {}", report.trouble);
    }
    if let Some(folder) = &args.out {
        reports::write_all(&report, folder)?;
        println!("\nreport: {}", folder.join("report.html").display());
    }
    Ok(report)
}

/// What the server says it is. Where only `--url` was given, whoever has the usual admin address
/// may be another one.
fn said_version(args: &RunArgs, rest: &Rest) -> Option<String> {
    let is_its_own = args.admin_url != ADMIN_URL || args.url == PUBLIC_URL;
    is_its_own.then(|| version::ask(rest)).flatten()
}

fn verdict(report: &Report) -> ExitCode {
    let kept = report.budget.iter().all(|line| line.kept);
    let all_stood = report.totals.connect_failures == 0;
    if oracle::is_clean(&report.oracle) && all_stood && kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(BROKEN)
    }
}
