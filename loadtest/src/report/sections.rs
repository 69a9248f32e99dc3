//! Pieces of a page: its frame, tables, lists of facts.

use super::chart::{Chart, escape, put};
use super::facts::{self, Tone, Verdict};
use crate::model::Report;

/// A whole page around `body`.
pub(super) fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n{body}\
         <script>\n{}</script>\n</body>\n</html>\n",
        escape(title),
        include_str!("page.css"),
        include_str!("page.js")
    )
}

/// A cell of a table: its text, and the class that says how to take it.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    class: &'static str,
}

impl Cell {
    /// A figure.
    pub(super) fn figure(text: impl Into<String>) -> Self {
        Self { text: text.into(), class: "" }
    }

    /// Words, at the left.
    pub(super) fn words(text: impl Into<String>) -> Self {
        Self { text: text.into(), class: "text" }
    }

    /// Words that may take several lines.
    pub(super) fn long(text: impl Into<String>) -> Self {
        Self { text: text.into(), class: "text long" }
    }

    /// A good word or a bad one, at the left.
    pub(super) fn judged(text: impl Into<String>, good: bool) -> Self {
        let class = if good { "text good-text" } else { "text bad-text" };
        Self { text: text.into(), class }
    }
}

/// A table; a head stands as its column does.
pub(super) fn table(head: &[&str], rows: &[Vec<Cell>]) -> String {
    let mut html = "<div class=\"scroll\"><table><thead><tr>".to_owned();
    for (column, name) in head.iter().enumerate() {
        let at_left = rows.first().and_then(|row| row.get(column));
        let at_left = at_left.is_some_and(|cell| cell.class.starts_with("text"));
        let class = if at_left { " class=\"text\"" } else { "" };
        put(&mut html, format_args!("<th scope=\"col\"{class}>{}</th>", escape(name)));
    }
    html.push_str("</tr></thead><tbody>\n");
    for row in rows {
        html.push_str("<tr>");
        for Cell { text, class } in row {
            put(&mut html, format_args!("<td class=\"{class}\">{}</td>", escape(text)));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
    html
}

/// Pairs of a name and what is said of it.
pub(super) fn facts_list(rows: &[(&str, String)]) -> String {
    let row = |(name, value): &(&str, String)| {
        format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(value))
    };
    format!("<dl class=\"facts\">\n{}</dl>\n", rows.iter().map(row).collect::<String>())
}

/// Sentences with their marks.
pub(super) fn verdicts(said: &[Verdict]) -> String {
    let item = |verdict: &Verdict| {
        let class = match verdict.tone {
            Tone::Good => "good",
            Tone::Bad => "bad",
            Tone::Plain => "plain",
        };
        format!("<li class=\"{class}\">{}</li>\n", escape(&verdict.text))
    };
    format!("<ul class=\"verdicts\">\n{}</ul>\n", said.iter().map(item).collect::<String>())
}

/// The charts in their grid; nothing if there are none.
pub(super) fn charts(charts: &[Chart]) -> String {
    if charts.is_empty() {
        return String::new();
    }
    let rendered: String = charts.iter().map(Chart::render).collect();
    format!("<section class=\"charts\" aria-label=\"Plots\">\n{rendered}</section>\n")
}

/// Every latency with its percentiles.
pub(super) fn latencies(run: &Report) -> String {
    let rows = facts::latencies(run);
    if rows.is_empty() {
        return String::new();
    }
    let starred = rows.iter().flatten().any(|cell| cell.ends_with('*'));
    let rows: Vec<Vec<Cell>> = rows
        .into_iter()
        .map(|row| {
            let cell = |(column, text): (usize, String)| match column {
                0 => Cell::words(text),
                _ => Cell::figure(text.trim_end()),
            };
            row.into_iter().enumerate().map(cell).collect()
        })
        .collect();
    let note = match starred {
        true => format!("<p class=\"note\">{}.</p>\n", facts::ANECDOTE),
        false => String::new(),
    };
    let html = table(&facts::LATENCY_HEAD, &rows);
    format!("<h2>Latencies</h2>\n{html}{note}")
}

/// The steps in the order in which they were tried.
pub(super) fn steps(run: &Report) -> String {
    if run.steps.is_empty() {
        return String::new();
    }
    let row = |step| -> Vec<Cell> {
        let mut cells: Vec<Cell> = facts::step(step).into_iter().map(Cell::figure).collect();
        if let Some(last) = cells.last_mut() {
            *last = Cell::long(last.text.clone());
        }
        cells
    };
    let rows: Vec<Vec<Cell>> = run.steps.iter().map(row).collect();
    format!("<h2>Steps</h2>\n{}", table(&facts::STEP_HEAD, &rows))
}

/// What became of the messages of each run; the runs are named if there is more than one.
pub(super) fn oracles(runs: &[(&str, &Report)]) -> String {
    const HEAD: [&str; 7] =
        ["run", "owed", "came as sent", "lost", "doubled", "reordered", "corrupted"];
    let row =
        |(name, run): &(&str, &Report)| -> Vec<Cell> {
            let found = &run.oracle;
            let faults = [found.lost, found.doubled, found.reordered, found.corrupted];
            let mut cells = vec![Cell::words(*name)];
            cells.extend([found.expected, found.delivered].map(|n| Cell::figure(super::count(n))));
            cells.extend(faults.map(|n| Cell {
                text: super::count(n),
                class: if n > 0 { "bad-text" } else { "" },
            }));
            cells
        };
    let rows: Vec<Vec<Cell>> = runs.iter().map(row).collect();
    let html = match rows.len() {
        1 => {
            let rows: Vec<Vec<Cell>> = rows.into_iter().map(|row| row[1..].to_vec()).collect();
            table(&HEAD[1..], &rows)
        }
        _ => table(&HEAD, &rows),
    };
    format!("<h2>Oracle</h2>\n{html}<p class=\"note\">{}</p>\n", escape(ORACLE_NOTE))
}

const ORACLE_NOTE: &str = "Every message carries its sender, a running number and bytes that can \
                           be checked; every receiver checks all of them, those of the \
                           warm-up too.";

/// Lines of the budget file.
pub(super) fn budget(run: &Report) -> String {
    if run.budget.is_empty() {
        return String::new();
    }
    let row = |line: &crate::model::BudgetLine| {
        let kept = if line.kept { "kept" } else { "broken" };
        let text = Cell::words(line.text.clone());
        vec![text, Cell::long(line.found.clone()), Cell::judged(kept, line.kept)]
    };
    let rows: Vec<Vec<Cell>> = run.budget.iter().map(row).collect();
    format!("<h2>Budget</h2>\n{}", table(&["line", "found", ""], &rows))
}

/// What it was run with and where.
pub(super) fn circumstances(run: &Report) -> String {
    let mut target = vec![("address", run.target.url.clone())];
    target.push(("transport", run.target.transport.clone()));
    target.push(("version", facts::version(run).to_owned()));
    if let Some(server) = &run.server {
        target.push(("process", server.pid.to_string()));
        target.push(("command", server.command.clone()));
    }
    let client = [("version", run.tool.clone()), ("threads", facts::client_line(run))];
    format!(
        "<h2>Server</h2>\n{}<h2>Client</h2>\n{}<h2>Machine</h2>\n{}<h2>Settings</h2>\n\
         <pre>{}</pre>\n",
        facts_list(&target),
        facts_list(&client),
        facts_list(&facts::machine(&run.machine)),
        escape(run.scenario.trim_end())
    )
}
