//! One core, one rule at a time.

use super::{Client, World};
use crate::base::Limits;
use crate::shard::{Emit, Target};

/// One core with one client in room `a`, and the counters it must show.
pub(super) fn one(limits: &Limits) -> World {
    let mut world = World::new(0, 1, limits);
    world.clients.push(Client { rooms: vec!["a"], ..Client::default() });
    world.connect(0);
    world.settle();
    world
}

pub(super) fn say(world: &mut World, room: &str) {
    let target = Target { rooms: vec![room.into()], except: Vec::new() };
    let number = world.sent.len().to_string();
    world.sent.push((0, target.clone(), false));
    let emit = Emit { name: "m", args: &number, attachments: &[], volatile: false };
    world.shards[0].broadcast("/", target, &emit, false, None);
}

fn come_back(world: &mut World) {
    world.cut(0, true);
    world.connect(0);
    world.settle();
}

#[test]
fn a_client_that_never_heard_anything_comes_back_all_the_same() {
    let mut world = one(&Limits::DEFAULT);
    world.cut(0, true);
    say(&mut world, "a");
    world.connect(0);
    world.settle();
    assert_eq!((world.clients[0].came_back, &world.clients[0].got[..]), (1, &[0][..]));
    // And again, and again.
    for number in 1..4 {
        say(&mut world, "a");
        come_back(&mut world);
        assert_eq!(world.clients[0].got.last(), Some(&number));
    }
    assert_eq!(world.clients[0].came_back, 4);
}

#[test]
fn what_has_gone_from_the_log_matters_only_to_whom_it_was_for() {
    let limits = Limits { recovery_entries_max: 4, ..Limits::DEFAULT };
    let mut world = one(&limits);
    say(&mut world, "a");
    world.settle();
    // Much is said to others while it lives: it has missed nothing.
    (0..10).for_each(|_| say(&mut world, "b"));
    come_back(&mut world);
    assert_eq!(world.clients[0].came_back, 1);
    // While it is away nobody can tell any more.
    world.cut(0, true);
    (0..10).for_each(|_| say(&mut world, "b"));
    world.connect(0);
    world.settle();
    assert_eq!((world.clients[0].lost, world.shards[0].counters().recovery_gaps), (1, 1));
}

#[test]
fn a_session_has_its_time_and_is_taken_once() {
    let mut world = one(&Limits::DEFAULT);
    world.cut(0, true);
    world.now_ms += 120_010;
    world.tick(0);
    world.connect(0);
    world.settle();
    assert_eq!(world.clients[0].lost, 1);

    // Two claim the same one: it is the later one's, and the earlier one's connection ends.
    let first = Client {
        rooms: vec!["a"],
        pid: world.clients[0].pid.clone(),
        sid: world.clients[0].sid.clone(),
        ..Client::default()
    };
    world.clients.push(first);
    world.connect(1);
    world.settle();
    assert_eq!(world.clients[1].came_back, 1);
    assert!(world.clients[0].line.is_none(), "its connection was closed");
    say(&mut world, "a");
    world.settle();
    assert_eq!((world.clients[0].got.len(), world.clients[1].got.len()), (0, 1));
}

#[test]
fn who_leaves_on_purpose_is_forgotten() {
    for packet in ["41", "42["] {
        let mut world = one(&Limits::DEFAULT);
        let (core, conn) = world.clients[0].line.expect("it is in");
        world.frame(core, conn, packet);
        world.settle();
        let saved = world.shards[0].counters().recovery_saved;
        assert_eq!(saved, u64::from(packet != "41"), "{packet}");
    }
}

#[test]
fn what_is_kept_of_those_who_are_away_has_its_bounds() {
    let limits = Limits { recovery_sessions_max: 3, recovery_bytes_max: 4_096, ..Limits::DEFAULT };
    let mut world = one(&limits);
    for at in 0..10 {
        world.clients.push(Client { rooms: vec!["a"], ..Client::default() });
        world.connect(at + 1);
    }
    world.settle();
    for at in 0..10 {
        (0..10).for_each(|_| say(&mut world, "a"));
        world.cut(at, true);
        world.tick(0);
    }
    let counters = world.shards[0].counters();
    assert_eq!(counters.recovery_saved, 3);
    assert!((2_000..=4_096).contains(&counters.recovery_log_bytes));
    // Nothing is left when its time is over.
    world.now_ms += 400_000;
    (0..3).for_each(|_| world.tick(0));
    let counters = world.shards[0].counters();
    assert_eq!((counters.recovery_saved, counters.recovery_log_bytes), (0, 0));
}

/// Sends a request over a connection of its own and gives back what the core answers at once.
fn request(world: &mut World, bytes: String) -> String {
    let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
    let conn = world.shards[0].open_conn(peer).expect("there is room");
    world.say(0, conn, bytes.into_bytes());
    let mut out = Vec::new();
    world.shards[0].fill(conn, &mut out, 1 << 20);
    String::from_utf8(out).expect("text")
}

#[test]
fn who_polls_and_missed_more_than_may_wait_for_it_begins_anew() {
    let limits = Limits { outbox_bytes_max: 4_096, ..Limits::DEFAULT };
    let mut world = one(&limits);
    world.cut(0, true);
    (0..200).for_each(|_| say(&mut world, "a"));
    world.tick(0);
    let path = "/socket.io/?EIO=4&transport=polling";
    let open = request(&mut world, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    let sid = open.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let path = format!("{path}&sid={}", sid.expect("an open packet"));
    let pid = world.clients[0].pid.clone().expect("it was in");
    let connect = format!("40{{\"pid\":\"{pid}\"}}");
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}", connect.len());
    request(&mut world, format!("{head}\r\n\r\n{connect}"));
    let told = request(&mut world, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert!(told.contains("40{\"sid\"") && !told.contains(&pid), "{told}");
    assert_eq!(world.shards[0].counters().recovery_gaps, 1);
    let done = world.shards[0].take_completion();
    assert!(done.is_none(), "nobody hears that one is gone whom nobody met");
}

#[test]
fn who_comes_to_another_core_takes_a_part_of_its_log_at_most() {
    let limits = Limits { recovery_entries_max: 64, ..Limits::DEFAULT };
    for (missed, comes_back) in [(4, 1), (5, 0)] {
        // One that lives on the second core.
        let mut seeds = 0..;
        let mut world = loop {
            let mut world = World::new(seeds.next().expect("there are more"), 2, &limits);
            world.clients.push(Client { rooms: vec!["a"], ..Client::default() });
            world.connect(0);
            world.settle();
            if world.clients[0].line.is_some_and(|(core, _)| core == 1) {
                break world;
            }
        };
        world.cut(0, true);
        (0..missed).for_each(|_| say(&mut world, "a"));
        world.settle();
        world.serving = 1;
        world.connect(0);
        world.settle();
        assert_eq!(world.clients[0].came_back, comes_back, "{missed} missed");
        let kept = world.shards[0].recovery.as_ref().map(|recovery| recovery.log.len());
        let again = if comes_back == 1 { missed } else { 0 };
        assert_eq!(kept, Some(missed + again), "its own are in the log once more");
    }
}
