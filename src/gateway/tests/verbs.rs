use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::cluster::Cluster;
use crate::gateway::verbs::{
    CreateRoom, DisconnectRequest, Filter, Membership, Notification, Page, RoomMessage,
    create_room, disconnect, home_of_room, home_of_user, join_user, kept_here, leave_user, notify,
    room_message, rooms, rooms_top_here, user_connected, users, users_here,
};
use crate::gateway::{GatewaySettings, Payload, VerbError, request, sweep};

fn cluster(cores: usize) -> Cluster {
    Cluster::new(cores, GatewaySettings { rooms_open: true, ..GatewaySettings::default() })
}

fn membership(user: &str, room: &str) -> Membership {
    let body = json!({"userId": user, "roomId": room});
    request(Payload::Membership, &body).expect("it has its shape")
}

fn create(room: &str, name: &str) -> CreateRoom {
    request(Payload::CreateRoom, &json!({"roomId": room, "name": name})).expect("it has its shape")
}

fn message(body: &Value) -> RoomMessage {
    request(Payload::SendToRoom, body).expect("it has its shape")
}

pub(super) fn auto(auto: bool) -> Filter {
    Filter { auto, ..Filter::default() }
}

fn all() -> Page {
    Page::new(None, None, 1).expect("no cursor")
}

