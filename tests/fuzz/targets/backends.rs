//! What back ends send: messages of a broker, answers of webhooks, messages in the spool's files.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corewire::bridge::rabbitmq_inputs::{Answered, Awaited, Envelope, Field};
use corewire::bridge::{rabbitmq_inputs as broker, webhook_reply, webhook_verdict};
use corewire::command::Verb;
use corewire::gateway::backend::{Outcome, RouteFailure, Verdict};
use corewire::gateway::verbs::binary::{give, take};
use corewire::socketio::split_args;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::choice;

/// Bytes that one byte may become: a control character is six in JSON.
const GROWTH: usize = 6;
/// Bytes that are written around what was sent.
const AROUND: usize = 256;

/// A message of the broker's: the first byte says on which queue, then lines of `name: value`, an
/// empty one, and the body. `#` before a value makes a number of it, `?` a boolean, each `{` a table
/// around it.
pub(super) fn message(bytes: &[u8]) {
    let (first, rest) = choice(bytes);
    match first % 4 {
        0 => command(rest),
        1 => manager(rest),
        2 => answer(rest),
        _ => record(rest),
    }
}

/// Head and body.
fn parted(bytes: &[u8]) -> (String, &[u8]) {
    let at = bytes.windows(2).position(|two| two == b"\n\n").unwrap_or(bytes.len());
    let body = bytes.get(at + 2..).unwrap_or_default();
    (String::from_utf8_lossy(&bytes[..at]).into_owned(), body)
}

fn enveloped(head: &str) -> Envelope<'_> {
    let mut envelope = Envelope::default();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        match name {
            "key" => envelope.routing_key = value,
            "type" => envelope.kind = Some(short(value)),
            "content-type" => envelope.content_type = Some(short(value)),
            "expiration" => envelope.expiration = Some(short(value)),
            "timestamp" => envelope.timestamp = value.parse().ok(),
            _ => envelope.headers.push((short(name), field(value))),
        }
    }
    envelope
}

/// As much as these have on the wire.
fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(255)]
}

fn field(text: &str) -> Field<'_> {
    let inner = text.trim_start_matches('{');
    let tables = u8::try_from(text.len() - inner.len()).unwrap_or(u8::MAX);
    let number = text.strip_prefix('#').and_then(|digits| digits.parse().ok());
    match (tables, number, text.strip_prefix('?')) {
        (1.., ..) => Field::Nested(tables, inner),
        (_, Some(number), _) => Field::Number(number),
        (.., Some(flag)) => Field::Flag(flag == "true"),
        _ => Field::Text(text),
    }
}

/// The texts of headers, as a back end reads its own.
fn texts(envelope: &Envelope<'_>) -> BTreeMap<String, String> {
    let mut texts: BTreeMap<String, Option<String>> = BTreeMap::new();
    for (name, field) in &envelope.headers {
        let text = match field {
            Field::Text(text) => Some((*text).to_owned()),
            Field::Number(number) => Some(number.to_string()),
            Field::Flag(flag) => Some(flag.to_string()),
            Field::Nested(..) => None,
        };
        texts.insert((*name).to_owned(), text);
    }
    texts.into_iter().filter_map(|(name, text)| Some((name, text?))).collect()
}

/// A body that is handed on is the sender's own, to the byte; one that is put together holds what
/// was sent and nothing else: no body and no header ends its place.
fn command(bytes: &[u8]) {
    let (head, body) = parted(bytes);
    let envelope = enveloped(&head);
    let Ok(command) = broker::command(&envelope, body) else { return };
    assert!(command.body.len() <= GROWTH * bytes.len() + AROUND, "{} bytes", command.body.len());
    let texts = texts(&envelope);
    if let Some(event) = texts.get("x-sio-event") {
        let kind = envelope.content_type.unwrap_or("application/json").to_ascii_lowercase();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        return ready(&command, event, (kind, body), &addressed(&texts));
    }
    let named = envelope.kind.filter(|kind| !kind.is_empty());
    let named = named.or_else(|| envelope.routing_key.split('.').next()).unwrap_or_default();
    let (list, member) = match named {
        "status_update" => ("sessions", "sessionId"),
        "ai_response" => ("users", "userId"),
        _ => {
            assert_eq!(Verb::from_name(named), Some(command.verb));
            return assert_eq!(command.body, body);
        }
    };
    let value: Value = serde_json::from_slice(body).expect("it was judged");
    let to = json!({ list: [value[member]] });
    ready(&command, named, ("application/json", body), &(to, false));
}

