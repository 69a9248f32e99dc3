//! Which charts a run has, or two runs over each other.

use super::chart::{Chart, Line, Style, TINTS};
use super::scale::{Axis, Kind, Unit};
use super::{main_latency, quantity, timed};
use crate::model::{Report, Tick};

/// Most points of a line over time; a longer run has several seconds a point.
const POINTS_MAX: usize = 400;

/// Names the lines of one run by what they measure, and those of two by run and measure: there the
/// colour is the run's and the stroke the measure's.
#[derive(Clone, Copy)]
struct Pen {
    runs: usize,
    run: usize,
}

/// What two runs are called.
pub(super) const RUN_NAMES: [&str; 2] = ["A", "B"];

impl Pen {
    fn line(self, measure: usize, name: &str, points: Vec<(f64, f64)>) -> Line {
        if self.runs == 1 {
            let tint = measure % TINTS + 1;
            return Line { label: name.to_owned(), tint, style: Style::Solid, points };
        }
        let label = format!("{} {name}", RUN_NAMES[self.run % RUN_NAMES.len()]);
        let style = if measure == 0 { Style::Solid } else { Style::Dashed };
        Line { label: label.trim().to_owned(), tint: self.run % TINTS + 1, style, points }
    }
}

fn pens<'a>(runs: &'a [&'a Report]) -> impl Iterator<Item = (Pen, &'a Report)> {
    runs.iter().enumerate().map(|(run, report)| (Pen { runs: runs.len(), run }, *report))
}

/// Every chart that the runs have values for.
pub(super) fn all(runs: &[&Report]) -> Vec<Chart> {
    let mut charts = by_percentile(runs);
    charts.extend(super::plots_steps::all(runs));
    charts.extend(super::plots_steps::series(runs));
    charts.extend(
        [rate(runs), latency(runs), cpu(runs), memory(runs), connections(runs)]
            .into_iter()
            .flatten(),
    );
    charts
}

