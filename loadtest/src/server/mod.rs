//! # server: the server's process and this machine, as `/proc` shows them
//!
//! Owns: reading `/proc`.
//! Imports: `model`.
//!
//! Read first: [`Process`].

use std::fs;
use std::path::PathBuf;

use crate::model::Machine;

/// A process that is looked at.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    folder: PathBuf,
}

impl Process {
    /// The process of this id.
    ///
    /// # Errors
    /// One line: there is none.
    pub fn open(pid: u32) -> Result<Self, String> {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        if !folder.join("task").is_dir() {
            return Err(format!("--pid {pid}: there is no such process; give the server's"));
        }
        Ok(Self { pid, folder })
    }

    /// Its command line.
    #[must_use]
    pub fn command(&self) -> String {
        let bytes = fs::read(self.folder.join("cmdline")).unwrap_or_default();
        let parts = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        parts.collect::<Vec<_>>().join(" ").trim().to_owned()
    }

    /// CPU time of all its threads, exactly as the scheduler counts it, in nanoseconds. What a
    /// thread used before it ended is not in it.
    #[must_use]
    pub fn cpu_ns(&self) -> u64 {
        let Ok(tasks) = fs::read_dir(self.folder.join("task")) else { return 0 };
        let of = |task: std::io::Result<fs::DirEntry>| {
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        };
        tasks.filter_map(of).sum()
    }

    /// What it has used by now.
    #[must_use]
    pub fn cpu(&self) -> Cpu {
        let stat = fs::read_to_string(self.folder.join("stat")).unwrap_or_default();
        let (user_ticks, system_ticks) = ticks(&stat).unwrap_or_default();
        Cpu { ns: self.cpu_ns(), user_ticks, system_ticks }
    }

    /// Anonymous resident memory.
    #[must_use]
    pub fn anon_bytes(&self) -> u64 {
        self.status("RssAnon:")
    }

    /// All resident memory.
    #[must_use]
    pub fn rss_bytes(&self) -> u64 {
        self.status("VmRSS:")
    }

    fn status(&self, key: &str) -> u64 {
        let text = fs::read_to_string(self.folder.join("status")).unwrap_or_default();
        kib(&text, key)
    }
}

/// CPU time of a process since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// All of it, as [`Process::cpu_ns`].
    pub ns: u64,
    /// In its own code, by the kernel's clock of some milliseconds a tick.
    pub user_ticks: u64,
    /// In the kernel, likewise.
    pub system_ticks: u64,
}

impl Cpu {
    /// What came after an earlier look.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            ns: self.ns.saturating_sub(before.ns),
            user_ticks: self.user_ticks.saturating_sub(before.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(before.system_ticks),
        }
    }

    /// The kernel's share of it; none if there are too few ticks to tell.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "ticks of a run are far below 2^53")]
    pub fn kernel_share(self) -> Option<f64> {
        let ticks = self.user_ticks + self.system_ticks;
        (ticks >= TICKS_MIN).then(|| self.system_ticks as f64 / ticks as f64)
    }
}

/// Fewer say nothing of a share.
const TICKS_MIN: u64 = 20;

/// User and system time of `/proc/PID/stat`: fields 14 and 15. The name, the second, is in brackets
/// and may hold anything.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11).map(str::parse);
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}

/// The value of a line such as `RssAnon:   120 kB`, in bytes.
fn kib(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let value = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    value.unwrap_or(0) * 1_024
}

/// This machine.
#[must_use]
pub fn machine() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpus = read("/proc/cpuinfo");
    let name = cpus.lines().find_map(|line| line.strip_prefix("model name"));
    Machine {
        kernel: read("/proc/sys/kernel/osrelease"),
        cpu: name.unwrap_or_default().trim_start_matches([' ', '\t', ':']).to_owned(),
        cpus: cpus.lines().filter(|line| line.starts_with("processor")).count(),
        memory_bytes: kib(&read("/proc/meminfo"), "MemTotal:"),
        congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen_to_work() {
        let me = Process::open(std::process::id()).unwrap();
        let before = me.cpu_ns();
        let mut sum = 0_u64;
        // Work until the scheduler has noticed it.
        while me.cpu_ns() == before {
            sum = sum.wrapping_mul(31).wrapping_add(before);
        }
        assert!(me.cpu_ns() > before, "{sum}");
        assert!(me.anon_bytes() > 0 && me.rss_bytes() >= me.anon_bytes());
        assert!(me.command().contains("corewire_loadtest"), "{}", me.command());
    }

    #[test]
    fn the_kernels_share_is_that_of_the_ticks_between_two_looks() {
        let line = "7 (a) (b) c) S 1 7 7 0 -1 4194560 9 0 0 0 130 570 3 4 20 0 3 0 99 1 2 3";
        assert_eq!(ticks(line), Some((130, 570)));
        assert_eq!((ticks(""), ticks("7 (a) S 1")), (None, None));
        let at = |user_ticks, system_ticks| Cpu { ns: 0, user_ticks, system_ticks };
        assert_eq!(at(130, 570).since(at(80, 420)).kernel_share(), Some(0.75));
        assert_eq!(at(10, 9).kernel_share(), None);
    }

    #[test]
    fn a_process_that_is_not_there_is_named() {
        assert!(Process::open(u32::MAX).unwrap_err().contains("4294967295"));
    }

    #[test]
    fn the_machine_has_a_name_and_memory() {
        let machine = machine();
        assert!(machine.cpus > 0 && machine.memory_bytes > 1 << 20);
        assert!(!machine.kernel.is_empty());
    }
}
