//! Made-up machines: a healthy one, and for every check one where it fires and one where it is
//! quiet.

use core::net::{Ipv4Addr, SocketAddr};

use super::{Cpus, Facts, Frequency, Irq, Memory, Network, Nic, Ring, Sleep, System, Wanted};
use crate::config::Driver;

/// A machine with 8 CPUs, 32 GiB and nothing to find.
pub(super) fn healthy() -> Facts {
    let irq = |number| Irq { number, cpus: vec![0] };
    let nic = |name: &str, irqs| Nic {
        name: name.into(),
        rx_queues: 2,
        irqs,
        node: Some(0),
        ..Nic::default()
    };
    Facts {
        wanted: Wanted {
            workers: 4,
            worker_cpus: vec![4, 5, 6, 7],
            conns_max: 50_000,
            descriptors_own: 200,
            backlog: 4_096,
            worst_bytes: 8 << 30,
            listen: vec![at([0, 0, 0, 0], 3001)],
            admin_listen: Some(at([127, 0, 0, 1], 3002)),
            ..Wanted::default()
        },
        system: System {
            release: Some((6, 1)),
            ring: Some(Ring::Best),
            io_uring_disabled: Some(0),
            nofile_hard: Some(262_144),
            nr_open: Some(1 << 20),
            file_max: Some(1 << 20),
            memlock_bytes: Some(65_536),
            clocksource: Some("tsc".into()),
            overcommit: Some(0),
            huge_pages: Some("always".into()),
            huge_pages_refusable: Some(true),
        },
        memory: Memory { total_bytes: Some(32 << 30), limit_bytes: None, swap_bytes: Some(0) },
        network: Network {
            somaxconn: Some(4_096),
            syn_backlog: Some(4_096),
            syncookies: Some(1),
            port_range: Some((32_768, 60_999)),
            reserved_ports: Some(Vec::new()),
            rmem_bytes: Some([4_096, 131_072, 6_291_456]),
            wmem_bytes: Some([4_096, 16_384, 4_194_304]),
            tcp_mem_max_pages: Some(600_000),
            congestion: Some("cubic".into()),
            slow_start_after_idle: Some(0),
            migrate_req: Some(1),
            busy_poll_us: Some(0),
            busy_read_us: Some(0),
            conntrack_max: Some(262_144),
            conntrack_count: Some(3),
            time_wait_max: Some(262_144),
            flow_entries: Some(0),
            nics: vec![nic("eth0", vec![irq(40), Irq { number: 41, cpus: vec![1] }])],
        },
        cpus: Cpus {
            online: Some((0..8).collect()),
            allowed: Some((0..8).collect()),
            isolated: Some(Vec::new()),
            quota_milli: None,
            nodes: vec![(0..8).collect()],
            cores: (0..4).map(|core| vec![core, core + 4]).collect(),
            frequencies: vec![frequency(4, "performance", "acpi-cpufreq")],
            sleeps: vec![Sleep { cpu: 4, latency_us: 10 }],
        },
        args: Vec::new(),
        unread: Vec::new(),
    }
}

fn at(ip: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(ip), port))
}

/// Four cores whose two threads have numbers side by side.
fn side_by_side() -> Vec<Vec<usize>> {
    (0..4).map(|core| vec![2 * core, 2 * core + 1]).collect()
}

fn frequency(cpu: usize, governor: &str, driver: &str) -> Frequency {
    Frequency { cpu, governor: governor.into(), driver: driver.into() }
}

pub(super) fn refused() -> Ring {
    Ring::Refused { why: "Operation not permitted (os error 1)".into() }
}

fn lower() -> Ring {
    Ring::Lower { name: "io_uring (plain)".into(), why: "Invalid argument (os error 22)".into() }
}

pub(super) type Change = fn(&mut Facts);

