//! Reads the text back with a small parser of its own and holds it to the format.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{CoreSnapshot, Endings, Histograms};
use super::*;

const LABELS: [&str; 4] = ["client_closed", "ping_timeout", "slow_consumer", "ping_timeout"];

type Labels = BTreeMap<String, String>;

/// A text as a scraper sees it.
#[derive(Default)]
struct Parsed {
    /// The type of each family, by name.
    types: BTreeMap<String, String>,
    samples: Vec<(String, Labels, f64)>,
}

impl Parsed {
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Labels = labels
            .iter()
            .map(|(label, content)| ((*label).to_owned(), (*content).to_owned()))
            .collect();
        let mut found = self.samples.iter().filter(|(at, with, _)| at == name && *with == wanted);
        let (_, _, value) = found.next().unwrap_or_else(|| panic!("no {name} {labels:?}"));
        assert!(found.next().is_none(), "{name} {labels:?} stands twice");
        *value
    }
}

/// Parses `text`, and panics where it breaks the format.
fn parse(text: &str) -> Parsed {
    assert!(text.ends_with('\n'), "the last line ends too");
    let mut parsed = Parsed::default();
    let mut open: Option<String> = None;
    let mut seen = BTreeSet::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help");
            assert!(!help.is_empty());
            let type_line = lines.next().expect("a TYPE follows each HELP");
            let kind = type_line
                .strip_prefix(&format!("# TYPE {name} "))
                .unwrap_or_else(|| panic!("{type_line} is not the TYPE of {name}"));
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
            let before = parsed.types.insert(name.to_owned(), kind.to_owned());
            assert!(before.is_none(), "family {name} is opened twice");
            open = Some(name.to_owned());
            continue;
        }
        assert!(!line.starts_with('#') && !line.is_empty(), "{line:?}");
        let family = open.as_deref().expect("samples follow a TYPE");
        let (name, labels, value) = sample(line);
        let rest = name.strip_prefix(family).unwrap_or_else(|| panic!("{name} in {family}"));
        let suffixes: &[&str] = match parsed.types[family].as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(suffixes.contains(&rest), "{name} in {family}");
        assert!(seen.insert((name.clone(), labels.clone())), "{line} stands twice");
        parsed.samples.push((name, labels, value));
    }
    parsed
}

/// One sample line: `name{label="value",...} number`.
fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).expect("a name ends");
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if let Some(mut inner) = rest.strip_prefix('{') {
        loop {
            let (label, after) = inner.split_once("=\"").expect("a label");
            let (content, after) = quoted(after);
            assert!(labels.insert(label.to_owned(), content).is_none());
            match after.strip_prefix(',') {
                Some(more) => inner = more,
                None => {
                    rest = after.strip_prefix('}').expect("labels end");
                    break;
                }
            }
        }
    }
    let number = rest.strip_prefix(' ').expect("one blank before the value");
    (name.to_owned(), labels, number.parse().expect("a number"))
}

/// The content up to the closing quotation mark, unescaped, and what follows it.
fn quoted(text: &str) -> (String, &str) {
    let mut content = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (content, &text[at + 1..]),
            '\\' => content.push(match characters.next() {
                Some((_, 'n')) => '\n',
                Some((_, other @ ('\\' | '"'))) => other,
                other => panic!("no such escape: {other:?}"),
            }),
            other => content.push(other),
        }
    }
    panic!("no closing quotation mark in {text:?}");
}

fn snapshot(core: usize) -> CoreSnapshot {
    let mut endings = Endings::new(LABELS.len());
    let mut hists = Histograms::new();
    for index in [0, 1, 3, 3] {
        endings.count(index);
    }
    for us in [1, 100, 101, 600, 1_000_000, 20_000_000, 90_000_000] {
        hists.record(Stage::Handler, us);
    }
    CoreSnapshot {
        core,
        label: format!("worker-{core}"),
        counters: Counters { events_in: 41 + core as u64, connections: 3, ..Counters::default() },
        endings,
        hists,
        taken_at_us: 9_000_000,
        uptime_us: 8_000_001,
        pinned: (core == 0).then_some(6),
        driver: "io_uring \"coop\\single\"\nrung 1".to_owned(),
        busy_us: 2_500_000,
    }
}

fn rendered() -> Parsed {
    let mut totals = Totals::new();
    totals.absorb(snapshot(0));
    totals.absorb(snapshot(1));
    parse(&render(&totals, &LABELS, "1.2.3-\"x\"").finish())
}

