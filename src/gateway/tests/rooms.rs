use serde_json::{Value, json};

use super::cluster::{Client, Cluster};
use super::verbs::auto as with_auto;
use crate::base::Rng;
use crate::config::{Rule, Verb};
use crate::gateway::verbs::{Page, home_of_room, rooms};
use crate::gateway::{GatewaySettings, RoomView, sweep};

fn open() -> GatewaySettings {
    GatewaySettings { rooms_open: true, ..GatewaySettings::default() }
}

fn room(name: &str) -> Value {
    json!({ "roomId": name })
}

fn list(cluster: &mut Cluster, auto: bool) -> Vec<RoomView> {
    let page = Page::new(None, None, 8).expect("no cursor");
    let mut found =
        cluster.call(0, |io, done| rooms(io, page, with_auto(auto), done)).expect("a list").data;
    found.sort_by(|one, other| one.id.cmp(&other.id));
    found
}

fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap_or("none")
}

#[test]
fn joining_and_leaving_count_users_over_all_cores() {
    let mut cluster = Cluster::new(3, open());
    let first = cluster.user(0, "alice");
    let second = cluster.user(1, "alice");
    let bob = cluster.user(2, "bob");
    let joined = |users| json!({"success": true, "roomId": "r", "userCount": users});
    for (client, users) in [(first, 1), (second, 1), (bob, 2), (bob, 2)] {
        assert_eq!(cluster.ask(client, "room:join", &room("r")), joined(users));
    }
    let shown = &list(&mut cluster, false)[0];
    assert_eq!((&*shown.id, shown.user_count, shown.sockets), ("r", 2, 3));
    for (client, users) in [(first, 2), (first, 2), (second, 1), (bob, 0)] {
        assert_eq!(cluster.ask(client, "room:leave", &room("r")), joined(users));
    }
    assert!(list(&mut cluster, false).is_empty());
    cluster.check();
}

#[test]
fn a_message_reaches_the_others_in_the_room() {
    let mut cluster = Cluster::new(2, open());
    let sender = cluster.user(0, "alice");
    let near = cluster.user(0, "bob");
    let far = cluster.user(1, "carol");
    let outside = cluster.user(1, "dave");
    for client in [sender, near, far] {
        cluster.ask(client, "room:join", &room("r"));
    }
    let message = json!({"roomId": "r", "event": "chat", "data": {"text": "hi", "n": [1, null]}});
    let answer = cluster.ask(sender, "room:message", &message);
    assert_eq!(answer, json!({"success": true, "status": "relayed"}));
    let expected = json!(["chat", message["data"]]);
    assert_eq!(cluster.events(near), vec![expected.clone()]);
    assert_eq!(cluster.events(far), [expected]);
    assert!(cluster.events(outside).is_empty());
    assert!(cluster.events(sender).is_empty());
}

#[test]
fn what_only_the_gateway_says_no_client_may_say() {
    let mut cluster = Cluster::new(1, open());
    let sender = cluster.user(0, "alice");
    let other = cluster.user(0, "bob");
    cluster.ask(other, "room:join", &room("r"));
    for event in [
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "newListener",
        "removeListener",
        "ai_response",
        "status_update",
        "notification",
        "connection",
        "disconnection",
        "error",
        "pong",
    ] {
        let message = json!({"roomId": "r", "event": event, "data": 1});
        assert_eq!(code(&cluster.ask(sender, "room:message", &message)), "FORBIDDEN", "{event}");
    }
    assert!(cluster.events(other).is_empty());
}

#[test]
fn rooms_of_users_sessions_and_sockets_are_never_open() {
    let mut cluster = Cluster::new(2, open());
    let alice = cluster.user(0, "alice");
    let victim = cluster.join(1, &json!({"userId": "bob", "sessionId": "s"}));
    let id = cluster.io(1).sockets_here("/")[0].id();
    for name in ["user:bob", "session:s", "user:", &id] {
        for event in ["room:join", "room:leave"] {
            assert_eq!(code(&cluster.ask(alice, event, &room(name))), "FORBIDDEN", "{name}");
        }
        let message = json!({"roomId": name, "event": "chat", "data": 1});
        assert_eq!(code(&cluster.ask(alice, "room:message", &message)), "FORBIDDEN", "{name}");
    }
    for name in ["user:bob", "session:s", &id] {
        assert_eq!(code(&cluster.ask(victim, "room:leave", &room(name))), "FORBIDDEN", "{name}");
    }
    assert!(cluster.events(victim).is_empty());
}

