//! Made-up folders that look like the kernel's.

use super::read::of_files;
use crate::config::{self, Options};
use crate::doctor::{Facts, Sleep};
use crate::scratch::Folder;
use crate::server::machine::Files;

/// What is found on a machine with these files.
fn found(files: &[(&str, &str)]) -> Facts {
    let folder = Folder::new();
    for (path, text) in files {
        folder.write(path, text);
    }
    of_files(&Files::below(&*folder))
}

#[test]
fn settings_memory_and_processors_are_read() {
    let facts = found(&[
        ("proc/sys/kernel/osrelease", "5.15.0-91-generic\n"),
        ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
        ("proc/sys/net/ipv4/tcp_mem", "100\t200\t300\n"),
        ("proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304\n"),
        ("proc/meminfo", "MemTotal:  1024 kB\nSwapTotal:  512 kB\n"),
        ("proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-2\n"),
        ("sys/devices/system/cpu/online", "0-3\n"),
        ("sys/devices/system/node/online", "0-1\n"),
        ("sys/devices/system/node/node1/cpulist", "2-3\n"),
        ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave\n"),
        ("sys/devices/system/cpu/cpu1/cpufreq/scaling_driver", "intel_pstate\n"),
        ("sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0,2\n"),
        ("sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "0,2\n"),
        ("sys/devices/system/cpu/cpu1/cpuidle/state0/latency", "0\n"),
        ("sys/devices/system/cpu/cpu1/cpuidle/state1/latency", "2\n"),
        ("sys/devices/system/cpu/cpu1/cpuidle/state1/disable", "0\n"),
        ("sys/devices/system/cpu/cpu1/cpuidle/state2/latency", "133\n"),
        ("sys/devices/system/cpu/cpu1/cpuidle/state2/disable", "1\n"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
    ]);
    assert_eq!(facts.system.release, Some((5, 15)));
    assert_eq!(facts.system.huge_pages.as_deref(), Some("madvise"));
    assert_eq!(facts.system.nr_open, None);
    assert_eq!(facts.network.port_range, Some((32_768, 60_999)));
    assert_eq!(facts.network.tcp_mem_max_pages, Some(300));
    assert_eq!(facts.network.wmem_bytes, Some([4_096, 16_384, 4_194_304]));
    assert_eq!(facts.memory.total_bytes, Some(1 << 20));
    assert_eq!(facts.memory.swap_bytes, Some(512 << 10));
    assert_eq!(facts.memory_bytes(), Some(1 << 20));
    assert_eq!(facts.cpus.allowed, Some(vec![0, 1, 2]));
    assert_eq!(facts.cpus.node_of(3), Some(1));
    assert_eq!(facts.cpus.frequencies.len(), 1);
    assert_eq!(facts.cpus.frequencies[0].driver, "intel_pstate");
    assert_eq!(facts.cpus.cores, [[0, 2]]);
    assert_eq!(facts.cpus.sleeps, [Sleep { cpu: 1, latency_us: 2 }]);
}

#[test]
fn the_narrowest_group_counts_in_both_versions() {
    let facts = found(&[
        ("proc/meminfo", "MemTotal: 9999999 kB\nSwapTotal: 512 kB\n"),
        ("proc/self/cgroup", "0::/system.slice/corewire.service\n"),
        ("sys/fs/cgroup/system.slice/memory.max", "1048576\n"),
        ("sys/fs/cgroup/system.slice/corewire.service/memory.max", "max\n"),
        ("sys/fs/cgroup/system.slice/corewire.service/memory.swap.max", "0\n"),
        ("sys/fs/cgroup/system.slice/corewire.service/cpu.max", "150000 100000\n"),
        ("sys/fs/cgroup/system.slice/cpu.max", "max 100000\n"),
    ]);
    assert_eq!(facts.memory_bytes(), Some(1 << 20));
    assert_eq!(facts.memory.swap_bytes, Some(0));
    assert_eq!(facts.cpus.quota_milli, Some(1_500));

    let facts = found(&[
        ("proc/self/cgroup", "4:memory:/a/b\n3:cpu,cpuacct:/\n0::/\n"),
        ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4096\n"),
        ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"),
        ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
    ]);
    assert_eq!(facts.memory.limit_bytes, Some(4_096));
    assert_eq!(facts.cpus.quota_milli, Some(500));
}

#[test]
fn cards_have_queues_interrupts_and_a_node() {
    let table = "           CPU0 CPU1\n 40: 1 0 PCI-MSIX 0-edge eth0-TxRx-0\n \
                 41: 0 1 PCI-MSIX 1-edge eth0-TxRx-1\n 42: 0 0 PCI-MSIX 2-edge eth0-config2\n";
    let facts = found(&[
        ("sys/class/net/lo/queues/rx-0/rps_cpus", "0\n"),
        ("sys/class/net/eth0/device/numa_node", "1\n"),
        ("sys/class/net/eth0/device/msi_irqs/40", ""),
        ("sys/class/net/eth0/device/msi_irqs/41", ""),
        ("sys/class/net/eth0/device/msi_irqs/42", ""),
        ("sys/class/net/eth0/queues/rx-0/rps_cpus", "00000000,00000003\n"),
        ("sys/class/net/eth0/queues/rx-0/rps_flow_cnt", "0\n"),
        ("sys/class/net/eth0/queues/rx-1/rps_cpus", "0\n"),
        ("sys/class/net/eth0/queues/rx-1/rps_flow_cnt", "4096\n"),
        ("sys/class/net/eth0/queues/tx-0/xps_cpus", "0\n"),
        ("proc/interrupts", table),
        ("proc/irq/40/effective_affinity_list", "0\n"),
        ("proc/irq/41/smp_affinity_list", "0-1\n"),
    ]);
    let nics = facts.network.nics;
    assert_eq!(nics.len(), 1);
    let nic = &nics[0];
    assert_eq!((nic.name.as_str(), nic.rx_queues, nic.node), ("eth0", 2, Some(1)));
    assert_eq!((nic.rps_queues, nic.rfs_queues), (1, 1));
    let irqs: Vec<_> = nic.irqs.iter().map(|irq| (irq.number, irq.cpus.clone())).collect();
    assert_eq!(irqs, [(40, vec![0]), (41, vec![0, 1])]);
}

#[test]
fn this_machine_can_be_read_and_the_wish_is_the_plan_of_the_start() {
    let args = ["--workers=2", "--conns-max=10", "--listen=127.0.0.1:1"].map(String::from);
    let loaded = config::load(Options::gateway(), None, std::iter::empty(), &args).unwrap();
    let facts = super::facts(&loaded).unwrap();
    assert_eq!((facts.wanted.workers, facts.conns()), (2, 20));
    assert_eq!(facts.wanted.descriptors_own, 128 + 2 * 17);
    assert!(facts.wanted.worst_bytes > 0);
    assert!(facts.system.release.is_some() && facts.system.nofile_hard.is_some());
    assert!(facts.system.ring.is_some());
}
