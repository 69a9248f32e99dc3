//! The kernel's network settings, and addresses.

use core::ops::RangeInclusive;

use super::parse::show_list;
use super::table::Severity::{Breaks, Costs, Hint};
use super::{Check, Facts, Finding};

/// A buffer that fills 20 Mbit/s over a round trip of 100 ms.
const LONG_PATH_BYTES: u64 = 250_000;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "somaxconn",
        severity: Costs,
        looks_at: "`net.core.somaxconn`",
        fires: "smaller than the backlog each listener asks for: a crowd that comes back is refused",
        anchor: "listening",
        find: |facts| {
            let (most, backlog) = (facts.network.somaxconn?, facts.wanted.backlog);
            (most < backlog).then(|| {
                let is = format!("net.core.somaxconn = {most}, listeners ask for {backlog}");
                Finding::sysctl(is, "net.core.somaxconn", backlog)
            })
        },
    },
    Check {
        id: "syn_backlog",
        severity: Hint,
        looks_at: "`net.ipv4.tcp_max_syn_backlog`",
        fires: "smaller than the backlog each listener asks for",
        anchor: "listening",
        find: |facts| {
            let (most, backlog) = (facts.network.syn_backlog?, facts.wanted.backlog);
            (most < backlog).then(|| {
                let is = format!("net.ipv4.tcp_max_syn_backlog = {most} of {backlog}");
                Finding::sysctl(is, "net.ipv4.tcp_max_syn_backlog", backlog)
            })
        },
    },
    Check {
        id: "syncookies",
        severity: Costs,
        looks_at: "`net.ipv4.tcp_syncookies`",
        fires: "0: when the queue of handshakes is full, clients are dropped",
        anchor: "listening",
        find: |facts| {
            (facts.network.syncookies? == 0)
                .then(|| Finding::sysctl("SYN cookies are off", "net.ipv4.tcp_syncookies", 1))
        },
    },
    Check {
        id: "conntrack",
        severity: Breaks,
        looks_at: "`net.netfilter.nf_conntrack_max`",
        fires: "the firewall tracks connections, and fewer than `conns_max` × workers",
        anchor: "the-firewall",
        find: |facts| {
            let tracked = facts.network.conntrack_count.filter(|count| *count > 0)?;
            conntrack(facts, tracked)
        },
    },
    Check {
        id: "conntrack_idle",
        severity: Hint,
        looks_at: "`net.netfilter.nf_conntrack_max`",
        fires: "as above, but nothing is tracked at present",
        anchor: "the-firewall",
        find: |facts| {
            let untracked = facts.network.conntrack_count.unwrap_or(0) == 0;
            untracked.then(|| conntrack(facts, 0)).flatten()
        },
    },
    Check {
        id: "ports",
        severity: Breaks,
        looks_at: "`net.ipv4.ip_local_port_range`",
        fires: "the server listens on loopback addresses only, and a proxy there has fewer ports \
                than `conns_max` × workers",
        anchor: "ports",
        find: |facts| {
            let listen = &facts.wanted.listen;
            let local = !listen.is_empty()
                && listen.iter().all(|address| address.ip().to_canonical().is_loopback());
            local.then(|| too_few_ports(facts)).flatten()
        },
    },
    Check {
        id: "port_reserved",
        severity: Costs,
        looks_at: "`net.ipv4.ip_local_reserved_ports`",
        fires: "a listener's port lies in the range the kernel takes outgoing ports from: a restart \
                may find it taken",
        anchor: "ports",
        find: |facts| {
            let (low, high) = facts.network.port_range?;
            let reserved = facts.network.reserved_ports.as_ref()?;
            let ports = own_ports(facts, low..=high);
            let port = ports.iter().find(|port| !reserved.contains(port))?;
            let is = format!("port {port} lies in the outgoing range {low}-{high}");
            let all = show_list(&with_reserved(reserved, ports));
            Some(Finding::sysctl(is, "net.ipv4.ip_local_reserved_ports", all))
        },
    },
    Check {
        id: "time_wait",
        severity: Hint,
        looks_at: "`net.ipv4.tcp_max_tw_buckets`",
        fires: "fewer than `conns_max` × workers: a drain closes them all, and the rest skips \
                TIME_WAIT",
        anchor: "ports",
        find: |facts| {
            let (most, conns) = (facts.network.time_wait_max?, facts.conns());
            (most < conns).then(|| {
                let is = format!("{most} connections may be in TIME_WAIT, {conns} may end at once");
                Finding::sysctl(is, "net.ipv4.tcp_max_tw_buckets", conns)
            })
        },
    },
    Check {
        id: "migrate_req",
        severity: Hint,
        looks_at: "`net.ipv4.tcp_migrate_req`",
        fires: "0: in a rolling restart only the server's own filter keeps waiting connections",
        anchor: "listening",
        find: |facts| {
            (facts.network.migrate_req? == 0).then(|| {
                Finding::sysctl("net.ipv4.tcp_migrate_req = 0", "net.ipv4.tcp_migrate_req", 1)
            })
        },
    },
    Check {
        id: "tcp_wmem",
        severity: Hint,
        looks_at: "`net.ipv4.tcp_wmem`",
        fires: "the third figure cannot fill 20 Mbit/s over 100 ms",
        anchor: "tcp-buffers",
        find: |facts| {
            let [least, first, most] = facts.network.wmem_bytes?;
            let value = format_args!("'{least} {first} 4194304'");
            (most < LONG_PATH_BYTES)
                .then(|| Finding::sysctl(buffer("send", most), "net.ipv4.tcp_wmem", value))
        },
    },
    Check {
        id: "tcp_rmem",
        severity: Hint,
        looks_at: "`net.ipv4.tcp_rmem`",
        fires: "the third figure cannot fill 20 Mbit/s over 100 ms",
        anchor: "tcp-buffers",
        find: |facts| {
            let [least, first, most] = facts.network.rmem_bytes?;
            let value = format_args!("'{least} {first} 6291456'");
            (most < LONG_PATH_BYTES)
                .then(|| Finding::sysctl(buffer("receive", most), "net.ipv4.tcp_rmem", value))
        },
    },
    Check {
        id: "tcp_first",
        severity: Hint,
        looks_at: "`net.ipv4.tcp_rmem`, `net.ipv4.tcp_wmem`",
        fires: "a second figure is above the kernel's own, 131,072 and 16,384: every connection \
                may have more",
        anchor: "tcp-buffers",
        find: |facts| {
            let raised = |key: &'static str, bytes: Option<[u64; 3]>, own: u64| {
                let [least, first, most] = bytes.filter(|[_, first, _]| *first > own)?;
                let is =
                    format!("net.ipv4.{key} begins at {first} bytes, the kernel's own is {own}");
                let value = format_args!("'{least} {own} {}'", most.max(own));
                Some(Finding::sysctl(is, &format!("net.ipv4.{key}"), value))
            };
            raised("tcp_rmem", facts.network.rmem_bytes, 131_072)
                .or_else(|| raised("tcp_wmem", facts.network.wmem_bytes, 16_384))
        },
    },
    Check {
        id: "congestion",
        severity: Hint,
        looks_at: "`net.ipv4.tcp_congestion_control`",
        fires: "neither `cubic` nor `bbr`",
        anchor: "congestion-control",
        find: |facts| {
            let name = facts.network.congestion.as_deref()?;
            (!["cubic", "bbr"].contains(&name)).then(|| {
                let is = format!("congestion control is {name}");
                Finding::sysctl(is, "net.ipv4.tcp_congestion_control", "cubic")
            })
        },
    },
    Check {
        id: "slow_start",
        severity: Hint,
        looks_at: "`net.ipv4.tcp_slow_start_after_idle`",
        fires: "1: a long message after silence starts at ten segments again",
        anchor: "congestion-control",
        find: |facts| {
            let key = "net.ipv4.tcp_slow_start_after_idle";
            (facts.network.slow_start_after_idle? == 1)
                .then(|| Finding::sysctl(format!("{key} = 1"), key, 0))
        },
    },
    Check {
        id: "busy_poll",
        severity: Hint,
        looks_at: "`net.core.busy_poll`, `net.core.busy_read`",
        fires: "not 0: whoever waits for a socket spins first, on a worker's CPU too",
        anchor: "busy-polling",
        find: |facts| {
            let poll = facts.network.busy_poll_us.unwrap_or(0);
            let read = facts.network.busy_read_us.unwrap_or(0);
            (poll + read > 0).then(|| {
                let is = format!("busy polling for {poll} µs (poll) and {read} µs (read)");
                Finding::new(is, "sysctl -w net.core.busy_poll=0 net.core.busy_read=0")
            })
        },
    },
    Check {
        id: "open_settings",
        severity: Hint,
        looks_at: "options that keep strangers out",
        fires: "one of them is left open where other machines can connect",
        anchor: "addresses",
        find: |facts| {
            let open = &facts.wanted.open_settings;
            (!open.is_empty()).then(|| {
                let is =
                    format!("{} options are open to strangers: {}", open.len(), open.join(", "));
                Finding::command(facts, is, "check-config", "")
                    .note("each warning says what to set")
            })
        },
    },
    Check {
        id: "unread",
        severity: Hint,
        looks_at: "`/proc`, `/sys`",
        fires: "something that every Linux has cannot be read, so it was not checked",
        anchor: "asking-the-doctor",
        find: |facts| {
            let first = facts.unread.first()?;
            let is = format!("{} fact(s) cannot be read here, {first} first", facts.unread.len());
            let note = "on the host, outside the container";
            Some(Finding::command(facts, is, "doctor", "").note(note))
        },
    },
];

