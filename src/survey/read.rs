//! One look at everything.

use rustix::process::{Resource, getrlimit};

use super::{cards, wish};
use crate::config::Loaded;
use crate::doctor::{Cpus, Facts, Frequency, Memory, Network, Ring, Sleep, System, parse};
use crate::server::StartError;
use crate::server::machine::{Files, Groups, meminfo_bytes, number};
use crate::worker::{self, Rung, Wanted};

/// Reads the machine this process stands on, for a server of this configuration.
///
/// # Errors
/// More workers than a server may have.
pub fn facts(loaded: &Loaded) -> Result<Facts, StartError> {
    let files = Files::below("/");
    let mut facts = Facts { wanted: wish::wanted(loaded)?, ..of_files(&files) };
    of_process(&mut facts.system);
    facts.unread = files.unread();
    Ok(facts)
}

/// The last of several numbers.
fn last(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next_back()?.parse().ok()
}

fn three(text: &str) -> Option<[u64; 3]> {
    let numbers = text.split_ascii_whitespace().map_while(|word| word.parse().ok());
    numbers.collect::<Vec<u64>>().try_into().ok()
}

fn pair(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split_ascii_whitespace();
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn word(text: &str) -> String {
    text.trim().to_owned()
}

/// Everything that stands in files.
pub(super) fn of_files(files: &Files) -> Facts {
    Facts {
        system: system(files),
        memory: memory(files),
        network: network(files),
        cpus: cpus(files),
        ..Facts::default()
    }
}

fn system(files: &Files) -> System {
    let sure = |name: &str| files.sure(name);
    System {
        release: sure("/proc/sys/kernel/osrelease").and_then(|text| parse::release(&text)),
        io_uring_disabled: files
            .text("/proc/sys/kernel/io_uring_disabled")
            .and_then(|text| number(&text)),
        nr_open: sure("/proc/sys/fs/nr_open").and_then(|text| number(&text)),
        file_max: sure("/proc/sys/fs/file-max").and_then(|text| number(&text)),
        clocksource: files
            .text("/sys/devices/system/clocksource/clocksource0/current_clocksource")
            .map(|text| word(&text)),
        overcommit: sure("/proc/sys/vm/overcommit_memory").and_then(|text| number(&text)),
        huge_pages: files
            .text("/sys/kernel/mm/transparent_hugepage/enabled")
            .and_then(|text| Some(parse::chosen(&text)?.to_owned())),
        ..System::default()
    }
}

fn memory(files: &Files) -> Memory {
    let meminfo = files.sure("/proc/meminfo").unwrap_or_default();
    let group = Groups::of(files);
    let swap = meminfo_bytes(&meminfo, "SwapTotal:");
    Memory {
        total_bytes: meminfo_bytes(&meminfo, "MemTotal:"),
        limit_bytes: group.memory_bytes(files),
        swap_bytes: swap.map(|swap| swap.min(group.swap_bytes(files).unwrap_or(swap))),
    }
}

fn network(files: &Files) -> Network {
    let own = |name: &str| files.sure(&format!("/proc/sys/net/{name}"));
    let rare = |name: &str| files.text(&format!("/proc/sys/net/{name}"));
    let own_number = |name: &str| own(name).and_then(|text| number(&text));
    let rare_number = |name: &str| rare(name).and_then(|text| number(&text));
    Network {
        somaxconn: own_number("core/somaxconn"),
        syn_backlog: own_number("ipv4/tcp_max_syn_backlog"),
        syncookies: rare_number("ipv4/tcp_syncookies"),
        port_range: own("ipv4/ip_local_port_range").and_then(|text| pair(&text)),
        reserved_ports: own("ipv4/ip_local_reserved_ports").and_then(|text| parse::list(&text)),
        // The machine's own, and in a container not to be seen.
        rmem_bytes: own("ipv4/tcp_rmem").and_then(|text| three(&text)),
        wmem_bytes: own("ipv4/tcp_wmem").and_then(|text| three(&text)),
        tcp_mem_max_pages: rare("ipv4/tcp_mem").and_then(|text| last(&text)),
        congestion: own("ipv4/tcp_congestion_control").map(|text| word(&text)),
        slow_start_after_idle: own_number("ipv4/tcp_slow_start_after_idle"),
        migrate_req: rare_number("ipv4/tcp_migrate_req"),
        busy_poll_us: rare_number("core/busy_poll"),
        busy_read_us: rare_number("core/busy_read"),
        conntrack_max: rare_number("netfilter/nf_conntrack_max"),
        conntrack_count: rare_number("netfilter/nf_conntrack_count"),
        time_wait_max: rare_number("ipv4/tcp_max_tw_buckets"),
        flow_entries: rare_number("core/rps_sock_flow_entries"),
        nics: cards::nics(files),
    }
}

fn cpus(files: &Files) -> Cpus {
    let list = |name: &str| files.text(name).and_then(|text| parse::list(&text));
    let online = list("/sys/devices/system/cpu/online");
    let status = files.sure("/proc/self/status").unwrap_or_default();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let nodes = list("/sys/devices/system/node/online").unwrap_or_default();
    let node = |node: &usize| list(&format!("/sys/devices/system/node/node{node}/cpulist"));
    let frequency = |cpu: &usize| {
        let folder = format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq");
        let governor = word(&files.text(&format!("{folder}/scaling_governor"))?);
        let driver = files
            .text(&format!("{folder}/scaling_driver"))
            .map(|text| word(&text))
            .unwrap_or_default();
        Some(Frequency { cpu: *cpu, governor, driver })
    };
    let threads = |cpu: &usize| {
        list(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"))
    };
    let mut cores: Vec<Vec<usize>> = online.iter().flatten().filter_map(threads).collect();
    cores.sort_unstable();
    cores.dedup();
    Cpus {
        allowed: allowed.and_then(parse::list),
        isolated: list("/sys/devices/system/cpu/isolated"),
        quota_milli: quota_milli(&Groups::of(files), files),
        nodes: nodes.iter().map(|at| node(at).unwrap_or_default()).collect(),
        cores,
        frequencies: online.iter().flatten().filter_map(frequency).collect(),
        sleeps: online.iter().flatten().filter_map(|cpu| sleep(files, *cpu)).collect(),
        online,
    }
}

/// The deepest sleep that nobody switched off.
fn sleep(files: &Files, cpu: usize) -> Option<Sleep> {
    let folder = format!("/sys/devices/system/cpu/cpu{cpu}/cpuidle");
    let figure = |state: &str, name: &str| {
        files.text(&format!("{folder}/{state}/{name}")).and_then(|text| number(&text))
    };
    let states = files.names(&folder);
    let states = states.iter().filter(|state| figure(state, "disable") != Some(1));
    let latency_us = states.filter_map(|state| figure(state, "latency")).max()?;
    Some(Sleep { cpu, latency_us })
}

/// The least of the CPU time that the control group and those it lies in allow.
fn quota_milli(groups: &Groups, files: &Files) -> Option<u64> {
    let unified = groups.unified.iter().filter_map(|folder| {
        let text = files.text(&format!("{folder}/cpu.max"))?;
        let (quota, period) = text.trim().split_once(' ')?;
        parse::quota_milli(quota, period)
    });
    let first = groups.cpu.iter().filter_map(|folder| {
        let quota = files.text(&format!("{folder}/cpu.cfs_quota_us"))?;
        let period = files.text(&format!("{folder}/cpu.cfs_period_us"))?;
        parse::quota_milli(&quota, &period)
    });
    unified.chain(first).min()
}

/// What only a call to the kernel tells.
fn of_process(system: &mut System) {
    const NO_LIMIT: u64 = u64::MAX;
    system.nofile_hard = Some(getrlimit(Resource::Nofile).maximum.unwrap_or(NO_LIMIT));
    system.memlock_bytes = Some(getrlimit(Resource::Memlock).current.unwrap_or(NO_LIMIT));
    system.huge_pages_refusable = Some(may_refuse_huge_pages());
    let tried = worker::probe(Wanted::Auto).ok();
    system.ring = tried.map(|(rung, refused)| {
        let why = refused.map(|error| error.to_string()).unwrap_or_default();
        match rung {
            Rung::UringSingle => Ring::Best,
            Rung::UringCoop | Rung::UringPlain => Ring::Lower { name: rung.name().to_owned(), why },
            Rung::Epoll => Ring::Refused { why },
        }
    });
}

/// Does what the server does at its start, and undoes it.
fn may_refuse_huge_pages() -> bool {
    let refused = rustix::thread::disable_transparent_huge_pages(true).is_ok();
    let _as_before = rustix::thread::disable_transparent_huge_pages(false);
    refused
}
