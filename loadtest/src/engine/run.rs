//! The main thread's side of a run: orders, samples of the server, the report.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::board::{Board, Order, Outcome, Stretch};
use super::layout::Layout;
use super::meter::{Counts, Hist, Window, hist};
use super::ticks::Ticks;
use super::{lane, report};
use crate::check::oracle;
use crate::clock::{self, Clock, MILLI, Nanos, SECOND, from_seconds};
use crate::model::{Oracle, Report};
use crate::scenario::{Kind, Scenario, Transport};
use crate::server::{Cpu, Process};
use crate::wire::rest::Rest;

/// Between two looks of the main thread.
const LOOK: Nanos = 20 * MILLI;
/// Between the order to load and the beginning: every lane has seen it by then.
const LEAD: Nanos = 50 * MILLI;
/// Rest of all connections before memory is looked at.
const REST: Nanos = 300 * MILLI;

/// How a scenario is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server: its public listener, and where REST calls go.
    pub rest: Rest,
    /// The server's process, if it is on this machine.
    pub pid: Option<u32>,
    /// CPUs for the lanes, in turn; empty: wherever the kernel puts them.
    pub cores: Vec<usize>,
    /// Show no progress.
    pub quiet: bool,
    /// The server's anonymous memory without connections, where an earlier run has seen it. A
    /// server keeps memory it once had.
    pub anon_before: Option<u64>,
}

/// What was measured in one stretch.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) counted: Counts,
    pub(super) oracle: Oracle,
    pub(super) latencies: BTreeMap<&'static str, Hist>,
    /// Share of its time in which the busiest lane had something to do.
    pub(super) busy: f64,
    pub(super) seconds: f64,
    /// Of the server.
    pub(super) cpu: Option<Cpu>,
    /// Between the two looks at the server's CPU time.
    pub(super) operations: u64,
    pub(super) wall_ns: Nanos,
    pub(super) bytes_in: u64,
    /// Whether everything owed came in time.
    pub(super) settled: bool,
}

/// A run under way.
pub(super) struct Run {
    pub(super) board: Arc<Board>,
    pub(super) options: Options,
    pub(super) process: Option<Process>,
    pub(super) ticks: Ticks,
    pub(super) anon_before: u64,
    pub(super) anon_after: u64,
    /// Those that stood when the load began.
    pub(super) connections: u64,
    lanes: Vec<JoinHandle<std::io::Result<()>>>,
}

/// Runs a scenario against a server: once, or once for each size if it has a sweep.
///
/// # Errors
/// One line that says what to do: the server cannot be reached, no connection stands, or this
/// machine lacks descriptors.
pub fn run(scenario: &Scenario, options: &Options) -> Result<Report, String> {
    match &scenario.sweep {
        Some(sweep) => super::sweep::run(scenario, sweep, options),
        None => once(scenario, options),
    }
}

/// Runs a scenario once.
pub(super) fn once(scenario: &Scenario, options: &Options) -> Result<Report, String> {
    let started_at = clock::utc();
    let mut run = Run::start(scenario, options)?;
    let mut connected = run.connect()?;
    let (found, search) = match (scenario.kind, &scenario.steps) {
        (Kind::Connect, _) => (connected, None),
        (Kind::Idle, _) => {
            let mut found = run.hold();
            found.latencies.append(&mut connected.latencies);
            (found, None)
        }
        (_, Some(steps)) => {
            let (found, search) = super::steps::search(&mut run, steps);
            (found, Some(search))
        }
        (_, None) => {
            let stretch = run.stretch(scenario.rate, scenario.warmup_seconds, scenario.seconds);
            let late = Nanos::from(scenario.drain_ms) * MILLI;
            (run.load(stretch, late), None)
        }
    };
    run.end()?;
    let mut report = report::make(&run, started_at, &found);
    if let Some(search) = search {
        search.write_to(&mut report);
    }
    Ok(report)
}

