//! `loadtest peers`, `loadtest floor` and the floor's own server, as commands.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::results::Results;
use super::rounds::{self, Plan};
use super::server::{Programs, Which};
use super::workloads::{self, Workload};
use super::{bare, table, versions};
use crate::floor;

/// Runs Corewire and its peers in turns and writes the table.
#[derive(Args, Debug)]
pub struct PeersArgs {
    /// Rounds to run; 0 prints the table of a file that is there
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Only these workloads, parted by commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these servers, parted by commas: corewire, gateway, socketioxide, socketio, bare
    #[arg(long, value_delimiter = ',', default_value = "corewire,socketioxide,socketio,bare")]
    servers: Vec<String>,
    /// Measured time of each run
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// CPU of the servers
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// CPU of the client
    #[arg(long, default_value_t = 1)]
    client_core: usize,
    /// File of results to begin afresh; the table is written beside it
    #[arg(long, default_value = "peers.json")]
    out: PathBuf,
    /// File of results to add rounds to instead; it is made if it is not there
    #[arg(long, conflicts_with = "out")]
    append: Option<PathBuf>,
    /// Folder of Corewire's release build
    #[arg(long, default_value = "target/release")]
    release: PathBuf,
    /// The peer on socketioxide, built for release
    #[arg(long, default_value = "target/peers/release/corewire-peer-socketioxide")]
    socketioxide: PathBuf,
    /// The peer on socket.io, with its packages installed
    #[arg(long, default_value = "loadtest/peers/node/server.mjs")]
    socketio: PathBuf,
}

/// Measures the cost of bare sends.
#[derive(Args, Debug)]
pub struct FloorArgs {
    /// Sockets that are written to in turn
    #[arg(long, default_value_t = 1_000)]
    sockets: usize,
    /// Bytes of a frame
    #[arg(long, default_value_t = 76, value_parser = clap::value_parser!(u8).range(40..=127))]
    frame_bytes: u8,
    /// Frames that leave in one send, parted by commas
    #[arg(long, value_delimiter = ',', default_value = "1,4,16")]
    joined: Vec<usize>,
    /// Time for each of them
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// CPU of the sender
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// CPU of the reader
    #[arg(long, default_value_t = 1)]
    client_core: usize,
}

/// The floor as a server of the bench contract, for this program's own client.
#[derive(Args, Debug)]
pub struct BareArgs {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

impl PeersArgs {
    /// Runs the rounds and writes the table.
    ///
    /// # Errors
    /// One line that says what to do.
    #[expect(clippy::print_stdout, reason = "a program speaks to its terminal")]
    pub fn run(self) -> Result<(), String> {
        let path = self.append.as_ref().unwrap_or(&self.out).clone();
        let mut results = match &self.append {
            Some(path) if path.exists() => Results::read(path)?,
            _ => Results::new(versions::versions(), self.server_core, self.client_core),
        };
        if results.server_core == results.client_core {
            return Err(String::from("--client-core: another CPU than --server-core"));
        }
        let plan = self.plan(path.with_extension("log"))?;
        rounds::run(&plan, &mut results, &path, &mut |line| println!("{line}"))?;
        let table = table::markdown(&results);
        let table_path = path.with_extension("md");
        std::fs::write(&table_path, &table)
            .map_err(|why| format!("{}: {why}", table_path.display()))?;
        println!("\n{table}\n{} and {}", path.display(), table_path.display());
        Ok(())
    }

    fn plan(self, log: PathBuf) -> Result<Plan, String> {
        let workloads = if self.only.is_empty() {
            workloads::ALL.to_vec()
        } else {
            self.only.iter().map(|name| Workload::named(name)).collect::<Result<_, _>>()?
        };
        let servers =
            self.servers.iter().map(|name| Which::named(name)).collect::<Result<_, _>>()?;
        let itself = std::env::current_exe().map_err(|why| format!("this program: {why}"))?;
        let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(Plan {
            rounds: self.rounds,
            workloads,
            servers,
            seconds: self.seconds,
            programs: Programs {
                bench_server: whole(&self.release.join("examples/bench_server")),
                gateway: whole(&self.release.join("corewire")),
                socketioxide: whole(&self.socketioxide),
                socketio: whole(&self.socketio),
                itself,
                log,
            },
        })
    }
}

impl FloorArgs {
    /// Measures and prints.
    ///
    /// # Errors
    /// One line that says what to do.
    #[expect(clippy::print_stdout, reason = "a program speaks to its terminal")]
    pub fn run(self) -> Result<(), String> {
        if self.sockets == 0 || self.joined.is_empty() || self.joined.contains(&0) {
            return Err(String::from("--sockets and --joined: at least 1"));
        }
        let settings = floor::Settings {
            sockets: self.sockets,
            frame_bytes: self.frame_bytes.into(),
            joined: self.joined,
            seconds: self.seconds,
            server_core: self.server_core,
            client_core: self.client_core,
        };
        let costs = floor::measure(&settings).map_err(|why| format!("floor: {why}"))?;
        println!("{}", floor::table(&settings, &costs));
        Ok(())
    }
}

impl BareArgs {
    /// Serves until it is killed.
    ///
    /// # Errors
    /// One line: the address is taken, or the client reads too slowly.
    pub fn run(&self) -> Result<(), String> {
        bare::serve(self.listen, &mut std::io::stdout())
            .map_err(|why| format!("bare-server: {why}"))
    }
}
