//! When to try again: exponential with full jitter.

/// The longest first wait.
const FIRST_MS: u64 = 100;
/// The longest wait of all.
const LAST_MS: u64 = 30_000;

/// How often something has failed in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait: between 0 and a ceiling that doubles. `random` is uniform.
    pub(super) fn next_ms(&mut self, random: u64) -> u64 {
        let ceiling = self.ceiling_ms();
        self.failures = self.failures.saturating_add(1);
        random % (ceiling + 1)
    }

    /// The longest that the next wait can be: what a client is told to wait.
    pub(super) fn ceiling_ms(self) -> u64 {
        FIRST_MS.saturating_mul(1 << self.failures.min(20)).min(LAST_MS)
    }

    /// It has succeeded.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_double_up_to_the_last() {
        let mut backoff = Backoff::default();
        let ceilings: Vec<u64> = (0..10)
            .map(|_| {
                let ceiling = backoff.ceiling_ms();
                assert_eq!(backoff.next_ms(ceiling), ceiling, "the ceiling itself can be drawn");
                ceiling
            })
            .collect();
        let expected = [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000];
        assert_eq!(ceilings, expected);
        assert_eq!(backoff.next_ms(30_001), 0, "jitter goes down to nothing");
        backoff.reset();
        assert_eq!(backoff.ceiling_ms(), 100);
        backoff.failures = u32::MAX;
        assert_eq!(backoff.ceiling_ms(), 30_000);
    }
}
