//! The servers that are compared: how each is started on its core, and ended.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::cores;

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// Corewire's library: `examples/bench_server.rs`.
    Corewire,
    /// Corewire's gateway, the `corewire` binary.
    Gateway,
    /// socketioxide on axum.
    Socketioxide,
    /// socket.io on Node's http and ws.
    Socketio,
    /// The floor: bare sends.
    Bare,
}

impl Which {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Corewire, Self::Gateway, Self::Socketioxide, Self::Socketio, Self::Bare];

    /// Its name on the command line and in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Corewire => "corewire",
            Self::Gateway => "gateway",
            Self::Socketioxide => "socketioxide",
            Self::Socketio => "socketio",
            Self::Bare => "bare",
        }
    }

    /// Its name for a reader.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Corewire => "Corewire",
            Self::Gateway => "Corewire's gateway",
            Self::Socketioxide => "socketioxide",
            Self::Socketio => "socket.io/ws",
            Self::Bare => "bare `send(2)`",
        }
    }

    /// Finds one by its name.
    ///
    /// # Errors
    /// There is none of that name; says which there are.
    pub fn named(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|which| which.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|which| which.name()).collect();
            format!("--servers {name}: choose from {}", names.join(", "))
        })
    }
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `examples/bench_server.rs`, built for release.
    pub bench_server: PathBuf,
    /// The `corewire` binary.
    pub gateway: PathBuf,
    /// The peer on socketioxide.
    pub socketioxide: PathBuf,
    /// The peer's `server.mjs`.
    pub socketio: PathBuf,
    /// This program, which is the floor as well.
    pub itself: PathBuf,
    /// File that takes what the servers write to their standard error.
    pub log: PathBuf,
}

impl Programs {
    /// The program goes through `setpriv`, which becomes it: so the kernel ends it with this
    /// process, however this process ends.
    fn command(&self, which: Which, core: usize) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        command.arg(self.program(which));
        match which {
            Which::Corewire | Which::Gateway => {
                command.args(["--workers", "1", "--worker-cores", &core.to_string()]);
                command.args(["--admin-listen", "127.0.0.1:0"]);
            }
            Which::Socketio => {
                command.env("NODE_ENV", "production").arg(&self.socketio);
            }
            Which::Bare => {
                command.arg("bare-server");
            }
            Which::Socketioxide => {}
        }
        if which == Which::Gateway {
            command.args(["--rooms-open=true"]);
        }
        command.args(["--listen", "127.0.0.1:0"]).stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    fn program(&self, which: Which) -> &Path {
        match which {
            Which::Corewire => &self.bench_server,
            Which::Gateway => &self.gateway,
            Which::Socketioxide => &self.socketioxide,
            Which::Socketio => Path::new("node"),
            Which::Bare => &self.itself,
        }
    }

    fn log(&self) -> Result<File, String> {
        let file = File::options().create(true).append(true).open(&self.log);
        file.map_err(|why| format!("{}: {why}", self.log.display()))
    }
}

/// A server that listens. It is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Held open, so that the server never writes into a closed pipe.
    _stdout: BufReader<ChildStdout>,
    /// `http://ADDRESS:PORT`.
    pub url: String,
}

impl Running {
    /// Starts a server with all its threads on one core and waits until it says where it listens.
    ///
    /// # Errors
    /// One line: the program is not there, or it ended before it listened.
    pub fn start(which: Which, programs: &Programs, core: usize) -> Result<Self, String> {
        let mut command = programs.command(which, core);
        command.stderr(programs.log()?);
        let program = programs.program(which).display().to_string();
        let mut child = cores::pinned(core, || command.spawn())
            .and_then(|spawned| spawned)
            .map_err(|why| format!("setpriv (of util-linux): {why}"))?;
        let Some(stdout) = child.stdout.take() else {
            return Err(format!("{program}: it has no output"));
        };
        let mut stdout = BufReader::new(stdout);
        match address(&mut stdout) {
            Some(address) => Ok(Self { child, _stdout: stdout, url: format!("http://{address}") }),
            None => {
                end(&mut child);
                let log = programs.log.display();
                Err(format!(
                    "{program}: it did not begin to listen; {log} says why, and loadtest/peers/run builds it"
                ))
            }
        }
    }

    /// The id of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A child that is already gone is as good.
fn end(child: &mut Child) {
    drop(child.kill());
    drop(child.wait());
}

/// Reads lines until one says `listening on ADDRESS:PORT`; `None` at the end of the output.
fn address(stdout: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    while stdout.read_line(&mut line).ok()? > 0 {
        if let Some(address) = line.trim_end().strip_prefix("listening on ") {
            return Some(address.to_owned());
        }
        line.clear();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_on_the_line_that_says_so() {
        let mut lines = &b"starting\nlistening on 127.0.0.1:80\nadmin on 127.0.0.1:1\n"[..];
        assert_eq!(address(&mut lines).as_deref(), Some("127.0.0.1:80"));
        assert_eq!(address(&mut &b"refused\n"[..]), None);
    }

    #[test]
    fn a_program_that_is_not_there_or_ends_is_one_line() {
        let nothing = PathBuf::from("/nonexistent");
        let mut programs = Programs {
            bench_server: nothing.clone(),
            gateway: nothing.clone(),
            socketioxide: PathBuf::from("true"),
            socketio: nothing.clone(),
            itself: nothing,
            log: PathBuf::from("/dev/null"),
        };
        let error = Running::start(Which::Corewire, &programs, 0).unwrap_err();
        assert!(error.contains("/nonexistent") && error.contains("loadtest/peers/run"), "{error}");
        let error = Running::start(Which::Socketioxide, &programs, 0).unwrap_err();
        assert!(error.contains("did not begin"), "{error}");
        programs.socketioxide = PathBuf::from("echo");
        let error = Running::start(Which::Socketioxide, &programs, 0).unwrap_err();
        assert!(error.contains("did not begin"), "{error}");
    }

    #[test]
    fn every_server_has_a_name() {
        for which in Which::ALL {
            assert_eq!(Which::named(which.name()), Ok(which));
        }
        assert!(Which::named("nginx").unwrap_err().contains("socketioxide"));
    }
}
