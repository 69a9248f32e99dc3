//! Bodies and answers against the schemas that are published.

use std::sync::Arc;

use serde_json::{Value, json};

use super::shape;
use crate::bridge::body;
use crate::command::WEBHOOKS;
use crate::gateway::backend::{
    Client, Fact, FactKind, Outcome, RouteFailure, RoutedEvent, Verdict,
};

/// As much of JSON Schema as ours use. Members that no schema names are refused: a document that
/// says less than is sent is wrong, too.
fn fits(schema: &Value, value: &Value) -> bool {
    let parts: Value = serde_json::from_str(WEBHOOKS).expect("JSON");
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.strip_prefix("#/components/schemas/").expect("one of ours");
        return fits(&parts["schemas"][name], value);
    }
    if let Value::Array(options) = &schema["oneOf"] {
        return options.iter().filter(|one| fits(one, value)).count() == 1;
    }
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{other} is no type of ours"),
    };
    let typed = match &schema["type"] {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().any(|name| is(name.as_str().expect("a name"))),
        _ => true,
    };
    let one_of = |list: &Value| list.as_array().is_none_or(|all| all.contains(value));
    let constant = schema.get("const").is_none_or(|only| only == value);
    let length = value.as_str().map_or(1, |text| text.len() as u64);
    let least = schema["minLength"].as_u64().is_none_or(|min| value.is_null() || length >= min);
    let members = value.as_object().is_none_or(|object| {
        let required = schema["required"].as_array().into_iter().flatten();
        let more = &schema["additionalProperties"];
        required.into_iter().all(|name| object.contains_key(name.as_str().expect("a name")))
            && object.iter().all(|(name, inner)| match schema["properties"].get(name) {
                Some(schema) => fits(schema, inner),
                None if more.is_object() => fits(more, inner),
                None => schema.get("properties").is_none(),
            })
    });
    let items = value.as_array().is_none_or(|items| {
        let count = items.len() as u64;
        schema["maxItems"].as_u64().is_none_or(|max| count <= max)
            && schema.get("items").is_none_or(|schema| items.iter().all(|item| fits(schema, item)))
    });
    typed && one_of(&schema["enum"]) && constant && least && members && items
}

fn is_a(name: &str, text: &str) {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
    assert!(fits(&schema, &value), "{text} is no {name}");
}

fn is_no(name: &str, text: &str) {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return };
    let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
    assert!(!fits(&schema, &value), "{text} is a {name}");
}

fn client(session: Option<&str>) -> Client {
    Client {
        socket_id: "0123456789abcdefghij".into(),
        namespace: "/".into(),
        user: "a\"b\u{1}".into(),
        session: session.map(Arc::from),
    }
}

fn event(args: &str, attachments: Vec<Vec<u8>>, request_id: Option<&str>) -> RoutedEvent {
    let ticket = ticket();
    RoutedEvent {
        route: 0,
        client: client(None),
        event: "e".into(),
        args: args.into(),
        attachments,
        request_id: request_id.map(str::to_owned),
        seq: 3,
        at_unix_ms: 1_767_225_600_000,
        wants_ack: true,
        ticket,
        load: std::sync::Arc::default(),
    }
}

/// A ticket of nobody's.
fn ticket() -> crate::gateway::backend::Ticket {
    let key = crate::base::Slab::default().insert(());
    crate::gateway::backend::Ticket::for_test(crate::base::CoreId(0), key)
}

