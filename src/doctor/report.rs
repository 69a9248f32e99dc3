//! What the doctor says.

use serde::Serialize;

use super::{Facts, Severity, checks};

/// What all checks found, the worst first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// One entry for each check that fired.
    pub findings: Vec<Entry>,
    /// How many checks looked.
    pub checked: usize,
}

/// A check that fired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Which check.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is so.
    pub is: String,
    /// What to run or to set.
    pub run: String,
    /// Where it is explained.
    pub page: String,
}

impl Report {
    /// Runs every check over `facts`.
    #[must_use]
    pub fn new(facts: &Facts) -> Self {
        let found = checks().filter_map(|check| {
            let finding = (check.find)(facts)?;
            Some(Entry {
                id: check.id,
                severity: check.severity,
                is: finding.is,
                run: finding.run,
                page: format!("tuning.md#{}", check.anchor),
            })
        });
        let mut findings: Vec<Entry> = found.collect();
        findings.sort_by_key(|entry| entry.severity);
        Self { findings, checked: checks().count() }
    }

    /// Whether something would break a deployment.
    #[must_use]
    pub fn breaks(&self) -> bool {
        self.count(Severity::Breaks) > 0
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|entry| entry.severity == severity).count()
    }

    /// One line a finding, and a line that sums up.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for entry in &self.findings {
            let word = entry.severity.word();
            text += &format!("{word:<6}  {} -> {}\n", entry.is, entry.run);
        }
        let [breaks, costs, hints] =
            [Severity::Breaks, Severity::Costs, Severity::Hint].map(|one| self.count(one));
        let checked = self.checked;
        text += &format!(
            "{checked} checks: {breaks} would break a deployment, {costs} cost, {hints} hint(s)"
        );
        text + if self.findings.is_empty() { "\n" } else { "; the reasons are in tuning.md\n" }
    }

    /// The same for programs.
    ///
    /// # Panics
    /// Never: it holds strings and numbers.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers can be written") + "\n"
    }
}

/// The table of checks for `tuning.md`, in Markdown.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "| check | if it fires | looks at | fires when |\n| --- | --- | --- | --- |\n",
    );
    for check in checks() {
        let (id, anchor, word) = (check.id, check.anchor, check.severity.word());
        let (looks_at, fires) = (check.looks_at, check.fires);
        page += &format!("| [`{id}`](#{anchor}) | {word} | {looks_at} | {fires} |\n");
    }
    page
}
