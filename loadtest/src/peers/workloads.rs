//! What is asked of every server: scenarios as in the files, with one worker and 64-byte payloads.

use super::server::Which;
use crate::scenario::{self, App, Kind, Scenario};

/// What decides a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// CPU time of the server's process for one operation.
    Cpu,
    /// Operations a second.
    Rate,
    /// Anonymous memory of the server's process for one connection.
    Memory,
}

impl Measure {
    /// As a table names it, for an operation of that name.
    #[must_use]
    pub fn name(self, operation: &str) -> String {
        match self {
            Self::Cpu => format!("CPU a {operation}"),
            Self::Rate => format!("{operation} rate"),
            Self::Memory => format!("memory a {operation}"),
        }
    }
}

/// One row of the comparison.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Its name on the command line and in tables.
    pub name: &'static str,
    /// What it does, for a reader.
    pub what: &'static str,
    /// What an operation is.
    pub operation: &'static str,
    /// What is compared, the deciding measure first.
    pub measures: &'static [Measure],
    /// Whether the floor runs in it as one more server: it joins nothing, so only where there is
    /// nothing to join.
    pub has_floor: bool,
    /// The scenario, without its name and its durations.
    scenario: &'static str,
}

/// All of them, in the order of the table.
pub const ALL: &[Workload] = &[
    Workload {
        name: "echo-c100",
        what: "echo with acknowledgement, 100 connections, 1 outstanding each",
        operation: "round trip",
        measures: &[Measure::Cpu, Measure::Rate],
        has_floor: true,
        scenario: "kind = 'echo'\nconnections = 100\noutstanding = 1",
    },
    Workload {
        name: "echo-c100-d8",
        what: "the same, 8 outstanding each",
        operation: "round trip",
        measures: &[Measure::Rate, Measure::Cpu],
        has_floor: false,
        scenario: "kind = 'echo'\nconnections = 100\noutstanding = 8",
    },
    Workload {
        name: "fan1000-w1",
        what: "one room of 1,000, 1 message outstanding: nothing to join",
        operation: "delivery",
        measures: &[Measure::Cpu, Measure::Rate],
        has_floor: true,
        scenario: "kind = 'rooms'\nconnections = 1000\nroom_size = 1000\npublishers = 1\n\
            outstanding = 1",
    },
    Workload {
        name: "fan1000-sat",
        what: "one room of 1,000, 20 messages outstanding",
        operation: "delivery",
        measures: &[Measure::Rate, Measure::Cpu],
        has_floor: false,
        scenario: "kind = 'rooms'\nconnections = 1000\nroom_size = 1000\npublishers = 1\n\
            outstanding = 20",
    },
    Workload {
        name: "fan100-max",
        what: "one room of 100, the greatest open-loop rate that is sustained",
        operation: "delivery",
        measures: &[Measure::Rate],
        has_floor: false,
        scenario: "kind = 'rooms'\nconnections = 100\nroom_size = 100\npublishers = 1\n\
            [steps]\nstart_rate = 1000.0\nfactor = 1.6\nwithin = 0.04\nseconds = 1.3\n\
            late_ms = 100\np99_ms = 100.0",
    },
    Workload {
        name: "rooms-sat",
        what: "5,000 connections in 1,000 rooms of 5, one message outstanding in each room",
        operation: "delivery",
        measures: &[Measure::Rate, Measure::Cpu],
        has_floor: true,
        scenario: "kind = 'rooms'\nconnections = 5000\nroom_size = 5\noutstanding = 1",
    },
    Workload {
        name: "connect10k",
        what: "10,000 whole handshakes, 64 in flight",
        operation: "handshake",
        measures: &[Measure::Cpu, Measure::Rate],
        has_floor: false,
        scenario: "kind = 'connect'\nconnections = 10000\nconnect_window = 64",
    },
    Workload {
        name: "idle10k",
        what: "10,000 idle connections",
        operation: "connection",
        measures: &[Measure::Memory],
        has_floor: false,
        scenario: "kind = 'idle'\nconnections = 10000\nconnect_window = 64",
    },
];

impl Workload {
    /// Finds one by its name.
    ///
    /// # Errors
    /// There is none of that name; says which there are.
    pub fn named(name: &str) -> Result<Self, String> {
        ALL.iter().copied().find(|workload| workload.name == name).ok_or_else(|| {
            let names: Vec<_> = ALL.iter().map(|workload| workload.name).collect();
            format!("--only {name}: choose from {}", names.join(", "))
        })
    }

    /// Whether a server runs in it.
    #[must_use]
    pub fn includes(&self, which: Which) -> bool {
        which != Which::Bare || self.has_floor
    }

    /// The scenario against a server; `seconds` are measured.
    ///
    /// # Errors
    /// The scenario is none; a mistake in this file.
    pub fn scenario(&self, which: Which, seconds: f64) -> Result<Scenario, String> {
        let text = format!("name = '{}'\n{}", self.name, self.scenario);
        let mut scenario = scenario::parse(&text, &[format!("seconds={seconds:?}")])?;
        if which == Which::Gateway {
            scenario.app = App::Gateway;
            if scenario.kind == Kind::Rooms && scenario.publishers == 0 {
                // Who sends a `room:message` does not hear it, and the library's sender does: one
                // member more, and both deliver as many for each message they receive.
                scenario.connections += scenario.connections / scenario.room_size;
                scenario.room_size += 1;
            }
        }
        Ok(scenario)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_is_a_scenario_of_64_bytes_on_one_thread() {
        for workload in ALL {
            let scenario = workload.scenario(Which::Corewire, 3.0).unwrap();
            assert_eq!((scenario.payload_bytes, scenario.threads), (64, 1), "{}", workload.name);
            assert!((scenario.seconds - 3.0).abs() < 1e-9);
            assert_eq!(Workload::named(workload.name).unwrap().what, workload.what);
        }
        let rooms = Workload::named("rooms-sat").unwrap().scenario(Which::Gateway, 3.0).unwrap();
        assert_eq!((rooms.connections, rooms.room_size), (6_000, 6), "five of six hear it");
        assert!(Workload::named("echo").unwrap_err().contains("echo-c100"));
    }
}
