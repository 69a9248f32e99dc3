//! Workers and CPUs.

use super::parse::show_list;
use super::table::Severity::{Costs, Hint};
use super::{Check, Facts, Finding, Frequency};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "workers",
        severity: Costs,
        looks_at: "`workers`, CPUs of the process",
        fires: "more workers than CPUs the process may use",
        anchor: "workers-and-cpus",
        find: |facts| {
            let (workers, cpus) = (facts.wanted.workers, facts.cpus.allowed.as_ref()?.len());
            (workers > cpus).then(|| {
                let is = format!("{workers} workers on {cpus} CPU(s)");
                Finding::new(is, format!("--workers {}", cpus.saturating_sub(1).max(1)))
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
            let why = facts.wanted.unpinned?;
            Some(Finding::new(
                format!("workers are not pinned: {why}"),
                "AllowedCPUs= in the unit (--cpuset-cpus of a container), or --worker-cores",
            ))
        },
    },
    Check {
        id: "worker_cores",
        severity: Costs,
        looks_at: "`worker_cores`, CPUs of the machine",
        fires: "a worker is to run on a CPU that is not there",
        anchor: "workers-and-cpus",
        find: |facts| {
            let online = facts.cpus.online.as_ref()?;
            let mut missing = facts.wanted.worker_cpus.clone();
            missing.retain(|cpu| !online.contains(cpu));
            (!missing.is_empty()).then(|| {
                Finding::new(
                    format!("workers on CPU {}, not online", show_list(&missing)),
                    format!("--worker-cores out of {}", show_list(online)),
                )
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
                Finding::new(
                    format!("CPU {} isolated and without a worker", show_list(&idle)),
                    format!("--worker-cores {}", show_list(isolated)),
                )
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
                Finding::new(
                    format!("a quota of {units}.{thousandths:03} CPUs for {workers} worker(s)"),
                    format!("--workers {}, or no CPUQuota= and a CPU set", whole.max(1)),
                )
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
            (nodes.len() > 1).then(|| {
                let cpus = facts.cpus.nodes.get(nodes[0]).map(|node| show_list(node));
                Finding::new(
                    format!("workers on memory nodes {}", show_list(&nodes)),
                    format!("--worker-cores out of {}", cpus.unwrap_or_default()),
                )
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
            let cpus = facts.cpus.nodes.get(node).map(|node| show_list(node));
            Some(Finding::new(
                format!("{} is on memory node {node}, workers on {}", far.name, show_list(&nodes)),
                format!("--worker-cores out of {}", cpus.unwrap_or_default()),
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
];

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
