//! What goes wrong and is nobody's doing: connections that die, batches that are late, cores that
//! stand still, clocks that jump.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::link::{Place, Waits};
use super::world::World;
use crate::base::{Micros, Rng};

/// How often what happened, under a name for people.
#[derive(Debug, Default)]
pub(super) struct Tally(RefCell<BTreeMap<&'static str, u64>>);

impl Tally {
    pub(super) fn count(&self, what: &'static str) {
        *self.0.borrow_mut().entry(what).or_default() += 1;
    }

    pub(super) fn take(&self) -> BTreeMap<&'static str, u64> {
        self.0.take()
    }
}

/// Whether the weather is bad, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// Connections die at any byte.
    pub(super) resets: bool,
    /// Batches are late, cores stand still.
    pub(super) delays: bool,
    /// Clocks jump forward, or stand.
    pub(super) clocks: bool,
}

impl Weather {
    pub(super) fn new(chance: &mut Rng) -> Self {
        let mut one_of = |of: usize| chance.below(of) == 0;
        Self { resets: one_of(3), delays: one_of(3), clocks: one_of(8) }
    }

    pub(super) const fn is_bad(self) -> bool {
        self.resets || self.delays || self.clocks
    }
}

/// Longest delay of a batch or a core: short of what a client in good standing is cut for.
const DELAY_US_MAX: usize = 250_000;

impl World {
    /// Something goes wrong. Says what.
    pub(super) fn befall(&mut self, mut chance: Rng) -> &'static str {
        let weather = self.plan.weather;
        let all = [
            (weather.resets, 0),
            (weather.resets, 0),
            (weather.delays, 1),
            (weather.delays, 2),
            (weather.clocks, 3),
            (weather.clocks, 4),
        ];
        let possible: Vec<u8> =
            all.into_iter().filter(|(may, _)| *may).map(|(_, which)| which).collect();
        let what = match possible[chance.below(possible.len())] {
            0 => self.reset_a_link(&mut chance),
            1 => self.delay_a_lane(&mut chance),
            2 => self.stop_a_core(&mut chance),
            3 => self.jump(&mut chance),
            _ => self.stop_a_clock(&mut chance),
        };
        self.tally.count(what);
        what
    }

    /// A connection dies, wherever it is and whatever is on its way.
    fn reset_a_link(&mut self, chance: &mut Rng) -> &'static str {
        let alive = |(_, link): &(usize, &super::link::Link)| {
            !matches!(link.place, Place::Closed) && !link.broken
        };
        let alive: Vec<usize> =
            self.links.iter().enumerate().filter(alive).map(|(at, _)| at).collect();
        if alive.is_empty() {
            return "nothing to reset";
        }
        let id = alive[chance.below(alive.len())];
        let link = &mut self.links[id];
        let what = match &link.place {
            Place::Queued { .. } => "reset before it was accepted",
            Place::Moving => "reset between cores",
            Place::Served(served) if matches!(served.waits, Waits::Handover(_)) => {
                "reset before it moved"
            }
            Place::Served(served) if served.blocked => "reset in the middle of a write",
            Place::Served(served) if !served.unread.is_empty() => {
                "reset in the middle of a request"
            }
            Place::Served(_) => "reset",
            Place::Closed => "closed",
        };
        // What has arrived at either end is still read up to some byte, or not at all.
        let (up, down) = (link.up.len(), link.down.len());
        link.up.truncate(chance.below(up + 1));
        link.down.truncate(chance.below(down + 1));
        link.reset();
        let (client, life) = (link.client, link.life);
        if self.clients[client].life == life {
            self.clients[client].user.doubt(&mut self.ledger);
        }
        what
    }

    /// What is under way between two cores takes its time.
    fn delay_a_lane(&mut self, chance: &mut Rng) -> &'static str {
        let cores = self.plan.cores;
        let (from, to) = (chance.below(cores), chance.below(cores));
        let until = self.now() + chance.below(DELAY_US_MAX) as Micros;
        self.lanes[from].late_until[to] = until;
        "a late batch"
    }

    /// A core does nothing for a while.
    fn stop_a_core(&mut self, chance: &mut Rng) -> &'static str {
        let core = chance.below(self.plan.cores);
        self.nodes[core].stopped_until = self.now() + chance.below(DELAY_US_MAX) as Micros;
        "a core that stood still"
    }

    /// Much time passes at once: a machine that was suspended. Whatever has a deadline is over it.
    fn jump(&mut self, chance: &mut Rng) -> &'static str {
        for client in &mut self.clients {
            client.user.doubt(&mut self.ledger);
        }
        let wait_us = chance.below(20_000_000) as Micros;
        self.clock.set(self.now() + wait_us);
        self.jumped_us += wait_us;
        "a clock that jumped"
    }

    /// A core's clock goes back: the core must not, and its time stands until it has caught up.
    fn stop_a_clock(&mut self, chance: &mut Rng) -> &'static str {
        let core = chance.below(self.plan.cores);
        let behind = &self.nodes[core].behind_us;
        behind.set(behind.get() + chance.below(400_000) as Micros);
        "a clock that went back"
    }
}
