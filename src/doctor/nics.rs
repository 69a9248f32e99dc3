//! Network cards: queues, interrupts, steering.

use super::parse::{show_list, show_mask};
use super::table::Severity::{Costs, Hint};
use super::{Check, Facts, Finding, Nic};

/// With fewer CPUs there is nothing to keep apart.
const CPUS_MIN: usize = 4;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "irq_piled",
        severity: Costs,
        looks_at: "`/proc/irq/*/effective_affinity_list`",
        fires: "all receive queues of a card interrupt the same CPU, on a machine with 4 or more",
        anchor: "interrupts-and-queues",
        find: |facts| {
            let piled = |nic: &&Nic| nic.irqs.len() > 1 && irq_cpus(nic).len() == 1;
            let online = big_machine(facts)?;
            let nic = facts.network.nics.iter().find(piled)?;
            let free = free_cpus(facts, online);
            let to = if free.len() > 1 { &free } else { online };
            let (count, cpu) = (nic.irqs.len(), irq_cpus(nic)[0]);
            Some(spread(format!("{count} queues of {} interrupt CPU {cpu}", nic.name), nic, to))
        },
    },
    Check {
        id: "irq_workers",
        severity: Hint,
        looks_at: "`/proc/irq/*/effective_affinity_list`, workers' CPUs",
        fires: "a card with several queues interrupts CPUs that run workers, although two or more \
                run none",
        anchor: "interrupts-and-queues",
        find: |facts| {
            let online = big_machine(facts)?;
            let workers = &facts.wanted.worker_cpus;
            let nic = facts.network.nics.iter().find(|nic| {
                nic.irqs.len() > 1 && irq_cpus(nic).iter().any(|cpu| workers.contains(cpu))
            })?;
            let mut hit = irq_cpus(nic);
            hit.retain(|cpu| workers.contains(cpu));
            let free = free_cpus(facts, online);
            (free.len() > 1).then(|| {
                let is =
                    format!("{} interrupts CPU {}, which run workers", nic.name, show_list(&hit));
                spread(is, nic, &free)
            })
        },
    },
    Check {
        id: "rps",
        severity: Hint,
        looks_at: "`/sys/class/net/*/queues/rx-*/rps_cpus`",
        fires: "a card has one receive queue, its packets are not steered, and there are 4 CPUs or \
                more",
        anchor: "interrupts-and-queues",
        find: |facts| {
            let online = big_machine(facts)?;
            let nics = &facts.network.nics;
            let nic = nics.iter().find(|nic| nic.rx_queues == 1 && nic.rps_queues == 0)?;
            Some(Finding::new(
                format!("one CPU takes all packets of {}: 1 queue, no RPS", nic.name),
                format!(
                    "echo {} > /sys/class/net/{}/queues/rx-0/rps_cpus",
                    show_mask(online),
                    nic.name,
                ),
            ))
        },
    },
    Check {
        id: "rfs",
        severity: Hint,
        looks_at: "`net.core.rps_sock_flow_entries`, `rps_flow_cnt`",
        fires: "RFS has its table but no queue uses it",
        anchor: "interrupts-and-queues",
        find: |facts| {
            let entries = facts.network.flow_entries.filter(|entries| *entries > 0)?;
            let nic = facts.network.nics.iter().find(|nic| nic.rfs_queues == 0)?;
            let flows = entries / nic.rx_queues.max(1) as u64;
            let queues = format!("/sys/class/net/{}/queues/rx-*", nic.name);
            Some(Finding::new(
                format!("RFS has {entries} entries and no queue of {} uses them", nic.name),
                format!("for queue in {queues}; do echo {flows} > $queue/rps_flow_cnt; done"),
            ))
        },
    },
];

fn big_machine(facts: &Facts) -> Option<&[usize]> {
    facts.cpus.online.as_deref().filter(|online| online.len() >= CPUS_MIN)
}

/// CPUs without a worker.
fn free_cpus(facts: &Facts, online: &[usize]) -> Vec<usize> {
    online.iter().copied().filter(|cpu| !facts.wanted.worker_cpus.contains(cpu)).collect()
}

/// A finding that is mended where a card's interrupts are dealt out over CPUs.
fn spread(is: String, nic: &Nic, cpus: &[usize]) -> Finding {
    let dealt = nic.irqs.iter().zip(cpus.iter().cycle());
    let pairs: Vec<String> = dealt.map(|(irq, cpu)| format!("{}:{cpu}", irq.number)).collect();
    let echo = "echo ${pair#*:} > /proc/irq/${pair%:*}/smp_affinity_list";
    Finding::new(is, format!("for pair in {}; do {echo}; done", pairs.join(" ")))
        .note("first, or they are moved back: systemctl disable --now irqbalance")
}

/// CPUs that a card's receive queues interrupt, in order.
pub(super) fn irq_cpus(nic: &Nic) -> Vec<usize> {
    let mut cpus: Vec<usize> = nic.irqs.iter().flat_map(|irq| irq.cpus.iter().copied()).collect();
    cpus.sort_unstable();
    cpus.dedup();
    cpus
}
