//! How much memory the process may have, and who looks how much it has.
//!
//! The admin core's thread looks once a second and publishes; workers read one word.

use std::sync::Arc;
use std::time::Duration;

use super::log::Log;
use super::machine::{Files, Groups, meminfo_bytes};
use crate::base::{Pressure, Strain};
use crate::config::{LogLevel, Options};

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// Share of the last ten seconds in which everything of the control group stood still for want of
/// memory, in hundredths of a percent, from which new clients are refused.
const STALLED: u64 = 1_000;

/// The limits, soft and hard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemoryLimits {
    soft: u64,
    hard: u64,
}

impl MemoryLimits {
    /// From the options, and from what there is where they are 0.
    pub(super) fn new(options: &Options) -> Self {
        Self::with(options, limit_bytes(&Files::below("/")))
    }

    fn with(options: &Options, there_is: u64) -> Self {
        let or = |option: u64, percent: u64| match option {
            0 => there_is / 100 * percent,
            set => set,
        };
        let hard = or(options.memory_hard_bytes, 90).max(options.memory_soft_bytes);
        Self { soft: or(options.memory_soft_bytes, 80).min(hard), hard }
    }

    /// For the operator.
    pub(super) fn note(self) -> String {
        let Self { soft, hard } = self;
        format!(
            "from {} MiB of memory on new clients are refused, from {} MiB on queues are let go",
            soft >> 20,
            hard >> 20,
        )
    }
}

/// Looks for as long as the admin core runs.
pub(super) async fn watch(limits: MemoryLimits, pressure: Arc<Pressure>, log: Log) {
    let mut strain = Strain::None;
    loop {
        let next = look(strain, limits, &pressure);
        if next != strain {
            say(&log, next, limits, pressure.used_bytes());
        }
        strain = next;
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Looks once and publishes what it found.
fn look(before: Strain, limits: MemoryLimits, pressure: &Pressure) -> Strain {
    let files = Files::below("/");
    let used = own_bytes(&files.text("/proc/self/statm").unwrap_or_default());
    let mut strain = before.next(used, limits.soft, limits.hard);
    if strain == Strain::None && Groups::of(&files).stalled(&files).is_some_and(|s| s >= STALLED) {
        strain = Strain::Refuse;
    }
    pressure.publish(strain, used, [limits.soft, limits.hard]);
    strain
}

fn say(log: &Log, strain: Strain, limits: MemoryLimits, used: u64) {
    let (level, event) = match strain {
        Strain::None => (LogLevel::Info, "memory suffices again"),
        Strain::Refuse => (LogLevel::Warn, "memory is short: new clients are refused"),
        Strain::Shed => (LogLevel::Warn, "memory is very short: the largest queues are let go"),
    };
    let mib = |bytes: u64| (bytes >> 20).to_string();
    let fields = vec![
        ("used_mib", mib(used)),
        ("soft_mib", mib(limits.soft)),
        ("hard_mib", mib(limits.hard)),
    ];
    log.line(level, event, fields);
}

/// Rule: proc_pid_statm(5): pages; the second field is what is resident, the third what of it is
/// shared with files.
fn own_bytes(statm: &str) -> u64 {
    let mut pages = statm.split_ascii_whitespace().skip(1).map_while(|text| text.parse().ok());
    let (resident, shared): (u64, u64) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
    resident.saturating_sub(shared) * rustix::param::page_size() as u64
}

/// The least of what the machine has and what the control groups allow; `u64::MAX` where nothing
/// says.
fn limit_bytes(files: &Files) -> u64 {
    let machine = files.text("/proc/meminfo").and_then(|text| meminfo_bytes(&text, "MemTotal:"));
    let of_groups = Groups::of(files).memory_bytes(files);
    machine.into_iter().chain(of_groups).min().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Folder;

    /// What is found on a machine with these files: its limit, and how much it stood still.
    fn found(files: &[(&str, &str)]) -> (u64, Option<u64>) {
        let folder = Folder::new();
        for (path, text) in files {
            folder.write(path, text);
        }
        let files = Files::below(&*folder);
        (limit_bytes(&files), Groups::of(&files).stalled(&files))
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:        4000 kB\nMemFree:   1 kB\n");

    #[test]
    fn what_there_is_is_the_least_that_somebody_allows() {
        let pressure = "some avg10=20.00 avg60=1.00 avg300=0.00 total=9\n\
                        full avg10=12.34 avg60=1.00 avg300=0.00 total=9\n";
        let second = found(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/system.slice/corewire.service\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "2000000\n"),
            ("sys/fs/cgroup/system.slice/corewire.service/memory.max", "max\n"),
            ("sys/fs/cgroup/system.slice/corewire.service/memory.pressure", pressure),
            ("sys/fs/cgroup/memory.pressure", "full avg10=99.00\n"),
        ]);
        assert_eq!(second, (2_000_000, Some(1_234)));
        let first = found(&[
            MEMINFO,
            ("proc/self/cgroup", "4:memory:/a/b\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "3000000\n"),
        ]);
        assert_eq!(first, (3_000_000, None));
        // In a namespace of its own a group takes itself for the root.
        let inside = found(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "1000000\n"),
            ("sys/fs/cgroup/memory.pressure", pressure),
        ]);
        assert_eq!(inside, (1_000_000, None));
        assert_eq!(found(&[MEMINFO]), (4_000 << 10, None));
        assert_eq!(found(&[]), (u64::MAX, None));
    }

    #[test]
    fn options_come_before_shares_and_hard_is_never_below_soft() {
        let limits = |soft, hard| {
            let options =
                Options { memory_soft_bytes: soft, memory_hard_bytes: hard, ..Options::default() };
            let MemoryLimits { soft, hard } = MemoryLimits::with(&options, 1_000);
            (soft, hard)
        };
        assert_eq!(limits(0, 0), (800, 900));
        assert_eq!(limits(500, 0), (500, 900));
        assert_eq!(limits(950, 0), (950, 950));
        assert_eq!(limits(0, 400), (400, 400));
        assert_eq!(limits(100, 200), (100, 200));
    }

    #[test]
    fn memory_of_this_process_is_found() {
        assert_eq!(own_bytes("100 30 10 1 0 5 0"), 20 * rustix::param::page_size() as u64);
        assert_eq!(own_bytes(""), 0);
        let pressure = Pressure::default();
        let tight = MemoryLimits { soft: 1, hard: u64::MAX };
        assert_eq!(look(Strain::None, tight, &pressure), Strain::Refuse);
        assert!(pressure.used_bytes() > 100_000);
    }
}