impl Run {
    fn start(scenario: &Scenario, options: &Options) -> Result<Self, String> {
        let options = options.clone();
        let address = options.rest.public.address;
        std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5))
            .map_err(|why| format!("{address}: {why}; start the server or give its --url"))?;
        // A connection by polling has two sockets.
        let sockets = if scenario.transport == Transport::Websocket { 1 } else { 2 };
        let connections = u64::from(Layout::new(scenario).total());
        raise_descriptors(connections * sockets + 64 + u64::from(scenario.rest_connections))?;
        let process = options.pid.map(Process::open).transpose()?;
        if !options.cores.is_empty() {
            let mut set = rustix::thread::CpuSet::new();
            options.cores.iter().for_each(|core| set.set(*core));
            rustix::thread::sched_setaffinity(None, &set)
                .map_err(|why| format!("--cores: {why}; name CPUs of this machine"))?;
        }
        let anon_before = process.as_ref().map_or(0, Process::anon_bytes);
        let anon_before = options.anon_before.unwrap_or(anon_before);
        let board = Board::new(Clock::start(), scenario.clone(), options.rest.clone());
        let board = Arc::new(board);
        let lanes = (0..scenario.threads).map(|index| {
            let board = Arc::clone(&board);
            let cores = &options.cores;
            let cpu = (!cores.is_empty()).then(|| cores[index as usize % cores.len()]);
            std::thread::Builder::new()
                .name(format!("lane-{index}"))
                .spawn(move || {
                    let result = lane::run(Arc::clone(&board), index, cpu);
                    if let Err(why) = &result {
                        board.trouble(&format!("lane {index}: {why}"));
                    }
                    result
                })
                .map_err(|why| format!("threads = {}: {why}", scenario.threads))
        });
        let lanes = lanes.collect::<Result<Vec<_>, String>>()?;
        let ticks = Ticks::new(scenario.threads, options.quiet);
        Ok(Self {
            board,
            options,
            process,
            ticks,
            anon_before,
            anon_after: 0,
            connections: 0,
            lanes,
        })
    }

    pub(super) fn now(&self) -> Nanos {
        self.board.clock.now()
    }

    fn cpu(&self) -> Option<Cpu> {
        self.process.as_ref().map(Process::cpu)
    }

    /// Waits for a moment, or for `ended` to say so; shows how far the run is meanwhile.
    fn wait(&mut self, until: Nanos, mut ended: impl FnMut(&Board) -> bool) -> bool {
        loop {
            if ended(&self.board) {
                return true;
            }
            let now = self.now();
            if now >= until {
                return false;
            }
            let process = self.process.as_ref();
            self.ticks.look(&self.board, process, now);
            // The exact moment matters where the server's CPU time is read.
            let wait = (until - now).min(LOOK);
            std::thread::park_timeout(Duration::from_nanos(wait));
        }
    }

    fn lanes_failed(&self) -> bool {
        self.lanes.iter().any(JoinHandle::is_finished)
    }

    /// What went wrong first.
    pub(super) fn first_trouble(&self) -> Option<String> {
        self.board.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes all connections, and joins all rooms.
    fn connect(&mut self) -> Result<Found, String> {
        let total = u64::from(self.board.layout.total());
        let begin = self.now();
        let window = Window { from: begin, to: Nanos::MAX, by_intent: false };
        let cpu_before = self.cpu();
        self.board.give(Order::Connect(window));
        let patience = from_seconds(self.board.scenario.connect_seconds);
        self.wait(begin + patience, |board| {
            board.sum(|lane| &lane.ready) + board.sum(|lane| &lane.failed) >= total
        });
        let end = self.now();
        let cpu_after = self.cpu();
        let ready = self.board.sum(|lane| &lane.ready);
        if self.lanes_failed() || ready == 0 {
            let why = self.first_trouble();
            let why = why.unwrap_or_else(|| String::from("none was answered in time"));
            return Err(format!("no connection stands: {why}"));
        }
        self.connections = ready;
        let operations = self.board.sum(|lane| &lane.operations);
        let mut found = self.collect(end - begin);
        found.cpu = between(cpu_before, cpu_after);
        (found.operations, found.wall_ns) = (operations, end - begin);
        self.wait(end + REST, |_| false);
        self.anon_after = self.process.as_ref().map_or(0, Process::anon_bytes);
        Ok(found)
    }

    /// Holds the connections.
    fn hold(&mut self) -> Found {
        let begin = self.now();
        let length = from_seconds(self.board.scenario.seconds);
        let window = Window { from: begin, to: begin + length, by_intent: false };
        self.board.give(Order::Run(Stretch { begin, window, rate: None }));
        let cpu_before = self.cpu();
        self.wait(begin + length, |_| false);
        let cpu_after = self.cpu();
        self.anon_after = self.process.as_ref().map_or(0, Process::anon_bytes);
        let wall_ns = self.now() - begin;
        let mut found = self.collect(length);
        found.cpu = between(cpu_before, cpu_after);
        found.wall_ns = wall_ns;
        found
    }

    /// A stretch that begins soon.
    pub(super) fn stretch(&self, rate: Option<f64>, warmup: f64, seconds: f64) -> Stretch {
        let begin = self.now() + LEAD;
        let from = begin + from_seconds(warmup);
        let window = Window { from, to: from + from_seconds(seconds), by_intent: rate.is_some() };
        Stretch { begin, window, rate }
    }

    /// Loads for a stretch and waits for what is owed. It has settled if all came by `late` after
    /// the end; it is waited for longer than that, so that the next stretch begins with nothing
    /// on its way.
    pub(super) fn load(&mut self, stretch: Stretch, late: Nanos) -> Found {
        let clear_ms = self.board.scenario.drain_ms;
        self.load_and_clear(stretch, late, clear_ms)
    }

    /// The same, with another limit on the longer wait.
    pub(super) fn load_and_clear(&mut self, stretch: Stretch, late: Nanos, clear_ms: u32) -> Found {
        let window = stretch.window;
        self.ticks.begin(window);
        self.board.give(Order::Run(stretch));
        self.wait(window.from, |_| false);
        let before = self.sample();
        self.wait(window.to, |_| false);
        let after = self.sample();
        let drain = Nanos::from(clear_ms) * MILLI;
        // Read in this order: what comes is never counted before it is owed.
        let all_came = |board: &Board| {
            let behind = board.sum(|lane| &lane.behind);
            let owed = board.sum(|lane| &lane.owed);
            behind == 0 && board.sum(|lane| &lane.came) >= owed
        };
        let settled = self.wait(window.to + late, all_came);
        if !settled && late < drain {
            self.wait(window.to + drain, all_came);
        }
        let mut found = self.collect(window.to - window.from);
        found.settled = settled;
        found.cpu = between(before.cpu, after.cpu);
        found.operations = after.operations - before.operations;
        found.wall_ns = after.at - before.at;
        found.bytes_in = after.bytes_in - before.bytes_in;
        found
    }

    fn sample(&self) -> Sample {
        Sample {
            at: self.now(),
            cpu: self.cpu(),
            operations: self.board.sum(|lane| &lane.operations),
            bytes_in: self.board.sum(|lane| &lane.bytes_in),
        }
    }

    /// Takes what the lanes measured, over `length`.
    fn collect(&mut self, length: Nanos) -> Found {
        let number = self.board.give(Order::Collect);
        let patience = self.now() + 10 * SECOND;
        self.wait(patience, |board| {
            board
                .lanes
                .iter()
                .all(|lane| lane.done.load(std::sync::atomic::Ordering::Acquire) >= number)
        });
        self.ticks.look(&self.board, self.process.as_ref(), self.now());
        let mut outcomes = self.board.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        let outcomes = std::mem::take(&mut *outcomes);
        sum(&outcomes, length)
    }

    fn end(&mut self) -> Result<(), String> {
        self.board.give(Order::End);
        for lane in self.lanes.drain(..) {
            match lane.join() {
                Ok(Ok(())) => {}
                Ok(Err(why)) => return Err(format!("a client thread ended: {why}")),
                Err(_) => return Err(String::from("a client thread broke down")),
            }
        }
        self.ticks.end();
        Ok(())
    }
}