/// The check, what makes it fire, words of its line, and what comes close and does not.
pub(super) type Case = (&'static str, Change, &'static [&'static str], Change);

pub(super) const CASES: &[Case] = &[
    (
        "nr_open",
        |f| f.system.nr_open = Some(200_000),
        &["sysctl -w fs.nr_open=200704"],
        |f| f.system.nr_open = Some(200_200),
    ),
    (
        "nofile",
        |f| f.system.nofile_hard = Some(200_199),
        &["200199 descriptors for 200000", "-> ulimit -n 200704  # ", "LimitNOFILE=200704"],
        |f| f.system.nofile_hard = Some(200_200),
    ),
    (
        "file_max",
        |f| f.system.file_max = Some(100_000),
        &["100000 files of 200200", "sysctl -w fs.file-max=401408"],
        |f| f.system.file_max = Some(200_200),
    ),
    (
        "ring_demanded",
        |f| (f.wanted.driver, f.system.ring) = (Driver::Uring, Some(refused())),
        &["io_uring is refused", "-> corewire doctor --driver auto  # ", "seccomp"],
        |f| f.wanted.driver = Driver::Uring,
    ),
    (
        "ring",
        |f| (f.system.io_uring_disabled, f.system.ring) = (Some(2), Some(refused())),
        &["kernel.io_uring_disabled = 2", "sysctl -w kernel.io_uring_disabled=0"],
        |f| (f.wanted.driver, f.system.ring) = (Driver::Epoll, Some(refused())),
    ),
    (
        "ring_rung",
        |f| (f.system.release, f.system.ring) = (Some((5, 15)), Some(lower())),
        &["Linux 5.15", "io_uring (plain)", "-> corewire doctor --driver epoll  # ", "6.0"],
        |f| (f.wanted.driver, f.system.ring) = (Driver::Epoll, Some(lower())),
    ),
    (
        "memlock",
        |f| f.system.release = Some((5, 11)),
        &["64 KiB", "-> ulimit -l 4096  # ", "LimitMEMLOCK=4194304"],
        |f| f.system.release = Some((5, 12)),
    ),
    (
        "clocksource",
        |f| f.system.clocksource = Some("hpet".into()),
        &["hpet", "echo tsc >"],
        |f| f.system.clocksource = Some("kvm-clock".into()),
    ),
    (
        "workers",
        |f| (f.wanted.workers, f.wanted.conns_max) = (9, 20_000),
        &["9 workers on 8 CPU(s)", "-> corewire doctor --workers 7"],
        |f| f.wanted.workers = 5,
    ),
    (
        "unpinned",
        |f| {
            f.wanted.unpinned = Some("a CPU quota without a CPU set of its own");
            f.wanted.worker_cpus.clear();
        },
        &["a CPU quota", "-> corewire doctor --pin=false  # then in ", "; or a CPU set"],
        |f| f.wanted.worker_cpus.clear(),
    ),
    (
        "worker_cores",
        |f| f.wanted.worker_cpus = vec![4, 5, 6, 8],
        &["CPU 8", "-> corewire doctor --workers 4 --worker-cores 4-7"],
        // Isolated CPUs are in no process's set.
        |f| (f.cpus.allowed, f.cpus.isolated) = (Some((0..6).collect()), Some(vec![6, 7])),
    ),
    (
        "siblings",
        |f| {
            f.cpus.cores = side_by_side();
            (f.wanted.workers, f.wanted.worker_cpus) = (3, vec![4, 5, 6]);
        },
        &["workers on CPU 4-5", "-> corewire doctor --workers 3 --worker-cores 2,4,6  # "],
        // The layout of the page: cores 0 and 1 are the card's and the admin core's.
        |f| {
            f.cpus.cores = side_by_side();
            (f.wanted.workers, f.wanted.worker_cpus) = (6, (2..8).collect());
            f.wanted.conns_max = 30_000;
        },
    ),
    (
        "isolated",
        |f| f.cpus.isolated = Some(vec![3, 4, 5]),
        &["CPU 3 isolated", "-> corewire doctor --workers 3 --worker-cores 3-5"],
        |f| f.cpus.isolated = Some(vec![4, 5]),
    ),
    (
        "quota",
        |f| f.cpus.quota_milli = Some(3_999),
        &["3.999 CPUs for 4", "-> corewire doctor --workers 3  # "],
        |f| f.cpus.quota_milli = Some(4_000),
    ),
    (
        "numa_workers",
        |f| f.cpus.nodes = vec![vec![0, 1, 2, 3, 4, 5], vec![6, 7]],
        &["nodes 0-1", "-> corewire doctor --workers 4 --worker-cores 2-5"],
        |f| f.cpus.nodes = vec![(0..8).collect(), vec![8]],
    ),
    (
        "numa_nic",
        |f| f.cpus.nodes = vec![vec![0, 1, 2, 3], vec![4, 5, 6, 7]],
        &["eth0 is on memory node 0, workers on 1", "doctor --workers 4 --worker-cores 0-3  # "],
        |f| f.network.nics[0].node = None,
    ),
    (
        "governor",
        |f| f.cpus.frequencies.push(frequency(5, "schedutil", "acpi-cpufreq")),
        &["CPU 5", "schedutil", "cpupower frequency-set -g performance"],
        |f| {
            f.cpus.frequencies.push(frequency(5, "powersave", "intel_pstate"));
            f.cpus.frequencies.push(frequency(0, "powersave", "acpi-cpufreq"));
        },
    ),
    (
        "sleeps",
        |f| f.cpus.sleeps.push(Sleep { cpu: 5, latency_us: 133 }),
        &["CPU 5 may take 133 µs", "-> cpupower idle-set -D 11"],
        |f| f.cpus.sleeps.push(Sleep { cpu: 0, latency_us: 133 }),
    ),
    (
        "irq_piled",
        |f| f.network.nics[0].irqs[1].cpus = vec![0],
        &[
            "2 queues of eth0 interrupt CPU 0",
            "-> for pair in 40:0 41:1; do echo ${pair#*:} > /proc/irq/${pair%:*}/smp_affinity_list",
            "; done  # first, or they are moved back: systemctl disable --now irqbalance",
        ],
        |f| {
            f.network.nics[0].irqs[1].cpus = vec![0];
            f.cpus.online = Some(vec![0, 4, 5]);
            (f.wanted.workers, f.wanted.worker_cpus) = (2, vec![4, 5]);
        },
    ),
    (
        "irq_workers",
        |f| f.network.nics[0].irqs[1].cpus = vec![5],
        &["eth0 interrupts CPU 5", "-> for pair in 40:0 41:1; do echo ${pair#*:} > /proc/irq/"],
        |f| {
            f.network.nics[0].irqs[1].cpus = vec![5];
            (f.wanted.workers, f.wanted.worker_cpus) = (7, (1..8).collect());
            f.wanted.conns_max = 20_000;
        },
    ),
    (
        "rps",
        |f| f.network.nics[0].rx_queues = 1,
        &["1 queue", "echo ff > /sys/class/net/eth0/queues/rx-0/rps_cpus"],
        |f| (f.network.nics[0].rx_queues, f.network.nics[0].rps_queues) = (1, 1),
    ),
    (
        "rfs",
        |f| f.network.flow_entries = Some(32_768),
        &[
            "32768 entries",
            "in /sys/class/net/eth0/queues/rx-*; do echo 16384 > $queue/rps_flow_cnt",
        ],
        |f| (f.network.flow_entries, f.network.nics[0].rfs_queues) = (Some(32_768), 2),
    ),
    (
        "memory_idle",
        |f| f.memory.limit_bytes = Some(1 << 30),
        &[
            "1024 MiB",
            "200000 idle connections take 1562",
            "-> corewire doctor --conns-max 32768  # ",
        ],
        |f| (f.memory.limit_bytes, f.wanted.worst_bytes) = (Some(2 << 30), 2 << 30),
    ),
    (
        "memory_worst",
        |f| f.memory.total_bytes = Some(4 << 30),
        &["4096 MiB", "worst case is 8192", "--memory-soft 2863311528 --memory-hard 3221225472  #"],
        |f| (f.memory.total_bytes, f.wanted.memory_hard_bytes) = (Some(4 << 30), 3 << 30),
    ),
    (
        "swap",
        |f| f.memory.swap_bytes = Some(1 << 30),
        &["1024 MiB of swap", "-> systemctl set-property corewire.service MemorySwapMax=0  # or, "],
        |f| f.memory.swap_bytes = None,
    ),
    (
        "huge_pages",
        |f| f.system.huge_pages_refusable = Some(false),
        &["always", "echo madvise >"],
        |f| {
            f.system.huge_pages_refusable = Some(false);
            f.system.huge_pages = Some("madvise".into());
        },
    ),
    (
        "overcommit",
        |f| f.system.overcommit = Some(2),
        &["vm.overcommit_memory = 2", "sysctl -w vm.overcommit_memory=0"],
        |f| f.system.overcommit = Some(1),
    ),
    (
        "tcp_mem",
        |f| f.network.tcp_mem_max_pages = Some(399_999),
        &["399999 pages", "sysctl -w net.ipv4.tcp_mem='200000 266666 400000'"],
        |f| f.network.tcp_mem_max_pages = Some(400_000),
    ),
    (
        "somaxconn",
        |f| f.network.somaxconn = Some(128),
        &["net.core.somaxconn = 128", "sysctl -w net.core.somaxconn=4096"],
        |f| f.network.somaxconn = Some(65_535),
    ),
    (
        "syn_backlog",
        |f| f.network.syn_backlog = Some(2_048),
        &["2048 of 4096", "sysctl -w net.ipv4.tcp_max_syn_backlog=4096"],
        |f| f.network.syn_backlog = Some(8_192),
    ),
    (
        "syncookies",
        |f| f.network.syncookies = Some(0),
        &["sysctl -w net.ipv4.tcp_syncookies=1"],
        |f| f.network.syncookies = Some(2),
    ),
    (
        "conntrack",
        |f| f.network.conntrack_max = Some(65_536),
        &["65536 connections can be tracked (3 are)", "nf_conntrack_max=400000"],
        |f| (f.network.conntrack_max, f.network.conntrack_count) = (None, None),
    ),
    (
        "conntrack_idle",
        |f| (f.network.conntrack_max, f.network.conntrack_count) = (Some(65_536), Some(0)),
        &["(0 are)", "sysctl -w net.netfilter.nf_conntrack_max=400000"],
        |f| (f.network.conntrack_max, f.network.conntrack_count) = (Some(200_000), None),
    ),
    (
        "ports",
        |f| f.wanted.listen = vec![at([127, 0, 0, 1], 3001)],
        // 64,512 but for two that are kept, dealt out to 4 workers.
        &["28232 ports for 200000", "--conns-max 16127  # ", "or more --listen addresses"],
        |f| (f.wanted.listen, f.wanted.conns_max) = (vec![at([127, 0, 0, 1], 3001)], 7_058),
    ),
    (
        "port_reserved",
        |f| {
            f.wanted.listen.push(at([0, 0, 0, 0], 40_000));
            f.network.reserved_ports = Some(vec![39_999, 50_000]);
        },
        &["port 40000", "32768-60999", "net.ipv4.ip_local_reserved_ports=39999-40000,50000"],
        |f| {
            f.wanted.listen.push(at([0, 0, 0, 0], 40_000));
            f.network.reserved_ports = Some(vec![40_000]);
        },
    ),
    (
        "time_wait",
        |f| f.network.time_wait_max = Some(131_072),
        &["131072", "sysctl -w net.ipv4.tcp_max_tw_buckets=200000"],
        |f| f.network.time_wait_max = Some(200_000),
    ),
    (
        "migrate_req",
        |f| f.network.migrate_req = Some(0),
        &["sysctl -w net.ipv4.tcp_migrate_req=1"],
        |f| f.network.migrate_req = None,
    ),
    (
        "tcp_wmem",
        |f| f.network.wmem_bytes = Some([4_096, 8_192, 131_072]),
        &["131072 bytes: 10485 kbit/s", "net.ipv4.tcp_wmem='4096 8192 4194304'"],
        |f| f.network.wmem_bytes = Some([4_096, 16_384, 250_000]),
    ),
    (
        "tcp_rmem",
        |f| f.network.rmem_bytes = Some([8_192, 131_072, 131_072]),
        &["131072 bytes: 10485 kbit/s", "net.ipv4.tcp_rmem='8192 131072 6291456'"],
        |f| f.network.rmem_bytes = Some([4_096, 131_072, 250_000]),
    ),
    (
        "tcp_first",
        |f| f.network.wmem_bytes = Some([4_096, 1 << 20, 4 << 20]),
        &["tcp_wmem begins at 1048576", "sysctl -w net.ipv4.tcp_wmem='4096 16384 4194304'"],
        |f| f.network.rmem_bytes = Some([4_096, 131_072, 33_554_432]),
    ),
    (
        "congestion",
        |f| f.network.congestion = Some("reno".into()),
        &["reno", "sysctl -w net.ipv4.tcp_congestion_control=cubic"],
        |f| f.network.congestion = Some("bbr".into()),
    ),
    (
        "slow_start",
        |f| f.network.slow_start_after_idle = Some(1),
        &["sysctl -w net.ipv4.tcp_slow_start_after_idle=0"],
        |f| f.network.slow_start_after_idle = None,
    ),
    (
        "busy_poll",
        |f| f.network.busy_read_us = Some(50),
        &["0 µs (poll) and 50 µs (read)", "net.core.busy_read=0"],
        |f| f.network.busy_read_us = None,
    ),
    (
        "open_settings",
        |f| f.wanted.open_settings = vec!["auth_mode", "listen"],
        &["2 options are open to strangers: auth_mode, listen", "-> corewire check-config  # "],
        |f| f.wanted.open_settings.clear(),
    ),
    (
        "unread",
        |f| f.unread = vec!["/proc/sys/fs/nr_open".into(), "/proc/meminfo".into()],
        &["2 fact(s)", "/proc/sys/fs/nr_open first", "-> corewire doctor  # on the host"],
        |f| f.unread.clear(),
    ),
];
