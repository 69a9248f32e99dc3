//! Charts of rates that were tried one after the other, and of costs against sizes.

use super::chart::{Chart, Line, Style, TINTS};
use super::plots::{RUN_NAMES, coordinates, sustained_label};
use super::scale::{Axis, Unit};
use crate::model::{Report, Series, Step};

/// The name of a run before the name of a measure; empty for a run that is alone.
fn run_name(runs: &[&Report], run: usize) -> String {
    if runs.len() < 2 { String::new() } else { format!("{} ", RUN_NAMES[run % RUN_NAMES.len()]) }
}

/// Charts of the steps; none where no run has any.
pub(super) fn all(runs: &[&Report]) -> Vec<Chart> {
    if runs.iter().all(|run| run.steps.is_empty()) {
        return Vec::new();
    }
    vec![rate(runs), latency(runs)]
}

/// The steps in order of what was asked for, and not of when.
fn ascending(run: &Report) -> Vec<&Step> {
    let mut steps: Vec<&Step> = run.steps.iter().collect();
    steps.sort_by(|a, b| a.target_rate.total_cmp(&b.target_rate));
    steps
}

/// A line through all steps, and rings on those the server did not sustain.
fn step_lines(name: &str, tint: usize, steps: &[&Step], read: fn(&Step) -> f64) -> Vec<Line> {
    let point = |step: &&Step| (step.target_rate, read(step));
    let failed = steps.iter().filter(|step| !step.sustained);
    let label = name.to_owned();
    let mut lines =
        vec![Line { label, tint, style: Style::Dotted, points: steps.iter().map(point).collect() }];
    let points: Vec<(f64, f64)> = failed.map(point).collect();
    if !points.is_empty() {
        lines.push(Line { label: String::new(), tint, style: Style::Rings, points });
    }
    lines
}

fn mark(runs: &[&Report]) -> Option<(f64, String)> {
    match runs {
        [run] => run.totals.sustained_rate.map(|rate| (rate, sustained_label(rate))),
        _ => None,
    }
}

fn rate(runs: &[&Report]) -> Chart {
    let mut lines: Vec<Line> = Vec::new();
    for (run, report) in runs.iter().enumerate() {
        let name = format!("{}came", run_name(runs, run));
        lines.extend(step_lines(&name, run % TINTS + 1, &ascending(report), |step| step.rate));
    }
    let (x, y) = coordinates(&lines);
    let most = x.iter().copied().fold(0.0, f64::max);
    let least = x.iter().copied().fold(most, f64::min);
    let asked = Line {
        label: "as asked".to_owned(),
        tint: TINTS,
        style: Style::Guide,
        points: vec![(least, least), (most, most)],
    };
    let all: Vec<f64> = y.iter().chain(&x).copied().collect();
    lines.push(asked);
    Chart {
        title: "Rate asked for and rate that came".to_owned(),
        note: "Each dot is a rate that was tried; a ring was not sustained.".to_owned(),
        x: Axis::fit_either("operations a second, asked for", Unit::Quantity, &x),
        y: Axis::fit_either("operations a second, came", Unit::Quantity, &all),
        lines,
        mark: mark(runs),
        wide: false,
    }
}

fn latency(runs: &[&Report]) -> Chart {
    const MEASURES: [(&str, fn(&Step) -> f64); 3] =
        [("p99.9", |step| step.p999), ("p99", |step| step.p99), ("p50", |step| step.p50)];
    let mut lines: Vec<Line> = Vec::new();
    for (run, report) in runs.iter().enumerate() {
        let steps = ascending(report);
        // Two runs are told apart by colour, so one measure must do.
        let measures = if runs.len() > 1 { &MEASURES[1..2] } else { &MEASURES[..] };
        for (measure, (name, read)) in measures.iter().enumerate() {
            let name = format!("{}{name}", run_name(runs, run));
            lines.extend(step_lines(&name, (run + measure) % TINTS + 1, &steps, *read));
        }
    }
    let (x, y) = coordinates(&lines);
    Chart {
        title: "Latency against rate".to_owned(),
        note: "From the intended time of sending on. A ring was not sustained.".to_owned(),
        x: Axis::fit_either("operations a second, asked for", Unit::Quantity, &x),
        y: Axis::fit_either("latency", Unit::Time, &y),
        lines,
        mark: mark(runs),
        wide: false,
    }
}

