//! Reads the sources and refuses what no compiler does: breached walls, missing signs, files that
//! grow, words that promise work. Each rule is a function from a file to its breaches, and has a
//! test that shows it catching one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Longest file.
const LINES_MAX: usize = 500;

/// Files that were longer when the rule came, at most at these lengths. A figure may fall, never
/// rise; a file that has become short enough leaves the list.
const LONG_FILES: &[(&str, usize)] = &[];

/// Files that may hold unsafe code, and why.
const UNSAFE_FILES: &[(&str, &str)] = &[
    ("src/main.rs", "the stack of a library's thread is set by the environment, before threads"),
    ("src/worker/fd.rs", "monoio hands out raw descriptors only; socket filters have no crate"),
    ("tests/runtime_facts.rs", "it shows what the worker's unsafe lines rely on"),
];

/// Waits of client tests: the file, how many, and why they are no sleep in disguise.
const WAITS: &[(&str, usize, &str)] = &[
    ("tests/clients/lib.mjs", 2, "the limit of a wait, and the step between two looks"),
    ("tests/clients/network.mjs", 1, "a slow network is one where bytes come later"),
    ("tests/clients/webhooks.test.mjs", 1, "a place that comes free late is what is tested"),
];

/// What each folder may import of ours. Down only, codecs never sideways.
const IMPORTS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("http", &[]),
    ("ws", &[]),
    ("deflate", &[]),
    ("engineio", &["base"]),
    ("socketio", &["base"]),
    ("telemetry", &[]),
    ("config", &[]),
    ("doctor", &["config"]),
    ("manual", &[]),
    ("shard", &["base", "deflate", "http", "ws", "engineio", "socketio", "telemetry"]),
    ("assets", &["shard"]),
    ("auth", &["base", "config"]),
    ("api", &["base", "socketio", "telemetry", "shard"]),
    ("gateway", &["base", "config", "socketio", "auth", "api"]),
    ("sim", &["base", "ws", "engineio", "socketio", "telemetry", "shard", "api"]),
    ("mesh", &["base", "shard"]),
    ("worker", &["base", "http", "telemetry", "shard", "api", "mesh"]),
    ("command", &["base", "config", "telemetry", "socketio", "auth", "api", "gateway"]),
    ("bridge", &["base", "config", "telemetry", "socketio", "auth", "api", "gateway", "command"]),
    ("admin", &["base", "http", "config", "telemetry", "shard", "api", "gateway", "command"]),
    (
        "server",
        &[
            "base",
            "deflate",
            "http",
            "config",
            "telemetry",
            "shard",
            "auth",
            "api",
            "gateway",
            "assets",
            "mesh",
            "worker",
            "command",
            "bridge",
            "admin",
        ],
    ),
    ("survey", &["config", "doctor", "worker", "server"]),
];

/// Folders that know no socket, clock, thread or environment: time and bytes are handed in.
const PURE: &[&str] = &[
    "base",
    "http",
    "ws",
    "deflate",
    "engineio",
    "socketio",
    "shard",
    "api",
    "auth",
    "gateway",
    "telemetry",
    "config",
    "doctor",
    "assets",
    "sim",
    "manual",
];

/// What only the other folders may name.
const DOORS: &[&str] = &[
    "monoio",
    "tokio",
    "io_uring::",
    "libc::",
    "rustix",
    "socket2",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "std::thread",
    "thread::spawn",
    "thread::sleep",
    "Instant::now",
    "SystemTime::now",
    "std::fs",
    "std::env",
];

/// A file of the repository.
struct Source {
    /// From the root of the repository, with slashes.
    path: String,
    text: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// The folder of `src` it is in; nothing for the crate's own files.
    fn folder(&self) -> Option<&str> {
        self.path.strip_prefix("src/")?.split_once('/').map(|(folder, _)| folder)
    }

    /// Whether it is all tests.
    fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let inside = self.path.starts_with("tests/") || self.path.contains("/tests/");
        inside || name == "tests.rs" || name.ends_with("_tests.rs") || name == "mistakes.rs"
    }

    /// Its lines with their numbers, comments left out.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.text.lines().enumerate().map(|(at, line)| (at + 1, line));
        numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The same without the tests at its foot.
    fn product(&self) -> impl Iterator<Item = (usize, &str)> {
        let foot = self.text.lines().position(|line| line == "mod tests {").unwrap_or(usize::MAX);
        let is_test = self.is_test();
        self.code().filter(move |(line, _)| !is_test && *line <= foot)
    }

    fn breach(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

/// Whether `word` stands in `line` and is no part of a longer word at its left.
fn says(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|before| !(before.is_alphanumeric() || before == '_'))
    })
}

