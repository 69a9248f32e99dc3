//! Descriptors.

use super::table::Severity::Breaks;
use super::{Check, Finding};

/// Numbers an operator writes are round: up to the next multiple of 1,024.
fn round(count: u64) -> u64 {
    count.next_multiple_of(1_024)
}

pub(super) const CHECKS: &[Check] = &[
    // Before the limit that it caps: the lines are pasted in this order.
    Check {
        id: "nr_open",
        severity: Breaks,
        looks_at: "`fs.nr_open`",
        fires: "the limit below cannot be raised as far as needed",
        anchor: "descriptors",
        find: |facts| {
            let (most, needed) = (facts.system.nr_open?, facts.descriptors());
            (most < needed).then(|| {
                let is = format!("fs.nr_open caps a process at {most} descriptors of {needed}");
                Finding::sysctl(is, "fs.nr_open", round(needed))
            })
        },
    },
    Check {
        id: "nofile",
        severity: Breaks,
        looks_at: "hard limit of `ulimit -n`",
        fires: "fewer descriptors than `conns_max` × workers and the server's own",
        anchor: "descriptors",
        find: |facts| {
            let (hard, needed) = (facts.system.nofile_hard?, facts.descriptors());
            (hard < needed).then(|| {
                let count = round(needed);
                Finding::new(
                    format!("{hard} descriptors for {} connections", facts.conns()),
                    format!("ulimit -n {count}"),
                )
                .note(format_args!("as root; in the unit: LimitNOFILE={count}"))
            })
        },
    },
    Check {
        id: "file_max",
        severity: Breaks,
        looks_at: "`fs.file-max`",
        fires: "the whole machine may open fewer files than the server needs",
        anchor: "descriptors",
        find: |facts| {
            let (most, needed) = (facts.system.file_max?, facts.descriptors());
            (most < needed).then(|| {
                let is = format!("fs.file-max lets the machine open {most} files of {needed}");
                Finding::sysctl(is, "fs.file-max", round(needed) * 2)
            })
        },
    },
];