#[test]
fn a_notification_carries_exactly_what_was_asked_for() {
    let mut cluster = cluster(3);
    let first = cluster.user(0, "alice");
    let second = cluster.user(2, "alice");
    let bob = cluster.user(1, "bob");
    let text = r#"{"userId":"alice","type":"info","title":"t","message":"m","z":1.0,"a":"\u00e9"}"#;
    let body: Notification = serde_json::from_str(text).expect("JSON");
    let told = cluster.call(1, |io, done| notify(io, &body, done)).expect("sent");
    assert_eq!((told.recipients, told.partial), (2, false));
    let packet = format!(r#"42["notification",{text}]"#);
    assert_eq!(cluster.packets(first), vec![packet.clone()]);
    assert_eq!(cluster.packets(second), [packet]);
    assert!(cluster.packets(bob).is_empty());
    let body = json!({"userId": "nobody", "type": "error", "title": "t", "message": "m"});
    let body: Notification = request(Payload::Notification, &body).expect("it has its shape");
    let told = cluster.call(1, |io, done| notify(io, &body, done)).expect("sent");
    assert_eq!(serde_json::to_value(told).expect("JSON"), json!({"recipients": 0}));
}

#[test]
fn a_message_to_a_room_reaches_all_its_sockets() {
    let mut cluster = cluster(2);
    let (near, far) = (cluster.user(0, "alice"), cluster.user(1, "bob"));
    for client in [near, far] {
        cluster.ask(client, "room:join", &json!({"roomId": "r"}));
    }
    for (body, packet) in [
        (json!({"roomId": "r", "event": "e"}), r#"42["e"]"#),
        (json!({"roomId": "r", "event": "e", "data": null}), r#"42["e",null]"#),
        (json!({"roomId": "r", "event": "error", "data": [1]}), r#"42["error",[1]]"#),
    ] {
        let body = message(&body);
        let told = cluster.call(1, |io, done| room_message(io, body, done)).expect("sent");
        assert_eq!(told.recipients, 2);
        assert_eq!(cluster.packets(near), [packet]);
        assert_eq!(cluster.packets(far), [packet]);
    }
    let body = message(&json!({"roomId": "empty", "event": "e"}));
    let told = cluster.call(1, |io, done| room_message(io, body, done)).expect("sent");
    assert_eq!(told.recipients, 0);
    let body = json!({"roomId": "r", "event": "connect_error"});
    let refused = request::<RoomMessage>(Payload::SendToRoom, &body).expect_err("reserved");
    assert_eq!((refused.status(), &*refused.details()[0].member), (422, "event"));
}

#[test]
fn rest_moves_all_sockets_of_a_user_and_the_keeper_knows() {
    let mut cluster = cluster(3);
    let first = cluster.user(0, "alice");
    let second = cluster.user(1, "alice");
    let bob = cluster.user(1, "bob");
    cluster.ask(second, "room:join", &json!({"roomId": "r"}));
    let request = membership("alice", "r");
    let joined = cluster.call(2, |io, done| join_user(io, &request, done)).expect("joined");
    let expected = json!({"userId": "alice", "roomId": "r", "sockets": 2});
    assert_eq!(serde_json::to_value(joined).expect("JSON"), expected);
    let count = cluster.ask(bob, "room:join", &json!({"roomId": "r"}));
    assert_eq!(count["userCount"], 2);
    let shown =
        cluster.call(0, |io, done| rooms(io, all(), auto(false), done)).expect("a list").data;
    assert_eq!((shown[0].user_count, shown[0].sockets), (2, 3));
    // A socket that goes is no longer counted, although REST had put it in.
    cluster.vanish(first);
    let shown =
        cluster.call(0, |io, done| rooms(io, all(), auto(false), done)).expect("a list").data;
    assert_eq!((shown[0].user_count, shown[0].sockets), (2, 2));
    let left = cluster.call(2, |io, done| leave_user(io, &request, done)).expect("left");
    assert_eq!(left.sockets, 1);
    let left = cluster.call(2, |io, done| leave_user(io, &request, done)).expect("left");
    assert_eq!(left.sockets, 0, "nobody is left of that user");
    let count = cluster.ask(bob, "room:leave", &json!({"roomId": "r"}));
    assert_eq!(count["userCount"], 0);
    cluster.check();
}

#[test]
fn many_sockets_are_moved_and_sent_away_in_slices_and_every_count_is_right() {
    let mut cluster = cluster(2);
    let count = 150;
    let crowd: Vec<_> = (0..count).map(|at| cluster.user(at % 2, "alice")).collect();
    let alone = cluster.user(1, "bob");
    let request = membership("alice", "r");
    for _again in 0..2 {
        let joined = cluster.call(1, |io, done| join_user(io, &request, done)).expect("joined");
        assert_eq!(joined.sockets, count as u64);
        cluster.check();
    }
    for one in &crowd[..10] {
        cluster.vanish(*one);
    }
    let left = cluster.call(0, |io, done| leave_user(io, &request, done)).expect("left");
    assert_eq!(left.sockets, count as u64 - 10);
    cluster.check();
    for mode in ["terminal", "reconnect"] {
        let body = json!({"to": {"users": ["alice"]}, "mode": mode});
        let body: DisconnectRequest = request_of(&body);
        let dismissal = body.dismissal().expect("somebody is meant");
        let told = cluster.call(0, |io, done| disconnect(io, &dismissal, done)).expect("told");
        let expected = if mode == "terminal" { count as u64 - 10 } else { 0 };
        assert_eq!(told, (expected, false), "{mode}");
        cluster.check();
    }
    let is_there = |cluster: &mut Cluster, user: &str| {
        cluster.call(0, |io, done| user_connected(io, user, done)).expect("told").sockets
    };
    assert_eq!((is_there(&mut cluster, "alice"), is_there(&mut cluster, "bob")), (0, 1));
    assert_eq!(cluster.ask(alone, "room:leave", &json!({"roomId": "r"}))["userCount"], 0);
}

fn request_of<T: serde::de::DeserializeOwned>(body: &Value) -> T {
    request(Payload::Disconnect, body).expect("it has its shape")
}

#[test]
fn who_is_not_there_cannot_join_and_leaves_no_room_behind() {
    let mut cluster = cluster(3);
    let request = membership("nobody", "r");
    let refused = cluster.call(1, |io, done| join_user(io, &request, done));
    let error = refused.expect_err("nobody is there");
    assert_eq!((error.code(), error.status()), ("USER_NOT_CONNECTED", 404));
    let left = cluster.call(1, |io, done| leave_user(io, &request, done)).expect("0 is an answer");
    assert_eq!(left.sockets, 0);
    assert!(
        cluster
            .call(0, |io, done| rooms(io, all(), auto(true), done))
            .expect("a list")
            .data
            .is_empty()
    );
}

#[test]
fn the_limits_hold_for_rest_too() {
    let settings = GatewaySettings { rooms_max: 1, ..GatewaySettings::default() };
    let mut cluster = Cluster::new(1, settings);
    cluster.user(0, "alice");
    cluster.call(0, |io, done| create_room(io, create("a", "A"), done)).expect("there is a place");
    let refused = cluster.call(0, |io, done| create_room(io, create("b", "B"), done));
    assert_eq!(refused.expect_err("full"), VerbError::LimitReached);
    let request = membership("alice", "b");
    let refused = cluster.call(0, |io, done| join_user(io, &request, done));
    assert_eq!(refused.expect_err("full"), VerbError::LimitReached);
    assert_eq!(cluster.io(0).room_size_here("/", "b"), 0);
    let request = membership("alice", "a");
    let joined = cluster.call(0, |io, done| join_user(io, &request, done)).expect("it exists");
    assert_eq!(joined.sockets, 1);
}

#[test]
fn a_room_made_by_rest_lives_until_it_was_empty_for_long_enough() {
    let settings = GatewaySettings { room_idle_ttl_ms: 10_000, ..GatewaySettings::default() };
    let mut cluster = Cluster::new(2, settings);
    let made = cluster.call(1, |io, done| create_room(io, create("r", "Room"), done));
    let (view, created) = made.expect("there is a place");
    assert!(created);
    assert_eq!((&*view.id, &*view.name, view.user_count), ("r", "Room", 0));
    let alice = cluster.user(0, "alice");
    let request = membership("alice", "r");
    cluster.call(0, |io, done| join_user(io, &request, done)).expect("joined");
    cluster.pass(15_000);
    let made = cluster.call(0, |io, done| create_room(io, create("r", "Other"), done));
    let (view, created) = made.expect("it exists");
    assert_eq!((created, &*view.name, view.user_count), (false, "Room", 1));
    cluster.vanish(alice);
    let mut shown = Vec::new();
    for _ in 0..12 {
        cluster.pass(1_000);
        for core in 0..2 {
            sweep(&cluster.io(core));
        }
        cluster.settle();
        let found =
            cluster.call(0, |io, done| rooms(io, all(), auto(false), done)).expect("a list");
        shown.push(found.data.len());
    }
    assert_eq!(shown, [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0]);
}

#[test]
fn whether_a_user_is_connected_is_asked_of_the_keeper() {
    let mut cluster = cluster(3);
    let first = cluster.user(0, "alice");
    cluster.user(1, "alice");
    let view = cluster.call(2, |io, done| user_connected(io, "alice", done)).expect("an answer");
    let expected = json!({"userId": "alice", "connected": true, "sockets": 2});
    assert_eq!(serde_json::to_value(view).expect("JSON"), expected);
    cluster.vanish(first);
    let view = cluster.call(0, |io, done| user_connected(io, "alice", done)).expect("an answer");
    assert_eq!((view.connected, view.sockets), (true, 1));
    let view = cluster.call(0, |io, done| user_connected(io, "bob", done)).expect("an answer");
    assert_eq!((view.connected, view.sockets), (false, 0));
}

#[test]
fn pages_of_users_walk_over_all_cores() {
    let mut cluster = cluster(3);
    for number in 0..10 {
        let auth = json!({"userId": format!("u{}", number % 4), "sessionId": "s"});
        cluster.join(number % 3, &auth);
    }
    for (filter, expected) in [(None, 10), (Some("u1"), 3), (Some("nobody"), 0)] {
        for limit in ["1", "3", "4", "10", "11"] {
            let (mut cursor, mut seen) = (None::<String>, BTreeSet::new());
            loop {
                let page = Page::new(Some(limit), cursor.as_deref(), 3).expect("a good page");
                let filter = filter.map(str::to_owned);
                let page = cluster.call(1, |io, done| users(io, page, filter, done));
                let page = page.expect("a page");
                assert!(page.data.len() <= limit.parse().expect("a number"));
                for user in page.data {
                    assert_eq!(user.session_id.as_deref(), Some("s"));
                    assert!(filter_fits(expected, &user.id));
                    assert!(seen.insert(user.socket_id), "each socket once");
                }
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(seen.len(), expected, "limit {limit}, filter {filter:?}");
        }
    }
    let (here, next) = users_here(&cluster.io(0), None, 2, None);
    assert_eq!(here.len(), 2);
    let (rest, end) = users_here(&cluster.io(0), next, 9, None);
    assert_eq!((rest.len(), end), (2, None));
}

fn filter_fits(expected: usize, user: &str) -> bool {
    expected == 10 || user == "u1"
}

#[test]
fn seats_are_given_back() {
    let mut cluster = cluster(1);
    let clients: Vec<_> = (0..20).map(|number| cluster.user(0, ["a", "b"][number % 2])).collect();
    for (number, client) in clients.iter().enumerate().filter(|(number, _)| number % 3 != 0) {
        cluster.vanish(*client);
        let (left, _) = users_here(&cluster.io(0), None, 100, None);
        let of_a = users_here(&cluster.io(0), None, 100, Some("a")).0.len();
        let of_b = users_here(&cluster.io(0), None, 100, Some("b")).0.len();
        assert_eq!(left.len(), of_a + of_b, "after {number}");
    }
    assert_eq!(users_here(&cluster.io(0), None, 100, None).0.len(), 7);
    assert_eq!(kept_here(&cluster.io(0)).users, 2);
}

#[test]
fn a_view_of_a_user_says_when_it_came_and_when_it_last_spoke() {
    let mut cluster = cluster(1);
    let alice = cluster.user(0, "alice");
    cluster.pass(2_500);
    cluster.say(alice, r#"42["ping"]"#);
    cluster.pass(1_000);
    let view = users_here(&cluster.io(0), None, 1, None).0.remove(0);
    let view = serde_json::to_value(view).expect("JSON");
    let id = cluster.io(0).sockets_here("/")[0].id();
    assert_eq!(
        view,
        json!({
            "id": "alice", "socketId": id,
            "connectedAt": "2026-01-01T00:00:00.000Z", "lastActivity": "2026-01-01T00:00:02.500Z",
        })
    );
}

#[test]
fn the_largest_rooms_of_a_core_are_found() {
    let mut cluster = cluster(1);
    for number in 0..4 {
        let client = cluster.user(0, &format!("u{number}"));
        for room in ["a", "b", "c"].iter().take(number) {
            cluster.ask(client, "room:join", &json!({"roomId": room}));
        }
    }
    let top = rooms_top_here(&cluster.io(0), 2);
    assert_eq!(top, [("a".into(), 3), ("b".into(), 2)]);
    assert_eq!((kept_here(&cluster.io(0)).rooms, kept_here(&cluster.io(0)).users), (3, 4));
}

#[test]
fn pages_are_read_with_care() {
    for limit in ["0", "10001", "-1", "x", "", "1.5"] {
        let refused = Page::new(Some(limit), None, 4).expect_err(limit);
        assert_eq!((refused.code(), &*refused.details()[0].member), ("VALIDATION_FAILED", "limit"));
    }
    for cursor in ["", "x", "4.", "1", "1.x", "-1.0", "256.0", "1.4294967296"] {
        let refused = Page::new(None, Some(cursor), 4).expect_err(cursor);
        assert_eq!(refused.details()[0].member, "cursor", "{cursor}");
    }
    let page = Page::new(Some("10000"), Some("3.17"), 4).expect("it is one");
    assert_eq!((page.limit(), page.start().0.index(), page.start().1), (10_000, 3, Some(17)));
    assert_eq!(Page::new(None, Some("0."), 4).expect("it is one").limit(), 1_000);
}

#[test]
fn an_overloaded_server_takes_nothing_on() {
    let mut cluster = cluster(2);
    cluster.user(1, "alice");
    let io = cluster.io(0);
    // More waits for the other core than may; volatile, so that the client survives it.
    while !io.is_overloaded() {
        io.to("user:alice").volatile().emit("e", &"x".repeat(900_000));
    }
    let request = membership("alice", "r");
    let refused = cluster.call_now(0, |io, done| join_user(io, &request, done));
    let error = refused.expect_err("overloaded");
    assert_eq!((error.code(), error.status(), error.retryable()), ("OVERLOADED", 503, true));
    assert!(error.retry_after_ms().is_some());
    let refused = cluster.call_now(0, |io, done| create_room(io, create("r", "R"), done));
    assert_eq!(refused.expect_err("overloaded"), VerbError::Overloaded);
    cluster.settle();
    let joined = cluster.call(0, |io, done| join_user(io, &request, done)).expect("it is over");
    assert_eq!(joined.sockets, 1);
}

#[test]
fn homes_are_the_same_wherever_they_are_asked_for() {
    for cores in 1..9 {
        assert_eq!(home_of_room("x", cores), home_of_user("x", cores));
        assert!(home_of_room("x", cores).index() < cores);
    }
}