// The rules.

fn doors(source: &Source) -> Vec<String> {
    if !source.folder().is_some_and(|folder| PURE.contains(&folder)) {
        return Vec::new();
    }
    let named = |line: &str| DOORS.iter().find(|door| says(line, door)).copied();
    let found = source.code().filter_map(|(at, line)| Some((at, named(line)?)));
    found.map(|(at, door)| source.breach(at, &format!("{door} in a pure folder"))).collect()
}

/// Names behind `crate::` in a line, with those of a list in braces.
fn imports_of(line: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let name = |text: &str| -> String { text.chars().take_while(|c| is_name(*c)).collect() };
    let mut found = Vec::new();
    for (at, start) in line.match_indices("crate::") {
        let rest = &line[at + start.len()..];
        match rest.strip_prefix('{') {
            Some(list) => found.extend(list.split([',', '{', '}']).map(|part| name(part.trim()))),
            None => found.push(name(rest)),
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

fn imports(source: &Source) -> Vec<String> {
    let Some(folder) = source.folder() else { return Vec::new() };
    let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == folder) else {
        return vec![source.breach(1, &format!("{folder} stands in no row of IMPORTS"))];
    };
    let known: Vec<&str> = IMPORTS.iter().map(|(name, _)| *name).collect();
    let mut breaches = Vec::new();
    for (at, line) in source.product() {
        for name in imports_of(line) {
            let wrong = known.contains(&&*name) && name != folder && !allowed.contains(&&*name);
            if wrong {
                breaches.push(source.breach(at, &format!("{folder} must not import {name}")));
            }
        }
    }
    breaches
}

fn sign(source: &Source) -> Vec<String> {
    let Some(folder) = source.path.strip_prefix("src/").and_then(|p| p.strip_suffix("/mod.rs"))
    else {
        return Vec::new();
    };
    if folder.contains('/') {
        return Vec::new();
    }
    let mut breaches = Vec::new();
    if !source.text.starts_with(&format!("//! # {folder}: ")) {
        breaches.push(source.breach(1, "a sign begins with the folder's name and what it is"));
    }
    for part in ["Owns", "Imports:"] {
        if !source.text.lines().any(|line| line.starts_with("//!") && line.contains(part)) {
            breaches.push(source.breach(1, &format!("the sign does not say {part:?}")));
        }
    }
    breaches
}

fn length(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    let listed = LONG_FILES.iter().find(|(path, _)| *path == source.path);
    match listed {
        Some(_) if lines <= LINES_MAX => {
            vec![source.breach(lines, "short enough by now: take it off LONG_FILES")]
        }
        Some((_, allowed)) if lines > *allowed => {
            vec![source.breach(lines, &format!("grew beyond {allowed} lines; divide it"))]
        }
        None if lines > LINES_MAX => {
            vec![source.breach(lines, &format!("longer than {LINES_MAX} lines; divide it"))]
        }
        _ => Vec::new(),
    }
}

fn holds_unsafe(line: &str) -> bool {
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait"]
        .iter()
        .any(|form| says(line, form))
}

fn no_unsafe(source: &Source) -> Vec<String> {
    // This file shows what it refuses.
    let is_this = source.path == "tests/tidy.rs";
    if is_this || UNSAFE_FILES.iter().any(|(path, _)| *path == source.path) {
        return Vec::new();
    }
    let found = source.code().filter(|(_, line)| holds_unsafe(line));
    found.map(|(at, _)| source.breach(at, "unsafe in a file that is not listed")).collect()
}

/// Assembled, so that this file does not hold them.
fn banned_words() -> [(String, &'static str); 6] {
    let word = |parts: [&str; 2]| parts.concat();
    [
        (word(["TO", "DO"]), "what is missing is an issue or a line of the manual"),
        (word(["FIX", "ME"]), "what is wrong is mended or written down as an issue"),
        (word(["to", "do!("]), "what is not built is refused with a line that says so"),
        (word(["unimple", "mented!("]), "what is not built is refused with a line that says so"),
        (word(["#[ign", "ore"]), "a test runs or goes"),
        (word(["#[al", "low("]), "use expect with a reason: it goes stale loudly"),
    ]
}

/// In comments too.
fn words(source: &Source) -> Vec<String> {
    let banned = banned_words();
    let mut breaches = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        for (_, why) in banned.iter().filter(|(word, _)| line.contains(word.as_str())) {
            breaches.push(source.breach(at + 1, why));
        }
    }
    breaches
}

fn waits(source: &Source) -> Vec<String> {
    let is_client_test = source.path.starts_with("tests/clients/");
    let waits = |line: &str| says(line, "setTimeout(") || says(line, "sleep(");
    let found: Vec<usize> =
        source.code().filter(|(_, line)| waits(line)).map(|(at, _)| at).collect();
    let listed = WAITS.iter().find(|(path, ..)| *path == source.path);
    let allowed = listed.map_or(0, |(_, count, _)| *count);
    if !is_client_test || found.len() <= allowed {
        return Vec::new();
    }
    found.iter().map(|at| source.breach(*at, "a test waits for something, not for time")).collect()
}

const RULES: [fn(&Source) -> Vec<String>; 7] =
    [doors, imports, sign, length, no_unsafe, words, waits];

// The files.

const ENDINGS: [&str; 4] = [".rs", ".mjs", ".py", ".toml"];

fn read(folder: &Path, name: &str, into: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository can be listed") {
        let path = entry.expect("it can be listed").path();
        let file = path.file_name().expect("it has a name").to_string_lossy().into_owned();
        let inner = format!("{name}/{file}");
        if path.is_dir() {
            if !["node_modules", "target", "__pycache__"].contains(&&*file) {
                read(&path, &inner, into);
            }
        } else if ENDINGS.iter().any(|ending| file.ends_with(ending)) {
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            into.push(Source::new(&inner, &text));
        }
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    for folder in ["src", "tests", "examples", "benches", "loadtest/src", "loadtest/tests"] {
        read(&root.join(folder), folder, &mut all);
    }
    assert!(all.len() > 100, "the sources were not found");
    all
}

#[test]
fn the_house_is_tidy() {
    let mut breaches = Vec::new();
    for source in sources() {
        for rule in RULES {
            breaches.extend(rule(&source));
        }
    }
    assert!(breaches.is_empty(), "{} breaches:\n{}", breaches.len(), breaches.join("\n"));
}

#[test]
fn every_folder_has_a_row_and_a_sign_and_is_not_deep() {
    let all = sources();
    let folders: BTreeSet<&str> = all.iter().filter_map(Source::folder).collect();
    let rows: BTreeSet<&str> = IMPORTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(folders, rows, "IMPORTS and the folders of src");
    for folder in folders {
        let path = format!("src/{folder}/mod.rs");
        assert!(all.iter().any(|source| source.path == path), "{folder} has no sign");
    }
    let deep = |source: &&Source| source.folder().is_some() && source.path.split('/').count() > 4;
    let deepest: Vec<&str> = all.iter().filter(deep).map(|source| &*source.path).collect();
    assert!(deepest.is_empty(), "more than two folders below src: {deepest:?}");
}

#[test]
fn lists_of_exceptions_are_not_longer_than_needed() {
    let all = sources();
    let find = |path: &str| all.iter().find(|source| source.path == path);
    for (path, reason) in UNSAFE_FILES {
        let source = find(path).unwrap_or_else(|| panic!("{path} is gone"));
        assert!(source.code().any(|(_, line)| holds_unsafe(line)), "{path} needs it no more");
        assert!(reason.len() > 20, "{path}: a reason is a sentence");
    }
    for (path, _) in LONG_FILES {
        assert!(find(path).is_some(), "{path} is gone");
    }
    for (path, count, reason) in WAITS {
        let source = find(path).unwrap_or_else(|| panic!("{path} is gone"));
        let is_wait = |line: &str| says(line, "setTimeout(") || says(line, "sleep(");
        let found = source.code().filter(|(_, line)| is_wait(line)).count();
        assert_eq!(found, *count, "{path}: {reason}");
    }
}

#[test]
fn imports_point_down() {
    // Each row names only folders of rows above its own, so there is no circle.
    for (at, (folder, allowed)) in IMPORTS.iter().enumerate() {
        for name in *allowed {
            let above = IMPORTS[..at].iter().any(|(other, _)| other == name);
            assert!(above, "{folder} imports {name}, which does not stand above it");
        }
        let pure = PURE.contains(folder);
        let doors = allowed.iter().find(|name| !PURE.contains(name));
        assert!(!pure || doors.is_none(), "{folder} is pure and imports {doors:?}");
    }
}

// Each rule catches its breach, and lets pass what only looks like one.

fn caught(rule: fn(&Source) -> Vec<String>, path: &str, text: &str) -> usize {
    rule(&Source::new(path, text)).len()
}

#[test]
fn a_door_in_a_pure_folder_is_caught() {
    for line in [
        "use std::net::TcpStream;",
        "let now = Instant::now();",
        "use monoio::time;",
        "    std::thread::spawn(run);",
        "let text = std::fs::read(path)?;",
    ] {
        assert_eq!(caught(doors, "src/shard/x.rs", line), 1, "{line}");
        assert_eq!(caught(doors, "src/worker/x.rs", line), 0, "{line}");
    }
    for line in ["/// What monoio does.", "let my_tokio = 1;", "use std::net::SocketAddr;"] {
        assert_eq!(caught(doors, "src/shard/x.rs", line), 0, "{line}");
    }
}

#[test]
fn an_import_that_points_up_or_sideways_is_caught() {
    for (path, line) in [
        ("src/ws/frame.rs", "use crate::http::Head;"),
        ("src/base/ids.rs", "fn x() { crate::shard::run() }"),
        ("src/shard/mod.rs", "use crate::{base::Key, api::App};"),
        ("src/gateway/mod.rs", "pub(crate) use crate::worker;"),
        ("src/gateway/mod.rs", "use crate::admin::call;"),
        ("src/new/mod.rs", ""),
    ] {
        assert_eq!(caught(imports, path, line), 1, "{path}: {line}");
    }
    for (path, line) in [
        ("src/shard/mod.rs", "use crate::{base::Key, ws};"),
        ("src/shard/mod.rs", "use crate::shard::Ending;"),
        ("src/ws/frame.rs", "// use crate::http::Head;"),
        ("src/ws/frame.rs", "#[cfg(test)]\nmod tests {\n    use crate::base::Rng;\n}"),
        ("src/ws/tests.rs", "use crate::base::Rng;"),
        ("src/main.rs", "use corewire::server::Server;"),
    ] {
        assert_eq!(caught(imports, path, line), 0, "{path}: {line}");
    }
    assert_eq!(imports_of("use crate::{a::B, c::{d, E}}; crate::f::g()"), ["a", "c", "d", "f"]);
}

#[test]
fn a_missing_sign_is_caught() {
    let good = "//! # ws: words\n//!\n//! Owns: nothing.\n//! Imports: nothing.\n";
    assert_eq!(caught(sign, "src/ws/mod.rs", good), 0);
    assert_eq!(caught(sign, "src/http/mod.rs", good), 1, "another folder's sign");
    assert_eq!(caught(sign, "src/ws/mod.rs", "//! # ws: words\n"), 2);
    assert_eq!(caught(sign, "src/ws/mod.rs", "mod frame;"), 3);
    assert_eq!(caught(sign, "src/admin/tests/mod.rs", "mod frame;"), 0);
}

#[test]
fn a_file_that_grows_is_caught() {
    let lines = |count: usize| "x\n".repeat(count);
    assert_eq!(caught(length, "src/ws/frame.rs", &lines(LINES_MAX)), 0);
    assert_eq!(caught(length, "src/ws/frame.rs", &lines(LINES_MAX + 1)), 1);
    for (path, allowed) in LONG_FILES {
        assert_eq!(caught(length, path, &lines(*allowed)), 0);
        assert_eq!(caught(length, path, &lines(*allowed + 1)), 1);
        assert_eq!(caught(length, path, &lines(LINES_MAX)), 1, "it leaves the list");
    }
}

#[test]
fn unsafe_code_is_caught() {
    for line in ["let x = unsafe { y() };", "unsafe fn x() {}", "    unsafe impl Send for X {}"] {
        assert_eq!(caught(no_unsafe, "src/ws/frame.rs", line), 1, "{line}");
        assert_eq!(caught(no_unsafe, UNSAFE_FILES[0].0, line), 0, "{line}");
    }
    for line in ["#![forbid(unsafe_code)]", "// unsafe { }", "let not_unsafe = 1;"] {
        assert_eq!(caught(no_unsafe, "src/ws/frame.rs", line), 0, "{line}");
    }
}

#[test]
fn words_that_promise_work_are_caught() {
    for (word, why) in banned_words() {
        assert_eq!(caught(words, "src/ws/frame.rs", &format!("// {word} later")), 1, "{why}");
    }
    assert_eq!(caught(words, "src/ws/frame.rs", "// to do this, read on; ignored"), 0);
}

#[test]
fn a_sleep_in_a_client_test_is_caught() {
    for line in ["await new Promise((done) => setTimeout(done, 500));", "    time.sleep(1)"] {
        assert_eq!(caught(waits, "tests/clients/new.test.mjs", line), 1, "{line}");
        assert_eq!(caught(waits, "src/server/drain.rs", line), 0, "{line}");
    }
    let (path, count, _) = WAITS[0];
    assert_eq!(caught(waits, path, &"setTimeout(f);\n".repeat(count)), 0);
    assert_eq!(caught(waits, path, &"setTimeout(f);\n".repeat(count + 1)), count + 1);
    assert_eq!(caught(waits, "tests/clients/new.test.mjs", "// no sleep(1) here"), 0);
}
