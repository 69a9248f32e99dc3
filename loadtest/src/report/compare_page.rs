//! The page of two runs: their ratios, and each plot with both.

use super::chart::{escape, put};
use super::compare::{ratios, warnings};
use super::facts::{Tone, Verdict};
use super::page::when;
use super::sections::{self, Cell};
use super::{facts, plots};
use crate::model::Report;

/// Both runs as one HTML file that needs nothing else.
#[must_use]
pub fn page(a: &Report, b: &Report) -> String {
    let title = match a.name == b.name {
        true => format!("{}: two runs", a.name),
        false => format!("{} and {}", a.name, b.name),
    };
    let mut body = format!("<header>\n<h1>{}</h1>\n", escape(&title));
    let named = [(plots::RUN_NAMES[0], a), (plots::RUN_NAMES[1], b)];
    for (at, (name, run)) in named.iter().enumerate() {
        let subject = facts::subject(run).join(", ");
        put(
            &mut body,
            format_args!(
                "<p><svg class=\"swatch\" viewBox=\"0 0 24 10\" aria-hidden=\"true\">\
                 <path class=\"line t{}\" d=\"M1 5H19\"/></svg><b>{name}</b> {}</p>\n",
                at + 1,
                escape(&format!("{subject}, {}", when(&run.started_at)))
            ),
        );
    }
    body.push_str("</header>\n");
    body.push_str(&sections::verdicts(&said(a, b)));
    body.push_str(&ratio_table(a, b));
    body.push_str(&sections::charts(&plots::all(&[a, b])));
    body.push_str(&sections::oracles(&named));
    body.push_str("<div class=\"pair\">\n");
    for (name, run) in named {
        put(
            &mut body,
            format_args!(
                "<section aria-label=\"{name}\">\n<h2>{name}</h2>\n{}{}{}</section>\n",
                sections::facts_list(&facts::totals(run)),
                sections::facts_list(&facts::server(run)),
                sections::circumstances(run)
            ),
        );
    }
    body.push_str("</div>\n");
    sections::document(&title, &body)
}

/// What keeps the two from being compared, or that nothing does.
fn said(a: &Report, b: &Report) -> Vec<Verdict> {
    let warned = warnings(a, b);
    if warned.is_empty() {
        let text = "Same scenario, settings and machine; neither client was the limit.".to_owned();
        return vec![Verdict { tone: Tone::Good, text }];
    }
    warned.into_iter().map(|text| Verdict { tone: Tone::Bad, text }).collect()
}

fn ratio_table(a: &Report, b: &Report) -> String {
    let row = |ratio: &super::Ratio| {
        let verdict = ratio.verdict();
        let judged = match verdict {
            "better" | "worse" => Cell::judged(verdict, verdict == "better"),
            _ => Cell::words(verdict),
        };
        vec![
            Cell::words(ratio.name.clone()),
            Cell::figure(ratio.factor()),
            judged,
            Cell::figure(ratio.a.clone()),
            Cell::figure(ratio.b.clone()),
        ]
    };
    let rows: Vec<Vec<Cell>> = ratios(a, b).iter().map(row).collect();
    format!("<h2>Ratios</h2>\n{}", sections::table(&["", "B / A", "B is", "A", "B"], &rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn both_runs_are_in_the_page_and_warned_of() {
        let html = page(&sample::slower(), &sample::fanout());
        for part in [
            "fanout: two runs",
            "socketioxide 0.18.9",
            "corewire 0.1.0",
            "A: The oracle found 2 lost",
            "<td class=\"\">3.10</td><td class=\"text good-text\">better</td>",
            "line solid t2",
        ] {
            assert!(html.contains(part), "{part}");
        }
    }

    #[test]
    fn equal_runs_are_said_to_be_comparable() {
        let html = page(&sample::fanout(), &sample::fanout());
        assert!(html.contains("Same scenario, settings and machine"));
        assert!(!html.contains("class=\"bad\""));
    }
}