/// Whom headers name, and whether the event may be dropped.
fn addressed(texts: &BTreeMap<String, String>) -> (Value, bool) {
    let names = |header: &str| -> Vec<&str> {
        let list = texts.get(header).map_or("", String::as_str).split(',').map(str::trim);
        list.filter(|name| !name.is_empty()).collect()
    };
    let mut to = json!({});
    for list in ["rooms", "users", "sessions", "sockets"] {
        let names = names(&format!("x-sio-{list}"));
        if !names.is_empty() {
            to[list] = json!(names);
        }
    }
    if texts.get("x-sio-all").is_some_and(|flag| ["true", "1"].contains(&flag.as_str())) {
        to["all"] = json!(true);
    }
    let except = names("x-sio-except-rooms");
    if !except.is_empty() {
        to["except"] = json!({ "rooms": except });
    }
    if let Some(namespace) = texts.get("x-sio-ns") {
        to["namespace"] = json!(namespace);
    }
    (to, names("x-sio-flags").contains(&"volatile"))
}

/// The command is this event with the body as its only argument, to these.
fn ready(command: &broker::Command, event: &str, (kind, body): (&str, &[u8]), to: &(Value, bool)) {
    assert_eq!(command.verb, Verb::Emit);
    let text = String::from_utf8(command.body.clone()).expect("text was written");
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(&text).expect("an object");
    let part = |name: &str| members.get(name).map_or("", |part| part.get());
    let volatile = if to.1 { r#","volatile":true"# } else { "" };
    let (named, args) = (part("event"), part("args"));
    let whole = format!(r#"{{"event":{named},"args":{args},"to":{}{volatile}}}"#, part("to"));
    assert_eq!(text, whole, "nothing stands there twice, or beside");
    assert_eq!(serde_json::from_str::<String>(named).expect("a text"), event);
    assert_eq!(serde_json::from_str::<Value>(part("to")).expect("an object"), to.0);
    let args: Vec<&RawValue> = serde_json::from_str(args).expect("a list");
    let [argument] = args.as_slice() else { panic!("{} arguments", args.len()) };
    match kind {
        "application/json" => {
            let sent = std::str::from_utf8(body).expect("JSON is text");
            assert_eq!(argument.get(), sent.trim());
        }
        "text/plain" => {
            let read: String = serde_json::from_str(argument.get()).expect("a text");
            assert_eq!(read, String::from_utf8_lossy(body));
        }
        _ => {
            let read: Value = serde_json::from_str(argument.get()).expect("an object");
            assert_eq!(read, json!({ "$b64": STANDARD.encode(body) }));
        }
    }
}

/// What a manager of python-socketio asks for, written as a manager would write it: the same order.
fn manager(bytes: &[u8]) {
    let Some((verb, body)) = broker::python(bytes) else { return };
    assert!(body.len() <= GROWTH * bytes.len() + AROUND, "{} bytes", body.len());
    // One deeper than what was sent, it may be too deep; floats come back with other digits.
    let Ok(order) = serde_json::from_slice::<Value>(&body) else { return };
    if !is_exact(&order) {
        return;
    }
    let to = &order["to"];
    let written = match verb {
        Verb::Emit => json!({
            "method": "emit", "event": order["event"], "data": order["args"], "binary": false,
            "namespace": to["namespace"], "room": to["rooms"], "skip_sid": to["except"]["sockets"],
        }),
        Verb::Disconnect => json!({
            "method": "disconnect", "sid": to["sockets"][0], "namespace": to["namespace"],
        }),
        Verb::Join | Verb::Leave => json!({
            "method": match (verb, &to["rooms"]) {
                (Verb::Join, _) => "enter_room",
                (_, Value::Null) => "leave_room",
                _ => "close_room",
            },
            "sid": to["sockets"][0], "room": order["rooms"][0], "namespace": to["namespace"],
        }),
        other => panic!("no manager asks for {other:?}"),
    };
    let again = broker::python(written.to_string().as_bytes());
    assert_eq!(again, Some((verb, body)), "{written}");
}

fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.is_f64(),
        Value::Array(items) => items.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
        _ => true,
    }
}

