//! Servers that are wrong on purpose: whoever checks must notice each of them.

use std::cell::RefCell;

use crate::base::Rng;

/// One way of being wrong, now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A batch between cores is lost.
    LostBatch,
    /// A batch between cores overtakes those before it.
    HastyBatch,
    /// Bytes for a client are written twice.
    DoubledWrite,
    /// Bytes for a client are lost.
    LostWrite,
    /// A core's end of its tick is forgotten.
    ForgottenFlush,
    /// A core is not told that a connection has ended.
    ForgottenEnd,
    /// A connection is lost on its way to its session's core.
    LostMove,
    /// A core does not say that it has members of a room.
    ForgottenInterest,
    /// Of a message in two parts a client sends, the first is read twice.
    DoubledRead,
    /// The limits kept are twice those that were set.
    DoubledBill,
    /// An upgrade is given up before its time.
    HastyUpgrade,
    /// An upgrade is given up long after its time.
    PatientUpgrade,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::LostBatch,
        Self::HastyBatch,
        Self::DoubledWrite,
        Self::LostWrite,
        Self::ForgottenFlush,
        Self::ForgottenEnd,
        Self::LostMove,
        Self::ForgottenInterest,
        Self::DoubledRead,
        Self::DoubledBill,
        Self::HastyUpgrade,
        Self::PatientUpgrade,
    ];

    /// The one of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mutant| format!("{mutant:?}") == name)
    }
}

/// Strikes now and then, if there is a mutant at all.
#[derive(Debug)]
pub(super) struct Saboteur {
    mutant: Option<Mutant>,
    chance: RefCell<Rng>,
}

impl Saboteur {
    pub(super) const fn new(mutant: Option<Mutant>, chance: Rng) -> Self {
        Self { mutant, chance: RefCell::new(chance) }
    }

    /// Whether it is to go wrong in this way, now.
    pub(super) fn strikes(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant) && self.chance.borrow_mut().below(6) == 0
    }
}
