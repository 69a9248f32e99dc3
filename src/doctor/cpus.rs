//! Workers and CPUs.

use super::nics::irq_cpus;
use super::parse::show_list;
use super::table::Severity::{Costs, Hint};
use super::{Check, Facts, Finding, Frequency, Sleep};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "workers",
        severity: Costs,
        looks_at: "`workers`, CPUs of the process",
        fires: "more workers than CPUs the process may use",
        anchor: "workers-and-cpus",
        find: |facts| {
            let allowed = facts.cpus.allowed.as_ref()?.len();
            // Isolated CPUs are only for workers that are pinned to them.
            let pinned = !facts.wanted.worker_cpus.is_empty();
            let cpus = if pinned { usable(facts)?.len() } else { allowed };
            let workers = facts.wanted.workers;
            (workers > cpus).then(|| {
                let is = format!("{workers} workers on {cpus} CPU(s)");
                let fit = cpus.saturating_sub(1).max(1);
                Finding::corewire(facts, is, format_args!("--workers {fit}"))
            })
        },
    },
    Check {
        id: "unpinned",
        severity: Costs,
        looks_at: "`pin`, `worker_cores`, CPU set",
        fires: "workers cannot be pinned although nobody asked for that",
        anchor: "workers-and-cpus",
        find: |facts| {
            let is = format!("workers are not pinned: {}", facts.wanted.unpinned?);
            // Too many of them are what the check above speaks of.
            let allowed = facts.cpus.allowed.as_ref();
            let fit = allowed.is_none_or(|allowed| facts.wanted.workers <= allowed.len());
            // No CPUs by name: every container of this machine would be given the same ones.
            fit.then(|| {
                Finding::corewire(facts, is, "--pin=false")
                    .note("or a CPU set: AllowedCPUs=, --cpuset-cpus")
            })
        },
    },
    Check {
        id: "worker_cores",
        severity: Costs,
        looks_at: "`worker_cores`, CPUs of the process",
        fires: "a worker is to run on a CPU that is not there, or that the process may not use",
        anchor: "workers-and-cpus",
        find: |facts| {
            let usable = usable(facts)?;
            let mut missing = facts.wanted.worker_cpus.clone();
            missing.retain(|cpu| !usable.contains(cpu));
            let args = on(facts, &usable)?;
            (!missing.is_empty()).then(|| {
                let is = format!("workers on CPU {}, not for this process", show_list(&missing));
                Finding::corewire(facts, is, args)
            })
        },
    },
    Check {
        id: "siblings",
        severity: Costs,
        looks_at: "`topology/thread_siblings_list` of the workers' CPUs",
        fires: "two workers run on one physical core although there is one for each, besides those \
                of the lowest CPU and of the cards' interrupts",
        anchor: "workers-and-cpus",
        find: |facts| {
            let works = |cpu: &&usize| facts.wanted.worker_cpus.contains(*cpu);
            let usable = usable(facts)?;
            let lowest = usable.iter().min()?;
            let cards: Vec<usize> = facts.network.nics.iter().flat_map(irq_cpus).collect();
            let kept = |core: &[usize]| core.iter().any(|cpu| cpu == lowest || cards.contains(cpu));
            let for_workers = |core: &&Vec<usize>| {
                let works = core.iter().any(|cpu| works(&cpu));
                core.iter().all(|cpu| usable.contains(cpu)) && (works || !kept(core))
            };
            let cores: Vec<&Vec<usize>> = facts.cpus.cores.iter().filter(for_workers).collect();
            let shared = cores.iter().find(|core| core.iter().filter(works).count() > 1)?;
            // One thread of each core: the one that has a worker already, else the first.
            let one =
                |core: &&Vec<usize>| core.iter().find(works).or_else(|| core.first()).copied();
            let args = on(facts, &cores.iter().filter_map(one).collect::<Vec<_>>())?;
            (cores.len() >= facts.wanted.workers).then(|| {
                let is = format!("workers on CPU {}, threads of one core", show_list(shared));
                Finding::corewire(facts, is, args)
            })
        },
    },
    Check {
        id: "isolated",
        severity: Costs,
        looks_at: "`isolcpus`, `worker_cores`",
        fires: "CPUs were isolated at boot and no worker runs on some of them",
        anchor: "workers-and-cpus",
        find: |facts| {
            let mut idle = facts.cpus.isolated.clone()?;
            idle.retain(|cpu| !facts.wanted.worker_cpus.contains(cpu));
            let isolated = facts.cpus.isolated.as_deref().unwrap_or_default();
            (!idle.is_empty()).then(|| {
                let is = format!("CPU {} isolated and without a worker", show_list(&idle));
                let (count, list) = (isolated.len(), show_list(isolated));
                let options = format_args!("--workers {count} --worker-cores {list}");
                Finding::corewire(facts, is, options)
            })
        },
    },
    Check {
        id: "quota",
        severity: Costs,
        looks_at: "`cpu.max` of the control group",
        fires: "the CPU quota is less than one CPU a worker: the kernel stops all of them at times",
        anchor: "workers-and-cpus",
        find: |facts| {
            let (quota, workers) = (facts.cpus.quota_milli?, facts.wanted.workers);
            let whole = usize::try_from(quota / 1_000).unwrap_or(usize::MAX);
            (workers > whole).then(|| {
                let (units, thousandths) = (quota / 1_000, quota % 1_000);
                let is =
                    format!("a quota of {units}.{thousandths:03} CPUs for {workers} worker(s)");
                match whole {
                    0 => Finding::new(is, "systemctl set-property corewire.service CPUQuota=100%")
                        .note("a container: docker update --cpus 1"),
                    _ => Finding::corewire(facts, is, format_args!("--workers {whole}"))
                        .note("or a CPU set instead of the quota"),
                }
            })
        },
    },
    Check {
        id: "numa_workers",
        severity: Hint,
        looks_at: "`/sys/devices/system/node`",
        fires: "workers run on more than one memory node",
        anchor: "memory-nodes",
        find: |facts| {
            let nodes = worker_nodes(facts);
            // The one where most of them run already, of equals the larger.
            let here = |node: &&Vec<usize>| {
                let of_workers = facts.wanted.worker_cpus.iter().filter(|cpu| node.contains(cpu));
                (of_workers.count(), node.len())
            };
            let cut: Vec<_> = facts.cpus.nodes.iter().map(|node| cut(facts, node)).collect();
            let args = on(facts, cut.iter().max_by_key(here)?)?;
            (nodes.len() > 1).then(|| {
                let is = format!("workers on memory nodes {}", show_list(&nodes));
                Finding::corewire(facts, is, args)
            })
        },
    },
    Check {
        id: "numa_nic",
        severity: Costs,
        looks_at: "`/sys/class/net/*/device/numa_node`",
        fires: "no worker runs on the memory node of a network card",
        anchor: "memory-nodes",
        find: |facts| {
            let nodes = worker_nodes(facts);
            let far = facts.network.nics.iter().find(|nic| {
                nic.node.is_some_and(|node| !nodes.is_empty() && !nodes.contains(&node))
            })?;
            let node = far.node?;
            let args = on(facts, &cut(facts, facts.cpus.nodes.get(node)?))?;
            Some(Finding::corewire(
                facts,
                format!("{} is on memory node {node}, workers on {}", far.name, show_list(&nodes)),
                args,
            ))
        },
    },
    Check {
        id: "governor",
        severity: Costs,
        looks_at: "`cpufreq/scaling_governor` of the workers' CPUs",
        fires: "a worker's CPU changes its frequency in software, or stays at the lowest",
        anchor: "frequency",
        find: |facts| {
            let slow = |one: &&Frequency| is_slow(one) && runs_worker(facts, one.cpu);
            let found = facts.cpus.frequencies.iter().find(slow)?;
            Some(Finding::new(
                format!("CPU {} under governor {} ({})", found.cpu, found.governor, found.driver),
                "cpupower frequency-set -g performance",
            ))
        },
    },
    Check {
        id: "sleeps",
        severity: Hint,
        looks_at: "`cpuidle/state*/latency` of the workers' CPUs",
        fires: "a worker's CPU may sleep so deeply that it takes over 10 µs to wake up",
        anchor: "frequency",
        find: |facts| {
            let deep = |one: &&Sleep| one.latency_us > SLEEP_US_MAX && runs_worker(facts, one.cpu);
            let found = facts.cpus.sleeps.iter().find(deep)?;
            Some(Finding::new(
                format!("CPU {} may take {} µs to wake up", found.cpu, found.latency_us),
                // It switches off what takes as long or longer.
                format!("cpupower idle-set -D {}", SLEEP_US_MAX + 1),
            ))
        },
    },
];

