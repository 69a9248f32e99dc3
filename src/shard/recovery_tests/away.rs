//! Commands that take something away, and clients that are away when they come.

use super::one::{one, say};
use super::overlap::overlap;
use super::{Client, World, play};
use crate::base::Limits;
use crate::seeds::run_seeds;
use crate::shard::Target;
use crate::shard::message::Verb;

/// The one client's own room, as a target.
fn of_a() -> Target {
    Target { rooms: vec!["a".into()], except: Vec::new() }
}

#[test]
fn who_is_taken_out_of_a_room_while_away_stays_out_of_it() {
    let mut world = one(&Limits::DEFAULT);
    world.cut(0, true);
    say(&mut world, "a");
    world.shards[0].apply("/", of_a(), &Verb::Leave(vec!["a".into()]), false, None);
    say(&mut world, "a");
    world.connect(0);
    world.settle();
    say(&mut world, "a");
    world.settle();
    assert_eq!(world.clients[0].came_back, 1, "the session itself goes on");
    assert!(world.clients[0].got.is_empty(), "nothing of the room comes any more");
}

#[test]
fn who_is_sent_away_while_away_begins_anew() {
    let mut world = one(&Limits::DEFAULT);
    world.cut(0, true);
    let only_others = Target { rooms: Vec::new(), except: vec!["a".into()] };
    world.shards[0].apply("/", only_others, &Verb::Disconnect { close: false }, false, None);
    world.connect(0);
    world.settle();
    assert_eq!((world.clients[0].came_back, world.clients[0].lost), (1, 0));
    world.cut(0, true);
    world.shards[0].apply("/", of_a(), &Verb::Disconnect { close: false }, false, None);
    world.connect(0);
    world.settle();
    assert_eq!((world.clients[0].came_back, world.clients[0].lost), (1, 1));
}

#[test]
fn who_is_sent_away_while_away_on_another_core_begins_anew() {
    let mut world = World::new(0, 2, &Limits::DEFAULT);
    world.clients.push(Client { rooms: vec!["a"], ..Client::default() });
    world.connect(0);
    world.settle();
    let (home, _) = world.clients[0].line.expect("it is in");
    world.cut(0, true);
    world.shards[1 - home].apply("/", of_a(), &Verb::Disconnect { close: true }, false, None);
    world.settle();
    world.connect(0);
    world.settle();
    assert_eq!((world.clients[0].came_back, world.clients[0].lost), (0, 1));
}

/// Both kinds of commands.
fn verbs() -> [Verb; 2] {
    [Verb::Leave(vec!["a".into()]), Verb::Disconnect { close: true }]
}

/// A client of core 0 of the first process, which has room `a`.
fn at_home(cores: usize) -> World {
    let mut world = World::new(0, cores, &Limits::DEFAULT);
    world.clients.push(Client { rooms: vec!["a"], ..Client::default() });
    world.connect_to(0, 0);
    world.settle();
    world
}

/// The same beside a second process, once it has come back to core 0 of the first or to core 1, which
/// is the second's.
fn at_home_between_two(core: usize) -> World {
    let mut world = at_home(1);
    world.patient = true;
    world.overlap();
    world.settle();
    world.cut(0, true);
    world.connect_to(0, core);
    world.settle();
    world
}

/// A client whose connection has broken comes to core 1, of this process or the next, and core 0
/// has given its session out, with which the answer is on its way.
fn on_its_way(world: &mut World) {
    world.cut(0, true);
    world.connect_to(0, 1);
    world.tick(1);
    world.deliver(1, 0);
    assert_eq!(world.shards[0].counters().recovery_saved, 0, "it is out");
    world.tick(0);
}

/// Whatever the client does, what was taken from it is gone.
fn is_gone(world: &mut World, verb: &Verb, case: &str) {
    world.settle();
    world.cut(0, true);
    world.connect_to(0, 1);
    world.settle();
    let had = world.clients[0].got.len();
    say(world, "a");
    world.settle();
    let client = &world.clients[0];
    if matches!(verb, Verb::Leave(_)) {
        assert_eq!(client.lost, 0, "{case}: the session itself goes on");
        assert_eq!(client.got.len(), had, "{case}: nothing of the room comes any more");
    } else {
        assert_eq!(client.lost, 1, "{case}: it began anew");
    }
}

#[test]
fn a_session_on_its_way_to_another_core_loses_what_is_taken_from_it() {
    for verb in verbs() {
        for giver in [0, 1] {
            let mut world = at_home(2);
            on_its_way(&mut world);
            world.shards[giver].apply("/", of_a(), &verb, false, None);
            is_gone(&mut world, &verb, &format!("{verb:?} by {giver}"));
        }
    }
}

