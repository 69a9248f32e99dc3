//! One entry a second, and the line that shows how far a run is.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::PoisonError;

use super::board::Board;
use super::meter::{Hist, Second, Window, hist};
use super::report::micros;
use crate::clock::{Nanos, SECOND, to_seconds};
use crate::model::Tick;
use crate::server::Process;

/// Seconds between two lines where no terminal can be drawn on.
const LINE_EVERY: u64 = 5;

/// A second of which some lanes have told.
struct Part {
    told: u32,
    sent: u64,
    operations: u64,
    main: Hist,
    busy: f64,
}

/// The seconds of a run.
pub(super) struct Ticks {
    lanes: u32,
    quiet: bool,
    is_terminal: bool,
    parts: BTreeMap<u64, Part>,
    /// Of the main latency, so far.
    so_far: Hist,
    window: Window,
    /// The server, by the second: CPUs and resident memory.
    server: BTreeMap<u64, (f64, u64)>,
    last_cpu: Option<(Nanos, u64)>,
    shown_at: Nanos,
    drawn: bool,
    /// Seconds of stretches that are over.
    before: f64,
    done: Vec<Tick>,
}

impl Ticks {
    pub(super) fn new(lanes: u32, quiet: bool) -> Self {
        Self {
            lanes,
            quiet,
            is_terminal: std::io::stderr().is_terminal(),
            parts: BTreeMap::new(),
            so_far: hist(),
            window: Window::default(),
            server: BTreeMap::new(),
            last_cpu: None,
            shown_at: 0,
            drawn: false,
            before: 0.0,
            done: Vec::new(),
        }
    }

    /// A stretch begins.
    pub(super) fn begin(&mut self, window: Window) {
        self.before += to_seconds(self.window.to - self.window.from);
        self.window = window;
        self.parts.clear();
        self.server.clear();
        self.last_cpu = None;
        self.so_far.reset();
    }

    /// Takes in what lanes have told, and shows it.
    pub(super) fn look(&mut self, board: &Board, process: Option<&Process>, now: Nanos) {
        let seconds =
            std::mem::take(&mut *board.seconds.lock().unwrap_or_else(PoisonError::into_inner));
        if self.window.to > self.window.from {
            self.look_at_server(process, now);
            for second in &seconds {
                self.take(board, second);
            }
        }
        let every = if self.is_terminal { SECOND / 2 } else { LINE_EVERY * SECOND };
        if !self.quiet && now >= self.shown_at + every {
            self.shown_at = now;
            self.show(board, now);
        }
    }

    fn look_at_server(&mut self, process: Option<&Process>, now: Nanos) {
        let Some(process) = process else { return };
        let Some(elapsed) = now.checked_sub(self.window.from) else { return };
        let index = elapsed / SECOND;
        let last = self.last_cpu.map_or(0, |(at, _)| (at - self.window.from) / SECOND);
        if self.last_cpu.is_some() && index <= last {
            return;
        }
        let cpu = process.cpu_ns();
        if let Some((at, before)) = self.last_cpu {
            let cpus = to_seconds(cpu.saturating_sub(before)) / to_seconds(now - at);
            self.server.insert(last, (cpus, process.rss_bytes()));
        }
        self.last_cpu = Some((now, cpu));
    }

    fn take(&mut self, board: &Board, second: &Second) {
        let part = self.parts.entry(second.index).or_insert_with(|| Part {
            told: 0,
            sent: 0,
            operations: 0,
            main: hist(),
            busy: 0.0,
        });
        part.told += 1;
        part.sent += second.sent;
        part.operations += second.operations;
        part.busy = part.busy.max((1.0 - to_seconds(second.idle)).clamp(0.0, 1.0));
        // All have the same bounds, so nothing can be out of them.
        let _added = part.main.add(&second.main);
        if part.told < self.lanes {
            return;
        }
        let Some(part) = self.parts.remove(&second.index) else { return };
        let _added = self.so_far.add(&part.main);
        let server = self.server.get(&second.index);
        #[expect(clippy::cast_precision_loss, reason = "a number of seconds")]
        let at_seconds = self.before + second.index as f64 + 1.0;
        self.done.push(Tick {
            at_seconds,
            connections: board.sum(|lane| &lane.ready),
            sent: part.sent,
            operations: part.operations,
            p50: micros(part.main.value_at_quantile(0.5)),
            p99: micros(part.main.value_at_quantile(0.99)),
            server_cpus: server.map(|(cpus, _)| *cpus),
            server_rss_bytes: server.map(|(_, rss)| *rss),
            client_busy: part.busy,
        });
    }

    fn show(&mut self, board: &Board, now: Nanos) {
        let up = board.sum(|lane| &lane.ready);
        let failed = board.sum(|lane| &lane.failed);
        let rate = self.done.last().map_or(0, |tick| tick.operations);
        let failed = if failed > 0 { format!(" ({failed} failed)") } else { String::new() };
        let quantile = |at| micros(self.so_far.value_at_quantile(at));
        let line = format!(
            "{:>6.1} s  {up} up{failed}  {rate}/s  p50 {:.0} us  p99 {:.0} us",
            to_seconds(now),
            quantile(0.5),
            quantile(0.99),
        );
        let mut out = std::io::stderr().lock();
        // Progress that cannot be shown is no reason to end a run.
        let _shown = if self.is_terminal {
            self.drawn = true;
            write!(out, "\r\x1b[2K{line}").and_then(|()| out.flush())
        } else {
            writeln!(out, "{line}")
        };
    }

    /// The last look at a run.
    pub(super) fn end(&mut self) {
        if self.drawn {
            let mut out = std::io::stderr().lock();
            let _cleared = write!(out, "\r\x1b[2K").and_then(|()| out.flush());
        }
    }

    /// All seconds so far.
    pub(super) fn taken(&self) -> Vec<Tick> {
        self.done.clone()
    }
}
