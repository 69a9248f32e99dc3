//! Every check over made-up machines: one where it fires, one where it is quiet.

use core::net::{Ipv4Addr, SocketAddr};

use super::{
    Cpus, Facts, Frequency, Irq, Memory, Network, Nic, Report, Ring, Severity, System, Wanted,
    checks,
};
use crate::config::Driver;

/// A machine with 8 CPUs, 32 GiB and nothing to find.
fn healthy() -> Facts {
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
            rmem_max_bytes: Some(6_291_456),
            wmem_max_bytes: Some(4_194_304),
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
            frequencies: vec![frequency(4, "performance", "acpi-cpufreq")],
        },
        unread: Vec::new(),
    }
}

fn at(ip: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(ip), port))
}

fn frequency(cpu: usize, governor: &str, driver: &str) -> Frequency {
    Frequency { cpu, governor: governor.into(), driver: driver.into() }
}

fn refused() -> Ring {
    Ring::Refused { why: "Operation not permitted (os error 1)".into() }
}

fn lower() -> Ring {
    Ring::Lower { name: "io_uring (plain)".into(), why: "Invalid argument (os error 22)".into() }
}

type Change = fn(&mut Facts);

/// The check, what makes it fire, words of its line, and what comes close and does not.
type Case = (&'static str, Change, &'static [&'static str], Change);

const CASES: &[Case] = &[
    (
        "nofile",
        |f| f.system.nofile_hard = Some(200_199),
        &["200199 descriptors for 200000", "LimitNOFILE=200704", "ulimit -n 200704"],
        |f| f.system.nofile_hard = Some(200_200),
    ),
    (
        "nr_open",
        |f| f.system.nr_open = Some(200_000),
        &["sysctl -w fs.nr_open=200704"],
        |f| f.system.nr_open = Some(200_200),
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
        &["seccomp", "io_uring is refused"],
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
        &["Linux 5.15", "io_uring (plain)", "6.0"],
        |f| (f.wanted.driver, f.system.ring) = (Driver::Epoll, Some(lower())),
    ),
    (
        "memlock",
        |f| f.system.release = Some((5, 11)),
        &["64 KiB", "LimitMEMLOCK=4194304"],
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
        &["9 workers on 8 CPU(s)", "--workers 7"],
        |f| f.wanted.workers = 5,
    ),
    (
        "unpinned",
        |f| f.wanted.unpinned = Some("a CPU quota without a CPU set of its own"),
        &["a CPU quota", "--worker-cores"],
        |f| f.wanted.worker_cpus.clear(),
    ),
    (
        "worker_cores",
        |f| f.wanted.worker_cpus = vec![4, 5, 6, 8],
        &["CPU 8", "--worker-cores out of 0-7"],
        |f| f.wanted.worker_cpus = vec![3, 5, 6, 7],
    ),
    (
        "isolated",
        |f| f.cpus.isolated = Some(vec![3, 4, 5]),
        &["CPU 3 isolated", "--worker-cores 3-5"],
        |f| f.cpus.isolated = Some(vec![4, 5]),
    ),
    (
        "quota",
        |f| f.cpus.quota_milli = Some(3_999),
        &["3.999 CPUs for 4", "--workers 3"],
        |f| f.cpus.quota_milli = Some(4_000),
    ),
    (
        "numa_workers",
        |f| f.cpus.nodes = vec![vec![0, 1, 2, 3, 4, 5], vec![6, 7]],
        &["nodes 0-1", "--worker-cores out of 0-5"],
        |f| f.cpus.nodes = vec![(0..8).collect(), vec![8]],
    ),
    (
        "numa_nic",
        |f| f.cpus.nodes = vec![vec![0, 1, 2, 3], vec![4, 5, 6, 7]],
        &["eth0 is on memory node 0, workers on 1", "--worker-cores out of 0-3"],
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
        "irq_piled",
        |f| f.network.nics[0].irqs[1].cpus = vec![0],
        &["2 queues of eth0 interrupt CPU 0", "echo 1 > /proc/irq/41/smp_affinity_list"],
        |f| {
            f.network.nics[0].irqs[1].cpus = vec![0];
            f.cpus.online = Some(vec![0, 4, 5]);
            f.wanted.worker_cpus = vec![4, 5];
        },
    ),
    (
        "irq_workers",
        |f| f.network.nics[0].irqs[1].cpus = vec![5],
        &["eth0 interrupts CPU 5", "ethtool -L eth0 combined 4, interrupts to CPU 0-3"],
        |f| {
            f.network.nics[0].irqs[1].cpus = vec![5];
            f.wanted.worker_cpus = (1..8).collect();
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
        &["32768 entries", "echo 16384 > /sys/class/net/eth0/queues/rx-0/rps_flow_cnt"],
        |f| (f.network.flow_entries, f.network.nics[0].rfs_queues) = (Some(32_768), 2),
    ),
    (
        "memory_idle",
        |f| f.memory.limit_bytes = Some(1 << 30),
        &["1024 MiB", "200000 idle connections take 1562", "--conns-max 32768"],
        |f| (f.memory.limit_bytes, f.wanted.worst_bytes) = (Some(2 << 30), 2 << 30),
    ),
    (
        "memory_worst",
        |f| f.memory.total_bytes = Some(4 << 30),
        &["4096 MiB", "worst case is 8192", "--conns-max"],
        |f| f.memory.total_bytes = Some(8 << 30),
    ),
    (
        "swap",
        |f| f.memory.swap_bytes = Some(1 << 30),
        &["1024 MiB of swap", "MemorySwapMax=0"],
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
        &["28232 ports for 200000", "sysctl -w net.ipv4.ip_local_port_range='1024 65535'"],
        |f| (f.wanted.listen, f.wanted.conns_max) = (vec![at([127, 0, 0, 1], 3001)], 7_058),
    ),
    (
        "port_reserved",
        |f| f.wanted.listen.push(at([0, 0, 0, 0], 40_000)),
        &["port 40000", "32768-60999", "sysctl -w net.ipv4.ip_local_reserved_ports=40000"],
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
        |f| f.network.wmem_max_bytes = Some(131_072),
        &["131072 bytes: 10485 kbit/s", "net.ipv4.tcp_wmem='4096 16384 4194304'"],
        |f| f.network.wmem_max_bytes = Some(250_000),
    ),
    (
        "tcp_rmem",
        |f| f.network.rmem_max_bytes = Some(131_072),
        &["131072 bytes: 10485 kbit/s", "net.ipv4.tcp_rmem='4096 131072 6291456'"],
        |f| f.network.rmem_max_bytes = Some(250_000),
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
        &["2 options are open to strangers: auth_mode, listen", "warning at the start"],
        |f| f.wanted.open_settings.clear(),
    ),
    (
        "unread",
        |f| f.unread = vec!["/proc/sys/fs/nr_open".into(), "/proc/meminfo".into()],
        &["2 fact(s)", "/proc/sys/fs/nr_open first"],
        |f| f.unread.clear(),
    ),
];

#[test]
fn every_check_fires_where_it_should_and_nowhere_else() {
    let mut mistakes = Vec::new();
    for (id, sick, words, close) in CASES {
        let mut facts = healthy();
        sick(&mut facts);
        let report = Report::new(&facts);
        let fired: Vec<&str> = report.findings.iter().map(|entry| entry.id).collect();
        if fired != [*id] {
            mistakes.push(format!("{id}: these fire: {fired:?}"));
        }
        let line = report.text().lines().next().unwrap_or_default().to_owned();
        let missing = words.iter().filter(|word| !line.contains(**word));
        mistakes.extend(missing.map(|word| format!("{id}: {word:?} is missing: {line}")));
        let mut facts = healthy();
        close(&mut facts);
        let report = Report::new(&facts);
        if !report.findings.is_empty() {
            mistakes.push(format!("close to {id}: {}", report.text()));
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

#[test]
fn every_check_has_a_case_and_a_name_of_its_own() {
    let cases: Vec<&str> = CASES.iter().map(|(id, ..)| *id).collect();
    let ids: Vec<&str> = checks().map(|check| check.id).collect();
    assert_eq!(cases, ids);
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
    for check in checks() {
        let finding = |text: &str| !text.is_empty() && !text.contains('\n');
        assert!(finding(check.fires) && finding(check.looks_at), "{}", check.id);
        assert!(!check.fires.ends_with('.') && !check.fires.contains('|'), "{}", check.id);
    }
}

#[test]
fn what_cannot_be_read_is_never_an_alarm() {
    let unknown = Facts { wanted: healthy().wanted, ..Facts::default() };
    assert_eq!(Report::new(&unknown).findings, []);
}

#[test]
fn the_worst_stands_first_and_decides() {
    let mut facts = healthy();
    facts.network.slow_start_after_idle = Some(1);
    facts.network.somaxconn = Some(128);
    let report = Report::new(&facts);
    assert!(!report.breaks());
    facts.system.file_max = Some(9);
    let report = Report::new(&facts);
    assert!(report.breaks());
    let words: Vec<_> = report.findings.iter().map(|entry| entry.severity).collect();
    assert_eq!(words, [Severity::Breaks, Severity::Costs, Severity::Hint]);
    let text = report.text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("breaks  fs.file-max lets"), "{text}");
    assert!(lines[1].starts_with("costs   net.core.somaxconn = 128"), "{text}");
    assert!(lines[2].starts_with("hint    net.ipv4"), "{text}");
    assert!(lines[3].contains("1 would break a deployment, 1 cost, 1 hint(s)"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(json["findings"][0]["severity"], "breaks");
    assert_eq!(json["findings"][1]["page"], "tuning.md#listening");
}

#[test]
fn a_healthy_machine_is_told_so_in_one_line() {
    let text = Report::new(&healthy()).text();
    assert_eq!(text.lines().count(), 1);
    assert!(text.contains("0 would break a deployment, 0 cost, 0 hint(s)\n"), "{text}");
}