/// An answer is one argument and no more, or a refusal in words of a bounded length, and goes to
/// whoever waits for it.
fn answer(bytes: &[u8]) {
    let (head, body) = parted(bytes);
    let envelope = enveloped(&head);
    let awaited = match texts(&envelope).get("awaited").map(String::as_str) {
        Some("ack") => Awaited::ByAck("ann"),
        Some("event") => Awaited::ByEvent("ann"),
        Some("nobody") => Awaited::ByNobody("ann"),
        _ => Awaited::Unknown,
    };
    let Ok(answered) = broker::answer(&envelope, body, awaited) else { return };
    match answered {
        Answered::Settled(outcome) => {
            assert!(matches!(awaited, Awaited::ByAck(_)), "nobody waits");
            if let Outcome::Reply { args, .. } = &outcome {
                assert_eq!(split_args(args).count(), 1, "{args}");
            }
            settled(&outcome, bytes.len());
        }
        Answered::Emitted { user, args, attachments } => {
            assert!(matches!(awaited, Awaited::Unknown | Awaited::ByEvent(_)));
            assert!(awaited != Awaited::ByEvent("ann") || user == "ann", "it is for {user}");
            assert!((1..=256).contains(&user.len()));
            assert_eq!(split_args(&args).count(), 1, "{args}");
            settled(&Outcome::Reply { args, attachments }, bytes.len());
        }
        Answered::Nothing => {}
    }
}

/// What waited in a file waits as the same message again.
fn record(bytes: &[u8]) {
    let Some(written) = broker::record(bytes) else { return };
    assert_eq!(broker::record(&written).as_ref(), Some(&written), "what was written is read");
}

/// An outcome keeps its bounds, and what binary data is taken out of it can be put back.
fn settled(outcome: &Outcome, sent: usize) {
    match outcome {
        Outcome::Reply { args, attachments } => {
            let size: usize = attachments.iter().map(Vec::len).sum();
            assert!(args.len() + size <= GROWTH * sent + AROUND && attachments.len() <= 10);
            let given = give(args, attachments);
            let (again, same) = take(&given).expect("it was taken before");
            assert_eq!((&*again, &same), (args.as_str(), attachments));
            assert!(serde_json::from_str::<&RawValue>(&given).is_ok(), "{given}");
        }
        Outcome::Failed(RouteFailure::Refused { code, message, .. }) => {
            assert!((1..=64).contains(&code.len()) && message.len() <= 1_024);
            let fits =
                |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
            assert!(code.bytes().all(fits), "{code}");
        }
        Outcome::Failed(RouteFailure::HookFailed) => {}
        other => panic!("no back end says {other:?}"),
    }
}

/// A webhook's answer, to a client at the door or to an event: written again as it was understood,
/// it is understood in the same way.
pub(super) fn hook(bytes: &[u8]) {
    let (first, rest) = choice(bytes);
    if first.is_multiple_of(2) {
        return door(rest);
    }
    let outcome = webhook_reply(rest);
    settled(&outcome, bytes.len());
    let written = match &outcome {
        Outcome::Reply { args, attachments } => {
            format!(r#"{{"ack":{}}}"#, give(args, attachments))
        }
        Outcome::Failed(RouteFailure::Refused { code, message, retryable }) => {
            let error = json!({ "code": code, "message": message, "retryable": retryable });
            json!({ "error": error }).to_string()
        }
        _ => return,
    };
    assert_eq!(webhook_reply(written.as_bytes()), outcome, "{written}");
}

/// Nobody comes in with more than a token may give, and a refusal has a code.
fn door(answer: &[u8]) {
    let Some(verdict) = webhook_verdict(answer) else { return };
    let written = match &verdict {
        Verdict::Admit(claims) => {
            assert!((1..=256).contains(&claims.user.len()) && claims.rooms.len() <= 64);
            let own = |room: &String| room.starts_with("user:") || room.starts_with("session:");
            assert!(!claims.rooms.iter().any(own), "{:?}", claims.rooms);
            assert!(claims.labels.len() <= 8 && claims.end_unix_ms().is_none());
            // What is not understood is not looked at, and need be no value.
            let Ok(read) = serde_json::from_slice::<Value>(answer) else { return };
            let labels: BTreeMap<&String, &String> =
                claims.labels.iter().map(|(name, value)| (name, value)).collect();
            json!({
                "allow": true, "userId": claims.user, "sessionId": claims.session,
                "rooms": claims.rooms, "labels": labels, "grants": read.get("grants"),
            })
        }
        Verdict::Refuse { message, code, retryable } => {
            assert!((1..=64).contains(&code.len()) && message.len() <= 1_024);
            json!({ "allow": false, "code": code, "message": message, "retryable": retryable })
        }
        Verdict::Abstain => panic!("no answer says so"),
    };
    let again = webhook_verdict(written.to_string().as_bytes());
    assert_eq!(again, Some(verdict), "{written}");
}
