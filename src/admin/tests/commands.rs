//! The commands of `/api/v1` against real cores and clients: every verb and every refusal.

use serde_json::{Value, json};

use super::fake::{Client, World};
use super::{Answer, get, key, post, request, send};
use crate::config::Scope;

/// Three users on two cores, the ids of their sockets.
struct Crowd {
    world: World,
    ann: [Client; 2],
    bob: Client,
}

fn crowd() -> Crowd {
    let world = World::new(2, |_| {});
    let ann = [world.connect(0, "ann"), world.connect(1, "ann")];
    let bob = world.connect_as(1, r#"40{"userId":"bob","sessionId":"s1"}"#);
    world.heard(bob);
    Crowd { world, ann, bob }
}

impl Crowd {
    fn emit(&self, body: &Value) -> Answer {
        post(&self.world, "/api/v1/emit", &body.to_string())
    }

    /// What each of the three heard.
    fn heard(&self) -> [usize; 3] {
        [self.ann[0], self.ann[1], self.bob].map(|client| self.world.heard(client).len())
    }

    fn socket(&self, user: &str) -> String {
        let found = get(&self.world, &format!("/api/v1/sockets?userId={user}"));
        found.at("/data/0/socketId").as_str().unwrap().to_owned()
    }
}

#[test]
fn an_event_reaches_whom_it_is_for_once() {
    let crowd = crowd();
    let joined = json!({"to": {"users": ["ann"]}, "rooms": ["team"]});
    assert_eq!(post(&crowd.world, "/api/v1/join", &joined.to_string()).status, 200);
    let (bobs, anns) = (crowd.socket("bob"), crowd.socket("ann"));
    for (to, heard) in [
        (json!({"users": ["ann"]}), [1, 1, 0]),
        (json!({"rooms": ["team"]}), [1, 1, 0]),
        (json!({"sessions": ["s1"]}), [0, 0, 1]),
        (json!({"sockets": [bobs]}), [0, 0, 1]),
        (json!({"all": true}), [1, 1, 1]),
        (json!({"users": ["ann", "ann", "bob"], "rooms": ["team"], "sockets": [anns]}), [1, 1, 1]),
        (json!({"all": true, "except": {"users": ["ann"]}}), [0, 0, 1]),
        (json!({"all": true, "except": {"sessions": ["s1"], "sockets": [anns]}}), [0, 1, 0]),
        (json!({"all": true, "except": {"rooms": ["team"]}}), [0, 0, 1]),
        (json!({"users": ["ann"], "except": {"sockets": [anns]}}), [0, 1, 0]),
        (json!({"users": ["nobody"], "rooms": ["empty"]}), [0, 0, 0]),
    ] {
        let sent = crowd.emit(&json!({"to": to, "event": "e", "args": [1]}));
        assert_eq!(sent.status, 200, "{to}: {sent:?}");
        // Sockets of one user may be on either core: which of them was named is not said.
        let (mut found, mut heard) = (crowd.heard(), heard);
        found[..2].sort_unstable();
        heard[..2].sort_unstable();
        assert_eq!(found, heard, "{to}");
        let count = heard.iter().sum::<usize>();
        assert_eq!(
            (sent.at("/data/matched"), sent.at("/data/queued")),
            (count.into(), count.into())
        );
        assert!(sent.at("/data/id").as_str().is_some_and(|id| id.len() == 24), "{sent:?}");
    }
}

#[test]
fn arguments_arrive_to_the_last_digit_and_binary_as_binary() {
    let crowd = crowd();
    let body = r#"{"to":{"users":["bob"]},"event":"e","args":[1.10, {"b":2,"a":[]}, "x"]}"#;
    assert_eq!(post(&crowd.world, "/api/v1/emit", body).status, 200);
    assert_eq!(crowd.world.heard(crowd.bob), [r#"42["e",1.10, {"b":2,"a":[]}, "x"]"#]);
    let bare = json!({"to": {"users": ["bob"]}, "event": "e", "volatile": true});
    assert_eq!(crowd.emit(&bare).at("/data/queued"), 1);
    assert_eq!(crowd.world.heard(crowd.bob), [r#"42["e"]"#]);
    let args = json!([{"$b64": "AQI="}, 7, {"deep": [{"$b64": "/w=="}]}]);
    assert_eq!(
        crowd.emit(&json!({"to": {"users": ["bob"]}, "event": "e", "args": args})).status,
        200
    );
    assert_eq!(
        crowd.world.heard(crowd.bob),
        [
            r#"452-["e",{"_placeholder":true,"num":0},7,{"deep":[{"_placeholder":true,"num":1}]}]"#,
            "[1, 2]",
            "[255]",
        ]
    );
}

#[test]
fn what_is_wrong_is_named_and_nobody_hears_of_it() {
    let crowd = crowd();
    let to = json!({"users": ["bob"]});
    let long = vec!["x"; 1_001];
    for (body, member) in [
        (json!({"event": "e"}), "to"),
        (json!({"to": {}, "event": "e"}), "to"),
        (json!({"to": {"users": []}, "event": "e"}), "to"),
        (json!({"to": {"all": false}, "event": "e"}), "to"),
        (json!({"to": {"all": true, "excpt": {"users": ["ann"]}}, "event": "e"}), "to.excpt"),
        (json!({"to": {"all": true, "except": {"user": ["a"]}}, "event": "e"}), "to.except.user"),
        (json!({"to": {"all": true}, "event": "e", "except": {}}), "except"),
        (json!({"to": {"users": "bob"}, "event": "e"}), "to.users"),
        (json!({"to": {"users": ["bob", ""]}, "event": "e"}), "to.users[1]"),
        (json!({"to": {"rooms": long}, "event": "e"}), "to.rooms"),
        (json!({"to": [], "event": "e"}), "to"),
        (json!({"to": to}), "event"),
        (json!({"to": to, "event": "disconnect"}), "event"),
        (json!({"to": to, "event": "e", "args": {}}), "args"),
        (json!({"to": to, "event": "e", "args": [{"$b64": "?"}]}), "args"),
        (json!({"to": to, "event": "e", "volatile": 1}), "volatile"),
        (json!({"to": to, "event": "e", "timeoutMs": 5}), "timeoutMs"),
    ] {
        let refused = crowd.emit(&body);
        assert_eq!((refused.status, refused.code().as_str()), (422, "VALIDATION_FAILED"), "{body}");
        assert_eq!(refused.at("/error/details/0/member"), member, "{body}");
        assert_eq!(refused.at("/error/retryable"), false);
    }
    let twice = r#"{"to":{"users":["bob"],"users":["ann"]},"event":"e"}"#;
    assert_eq!(post(&crowd.world, "/api/v1/emit", twice).status, 422, "which of the two?");
    let nowhere = crowd.emit(&json!({"to": {"all": true, "namespace": "/x"}, "event": "e"}));
    assert_eq!((nowhere.status, nowhere.code().as_str()), (404, "NAMESPACE_NOT_FOUND"));
    assert_eq!(post(&crowd.world, "/api/v1/emit", "{").code(), "INVALID_JSON");
    assert_eq!(crowd.heard(), [0, 0, 0]);
}

#[test]
fn every_answer_has_a_name_of_its_own() {
    let crowd = crowd();
    let sent = crowd.emit(&json!({"to": {"all": true}, "event": "e"}));
    assert_eq!(sent.at("/data/id"), sent.header("x-request-id"));
    let listed = get(&crowd.world, "/socket/rooms");
    let missing = get(&crowd.world, "/api/v1/nothing");
    let health = get(&crowd.world, "/socket/health");
    assert_eq!(missing.code(), "NOT_FOUND");
    let mut names = [sent, listed, missing, health].map(|a| a.header("x-request-id").to_owned());
    names.sort();
    assert!(names.iter().all(|name| !name.is_empty()), "{names:?}");
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}

#[test]
fn an_overloaded_worker_says_when_to_try_again() {
    let crowd = crowd();
    crowd.world.queue.full.store(true, std::sync::atomic::Ordering::Relaxed);
    let body = json!({"to": {"all": true}, "event": "e"});
    let refused = crowd.emit(&body);
    assert_eq!((refused.status, refused.code().as_str()), (503, "OVERLOADED"));
    assert_eq!(
        (refused.header("retry-after"), refused.at("/error/retryAfterMs")),
        ("1", 1_000.into())
    );
    assert_eq!(refused.at("/error/retryable"), true);
}

#[test]
fn namespaces_are_apart() {
    let crowd = crowd();
    crowd.world.say(crowd.bob, r#"40/n,{"userId":"bob"}"#);
    crowd.world.heard(crowd.bob);
    let to = json!({"users": ["bob"], "namespace": "/n"});
    assert_eq!(crowd.emit(&json!({"to": to, "event": "e"})).at("/data/matched"), 1);
    assert_eq!(crowd.world.heard(crowd.bob), [r#"42/n,["e"]"#]);
    let joined = json!({"to": to, "rooms": ["r", "q"]});
    let joined = post(&crowd.world, "/api/v1/join", &joined.to_string());
    let rooms = json!([{"roomId": "r", "sockets": 1}, {"roomId": "q", "sockets": 1}]);
    assert_eq!((joined.at("/data/matched"), joined.at("/data/rooms")), (1.into(), rooms));
    assert_eq!(get(&crowd.world, "/api/v1/rooms?prefix=r").at("/data"), json!([]));
    let found = get(&crowd.world, "/api/v1/rooms?prefix=r&namespace=/n");
    assert_eq!((found.at("/data/0/id"), found.at("/data/0/sockets")), (json!("r"), 1.into()));
    let query = r#"{"userIds":["bob","ann"],"namespace":"/n"}"#;
    let users = post(&crowd.world, "/api/v1/users/query", query);
    assert_eq!(users.at("/data/0/connected"), true);
    assert_eq!(users.at("/data/1/connected"), false);
    let sockets = get(&crowd.world, "/api/v1/sockets?namespace=/n").at("/data");
    assert_eq!(sockets.as_array().unwrap().len(), 1);
    assert_eq!(
        (&sockets[0]["namespace"], &sockets[0]["transport"]),
        (&json!("/n"), &json!("websocket"))
    );
    for path in ["/api/v1/rooms?namespace=/x", "/api/v1/sockets?namespace=/x"] {
        assert_eq!(get(&crowd.world, path).code(), "NAMESPACE_NOT_FOUND");
    }
    let nowhere = r#"{"userIds":[],"namespace":"/x"}"#;
    assert_eq!(post(&crowd.world, "/api/v1/users/query", nowhere).code(), "NAMESPACE_NOT_FOUND");
}

#[test]
fn rooms_are_joined_and_left_and_their_counts_stay_right() {
    let crowd = crowd();
    let change = |verb: &str, to: Value| {
        let body = json!({"to": to, "rooms": ["r"]});
        post(&crowd.world, &format!("/api/v1/{verb}"), &body.to_string()).at("/data")
    };
    let room = || {
        let found = get(&crowd.world, "/api/v1/rooms").at("/data");
        found.get(0).map(|room| (room["userCount"].clone(), room["sockets"].clone()))
    };
    let everybody = || json!({"all": true});
    assert_eq!(change("join", everybody())["rooms"][0]["sockets"], 3);
    assert_eq!(room(), Some((2.into(), 3.into())));
    assert_eq!(change("join", everybody())["rooms"][0]["sockets"], 3, "they are in it");
    assert_eq!(room(), Some((2.into(), 3.into())));
    let left = change("leave", json!({"rooms": ["r"], "except": {"users": ["ann"]}}));
    assert_eq!((&left["matched"], &left["rooms"][0]["sockets"]), (&1.into(), &1.into()));
    assert_eq!(room(), Some((1.into(), 2.into())));
    crowd.world.vanish(crowd.ann[0]);
    assert_eq!(room(), Some((1.into(), 1.into())));
    assert_eq!(change("leave", everybody())["rooms"][0]["sockets"], 1);
    assert_eq!(room(), None);
    let nobody = change("join", json!({"users": ["nobody"]}));
    assert_eq!((&nobody["matched"], room()), (&0.into(), None), "an empty room is none");
    for rooms in [json!(["user:ann"]), json!(["session:s1"]), json!([""]), json!("r")] {
        let body = json!({"to": {"all": true}, "rooms": rooms});
        let refused = post(&crowd.world, "/api/v1/join", &body.to_string());
        assert_eq!((refused.status, refused.code().as_str()), (422, "VALIDATION_FAILED"));
    }
}

#[test]
fn clients_are_sent_away_to_come_back_or_to_stay_away() {
    let crowd = crowd();
    let away = |body: Value| post(&crowd.world, "/api/v1/disconnect", &body.to_string());
    let body = json!({"to": {"users": ["bob"]}, "mode": "terminal", "reason": "Enough"});
    let gone = away(body);
    assert_eq!((gone.status, gone.at("/data/matched")), (200, 1.into()));
    let heard = crowd.world.heard(crowd.bob);
    assert!(heard[0].starts_with(r#"42["error",{"code":"DISCONNECTED","message":"Enough","#));
    assert_eq!(heard[1], "41", "a DISCONNECT of the namespace: it stays away");
    let gone = away(json!({"to": {"users": ["ann"]}, "mode": "reconnect"}));
    assert_eq!(gone.at("/data/matched"), 2);
    let users = get(&crowd.world, "/api/v1/sockets").at("/data");
    assert_eq!(users, json!([]));
    assert_eq!(away(json!({"to": {"all": true}, "mode": "reconnect"})).at("/data/matched"), 0);
    for body in [json!({"to": {"all": true}}), json!({"to": {"all": true}, "mode": "now"})] {
        assert_eq!(away(body).at("/error/details/0/member"), "mode");
    }
}

#[test]
fn lists_have_prefixes_and_pages() {
    let world = World::new(2, |_| {});
    for (at, user) in ["ann", "anna", "bob", "bobby", "cy"].into_iter().enumerate() {
        world.connect(at % 2, user);
        let body = json!({"to": {"users": [user]}, "rooms": [format!("{user}-room")]});
        assert_eq!(post(&world, "/api/v1/join", &body.to_string()).status, 200);
    }
    let pages = |path: &str, member: &str| {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = get(&world, &format!("{path}&limit=1{cursor}"));
            let data = page.at("/data");
            found.extend(data.as_array().unwrap().iter().map(|one| one[member].clone()));
            let Value::String(next) = page.at("/nextCursor") else { break };
            cursor = format!("&cursor={next}");
        }
        found.sort_by_key(Value::to_string);
        found
    };
    assert_eq!(pages("/api/v1/sockets?prefix=ann", "userId"), ["ann", "anna"]);
    assert_eq!(pages("/api/v1/sockets?userId=ann", "userId"), ["ann"]);
    assert_eq!(pages("/api/v1/rooms?prefix=bob", "id"), ["bob-room", "bobby-room"]);
    assert_eq!(pages("/api/v1/rooms?prefix=user:a&auto=true", "id"), ["user:ann", "user:anna"]);
    assert_eq!(pages("/api/v1/rooms?prefix=user:a", "id"), [] as [&str; 0]);
    for (query, member) in [
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=x", "limit"),
        ("cursor=x", "cursor"),
        ("auto=yes", "auto"),
    ] {
        let refused = get(&world, &format!("/api/v1/rooms?{query}"));
        assert_eq!((refused.status, refused.at("/error/details/0/member")), (422, json!(member)));
    }
    let users = post(&world, "/api/v1/users/query", r#"{"userIds":["cy","x","ann","cy"]}"#);
    let ids: Vec<Value> =
        users.at("/data").as_array().unwrap().iter().map(|one| one["userId"].clone()).collect();
    assert_eq!(ids, ["cy", "x", "ann", "cy"], "as they were asked for");
    assert_eq!(users.at("/data/0"), json!({"userId": "cy", "connected": true, "sockets": 1}));
    assert_eq!(users.at("/data/1/sockets"), 0);
}

#[test]
fn a_key_needs_the_scope_of_the_verb() {
    let world = World::new(1, |admin| {
        admin.keys = vec![
            key("writer", "w-secret", &[Scope::Emit]),
            key("reader", "r-secret", &[Scope::Read]),
        ];
    });
    for verb in crate::command::Verb::ALL {
        let facts = verb.facts();
        let method = if facts.is_get { "GET" } else { "POST" };
        for (key, scope) in [("w-secret", Scope::Emit), ("r-secret", Scope::Read)] {
            let mut asked = request(method, facts.path, "{}");
            asked.headers_mut().insert("x-api-key", key.parse().unwrap());
            let status = send(&world, asked).status;
            assert_eq!(status != 403, facts.scope == scope, "{} {key}: {status}", facts.name);
        }
        assert_eq!(send(&world, request(method, facts.path, "{}")).status, 401);
    }
}
