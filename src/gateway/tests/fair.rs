use std::sync::Arc;

use serde_json::{Value, json};

use super::cluster::{Client, Cluster};
use crate::config::{Options, Tables};
use crate::gateway::GatewaySettings;
use crate::gateway::fair::FairUse;

/// A configuration's file, as far as fair use reads it.
fn cluster(file: &str) -> Cluster {
    let loaded = crate::config::load(Options::default(), Some(("f", file)), [], &[]);
    let loaded = loaded.expect("a configuration");
    let (options, tables): (Options, Tables) = (loaded.options, loaded.tables);
    let settings = GatewaySettings::from(&options, &tables);
    let fair = FairUse::new(&options, &tables, 7).map(Arc::new);
    assert!(fair.is_some(), "something is limited");
    Cluster::new(2, GatewaySettings { fair, ..settings })
}

/// The code of each answer.
fn codes(cluster: &mut Cluster, client: Client, event: &str, times: usize) -> Vec<String> {
    let ask = |_| match &cluster.ask(client, event, &json!({}))["error"]["code"] {
        Value::String(code) => code.clone(),
        _ => "-".into(),
    };
    (0..times).map(ask).collect()
}

#[test]
fn a_socket_has_its_burst_then_its_rate() {
    let mut cluster = cluster("socket_events_per_s = 10\nsocket_events_burst = 3");
    let client = cluster.user(0, "alice");
    let unknown = "UNKNOWN_EVENT";
    let limited = "RATE_LIMITED";
    let seen = codes(&mut cluster, client, "x", 5);
    assert_eq!(seen, [unknown, unknown, unknown, limited, limited]);
    let answer = cluster.ask(client, "x", &json!({}));
    let error = json!({
        "code": "RATE_LIMITED", "message": "too many in too short a time",
        "retryable": true, "retryAfterMs": 100,
    });
    assert_eq!(answer, json!({"success": false, "error": error}));
    cluster.pass(100);
    assert_eq!(codes(&mut cluster, client, "x", 2), [unknown, limited]);
    let other = cluster.user(0, "alice");
    assert_eq!(codes(&mut cluster, other, "x", 1), [unknown], "each socket has its own");
    assert_eq!(cluster.counters(0).events_limited, 4);
}

#[test]
fn a_user_has_one_bucket_on_all_cores() {
    let mut cluster = cluster("user_events_per_s = 1\nuser_events_burst = 4");
    let (one, two) = (cluster.user(0, "alice"), cluster.user(1, "alice"));
    assert_eq!(codes(&mut cluster, one, "x", 2), ["UNKNOWN_EVENT"; 2]);
    assert_eq!(codes(&mut cluster, two, "x", 3)[2], "RATE_LIMITED");
    let bob = cluster.user(1, "bob");
    assert_eq!(codes(&mut cluster, bob, "x", 1), ["UNKNOWN_EVENT"]);
}

#[test]
fn an_address_has_one_bucket_whoever_uses_it() {
    let mut cluster = cluster("address_events_per_s = 1\naddress_events_burst = 2");
    let (one, two) = (cluster.user(0, "alice"), cluster.user(1, "bob"));
    assert_eq!(codes(&mut cluster, one, "x", 1), ["UNKNOWN_EVENT"]);
    assert_eq!(codes(&mut cluster, two, "x", 2), ["UNKNOWN_EVENT", "RATE_LIMITED"]);
}

#[test]
fn who_goes_on_regardless_is_disconnected() {
    let mut cluster = cluster("socket_events_per_s = 1\nabuse_refusals_per_min = 3");
    let client = cluster.user(0, "alice");
    for _ in 0..5 {
        cluster.say(client, r#"42["x"]"#);
    }
    let borne = cluster.packets(client);
    assert_eq!(borne.len(), 5, "two are unknown, three too many: {borne:?}");
    assert!(borne[4].contains("RATE_LIMITED"));
    cluster.say(client, r#"42["x"]"#);
    let end = cluster.packets(client);
    assert_eq!(end[0], "41", "for good: the client does not come back by itself");
    assert_eq!(cluster.io(0).room_size_here("/", "user:alice"), 0);
    cluster.check();
}

#[test]
fn a_user_has_so_many_sockets_and_connects_so_often() {
    let mut many = cluster("user_sockets_max = 2");
    let (first, _second) = (many.user(0, "alice"), many.user(1, "alice"));
    let third = many.open(0, "&userId=alice");
    many.say(third, "40");
    let refused = many.packets(third).remove(0);
    let code = r#""data":{"code":"TOO_MANY_CONNECTIONS","retryable":true}"#;
    assert!(refused.starts_with("44") && refused.contains(code), "{refused}");
    many.vanish(first);
    many.say(third, "40");
    assert!(many.packets(third)[0].starts_with("40"), "there is room again");
    // Nobody who was refused has given back what another holds.
    let fourth = many.open(0, "&userId=alice");
    many.say(fourth, "40");
    assert!(many.packets(fourth)[0].contains("TOO_MANY_CONNECTIONS"));

    let mut fast = cluster("user_connects_per_s = 1\nuser_connects_burst = 1");
    fast.user(0, "alice");
    let second = fast.open(1, "&userId=alice");
    fast.say(second, "40");
    let refused = fast.packets(second).remove(0);
    assert!(refused.contains(r#""code":"RATE_LIMITED""#), "{refused}");
    assert_eq!(fast.counters(1).connects_limited, 1);
}

#[test]
fn the_operators_own_events_are_judged_as_the_gateways() {
    let mut cluster = cluster(
        r#"
        [[events]]
        name = "order:*"
        per_second = 1
        burst = 9
        payload_bytes_max = 60
        required = ["id"]
        only = true
        members = { id = "name", kind = ["small", "large"], amount = "number:1..5", gift = "flag" }
        "#,
    );
    let client = cluster.user(0, "alice");
    for (payload, said) in [
        (json!({"id": "1"}), "no such event is known"),
        (json!({}), "id is required"),
        (json!({"id": ""}), "id must be 1 to 256 bytes"),
        (json!({"id": "1", "kind": "huge"}), "kind must be one of small, large"),
        (json!({"id": "1", "amount": 6}), "amount must be a number from 1 to 5"),
        (json!({"id": "1", "gift": 1}), "gift must be true or false"),
        (json!({"id": "1", "more": 1}), "more is not known here"),
        (json!(["id"]), "payload must be a JSON object"),
        (json!({"id": "1".repeat(60)}), "the arguments must be at most 60 bytes"),
        (json!({"id": "1"}), "too many in too short a time"),
    ] {
        let answer = cluster.ask(client, "order:new", &payload);
        assert_eq!(answer["error"]["message"], said, "{payload}");
    }
    assert_eq!(cluster.ask(client, "other", &json!(1))["error"]["code"], "UNKNOWN_EVENT");
}
