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
const PROGRAMS: [&str; 7] =
    ["corewire", "cpupower", "echo", "for", "sysctl", "systemctl", "ulimit"];

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
        let (command, args) = config::parse_command(&args)?;
        let loaded = config::load(Options::gateway(), None, std::iter::empty(), &args)?;
        // Nothing is started by what is pasted.
        Ok::<_, config::ConfigError>((command != config::Command::Serve).then_some(loaded))
    };
    if program != "corewire" {
        return args.is_empty().then(|| "it says nothing but a program".into());
    }
    match check() {
        Ok(read) => read.is_none().then(|| "it starts a server".into()),
        Err(error) => Some(error.to_string()),
    }
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
    let more: [(&str, fn(&mut Facts)); 7] = [
        ("ports", |f| {
            (f.wanted.listen, f.wanted.conns_max) = (vec![([127, 0, 0, 1], 3001).into()], 16_000);
        }),
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
        "corewire doctor --worker-cores out of 0-5",
        "corewire doctor --cores 2",
        "corewire --workers 2",
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
    for id in ["worker_cores", "siblings", "isolated", "numa_workers", "numa_nic"] {
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

/// The remedy of a check that fires.
fn remedy(facts: &Facts, id: &str) -> Option<String> {
    let found = Report::new(facts).findings;
    found.into_iter().find(|entry| entry.id == id).map(|entry| entry.run)
}

#[test]
fn ports_that_are_run_short_of_are_found_no_more_after_what_is_run() {
    let mut facts = healthy();
    facts.wanted.listen = vec![([127, 0, 0, 1], 3001).into()];
    facts.network.reserved_ports = Some(vec![80, 5_000]);
    // No range has as many: fewer connections, and then the widest range.
    let run = remedy(&facts, "ports").expect("it fires");
    assert!(run.starts_with("corewire doctor --conns-max 16127  # "), "{run}");
    facts.wanted.conns_max = 16_127;
    let run = remedy(&facts, "ports").expect("the range is narrow yet");
    let keys = "net.ipv4.ip_local_reserved_ports=80,3001-3002,5000 \
                net.ipv4.ip_local_port_range='1024 65535'";
    assert_eq!(run, format!("sysctl -w {keys}"));
    facts.network.reserved_ports = Some(vec![80, 3_001, 3_002, 5_000]);
    facts.network.port_range = Some((1_024, 65_535));
    assert_eq!(remedy(&facts, "ports"), None);
    assert_eq!(remedy(&facts, "port_reserved"), None);
    // Where the range is the widest there is, it is not asked for again.
    facts.wanted.conns_max = 50_000;
    let run = remedy(&facts, "ports").expect("it fires");
    assert!(run.starts_with("corewire doctor --conns-max 16127  # "), "{run}");
}

#[test]
fn what_was_asked_is_asked_again_but_for_what_is_to_change() {
    let mut facts = healthy();
    let args = ["--config=/etc/a b's.toml", "--worker-cores=0-8", "--workers=9", "--takeover=true"];
    facts.args = args.map(String::from).to_vec();
    facts.wanted.worker_cpus = vec![4, 5, 6, 8];
    facts.wanted.open_settings = vec!["auth_mode"];
    let file = r"'--config=/etc/a b'\''s.toml'";
    let run = remedy(&facts, "worker_cores").expect("it fires");
    let options = "--takeover=true --workers 4 --worker-cores 4-7";
    let note = "then in corewire.toml or the unit";
    assert_eq!(run, format!("corewire doctor {file} {options}  # {note}"));
    let run = remedy(&facts, "open_settings").expect("it fires");
    let all = "--worker-cores=0-8 --workers=9 --takeover=true";
    assert_eq!(run, format!("corewire check-config {file} {all}  # each warning says what to set"));
}

#[test]
fn cpus_are_chosen_among_those_that_workers_may_use() {
    // The card's node has CPUs 0 to 3, of which this process has one and one is isolated.
    let mut facts = healthy();
    facts.cpus.nodes = vec![(0..4).collect(), (4..8).collect()];
    facts.cpus.allowed = Some(vec![1, 4, 5, 6, 7]);
    facts.cpus.isolated = Some(vec![3]);
    let run = remedy(&facts, "numa_nic").expect("it fires");
    assert!(run.contains("--workers 2 --worker-cores 1,3  # "), "{run}");
    facts.cpus.allowed = Some((4..8).collect());
    facts.cpus.isolated = None;
    assert_eq!(remedy(&facts, "numa_nic"), None);
    // On two nodes: of each only what may be used counts.
    facts.cpus.allowed = Some(vec![0, 1, 2, 6, 7]);
    facts.wanted.worker_cpus = vec![2, 6];
    facts.wanted.workers = 2;
    let run = remedy(&facts, "numa_workers").expect("it fires");
    assert!(run.contains("--workers 2 --worker-cores 1-2  # "), "{run}");
    // A worker's CPU that is there, but not for this process.
    facts.wanted.worker_cpus = vec![2, 3];
    let run = remedy(&facts, "worker_cores").expect("it fires");
    assert!(run.contains("--workers 2 --worker-cores 2,7  # "), "{run}");
    // Workers on isolated CPUs are not too many for the CPUs that everybody has.
    facts.cpus.allowed = Some(vec![0, 1]);
    facts.cpus.isolated = Some((2..8).collect());
    (facts.wanted.workers, facts.wanted.worker_cpus) = (6, (2..8).collect());
    assert_eq!(remedy(&facts, "workers"), None);
    assert_eq!(remedy(&facts, "worker_cores"), None);
}

#[test]
fn no_two_lines_speak_of_too_many_workers() {
    let mut facts = healthy();
    facts.wanted.worker_cpus.clear();
    (facts.wanted.workers, facts.wanted.unpinned) = (9, Some("more workers than CPUs"));
    assert!(remedy(&facts, "workers").is_some());
    assert_eq!(remedy(&facts, "unpinned"), None);
    facts.wanted.workers = 8;
    assert!(remedy(&facts, "unpinned").is_some());
}

#[test]
fn cores_of_cards_and_of_the_lowest_cpu_are_not_free_for_workers() {
    let mut facts = healthy();
    facts.cpus.cores = (0..4).map(|core| vec![2 * core, 2 * core + 1]).collect();
    (facts.wanted.workers, facts.wanted.worker_cpus) = (3, vec![4, 5, 6]);
    facts.network.nics[0].irqs[1].cpus = vec![3];
    assert_eq!(remedy(&facts, "siblings"), None);
    facts.network.nics.clear();
    assert!(remedy(&facts, "siblings").is_some());
    // One core for each but one: some would have to go.
    (facts.wanted.workers, facts.wanted.worker_cpus) = (4, vec![4, 5, 6, 7]);
    assert_eq!(remedy(&facts, "siblings"), None);
}

#[test]
fn the_ceiling_of_descriptors_is_raised_before_the_limit() {
    let mut facts = healthy();
    (facts.system.nofile_hard, facts.system.nr_open) = (Some(1_024), Some(4_096));
    let found = Report::new(&facts).findings;
    assert_eq!(found.iter().map(|entry| entry.id).collect::<Vec<_>>(), ["nr_open", "nofile"]);
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
