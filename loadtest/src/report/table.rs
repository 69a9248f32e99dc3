//! What is printed when a run has ended: the whole run in a terminal of 100 columns.

use super::chart::put;
use super::facts::{self, Tone, Verdict};
use super::plots_steps::{unit_of, without_unit};
use crate::model::Report;

/// Width of the names at the left.
const NAME_WIDTH: usize = 15;

/// Which side the cells of a column stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// Rows of cells as aligned text, two blanks between the columns.
pub(super) fn grid(rows: &[Vec<String>], side: impl Fn(usize) -> Side) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            match side(column) {
                Side::Left => put(&mut line, format_args!("{cell:<width$}  ")),
                Side::Right => put(&mut line, format_args!("{cell:>width$}  ")),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The first column at the left, figures at the right.
pub(super) fn figures(column: usize) -> Side {
    if column == 0 { Side::Left } else { Side::Right }
}

/// A name and what belongs to it.
fn row(text: &mut String, name: &str, value: &str) {
    put(text, format_args!("{name:<NAME_WIDTH$} {value}\n"));
}

fn heading(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

/// The run as text, each line ended, for a terminal of 100 columns.
#[must_use]
pub fn table(run: &Report) -> String {
    let mut text = head(run);
    for verdict in facts::verdicts(run).iter().filter(|verdict| verdict.tone == Tone::Bad) {
        put(&mut text, format_args!("{}\n", loud(verdict)));
    }
    text.push('\n');
    for (name, value) in facts::totals(run).into_iter().chain(facts::server(run)) {
        row(&mut text, name, &value);
    }
    row(&mut text, "client", &facts::client_line(run));
    row(&mut text, "oracle", &facts::oracle(&run.oracle).text);
    text.push_str(&latencies(run));
    text.push_str(&steps(run));
    text.push_str(&series(run));
    text.push_str(&budget(run));
    text
}

fn head(run: &Report) -> String {
    let mut text = String::new();
    put(&mut text, format_args!("{}: {}\n", run.name, facts::subject(run).join(", ")));
    let machine = &run.machine;
    put(
        &mut text,
        format_args!(
            "{}, {}, Linux {}, {} x {}\n",
            run.started_at, run.tool, machine.kernel, machine.cpus, machine.cpu
        ),
    );
    text
}

/// A line that nobody reads past.
fn loud(verdict: &Verdict) -> String {
    format!("!! {}", verdict.text)
}

fn latencies(run: &Report) -> String {
    let found = facts::latencies(run);
    if found.is_empty() {
        return String::new();
    }
    let starred = found.iter().flatten().any(|cell| cell.ends_with('*'));
    let mut rows = vec![heading(&facts::LATENCY_HEAD)];
    // The blank stands where a mark may.
    rows[0].iter_mut().skip(3).take(5).for_each(|cell| cell.push(' '));
    rows.extend(found);
    let mut text = format!("\n{}", grid(&rows, figures));
    if starred {
        put(&mut text, format_args!("{}\n", facts::ANECDOTE));
    }
    text
}

fn steps(run: &Report) -> String {
    if run.steps.is_empty() {
        return String::new();
    }
    let mut rows = vec![heading(&facts::STEP_HEAD)];
    rows.extend(run.steps.iter().map(facts::step));
    let last = facts::STEP_HEAD.len() - 1;
    let side = |column| if column == last { Side::Left } else { Side::Right };
    format!("\n{}", grid(&rows, side))
}

fn series(run: &Report) -> String {
    let mut text = String::new();
    for series in &run.series {
        let unit = unit_of(&series.y_label);
        let mut rows = vec![vec![series.x_label.clone(), without_unit(&series.y_label).to_owned()]];
        rows.extend(
            series
                .points
                .iter()
                .map(|(size, cost)| vec![super::quantity(*size), unit.write(*cost)]),
        );
        put(&mut text, format_args!("\n{}\n{}", series.name, grid(&rows, |_| Side::Right)));
    }
    text
}

fn budget(run: &Report) -> String {
    if run.budget.is_empty() {
        return String::new();
    }
    let mut rows = vec![heading(&["budget", "", "found"])];
    rows.extend(run.budget.iter().map(|line| {
        let kept = if line.kept { "kept" } else { "BROKEN" };
        vec![kept.to_owned(), line.text.clone(), line.found.clone()]
    }));
    format!("\n{}", grid(&rows, |_| Side::Left))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn fits(text: &str) {
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{} columns: {line}", line.chars().count());
            assert_eq!(line, line.trim_end());
        }
    }

    #[test]
    fn a_run_fits_a_terminal_and_says_what_ran_against_what() {
        let text = table(&sample::fanout());
        fits(&text);
        for part in [
            "fanout: http://127.0.0.1:3001 over websocket, corewire 0.1.0",
            "Linux 6.18.44, 2 x Intel",
            "62,400,000 (2.08 M/s)",
            "0.47 µs an operation",
            "1.74 KiB a connection",
            "1 thread on CPU 1, the busiest 71% busy",
            "All 62,400,000 deliveries came once",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("!!"), "nothing is wrong:\n{text}");
    }

    #[test]
    fn columns_of_latencies_stand_below_their_heads() {
        let text = table(&sample::fanout());
        let lines: Vec<&str> =
            text.lines().skip_while(|line| !line.starts_with("latency")).collect();
        let ends = |line: &str, cell: &str| {
            line.find(cell).map(|at| line[..at].chars().count() + cell.chars().count())
        };
        assert_eq!(ends(lines[0], "max"), Some(lines[1].chars().count()));
        assert!(lines[1].starts_with("delivery "), "{}", lines[1]);
        assert!(lines[2].starts_with("connect "), "{}", lines[2]);
    }

    #[test]
    fn what_makes_a_run_worthless_is_loud_and_above_the_figures() {
        let mut run = sample::slower();
        run.client.was_the_limit = true;
        let text = table(&run);
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} in\n{text}"));
        assert!(at("!! The oracle found 2 lost") < at("measured"));
        assert!(at("!! The client was the limit") < at("measured"));
        assert!(at("BROKEN  p99 <= 5ms    27.1 ms") > at("measured"));
        assert!(text.contains("kept    rate >= 500k  670 k"), "{text}");
    }

    #[test]
    fn steps_and_series_are_tables_of_their_own() {
        let text = table(&sample::steps());
        fits(&text);
        assert!(text.contains("1.79 M/s, the greatest rate of the steps"), "{text}");
        assert!(text.contains("no: p99 over 50 ms"), "{text}");
        assert!(text.contains("\nMemory of a connection against connections\n"), "{text}");
        assert!(text.contains("1.74 KiB"), "{text}");
    }
}
