//! The rules by which instruction counts are judged; what counts them is `benches/instructions.rs`.

use std::collections::BTreeMap;

#[path = "../benches/count/compare.rs"]
mod compare;

use compare::{Baseline, Change, GROWTH_MAX, Judgement, RENEW, Ratio, judge};

fn counts(pairs: &[(&str, f64)]) -> BTreeMap<String, f64> {
    pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn made_with(rustc: &str) -> BTreeMap<String, String> {
    let rows = [("features", "built with none, found avx2"), ("rustc", rustc)];
    rows.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn baseline(pairs: &[(&str, f64)]) -> Baseline {
    Baseline { made_with: made_with("1.95.0"), instructions: counts(pairs) }
}

fn judged(found: &[(&str, f64)]) -> Judgement {
    judge(&baseline(&[("ws/read", 1_000.0)]), &made_with("1.95.0"), &counts(found))
}

#[test]
fn what_grows_beyond_the_tolerance_fails_and_says_what_to_do() {
    for count in [1_000.0, 1_029.0, 1_030.0, 971.0] {
        assert_eq!(judged(&[("ws/read", count)]), Judgement::default(), "{count}");
    }
    let grown = judged(&[("ws/read", 1_031.0)]);
    let [line] = &grown.failures[..] else { panic!("one failure: {grown:?}") };
    assert!(line.contains("ws/read grew by 3.1 %") && line.contains(RENEW), "{line}");
    assert_eq!(grown.hints, [""; 0]);
}

#[test]
fn what_became_cheaper_is_worth_a_hint_and_no_failure() {
    let cheaper = judged(&[("ws/read", 960.0)]);
    assert_eq!(cheaper.failures, [""; 0]);
    let [line] = &cheaper.hints[..] else { panic!("one hint: {cheaper:?}") };
    assert!(line.contains("ws/read") && line.contains(RENEW), "{line}");
}

#[test]
fn another_compiler_or_cpu_reports_only() {
    let baseline = baseline(&[("ws/read", 1_000.0)]);
    for (key, value) in [("rustc", "1.96.0"), ("features", "built with avx2, found avx2")] {
        let mut here = made_with("1.95.0");
        here.insert(key.to_owned(), value.to_owned());
        for count in [500.0, 1_000.0, 2_000.0] {
            let reported = judge(&baseline, &here, &counts(&[("ws/read", count)]));
            assert_eq!(reported.failures, [""; 0], "{key} {count}");
            let [line] = &reported.hints[..] else { panic!("one hint: {reported:?}") };
            assert!(line.contains(value) && line.contains("not judged"), "{line}");
        }
    }
}

#[test]
fn a_case_without_a_baseline_and_a_baseline_without_a_case_fail_under_any_compiler() {
    for rustc in ["1.95.0", "1.96.0"] {
        let baseline = baseline(&[("ws/old", 1_000.0)]);
        let found = judge(&baseline, &made_with(rustc), &counts(&[("ws/new", 1_000.0)]));
        let [new, old] = &found.failures[..] else { panic!("two failures: {found:?}") };
        assert!(new.contains("ws/new has no baseline") && new.contains(RENEW), "{new}");
        assert!(old.contains("ws/old has a baseline and is no case"), "{old}");
    }
}

#[test]
fn what_is_written_reads_back_and_is_within_the_tolerance() {
    let written = baseline(&[("shard/echo", 5_637.0), ("shard/pub-1000", 781.1)]);
    let read = Baseline::parse(&written.render()).expect("we wrote it");
    assert_eq!(read, written);
    for (name, count) in &read.instructions {
        let known = written.instructions.get(name).copied();
        assert_eq!(Change::of(*count, known), Change::Same(0.0), "{name}");
    }
    for broken in ["[made_with]", "x = 1", "[made_with]\n[instructions]\nx = \"many\"\n"] {
        let error = Baseline::parse(broken).expect_err(broken);
        assert!(error.starts_with("benches/baseline.toml: "), "{error}");
    }
}

#[test]
fn changes_have_their_size() {
    assert_eq!(Change::of(1.0, None), Change::New);
    assert!(matches!(Change::of(104.0, Some(100.0)), Change::Grown(by) if by > GROWTH_MAX));
    assert!(matches!(Change::of(96.0, Some(100.0)), Change::Shrunk(by) if by < -GROWTH_MAX));
}

#[test]
fn a_ratio_fails_above_its_bound_whatever_made_the_counts() {
    let ratio = Ratio { what: "two against one", over: "two", under: "one", at_most: 1.15 };
    let found = |two| counts(&[("one", 100.0), ("two", two)]);
    assert_eq!(ratio.of(&found(115.0)), Some(1.15));
    assert_eq!(ratio.failure("sends", &found(115.0)), None);
    let line = ratio.failure("sends", &found(116.0)).expect("too great");
    assert!(line.contains("two against one: 1.160 in sends, at most 1.15"), "{line}");
    assert_eq!(ratio.failure("sends", &counts(&[("one", 100.0)])), None, "nothing to compare");
}

/// The file in the tree is one, and is for cases that take some instructions.
#[test]
fn the_baseline_in_the_tree_is_readable() {
    let baseline = Baseline::parse(include_str!("../benches/baseline.toml")).expect("a baseline");
    assert!(baseline.instructions.values().all(|count| *count > 0.0));
    for key in ["rustc", "target", "features", "valgrind"] {
        assert!(baseline.made_with.contains_key(key), "{key} is named");
    }
}
