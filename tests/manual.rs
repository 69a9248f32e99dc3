//! The generated pages of the manual are those the code generates. After a change of a table:
//! `UPDATE_PAGES=1 cargo test --test manual`.

use std::fmt::Write as _;
use std::path::Path;

use corewire::shard::Ending;
use corewire::telemetry::{Counters, Kind, Stage, Totals, render};

/// The page and how it is made.
type Page = (&'static str, fn() -> String);

const PAGES: [Page; 4] = [
    ("failure.md", failure),
    ("configuration.md", configuration),
    ("metrics.md", metrics),
    ("security.md", security),
];

const MADE: &str = "UPDATE_PAGES=1 cargo test --test manual";

const BEGIN: &str =
    "<!-- made from src/config/exposure.rs by UPDATE_PAGES=1 cargo test --test manual -->\n\n";
const END: &str = "\n<!-- end of what is made -->\n";

/// The page as it is, with the table that is made from the code.
fn security() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual/security.md");
    let page = std::fs::read_to_string(path).expect("the page is there");
    let (before, rest) = page.split_once(BEGIN).expect("the table begins");
    let (_, after) = rest.split_once(END.trim_start()).expect("the table ends");
    [before, BEGIN, &corewire::config::open_markdown(), END, after].concat()
}

fn failure() -> String {
    format!(
        "# How things end\n\n\
         Every way in which a connection, a session or a socket ends is a row of the table in\n\
         `shard/ending.rs`, from which this page is made. The first column is the label `ending` of\n\
         `corewire_endings_total` and stands in the log.\n\n\
         - *whose doing* decides the log level: nobody is `debug`, peer and policy are `info`, ours\n  \
         is `error`.\n\
         - *WebSocket code*: `none` is a close frame without a code, which is what Node sends.\n\
         - *reason*: what a disconnect handler sees, in the words of a Node server.\n\
         - *client comes back*: whether the official client reconnects by itself.\n\n\
         A polling client learns of its end from the answer of its next poll; its session waits for\n\
         that poll up to 30 s where there is something to say.\n\n\
         What keeps the server from starting is one line on standard error, and an exit code that\n\
         is not 0: 2 for the configuration, 1 for the rest. `corewire doctor` finds\n\
         beforehand what the machine lacks for it, and what would end connections later. A panic\n\
         in a handler ends its socket. A panic inside a shard ends the process: half-changed state\n\
         must not serve on, and a supervisor starts it anew.\n\n{}",
        Ending::reference_markdown(),
    )
}

fn configuration() -> String {
    let reference = corewire::config::reference_markdown();
    let lines = reference.lines().map(|line| quote_addresses(line) + "\n");
    format!("# Configuration\n\n{}", lines.collect::<String>())
}