/// The widest range of outgoing ports: those below are for servers that root starts.
const WIDEST: [u64; 2] = [1_024, 65_535];

/// From one address to one address and port there are as many connections as outgoing ports.
fn too_few_ports(facts: &Facts) -> Option<Finding> {
    let (low, high) = facts.network.port_range?;
    let reserved = facts.network.reserved_ports.as_ref()?;
    let addresses = facts.wanted.listen.len() as u64;
    let free = |range: RangeInclusive<u64>, reserved: &[usize]| {
        let held = reserved.iter().filter(|port| range.contains(&(**port as u64))).count() as u64;
        (range.end() + 1).saturating_sub(*range.start()).saturating_sub(held) * addresses
    };
    let (ports, conns) = (free(low..=high, reserved), facts.conns());
    let [first, last] = WIDEST;
    // A wider range has our own ports in it, which no connection may take before a restart.
    let kept = with_reserved(reserved, own_ports(facts, first..=last));
    let most = free(first..=last, &kept);
    (ports < conns).then(|| {
        let is = format!("{ports} ports for {conns} connections from a local proxy");
        if most < conns {
            let share = (most / facts.wanted.workers.max(1) as u64).max(1);
            return Finding::corewire(facts, is, format_args!("--conns-max {share}"))
                .note("or more --listen addresses");
        }
        let keep = format!("net.ipv4.ip_local_reserved_ports={}", show_list(&kept));
        Finding::new(is, format!("sysctl -w {keep} net.ipv4.ip_local_port_range='{first} {last}'"))
    })
}

/// Ports of the server's own listeners that lie in `range`.
fn own_ports(facts: &Facts, range: RangeInclusive<u64>) -> Vec<usize> {
    let addresses = facts.wanted.listen.iter().chain(&facts.wanted.admin_listen);
    let ports = addresses.map(std::net::SocketAddr::port);
    ports.filter(|port| range.contains(&u64::from(*port))).map(usize::from).collect()
}

/// Those that somebody else reserved stay reserved.
fn with_reserved(reserved: &[usize], own: Vec<usize>) -> Vec<usize> {
    let mut all = own;
    all.extend(reserved);
    all.sort_unstable();
    all.dedup();
    all
}

fn conntrack(facts: &Facts, tracked: u64) -> Option<Finding> {
    let (most, conns) = (facts.network.conntrack_max?, facts.conns());
    (most < conns).then(|| {
        let is = format!("{most} connections can be tracked ({tracked} are) of {conns}");
        Finding::sysctl(is, "net.netfilter.nf_conntrack_max", conns.saturating_mul(2))
    })
}

fn buffer(which: &str, most: u64) -> String {
    // Bytes in a tenth of a second, as kilobits in a second.
    format!("a {which} buffer of {most} bytes: {} kbit/s over 100 ms", most * 8 / 100)
}
