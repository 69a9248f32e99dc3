//! A process that another one replaces.

use std::cell::Cell;
use std::rc::Rc;

use super::{AHEAD_US, Client, EPOCHS, World, run};
use crate::base::Limits;
use crate::seeds::run_seeds;
use crate::shard::sibling::SiblingTerms;
use crate::shard::{Emit, Target};

impl World {
    /// The second process begins: every core of the first one knows of it before it serves.
    pub(super) fn overlap(&mut self) {
        let signed = AHEAD_US.cast_signed();
        for process in [0, 1] {
            let ahead_us = if process == 0 { -signed } else { signed };
            let terms = SiblingTerms { epoch: EPOCHS[1 - process], cores: self.cores, ahead_us };
            for core in 0..self.cores {
                for _ in 0..self.rng.below(4) {
                    self.step();
                }
                let at = process * self.cores + core;
                self.shards[at].open_sibling(terms);
                self.knows.insert(at);
            }
        }
        self.serving = self.shards.len();
        // The first words are out before anything else. A core has none before it has heard all
        // that the others of its process had sent when they knew.
        for core in 0..self.cores {
            while !self.begun.contains(&core) {
                (0..self.cores).for_each(|from| self.deliver(from, core));
                (0..self.cores).for_each(|core| self.tick(core));
            }
            (self.cores..self.serving).for_each(|to| self.deliver(core, to));
        }
    }

    /// The line between the processes breaks, with whatever was on it. Both live.
    fn part(&mut self) {
        self.wires.clear();
        self.knows.clear();
        self.shards.iter_mut().for_each(crate::shard::Shard::close_sibling);
        self.is_apart = true;
    }
}

pub(super) fn overlap(world: &mut World) {
    (0..world.rng.below(200)).for_each(|_| world.step());
    world.overlap();
}

#[test]
fn while_one_process_replaces_another_it_is_as_with_one() {
    let (mut came_back, mut lost) = (0, 0);
    let are_fixed = run_seeds(300, |seed| {
        let (back, anew) = run(seed, overlap);
        assert!(anew == 0 || seed % 2 == 1, "seed {seed}: {anew} began anew");
        came_back += back;
        lost += anew;
    });
    let held = came_back > 1_500 && lost * 6 < came_back;
    assert!(held || !are_fixed, "{came_back} came back, {lost} did not");
}

#[test]
fn when_the_two_lose_each_other_nobody_gets_anything_twice_or_out_of_order() {
    let mut lost = 0;
    let are_fixed = run_seeds(100, |seed| {
        let (_, anew) = run(seed, |world| {
            overlap(world);
            (0..world.rng.below(200)).for_each(|_| world.step());
            world.part();
        });
        lost += anew;
    });
    assert!(lost > 0 || !are_fixed, "somebody came back to where nobody knew it");
}

#[test]
fn who_counts_waits_a_moment_for_the_other_process_and_is_not_misled_later() {
    let mut world = World::new(0, 2, &Limits::DEFAULT);
    world.clients.push(Client { rooms: vec!["a"], ..Client::default() });
    world.connect(0);
    world.settle();
    world.overlap();
    world.settle();
    let counted = Rc::new(Cell::new(None));
    let told = Rc::clone(&counted);
    let emit = Emit { name: "m", args: "0", attachments: &[], volatile: true };
    let done = Box::new(move |found: crate::shard::Gathered| told.set(Some(found.partial)));
    world.shards[0].broadcast("/", Target::default(), &emit, false, Some(done));
    world.tick(0);
    // A core of its own is busy, and the other process is too late.
    world.now_ms += 300;
    world.tick(0);
    for beyond in [2, 3] {
        world.deliver(0, beyond);
        world.tick(beyond);
        world.deliver(beyond, 0);
    }
    world.tick(0);
    assert_eq!(counted.get(), None, "one of its own has not answered");
    world.deliver(0, 1);
    world.tick(1);
    world.deliver(1, 0);
    world.tick(0);
    assert_eq!(counted.get(), Some(false), "all of its own have");
}
