//! What the kernel says about this process, read from `/proc`.

use std::fs;
use std::time::{Duration, Instant};

/// Memory that is resident now, in bytes; 0 where `/proc` is not to be had.
pub(super) fn resident_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").ok().and_then(|text| {
        let resident = text.split_ascii_whitespace().nth(1)?;
        resident.parse::<u64>().ok()
    });
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// Processor time used so far by all threads, in microseconds.
pub(super) fn cpu_us() -> u64 {
    fs::read_to_string("/proc/self/stat").ok().and_then(|text| stat_us(&text)).unwrap_or(0)
}

/// Processor time used so far by one thread of ours, in microseconds.
pub(super) fn thread_cpu_us(tid: i32) -> Option<u64> {
    schedstat_us(&format!("/proc/self/task/{tid}"))
}

/// Processor time used so far by the calling thread, in microseconds.
pub(super) fn own_cpu_us() -> Option<u64> {
    schedstat_us("/proc/thread-self")
}

/// What the kernel says a thread of ours is doing.
///
/// Rule: proc_pid_stat(5): the third field, behind a name that may hold anything.
pub(super) fn thread_state(tid: i32) -> Option<&'static str> {
    let text = fs::read_to_string(format!("/proc/self/task/{tid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(match fields.trim_start().chars().next()? {
        'R' => "running",
        'S' => "sleeping",
        'D' => "waiting for the disk",
        'T' | 't' => "stopped",
        _ => "ended",
    })
}

/// `schedstat` counts nanoseconds, but not every kernel has it; `stat` counts ticks.
fn schedstat_us(folder: &str) -> Option<u64> {
    let precise = fs::read_to_string(format!("{folder}/schedstat")).ok().and_then(|text| {
        let on_cpu_ns = text.split_ascii_whitespace().next()?;
        Some(on_cpu_ns.parse::<u64>().ok()? / 1_000)
    });
    precise.or_else(|| stat_us(&fs::read_to_string(format!("{folder}/stat")).ok()?))
}

/// Rule: proc_pid_stat(5): fields 14 and 15 are ticks in user and kernel mode; the second field
/// is a name in parentheses that may hold anything.
fn stat_us(text: &str) -> Option<u64> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut ticks = fields.split_ascii_whitespace().skip(11);
    let user: u64 = ticks.next()?.parse().ok()?;
    let kernel: u64 = ticks.next()?.parse().ok()?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Some((user + kernel) * 1_000_000 / per_second)
}

/// How many processors something keeps busy, between two looks.
#[derive(Clone, Debug)]
pub(super) struct CpuMeter {
    looked_at: Instant,
    cpu_us: u64,
    cores: f64,
}

/// Ticks are too coarse for looks in quicker succession, and a look is work itself.
const LOOKS_APART: Duration = Duration::from_millis(500);

impl CpuMeter {
    /// Starts at the processor time `cpu_us`.
    pub(super) fn new(cpu_us: u64) -> Self {
        Self { looked_at: Instant::now(), cpu_us, cores: 0.0 }
    }

    /// Looks again; the interval is from the last look to this one.
    pub(super) fn look(&mut self, cpu_us: impl FnOnce() -> u64) {
        let elapsed = self.looked_at.elapsed();
        if elapsed < LOOKS_APART {
            return;
        }
        let cpu_us = cpu_us();
        self.cores = cpu_us.saturating_sub(self.cpu_us) as f64 / elapsed.as_micros() as f64;
        self.cpu_us = cpu_us;
        self.looked_at = Instant::now();
    }

    /// Processors busy in the last interval: up to 1 for a thread.
    pub(super) const fn cores(&self) -> f64 {
        self.cores
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_behind_the_last_parenthesis() {
        let line = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 4 0 100";
        let per_second = rustix::param::clock_ticks_per_second();
        assert_eq!(stat_us(line), Some(200 * 1_000_000 / per_second));
        assert_eq!(stat_us("12 (a) S 1 2"), None);
        assert_eq!(stat_us(""), None);
    }

    #[test]
    fn this_process_uses_memory_and_this_thread_time() {
        assert!(resident_bytes() > 100_000);
        let before = own_cpu_us().expect("Linux has /proc");
        let mut sum = 0_u64;
        while own_cpu_us() < Some(before + 20_000) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(sum > 0 && cpu_us() > 0);
        let me = rustix::thread::gettid().as_raw_pid();
        assert_eq!((thread_state(me), thread_state(0)), (Some("running"), None));
    }
}
