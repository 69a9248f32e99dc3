//! Everything of a run as files, for the caller to write into a folder.

use super::{hgrm, html, json, table};
use crate::model::Report;

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name, with no folder.
    pub name: String,
    /// What belongs into it.
    pub text: String,
}

/// `report.json`, `report.html`, `report.txt` and an `.hgrm` file a latency.
#[must_use]
pub fn files(run: &Report) -> Vec<File> {
    let file = |name: &str, text| File { name: name.to_owned(), text };
    let mut all = vec![
        file("report.json", json(run)),
        file("report.html", html(run)),
        file("report.txt", table(run)),
    ];
    let seen = run.latencies.iter().filter(|(_, found)| !found.bins.is_empty());
    all.extend(seen.map(|(name, found)| file(&format!("{}.hgrm", safe(name)), hgrm(found))));
    all
}

/// A name that stays in its folder, whatever a report that came from elsewhere calls its latencies.
fn safe(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    name.chars().map(|c| if fits(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn each_latency_with_values_has_a_file() {
        let mut run = sample::fanout();
        run.latencies.insert("rest".to_owned(), crate::model::Latency::default());
        let names: Vec<String> = files(&run).into_iter().map(|file| file.name).collect();
        let want = ["report.json", "report.html", "report.txt", "connect.hgrm", "delivery.hgrm"];
        assert_eq!(names, want);
    }

    #[test]
    fn no_name_leaves_the_folder() {
        let mut run = sample::fanout();
        let found = run.latencies["connect"].clone();
        run.latencies.insert("../up".to_owned(), found);
        assert!(files(&run).iter().all(|file| !file.name.contains('/')));
    }
}
