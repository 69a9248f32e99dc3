//! The built program as a child process.

use std::io::{BufRead, BufReader, Lines, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::wire::PATIENCE;

const PROGRAM: &str = env!("CARGO_BIN_EXE_corewire");

/// The program with a fixed environment.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    isolate(&mut command).args(args);
    command
}

fn isolate(command: &mut Command) -> &mut Command {
    command.env_clear().current_dir("/").stdin(Stdio::null())
}

/// The program under a shell that does something first: its last words are `exec "$0" "$@"`.
pub(crate) fn command_after(script: &str, args: &[&str]) -> Command {
    let mut command = Command::new("/bin/sh");
    isolate(&mut command).args(["-c", script, PROGRAM]).args(args);
    command
}

/// What a program said that does not serve, and its exit code.
pub(crate) fn outcome(mut command: Command) -> (i32, String) {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the program is built");
    let code = wait(&mut child).unwrap_or_else(|| {
        child.kill().expect("it runs");
        panic!("it serves although it should not");
    });
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    (code, said)
}

/// Waits for the end of a process, for as long as a test may wait.
fn wait(child: &mut Child) -> Option<i32> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait().expect("it is our child") {
            return Some(status.code().unwrap_or(-1));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    None
}

/// The program, serving.
pub(crate) struct Program {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    child: Child,
    /// Kept open: the program may have more to say.
    _lines: Lines<BufReader<ChildStdout>>,
    log: Receiver<String>,
    reader: Option<JoinHandle<()>>,
}

impl Program {
    /// Starts it on ports of the kernel's choice.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_on("127.0.0.1:0", args)
    }

    pub(crate) fn start_on(listen: &str, args: &[&str]) -> Self {
        let base = ["--listen", listen, "--admin-listen=127.0.0.1:0", "--pin=false"];
        let mut command = command(&base);
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program is built");
        let (sender, log) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                // Nobody may be listening any more.
                let _unheard = sender.send(line);
            }
        });
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut after = |words: &str| -> SocketAddr {
            let line = lines.next().and_then(Result::ok).unwrap_or_default();
            let address = line.strip_prefix(words).and_then(|address| address.parse().ok());
            address
                .unwrap_or_else(|| panic!("{words:?} was awaited: {line:?}, {:?}", log.try_recv()))
        };
        let (address, admin) = (after("listening on "), after("admin on "));
        Self { address, admin, child, _lines: lines, log, reader: Some(reader) }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The first line of the log that holds these words.
    pub(crate) fn logged(&self, words: &str) -> String {
        loop {
            let line = self.log.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no line of the log says {words:?}"));
            if line.contains(words) {
                return line;
            }
        }
    }

    /// What it has said since, to its end. Only of one that has ended.
    pub(crate) fn rest_of_log(&self) -> String {
        self.log.iter().map(|line| line + "\n").collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("an id"), signal).expect("it runs");
    }

    /// Waits for its end and returns the exit code.
    pub(crate) fn exit_code(&mut self) -> i32 {
        wait(&mut self.child).expect("it ends")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _panicked = reader.join();
        }
    }
}
