//! How fast: the spool is emptied at half of what the broker can do, and fewer commands are
//! fetched while the cores are behind.

/// What is published of the spool each second until more is known.
const FIRST_PER_S: f64 = 200.0;
/// The slowest.
const LEAST_PER_S: f64 = 50.0;
/// Weight of what was measured before.
const KEEP: f64 = 0.7;

/// The pace at which a spool is emptied.
///
/// The broker's rate is what it confirms in the time in which it has something to confirm: it is
/// its ability, and not how much it was given.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    per_s: f64,
    measured: bool,
    busy_since_ms: Option<u64>,
    busy_ms: u64,
    confirms: u64,
    allowance: f64,
    at_ms: u64,
}

impl Pace {
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            per_s: FIRST_PER_S * 2.0,
            measured: false,
            busy_since_ms: None,
            busy_ms: 0,
            confirms: 0,
            allowance: 0.0,
            at_ms: now_ms,
        }
    }

    /// Something was published or confirmed; so many are under way now.
    pub(super) fn note(&mut self, confirms: u64, under_way: usize, now_ms: u64) {
        self.confirms += confirms;
        match (self.busy_since_ms, under_way > 0) {
            (None, true) => self.busy_since_ms = Some(now_ms),
            (Some(since), false) => {
                self.busy_ms += now_ms.saturating_sub(since).max(1);
                self.busy_since_ms = None;
            }
            (Some(since), true) if now_ms > since => {
                self.busy_ms += now_ms - since;
                self.busy_since_ms = Some(now_ms);
            }
            _ => {}
        }
        if self.confirms >= 100 && self.busy_ms >= 10 {
            let rate = self.confirms as f64 * 1_000.0 / self.busy_ms as f64;
            self.per_s = if self.measured { KEEP * self.per_s + (1.0 - KEEP) * rate } else { rate };
            self.measured = true;
            (self.confirms, self.busy_ms) = (0, 0);
        }
    }

    /// How many of the spool may be published now.
    pub(super) fn allowance(&mut self, now_ms: u64) -> usize {
        let passed_s = now_ms.saturating_sub(self.at_ms) as f64 / 1_000.0;
        self.at_ms = now_ms;
        let per_s = (self.per_s / 2.0).max(LEAST_PER_S);
        self.allowance = (self.allowance + passed_s * per_s).min(per_s / 4.0);
        self.allowance as usize
    }

    /// So many of the allowance were used.
    pub(super) fn used(&mut self, count: usize) {
        self.allowance -= count as f64;
    }
}

/// How many commands are fetched ahead.
#[derive(Clone, Debug)]
pub(super) struct Prefetch {
    high: u16,
    low: u16,
    behind_ms: Option<u64>,
    now: u16,
}

/// How long the cores must have kept up before more is fetched again.
const CALM_MS: u64 = 3_000;

impl Prefetch {
    pub(super) fn new(high: u16, low: u16) -> Self {
        Self { high, low: low.min(high), behind_ms: None, now: high }
    }

    pub(super) fn current(&self) -> u16 {
        self.now
    }

    /// A core was behind.
    pub(super) fn behind(&mut self, now_ms: u64) {
        self.behind_ms = Some(now_ms);
    }

    /// The number, if it is another one now.
    pub(super) fn change(&mut self, now_ms: u64) -> Option<u16> {
        let calm = self.behind_ms.is_none_or(|at| now_ms >= at + CALM_MS);
        let wanted = if calm { self.high } else { self.low };
        (wanted != std::mem::replace(&mut self.now, wanted)).then_some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A broker that confirms what it is given after `ms`.
    fn measure(given: u64, ms: u64) -> Pace {
        let mut pace = Pace::new(0);
        for round in 0..50 {
            pace.note(0, given as usize, round * 1_000);
            pace.note(given, 0, round * 1_000 + ms);
        }
        pace
    }

    #[test]
    fn the_rate_is_the_brokers_and_not_the_loads() {
        // 1,000 a second are given, and confirmed within 100 ms: it can do 10,000.
        let mut pace = measure(1_000, 100);
        pace.allowance(50_000);
        pace.used(1_250);
        assert_eq!(pace.allowance(50_100), 500, "half of 10,000, for 100 ms");
    }

    #[test]
    fn an_unknown_or_slow_broker_still_gets_something() {
        let mut unknown = Pace::new(0);
        assert_eq!((unknown.allowance(0), unknown.allowance(100)), (0, 20));
        let mut slow = measure(100, 10_000);
        slow.allowance(50_000);
        slow.used(12);
        assert!((5..=6).contains(&slow.allowance(50_100)), "50 a second at least");
        assert!(slow.allowance(90_000) <= 13, "what was not used is not kept for long");
    }

    #[test]
    fn fewer_are_fetched_until_the_cores_have_kept_up_for_a_while() {
        let mut prefetch = Prefetch::new(256, 32);
        assert_eq!((prefetch.current(), prefetch.change(0)), (256, None));
        prefetch.behind(10);
        assert_eq!(prefetch.change(10), Some(32));
        prefetch.behind(2_000);
        assert_eq!(prefetch.change(4_999), None);
        assert_eq!(prefetch.change(5_000), Some(256));
        assert_eq!(Prefetch::new(8, 32).low, 8);
    }
}