/// A chart a series; two runs share the chart of a series that both have.
pub(super) fn series(runs: &[&Report]) -> Vec<Chart> {
    let mut names: Vec<&str> = Vec::new();
    for series in runs.iter().flat_map(|run| &run.series) {
        if !names.contains(&series.name.as_str()) {
            names.push(&series.name);
        }
    }
    names.iter().filter_map(|name| series_chart(runs, name)).collect()
}

fn series_chart(runs: &[&Report], name: &str) -> Option<Chart> {
    let of = |run: &&Report| run.series.iter().find(|series| series.name == name).cloned();
    let found: Vec<Option<Series>> = runs.iter().map(of).collect();
    let first = found.iter().flatten().next()?;
    let line = |(run, series): (usize, &Option<Series>)| {
        let series = series.as_ref()?;
        let mut points = series.points.clone();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let label = run_name(runs, run).trim().to_owned();
        Some(Line { label, tint: run % TINTS + 1, style: Style::Dotted, points })
    };
    let lines: Vec<Line> = found.iter().enumerate().filter_map(line).collect();
    let (x, y) = coordinates(&lines);
    let unit = unit_of(&first.y_label);
    Some(Chart {
        title: name.to_owned(),
        note: "What is level costs the same at every size.".to_owned(),
        x: Axis::fit_either(&first.x_label, Unit::Quantity, &x),
        y: Axis::fit(without_unit(&first.y_label), unit, super::scale::Kind::Linear, &y),
        lines,
        mark: None,
        wide: false,
    })
}

/// The unit that the label of a cost names.
pub(super) fn unit_of(label: &str) -> Unit {
    let says = |name: &str| label.split(|c: char| !c.is_alphanumeric()).any(|word| word == name);
    if says("bytes") {
        Unit::Bytes
    } else if says("us") || says("µs") {
        Unit::Time
    } else {
        Unit::Quantity
    }
}

/// The label without the unit at its end: every figure beside it has its own.
pub(super) fn without_unit(label: &str) -> &str {
    const ENDS: [&str; 6] = [", us", ", µs", ", bytes", " (us)", " (µs)", " (bytes)"];
    ENDS.iter().find_map(|end| label.strip_suffix(end)).unwrap_or(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn steps_are_in_order_of_what_was_asked_for() {
        let run = sample::steps();
        for chart in all(&[&run]) {
            for line in chart.lines.iter().filter(|line| line.style == Style::Dotted) {
                assert!(line.points.windows(2).all(|pair| pair[0].0 <= pair[1].0));
                assert_eq!(line.points.len(), run.steps.len());
            }
        }
        assert!(all(&[&sample::fanout()]).is_empty());
    }

    #[test]
    fn what_was_not_sustained_is_ringed_and_the_best_is_marked() {
        let run = sample::steps();
        let failed = run.steps.iter().filter(|step| !step.sustained).count();
        assert!(failed > 0);
        let chart = rate(&[&run]);
        let rings = chart.lines.iter().find(|line| line.style == Style::Rings);
        assert_eq!(rings.map(|line| line.points.len()), Some(failed));
        assert_eq!(chart.mark, Some((1_790_000.0, "sustained: 1.79 M/s".to_owned())));
    }

    #[test]
    fn a_cost_is_drawn_from_zero_in_the_unit_its_label_names() {
        let run = sample::steps();
        let charts = series(&[&run]);
        assert_eq!(charts.len(), 2);
        assert_eq!(charts[0].y.unit, Unit::Time);
        assert_eq!(charts[1].y.unit, Unit::Bytes);
        for chart in &charts {
            assert_eq!(chart.y.place(0.0), Some(0.0), "{}", chart.title);
        }
        assert_eq!(charts[0].y.label, "server CPU per delivery");
        assert_eq!(unit_of("CPU, us"), Unit::Time);
        assert_eq!(without_unit("memory, bytes"), "memory");
        assert_eq!(unit_of("a virus caught"), Unit::Quantity);
        let both = series(&[&run, &run]);
        assert_eq!(both[0].lines.iter().map(|l| l.label.as_str()).collect::<Vec<_>>(), ["A", "B"]);
    }
}