/// Puts URLs and addresses in backticks: Markdown would take them for links.
fn quote_addresses(line: &str) -> String {
    let quote = |word: &str| -> String {
        let bare = word.trim_end_matches([',', '.']);
        let is_address = bare.starts_with("https://") || bare.starts_with("[::]");
        if is_address { format!("`{bare}`{}", &word[bare.len()..]) } else { word.to_owned() }
    };
    let parts = line.split('`').enumerate().map(|(at, part)| match at % 2 {
        0 => part.split(' ').map(quote).collect::<Vec<_>>().join(" "),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("`")
}

fn metrics() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         `GET /metrics` on the admin listener, as Prometheus text. No label holds what a client\n\
         sent: the number of series does not grow with users or rooms. This page is made from the\n\
         tables in `telemetry/`. The label `core` is a worker's number, and the number after the\n\
         last worker's is the admin core.\n\n\
         ## Latency\n\n\
         `corewire_latency_seconds`, a histogram by `stage`; the same stages, in microseconds, are\n\
         what `GET /socket/latency` tells by percentile.\n\n\
         | stage | what is timed |\n| --- | --- |\n",
    );
    for stage in Stage::ALL {
        row(&mut page, &[&format!("`{}`", stage.name()), stage.help()]);
    }
    for (kind, heading) in [(Kind::Counter, "Counters"), (Kind::Gauge, "Gauges")] {
        let _infallible = write!(page, "\n## {heading}\n\nOne series a core.\n\n");
        page.push_str("| metric | meaning |\n| --- | --- |\n");
        for counter in Counters::TABLE.iter().filter(|row| row.kind == kind) {
            row(&mut page, &[&format!("`{}`", counter.metric), counter.help]);
        }
    }
    page.push_str("\n## Others\n\n| metric | type | meaning |\n| --- | --- | --- |\n");
    for (name, kind, help) in others() {
        row(&mut page, &[&format!("`{name}`"), &kind, &help]);
    }
    page.push_str(
        "\nThe admin core adds `process_resident_memory_bytes`, `process_cpu_seconds_total`,\n\
         `corewire_up`, `corewire_uptime_seconds`, `corewire_core_healthy`,\n\
         `corewire_memory_pressure`, `corewire_memory_used_bytes`, `corewire_memory_soft_bytes`,\n\
         `corewire_memory_hard_bytes`,\n\
         `corewire_core_stalls_total`, and for the gateway `corewire_gateway_rooms` and\n\
         `corewire_gateway_users`; for webhooks, one series a `hook`, `corewire_hook_open` and\n\
         `corewire_hook_queue`.\n",
    );
    page
}

fn row(page: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    let _infallible = writeln!(page, "| {} |", cells.join(" | "));
}

/// Families of the text that stand in no table: name, type, help.
fn others() -> Vec<(String, String, String)> {
    let text = render(&Totals::new(), Ending::LABELS, "0").finish();
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' '))
        else {
            continue;
        };
        let kind = lines.next().and_then(|line| line.rsplit_once(' ')).map_or("", |pair| pair.1);
        if Counters::TABLE.iter().all(|row| row.metric != name) {
            found.push((name.to_owned(), kind.to_owned(), help.to_owned()));
        }
    }
    found
}

#[test]
#[expect(clippy::disallowed_methods, reason = "whoever runs the test says whether it writes")]
fn pages_are_what_the_code_generates() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual");
    let update = std::env::var("UPDATE_PAGES").is_ok_and(|wanted| wanted == "1");
    let mut stale = Vec::new();
    for (name, make) in PAGES {
        let (path, page) = (folder.join(name), make());
        if std::fs::read_to_string(&path).is_ok_and(|committed| committed == page) {
            continue;
        }
        if update {
            std::fs::write(&path, page).expect("the manual can be written");
        } else {
            stale.push(name);
        }
    }
    assert!(stale.is_empty(), "out of step: {}; write them with {MADE}", stale.join(", "));
}

#[test]
fn every_page_is_a_module_and_has_a_title() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual");
    let modules = std::fs::read_to_string(folder.join("mod.rs")).expect("it is there");
    for entry in std::fs::read_dir(&folder).expect("it is there") {
        let path = entry.expect("it can be listed").path();
        let name = path.file_name().expect("it is a file").to_string_lossy().into_owned();
        if name == "mod.rs" {
            continue;
        }
        assert!(modules.contains(&format!("include_str!(\"{name}\")")), "{name} is in no module");
        let text = std::fs::read_to_string(&path).expect("it is text");
        assert!(text.starts_with("# "), "{name} has no title");
    }
}

#[test]
fn tables_make_whole_rows() {
    for (name, make) in PAGES {
        let page = make();
        let mut columns = None;
        for line in page.lines() {
            if !line.starts_with('|') {
                columns = None;
                continue;
            }
            let bars = line.replace("\\|", "").matches('|').count();
            assert_eq!(*columns.get_or_insert(bars), bars, "{name}: {line}");
        }
        assert!(!page.contains("| |"), "{name} has an empty cell");
    }
    assert_eq!(quote_addresses("`[::]:1` or [::]:2, or 3"), "`[::]:1` or `[::]:2`, or 3");
}