/// One chart of all latencies of one run; one chart a latency of two.
fn by_percentile(runs: &[&Report]) -> Vec<Chart> {
    if let [run] = runs {
        let pen = Pen { runs: 1, run: 0 };
        let names: Vec<&str> = seen(run).collect();
        let lines: Vec<Line> = names
            .iter()
            .enumerate()
            .map(|(measure, name)| pen.line(measure, &spoken(name), curve(run, name)))
            .collect();
        let title = match names.as_slice() {
            [name] => format!("Latency by percentile: {}", spoken(name)),
            _ => "Latency by percentile".to_owned(),
        };
        return percentile_chart(&title, lines).into_iter().collect();
    }
    let mut names: Vec<&str> = Vec::new();
    for name in runs.iter().flat_map(|run| seen(run)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let chart = |name: &&str| {
        let lines = pens(runs).map(|(pen, run)| pen.line(0, "", curve(run, name))).collect();
        percentile_chart(&format!("Latency by percentile: {}", spoken(name)), lines)
    };
    names.iter().filter_map(chart).collect()
}

fn percentile_chart(title: &str, lines: Vec<Line>) -> Option<Chart> {
    let lines: Vec<Line> = lines.into_iter().filter(|line| !line.points.is_empty()).collect();
    if lines.is_empty() {
        return None;
    }
    let (x, _) = coordinates(&lines);
    let x = Axis::fit("share that took at most this long", Unit::Quantile, Kind::Nines, &x);
    // What lies beyond the last nine is in the table, and must not press the rest together.
    let points = lines.iter().flat_map(|line| &line.points);
    let y: Vec<f64> =
        points.filter(|(quantile, _)| x.place(*quantile).is_some()).map(|(_, us)| *us).collect();
    Some(Chart {
        title: title.to_owned(),
        note: "How long the given share of all took at most. Each further nine is ten times \
               rarer and as wide as the one before."
            .to_owned(),
        x,
        y: Axis::fit_either("latency", Unit::Time, &y),
        lines,
        mark: None,
        wide: true,
    })
}

/// Names of the latencies that have values, the main one first.
fn seen(run: &Report) -> impl Iterator<Item = &str> {
    timed(run).into_iter().map(|(name, _)| name)
}

/// `round_trip` as words.
pub(super) fn spoken(name: &str) -> String {
    name.replace('_', " ")
}

/// The curve of a latency, its largest value where the last of its values stands.
fn curve(run: &Report, name: &str) -> Vec<(f64, f64)> {
    let Some(found) = run.latencies.get(name).filter(|found| found.count > 0) else {
        return Vec::new();
    };
    let end = 1.0 - 1.0 / found.count as f64;
    let mut points: Vec<(f64, f64)> =
        found.curve.iter().copied().filter(|(quantile, _)| *quantile < end).collect();
    if end > 0.0 {
        points.push((end, found.max));
    }
    points
}

/// All values of both axes.
pub(super) fn coordinates(lines: &[Line]) -> (Vec<f64>, Vec<f64>) {
    lines.iter().flat_map(|line| line.points.iter().copied()).unzip()
}

/// A value over time; several seconds in one point where there are too many.
fn over_time(run: &Report, read: impl Fn(&[Tick]) -> Option<f64>) -> Vec<(f64, f64)> {
    let seconds = run.timeline.len().div_ceil(POINTS_MAX).max(1);
    let point = |ticks: &[Tick]| Some((ticks.last()?.at_seconds, read(ticks)?));
    run.timeline.chunks(seconds).filter_map(point).collect()
}

fn mean(ticks: &[Tick], read: impl Fn(&Tick) -> f64) -> Option<f64> {
    Some(ticks.iter().map(read).sum::<f64>() / ticks.len() as f64)
}

fn most(ticks: &[Tick], read: impl Fn(&Tick) -> f64) -> Option<f64> {
    ticks.iter().map(read).reduce(f64::max)
}

/// A chart over time; none where no line has more than one point.
fn time_chart(
    title: &str,
    note: &str,
    y_label: &str,
    unit: Unit,
    lines: Vec<Line>,
) -> Option<Chart> {
    let lines: Vec<Line> = lines.into_iter().filter(|line| line.points.len() > 1).collect();
    if lines.is_empty() {
        return None;
    }
    let (x, y) = coordinates(&lines);
    let y = match unit {
        Unit::Time => Axis::fit_either(y_label, unit, &y),
        _ => Axis::fit(y_label, unit, Kind::Linear, &y),
    };
    Some(Chart {
        title: title.to_owned(),
        note: note.to_owned(),
        x: Axis::fit("since the start of the measured time", Unit::Seconds, Kind::Linear, &x),
        y,
        lines,
        mark: None,
        wide: false,
    })
}

fn rate(runs: &[&Report]) -> Option<Chart> {
    let mut lines: Vec<Line> = pens(runs)
        .map(|(pen, run)| {
            let points = over_time(run, |ticks| mean(ticks, |tick| tick.operations as f64));
            pen.line(0, if runs.len() == 1 { "came" } else { "" }, points)
        })
        .collect();
    if let [run] = runs
        && let (Some(asked), Some(last)) = (run.totals.target_rate, run.timeline.last())
        && run.steps.is_empty()
    {
        lines.push(Line {
            label: "asked for".to_owned(),
            tint: 6,
            style: Style::Guide,
            points: vec![(0.0, asked), (last.at_seconds, asked)],
        });
    }
    time_chart(
        "Rate over time",
        "Operations that were done in each second.",
        "operations a second",
        Unit::Quantity,
        lines,
    )
}

fn latency(runs: &[&Report]) -> Option<Chart> {
    let main = runs.iter().find_map(|run| main_latency(run)).map_or("", |(name, _)| name);
    let lines = pens(runs)
        .flat_map(|(pen, run)| {
            let p99 = over_time(run, |ticks| most(ticks, |tick| tick.p99));
            let p50 = over_time(run, |ticks| mean(ticks, |tick| tick.p50));
            let measured = |points: Vec<(f64, f64)>| -> Vec<(f64, f64)> {
                points.into_iter().filter(|(_, us)| *us > 0.0).collect()
            };
            [pen.line(0, "p99", measured(p99)), pen.line(1, "p50", measured(p50))]
        })
        .collect();
    time_chart(
        &format!("Latency over time: {}", spoken(main)),
        "Percentiles of each second by itself.",
        "latency",
        Unit::Time,
        lines,
    )
}

fn cpu(runs: &[&Report]) -> Option<Chart> {
    let lines = pens(runs)
        .flat_map(|(pen, run)| {
            let server = over_time(run, |ticks| {
                let used: Option<Vec<f64>> = ticks.iter().map(|tick| tick.server_cpus).collect();
                used.map(|used| used.iter().sum::<f64>() / used.len() as f64)
            });
            let client = over_time(run, |ticks| mean(ticks, |tick| tick.client_busy));
            [pen.line(0, "server", server), pen.line(1, "busiest client thread", client)]
        })
        .collect();
    time_chart(
        "CPU over time",
        "CPUs that the server kept busy, and the share of its time in which the busiest thread of \
         the client had something to do: near 1 the client is the limit.",
        "CPUs",
        Unit::Cpus,
        lines,
    )
}

fn memory(runs: &[&Report]) -> Option<Chart> {
    let lines = pens(runs)
        .map(|(pen, run)| {
            let held = |tick: &Tick| tick.server_rss_bytes.map(|bytes| bytes as f64);
            let points = over_time(run, |ticks| ticks.last().and_then(held));
            pen.line(0, "", points)
        })
        .collect();
    time_chart(
        "Memory of the server over time",
        "Resident memory of the whole process.",
        "resident memory",
        Unit::Bytes,
        lines,
    )
}

/// Only where they change: a level line says nothing that the head does not.
fn connections(runs: &[&Report]) -> Option<Chart> {
    let changes = |run: &&Report| {
        let first = run.timeline.first().map(|tick| tick.connections);
        run.timeline.iter().any(|tick| Some(tick.connections) != first)
    };
    if !runs.iter().any(changes) {
        return None;
    }
    let lines = pens(runs)
        .map(|(pen, run)| {
            let points = over_time(run, |ticks| mean(ticks, |tick| tick.connections as f64));
            pen.line(0, "", points)
        })
        .collect();
    time_chart(
        "Connections over time",
        "Connections that stood.",
        "connections",
        Unit::Quantity,
        lines,
    )
}

/// What the mark of a sustained rate says.
pub(super) fn sustained_label(rate: f64) -> String {
    format!("sustained: {}/s", quantity(rate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn titles(runs: &[&Report]) -> Vec<String> {
        all(runs).into_iter().map(|chart| chart.title).collect()
    }

    #[test]
    fn a_run_has_the_charts_it_has_values_for() {
        let run = sample::fanout();
        let want = [
            "Latency by percentile",
            "Rate over time",
            "Latency over time: delivery",
            "CPU over time",
            "Memory of the server over time",
        ];
        assert_eq!(titles(&[&run]), want);
        let mut bare = run;
        bare.timeline.clear();
        bare.latencies.clear();
        assert!(titles(&[&bare]).is_empty());
    }

    #[test]
    fn a_server_nobody_looked_at_has_no_memory_and_no_cpu() {
        let mut run = sample::fanout();
        for tick in &mut run.timeline {
            (tick.server_cpus, tick.server_rss_bytes) = (None, None);
        }
        let charts = all(&[&run]);
        assert!(charts.iter().all(|chart| !chart.title.starts_with("Memory")));
        let cpu = charts.iter().find(|chart| chart.title == "CPU over time");
        let labels: Vec<&str> =
            cpu.iter().flat_map(|chart| &chart.lines).map(|line| line.label.as_str()).collect();
        assert_eq!(labels, ["busiest client thread"]);
    }

    #[test]
    fn two_runs_share_each_chart_and_keep_their_colour() {
        let (a, b) = (sample::fanout(), sample::slower());
        for chart in all(&[&a, &b]) {
            for line in &chart.lines {
                let tint = if line.label.starts_with('A') { 1 } else { 2 };
                assert_eq!(line.tint, tint, "{}: {}", chart.title, line.label);
            }
            assert!(chart.lines.iter().any(|line| line.label.starts_with('B')), "{}", chart.title);
        }
    }

    #[test]
    fn the_last_value_of_a_curve_is_the_largest() {
        let run = sample::fanout();
        let points = curve(&run, "connect");
        let last = points.last().expect("it has points");
        assert_eq!(*last, (1.0 - 1.0 / 1_000.0, run.latencies["connect"].max));
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn a_long_run_has_fewer_points_and_keeps_its_worst_second() {
        let mut run = sample::fanout();
        let tick = run.timeline[0].clone();
        run.timeline = (0..2_000)
            .map(|at| Tick { at_seconds: f64::from(at), p99: 10.0, ..tick.clone() })
            .collect();
        run.timeline[1_234].p99 = 99.0;
        let points = over_time(&run, |ticks| most(ticks, |tick| tick.p99));
        assert_eq!(points.len(), 400);
        assert!(points.iter().any(|(_, p99)| *p99 == 99.0));
    }
}
