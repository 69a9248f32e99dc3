//! How much memory the process may have, and who looks how much it has.
//!
//! The admin core's thread looks once a second and publishes; workers read one word.

use std::sync::Arc;
use std::time::Duration;

use super::log::Log;
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
        Self::with(options, limit_bytes(&read))
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
    let used = own_bytes(&read("/proc/self/statm").unwrap_or_default());
    let mut strain = before.next(used, limits.soft, limits.hard);
    if strain == Strain::None && stalled(&read) >= STALLED {
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

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Rule: proc_pid_statm(5): pages; the second field is what is resident, the third what of it is
/// shared with files.
fn own_bytes(statm: &str) -> u64 {
    let mut pages = statm.split_ascii_whitespace().skip(1).map_while(|text| text.parse().ok());
    let (resident, shared): (u64, u64) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
    resident.saturating_sub(shared) * rustix::param::page_size() as u64
}

/// Folders of the process's own control group and those it lies in, the root left out.
///
/// Rule: cgroups(7): in version 2 `/proc/self/cgroup` has one line, `0::` and a path.
fn groups(read: &impl Fn(&str) -> Option<String>) -> Vec<String> {
    let text = read("/proc/self/cgroup").unwrap_or_default();
    let path = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    let mut folders = Vec::new();
    let mut path = path.trim_end_matches('/');
    while !path.is_empty() {
        folders.push(format!("/sys/fs/cgroup{path}"));
        path = path.rsplit_once('/').map_or("", |(before, _)| before);
    }
    folders
}

/// The least of what the machine has and what the control groups allow; `u64::MAX` where nothing
/// says.
fn limit_bytes(read: &impl Fn(&str) -> Option<String>) -> u64 {
    let machine = read("/proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some(kib << 10)
    });
    let of_groups = groups(read);
    let of_groups = of_groups.iter().filter_map(|folder| read(&format!("{folder}/memory.max")));
    let of_groups = of_groups.filter_map(|text| text.trim().parse::<u64>().ok());
    machine.into_iter().chain(of_groups).min().unwrap_or(u64::MAX)
}

/// How long the process's own control group stood still for want of memory, in hundredths of a
/// percent of the last ten seconds; 0 where it has none or nothing says. The group of the whole
/// machine is not asked: its trouble may be somebody else's.
///
/// Rule: the kernel's page on PSI: `full avg10=0.00 …`.
fn stalled(read: &impl Fn(&str) -> Option<String>) -> u64 {
    let own = groups(read).into_iter().next();
    let text = own.and_then(|folder| read(&format!("{folder}/memory.pressure")));
    let full = text.as_deref().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("full avg10="))?;
        let (whole, hundredths) = line.split_ascii_whitespace().next()?.split_once('.')?;
        Some(whole.parse::<u64>().ok()? * 100 + hundredths.parse::<u64>().ok()?)
    });
    full.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(name: &str) -> Option<String> {
        let text = match name {
            "/proc/self/cgroup" => "0::/system.slice/corewire.service\n",
            "/proc/meminfo" => "MemTotal:        4000 kB\nMemFree:   1 kB\n",
            "/sys/fs/cgroup/system.slice/memory.max" => "2000000\n",
            "/sys/fs/cgroup/system.slice/corewire.service/memory.max" => "max\n",
            "/sys/fs/cgroup/system.slice/corewire.service/memory.pressure" => {
                "some avg10=20.00 avg60=1.00 avg300=0.00 total=9\n\
                 full avg10=12.34 avg60=1.00 avg300=0.00 total=9\n"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }

    #[test]
    fn what_there_is_is_the_least_that_somebody_allows() {
        assert_eq!(limit_bytes(&files), 2_000_000);
        let bare = |name: &str| if name == "/proc/meminfo" { files(name) } else { None };
        assert_eq!(limit_bytes(&bare), 4_000 << 10);
        assert_eq!(limit_bytes(&|_: &str| None), u64::MAX);
        assert_eq!((stalled(&files), stalled(&bare)), (1_234, 0));
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
