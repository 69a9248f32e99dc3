//! Every check fires on its made-up machine and names a command; the report holds them in order.

use super::case_tests::{CASES, healthy};
use super::{Facts, Report, Ring, Severity, checks};
use crate::config::{self, Driver, Options};

#[test]
fn every_check_fires_where_it_should_and_nowhere_else() {
    let mut mistakes = Vec::new();
    for (id, sick, words, close) in CASES {
        let mut facts = healthy();
        sick(&mut facts);
        let report = Report::new(&facts);
        let fired: Vec<&str> = report.findings.iter().map(|entry| entry.id).collect();
        if fired != [*id] {
            mistakes.push(format!("{id}: these fire: {fired:?}"));
        }
        let line = report.text().lines().next().unwrap_or_default().to_owned();
        let missing = words.iter().filter(|word| !line.contains(**word));
        mistakes.extend(missing.map(|word| format!("{id}: {word:?} is missing: {line}")));
        let mut facts = healthy();
        close(&mut facts);
        let report = Report::new(&facts);
        if !report.findings.is_empty() {
            mistakes.push(format!("close to {id}: {}", report.text()));
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

#[test]
fn every_check_has_a_case_and_a_name_of_its_own() {
    let cases: Vec<&str> = CASES.iter().map(|(id, ..)| *id).collect();
    let ids: Vec<&str> = checks().map(|check| check.id).collect();
    assert_eq!(cases, ids);
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
    for check in checks() {
        let finding = |text: &str| !text.is_empty() && !text.contains('\n');
        assert!(finding(check.fires) && finding(check.looks_at), "{}", check.id);
        assert!(!check.fires.ends_with('.') && !check.fires.contains('|'), "{}", check.id);
    }
}

/// Programs that a remedy may begin with, and the words of the shell around them.
const PROGRAMS: [&str; 8] =
    ["corewire", "cpupower", "echo", "for", "swapoff", "sysctl", "systemctl", "ulimit"];

/// What keeps a finding's remedy from being pasted into a shell.
fn unfit(run: &str) -> Option<String> {
    let command = run.split("  # ").next().unwrap_or_default();
    let mut words = command.split(' ');
    let program = words.next().unwrap_or_default();
    if !PROGRAMS.contains(&program) {
        return Some(format!("{program:?} is no program"));
    }
    // A word in prose, a value left open.
    let open = ["and so on", " or ", "out of", "…", "...", "NAME", " ,", "= "];
    if let Some(word) = open.iter().find(|word| command.contains(**word)) {
        return Some(format!("{word:?} cannot be pasted"));
    }
    let parsed = std::process::Command::new("sh").args(["-n", "-c", run]).status();
    if !parsed.expect("there is a shell").success() {
        return Some("no shell takes it".into());
    }
    // The server's own options are read as the server would.
    let args: Vec<String> = words.map(str::to_owned).collect();
    let check = || {
        let (_, args) = config::parse_command(&args)?;
        config::load(Options::gateway(), None, std::iter::empty(), &args)
    };
    if program != "corewire" {
        return args.is_empty().then(|| "it says nothing but a program".into());
    }
    check().err().map(|error| error.to_string())
}

#[test]
fn every_finding_has_a_command_that_can_be_pasted() {
    let mut machines: Vec<(&str, Facts)> = Vec::new();
    for check in checks() {
        let case = CASES.iter().find(|(id, ..)| *id == check.id).expect("every check has a case");
        let mut facts = healthy();
        (case.1)(&mut facts);
        machines.push((check.id, facts));
    }
    // Where less is known of the machine, and where other causes have the same effect.
    let more: [(&str, fn(&mut Facts)); 6] = [
        ("unpinned", |f| (f.wanted.unpinned, f.cpus.allowed) = (Some("no CPUs"), None)),
        ("quota", |f| f.cpus.quota_milli = Some(500)),
        ("ring", |f| {
            (f.system.release, f.system.ring) = (Some((5, 4)), Some(super::case_tests::refused()));
        }),
        ("ring", |f| f.system.ring = Some(super::case_tests::refused())),
        ("ring_rung", |f| {
            f.system.ring = Some(Ring::Lower { name: "io_uring (coop)".into(), why: "no".into() });
            (f.system.release, f.wanted.driver) = (None, Driver::Uring);
        }),
        ("irq_piled", |f| {
            f.network.nics[0].irqs[1].cpus = vec![0];
            f.wanted.worker_cpus = (0..8).collect();
        }),
    ];
    for (id, change) in more {
        let mut facts = healthy();
        change(&mut facts);
        machines.push((id, facts));
    }
    let mut mistakes = Vec::new();
    for (id, facts) in machines {
        let report = Report::new(&facts);
        let Some(entry) = report.findings.iter().find(|entry| entry.id == id) else {
            mistakes.push(format!("{id}: it does not fire"));
            continue;
        };
        mistakes.extend(unfit(&entry.run).map(|why| format!("{id}: {why}: {}", entry.run)));
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    for prose in [
        "lower --conns-max to what you expect",
        "boot an unmodified Linux 6.0 or later",
        "permit io_uring_setup in the seccomp profile",
        "--worker-cores out of 0-5",
        "corewire --worker-cores out of 0-5",
        "corewire --cores 2",
        "echo 1 > /proc/irq/41/smp_affinity_list, and so on",
        "sysctl",
        "for pair in 1:2; do echo ${pair#*:}",
    ] {
        assert!(unfit(prose).is_some(), "{prose}");
    }
}

#[test]
fn what_is_run_mends_what_was_found() {
    // The remedies that name CPUs: with them the same machine is healthy.
    let cpus = |run: &str| {
        let list = run.split("--worker-cores ").nth(1).and_then(|rest| rest.split(' ').next());
        super::parse::list(list.unwrap_or_default()).expect("a list of CPUs")
    };
    for id in ["unpinned", "worker_cores", "siblings", "isolated", "numa_workers", "numa_nic"] {
        let case = CASES.iter().find(|(other, ..)| *other == id).expect("it has a case");
        let mut facts = healthy();
        (case.1)(&mut facts);
        let chosen = cpus(&Report::new(&facts).findings[0].run);
        facts.wanted.unpinned = None;
        facts.wanted.workers = chosen.len();
        facts.wanted.worker_cpus = chosen;
        let left = Report::new(&facts);
        assert!(left.findings.iter().all(|entry| entry.id != id), "{}", left.text());
    }
}

#[test]
fn what_cannot_be_read_is_never_an_alarm() {
    let unknown = Facts { wanted: healthy().wanted, ..Facts::default() };
    assert_eq!(Report::new(&unknown).findings, []);
}

#[test]
fn the_worst_stands_first_and_decides() {
    let mut facts = healthy();
    facts.network.slow_start_after_idle = Some(1);
    facts.network.somaxconn = Some(128);
    let report = Report::new(&facts);
    assert!(!report.breaks());
    facts.system.file_max = Some(9);
    let report = Report::new(&facts);
    assert!(report.breaks());
    let words: Vec<_> = report.findings.iter().map(|entry| entry.severity).collect();
    assert_eq!(words, [Severity::Breaks, Severity::Costs, Severity::Hint]);
    let text = report.text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("breaks  fs.file-max lets"), "{text}");
    assert!(lines[1].starts_with("costs   net.core.somaxconn = 128"), "{text}");
    assert!(lines[2].starts_with("hint    net.ipv4"), "{text}");
    assert!(lines[3].contains("1 would break a deployment, 1 cost, 1 hint(s)"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(json["findings"][0]["severity"], "breaks");
    assert_eq!(json["findings"][1]["page"], "tuning.md#listening");
}

#[test]
fn a_healthy_machine_is_told_so_in_one_line() {
    let text = Report::new(&healthy()).text();
    assert_eq!(text.lines().count(), 1);
    assert!(text.contains("0 would break a deployment, 0 cost, 0 hint(s)\n"), "{text}");
}
