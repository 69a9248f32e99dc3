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

    /// A finding that options of the server mend. What is run asks the doctor again with them, which
    /// starts nothing and shows whether they suffice.
    pub(super) fn corewire(
        facts: &Facts,
        is: impl Into<String>,
        options: impl std::fmt::Display,
    ) -> Self {
        Self::command(facts, is, "doctor", &options.to_string())
            .note("then in corewire.toml or the unit")
    }

    /// A finding that another of the server's commands tells more of. It is asked what the doctor
    /// was asked, but for `options`.
    pub(super) fn command(
        facts: &Facts,
        is: impl Into<String>,
        command: &str,
        options: &str,
    ) -> Self {
        let flag = |word: &str| word.split('=').next().unwrap_or_default().to_owned();
        let other = |arg: &&String| !options.split(' ').any(|word| flag(word) == flag(arg));
        let own = facts.args.iter().filter(other).map(|arg| shell_word(arg));
        let words = ["corewire".to_owned(), command.to_owned()].into_iter().chain(own);
        let options = Some(options.to_owned()).filter(|options| !options.is_empty());
        Self::new(is, words.chain(options).collect::<Vec<_>>().join(" "))
    }

    /// The same with a comment behind the command, or behind its comment.
    pub(super) fn note(mut self, note: impl std::fmt::Display) -> Self {
        let mark = if self.run.contains(COMMENT) { "; " } else { COMMENT };
        self.run += &format!("{mark}{note}");
        self
    }
}

/// What a comment of the shell begins with.
const COMMENT: &str = "  # ";

/// One word for a shell.
fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@%+".contains(c);
    if word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
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
