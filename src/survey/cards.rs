//! Network cards.

use crate::doctor::{Irq, Nic, parse};
use crate::server::machine::{Files, number};

/// Cards with a device behind them: bridges, tunnels and the loopback have no interrupts.
pub(super) fn nics(files: &Files) -> Vec<Nic> {
    let names = files.names("/sys/class/net");
    let real = names.into_iter().filter(|name| files.has(&format!("/sys/class/net/{name}/device")));
    real.map(|name| nic(files, name)).collect()
}

fn nic(files: &Files, name: String) -> Nic {
    let folder = format!("/sys/class/net/{name}");
    let queues = files.names(&format!("{folder}/queues"));
    let queues: Vec<&String> = queues.iter().filter(|queue| queue.starts_with("rx-")).collect();
    let file = |queue: &str, name: &str| files.text(&format!("{folder}/queues/{queue}/{name}"));
    let steered =
        |queue: &&&String| file(queue, "rps_cpus").is_some_and(|m| parse::mask_is_set(&m));
    let flows = |queue: &&&String| {
        file(queue, "rps_flow_cnt").and_then(|text| number(&text)).is_some_and(|flows| flows > 0)
    };
    // A virtual device sits one folder below its bus device, which has interrupts and node.
    let devices = [format!("{folder}/device"), format!("{folder}/device/..")];
    // -1 is a machine with one node.
    let node = devices.iter().find_map(|device| files.text(&format!("{device}/numa_node")));
    Nic {
        rx_queues: queues.len(),
        rps_queues: queues.iter().filter(steered).count(),
        rfs_queues: queues.iter().filter(flows).count(),
        irqs: irqs(files, &devices),
        node: node.and_then(|text| text.trim().parse().ok()),
        name,
    }
}

fn irqs(files: &Files, devices: &[String]) -> Vec<Irq> {
    let folders = devices.iter().map(|device| files.names(&format!("{device}/msi_irqs")));
    let Some(own) = folders.into_iter().find(|names| !names.is_empty()) else { return Vec::new() };
    let table = files.text("/proc/interrupts").unwrap_or_default();
    let mut numbers: Vec<u32> = own.iter().filter_map(|number| number.parse().ok()).collect();
    numbers.sort_unstable();
    numbers.retain(|number| name_of(&table, *number).is_some_and(parse::is_receive_queue));
    numbers.into_iter().map(|number| Irq { number, cpus: affinity(files, number) }).collect()
}

/// The name of an interrupt: the last word of its line.
fn name_of(table: &str, number: u32) -> Option<&str> {
    let start = format!("{number}:");
    let line = table.lines().find(|line| line.trim_start().starts_with(&start))?;
    line.split_ascii_whitespace().next_back()
}

fn affinity(files: &Files, number: u32) -> Vec<usize> {
    let list = |name: &str| files.text(&format!("/proc/irq/{number}/{name}"));
    let found = list("effective_affinity_list").filter(|text| !text.trim().is_empty());
    let found = found.or_else(|| list("smp_affinity_list"));
    found.and_then(|text| parse::list(&text)).unwrap_or_default()
}
