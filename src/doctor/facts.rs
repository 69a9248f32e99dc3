//! The machine and the wish, as values. `None` is what could not be read.

use core::net::SocketAddr;

use crate::config::Driver;

/// Everything the checks look at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// What the configuration asks for.
    pub wanted: Wanted,
    /// The kernel, and the limits of this process.
    pub system: System,
    /// Memory and swap.
    pub memory: Memory,
    /// The kernel's network settings and the cards.
    pub network: Network,
    /// Processors.
    pub cpus: Cpus,
    /// What the doctor was asked with, one flag and its value each: `--config=FILE`. No keys.
    pub args: Vec<String>,
    /// Files that every Linux has and that could not be read here.
    pub unread: Vec<String>,
}

/// What the configuration asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Workers.
    pub workers: usize,
    /// CPUs of the workers; empty where none is pinned.
    pub worker_cpus: Vec<usize>,
    /// Why they are not pinned although the operator did not ask for that.
    pub unpinned: Option<&'static str>,
    /// Most connections of one worker.
    pub conns_max: u64,
    /// Descriptors the server needs before its first connection.
    pub descriptors_own: u64,
    /// Connections that may wait in one listener.
    pub backlog: u64,
    /// Memory at the very worst, all workers, kernel buffers left out.
    pub worst_bytes: u64,
    /// From what memory on queues are let go; 0 where nobody said.
    pub memory_hard_bytes: u64,
    /// What the workers are to wait on.
    pub driver: Driver,
    /// Addresses for clients.
    pub listen: Vec<SocketAddr>,
    /// Where REST is served.
    pub admin_listen: Option<SocketAddr>,
    /// Options that are left open to strangers.
    pub open_settings: Vec<&'static str>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            workers: 1,
            worker_cpus: Vec::new(),
            unpinned: None,
            conns_max: 0,
            descriptors_own: 0,
            backlog: 0,
            worst_bytes: 0,
            memory_hard_bytes: 0,
            driver: Driver::Auto,
            listen: Vec::new(),
            admin_listen: None,
            open_settings: Vec::new(),
        }
    }
}

impl Facts {
    /// Most connections of all workers.
    #[must_use]
    pub const fn conns(&self) -> u64 {
        self.wanted.conns_max.saturating_mul(self.wanted.workers as u64)
    }

    /// Descriptors of the server with all its connections.
    #[must_use]
    pub const fn descriptors(&self) -> u64 {
        self.wanted.descriptors_own.saturating_add(self.conns())
    }

    /// Memory this process may use: the machine's or its group's, whichever is less.
    #[must_use]
    pub fn memory_bytes(&self) -> Option<u64> {
        [self.memory.total_bytes, self.memory.limit_bytes].into_iter().flatten().min()
    }
}

/// What a try at a ring came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ring {
    /// The best rung of the ladder.
    Best,
    /// A lower one.
    Lower {
        /// Its name in the start line.
        name: String,
        /// Why the best was refused.
        why: String,
    },
    /// None.
    Refused {
        /// The kernel's words.
        why: String,
    },
}

/// The kernel, and the limits of this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// Version of the kernel: the first two numbers.
    pub release: Option<(u32, u32)>,
    /// What a try at a ring came to.
    pub ring: Option<Ring>,
    /// `kernel.io_uring_disabled`: 0 is permitted, 1 only to a group, 2 to nobody.
    pub io_uring_disabled: Option<u64>,
    /// Hard limit of descriptors; the server raises the soft one by itself.
    pub nofile_hard: Option<u64>,
    /// `fs.nr_open`: the ceiling of that limit.
    pub nr_open: Option<u64>,
    /// `fs.file-max`: open files of the whole machine.
    pub file_max: Option<u64>,
    /// Soft limit of locked memory, in bytes; `u64::MAX` is none.
    pub memlock_bytes: Option<u64>,
    /// Where the kernel reads the time.
    pub clocksource: Option<String>,
    /// `vm.overcommit_memory`.
    pub overcommit: Option<u64>,
    /// Transparent huge pages: `always`, `madvise` or `never`.
    pub huge_pages: Option<String>,
    /// Whether a process may switch them off for itself, as the server does at its start.
    pub huge_pages_refusable: Option<bool>,
}