#[test]
fn a_session_on_its_way_to_another_process_loses_what_is_taken_from_it() {
    for verb in verbs() {
        for (giver, is_in) in [(0, false), (0, true), (1, false)] {
            let mut world = at_home_between_two(0);
            on_its_way(&mut world);
            world.set_now(giver);
            world.shards[giver].apply("/", of_a(), &verb, false, None);
            if is_in {
                // The command is behind the session, and its client is in already.
                world.deliver(0, 1);
                world.tick(1);
            }
            is_gone(&mut world, &verb, &format!("{verb:?} by {giver}, {is_in}"));
        }
    }
}

#[test]
fn who_lives_in_the_other_process_keeps_what_is_taken_here() {
    for verb in verbs() {
        let mut world = at_home_between_two(1);
        let (line, lost) = (world.clients[0].line, world.clients[0].lost);
        world.tick(0);
        world.shards[0].apply("/", of_a(), &verb, false, None);
        world.settle();
        let had = world.clients[0].got.len();
        say(&mut world, "a");
        world.settle();
        let client = &world.clients[0];
        assert_eq!((client.line, client.lost), (line, lost), "each answers for its own");
        assert_eq!(client.got.len(), had + 1);
    }
}

#[test]
fn who_is_back_and_not_let_in_yet_loses_what_is_taken_from_it() {
    for verb in verbs() {
        for breaks_off in [false, true] {
            let mut world = at_home(2);
            on_its_way(&mut world);
            // Core 1 has it, and its application has yet to decide.
            world.deliver(0, 1);
            if breaks_off {
                world.cut(0, true);
            }
            world.shards[1].apply("/", of_a(), &verb, false, None);
            is_gone(&mut world, &verb, &format!("{verb:?}, {breaks_off}"));
        }
    }
}

#[test]
fn who_breaks_off_before_its_turn_comes_loses_what_is_taken_from_it() {
    for verb in verbs() {
        let mut world = at_home(2);
        // Its core hears of it; the socket itself would be told later.
        world.shards[1].strike("/", &of_a().into(), &verb, false);
        world.settle();
        is_gone(&mut world, &verb, &format!("{verb:?}"));
    }
}

/// The room that everybody is put into and taken out of.
const LEFT: &str = "left";

/// Everybody is put into a room, and a moment later something is taken from them, in each process
/// that serves, wherever they are.
fn take(world: &mut World, verb: &Verb) {
    let serving = world.serving;
    for shard in &mut world.shards[..serving] {
        let joins = Verb::Join(vec![LEFT.into()]);
        shard.apply("/", Target::default(), &joins, true, None);
    }
    (0..world.rng.below(100)).for_each(|_| world.step());
    for first in (0..serving).step_by(world.cores) {
        let core = first + world.rng.below(world.cores);
        world.set_now(core);
        world.shards[core].apply("/", Target::default(), verb, false, None);
    }
}

fn leave(world: &mut World) {
    take(world, &Verb::Leave(vec![LEFT.into()]));
}

fn disconnect(world: &mut World) {
    take(world, &Verb::Disconnect { close: true });
    for client in &mut world.clients {
        client.kicked = client.pid.clone();
    }
}

fn leave_of_two(world: &mut World) {
    overlap(world);
    leave(world);
}

fn disconnect_of_two(world: &mut World) {
    overlap(world);
    disconnect(world);
}

#[test]
fn nobody_comes_back_with_what_was_taken_wherever_its_session_was() {
    run_seeds(200, |seed| {
        for beyond in [false, true] {
            let midway: fn(&mut World) = if beyond { leave_of_two } else { leave };
            let world = play(seed, midway);
            let members = world.shards.iter().map(|shard| shard.room_size("/", LEFT));
            assert_eq!(members.sum::<usize>(), 0, "seed {seed}: somebody is in the room");
            let midway: fn(&mut World) = if beyond { disconnect_of_two } else { disconnect };
            let world = play(seed, midway);
            let are_new = world.clients.iter().all(|client| client.pid != client.kicked);
            assert!(are_new, "seed {seed}: somebody was sent away and came back");
        }
    });
}

#[test]
fn who_is_cut_while_it_is_told_what_it_missed_has_not_come() {
    let limits = Limits { outboxes_bytes_max: 16 << 10, ..Limits::DEFAULT };
    let mut world = one(&limits);
    world.cut(0, true);
    (0..200).for_each(|_| say(&mut world, "a"));
    world.tick(0);
    world.connect_to(0, 0);
    assert_eq!(world.shards[0].counters().slow_consumers, 1, "it was too much for the core");
    let done = world.shards[0].take_completion();
    assert!(done.is_none(), "nobody hears that one is gone whom nobody met");
}
