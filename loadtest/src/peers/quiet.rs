//! Was the machine quiet? What other programs took of the two CPUs of a run.
//!
//! A rate that was measured while something else ran is the machine's and not the server's. CPU
//! time for an operation suffers less, by cold caches only.

use std::path::Path;

/// Ticks of the two CPUs, and of the two programs that ought to be alone on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    /// All that passed, idle or not.
    all: u64,
    /// Those in which the CPUs did something, or the host took them away.
    busy: u64,
    /// CPU time of the programs.
    ours: u64,
}

/// Looks at CPUs and processes now. Processes that are gone count nothing.
#[must_use]
pub fn look(cores: [usize; 2], pids: [u32; 2]) -> Ticks {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let mut ticks = Ticks::default();
    for core in cores {
        let (all, busy) = cpu_ticks(&stat, core).unwrap_or_default();
        ticks.all += all;
        ticks.busy += busy;
    }
    for pid in pids {
        let path = Path::new("/proc").join(pid.to_string()).join("stat");
        let stat = std::fs::read_to_string(path).unwrap_or_default();
        ticks.ours += process_ticks(&stat).unwrap_or_default();
    }
    ticks
}

/// The share of the two CPUs' time that others took between two looks.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "ticks of a run are far below 2^52")]
pub fn others(before: Ticks, after: Ticks) -> f64 {
    let all = after.all.saturating_sub(before.all);
    let busy = after.busy.saturating_sub(before.busy);
    let ours = after.ours.saturating_sub(before.ours);
    if all == 0 { 0.0 } else { busy.saturating_sub(ours) as f64 / all as f64 }
}

/// All ticks and busy ones of a CPU: user, nice, system, idle, iowait, irq, softirq, steal. What
/// follows these is contained in user and nice already.
fn cpu_ticks(stat: &str, core: usize) -> Option<(u64, u64)> {
    let name = format!("cpu{core} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(&name))?;
    let ticks: Vec<u64> =
        line.split_whitespace().take(8).map_while(|tick| tick.parse().ok()).collect();
    let [user, nice, system, idle, wait, irq, soft, steal] = ticks.try_into().ok()?;
    let busy = user + nice + system + irq + soft + steal;
    Some((busy + idle + wait, busy))
}

/// User and system time of a process with all its threads, the ended ones included.
fn process_ticks(stat: &str) -> Option<u64> {
    // The name may hold anything, even a parenthesis; numbers follow the last one.
    let (_, numbers) = stat.rsplit_once(')')?;
    let mut times = numbers.split_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_ours_is_others() {
        let stat = "cpu  9 9 9 9\ncpu0 10 1 5 80 2 1 1 0 0 0\ncpu1 4 0 0 6 0 0 0 3 0 0\nintr 1\n";
        assert_eq!(cpu_ticks(stat, 0), Some((100, 18)));
        assert_eq!(cpu_ticks(stat, 1), Some((13, 7)));
        assert_eq!(cpu_ticks(stat, 2), None);
        let process = "7 (a (b) c) S 1 7 7 0 -1 4194560 9 0 0 0 12 30 0 0 20 0 1 0 5 9 9";
        assert_eq!(process_ticks(process), Some(42));
        let before = Ticks { all: 100, busy: 50, ours: 40 };
        let after = Ticks { all: 300, busy: 200, ours: 180 };
        assert!((others(before, after) - 0.05).abs() < 1e-9);
        assert!(others(after, after).abs() < 1e-9);
    }

    #[test]
    fn this_process_and_its_cpus_are_found() {
        let ticks = look([0, 0], [std::process::id(), std::process::id()]);
        assert!(ticks.all > 0 && ticks.busy > 0, "{ticks:?}");
    }
}
