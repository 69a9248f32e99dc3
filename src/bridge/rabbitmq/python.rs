//! Messages of python-socketio managers on their fanout exchange.
//!
//! Since its version 5.14 they are JSON. Older ones are pickled, which runs whatever it holds:
//! those are dropped.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::carry::is_done;
use super::command::Order;
use crate::command::{Desk, Verb};
use crate::telemetry::Outside;

/// Carries out what a manager asks for. Nobody is told what came of it: what was not done is
/// counted.
pub(super) async fn carry(body: &[u8], desk: &Arc<Desk>, outside: &Outside) {
    let done = match read(body) {
        Read::Order(order) => is_done(&desk.run(order.verb, &order.body, None).await),
        Read::Others => true,
        Read::Nothing => false,
    };
    if !done {
        outside.count(|counters| counters.amqp_python_refused += 1);
    }
}

/// What a message of a manager is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    Order(Order),
    /// None of our business: an acknowledgement is for the manager that asked.
    Others,
    /// No JSON, or nothing that a manager writes.
    Nothing,
}

/// Reads a message of a manager.
pub(super) fn read(body: &[u8]) -> Read {
    let Ok(message) = serde_json::from_slice::<Map<String, Value>>(body) else {
        return Read::Nothing;
    };
    if message.get("method").is_some_and(|method| method == "callback") {
        return Read::Others;
    }
    order(&message).map_or(Read::Nothing, Read::Order)
}

fn order(message: &Map<String, Value>) -> Option<Order> {
    let text = |name: &str| message.get(name).and_then(Value::as_str).map(str::to_owned);
    let namespace = text("namespace").unwrap_or_else(|| String::from("/"));
    let sid = || Some(json!({ "sockets": [text("sid")?], "namespace": namespace }));
    let order = |verb: Verb, body: Value| Some(Order { verb, body: body.to_string().into() });
    match text("method")?.as_str() {
        "emit" => order(Verb::Emit, emit(message, &text("event")?, &namespace)?),
        "disconnect" => order(Verb::Disconnect, json!({ "to": sid()?, "mode": "terminal" })),
        "enter_room" => order(Verb::Join, json!({ "to": sid()?, "rooms": [text("room")?] })),
        "leave_room" => order(Verb::Leave, json!({ "to": sid()?, "rooms": [text("room")?] })),
        "close_room" => {
            let room = text("room")?;
            let to = json!({ "rooms": [room], "namespace": namespace });
            order(Verb::Leave, json!({ "to": to, "rooms": [room] }))
        }
        _ => None,
    }
}

fn emit(message: &Map<String, Value>, event: &str, namespace: &str) -> Option<Value> {
    let binary = message.get("binary").is_some_and(|value| value == &Value::Bool(true));
    let data = message.get("data").cloned().unwrap_or(Value::Null);
    // Its versions disagree: one value, or the list of arguments.
    let mut args = match data {
        Value::Array(args) => args,
        Value::Null => Vec::new(),
        one => vec![one],
    };
    if binary {
        args = bytes(args)?;
    }
    let list = |name: &str| match message.get(name) {
        Some(Value::String(one)) => Some(vec![json!(one)]),
        Some(Value::Array(many)) => Some(many.clone()),
        _ => None,
    };
    let mut to = match list("room") {
        Some(rooms) => json!({ "rooms": rooms }),
        None => json!({ "all": true }),
    };
    to["namespace"] = json!(namespace);
    if let Some(sids) = list("skip_sid") {
        to["except"] = json!({ "sockets": sids });
    }
    Some(json!({ "event": event, "args": args, "to": to }))
}

/// The arguments with their bytes: the list of them, placeholders inside, and then base64 each.
fn bytes(data: Vec<Value>) -> Option<Vec<Value>> {
    let mut data = data.into_iter();
    let args = data.next()?;
    let mut attachments: Vec<Value> = data.collect();
    match filled(args, &mut attachments)? {
        Value::Array(args) => Some(args),
        one => Some(vec![one]),
    }
}

