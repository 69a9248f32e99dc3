//! What is run: a seed, and what is left out of it.
//!
//! A failing seed is made smaller by leaving out clients, rounds and acts, and what remains is one
//! line that runs it again. The content of an act depends on the seed, on who acts and on which of
//! its acts it is, and on nothing else: leaving one out changes no other.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::mutant::Mutant;
use crate::base::Rng;

/// One act: who does it, and which of its acts it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Act {
    /// The client's number; [`WORLD`] is whatever goes wrong by itself.
    pub actor: usize,
    /// From 0, those left out counted.
    pub number: u32,
}

/// The actor of faults that are nobody's doing.
pub const WORLD: usize = usize::MAX;

impl fmt::Display for Act {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.actor {
            WORLD => write!(out, "w.{}", self.number),
            actor => write!(out, "{actor}.{}", self.number),
        }
    }
}

impl FromStr for Act {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (actor, number) = text.split_once('.')?;
            let actor = if actor == "w" { WORLD } else { actor.parse().ok()? };
            Some(Self { actor, number: number.parse().ok()? })
        };
        read().ok_or_else(|| format!("{text} is no act"))
    }
}

/// A seed and what is left of it.
///
/// Shape, as it is written and read: `42 twist=1 rounds=1 clients=0,2 acts=0.3,w.1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Decides everything that is not decided below.
    pub seed: u64,
    /// Another order of the same things.
    pub twist: u64,
    /// No more than so many rounds.
    pub rounds: Option<usize>,
    /// Only these clients ever come; all if none are named.
    pub clients: Option<BTreeSet<usize>>,
    /// Only these acts are done; all if none are named.
    pub acts: Option<BTreeSet<Act>>,
    /// What the servers are made to do wrong, to show that it is noticed.
    pub mutant: Option<Mutant>,
}

impl Script {
    /// All of a seed.
    #[must_use]
    pub const fn of(seed: u64) -> Self {
        Self { seed, twist: 0, rounds: None, clients: None, acts: None, mutant: None }
    }

    /// A stream of chance.
    pub(super) fn stream(&self, salt: u64) -> Rng {
        Rng::new(self.seed, salt)
    }

    /// A stream of what may be twisted.
    pub(super) fn twisted(&self, salt: u64) -> Rng {
        Rng::new(self.seed ^ self.twist.wrapping_mul(0x9E37_79B9_7F4A_7C15), salt)
    }

    /// The chance of one act.
    pub(super) fn of_act(&self, act: Act, salt: u64) -> Rng {
        let who = (act.actor as u64).wrapping_mul(0x00C2_B2AE_3D27_D4EB);
        let mut mixed = Rng::new(self.seed ^ who ^ u64::from(act.number).rotate_left(40), salt);
        Rng::new(mixed.draw(), salt)
    }

    pub(super) fn has_client(&self, client: usize) -> bool {
        self.clients.as_ref().is_none_or(|clients| clients.contains(&client))
    }

    pub(super) fn has_act(&self, act: Act) -> bool {
        self.acts.as_ref().is_none_or(|acts| acts.contains(&act))
    }
}

fn list<T: fmt::Display>(items: &BTreeSet<T>) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

impl fmt::Display for Script {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.seed)?;
        if self.twist > 0 {
            write!(out, " twist={}", self.twist)?;
        }
        if let Some(rounds) = self.rounds {
            write!(out, " rounds={rounds}")?;
        }
        if let Some(clients) = &self.clients {
            write!(out, " clients={}", list(clients))?;
        }
        if let Some(acts) = &self.acts {
            write!(out, " acts={}", list(acts))?;
        }
        self.mutant.map_or(Ok(()), |mutant| write!(out, " mutant={mutant:?}"))
    }
}

impl FromStr for Script {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |word: &str| format!("{word} is no part of a script");
        let mut words = text.split_whitespace();
        let seed = words.next().and_then(|seed| seed.parse().ok());
        let mut script = Self::of(seed.ok_or("a script begins with its seed")?);
        for word in words {
            let (name, value) = word.split_once('=').ok_or_else(|| bad(word))?;
            let parts = || value.split(',').filter(|part| !part.is_empty());
            let number = |text: &str| text.parse::<usize>().map_err(|_| bad(word));
            match name {
                "twist" => script.twist = value.parse().map_err(|_| bad(word))?,
                "rounds" => script.rounds = Some(number(value)?),
                "clients" => script.clients = Some(parts().map(number).collect::<Result<_, _>>()?),
                "acts" => script.acts = Some(parts().map(str::parse).collect::<Result<_, _>>()?),
                "mutant" => script.mutant = Some(Mutant::named(value).ok_or_else(|| bad(word))?),
                _ => return Err(bad(word)),
            }
        }
        Ok(script)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_as_it_is_written() {
        for text in [
            "7",
            "42 twist=3 rounds=1 clients=0,2 acts=0.3,2.11,w.1 mutant=LostBatch",
            "18446744073709551615 clients= acts=",
        ] {
            let script: Script = text.parse().expect(text);
            assert_eq!(script.to_string(), text);
        }
        for text in ["", "x", "1 acts=3", "1 clients=a", "1 twist", "1 mutant=Nobody", "1 more=1"] {
            assert!(text.parse::<Script>().is_err(), "{text}");
        }
    }

    #[test]
    fn acts_have_chances_of_their_own() {
        let script = Script::of(9);
        let mut drawn = BTreeSet::new();
        for actor in [0, 1, 2, WORLD] {
            for number in 0..50 {
                drawn.insert(script.of_act(Act { actor, number }, 1).draw());
            }
        }
        assert_eq!(drawn.len(), 200);
    }
}
