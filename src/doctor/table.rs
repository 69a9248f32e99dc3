//! The form of a check, and all of them in order.

use serde::Serialize;

use super::{Facts, cpus, descriptors, memory, network, nics, ring};

/// What happens to whom nothing is done about a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Connections are lost or refused, or the server does not start.
    Breaks,
    /// It serves, at a price in processor time, memory or latency.
    Costs,
    /// Worth knowing; whether it matters depends on the use.
    Hint,
}

impl Severity {
    /// The first word of its lines.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Breaks => "breaks",
            Self::Costs => "costs",
            Self::Hint => "hint",
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is so, with its figure. One line.
    pub is: String,
    /// What to run: one line for a shell, with this machine's values. What else there is to know
    /// stands behind it as a comment of the shell.
    pub run: String,
}

impl Finding {
    /// A finding that a line for a shell mends.
    pub(super) fn new(is: impl Into<String>, run: impl Into<String>) -> Self {
        Self { is: is.into(), run: run.into() }
    }

    /// A finding that one kernel setting mends.
    pub(super) fn sysctl(is: impl Into<String>, key: &str, value: impl std::fmt::Display) -> Self {
        Self::new(is, format!("sysctl -w {key}={value}"))
    }

    /// A finding that the server's own options mend, or another of its commands.
    pub(super) fn corewire(is: impl Into<String>, args: impl std::fmt::Display) -> Self {
        Self::new(is, format!("corewire {args}"))
    }

    /// The same with a comment behind the command.
    pub(super) fn note(mut self, note: impl std::fmt::Display) -> Self {
        self.run += &format!("  # {note}");
        self
    }
}

/// One row: everything the program, the page and the tests know of a check.
pub struct Check {
    /// Its name, in JSON and on the page.
    pub id: &'static str,
    /// How bad it is when it fires.
    pub severity: Severity,
    /// The kernel setting, file or option it looks at.
    pub looks_at: &'static str,
    /// When it fires, as half a sentence.
    pub fires: &'static str,
    /// The section of `tuning.md` that explains it, as the fragment of a link.
    pub anchor: &'static str,
    /// The check itself.
    pub find: fn(&Facts) -> Option<Finding>,
}

/// Every check, in the order of the page.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    let tables: [&'static [Check]; 6] = [
        descriptors::CHECKS,
        ring::CHECKS,
        cpus::CHECKS,
        nics::CHECKS,
        memory::CHECKS,
        network::CHECKS,
    ];
    tables.into_iter().flatten()
}
