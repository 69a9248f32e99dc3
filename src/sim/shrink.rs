//! Makes a failing script as small as it goes.

use std::collections::BTreeSet;

use super::script::{Act, Script};

/// Other orders that a smaller script is tried in before it counts as one that holds.
const TWISTS: u64 = 3;

/// The smallest script found that still fails, and how.
///
/// `fails` runs a script: the acts it did and how it failed, or `None` if it held. Any failure
/// counts: one that is smaller and another is as good. `runs_max` bounds the work.
pub fn shrink(
    script: &Script,
    runs_max: usize,
    mut fails: impl FnMut(&Script) -> Option<Failure>,
) -> Option<(Script, Failure)> {
    let failure = fails(script)?;
    let acts: BTreeSet<Act> = failure.acts.iter().map(|(act, _)| *act).collect();
    let mut search = Search { best: script.clone(), failure, runs: 1, runs_max, fails };
    // What was never reached is left out first; it may only be that the order needs another try.
    search.attempt(&Script { acts: Some(acts), ..script.clone() });
    loop {
        let before = search.size();
        search.drop_rounds();
        search.drop_clients();
        search.drop_acts();
        if search.size() == before || search.is_spent() {
            return Some((search.best, search.failure));
        }
    }
}

/// How a script failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the check that failed had to say.
    pub why: String,
    /// What was done until then, in order, in words.
    pub acts: Vec<(Act, &'static str)>,
    /// How many clients there were.
    pub clients: usize,
}

struct Search<F> {
    best: Script,
    failure: Failure,
    runs: usize,
    runs_max: usize,
    fails: F,
}

impl<F: FnMut(&Script) -> Option<Failure>> Search<F> {
    fn is_spent(&self) -> bool {
        self.runs >= self.runs_max
    }

    fn size(&self) -> (usize, usize) {
        (self.failure.acts.len(), self.failure.clients)
    }

    /// Takes a smaller script if it fails in some order.
    fn attempt(&mut self, script: &Script) -> bool {
        for twist in 0..=TWISTS {
            if self.is_spent() {
                return false;
            }
            self.runs += 1;
            let script = Script { twist: script.twist + twist, ..script.clone() };
            if let Some(failure) = (self.fails)(&script) {
                (self.best, self.failure) = (script, failure);
                return true;
            }
        }
        false
    }

    fn drop_rounds(&mut self) {
        for rounds in 1..self.best.rounds.unwrap_or(4) {
            if self.attempt(&Script { rounds: Some(rounds), ..self.best.clone() }) {
                return;
            }
        }
    }

    fn drop_clients(&mut self) {
        let all = self.best.clients.clone();
        let all = all.unwrap_or_else(|| (0..self.failure.clients).collect());
        for client in &all {
            let mut clients = self.best.clients.clone().unwrap_or_else(|| all.clone());
            clients.remove(client);
            let mut acts = self.best.acts.clone();
            if let Some(acts) = &mut acts {
                acts.retain(|act| act.actor != *client);
            }
            self.attempt(&Script { clients: Some(clients), acts, ..self.best.clone() });
        }
    }

    /// Delta debugging: without one half, one quarter, ... one act.
    fn drop_acts(&mut self) {
        let Some(acts) = self.best.acts.clone() else { return };
        let mut size = acts.len().div_ceil(2);
        while size > 0 && !self.is_spent() {
            let acts: Vec<Act> = self.best.acts.iter().flatten().copied().collect();
            for chunk in acts.chunks(size) {
                let mut fewer = self.best.acts.clone().unwrap_or_default();
                fewer.retain(|act| !chunk.contains(act));
                self.attempt(&Script { acts: Some(fewer), ..self.best.clone() });
            }
            size /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(actor: usize, number: u32) -> Act {
        Act { actor, number }
    }

    /// A world of forty acts that fails if two of them meet and one client is there.
    fn fails(script: &Script) -> Option<Failure> {
        let all = (0..4).flat_map(|actor| (0..10).map(move |number| act(actor, number)));
        let here = |act: &Act| script.has_act(*act) && script.has_client(act.actor);
        let acts: Vec<_> = all.filter(here).map(|act| (act, "acts")).collect();
        let has = |wanted| acts.iter().any(|(act, _)| *act == wanted);
        let bad = has(act(1, 3)) && has(act(2, 9)) && script.has_client(3) && script.twist != 1;
        let clients = (0..4).filter(|client| script.has_client(*client)).count();
        bad.then(|| Failure { why: String::from("met"), acts, clients })
    }

    #[test]
    fn what_remains_is_what_it_takes() {
        let (script, failure) = shrink(&Script::of(5), 1_000, fails).expect("it fails");
        assert_eq!(script.clients, Some(BTreeSet::from([1, 2, 3])));
        assert_eq!(script.acts, Some(BTreeSet::from([act(1, 3), act(2, 9)])));
        assert_eq!(failure.acts.len(), 2);
        assert_eq!(fails(&script.to_string().parse().expect("a script")), Some(failure));
    }

    #[test]
    fn what_holds_is_not_shrunk_and_the_work_is_bounded() {
        let script = Script { clients: Some(BTreeSet::new()), ..Script::of(5) };
        assert_eq!(shrink(&script, 100, fails), None);
        let mut runs = 0;
        let counted = |script: &Script| {
            runs += 1;
            fails(script)
        };
        assert!(shrink(&Script::of(5), 7, counted).is_some());
        assert!(runs <= 7, "{runs}");
    }
}
