//! `corewire doctor` on whatever machine the tests run on.

use std::process::{Command, Stdio};

use crate::program::{command, command_after};

/// Small enough for any machine: what is found then is the machine's, and never a break.
const SMALL: [&str; 3] = ["doctor", "--workers=1", "--conns-max=10"];

/// Exit code, standard output, standard error.
fn run(mut command: Command) -> (i32, String, String) {
    let output = command.stdin(Stdio::null()).output().expect("the program is built");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn small(more: &[&str]) -> Command {
    let mut command = command(&SMALL);
    command.args(more);
    command
}

#[test]
fn each_finding_is_a_line_with_what_to_run_and_the_last_line_sums_up() {
    let (code, said, errors) = run(small(&["--listen=0.0.0.0:1"]));
    assert_eq!(code, 0, "{said}");
    // Clients that others can reach are believed: that is said to whoever reads a configuration,
    // and so is every other setting that is left open to them.
    assert!(errors.starts_with("corewire: warning: auth_mode = \"trusted\""), "{errors}");
    let warned = |line: &str| line.starts_with("corewire: warning: ") && line.contains("; set ");
    assert!(errors.lines().all(warned), "{errors}");
    let open = format!("{} options are open to strangers: auth_mode", errors.lines().count());
    assert!(said.contains(&open), "{said}");
    // What was asked is asked again.
    let again = "-> corewire check-config --listen=0.0.0.0:1 --workers=1 --conns-max=10  # ";
    assert!(said.contains(again), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    let (last, findings) = lines.split_last().expect("a line that sums up");
    for line in findings {
        let (word, rest) = line.split_once(' ').expect("a word");
        assert!(["costs", "hint"].contains(&word), "{line}");
        let (is, run) = rest.split_once(" -> ").expect("what to run");
        assert!(!is.trim().is_empty() && !run.trim().is_empty(), "{line}");
    }
    let count = |word: &str| findings.iter().filter(|line| line.starts_with(word)).count();
    let (costs, hints) = (count("costs"), count("hint"));
    let sum = format!("checks: 0 would break a deployment, {costs} cost, {hints} hint(s)");
    assert!(last.contains(&sum), "{last}");
}

#[test]
fn too_few_descriptors_break_and_the_remedy_is_named() {
    let few = "ulimit -n 300; exec \"$0\" \"$@\"";
    let (code, said, _) = run(command_after(few, &["doctor", "--workers=1", "--conns-max=1000"]));
    assert_eq!(code, 1, "{said}");
    let first = said.lines().next().unwrap_or_default();
    assert!(first.starts_with("breaks  300 descriptors for 1000 connections -> "), "{said}");
    assert!(first.contains("LimitNOFILE=2048") && first.contains("ulimit -n 2048"), "{said}");
    assert!(said.lines().next_back().unwrap_or_default().contains(" would break"), "{said}");
}

#[test]
fn programs_are_told_in_json() {
    for format in [&["--format=json"][..], &["--format", "json"]] {
        let (code, said, _) = run(small(format));
        let told: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(code, 0, "{said}");
        for finding in told["findings"].as_array().expect("a list") {
            for key in ["id", "severity", "is", "run", "page"] {
                assert!(finding[key].as_str().is_some_and(|text| !text.is_empty()), "{finding}");
            }
        }
        assert!(told["checked"].as_u64().is_some_and(|checked| checked > 30), "{said}");
    }
}

#[test]
fn it_reads_the_configuration_as_the_server_does() {
    let (code, _, errors) = run(small(&["--format=xml"]));
    assert_eq!(code, 2);
    assert!(errors.contains("--format") && errors.contains("text or json"), "{errors}");
    let (code, _, errors) = run(small(&["--workrs=2"]));
    assert_eq!(code, 2);
    assert!(errors.contains("--workers"), "{errors}");
    let mut exposed = small(&["--admin-listen=0.0.0.0:1"]);
    exposed.env("COREWIRE_API_KEY", "a-key-for-this-test");
    let (_, said, _) = run(exposed);
    let open = said.lines().find(|line| line.contains("open to strangers"));
    assert!(open.is_some_and(|line| line.contains(" api_key, admin_listen ")), "{said}");
}
