//! The search for the greatest rate a server sustains.

use super::report::{LIMIT_BUSY, micros};
use super::run::{Found, Run};
use crate::check::oracle;
use crate::clock::{MILLI, Nanos};
use crate::load::main_timing;
use crate::model::{Oracle, Report, Step};
use crate::scenario::{Publish, Scenario, Steps};

/// Load before each try is measured, as a share of the try.
const WARMUP_SHARE: f64 = 0.25;
/// Tries, at most: a server whose limit moves must not keep the search for ever.
const TRIES_MAX: usize = 60;
/// How long what a try left behind may take to come.
const CLEAR_MS: u32 = 10_000;

/// What a search found.
pub(super) struct Search {
    steps: Vec<Step>,
    oracle: Oracle,
    /// Messages a second, and operations a second.
    best: Option<(f64, f64)>,
}

impl Search {
    pub(super) fn write_to(self, report: &mut Report) {
        report.totals.target_rate = self.best.map(|(_, operations)| operations);
        report.totals.sustained_rate = self.best.map(|(_, operations)| operations);
        report.client.was_the_limit |= client_was_full(&self.steps);
        report.steps = self.steps;
        report.oracle = self.oracle;
    }
}

/// Whether the client had no time left at the least rate that was too much: then nobody can say
/// whether the server would have sustained it, whatever the server's own CPU did.
fn client_was_full(steps: &[Step]) -> bool {
    let too_much = steps.iter().filter(|step| !step.sustained);
    let least = too_much.min_by(|a, b| a.target_rate.total_cmp(&b.target_rate));
    least.is_some_and(|step| step.client_busy >= LIMIT_BUSY)
}

/// Where to go on, from what was sustained and what was not.
#[derive(Clone, Copy, Debug, Default)]
struct Bracket {
    sustained: Option<f64>,
    too_much: Option<f64>,
}

impl Bracket {
    fn learn(&mut self, rate: f64, sustained: bool) {
        if sustained {
            self.sustained = Some(self.sustained.map_or(rate, |best| best.max(rate)));
        } else {
            self.too_much = Some(self.too_much.map_or(rate, |least| least.min(rate)));
        }
    }

    /// The next rate to try; none once the answer is known.
    fn next(&self, steps: &Steps) -> Option<f64> {
        match (self.sustained, self.too_much) {
            (None, None) => Some(steps.start_rate),
            (Some(best), None) => Some(best * steps.factor),
            (None, Some(least)) => {
                let lower = least / steps.factor;
                (lower > steps.start_rate / 1_000.0).then_some(lower)
            }
            (Some(best), Some(least)) => {
                (least / best - 1.0 > steps.within).then(|| f64::midpoint(best, least))
            }
        }
    }
}

/// Operations for one message.
fn operations_per_message(scenario: &Scenario, room_size: u32) -> f64 {
    if !scenario.kind.has_rooms() {
        return 1.0;
    }
    let is_deaf_to_itself = scenario.app == crate::scenario::App::Gateway
        && scenario.publish == Publish::Event
        && scenario.publishers == 0;
    f64::from(room_size - scenario.slow_per_room - u32::from(is_deaf_to_itself))
}

/// Searches; the figures are those of the best try.
pub(super) fn search(run: &mut Run, steps: &Steps) -> (Found, Search) {
    let scenario = run.board.scenario.clone();
    let each = operations_per_message(&scenario, run.board.layout.room_size);
    let mut search = Search { steps: Vec::new(), oracle: Oracle::default(), best: None };
    let mut bracket = Bracket::default();
    let mut best: Option<Found> = None;
    let mut last = None;
    while let Some(rate) = bracket.next(steps).filter(|_| search.steps.len() < TRIES_MAX) {
        let stretch = run.stretch(Some(rate), steps.seconds * WARMUP_SHARE, steps.seconds);
        let found = run.load_and_clear(stretch, Nanos::from(steps.late_ms) * MILLI, CLEAR_MS);
        oracle::add(&mut search.oracle, &found.oracle);
        let step = judge(&found, steps, &scenario, rate * each);
        bracket.learn(rate, step.sustained);
        if step.sustained && search.best.is_none_or(|(best, _)| rate >= best) {
            search.best = Some((rate, step.rate));
            best = Some(found);
        } else {
            last = Some(found);
        }
        search.steps.push(step);
    }
    let found = best.or(last).unwrap_or_default();
    (found, search)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are below 2^53")]
fn judge(found: &Found, steps: &Steps, scenario: &Scenario, target_rate: f64) -> Step {
    let main = found.latencies.get(main_timing(scenario.kind).name());
    let at = |quantile| main.map_or(0.0, |hist| micros(hist.value_at_quantile(quantile)));
    let p99 = at(0.99);
    let mut why = Vec::new();
    if found.counted.operations == 0 {
        why.push(String::from("the try was too short for a single message"));
    }
    if !found.settled {
        why.push(format!("not all came within {} ms of the end", steps.late_ms));
    }
    if !oracle::is_clean(&found.oracle) {
        why.push(String::from("deliveries were lost or wrong"));
    }
    if p99 > steps.p99_ms * 1e3 {
        why.push(format!("p99 was {:.1} ms", p99 / 1e3));
    }
    Step {
        target_rate,
        rate: found.counted.operations as f64 / found.seconds.max(1e-9),
        p50: at(0.5),
        p99,
        p999: at(0.999),
        client_busy: found.busy,
        sustained: why.is_empty(),
        why: why.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> Steps {
        Steps {
            start_rate: 100.0,
            factor: 1.6,
            within: 0.04,
            seconds: 1.0,
            late_ms: 100,
            p99_ms: 100.0,
        }
    }

    fn find(limit: f64) -> (Option<f64>, usize) {
        let steps = steps();
        let mut bracket = Bracket::default();
        let mut tries = 0;
        while let Some(rate) = bracket.next(&steps) {
            bracket.learn(rate, rate <= limit);
            tries += 1;
        }
        (bracket.sustained, tries)
    }

    #[test]
    fn the_limit_is_found_to_within_the_share_asked_for() {
        for limit in [30.0, 100.0, 101.0, 5_000.0, 1e6] {
            let (found, tries) = find(limit);
            let found = found.unwrap();
            assert!(found <= limit && found >= limit / 1.04, "{limit}: {found}");
            assert!(tries < TRIES_MAX, "{tries}");
        }
    }

    #[test]
    fn the_client_is_judged_at_the_least_rate_that_was_too_much() {
        let step = |target_rate, client_busy, sustained| Step {
            target_rate,
            client_busy,
            sustained,
            rate: target_rate,
            p50: 1.0,
            p99: 1.0,
            p999: 1.0,
            why: String::new(),
        };
        let found = [step(100.0, 0.9, true), step(160.0, 1.0, false), step(130.0, 0.97, false)];
        assert!(client_was_full(&found));
        let found = [step(100.0, 0.97, true), step(160.0, 1.0, false), step(130.0, 0.5, false)];
        assert!(!client_was_full(&found), "at 130 it had time");
        assert!(!client_was_full(&[]));
    }

    #[test]
    fn a_server_that_sustains_nothing_ends_the_search() {
        assert_eq!(find(0.0).0, None);
    }
}