#[test]
fn without_rules_nothing_is_open_and_rules_open_what_they_say() {
    let mut cluster = Cluster::new(1, GatewaySettings::default());
    let alice = cluster.user(0, "alice");
    let message = json!({"roomId": "team", "event": "chat", "data": 1});
    assert_eq!(code(&cluster.ask(alice, "room:join", &room("team"))), "FORBIDDEN");
    assert_eq!(code(&cluster.ask(alice, "room:leave", &room("team"))), "FORBIDDEN");
    assert_eq!(code(&cluster.ask(alice, "room:message", &message)), "FORBIDDEN");
    let rule = Rule {
        namespace: "/".into(),
        users: vec!["alice".into()],
        rooms: vec!["team*".into()],
        allow: vec![Verb::Join],
    };
    let settings = GatewaySettings { rules: vec![rule], ..GatewaySettings::default() };
    let mut cluster = Cluster::new(1, settings);
    let (alice, bob) = (cluster.user(0, "alice"), cluster.user(0, "bob"));
    assert_eq!(cluster.ask(alice, "room:join", &room("team"))["userCount"], 1);
    assert_eq!(code(&cluster.ask(bob, "room:join", &room("team"))), "FORBIDDEN");
    assert_eq!(code(&cluster.ask(alice, "room:message", &message)), "FORBIDDEN");
    assert_eq!(cluster.ask(alice, "room:leave", &room("team"))["userCount"], 0);
}

#[test]
fn a_room_too_many_is_refused_and_left_again() {
    let mut cluster = Cluster::new(2, GatewaySettings { rooms_max: 2, ..open() });
    let alice = cluster.user(0, "alice");
    let limited = |answer: &Value| code(answer) == "LIMIT_REACHED";
    let names: Vec<String> = (0..5).map(|number| format!("r{number}")).collect();
    let answers: Vec<Value> =
        names.iter().map(|name| cluster.ask(alice, "room:join", &room(name))).collect();
    // Each of the two cores has a share of one.
    assert_eq!(answers.iter().filter(|answer| limited(answer)).count(), 3, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer["userCount"] == 1).count(), 2);
    let refused: Vec<&Value> = answers.iter().filter(|answer| limited(answer)).collect();
    assert_eq!(refused[0]["error"]["retryable"], true);
    for (name, answer) in names.iter().zip(&answers) {
        let here = cluster.io(0).room_size_here("/", name);
        assert_eq!(here == 0, limited(answer), "{name}");
        cluster.ask(alice, "room:leave", &room(name));
    }
    assert!(list(&mut cluster, false).is_empty());
    let again = cluster.ask(alice, "room:join", &room(names.last().expect("five")));
    assert_eq!(again["userCount"], 1, "the places are free again");
    // The limit of the socket: its user's room and five more.
    let mut cluster = Cluster::new(1, open());
    let alice = cluster.user(0, "alice");
    for name in &names {
        assert_eq!(cluster.ask(alice, "room:join", &room(name))["userCount"], 1);
    }
    assert!(limited(&cluster.ask(alice, "room:join", &room("r6"))));
    assert_eq!(list(&mut cluster, false).len(), 5);
}

