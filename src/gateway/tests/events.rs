use serde_json::{Value, json};

use super::cluster::{Cluster, EPOCH_MS};
use crate::gateway::GatewaySettings;

fn settings() -> GatewaySettings {
    GatewaySettings {
        namespaces: vec!["/".into(), "/ops".into()],
        rooms_open: true,
        ..GatewaySettings::default()
    }
}

fn alice() -> Value {
    json!({"userId": "alice", "sessionId": "s1"})
}

fn request(more: &Value) -> Value {
    let mut payload = json!({"toolId": "t", "message": "hi", "requestId": "r1", "sessionId": "s1"});
    for (name, value) in more.as_object().expect("an object") {
        payload[name] = value.clone();
    }
    payload
}

fn failure(code: &str, message: &str) -> Value {
    let error = json!({"code": code, "message": message, "retryable": false});
    json!({"success": false, "error": error})
}

#[test]
fn nobody_comes_in_without_saying_who_it_is() {
    let required = r#"44{"message":"userId is required","data":{"code":"AUTH_REQUIRED"}}"#;
    let cases = [
        ("", "40", required),
        ("", "40{}", required),
        ("", r#"40{"userId":null}"#, required),
        ("", r#"40{"userid":"a"}"#, required),
        ("&sessionId=s", "40{}", required),
        ("&userId=a", "40", "40{"),
        ("", r#"40{"userId":"a"}"#, "40{"),
        ("", r#"40{"userId":"a","sessionId":null}"#, "40{"),
        ("&userId=", "40", required),
        ("", r#"40{"userId":7}"#, r#"44{"message":"userId must be a string","data""#),
        ("&userId=a", r#"40{"userId":""}"#, required),
        ("&userId=a%00", "40", r#"44{"message":"userId must not hold control characters""#),
        ("", r#"40{"userId":"a","sessionId":"\u0000"}"#, r#"44{"message":"sessionId must not"#),
    ];
    for (query, packet, answer) in cases {
        let mut cluster = Cluster::new(1, settings());
        let client = cluster.open(0, query);
        cluster.say(client, packet);
        let packets = cluster.packets(client);
        assert!(packets.len() == 1 && packets[0].starts_with(answer), "{packet}: {packets:?}");
        if answer.contains("must") {
            assert!(packets[0].ends_with(r#""data":{"code":"VALIDATION_FAILED"}}"#));
        }
        cluster.check();
    }
    let mut cluster = Cluster::new(1, settings());
    let client = cluster.user(0, &"u".repeat(256));
    cluster.say(client, "40/ops,{}");
    let refused = format!("44/ops,{}", &required[2..]);
    assert_eq!(cluster.packets(client), [refused], "each namespace asks again");
    cluster.say(client, "40/other,{\"userId\":\"u\"}");
    assert_eq!(cluster.packets(client), [r#"44/other,{"message":"Invalid namespace"}"#]);
}

#[test]
fn auth_wins_over_the_query_member_by_member() {
    let mut cluster = Cluster::new(1, settings());
    let client = cluster.open(0, "&userId=bob&sessionId=s%201");
    cluster.say(client, r#"40{"userId":"alice"}"#);
    cluster.packets(client);
    let io = cluster.io(0);
    assert_eq!(io.room_size_here("/", "user:alice"), 1);
    assert_eq!(io.room_size_here("/", "user:bob"), 0);
    assert_eq!(io.room_size_here("/", "session:s 1"), 1);
}

#[test]
fn an_ai_request_reaches_the_other_sockets_of_the_user_as_it_was_sent() {
    let mut cluster = Cluster::new(3, settings());
    let sender = cluster.join(0, &alice());
    let second = cluster.user(1, "alice");
    let third = cluster.join(2, &alice());
    let bob = cluster.join(1, &json!({"userId": "bob", "sessionId": "s1"}));
    let answer = cluster.ask(sender, "ai_request", &request(&json!({})));
    assert_eq!(answer, json!({"success": true, "status": "relayed", "requestId": "r1"}));
    let expected = json!(["ai_request", request(&json!({"userId": "alice"}))]);
    assert_eq!(cluster.events(second), vec![expected.clone()]);
    assert_eq!(cluster.events(third), [expected]);
    assert!(cluster.events(bob).is_empty() && cluster.events(sender).is_empty());
    // Not a byte is changed but for the user; numbers and blanks stay as they were.
    let raw = r#"{"toolId":"t","message":"é\u00e9","x":1e2, "requestId":"a\"b","sessionId":"s1"}"#;
    cluster.say(sender, &format!(r#"421["ai_request",{raw}]"#));
    let with_user = format!(r#"{},"userId":"alice"}}"#, &raw[..raw.len() - 1]);
    assert_eq!(cluster.packets(second), [format!(r#"42["ai_request",{with_user}]"#)]);
    let ack = r#"431[{"success":true,"status":"relayed","requestId":"a\"b"}]"#;
    assert_eq!(cluster.packets(sender), [ack]);
    cluster.say(sender, &format!(r#"42["ai_request",{with_user}]"#));
    assert_eq!(cluster.packets(third)[1..], [format!(r#"42["ai_request",{with_user}]"#)]);
    assert!(cluster.packets(sender).is_empty(), "no ack was asked for");
}

#[test]
fn attachments_are_relayed_too() {
    let mut cluster = Cluster::new(1, settings());
    let sender = cluster.user(0, "alice");
    let other = cluster.user(0, "bob");
    cluster.ask(other, "room:join", &json!({"roomId": "r"}));
    let data = r#"{"_placeholder":true,"num":0}"#;
    let event = r#"{"roomId":"r","event":"e","data":"#;
    cluster.say(sender, &format!(r#"451-["room:message",{event}{data}}}]"#));
    cluster.say(sender, "bAQID");
    let packets = cluster.binary_packets(other);
    assert_eq!(packets, [format!(r#"451-["e",{data}]"#).into_bytes(), vec![1, 2, 3]]);
}

#[test]
fn a_status_update_reaches_the_other_sockets_of_the_session() {
    let mut cluster = Cluster::new(2, settings());
    let sender = cluster.join(0, &alice());
    let mate = cluster.join(1, &json!({"userId": "bob", "sessionId": "s1"}));
    let other = cluster.join(1, &json!({"userId": "alice", "sessionId": "s2"}));
    let update = json!({"sessionId": "s1", "status": "processing", "progress": 40});
    let answer = cluster.ask(sender, "status_update", &update);
    assert_eq!(answer, json!({"success": true, "status": "relayed"}));
    let mut expected = update;
    expected["userId"] = json!("alice");
    assert_eq!(cluster.events(mate), [json!(["status_update", expected])]);
    assert!(cluster.events(other).is_empty());
}

#[test]
fn a_payload_that_lies_about_its_sender_is_forbidden() {
    let mut cluster = Cluster::new(1, settings());
    let sender = cluster.join(0, &alice());
    let mate = cluster.join(0, &alice());
    let forbidden = failure("FORBIDDEN", "this is not permitted");
    for more in [json!({"userId": "bob"}), json!({"sessionId": "s2"})] {
        assert_eq!(cluster.ask(sender, "ai_request", &request(&more)), forbidden);
        let mut update = json!({"sessionId": "s1", "status": "failed"});
        update
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        assert_eq!(cluster.ask(sender, "status_update", &update), forbidden);
    }
    assert!(cluster.events(mate).is_empty());
    let without = cluster.user(0, "carol");
    let answer = cluster.ask(without, "ai_request", &request(&json!({})));
    assert_eq!(answer, forbidden, "it has no session");
}

#[test]
fn bad_payloads_are_refused_in_the_ack_or_else_by_an_event() {
    let mut cluster = Cluster::new(1, settings());
    let client = cluster.join(0, &alice());
    let payload = json!({"sessionId": "s1", "status": "done", "progress": "x"});
    let message = "status must be one of processing, completed, failed, cancelled; \
                   progress must be a number from 0 to 100";
    let answer = cluster.ask(client, "status_update", &payload);
    assert_eq!(answer, failure("VALIDATION_FAILED", message));
    cluster.say(client, &format!("42{}", json!(["status_update", payload])));
    let error = json!({
        "code": "VALIDATION_FAILED", "message": message, "userId": "alice", "sessionId": "s1",
        "timestamp": "2026-01-01T00:00:00.000Z",
    });
    assert_eq!(cluster.events(client), [json!(["error", error])]);
    for event in ["ai_request", "room:join", "room:leave", "room:message"] {
        let answer = cluster.ask(client, event, &json!([]));
        assert_eq!(answer, failure("VALIDATION_FAILED", "payload must be a JSON object"));
    }
    assert_eq!(cluster.counters(0).events_bad_args, 6);
}

#[test]
fn unknown_events_are_counted_and_refused() {
    let mut cluster = Cluster::new(1, settings());
    let client = cluster.user(0, "alice");
    let answer = cluster.ask(client, "notification", &json!({"userId": "bob"}));
    assert_eq!(answer, failure("UNKNOWN_EVENT", "no such event is known"));
    cluster.say(client, r#"42["whatever"]"#);
    let events = cluster.events(client);
    assert_eq!((&events[0][0], &events[0][1]["code"]), (&json!("error"), &json!("UNKNOWN_EVENT")));
    assert_eq!(events[0][1].get("sessionId"), None, "it has none");
    assert_eq!(cluster.counters(0).events_unknown, 2);
}

#[test]
fn a_ping_is_answered_by_a_pong() {
    let mut cluster = Cluster::new(1, settings());
    let client = cluster.user(0, "alice");
    cluster.pass(1_234);
    cluster.say(client, r#"42["ping"]"#);
    let timestamp = EPOCH_MS + 1_234;
    assert_eq!(cluster.events(client), [json!(["pong", {"timestamp": timestamp}])]);
    cluster.say(client, r#"429["ping",{}]"#);
    let packets = cluster.packets(client);
    assert_eq!(packets.len(), 2);
    assert!(packets[1].starts_with(r#"439[{"success":true"#), "{packets:?}");
}

#[test]
fn presence_is_told_of_first_and_last_sockets_only() {
    let presence_rooms = vec![String::from("lobby"), String::from("user:boss")];
    let mut cluster = Cluster::new(3, GatewaySettings { presence_rooms, ..settings() });
    let boss = cluster.user(0, "boss");
    cluster.ask(boss, "room:join", &json!({"roomId": "lobby"}));
    let lobby = cluster.user(1, "visitor");
    let connection = json!(["connection", {"userId": "visitor"}]);
    assert_eq!(cluster.events(boss), [connection], "once, although in both rooms");
    cluster.ask(lobby, "room:join", &json!({"roomId": "lobby"}));
    let first = cluster.join(0, &alice());
    let second = cluster.join(2, &alice());
    let connection = json!(["connection", {"userId": "alice", "sessionId": "s1"}]);
    assert_eq!(cluster.events(boss), vec![connection.clone()]);
    assert_eq!(cluster.events(lobby), [connection]);
    cluster.vanish(first);
    assert!(cluster.events(boss).is_empty());
    cluster.say(second, "41");
    let gone = json!({
        "userId": "alice", "sessionId": "s1", "reason": "client namespace disconnect",
    });
    assert_eq!(cluster.events(boss), [json!(["disconnection", gone.clone()])]);
    assert_eq!(cluster.events(lobby), [json!(["disconnection", gone])]);
}

#[test]
fn nobody_hears_of_presence_unless_a_room_is_named() {
    let mut cluster = Cluster::new(2, settings());
    let boss = cluster.user(0, "boss");
    let other = cluster.user(1, "other");
    cluster.vanish(other);
    assert!(cluster.events(boss).is_empty());
}
