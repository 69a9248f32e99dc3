//! How short of memory the process is: one word that one thread writes and all cores read.

use core::sync::atomic::{AtomicU64, Ordering};

/// How short of memory the process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strain {
    /// There is enough.
    #[default]
    None,
    /// Above the soft limit: no new sessions.
    Refuse,
    /// Above the hard limit: no new connections either, and the largest queues go.
    Shed,
}

impl Strain {
    const ALL: [Self; 3] = [Self::None, Self::Refuse, Self::Shed];

    /// The next state, from the one before and what is used now.
    ///
    /// It rises at once. It falls when use is a twentieth below the limit, so that a process at a
    /// limit does not change its mind every second.
    #[must_use]
    pub fn next(self, used: u64, soft: u64, hard: u64) -> Self {
        let below = |limit: u64| limit - limit / 20;
        let hard_from = if self == Self::Shed { below(hard) } else { hard };
        let soft_from = if self == Self::None { soft } else { below(soft) };
        if used >= hard_from {
            Self::Shed
        } else if used >= soft_from {
            Self::Refuse
        } else {
            Self::None
        }
    }
}

/// The word. Who writes it looks at memory about once a second; cores read it where a client
/// arrives and where deadlines are looked at.
#[derive(Debug, Default)]
pub struct Pressure {
    /// The strain in the two lowest bits, above them how often it was published.
    word: AtomicU64,
    used: AtomicU64,
    limits: [AtomicU64; 2],
}

impl Pressure {
    /// Publishes a look, and what the limits are: soft, hard.
    pub fn publish(&self, strain: Strain, used: u64, limits: [u64; 2]) {
        self.used.store(used, Ordering::Relaxed);
        for (place, limit) in self.limits.iter().zip(limits) {
            place.store(limit, Ordering::Relaxed);
        }
        let looks = (self.word.load(Ordering::Relaxed) >> 2) + 1;
        self.word.store(looks << 2 | strain as u64, Ordering::Relaxed);
    }

    /// How short of memory the process is.
    #[must_use]
    pub fn strain(&self) -> Strain {
        self.look().0
    }

    /// The same, and the number of the look that found it.
    #[must_use]
    pub fn look(&self) -> (Strain, u64) {
        let word = self.word.load(Ordering::Relaxed);
        (Strain::ALL[(word & 3) as usize % Strain::ALL.len()], word >> 2)
    }

    /// Bytes in use at the last look.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The limits, soft and hard; 0 before the first look.
    #[must_use]
    pub fn limits(&self) -> [u64; 2] {
        [0, 1].map(|at: usize| self.limits[at].load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strain_rises_at_once_and_falls_with_some_room() {
        let walk = |uses: &[u64]| {
            let mut strain = Strain::None;
            uses.iter()
                .map(|used| {
                    strain = strain.next(*used, 1_000, 2_000);
                    strain as u8
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(walk(&[999, 1_000, 999, 951, 950, 949, 999]), [0, 1, 1, 1, 1, 0, 0]);
        assert_eq!(walk(&[2_000, 1_950, 1_900, 1_899, 1_999, 2_000]), [2, 2, 2, 1, 1, 2]);
        assert_eq!(walk(&[5_000, 0]), [2, 0]);
    }

    #[test]
    fn each_look_has_a_number_of_its_own() {
        let pressure = Pressure::default();
        assert_eq!(pressure.look(), (Strain::None, 0));
        pressure.publish(Strain::Shed, 7, [5, 6]);
        pressure.publish(Strain::Shed, 8, [5, 6]);
        assert_eq!(pressure.look(), (Strain::Shed, 2));
        assert_eq!((pressure.used_bytes(), pressure.limits()), (8, [5, 6]));
        pressure.publish(Strain::Refuse, 1, [5, 6]);
        assert_eq!(pressure.strain(), Strain::Refuse);
    }
}
