//! io_uring and the clock.

use super::table::Severity::{Breaks, Costs, Hint};
use super::{Check, Facts, Finding, Ring};
use crate::config::Driver;

/// Locked memory of one ring: 4,096 submissions of 64 bytes, 16,384 completions of 16, rounded
/// up by the kernel to whole powers of two of pages.
const RING_BYTES: u64 = 1 << 20;

/// The clock cannot be read without entering the kernel, or without a slow bus.
const SLOW_CLOCKS: [&str; 4] = ["hpet", "acpi_pm", "jiffies", "refined-jiffies"];

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "ring_demanded",
        severity: Breaks,
        looks_at: "`driver`, a try at io_uring",
        fires: "`driver = \"uring\"` and the kernel refuses a ring: no start",
        anchor: "io_uring",
        find: |facts| {
            (facts.wanted.driver == Driver::Uring).then(|| refused(facts, "auto")).flatten()
        },
    },
    Check {
        id: "ring",
        severity: Costs,
        looks_at: "`kernel.io_uring_disabled`, a try at io_uring",
        fires: "the kernel refuses a ring and the server takes epoll",
        anchor: "io_uring",
        find: |facts| {
            (facts.wanted.driver == Driver::Auto).then(|| refused(facts, "epoll")).flatten()
        },
    },
    Check {
        id: "ring_rung",
        severity: Hint,
        looks_at: "kernel release, a try at io_uring",
        fires: "there is a ring, but not the best one",
        anchor: "io_uring",
        find: |facts| {
            let Some(Ring::Lower { name, why }) = &facts.system.ring else { return None };
            let (major, minor) = facts.system.release.unwrap_or_default();
            (facts.wanted.driver != Driver::Epoll).then(|| {
                let is = format!("Linux {major}.{minor} gives {name} ({why})");
                Finding::corewire(facts, is, "--driver epoll")
                    .note("or an unmodified Linux 6.0 or later")
            })
        },
    },
    Check {
        id: "memlock",
        severity: Costs,
        looks_at: "`ulimit -l`, before Linux 5.12",
        fires: "locked memory does not suffice for a ring a worker",
        anchor: "io_uring",
        find: |facts| {
            let (limit, release) = (facts.system.memlock_bytes?, facts.system.release?);
            let needed = RING_BYTES * facts.wanted.workers as u64;
            let counts = release < (5, 12) && facts.wanted.driver != Driver::Epoll;
            (counts && limit < needed).then(|| {
                let workers = facts.wanted.workers;
                Finding::new(
                    format!("{} KiB may be locked for {workers} ring(s)", limit >> 10),
                    format!("ulimit -l {}", needed >> 10),
                )
                .note(format_args!("as root; in the unit: LimitMEMLOCK={needed}"))
            })
        },
    },
    Check {
        id: "clocksource",
        severity: Costs,
        looks_at: "`/sys/devices/system/clocksource`",
        fires: "the time comes from a slow clock; the server reads it for every event",
        anchor: "the-clock",
        find: |facts| {
            let clock = facts.system.clocksource.as_deref()?;
            SLOW_CLOCKS.contains(&clock).then(|| {
                Finding::new(
                    format!("the clock source is {clock}"),
                    "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource",
                )
            })
        },
    },
];

/// Where no setting of the kernel mends it, `driver` is what the server can do without a ring.
fn refused(facts: &Facts, driver: &str) -> Option<Finding> {
    let Some(Ring::Refused { why }) = &facts.system.ring else { return None };
    let disabled = facts.system.io_uring_disabled.filter(|mode| *mode > 0);
    if let Some(mode) = disabled {
        let is = format!("kernel.io_uring_disabled = {mode} ({why})");
        return Some(Finding::sysctl(is, "kernel.io_uring_disabled", 0));
    }
    if let Some((major, minor)) = facts.system.release.filter(|release| *release < (5, 6)) {
        let is = format!("Linux {major}.{minor} has no ring ({why})");
        let args = format_args!("--driver {driver}");
        return Some(Finding::corewire(facts, is, args).note("or Linux 6.0 or later"));
    }
    let is = format!("io_uring is refused ({why})");
    Some(Finding::corewire(facts, is, format_args!("--driver {driver}")).note(
        "or permit io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile",
    ))
}