#[test]
fn every_number_of_the_table_is_there_for_every_core() {
    let parsed = rendered();
    for row in Counters::TABLE {
        let kind = match row.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        assert_eq!(parsed.types[row.metric], kind);
        for core in ["0", "1"] {
            let value = parsed.value(row.metric, &[("core", core)]);
            assert!(value == 0.0 || ["events_in", "connections"].contains(&row.name));
        }
    }
    let value = |name, core| parsed.value(name, &[("core", core)]);
    assert_eq!(value("corewire_events_in_total", "0"), 41.0);
    assert_eq!(value("corewire_events_in_total", "1"), 42.0);
    assert_eq!(value("corewire_connections", "1"), 3.0);
    assert_eq!(value("corewire_core_busy_seconds_total", "1"), 2.5);
    assert_eq!(value("corewire_core_uptime_seconds", "0"), 8.000_001);
}

#[test]
fn label_values_survive_quotes_backslashes_and_line_feeds() {
    let parsed = rendered();
    assert_eq!(parsed.value("corewire_build_info", &[("version", "1.2.3-\"x\"")]), 1.0);
    for (core, cpu) in [("0", "6"), ("1", "")] {
        let label = format!("worker-{core}");
        let labels = [
            ("core", core),
            ("label", label.as_str()),
            ("driver", "io_uring \"coop\\single\"\nrung 1"),
            ("cpu", cpu),
        ];
        assert_eq!(parsed.value("corewire_core_info", &labels), 1.0);
    }
    let mut out = Exposition::new();
    out.family("x", "two\nlines \\ and \"quotes\"", Kind::Gauge);
    assert_eq!(out.finish(), "# HELP x two\\nlines \\\\ and \"quotes\"\n# TYPE x gauge\n");
}

#[test]
fn endings_that_share_a_label_are_added_up() {
    let parsed = rendered();
    let value = |ending, core| {
        parsed.value("corewire_endings_total", &[("ending", ending), ("core", core)])
    };
    assert_eq!(value("client_closed", "0"), 1.0);
    assert_eq!(value("ping_timeout", "1"), 3.0);
    assert_eq!(value("slow_consumer", "1"), 0.0, "never happened, and says so");

    let mut totals = Totals::new();
    totals.absorb(snapshot(0));
    let short = parse(&render(&totals, &LABELS[..1], "1").finish());
    let unknown = [("ending", "unknown"), ("core", "0")];
    assert_eq!(short.value("corewire_endings_total", &unknown), 3.0);
}

#[test]
fn buckets_are_cumulative_and_the_last_is_the_count() {
    let parsed = rendered();
    for stage in Stage::ALL.iter().map(|stage| stage.name()) {
        let mut edges = Vec::new();
        for (name, labels, value) in &parsed.samples {
            if name == "corewire_latency_seconds_bucket" && labels["stage"] == stage {
                let edge: f64 = labels["le"].parse().expect("+Inf is a float too");
                edges.push((edge, *value));
            }
        }
        assert_eq!(edges.len(), EDGES.len() + 1);
        for pair in edges.windows(2) {
            assert!(pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1, "{stage}: {pair:?}");
        }
        let (edge, all) = edges[EDGES.len()];
        assert!(edge.is_infinite());
        let count = parsed.value("corewire_latency_seconds_count", &[("stage", stage)]);
        assert_eq!(all, count, "{stage}");
    }
    let below = |le| {
        let labels = [("stage", "handler"), ("le", le)];
        parsed.value("corewire_latency_seconds_bucket", &labels)
    };
    // Two cores, each with 1, 100, 101 and 600 µs, 1, 20 and 90 s.
    for (le, expected) in [
        ("0.0001", 4.0),
        ("0.0002", 6.0),
        ("0.0005", 6.0),
        ("0.001", 8.0),
        ("0.5", 8.0),
        ("2", 10.0),
        ("10", 10.0),
        ("+Inf", 14.0),
    ] {
        assert_eq!(below(le), expected, "le {le}");
    }
    let sum = parsed.value("corewire_latency_seconds_sum", &[("stage", "handler")]);
    assert_eq!(sum, 222.001_604, "exact, beyond the clamp too");
}

#[test]
fn edges_in_seconds_and_in_microseconds_agree() {
    for (edge, us) in EDGES {
        let told: f64 = edge.parse().expect("a number");
        assert!((told * 1e6 - us as f64).abs() < 1e-6, "{edge}");
    }
}

#[test]
fn nothing_absorbed_is_still_a_text_that_parses() {
    let parsed = parse(&render(&Totals::new(), &LABELS, "1").finish());
    assert_eq!(parsed.types.len(), Counters::TABLE.len() + 6);
    let count = [("stage", "rest_call")];
    assert_eq!(parsed.value("corewire_latency_seconds_count", &count), 0.0);
}

#[test]
fn no_label_but_those_that_are_bounded() {
    let allowed = ["version", "core", "label", "driver", "cpu", "ending", "stage", "le"];
    for (name, labels, _) in rendered().samples {
        for label in labels.keys() {
            assert!(allowed.contains(&label.as_str()), "{name} has {label}");
        }
    }
}