#[test]
fn what_is_sent_is_what_the_schemas_say() {
    for (args, attachments, request) in [
        ("", Vec::new(), None),
        (r#"1,"x",{"a":[null]}"#, Vec::new(), Some("r")),
        (r#"{"_placeholder":true,"num":0}"#, vec![vec![1, 2]], None),
    ] {
        let body = body::event(&event(args, attachments, request));
        is_a("HookEvent", &body);
        is_a("HookBatch", &shape::batch(&[body]));
    }
    let kinds = [
        FactKind::Connected,
        FactKind::Recovered,
        FactKind::Joined("r\n".into()),
        FactKind::Left("r".into()),
        FactKind::Disconnected("transport close"),
    ];
    let facts = kinds.map(|kind| {
        let fact = Fact { kind, client: client(Some("s")), seq: 1, at_unix_ms: 0 };
        shape::fact(&fact)
    });
    for fact in &facts {
        is_a("HookFact", fact);
    }
    is_a("HookBatch", &shape::batch(&facts));
    let first: Value = serde_json::from_str(&facts[2]).expect("JSON");
    assert_eq!(
        (&first["roomId"], &first["client"]["userId"]),
        (&json!("r\n"), &json!("a\"b\u{1}"))
    );
}

#[test]
fn an_answer_at_the_door_is_one_of_the_schema_or_none() {
    for text in [
        r#"{"allow":true,"userId":"a"}"#,
        r#"{"allow":true,"userId":"a","sessionId":null,"rooms":null}"#,
        r#"{"allow":true,"userId":"a","sessionId":"s","rooms":["r","q"]}"#,
        r#"{"allow":true,"userId":"a","grants":[{"rooms":["r:*"],"allow":["join","emit"]}]}"#,
        r#"{"allow":true,"userId":"a","grants":null,"labels":{"plan":"free"}}"#,
        r#"{"allow":false}"#,
        r#"{"allow":false,"code":"NO_1","message":"m","retryable":true}"#,
    ] {
        is_a("HookConnectAnswer", text);
        let verdict = shape::verdict(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(matches!(verdict, Verdict::Admit(_)), text.contains("true,\"userId"), "{text}");
    }
    for text in [
        "",
        "null",
        "[]",
        r#"{"allow":1,"userId":"a"}"#,
        r#"{"allow":true}"#,
        r#"{"allow":true,"userId":7}"#,
        r#"{"allow":true,"userId":""}"#,
        r#"{"allow":true,"userId":"a","sessionId":""}"#,
        r#"{"allow":true,"userId":"a","rooms":["r",""]}"#,
        r#"{"allow":true,"userId":"a","rooms":"r"}"#,
        r#"{"allow":true,"userId":"a","grants":[{"rooms":["r"]}]}"#,
        r#"{"allow":true,"userId":"a","grants":[{"rooms":["r"],"allow":["fly"]}]}"#,
        r#"{"allow":true,"userId":"a","labels":{"plan":1}}"#,
        r#"{"allow":false,"retryable":"no"}"#,
    ] {
        is_no("HookConnectAnswer", text);
        assert_eq!(shape::verdict(text.as_bytes()), None, "{text}");
    }
    for (user, rooms) in [("a\u{1}", "r"), ("a", "user:b"), ("a", "session:b")] {
        let text = json!({"allow": true, "userId": user, "rooms": [rooms]}).to_string();
        assert_eq!(shape::verdict(text.as_bytes()), None, "{text}");
    }
    let rooms =
        |count| json!({"allow": true, "userId": "a", "rooms": vec!["r"; count]}).to_string();
    is_a("HookConnectAnswer", &rooms(64));
    assert!(shape::verdict(rooms(64).as_bytes()).is_some());
    is_no("HookConnectAnswer", &rooms(65));
    assert_eq!(shape::verdict(rooms(65).as_bytes()), None);
}

#[test]
fn an_answer_to_an_event_is_one_of_the_schema_or_none() {
    let args = |args: &str| Outcome::Reply { args: args.into(), attachments: Vec::new() };
    for (text, outcome) in [
        ("", args("")),
        (" \n", args("")),
        (r#"{"ack":[]}"#, args("")),
        (
            r#"{ "ack" : [ 1.0 , {"a": 12345678901234567890123} ] }"#,
            args(r#"1.0 , {"a": 12345678901234567890123}"#),
        ),
        (r#"{"error":{"code":"NO"}}"#, refused("NO", "", false)),
        (r#"{"error":{"code":"NO","message":"m","retryable":true}}"#, refused("NO", "m", true)),
    ] {
        assert_eq!(shape::reply(text.as_bytes()), outcome, "{text}");
        if !text.trim().is_empty() {
            is_a("HookEventAnswer", text);
        }
    }
    for text in ["{}", "[1]", r#"{"ack":1}"#, r#"{"error":{}}"#, r#"{"error":"NO"}"#, "{"] {
        is_no("HookEventAnswer", text);
        let failed = Outcome::Failed(RouteFailure::HookFailed);
        assert_eq!(shape::reply(text.as_bytes()), failed, "{text}");
    }
    let long = json!({"error": {"code": "NO", "message": "ä".repeat(1_000)}}).to_string();
    assert_eq!(shape::reply(long.as_bytes()), refused("NO", &"ä".repeat(512), false));
}

fn refused(code: &str, message: &str, retryable: bool) -> Outcome {
    let (code, message) = (code.into(), message.into());
    Outcome::Failed(RouteFailure::Refused { code, message, retryable })
}

#[test]
fn a_hook_at_the_door_sees_the_headers_that_its_row_names() {
    let head = b"GET /socket.io/?EIO=4&x=%22 HTTP/1.1\r\nHost: h\r\nCookie: a=1\r\nX-Secret: s\r\n\
                 cookie: b=2\r\n\r\n";
    let peer = "[::ffff:10.0.0.9]:1".parse().expect("an address");
    let request = crate::gateway::backend::AdmissionRequest {
        namespace: "/".into(),
        auth: r#"{"token":"t"}"#.into(),
        handshake: Arc::new(crate::api::Handshake::new(head, peer, 0)),
        ticket: ticket(),
    };
    let names = ["cookie".to_owned(), "authorization".to_owned()];
    let body = shape::connect(&request, &names, 1_767_225_600_000);
    is_a("HookConnect", &body);
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body["headers"], json!({"cookie": "a=1, b=2"}));
    assert_eq!(body["query"], json!({"EIO": "4", "x": "\""}));
    assert_eq!((&body["auth"]["token"], &body["address"]), (&json!("t"), &json!("10.0.0.9")));
    let silent = crate::gateway::backend::AdmissionRequest { auth: "".into(), ..request };
    is_a("HookConnect", &shape::connect(&silent, &[], 0));
}
