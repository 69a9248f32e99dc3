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
    // Linux 6.6, Linux 5.14, a module: what not every kernel has may fail.
    for rare in ["kernel.io_uring_disabled", "net.ipv4.tcp_migrate_req", "net.netfilter."] {
        let mut lines = settings.lines().filter(|line| line.contains(rare));
        assert!(lines.all(|line| line.starts_with('-')), "{rare} is not everywhere");
    }
    let quoted = "`LimitNOFILE=`";
    assert!(page.contains(quoted), "{quoted} is explained");
}

/// Sections without a claim: what is printed, and what the code generates.
const CLAIMLESS: [&str; 2] = ["Asking the doctor", "Every check"];

/// What makes a figure one that somebody can get again: a command, or "how:".
const HOWS: [&str; 8] =
    ["how:", "loadtest", "bench_server", "cargo ", "perf ", "strace", "taskset", "/proc/"];

/// Sources that are neither files of the repository, manual pages, nor RFCs.
const SOURCES: [&str; 19] = [
    "above",
    "admin-guide/mm/concepts",
    "admin-guide/pm/cpufreq",
    "admin-guide/pm/cpuidle",
    "admin-guide/sysctl/fs",
    "admin-guide/sysctl/kernel",
    "admin-guide/sysctl/net",
    "cgroup-v2",
    "ip-sysctl",
    "kernel-parameters",
    "M/M/1",
    "napi",
    "nf_conntrack-sysctl",
    "numa-memory-policy",
    "overcommit-accounting",
    "scaling",
    "the binomial distribution",
    "timers/timekeeping",
    "RFC",
];

/// A part of a section, from its mark to the next one.
struct Claim<'a> {
    section: &'a str,
    is_measured: bool,
    text: &'a str,
}

/// All claims, and sections that begin with something else.
fn claims(page: &str) -> (Vec<Claim<'_>>, Vec<&str>) {
    let (mut claims, mut bare) = (Vec::new(), Vec::new());
    for section in page.split("\n## ").skip(1) {
        let (name, text) = section.split_once('\n').unwrap_or((section, ""));
        let mut parts = text.split("**measured**").enumerate().flat_map(|(at, part)| {
            let marked = part.split("**advice**").enumerate();
            marked.map(move |(advice, text)| (at > 0 && advice == 0, advice > 0, text))
        });
        let before = parts.next().is_some_and(|(.., text)| !text.trim().is_empty());
        let found = parts.filter(|(is_measured, is_advice, _)| *is_measured || *is_advice);
        let found: Vec<Claim<'_>> = found
            .map(|(is_measured, _, text)| Claim { section: name, is_measured, text })
            .collect();
        if before || found.is_empty() {
            bare.push(name);
        }
        claims.extend(found);
    }
    (claims, bare)
}

/// What stands in square brackets and is no link, one source each.
fn sources(text: &str) -> Vec<&str> {
    let mut in_code = false;
    let prose = text.split("```").filter(|_| {
        in_code = !in_code;
        in_code
    });
    let brackets = prose.flat_map(|part| part.split('[').skip(1)).filter_map(|rest| {
        let (inside, after) = rest.split_once(']')?;
        (!after.starts_with('(')).then_some(inside)
    });
    brackets.flat_map(|inside| inside.split([',', ';'])).map(str::trim).collect()
}

fn is_known(source: &str) -> bool {
    let first = source.split_whitespace().next().unwrap_or_default();
    let is_ours = first.starts_with("src/");
    let of_manual = || {
        first.split_once('(').is_some_and(|(name, rest)| {
            !name.is_empty()
                && rest.starts_with(|c: char| c.is_ascii_digit())
                && rest.ends_with(')')
        })
    };
    if is_ours {
        return PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(first).exists();
    }
    of_manual() || SOURCES.contains(&source) || SOURCES.contains(&first)
}

/// What is wrong with the marks of a page.
fn mistakes(page: &str) -> Vec<String> {
    let (claims, bare) = claims(page);
    let mut mistakes = Vec::new();
    for name in bare.iter().filter(|name| !CLAIMLESS.contains(name)) {
        mistakes.push(format!("{name}: it does not begin with a mark"));
    }
    for claim in &claims {
        let (name, text) = (claim.section, claim.text);
        let begin: String = text.trim().chars().take(60).collect();
        if claim.is_measured {
            let has_figure = text.contains(|c: char| c.is_ascii_digit());
            if !has_figure || !HOWS.iter().any(|how| text.contains(how)) {
                mistakes.push(format!("{name}: no figure or no how: {begin}"));
            }
            continue;
        }
        if !sources(text).iter().any(|source| is_known(source)) {
            mistakes.push(format!("{name}: advice without a source: {begin}"));
        }
    }
    // A file that is named as a source is there, under whichever mark.
    let gone = sources(page).into_iter().filter(|source| source.starts_with("src/"));
    mistakes.extend(gone.filter(|source| !is_known(source)).map(|gone| format!("{gone}: gone")));
    mistakes
}

#[test]
fn every_claim_is_measured_with_a_how_or_advice_with_a_source() {
    let found = mistakes(&page());
    assert!(found.is_empty(), "{}", found.join("\n"));
    let sound = "\n## A\n**advice** [tcp(7)] Do.\n**measured** 3 µs; how: twice.\n";
    assert_eq!(mistakes(sound), Vec::<String>::new());
    for broken in [
        "\n## A\nIt is fast.\n",
        "\n## A\nIt is fast. **advice** [tcp(7)] Do.\n",
        "\n## A\n**advice** Do.\n",
        "\n## A\n**advice** [a link](#a) Do.\n",
        "\n## A\n**advice** [src/no/such/file.rs] Do.\n",
        "\n## A\n**measured** It is fast; how: twice.\n",
        "\n## A\n**measured** 3 µs.\n",
    ] {
        assert!(!mistakes(broken).is_empty(), "{broken}");
    }
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
