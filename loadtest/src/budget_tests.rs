use super::*;
use crate::report::sample;

/// What came of one line in the sample run.
fn checked(line: &str) -> BudgetLine {
    let budget = Budget::parse(line).expect("the line is right");
    budget.check(&sample::fanout()).remove(0)
}

fn refused(text: &str) -> BudgetError {
    Budget::parse(text).expect_err("a line of it is wrong")
}

/// A run with round figures.
fn round_figures() -> Report {
    let mut run = sample::fanout();
    let delivery = run.latencies.get_mut("delivery").expect("the sample has it");
    (delivery.p50, delivery.p99, delivery.p999) = (800.0, 4_000.0, 20_000.0);
    run.totals.rate = 10_000.0;
    run.client.busy = 0.9;
    run
}

#[test]
fn each_unit_is_read_and_what_was_found_is_shown_in_it() {
    let run = round_figures();
    for (line, found, kept) in [
        ("p99 <= 5ms", "4 ms", true),
        ("p99 <= 3999us", "4000 us", false),
        ("p99 < 4 ms", "4 ms", false),
        ("p99<=0.004s", "0.004 s", true),
        ("delivery.p99.9 <= 20 ms", "20 ms", true),
        ("delivery.p50 > 800 µs", "800 µs", false),
        ("rate >= 10k", "10 k", true),
        ("rate >= 0.02M", "0.010 M", false),
        ("rate == 10000", "10000", true),
        ("rate != 10000", "10000", false),
        ("client_busy < 95%", "90%", true),
        ("client_busy < 0.5", "0.900", false),
    ] {
        let budget = Budget::parse(line).expect(line);
        let came = budget.check(&run).remove(0);
        assert_eq!((came.found.as_str(), came.kept), (found, kept), "{line}");
        assert_eq!(came.text, line);
    }
}

#[test]
fn figures_of_the_server_need_its_process() {
    assert!(checked("cpu_us_per_operation <= 6").kept);
    assert!(checked("cpu_us_per_operation <= 6us").kept);
    assert!(!checked("memory_per_connection <= 1B").kept);
    assert!(checked("memory_per_connection <= 2KiB").kept);

    let mut run = sample::fanout();
    run.server.as_mut().expect("it has one").anon_bytes_per_connection = Some(41.0);
    let budget = Budget::parse("memory_per_connection <= 2KiB").expect("it is right");
    assert!(!budget.check(&run)[0].kept, "the server had it already");
    run.server = None;
    let budget = Budget::parse("memory_per_connection <= 2KiB").expect("it is right");
    let came = budget.check(&run).remove(0);
    assert!(!came.kept, "nobody measured it");
    assert!(came.found.contains("--pid"), "{}", came.found);
}

#[test]
fn comments_and_empty_lines_count_as_lines_only() {
    let text = "# head\n\n  lost == 0   # none\np99 <= 1s\n";
    let budget = Budget::parse(text).expect("it is right");
    let came = budget.check(&sample::fanout());
    assert_eq!(came.len(), 2);
    assert_eq!(came[0].text, "lost == 0");
    assert!(passed(&came));
    assert!(passed(&[]));
    let wrong = refused(&format!("{text}p99 <= 5\n"));
    assert_eq!(wrong.line, 5);
    let said = wrong.to_string();
    assert!(said.starts_with("budget line 5, `p99 <= 5`:"), "{said}");
    assert!(said.contains("us, ms or s"), "{said}");
}

#[test]
fn one_broken_line_breaks_the_budget() {
    let mut run = sample::fanout();
    run.oracle.lost = 1;
    let budget = Budget::parse("rate > 0\nlost == 0\n").expect("it is right");
    let came = budget.check(&run);
    assert_eq!(came.iter().map(|line| line.kept).collect::<Vec<_>>(), [true, false]);
    assert!(!passed(&came));
}

#[test]
fn a_bound_has_a_unit_that_fits_its_metric() {
    for (line, says) in [
        ("p99 <= 5 KiB", "us, ms or s"),
        ("p99 <= fast", "us, ms or s"),
        ("p99 <=", "us, ms or s"),
        ("p99 <= -1ms", "us, ms or s"),
        ("memory_per_connection <= 2048", "B, KiB, MiB or GiB"),
        ("rate >= 10kk", "k or M"),
        ("rate >= 1.2.3", "k or M"),
        ("client_busy < 5s", "a share"),
        ("cpu_us_per_operation <= 6KiB", "microseconds"),
    ] {
        let said = refused(line).why;
        assert!(said.contains(says), "{line}: {said}");
    }
    assert!(refused("p99 5ms").why.contains("<= < >= > == !="));
}

#[test]
fn an_unknown_metric_is_answered_with_the_known_ones() {
    for line in ["p98 <= 5ms", "latency <= 5ms", "round_trip.p98 < 1s", ".p99 < 1s", "<= 5"] {
        let said = refused(line).why;
        for part in ["no metric `", "cpu_us_per_operation", "lost", "p99.99", "round_trip.p99"] {
            assert!(said.contains(part), "{line}: {said}");
        }
    }
}

#[test]
fn a_bare_percentile_needs_a_run_that_timed_something() {
    let mut run = sample::fanout();
    run.main_latency = String::new();
    let budget = Budget::parse("p99 <= 1s").expect("it is right");
    let came = budget.check(&run).remove(0);
    assert!(!came.kept);
    assert!(came.found.contains("connect, delivery"), "{}", came.found);
}

#[test]
fn a_latency_that_the_run_does_not_have_breaks_the_line_and_names_those_it_has() {
    let came = checked("round_trip.p99 <= 5ms");
    assert!(!came.kept);
    assert_eq!(came.found, "no latency `round_trip` in this run; it has connect, delivery");
}
