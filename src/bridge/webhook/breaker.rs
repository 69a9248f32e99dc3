//! When a server that fails is left alone. A state machine; time is handed in.
//!
//! Closed: calls are made. So many failures in a row open it: no call is made for a while. Then it
//! is half open: one call is made, and its outcome closes or opens it.

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Closed,
    Open,
    HalfOpen,
}

/// Permission to make one call. Its outcome is told with it.
#[derive(Debug)]
pub(super) struct Pass {
    turn: u64,
}

#[derive(Debug)]
pub(super) struct Breaker {
    failures_max: u32,
    open_ms: u64,
    state: State,
    /// In a row, while closed.
    failures: u32,
    /// When a call may be tried again, while open.
    until_ms: u64,
    /// Changes with every change of state: outcomes of calls made before say nothing of now.
    turn: u64,
    probing: bool,
}

impl Breaker {
    pub(super) const fn new(failures_max: u32, open_ms: u64) -> Self {
        Self {
            failures_max,
            open_ms,
            state: State::Closed,
            failures: 0,
            until_ms: 0,
            turn: 0,
            probing: false,
        }
    }

    pub(super) const fn state(&self) -> State {
        self.state
    }

    /// Whether a call may be made now.
    ///
    /// # Errors
    /// It may not; in so many milliseconds it is worth asking again.
    pub(super) fn pass(&mut self, now_ms: u64) -> Result<Pass, u64> {
        if self.state == State::Open {
            if now_ms < self.until_ms {
                return Err(self.until_ms - now_ms);
            }
            self.turn_to(State::HalfOpen);
        }
        if self.state == State::HalfOpen {
            if self.probing {
                // The one that is under way decides.
                return Err(self.open_ms.min(100));
            }
            self.probing = true;
        }
        Ok(Pass { turn: self.turn })
    }

    /// What became of a call. The new state, if it is another one for whoever watches.
    pub(super) fn report(&mut self, pass: &Pass, went_well: bool, now_ms: u64) -> Option<State> {
        if pass.turn != self.turn {
            return None;
        }
        match (self.state, went_well) {
            (State::Closed, true) => {
                self.failures = 0;
                return None;
            }
            (State::Closed, false) => {
                self.failures += 1;
                if self.failures < self.failures_max {
                    return None;
                }
                self.open(now_ms);
                return Some(State::Open);
            }
            (State::HalfOpen, true) => self.turn_to(State::Closed),
            (State::HalfOpen, false) => {
                self.open(now_ms);
                // Nothing new: it was open, and is.
                return None;
            }
            // A pass of this turn is only given where calls are made.
            (State::Open, _) => return None,
        }
        Some(State::Closed)
    }

    /// A call was not made after all, or says nothing of the server.
    pub(super) const fn forget(&mut self, pass: &Pass) {
        if pass.turn == self.turn {
            self.probing = false;
        }
    }

    fn open(&mut self, now_ms: u64) {
        self.turn_to(State::Open);
        self.until_ms = now_ms + self.open_ms;
    }

    fn turn_to(&mut self, state: State) {
        self.state = state;
        self.failures = 0;
        self.probing = false;
        self.turn += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &mut Breaker, now_ms: u64) -> Option<State> {
        let pass = breaker.pass(now_ms).expect("a call may be made");
        breaker.report(&pass, false, now_ms)
    }

    fn succeed(breaker: &mut Breaker, now_ms: u64) -> Option<State> {
        let pass = breaker.pass(now_ms).expect("a call may be made");
        breaker.report(&pass, true, now_ms)
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_probe_closes_it() {
        let mut breaker = Breaker::new(3, 1_000);
        assert_eq!(fail(&mut breaker, 0), None);
        assert_eq!(fail(&mut breaker, 1), None);
        assert_eq!(succeed(&mut breaker, 2), None, "the row is broken");
        assert_eq!(fail(&mut breaker, 3), None);
        assert_eq!(fail(&mut breaker, 4), None);
        assert_eq!(fail(&mut breaker, 5), Some(State::Open));
        assert_eq!(breaker.pass(6).expect_err("it is open"), 999);
        assert_eq!(breaker.pass(1_004).expect_err("it is open"), 1);
        let probe = breaker.pass(1_005).expect("one call is tried");
        assert_eq!(breaker.state(), State::HalfOpen);
        assert!(breaker.pass(1_005).is_err(), "one, not two");
        assert_eq!(breaker.report(&probe, true, 1_010), Some(State::Closed));
        assert!(breaker.pass(1_010).is_ok() && breaker.pass(1_010).is_ok());
    }

    #[test]
    fn a_probe_that_fails_opens_it_again_without_a_word() {
        let mut breaker = Breaker::new(1, 500);
        assert_eq!(fail(&mut breaker, 0), Some(State::Open));
        assert_eq!(fail(&mut breaker, 500), None);
        assert_eq!(breaker.state(), State::Open);
        assert_eq!(breaker.pass(600).expect_err("open"), 400);
        assert_eq!(succeed(&mut breaker, 1_000), Some(State::Closed));
    }

    #[test]
    fn outcomes_of_calls_from_before_say_nothing() {
        let mut breaker = Breaker::new(2, 500);
        let slow = breaker.pass(0).expect("closed");
        let slower = breaker.pass(0).expect("closed");
        fail(&mut breaker, 1);
        assert_eq!(fail(&mut breaker, 2), Some(State::Open));
        assert_eq!(breaker.report(&slow, true, 3), None, "a success of before does not close it");
        assert_eq!(breaker.state(), State::Open);
        let probe = breaker.pass(502).expect("half open");
        assert_eq!(breaker.report(&slower, false, 503), None, "nor does a failure decide a probe");
        assert_eq!(breaker.state(), State::HalfOpen);
        breaker.forget(&probe);
        assert!(breaker.pass(504).is_ok(), "a probe that was not made makes room for another");
    }
}
