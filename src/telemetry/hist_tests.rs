//! Stages, clamping, merging, percentiles and the text of the plotters.

use std::collections::BTreeSet;

use super::*;

fn merged(values: &[(Stage, u64)]) -> Merged {
    let mut interval = Histograms::new();
    for &(stage, us) in values {
        interval.record(stage, us);
    }
    let mut merged = Merged::new();
    interval.merge_into(&mut merged);
    merged
}

#[test]
fn the_stages_are_sound() {
    let names: BTreeSet<_> = Stage::ALL.iter().map(|stage| stage.name()).collect();
    assert_eq!(names.len(), 9);
    for (index, &stage) in Stage::ALL.iter().enumerate() {
        assert_eq!(stage.index(), index);
        assert_eq!(Stage::from_name(stage.name()), Some(stage));
        assert!(stage.help().starts_with("From ") && stage.help().ends_with('.'));
        assert!(stage.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
    }
    assert_eq!(Stage::from_name("Handler"), None);
}

#[test]
fn memory_is_ten_kib_a_stage_used() {
    let mut interval = Histograms::new();
    assert_eq!(interval.memory_bytes(), 0);
    interval.record_n(Stage::Handler, 5, 0);
    assert_eq!((interval.memory_bytes(), interval.is_empty()), (0, true));
    for &stage in Stage::ALL {
        interval.record(stage, 5);
    }
    assert_eq!(interval.memory_bytes(), 9 * 10 * 1024);
    interval.reset();
    assert_eq!(interval.memory_bytes(), 9 * 10 * 1024, "kept for the next");
    assert!(interval.is_empty());
}

#[test]
fn values_beyond_the_bounds_are_clamped_and_summed_whole() {
    let mut interval = Histograms::new();
    interval.record(Stage::AckRoundTrip, 0);
    interval.record(Stage::AckRoundTrip, 61_000_000);
    interval.record(Stage::AckRoundTrip, 120_000_000);
    assert_eq!(interval.sum_us(Stage::AckRoundTrip), 181_000_000);
    let mut all = Merged::new();
    interval.merge_into(&mut all);
    let seen = percentiles(&all, Stage::AckRoundTrip);
    assert_eq!((seen.count, seen.min, seen.max), (3, 0, HIGHEST_US));
    assert_eq!(seen.p50, HIGHEST_US);
    assert_eq!(all.sum_us(Stage::AckRoundTrip), 181_000_000);
    interval.record(Stage::AckRoundTrip, u64::MAX);
    assert_eq!(interval.sum_us(Stage::AckRoundTrip), u64::MAX, "no wrap");
}

#[test]
fn percentiles_of_one_to_ten_thousand_are_within_one_percent() {
    let values: Vec<_> = (1..=10_000).map(|us| (Stage::Handler, us)).collect();
    let all = merged(&values);
    let seen = percentiles(&all, Stage::Handler);
    assert_eq!((seen.count, seen.min), (10_000, 1));
    assert!((seen.mean - 5_000.5).abs() < 1e-9, "the mean is exact");
    for (told, truth) in [
        (seen.p50, 5_000_u64),
        (seen.p90, 9_000),
        (seen.p99, 9_900),
        (seen.p999, 9_990),
        (seen.p9999, 9_999),
        (seen.max, 10_000),
    ] {
        assert!(told >= truth && told - truth <= truth / 100, "{told} for {truth}");
    }
    assert_eq!(
        percentiles(&all, Stage::MeshHop),
        Percentiles::default(),
        "other stages saw nothing"
    );
}

#[test]
fn merging_intervals_equals_recording_them_together() {
    // A fixed linear congruence spreads values over all magnitudes.
    let mut state = 7_u64;
    let mut one = Histograms::new();
    let mut parts = [Histograms::new(), Histograms::new()];
    for round in 0..20_000_usize {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let us = state >> (30 + state % 34);
        one.record_n(Stage::QueuedToWritten, us, 2);
        parts[round % 2].record_n(Stage::QueuedToWritten, us, 2);
    }
    let (mut together, mut apart) = (Merged::new(), Merged::new());
    one.merge_into(&mut together);
    for part in &mut parts {
        part.merge_into(&mut apart);
        part.reset();
        part.merge_into(&mut apart);
    }
    let stage = Stage::QueuedToWritten;
    assert_eq!(percentiles(&together, stage), percentiles(&apart, stage));
    assert_eq!(together.stage(stage), apart.stage(stage), "bin by bin");
    assert_eq!(together.count(stage), together.stage(stage).len());
    let source = one.lanes[stage.index()].as_ref().expect("recorded above");
    for bin in source.values.iter_recorded() {
        let value = bin.value_iterated_to();
        assert_eq!(
            together.stage(stage).count_at(value),
            u64::from(bin.count_at_value()),
            "no value moved to another bin ({value})"
        );
    }
}

#[test]
fn percentiles_in_json_have_the_names_of_the_contract() {
    let json = serde_json::to_string(&Percentiles::default()).expect("numbers serialize");
    assert_eq!(
        json,
        r#"{"count":0,"min":0,"mean":0.0,"p50":0,"p90":0,"p99":0,"p99.9":0,"p99.99":0,"max":0}"#
    );
}

#[test]
fn hgrm_is_the_table_the_plotters_read() {
    let values: Vec<_> = (1..=100).map(|us| (Stage::RestCall, us)).collect();
    let text = hgrm(merged(&values).stage(Stage::RestCall));
    let mut lines = text.lines();
    assert_eq!(
        lines.next().expect("a head").split_whitespace().collect::<Vec<_>>(),
        ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    );
    assert_eq!(lines.next(), Some(""));
    let (rows, foot): (Vec<_>, Vec<_>) = lines.partition(|line| !line.starts_with('#'));
    let mut last = [0.0_f64; 3];
    for (index, row) in rows.iter().enumerate() {
        assert!(row.starts_with(' '), "a reader's pattern wants a blank: {row:?}");
        let columns: Vec<f64> =
            row.split_whitespace().map(|column| column.parse().expect("a figure")).collect();
        let is_last = index + 1 == rows.len();
        assert_eq!(columns.len(), if is_last { 3 } else { 4 });
        for (column, before) in columns.iter().zip(&last) {
            assert!(column >= before, "columns only grow: {row:?}");
        }
        if !is_last {
            assert!((columns[3] * (1.0 - columns[1]) - 1.0).abs() < 0.01, "{row:?}");
        }
        last = [columns[0], columns[1], columns[2]];
    }
    assert_eq!(last, [100.0, 1.0, 100.0]);
    assert_eq!(
        foot,
        [
            "#[Mean    =       50.500, StdDeviation   =       28.866]",
            "#[Max     =      100.000, Total count    =          100]",
            "#[Buckets =           19, SubBuckets     =          256]",
        ]
    );
}

#[test]
fn hgrm_of_nothing_and_of_the_longest_is_still_a_table() {
    let empty = hgrm(merged(&[]).stage(Stage::Handler));
    assert_eq!(empty.lines().count(), 5, "head, blank and foot: {empty}");
    let long = hgrm(merged(&[(Stage::Handler, u64::MAX)]).stage(Stage::Handler));
    assert_eq!(long.lines().count(), 7, "{long}");
}
