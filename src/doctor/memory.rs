//! Memory.

use super::table::Severity::{Breaks, Costs};
use super::{Check, Facts, Finding};

/// What an idle connection is reckoned at: 5 KiB of kernel slab and 3 KiB of the gateway's memory.
/// Measured were 4 to 5 and 1.6 with request heads of 190 bytes; a session keeps its head, and a
/// browser's with its cookies is longer.
const IDLE_CONN_BYTES: u64 = 8 << 10;

/// What of it is the kernel's.
const KERNEL_CONN_BYTES: u64 = 5 << 10;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "memory_idle",
        severity: Breaks,
        looks_at: "`MemTotal`, `memory.max`, `conns_max`",
        fires: "`conns_max` idle connections do not fit into memory",
        anchor: "the-memory-bill",
        find: |facts| {
            let (most, needed) = (facts.memory_bytes()?, facts.conns() * IDLE_CONN_BYTES);
            (most < needed).then(|| {
                let fit = most / IDLE_CONN_BYTES / facts.wanted.workers.max(1) as u64;
                let is = format!(
                    "{} MiB of memory; {} idle connections take {}",
                    most >> 20,
                    facts.conns(),
                    needed >> 20,
                );
                Finding::corewire(facts, is, format_args!("--conns-max {}", fit.max(1)))
                    .note("or more memory")
            })
        },
    },
    Check {
        id: "memory_worst",
        severity: Costs,
        looks_at: "`MemTotal`, `memory.max`, `memory_hard_bytes`, limits of the configuration",
        fires: "clients that all do their worst can take more memory than there is, and no \
                `memory_hard_bytes` leaves the kernel its part",
        anchor: "the-memory-bill",
        find: |facts| {
            let (most, worst) = (facts.memory_bytes()?, facts.wanted.worst_bytes);
            let idle_fits = facts.conns() * IDLE_CONN_BYTES <= most;
            let [soft, hard] = pressure_bytes(facts, most);
            let is_decided = (1..=hard).contains(&facts.wanted.memory_hard_bytes);
            (most < worst && idle_fits && !is_decided).then(|| {
                let is = format!("{} MiB of memory; the worst case is {}", most >> 20, worst >> 20);
                let options = format_args!("--memory-soft {soft} --memory-hard {hard}");
                Finding::corewire(facts, is, options)
                    .note("or a lower --conns-max, fewer --workers, more memory")
            })
        },
    },
    Check {
        id: "swap",
        severity: Costs,
        looks_at: "`SwapTotal`, `memory.swap.max`",
        fires: "idle connections may be swapped out; a ping to all of them reads them back",
        anchor: "swap-and-huge-pages",
        find: |facts| {
            let swap = facts.memory.swap_bytes.filter(|swap| *swap > 0)?;
            let is = format!("{} MiB of swap for this process", swap >> 20);
            let run = "systemctl set-property corewire.service MemorySwapMax=0";
            let note = "or, where memory suffices for what is swapped: swapoff -a";
            Some(Finding::new(is, run).note(note))
        },
    },
    Check {
        id: "huge_pages",
        severity: Costs,
        looks_at: "`transparent_hugepage/enabled`, `prctl`",
        fires: "huge pages are always on and the server may not switch them off for itself",
        anchor: "swap-and-huge-pages",
        find: |facts| {
            let always = facts.system.huge_pages.as_deref()? == "always";
            (always && facts.system.huge_pages_refusable == Some(false)).then(|| {
                Finding::new(
                    "transparent huge pages: always; a process may not refuse them",
                    "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
                )
            })
        },
    },
    Check {
        id: "overcommit",
        severity: Costs,
        looks_at: "`vm.overcommit_memory`",
        fires: "2: reserved addresses count as used memory, and the allocator reserves ahead",
        anchor: "the-memory-bill",
        find: |facts| {
            (facts.system.overcommit? == 2)
                .then(|| Finding::sysctl("vm.overcommit_memory = 2", "vm.overcommit_memory", 0))
        },
    },
    Check {
        id: "tcp_mem",
        severity: Costs,
        looks_at: "`net.ipv4.tcp_mem`",
        fires: "the third figure is below two pages a connection: a message to everybody meets the \
                ceiling of all TCP buffers",
        anchor: "tcp-buffers",
        find: |facts| {
            let (most, needed) = (facts.network.tcp_mem_max_pages?, facts.conns() * 2);
            (most < needed).then(|| {
                Finding::new(
                    format!("{most} pages for the buffers of {} connections", facts.conns()),
                    tcp_mem_command(facts, needed),
                )
            })
        },
    },
];

/// From which memory of the process on new clients are refused and queues let go, where the bill
/// is larger than what there is. The process's own is looked at once a second and the kernel's is
/// not: a quarter is left to both, or what connections take of the kernel if that is more.
fn pressure_bytes(facts: &Facts, most: u64) -> [u64; 2] {
    let kernel = (facts.conns() * KERNEL_CONN_BYTES).max(most / 4);
    let hard = most.saturating_sub(kernel).max(most / 4);
    [hard / 9 * 8, hard]
}

/// The kernel sets the three figures at 3/4, 1 and 3/2 of one.
fn tcp_mem_command(facts: &Facts, pages: u64) -> String {
    let conns = facts.conns();
    let (low, pressure) = (conns, conns + conns / 3);
    format!("sysctl -w net.ipv4.tcp_mem='{low} {pressure} {pages}'")
}