/// Longer sleeps are felt beside a send of some microseconds.
const SLEEP_US_MAX: u64 = 10;

/// CPUs a worker can be pinned to, in order: those of the process, and those that were isolated at
/// boot, which are in no process's set until somebody names them.
fn usable(facts: &Facts) -> Option<Vec<usize>> {
    let cpus = &facts.cpus;
    let known = cpus.allowed.as_ref().or(cpus.online.as_ref())?;
    let mut usable = [known.as_slice(), cpus.isolated.as_deref().unwrap_or_default()].concat();
    usable.retain(|cpu| cpus.online.as_ref().is_none_or(|online| online.contains(cpu)));
    usable.sort_unstable();
    usable.dedup();
    Some(usable)
}

/// Those of `node` that a worker can be pinned to.
fn cut(facts: &Facts, node: &[usize]) -> Vec<usize> {
    let usable = usable(facts);
    let may = |cpu: &usize| usable.as_ref().is_none_or(|usable| usable.contains(cpu));
    node.iter().copied().filter(may).collect()
}

/// The options that put the workers, or as many as there is room for, on CPUs of `from`: on those
/// that have one already, then on the highest, since the lowest is the admin core's.
fn on(facts: &Facts, from: &[usize]) -> Option<String> {
    let has_one = |cpu: &usize| facts.wanted.worker_cpus.contains(cpu);
    let (mut chosen, others): (Vec<usize>, Vec<usize>) = from.iter().copied().partition(has_one);
    chosen.extend(others.into_iter().rev());
    chosen.truncate(facts.wanted.workers);
    chosen.sort_unstable();
    let (count, list) = (chosen.len(), show_list(&chosen));
    (count > 0).then(|| format!("--workers {count} --worker-cores {list}"))
}

/// The memory nodes of the pinned workers, in order.
fn worker_nodes(facts: &Facts) -> Vec<usize> {
    let cpus = facts.wanted.worker_cpus.iter();
    let mut nodes: Vec<usize> = cpus.filter_map(|cpu| facts.cpus.node_of(*cpu)).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// Where no worker is pinned each may run anywhere.
fn runs_worker(facts: &Facts, cpu: usize) -> bool {
    facts.wanted.worker_cpus.is_empty() || facts.wanted.worker_cpus.contains(&cpu)
}

/// Under these two drivers the hardware chooses the frequency, whatever the governor's name.
fn is_slow(one: &Frequency) -> bool {
    let in_hardware = ["intel_pstate", "amd-pstate-epp"].contains(&one.driver.as_str());
    one.governor != "performance" && !in_hardware
}
