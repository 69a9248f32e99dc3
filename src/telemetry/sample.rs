//! A token bucket that thins out log lines, so that a flood of bad peers is no flood of log.

/// What to do with a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Write it, and say that `suppressed` lines were left out since the last one written.
    Log {
        /// Lines dropped since the last verdict of this kind.
        suppressed: u64,
    },
    /// Leave it out; it has been counted.
    Drop,
}

/// A line costs this many of the bucket's units, so that a millisecond refills a whole number.
const LINE: u64 = 1_000;

/// Lets `per_second` lines a second pass, as many at once after a quiet second, and counts the
/// rest. At 0 nothing passes.
///
/// Cost: four additions and a comparison; no allocation.
#[derive(Clone, Debug)]
pub struct Sampler {
    per_second: u64,
    units: u64,
    refilled_ms: u64,
    suppressed: u64,
}

impl Sampler {
    /// A full bucket at `now_ms` (monotonic milliseconds, handed in).
    #[must_use]
    pub fn new(per_second: u32, now_ms: u64) -> Self {
        let per_second = u64::from(per_second);
        Self { per_second, units: per_second * LINE, refilled_ms: now_ms, suppressed: 0 }
    }

    /// Judges one line at `now_ms`. A time before the last one refills nothing.
    pub fn allow(&mut self, now_ms: u64) -> Verdict {
        let elapsed_ms = now_ms.saturating_sub(self.refilled_ms);
        self.refilled_ms = self.refilled_ms.max(now_ms);
        self.units = self
            .units
            .saturating_add(elapsed_ms.saturating_mul(self.per_second))
            .min(self.per_second * LINE);
        if self.units < LINE {
            self.suppressed = self.suppressed.saturating_add(1);
            return Verdict::Drop;
        }
        self.units -= LINE;
        Verdict::Log { suppressed: std::mem::take(&mut self.suppressed) }
    }

    /// Lines dropped since the last one that passed; what a last line at the end may still tell.
    #[must_use]
    pub const fn suppressed(&self) -> u64 {
        self.suppressed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: Verdict = Verdict::Log { suppressed: 0 };

    #[test]
    fn a_burst_passes_up_to_the_rate_and_the_next_line_tells_what_was_left_out() {
        let mut sampler = Sampler::new(2, 500);
        assert_eq!([sampler.allow(500), sampler.allow(500)], [LOG, LOG]);
        assert_eq!(
            [sampler.allow(500), sampler.allow(999)],
            [Verdict::Drop; 2],
            "half a second gives back one line at 2 a second, 499 ms does not"
        );
        assert_eq!(sampler.suppressed(), 2);
        assert_eq!(sampler.allow(1_000), Verdict::Log { suppressed: 2 });
        assert_eq!(sampler.suppressed(), 0);
    }

    #[test]
    fn a_long_silence_fills_the_bucket_once() {
        let mut sampler = Sampler::new(3, 0);
        let passed = (0..100).filter(|_| sampler.allow(u64::MAX) != Verdict::Drop).count();
        assert_eq!(passed, 3);
    }

    #[test]
    fn the_rate_holds_over_time_whatever_the_arrivals() {
        // One line a millisecond for ten seconds: the first bucket and ten refills, less the
        // refill that the full bucket could not take.
        let mut sampler = Sampler::new(5, 0);
        let mut told = 0;
        let mut passed = 0_u64;
        for now_ms in 0..10_000 {
            if let Verdict::Log { suppressed } = sampler.allow(now_ms) {
                passed += 1;
                told += suppressed;
            }
        }
        assert!((54..=55).contains(&passed), "{passed} passed");
        assert_eq!(passed + told + sampler.suppressed(), 10_000);
    }

    #[test]
    fn zero_a_second_is_silence_and_a_clock_that_steps_back_gives_nothing() {
        let mut silent = Sampler::new(0, 0);
        assert_eq!(silent.allow(1_000_000), Verdict::Drop);
        let mut sampler = Sampler::new(1, 10_000);
        assert_eq!(sampler.allow(10_000), LOG);
        assert_eq!(sampler.allow(0), Verdict::Drop);
        assert_eq!(sampler.allow(10_999), Verdict::Drop);
        assert_eq!(sampler.allow(11_000), Verdict::Log { suppressed: 2 });
    }
}
