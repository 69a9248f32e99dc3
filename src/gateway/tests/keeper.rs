use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::Rng;
use crate::gateway::keeper::{Full, Space, home};

fn arc(text: &str) -> Arc<str> {
    Arc::from(text)
}

#[test]
fn names_are_spread_over_all_cores_and_always_alike() {
    for cores in [1, 2, 3, 7, 256] {
        let mut counts = vec![0_usize; cores];
        for number in 0..cores * 200 {
            let name = format!("room:{number}");
            assert_eq!(home(&name, cores), home(&name, cores));
            counts[home(&name, cores).index()] += 1;
        }
        assert!(counts.iter().all(|count| (100..400).contains(count)), "{cores}: {counts:?}");
    }
    assert_eq!(home("", 1).index(), 0);
}

#[test]
fn a_room_counts_users_and_sockets_and_goes_with_its_last() {
    let mut space = Space::new(1, 10, 1_000);
    let (alice, bob) = (arc("alice"), arc("bob"));
    assert_eq!(space.enter("r", &alice, 4, 5).users, 1);
    assert_eq!(space.exit("r", "alice", 2, 5), 1);
    assert_eq!(space.page(None, 10, false, "").0[0].sockets, 2);
    assert_eq!(space.enter("r", &bob, 1, 6).users, 2);
    let room = &space.page(None, 10, false, "").0[0];
    assert_eq!((room.user_count, room.sockets, &*room.name), (2, 3, "r"));
    assert_eq!(room.created_at, "1970-01-01T00:00:00.005Z");
    assert_eq!(room.last_activity, "1970-01-01T00:00:00.006Z");
    assert_eq!(space.exit("r", "alice", 1, 7), 2);
    assert_eq!(space.exit("r", "alice", 1, 8), 1);
    assert_eq!(space.exit("r", "nobody", 1, 8), 1, "who never came cannot leave");
    space.touch("r", 20);
    space.touch("nowhere", 20);
    assert_eq!(space.page(None, 10, false, "").0[0].last_activity, "1970-01-01T00:00:00.020Z");
    assert_eq!(space.exit("r", "bob", 5, 9), 0);
    assert_eq!((space.page(None, 10, true, "").0.len(), space.sizes()), (0, (0, 0)));
}

#[test]
fn a_room_made_by_rest_expires_when_it_was_empty_for_long_enough() {
    for (now, lives) in [(10_999, true), (11_000, false)] {
        // By the sweep, and by being looked at.
        let mut space = Space::new(1, 10, 10_000);
        assert!(space.create("r", "R", 1_000).expect("there is room").1);
        space.sweep(now);
        assert_eq!(!space.page(None, 10, false, "").0.is_empty(), lives, "{now}");
        let mut space = Space::new(1, 10, 10_000);
        space.create("r", "R", 1_000).expect("there is room");
        assert_eq!(space.create("r", "new", now).expect("there is room").1, !lives, "{now}");
    }
    let mut space = Space::new(1, 10, 10_000);
    space.create("r", "R", 0).expect("there is room");
    space.enter("r", &arc("u"), 1, 9_000);
    space.sweep(50_000);
    assert_eq!(space.page(None, 10, false, "").0.len(), 1, "somebody is in it");
    space.exit("r", "u", 1, 60_000);
    for (now, rooms) in [(69_000, 1), (69_999, 1), (71_000, 0)] {
        space.sweep(now);
        assert_eq!(space.page(None, 10, false, "").0.len(), rooms, "{now}");
    }
    assert_eq!(space.sizes(), (0, 0));
}

#[test]
fn creating_what_exists_keeps_it() {
    let mut space = Space::new(1, 10, 10_000);
    space.enter("r", &arc("u"), 1, 5);
    let (room, created) = space.create("r", "R", 6).expect("it exists");
    assert_eq!((created, room.user_count, &*room.name), (false, 1, "R"));
    let (room, created) = space.create("r", "other", 6).expect("it exists");
    assert_eq!((created, &*room.name), (false, "R"));
    space.exit("r", "u", 1, 7);
    assert_eq!(space.page(None, 10, false, "").0.len(), 1, "it is REST's by now and stays");
}

