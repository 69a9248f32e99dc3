//! The gateway's routes against real cores and clients.

use serde_json::{Value, json};

use super::fake::World;
use super::{get, post};

const USERS: &str = "/socket/users";

fn notification(user: &str) -> String {
    format!(r#"{{"userId":"{user}","type":"info","title":"T","message":"M"}}"#)
}

#[test]
fn users_are_listed_filtered_and_found() {
    let world = World::new(3, |_| {});
    for (core, user) in [(0, "ann"), (1, "ann"), (2, "bob")] {
        world.connect(core, user);
    }
    let answer = get(&world, USERS);
    assert_eq!(answer.at("/nextCursor"), Value::Null);
    let all = answer.at("/data");
    let ids: Vec<_> = all.as_array().unwrap().iter().map(|user| &user["id"]).collect();
    assert_eq!(ids, ["ann", "ann", "bob"]);
    assert_eq!(all[0]["socketId"].as_str().map(str::len), Some(20));
    assert!(all[0].get("sessionId").is_none());
    assert!(all[0]["connectedAt"].as_str().unwrap().ends_with('Z'));
    assert_eq!(get(&world, "/socket/users?userId=ann").at("/data").as_array().unwrap().len(), 2);
    assert_eq!(get(&world, "/socket/users?userId=eve").at("/data"), json!([]));

    let ann = get(&world, "/socket/users/ann/connected").at("/data");
    assert_eq!(ann, json!({"userId": "ann", "connected": true, "sockets": 2}));
    let odd = get(&world, "/socket/users/a%2Fb%20%C3%A9/connected").at("/data");
    assert_eq!(odd, json!({"userId": "a/b é", "connected": false, "sockets": 0}));
}

#[test]
fn pages_follow_each_other_over_all_cores() {
    let world = World::new(3, |_| {});
    for number in 0..7 {
        world.connect(number % 3, &format!("u{number}"));
        let body = format!(r#"{{"roomId":"r{number}","name":"n"}}"#);
        assert_eq!(post(&world, "/socket/rooms", &body).status, 201);
    }
    for (list, member) in [(USERS, "id"), ("/socket/rooms", "id")] {
        for limit in 1..=8 {
            let (mut found, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
            loop {
                let answer = get(&world, &format!("{list}?limit={limit}{cursor}"));
                let page = answer.at("/data");
                let page = page.as_array().unwrap();
                assert!(page.len() <= limit, "{list} {limit}");
                found.extend(page.iter().map(|one| one[member].as_str().unwrap().to_owned()));
                pages += 1;
                assert!(pages < 20, "pages come to an end");
                let Value::String(next) = answer.at("/nextCursor") else {
                    break;
                };
                cursor = format!("&cursor={next}");
            }
            found.sort();
            found.dedup();
            assert_eq!(found.len(), 7, "{list} {limit}");
        }
        for wrong in ["limit=0", "limit=10001", "limit=x", "cursor=nonsense", "cursor=9.1"] {
            let answer = get(&world, &format!("{list}?{wrong}"));
            assert_eq!((answer.status, answer.code().as_str()), (422, "VALIDATION_FAILED"));
            let member = wrong.split('=').next().unwrap();
            assert_eq!(answer.at("/error/details/0/member"), member);
        }
    }
    for wrong in ["/socket/rooms?auto=yes", "/socket/users?userId=", "/socket/users?userId=%00"] {
        assert_eq!(get(&world, wrong).code(), "VALIDATION_FAILED", "{wrong}");
    }
}

#[test]
fn rooms_are_made_joined_and_left() {
    let world = World::new(2, |_| {});
    for (core, user) in [(0, "ann"), (1, "ann"), (1, "bob")] {
        world.connect(core, user);
    }
    let rooms = "/socket/rooms";
    let made = post(&world, rooms, r#"{"roomId":"lobby","name":"The lobby"}"#);
    assert_eq!((made.status, made.at("/data/name")), (201, json!("The lobby")));
    assert_eq!(post(&world, rooms, r#"{"roomId":"lobby","name":"x"}"#).status, 200);

    let joined = post(&world, "/socket/rooms/join", r#"{"userId":"ann","roomId":"lobby"}"#);
    assert_eq!(joined.at("/data"), json!({"userId": "ann", "roomId": "lobby", "sockets": 2}));
    let nobody = post(&world, "/socket/rooms/join", r#"{"userId":"eve","roomId":"lobby"}"#);
    assert_eq!((nobody.status, nobody.code().as_str()), (404, "USER_NOT_CONNECTED"));
    let room = get(&world, rooms).at("/data/0");
    assert_eq!((&room["id"], &room["name"]), (&json!("lobby"), &json!("The lobby")));
    assert_eq!((&room["userCount"], &room["sockets"]), (&json!(1), &json!(2)));
    assert_eq!(get(&world, "/socket/stats").at("/data/rooms"), json!({"lobby": 2}));

    let left = post(&world, "/socket/rooms/leave", r#"{"userId":"ann","roomId":"lobby"}"#);
    assert_eq!(left.at("/data/sockets"), 2);
    let again = post(&world, "/socket/rooms/leave", r#"{"userId":"ann","roomId":"lobby"}"#);
    assert_eq!((again.status, again.at("/data/sockets")), (200, json!(0)));
}

#[test]
fn a_message_reaches_the_sockets_of_its_room_to_the_last_digit() {
    let world = World::new(2, |_| {});
    let clients = [world.connect(0, "ann"), world.connect(1, "ann"), world.connect(1, "bob")];
    let joined = post(&world, "/socket/rooms/join", r#"{"userId":"ann","roomId":"lobby"}"#);
    assert_eq!(joined.status, 200);
    let body = r#"{"roomId":"lobby","event":"news","data":{"b":1.10,"a":12345678901234567890123}}"#;
    let sent = post(&world, "/socket/rooms/message", body);
    assert_eq!((sent.status, sent.at("/data/recipients")), (200, json!(2)));
    let expected = r#"42["news",{"b":1.10,"a":12345678901234567890123}]"#;
    assert_eq!(world.heard(clients[0]), [expected], "what was sent, to the last digit");
    assert_eq!(world.heard(clients[1]), [expected]);
    assert!(world.heard(clients[2]).is_empty());
    let bare = post(&world, "/socket/rooms/message", r#"{"roomId":"lobby","event":"tick"}"#);
    assert_eq!(bare.at("/data/recipients"), 2);
    assert_eq!(world.heard(clients[0]), [r#"42["tick"]"#]);
    let left = post(&world, "/socket/rooms/leave", r#"{"userId":"ann","roomId":"lobby"}"#);
    assert_eq!(left.status, 200);
    let unheard = post(&world, "/socket/rooms/message", r#"{"roomId":"lobby","event":"tick"}"#);
    assert_eq!((unheard.status, unheard.at("/data/recipients")), (200, json!(0)));
}

#[test]
fn a_notification_reaches_every_socket_of_its_user_as_it_was_sent() {
    let world = World::new(2, |_| {});
    let clients = [world.connect(0, "ann"), world.connect(1, "ann"), world.connect(0, "bob")];
    let body = notification("ann");
    let sent = post(&world, "/socket/notifications", &body);
    assert_eq!((sent.status, sent.at("/data")), (200, json!({"recipients": 2})));
    let expected = format!("42[\"notification\",{body}]");
    assert_eq!(world.heard(clients[0]), [expected.as_str()]);
    assert_eq!(world.heard(clients[1]), [expected.as_str()]);
    assert!(world.heard(clients[2]).is_empty());
    let nobody = post(&world, "/socket/notifications", &notification("eve"));
    assert_eq!((nobody.status, nobody.at("/data/recipients")), (200, json!(0)));
    let wrong = notification("ann").replace("info", "shout");
    let wrong = post(&world, "/socket/notifications", &wrong);
    assert_eq!(wrong.at("/error/details/0/member"), "type");
}