#[test]
fn a_join_without_an_ack_that_fails_says_so() {
    let mut cluster = Cluster::new(1, GatewaySettings { rooms_max: 1, ..open() });
    let alice = cluster.user(0, "alice");
    cluster.say(alice, r#"42["room:join",{"roomId":"a"}]"#);
    assert!(cluster.events(alice).is_empty());
    cluster.say(alice, r#"42["room:join",{"roomId":"b"}]"#);
    let events = cluster.events(alice);
    assert_eq!(events[0][1]["code"], "LIMIT_REACHED", "{events:?}");
}

#[test]
fn a_silent_keeper_makes_the_answer_partial_and_its_own_comes_too_late() {
    for (rooms_max, over) in [(2, false), (0, true)] {
        let mut cluster = Cluster::new(2, GatewaySettings { rooms_max, ..open() });
        let mut names = (0..).map(|number| format!("r{number}"));
        let name = names.find(|name| home_of_room(name, 2).index() == 1);
        let name = name.expect("half of all rooms are kept there");
        let alice = cluster.user(0, "alice");
        cluster.whisper(alice, &format!("423{}", json!(["room:join", room(&name)])));
        for (wait, answered) in [(500, false), (500, true), (1_000, false)] {
            cluster.wait(wait);
            sweep(&cluster.io(0));
            cluster.tick(0);
            let ack = json!([{
                "success": true, "roomId": name, "userCount": 1, "partial": true,
            }]);
            let expected = if answered { vec![format!("433{ack}")] } else { Vec::new() };
            let packets = cluster.packets(alice);
            assert_eq!(sorted(&packets), sorted(&expected));
        }
        cluster.settle();
        let events = cluster.events(alice);
        assert_eq!(events.len(), usize::from(over), "{events:?}");
        assert_eq!(cluster.io(0).room_size_here("/", &name), usize::from(!over));
        assert_eq!(list(&mut cluster, false).len(), usize::from(!over));
    }
}

/// Acks as values: the order of members is not promised.
fn sorted(acks: &[String]) -> Vec<Value> {
    let parse = |ack: &String| serde_json::from_str(&ack[3..]).expect("JSON");
    acks.iter().map(parse).collect()
}

#[test]
fn automatic_rooms_are_listed_only_if_asked_for() {
    let mut cluster = Cluster::new(3, open());
    let alice = cluster.join(0, &json!({"userId": "alice", "sessionId": "s"}));
    cluster.join(1, &json!({"userId": "bob", "sessionId": "s"}));
    cluster.user(2, "bob");
    cluster.ask(alice, "room:join", &room("r"));
    let view = |rooms: Vec<RoomView>| -> Vec<(String, u64, u64)> {
        rooms.into_iter().map(|room| (room.id, room.user_count, room.sockets)).collect()
    };
    assert_eq!(view(list(&mut cluster, false)), [("r".into(), 1, 1)]);
    let expected = [("r", 1, 1), ("session:s", 2, 2), ("user:alice", 1, 1), ("user:bob", 1, 2)];
    let expected: Vec<_> = expected.map(|(id, users, sockets)| (id.into(), users, sockets)).into();
    assert_eq!(view(list(&mut cluster, true)), expected);
    cluster.vanish(alice);
    let left: Vec<String> = list(&mut cluster, true).into_iter().map(|room| room.id).collect();
    assert_eq!(left, ["session:s", "user:bob"]);
}

#[test]
fn what_is_said_in_a_room_shows_after_a_sweep() {
    let mut cluster = Cluster::new(3, open());
    let alice = cluster.user(0, "alice");
    cluster.ask(alice, "room:join", &room("r"));
    cluster.pass(60_000);
    cluster.packets(alice);
    let message = json!({"roomId": "r", "event": "chat", "data": 1});
    cluster.ask(alice, "room:message", &message);
    for core in 0..3 {
        sweep(&cluster.io(core));
    }
    cluster.settle();
    let shown = &list(&mut cluster, false)[0];
    assert_eq!(shown.created_at, "2026-01-01T00:00:00.000Z");
    assert_eq!(shown.last_activity, "2026-01-01T00:01:00.000Z");
}

#[test]
fn rooms_of_another_namespace_are_its_own() {
    let namespaces = vec![String::from("/"), String::from("/ops")];
    let mut cluster = Cluster::new(2, GatewaySettings { namespaces, ..open() });
    let alice = cluster.user(0, "alice");
    cluster.ask(alice, "room:join", &room("r"));
    cluster.say(alice, r#"40/ops,{"userId":"alice"}"#);
    cluster.packets(alice);
    cluster.say(alice, r#"42/ops,3["room:join",{"roomId":"s"}]"#);
    let ack = r#"43/ops,3[{"success":true,"roomId":"s","userCount":1}]"#;
    assert_eq!(cluster.packets(alice), [ack]);
    let ids: Vec<String> = list(&mut cluster, true).into_iter().map(|room| room.id).collect();
    assert_eq!(ids, ["r", "user:alice"]);
    cluster.vanish(alice);
    assert!(list(&mut cluster, true).is_empty());
}

/// The keepers' sums against the library's rooms, after any mixture of joins, leaves and ends, in
/// which cores hear of each other late.
#[test]
fn whatever_happens_the_keepers_agree_with_the_rooms_in_the_end() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed, 0x600);
        let cores = 1 + rng.below(3);
        let rooms_max = if rng.below(2) == 0 { 3 } else { 100 };
        let mut cluster = Cluster::new(cores, GatewaySettings { rooms_max, ..open() });
        let mut clients: Vec<Client> = Vec::new();
        for _ in 0..80 {
            let names = ["a", "b", "c", "d", "e"];
            let name = names[rng.below(names.len())];
            match rng.below(10) {
                0 | 1 => {
                    let user = ["u", "v", "w"][rng.below(3)];
                    let session = ["s", "t"][rng.below(2)];
                    let auth = json!({"userId": user, "sessionId": session});
                    clients.push(cluster.join(rng.below(cores), &auth));
                }
                2 if !clients.is_empty() => {
                    let client = clients.swap_remove(rng.below(clients.len()));
                    cluster.vanish(client);
                }
                verb if !clients.is_empty() => {
                    let client = clients[rng.below(clients.len())];
                    let event = if verb < 7 { "room:join" } else { "room:leave" };
                    cluster.whisper(client, &format!("42{}", json!([event, room(name)])));
                    if rng.below(3) > 0 {
                        cluster.tick(rng.below(cores));
                    }
                }
                _ => {}
            }
        }
        cluster.settle();
        cluster.check();
        let sockets = |cluster: &Cluster, name: &str| -> u64 {
            (0..cores).map(|core| cluster.io(core).room_size_here("/", name) as u64).sum()
        };
        let shown = list(&mut cluster, true);
        for name in ["a", "b", "c", "d", "e", "session:s", "session:t", "user:u", "user:v"] {
            let kept = shown.iter().find(|room| room.id == name).map_or(0, |room| room.sockets);
            assert_eq!(kept, sockets(&cluster, name), "seed {seed}, room {name}");
        }
        for client in clients {
            cluster.vanish(client);
        }
        assert!(list(&mut cluster, true).is_empty(), "seed {seed}");
    }
}