#[test]
fn the_limit_refuses_rooms_but_the_sums_stay_right() {
    let mut space = Space::new(1, 1, 1_000);
    let user = arc("u");
    assert!(space.enter("a", &user, 1, 0).accepted);
    assert!(!space.enter("b", &user, 1, 0).accepted);
    assert!(space.enter("session:s", &user, 1, 0).accepted, "automatic rooms do not count");
    assert_eq!(space.create("c", "C", 0), Err(Full));
    assert_eq!(space.hold("c", 0), Err(Full));
    assert_eq!(space.page(None, 10, false, "").0.len(), 1, "what is refused is not shown");
    // A place becomes free before the refused one has left again: the next one makes it count.
    space.exit("a", "u", 1, 0);
    assert!(space.enter("b", &arc("v"), 1, 0).accepted);
    assert_eq!(space.exit("b", "u", 1, 0), 1);
    assert_eq!(space.sizes().0, 1);
    assert_eq!(space.exit("b", "v", 1, 0), 0);
    assert_eq!(space.sizes().0, 0);
    assert!(space.create("c", "C", 0).is_ok());
}

#[test]
fn a_held_room_stays_while_it_is_empty() {
    let mut space = Space::new(1, 1, 1_000);
    space.hold("r", 0).expect("there is room");
    assert_eq!(space.hold("s", 0), Err(Full), "it takes a place");
    space.enter("r", &arc("u"), 1, 0);
    space.exit("r", "u", 1, 0);
    assert_eq!(space.sizes().0, 1);
    space.release("r", 0);
    assert_eq!(space.sizes().0, 0);
}

#[test]
fn first_and_last_sockets_of_a_user_are_edges() {
    let mut space = Space::new(1, 1, 1_000);
    assert!(space.user_up(arc("u"), 0));
    assert!(!space.user_up(arc("u"), 0));
    assert_eq!(space.sockets_of("u"), 2);
    assert!(!space.user_down("u", 0));
    assert!(space.user_down("u", 0));
    assert!(!space.user_down("u", 0), "nobody is left");
    assert_eq!((space.sockets_of("u"), space.sizes().1), (0, 0));
}

#[test]
fn pages_list_everything_once() {
    let mut space = Space::new(1, 100, 1_000);
    for number in 0..30 {
        space.enter(&format!("r{number}"), &arc("u"), 1, 0);
        space.enter(&format!("session:{number}"), &arc("u"), 1, 0);
        space.user_up(arc(&format!("u{number}")), 0);
    }
    for number in (0..30).step_by(3) {
        space.exit(&format!("r{number}"), "u", 1, 0);
    }
    for (automatic, expected) in [(false, 20), (true, 80)] {
        for limit in 1..=81 {
            let (mut after, mut names) = (None, Vec::new());
            loop {
                let (rooms, next) = space.page(after, limit, automatic, "");
                assert!(rooms.len() <= limit);
                names.extend(rooms.into_iter().map(|room| room.id));
                after = next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(names.len(), expected, "limit {limit}");
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), expected, "limit {limit}");
        }
    }
}

#[test]
fn the_largest_rooms_come_first() {
    let mut space = Space::new(1, 100, 1_000);
    for number in 0..10 {
        space.enter(&format!("r{number}"), &arc("u"), 1 + number * 7 % 10, 0);
    }
    space.enter("session:s", &arc("u"), 99, 0);
    let top = space.top(3);
    let sizes: Vec<u64> = top.iter().map(|(_, sockets)| *sockets).collect();
    assert_eq!(sizes, [10, 9, 8]);
    assert_eq!(space.top(100).len(), 10);
}

#[test]
fn sums_agree_with_a_list_of_memberships() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed, 0x6B);
        let mut space = Space::new(seed, 100, 1_000);
        let mut naive: BTreeMap<(usize, usize), u32> = BTreeMap::new();
        let leave_weight = rng.below(10);
        for step in 0..150 {
            let (room, user) = (rng.below(4), rng.below(4));
            let (room_name, user_name) = (format!("r{room}"), format!("u{user}"));
            let count = naive.entry((room, user)).or_insert(0);
            if rng.below(10) < leave_weight && *count > 0 {
                *count -= 1;
                space.exit(&room_name, &user_name, 1, step);
            } else {
                *count += 2;
                space.enter(&room_name, &arc(&user_name), 2, step);
            }
            let of_room = || naive.iter().filter(|((of, _), count)| *of == room && **count > 0);
            assert_eq!(space.users_in(&room_name, step), of_room().count(), "seed {seed}");
            let sockets: u64 = of_room().map(|(_, count)| u64::from(*count)).sum();
            let shown =
                space.page(None, 10, false, "").0.into_iter().find(|one| one.id == room_name);
            assert_eq!(shown.map_or(0, |room| room.sockets), sockets, "seed {seed}");
        }
    }
}