/// Each attachment is there for one placeholder, as managers write them: else a short message
/// could make much of a long attachment.
fn filled(value: Value, attachments: &mut [Value]) -> Option<Value> {
    match value {
        Value::Object(members) if members.get("_placeholder") == Some(&Value::Bool(true)) => {
            let number = usize::try_from(members.get("num")?.as_u64()?).ok()?;
            let Value::String(text) = attachments.get_mut(number)?.take() else { return None };
            Some(json!({ "$b64": text }))
        }
        Value::Object(members) => {
            let filled = |(name, value)| Some((name, filled(value, attachments)?));
            members.into_iter().map(filled).collect::<Option<Map<_, _>>>().map(Value::Object)
        }
        Value::Array(items) => {
            let items = items.into_iter().map(|item| filled(item, attachments));
            items.collect::<Option<Vec<_>>>().map(Value::Array)
        }
        plain => Some(plain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::CoreId;
    use crate::command::{Errand, Full, Workers};

    fn order(message: impl std::borrow::Borrow<Value>) -> Option<(Verb, Value)> {
        let Read::Order(order) = read(message.borrow().to_string().as_bytes()) else { return None };
        Some((order.verb, serde_json::from_slice(&order.body).expect("JSON")))
    }

    #[test]
    fn what_its_versions_write_is_understood() {
        let emit = json!({"method": "emit", "event": "news", "data": [{"a": 1}], "binary": false,
            "namespace": "/", "room": "team", "skip_sid": "s1", "callback": null, "host_id": "h"});
        let to = json!({"rooms": ["team"], "namespace": "/", "except": {"sockets": ["s1"]}});
        let expected = json!({"event": "news", "args": [{"a": 1}], "to": to});
        assert_eq!(order(emit.clone()), Some((Verb::Emit, expected)));
        let mut bare = emit.clone();
        (bare["data"], bare["room"], bare["skip_sid"]) = (json!("x"), Value::Null, Value::Null);
        let expected =
            json!({"event": "news", "args": ["x"], "to": {"all": true, "namespace": "/"}});
        assert_eq!(order(bare), Some((Verb::Emit, expected)));
        let mut binary = emit;
        binary["binary"] = json!(true);
        binary["data"] = json!([[{"b": {"_placeholder": true, "num": 0}}], "AQI="]);
        let (_, body) = order(binary).expect("a command");
        assert_eq!(body["args"], json!([{"b": {"$b64": "AQI="}}]));
    }

    #[test]
    fn a_short_message_makes_no_more_of_an_attachment_than_it_is() {
        let bytes = "A".repeat(1_000);
        let placeholder = json!({"_placeholder": true, "num": 0});
        let emit = |times: usize| {
            let args = vec![placeholder.clone(); times];
            json!({"method": "emit", "event": "e", "binary": true, "data": [args, bytes]})
        };
        assert!(order(emit(1)).is_some());
        assert_eq!(order(emit(2)), None);
    }

    #[test]
    fn other_methods_are_verbs_or_nothing() {
        let enter = json!({"method": "enter_room", "sid": "s", "room": "r", "namespace": "/"});
        let expected = json!({"to": {"sockets": ["s"], "namespace": "/"}, "rooms": ["r"]});
        assert_eq!(order(enter), Some((Verb::Join, expected)));
        assert_eq!(read(br#"{"method": "callback", "id": 1}"#), Read::Others);
        for nothing in NOTHING {
            assert_eq!(read(nothing), Read::Nothing, "{}", String::from_utf8_lossy(nothing));
        }
    }

    /// What nobody understands: a pickle first.
    const NOTHING: [&[u8]; 5] = [
        b"\x80\x04\x95\x10\x00",
        b"[]",
        br#"{"method": "leave_room", "sid": "s"}"#,
        br#"{"method": "dance"}"#,
        br#"{"event": "e"}"#,
    ];

    /// A core that is behind.
    struct Behind;

    impl Workers for Behind {
        fn cores(&self) -> usize {
            1
        }

        fn send(&self, _core: CoreId, _errand: Errand) -> Result<(), Full> {
            Err(Full)
        }
    }

    #[tokio::test]
    async fn what_is_not_carried_out_is_counted() {
        let (desk, outside) = (Desk::new(Arc::new(Behind), 1), Outside::default());
        let mut wanted = 0;
        let reserved: &[u8] = br#"{"method": "emit", "event": "connect", "data": []}"#;
        let behind: &[u8] = br#"{"method": "emit", "event": "e", "data": []}"#;
        for refused in NOTHING.into_iter().chain([reserved, behind]) {
            carry(refused, &desk, &outside).await;
            wanted += 1;
            let counted = outside.counters().amqp_python_refused;
            assert_eq!(counted, wanted, "{}", String::from_utf8_lossy(refused));
        }
        carry(br#"{"method": "callback", "id": 1}"#, &desk, &outside).await;
        assert_eq!(outside.counters().amqp_python_refused, wanted, "it is not for us");
    }
}
