//! When a provider that fails is left alone. Time is handed in.

/// Failures in a row after which nobody asks for a while.
const FAILURES_MAX: u32 = 5;
/// How long that is; then one question is tried.
const OPEN_MS: u64 = 5_000;

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    shut_until_ms: u64,
}

impl Breaker {
    /// Whether somebody may ask now. Of those who come when its time is over, one may.
    pub(super) const fn pass(&mut self, now_ms: u64) -> bool {
        if self.failures < FAILURES_MAX {
            return true;
        }
        if now_ms < self.shut_until_ms {
            return false;
        }
        self.shut_until_ms = now_ms + OPEN_MS;
        true
    }

    /// What became of a question.
    pub(super) const fn report(&mut self, went_well: bool, now_ms: u64) {
        if went_well {
            self.failures = 0;
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_MAX {
            self.shut_until_ms = now_ms + OPEN_MS;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_shut_it_and_one_probe_opens_it() {
        let mut breaker = Breaker::default();
        for at in 0..5 {
            assert!(breaker.pass(at));
            breaker.report(false, at);
        }
        assert!(!breaker.pass(5) && !breaker.pass(OPEN_MS + 3));
        assert!(breaker.pass(OPEN_MS + 4), "one is tried");
        assert!(!breaker.pass(OPEN_MS + 5), "and no other meanwhile");
        breaker.report(true, OPEN_MS + 6);
        assert!(breaker.pass(OPEN_MS + 6) && breaker.pass(OPEN_MS + 6));
    }
}