/// Memory and swap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Of the machine.
    pub total_bytes: Option<u64>,
    /// Of the process's control group, if it has a limit.
    pub limit_bytes: Option<u64>,
    /// Swap this process could be put into.
    pub swap_bytes: Option<u64>,
}

/// The kernel's network settings and the cards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// `net.core.somaxconn`.
    pub somaxconn: Option<u64>,
    /// `net.ipv4.tcp_max_syn_backlog`.
    pub syn_backlog: Option<u64>,
    /// `net.ipv4.tcp_syncookies`.
    pub syncookies: Option<u64>,
    /// `net.ipv4.ip_local_port_range`, both ends included.
    pub port_range: Option<(u64, u64)>,
    /// `net.ipv4.ip_local_reserved_ports`.
    pub reserved_ports: Option<Vec<usize>>,
    /// Receive buffer of a socket, in bytes, least, first and most: `net.ipv4.tcp_rmem`.
    pub rmem_bytes: Option<[u64; 3]>,
    /// Send buffer of a socket, likewise: `net.ipv4.tcp_wmem`.
    pub wmem_bytes: Option<[u64; 3]>,
    /// Memory of all TCP buffers, in pages: the last of `net.ipv4.tcp_mem`.
    pub tcp_mem_max_pages: Option<u64>,
    /// `net.ipv4.tcp_congestion_control`.
    pub congestion: Option<String>,
    /// `net.ipv4.tcp_slow_start_after_idle`.
    pub slow_start_after_idle: Option<u64>,
    /// `net.ipv4.tcp_migrate_req`.
    pub migrate_req: Option<u64>,
    /// `net.core.busy_poll`, in microseconds.
    pub busy_poll_us: Option<u64>,
    /// `net.core.busy_read`, in microseconds.
    pub busy_read_us: Option<u64>,
    /// `net.netfilter.nf_conntrack_max`; absent where nothing tracks connections.
    pub conntrack_max: Option<u64>,
    /// Connections that are tracked now.
    pub conntrack_count: Option<u64>,
    /// `net.ipv4.tcp_max_tw_buckets`.
    pub time_wait_max: Option<u64>,
    /// `net.core.rps_sock_flow_entries`.
    pub flow_entries: Option<u64>,
    /// Network cards with a device behind them.
    pub nics: Vec<Nic>,
}

/// A network card.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nic {
    /// The interface's name.
    pub name: String,
    /// Receive queues.
    pub rx_queues: usize,
    /// Receive queues whose packets are steered to other CPUs (RPS).
    pub rps_queues: usize,
    /// Receive queues with a flow table of their own (RFS).
    pub rfs_queues: usize,
    /// Interrupts of its receive queues.
    pub irqs: Vec<Irq>,
    /// The memory node it is attached to.
    pub node: Option<usize>,
}

/// An interrupt and where it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Irq {
    /// Its number.
    pub number: u32,
    /// CPUs that take it.
    pub cpus: Vec<usize>,
}

/// Processors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpus {
    /// CPUs of the machine.
    pub online: Option<Vec<usize>>,
    /// CPUs this process may run on.
    pub allowed: Option<Vec<usize>>,
    /// CPUs kept out of the scheduler's balancing at boot.
    pub isolated: Option<Vec<usize>>,
    /// Quota of the control group, in thousandths of a CPU; absent where there is none.
    pub quota_milli: Option<u64>,
    /// CPUs of each memory node.
    pub nodes: Vec<Vec<usize>>,
    /// CPUs of each physical core.
    pub cores: Vec<Vec<usize>>,
    /// Who chooses the frequency of each CPU, where somebody does.
    pub frequencies: Vec<Frequency>,
    /// The deepest sleep of each CPU, where the kernel chooses among some.
    pub sleeps: Vec<Sleep>,
}

impl Cpus {
    /// The memory node of a CPU.
    #[must_use]
    pub fn node_of(&self, cpu: usize) -> Option<usize> {
        self.nodes.iter().position(|node| node.contains(&cpu))
    }
}

/// The deepest sleep that a CPU may fall into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sleep {
    /// The CPU.
    pub cpu: usize,
    /// How long it takes to wake up.
    pub latency_us: u64,
}

/// Who chooses the frequency of a CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frequency {
    /// The CPU.
    pub cpu: usize,
    /// The governor.
    pub governor: String,
    /// The driver below it.
    pub driver: String,
}