/// A look at the server and at what was counted, at one moment.
struct Sample {
    at: Nanos,
    cpu: Option<Cpu>,
    operations: u64,
    bytes_in: u64,
}

fn between(before: Option<Cpu>, after: Option<Cpu>) -> Option<Cpu> {
    before.zip(after).map(|(before, after)| after.since(before))
}

fn sum(outcomes: &[Outcome], length: Nanos) -> Found {
    let mut found = Found {
        counted: Counts::default(),
        oracle: Oracle::default(),
        latencies: BTreeMap::new(),
        busy: 0.0,
        seconds: clock::to_seconds(length),
        cpu: None,
        operations: 0,
        wall_ns: length,
        bytes_in: 0,
        settled: true,
    };
    for outcome in outcomes {
        found.counted.sent += outcome.counted.sent;
        found.counted.operations += outcome.counted.operations;
        oracle::add(&mut found.oracle, &outcome.oracle);
        let idle = clock::to_seconds(outcome.idle) / found.seconds;
        found.busy = found.busy.max((1.0 - idle).clamp(0.0, 1.0));
        for (timing, part) in &outcome.latencies {
            let whole = found.latencies.entry(timing.name()).or_insert_with(hist);
            // All have the same bounds, so nothing can be out of them.
            let _added = whole.add(part);
        }
    }
    found
}

/// Raises the limit on descriptors as far as it is needed.
fn raise_descriptors(needed: u64) -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let enough = limit.maximum.is_none_or(|maximum| maximum >= needed);
    if !enough || setrlimit(Resource::Nofile, raised).is_err() {
        return Err(format!(
            "connections: {needed} descriptors are needed and {} allowed; raise `ulimit -n`",
            limit.maximum.unwrap_or(0)
        ));
    }
    Ok(())
}
