//! The page of one run.

use super::chart::{escape, put};
use super::{bytes, count, duration, facts, main_latency, plots, quantity, sections};
use crate::model::Report;

/// The run as one HTML file that needs nothing else.
#[must_use]
pub fn page(run: &Report) -> String {
    let mut body = format!(
        "<header>\n<h1>{}</h1>\n<p>{}</p>\n<p>{}</p>\n</header>\n",
        escape(&run.name),
        escape(&facts::subject(run).join(", ")),
        escape(&format!("{}, {}", when(&run.started_at), run.tool))
    );
    body.push_str(&sections::verdicts(&facts::verdicts(run)));
    body.push_str(&tiles(run));
    body.push_str(&sections::charts(&plots::all(&[run])));
    body.push_str(&sections::latencies(run));
    body.push_str(&sections::steps(run));
    let mut totals = facts::totals(run);
    totals.extend(facts::server(run));
    put(&mut body, format_args!("<h2>Totals</h2>\n{}", sections::facts_list(&totals)));
    body.push_str(&sections::oracles(&[("", run)]));
    body.push_str(&sections::budget(run));
    body.push_str(&sections::circumstances(run));
    let title = format!("{}: {}/s", run.name, quantity(run.totals.rate));
    sections::document(&title, &body)
}

/// `2026-11-25T08:10:27Z` as people write it.
pub(super) fn when(rfc3339: &str) -> String {
    rfc3339.replacen('T', " ", 1).replacen('Z', " UTC", 1)
}

/// The figures that a run is about, large.
fn tiles(run: &Report) -> String {
    let mut shown = vec![(facts::OPERATION.to_owned() + " a second", quantity(run.totals.rate))];
    if let Some(rate) = run.totals.sustained_rate {
        shown.push(("sustained a second".to_owned(), quantity(rate)));
    }
    if let Some((name, found)) = main_latency(run) {
        let name = plots::spoken(name);
        shown.push((format!("{name} p50"), duration(found.p50)));
        shown.push((format!("{name} p99"), duration(found.p99)));
    }
    let server = run.server.as_ref();
    if let Some(us) = server.and_then(|server| server.cpu_us_per_operation) {
        shown.push(("server CPU per operation".to_owned(), duration(us)));
    }
    if let Some(size) = facts::held_bytes(run) {
        shown.push(("memory per connection".to_owned(), bytes(size)));
    }
    shown.push(("connections".to_owned(), count(run.totals.connections)));
    let tile = |(name, figure): &(String, String)| {
        format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(figure))
    };
    format!("<dl class=\"tiles\">\n{}</dl>\n", shown.iter().map(tile).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_page_names_all_that_a_reader_must_know() {
        let html = page(&sample::slower());
        for part in [
            "<h1>fanout</h1>",
            "socketioxide 0.18.9",
            "2026-11-25 08:14:02 UTC",
            "6.18.44",
            "Intel(R) Xeon(R) Processor @ 2.70GHz",
            "bbr",
            "payload_bytes = 64",
            "bench_server --workers 1",
            "The oracle found 2 lost of 20,100,000 deliveries.",
            "p99 &lt;= 5ms",
            "Latency by percentile",
        ] {
            assert!(html.contains(part), "{part}");
        }
    }

    #[test]
    fn a_page_needs_nothing_but_itself() {
        let mut run = sample::steps();
        run.target.url = String::new();
        let html = page(&run);
        for outside in ["http:", "https:", "src=", "href=", "@import", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
        let opened = html.matches("<script").count();
        assert_eq!(opened, html.matches("</script>").count());
        assert_eq!(html.matches("<figure").count(), html.matches("</figure>").count());
    }

    #[test]
    fn names_from_outside_are_text() {
        let mut run = sample::fanout();
        let bad = "<img src=x onerror=alert(1)>".to_owned();
        run.name.clone_from(&bad);
        run.scenario = format!("</pre>{bad}");
        run.target.version.clone_from(&bad);
        run.machine.cpu.clone_from(&bad);
        let found = run.latencies["delivery"].clone();
        run.latencies.insert(bad, found);
        let html = page(&run);
        assert!(!html.contains("<img"));
        assert_eq!(html.matches("</pre>").count(), 1);
    }

    #[test]
    fn a_page_says_which_server_it_was_or_that_nobody_told() {
        let mut run = sample::fanout();
        assert_eq!(page(&run).matches("corewire 0.1.0").count(), 2, "above and among the facts");
        run.target.version.clear();
        assert_eq!(page(&run).matches("not told (--server-version)").count(), 2);
    }

    #[test]
    fn a_run_with_nothing_in_it_still_has_a_page() {
        let mut run = sample::fanout();
        run.timeline.clear();
        run.latencies.clear();
        run.server = None;
        run.oracle = crate::model::Oracle::default();
        let html = page(&run);
        assert!(html.contains("The oracle had nothing to check"));
        assert!(!html.contains("<figure"));
        assert!(!html.contains("NaN"));
    }
}
