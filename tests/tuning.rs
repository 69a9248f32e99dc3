//! `tuning.md` and the doctor's table say the same. After a change of the table:
//! `UPDATE_PAGES=1 cargo test --test tuning`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use corewire::doctor::{checks, reference_markdown};
use corewire::telemetry::Stage;

const BEGIN: &str = "<!-- made from src/doctor by UPDATE_PAGES=1 cargo test --test tuning -->\n\n";
const END: &str = "\n<!-- end of what is made -->\n";

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tuning.md")
}

fn page() -> String {
    std::fs::read_to_string(path()).expect("the page is there")
}

/// The fragment of a heading's link: small letters, spaces as dashes, nothing else but dashes and
/// underscores.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// Lines outside of code blocks.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    page.lines().filter(move |line| {
        let fence = line.starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    })
}

fn anchors(page: &str) -> BTreeSet<String> {
    prose(page)
        .filter_map(|line| line.strip_prefix("##"))
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

/// The code block whose first line is `first`.
fn block<'a>(page: &'a str, first: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("\n{first}\n")).unwrap_or_else(|| panic!("{first}"));
    rest.split_once("\n```").expect("the block ends").0
}

#[test]
#[expect(clippy::disallowed_methods, reason = "whoever runs the test says whether it writes")]
fn the_list_of_checks_is_what_the_code_generates() {
    let page = page();
    let (before, rest) = page.split_once(BEGIN).expect("the list begins");
    let (list, after) = rest.split_once(END).expect("the list ends");
    if list == reference_markdown() {
        return;
    }
    if std::env::var("UPDATE_PAGES").is_ok_and(|wanted| wanted == "1") {
        let page = [before, BEGIN, &reference_markdown(), END, after].concat();
        std::fs::write(path(), page).expect("the page can be written");
    } else {
        panic!("out of step; write it with UPDATE_PAGES=1 cargo test --test tuning");
    }
}

#[test]
fn every_check_is_explained_under_its_anchor() {
    let page = page();
    let anchors = anchors(&page);
    for check in checks() {
        assert!(anchors.contains(check.anchor), "{}: no section #{}", check.id, check.anchor);
    }
    let sum = format!("\n{} checks: ", checks().count());
    assert!(page.contains(&sum), "the page's example has another sum than {sum}");
    for link in page.split("](#").skip(1).filter_map(|rest| rest.split_once(')')) {
        assert!(anchors.contains(link.0), "a link leads to #{}", link.0);
    }
}

/// The text of the section under `anchor`.
fn section<'a>(page: &'a str, anchored: &str) -> &'a str {
    let parts = page.split("\n## ").skip(1);
    let mut found = parts.filter(|part| anchor(part.lines().next().unwrap_or("")) == anchored);
    found.next().unwrap_or_else(|| panic!("a section {anchored}"))
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_check_is_in_its_section_by_what_it_looks_at() {
    let page = page();
    for check in checks() {
        let section = section(&page, check.anchor);
        let mut names = quoted(check.looks_at).map(|name| name.rsplit('/').next().unwrap_or(name));
        // Two look at no name of the kernel's.
        let nameless = !check.looks_at.contains('`');
        let named = nameless || names.any(|name| section.contains(name));
        assert!(named, "{}: #{} says nothing of {}", check.id, check.anchor, check.looks_at);
    }
}

/// Kernel settings that the page names and that need no check, and why.
const UNCHECKED: &[(&str, &str)] = &[
    ("net.ipv4.tcp_notsent_lowat", "the server says it for each socket"),
    ("kernel.io_uring_group", "the try at a ring tells what matters of it"),
    ("net.netfilter.nf_conntrack_count", "a count, not a setting"),
];

#[test]
fn every_kernel_setting_that_the_page_names_has_a_check() {
    let page = page();
    let of_kernel = |word: &&str| {
        let known = ["net.", "kernel.", "vm.", "fs."].iter().any(|start| word.starts_with(start));
        known && word.contains(['_', '-']) || word.starts_with("net.core.")
    };
    let in_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let words = page.split(|c| !in_name(c)).map(|word| word.trim_matches(['.', '-']));
    let keys: BTreeSet<&str> = words.filter(of_kernel).collect();
    assert!(keys.len() > 20, "{keys:?}");
    for key in &keys {
        let checked = checks().any(|check| quoted(check.looks_at).any(|name| name == *key));
        let excused = UNCHECKED.iter().any(|(name, _)| name == key);
        assert!(checked != excused, "{key}: checked {checked}, excused {excused}");
    }
    for (name, why) in UNCHECKED {
        assert!(keys.contains(name), "{name} is not on the page any more ({why})");
    }
}

#[test]
fn every_setting_the_page_writes_has_a_check() {
    let page = page();
    let settings = block(&page, "# /etc/sysctl.d/90-corewire.conf");
    let keys: Vec<&str> = settings
        .lines()
        .filter_map(|line| Some(line.split_once(" = ")?.0.trim_start_matches('-')))
        .collect();
    assert!(keys.len() > 6, "{settings}");
    for key in keys.into_iter().filter(|key| !key.starts_with('#')) {
        let quoted = format!("`{key}`");
        assert!(checks().any(|check| check.looks_at.contains(&quoted)), "no check for {key}");
    }
    let quoted = "`LimitNOFILE=`";
    assert!(page.contains(quoted), "{quoted} is explained");
}

#[test]
fn every_claim_says_whether_it_was_measured() {
    // Each section that holds advice or figures says which of the two it is.
    let page = page();
    let mut heading = "";
    let mut marked = BTreeSet::new();
    let mut sections = Vec::new();
    for line in prose(&page) {
        if let Some(name) = line.strip_prefix("## ") {
            heading = name;
            sections.push(name);
        }
        if line.contains("**measured**") || line.contains("**advice**") {
            marked.insert(heading);
        }
    }
    let bare: Vec<_> = sections.into_iter().filter(|name| !marked.contains(name)).collect();
    assert_eq!(bare, ["Asking the doctor", "Every check"], "sections without a mark");
}

#[test]
fn stages_and_metrics_that_the_page_names_exist() {
    let page = page();
    for stage in Stage::ALL {
        assert!(page.contains(&format!("`{}`", stage.name())), "{} is not read", stage.name());
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/manual");
    let metrics = std::fs::read_to_string(folder.join("metrics.md")).expect("the page is there");
    for word in page.split('`').skip(1).step_by(2) {
        let name = word.split('{').next().unwrap_or_default();
        let is_metric = name.starts_with("corewire_") && name.ends_with("_total");
        let known = metrics.contains(&format!("`{name}`"));
        assert!(!is_metric || known, "{name} is no metric");
    }
}
