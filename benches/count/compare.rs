//! Counts against their baseline, and against each other.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// How much a count may grow without its baseline being renewed, in per cent.
pub(crate) const GROWTH_MAX: f64 = 3.0;

/// What is said where the remedy is a new baseline.
pub(crate) const RENEW: &str = "UPDATE_BASELINE=1 cargo bench --bench instructions";

/// The file of baselines.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Baseline {
    /// Whatever decides which instructions there are, by name.
    pub(crate) made_with: BTreeMap<String, String>,
    /// Instructions a unit, by case.
    pub(crate) instructions: BTreeMap<String, f64>,
}

impl Baseline {
    /// Reads the file.
    ///
    /// # Errors
    /// It is no baseline: one line that says why.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| format!("benches/baseline.toml: {error}"))
    }

    /// The file.
    pub(crate) fn render(&self) -> String {
        let mut out = format!(
            "# Instructions a unit, by case; what a unit is, the report says. Written by\n\
             # {RENEW}\n\n[made_with]\n"
        );
        for (key, value) in &self.made_with {
            out.push_str(&format!("{key} = {value:?}\n"));
        }
        out.push_str("\n[instructions]\n");
        for (name, count) in &self.instructions {
            out.push_str(&format!("{name:?} = {count:.1}\n"));
        }
        out
    }

    /// How `here` differs from what this was made with, one line a difference.
    pub(crate) fn differences(&self, here: &BTreeMap<String, String>) -> Vec<String> {
        let keys: BTreeSet<&String> = self.made_with.keys().chain(here.keys()).collect();
        let differs = |key: &&String| self.made_with.get(*key) != here.get(*key);
        let side = |from: &BTreeMap<String, String>, key: &str| {
            from.get(key).cloned().unwrap_or_else(|| String::from("nothing"))
        };
        keys.into_iter()
            .filter(differs)
            .map(|key| {
                format!("{key}: {} here, {} there", side(here, key), side(&self.made_with, key))
            })
            .collect()
    }
}

/// What became of a count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change {
    /// The baseline does not know the case.
    New,
    /// Within the tolerance, by so many per cent.
    Same(f64),
    /// More than the tolerance allows.
    Grown(f64),
    /// Fewer, and more than the tolerance.
    Shrunk(f64),
}

impl Change {
    /// Compares two counts.
    pub(crate) fn of(count: f64, baseline: Option<f64>) -> Self {
        let Some(baseline) = baseline else { return Self::New };
        let percent = (count - baseline) * 100.0 / baseline;
        if percent > GROWTH_MAX {
            Self::Grown(percent)
        } else if percent < -GROWTH_MAX {
            Self::Shrunk(percent)
        } else {
            Self::Same(percent)
        }
    }
}

/// What the counts of a whole run mean.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Judgement {
    /// Each ends the run with a failure.
    pub(crate) failures: Vec<String>,
    /// Worth saying.
    pub(crate) hints: Vec<String>,
}

/// Judges the counts of all cases. `here` is what they were made with.
pub(crate) fn judge(
    baseline: &Baseline,
    here: &BTreeMap<String, String>,
    counts: &BTreeMap<String, f64>,
) -> Judgement {
    let mut judgement = Judgement::default();
    let differences = baseline.differences(here);
    let comparable = differences.is_empty();
    if !comparable {
        let what = differences.join("; ");
        judgement.hints.push(format!(
            "the baseline was made with something else ({what}): counts are shown and not judged"
        ));
    }
    let mut cheaper = Vec::new();
    for (name, count) in counts {
        match Change::of(*count, baseline.instructions.get(name).copied()) {
            Change::New => {
                let line = format!("{name} has no baseline; add it with {RENEW}");
                judgement.failures.push(line);
            }
            Change::Grown(percent) if comparable => judgement.failures.push(format!(
                "{name} grew by {percent:.1} %, more than {GROWTH_MAX} %; if that is meant, say \
                 why in the change and renew its baseline in it: {RENEW}"
            )),
            Change::Shrunk(_) if comparable => cheaper.push(name.as_str()),
            _ => {}
        }
    }
    for name in baseline.instructions.keys().filter(|name| !counts.contains_key(*name)) {
        let line = format!("{name} has a baseline and is no case; take it out with {RENEW}");
        judgement.failures.push(line);
    }
    if !cheaper.is_empty() {
        let names = cheaper.join(", ");
        judgement
            .hints
            .push(format!("cheaper by more than {GROWTH_MAX} %: {names}; keep that with {RENEW}"));
    }
    judgement
}

/// Two cases of which one may cost only so many times what the other does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ratio {
    /// What it shows.
    pub(crate) what: &'static str,
    /// The case above the line.
    pub(crate) over: &'static str,
    /// The one below it.
    pub(crate) under: &'static str,
    /// The greatest quotient.
    pub(crate) at_most: f64,
}

impl Ratio {
    /// The quotient of what `of` says of both, if it does.
    pub(crate) fn of(&self, of: &BTreeMap<String, f64>) -> Option<f64> {
        Some(of.get(self.over)? / of.get(self.under)?)
    }

    /// The failure, if the quotient of so many `things` is too great.
    pub(crate) fn failure(&self, things: &str, of: &BTreeMap<String, f64>) -> Option<String> {
        let (what, at_most) = (self.what, self.at_most);
        let found = self.of(of).filter(|found| *found > at_most)?;
        Some(format!("{what}: {found:.3} in {things}, at most {at_most} is allowed"))
    }
}
