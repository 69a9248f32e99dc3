//! Commands as they come off the queue: what is asked for, by when, and who wants an answer.

use lapin::BasicProperties;

use super::wire::{has_room, number_header, text_header};
use crate::bridge::body::quoted;
use crate::command::{BODY_BYTES_MAX, Verb};
use crate::gateway::schema::{Payload, validate};

/// A command that can be given to the desk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) verb: Verb,
    /// JSON, which is not judged yet.
    pub(super) body: Vec<u8>,
}

/// Why a command is no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// For a program.
    pub(super) code: &'static str,
    /// For a person.
    pub(super) message: String,
}

fn refused(code: &'static str, message: &str) -> Refused {
    Refused { code, message: message.to_owned() }
}

/// Until when a command is to be carried out, milliseconds since the epoch.
pub(super) fn deadline_ms(properties: &BasicProperties) -> Option<u64> {
    let given = number_header(properties, "x-sio-deadline");
    given.or_else(|| {
        let expiration = properties.expiration().as_ref()?.as_str().parse::<u64>().ok()?;
        let sent_s = properties.timestamp().as_ref().copied()?;
        // Some clients write milliseconds there.
        let sent_ms = if sent_s > 100_000_000_000 { sent_s } else { sent_s * 1_000 };
        sent_ms.checked_add(expiration)
    })
}

/// How often a command was put off before.
pub(super) fn attempt(properties: &BasicProperties) -> usize {
    number_header(properties, "x-sio-attempt").map_or(0, |n| usize::try_from(n).unwrap_or(99))
}

/// Reads a command.
///
/// # Errors
/// It is none, and why.
pub(super) fn read(
    properties: &BasicProperties,
    routing_key: &str,
    body: &[u8],
) -> Result<Order, Refused> {
    if body.len() > BODY_BYTES_MAX {
        return Err(refused("PAYLOAD_TOO_LARGE", "a command has at most 1,000,000 bytes"));
    }
    if !properties.headers().as_ref().is_none_or(has_room) {
        return Err(refused("PAYLOAD_TOO_LARGE", "headers have at most 64 KiB"));
    }
    let kind = properties.content_type().as_ref().map(|kind| kind.as_str().to_ascii_lowercase());
    let kind = kind.as_deref().unwrap_or("application/json");
    let kind = kind.split(';').next().unwrap_or_default().trim().to_owned();
    if let Some(event) = text_header(properties, "x-sio-event") {
        return Ok(Order { verb: Verb::Emit, body: ready(properties, &event, &kind, body)? });
    }
    if kind != "application/json" {
        return Err(refused("UNSUPPORTED_MEDIA_TYPE", "content_type must be application/json"));
    }
    let named = properties.kind().as_ref().map(|kind| kind.as_str().to_owned());
    let first = || routing_key.split('.').next().unwrap_or_default().to_owned();
    let verb = named.filter(|kind| !kind.is_empty()).unwrap_or_else(first);
    match verb.as_str() {
        "status_update" => to_room(Payload::StatusUpdate, &verb, body),
        "ai_response" => to_room(Payload::AiResponse, &verb, body),
        name => match Verb::from_name(name) {
            Some(verb) => Ok(Order { verb, body: body.to_vec() }),
            None => Err(refused("UNKNOWN_VERB", "neither type nor routing key name a verb")),
        },
    }
}

/// One of the gateway's own events: judged as it is from anybody, and sent to whom it names.
fn to_room(payload: Payload, event: &str, body: &[u8]) -> Result<Order, Refused> {
    let value: serde_json::Value = serde_json::from_slice(body)
        .map_err(|error| Refused { code: "INVALID_JSON", message: error.to_string() })?;
    if let Some(error) = validate(payload, &value).first() {
        let message = format!("{} {}", error.member, error.fault);
        return Err(Refused { code: "VALIDATION_FAILED", message });
    }
    let (kind, member) = match payload {
        Payload::StatusUpdate => ("sessions", "sessionId"),
        _ => ("users", "userId"),
    };
    let name = value.get(member).and_then(serde_json::Value::as_str).unwrap_or_default();
    let text = String::from_utf8_lossy(body);
    let order =
        format!(r#"{{"event":"{event}","args":[{text}],"to":{{"{kind}":[{}]}}}}"#, quoted(name));
    Ok(Order { verb: Verb::Emit, body: order.into_bytes() })
}

/// A ready payload: the body is the event's only argument, headers say the rest.
fn ready(
    properties: &BasicProperties,
    event: &str,
    kind: &str,
    body: &[u8],
) -> Result<Vec<u8>, Refused> {
    let argument = match kind {
        "application/json" => {
            // Judged by the desk, but it must not be able to end its place.
            let whole: Result<&serde_json::value::RawValue, _> = serde_json::from_slice(body);
            let whole = whole
                .map_err(|error| Refused { code: "INVALID_JSON", message: error.to_string() })?;
            whole.get().to_owned()
        }
        "text/plain" => quoted(&String::from_utf8_lossy(body)),
        "application/octet-stream" => {
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD.encode(body);
            format!(r#"{{"$b64":"{text}"}}"#)
        }
        _ => {
            let message = "content_type must be application/json, text/plain or \
                           application/octet-stream";
            return Err(refused("UNSUPPORTED_MEDIA_TYPE", message));
        }
    };
    let list = |header: &str| {
        let names = text_header(properties, header).unwrap_or_default();
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.map(quoted).collect::<Vec<_>>().join(",")
    };
    let mut to = Vec::new();
    for (member, header) in [
        ("rooms", "x-sio-rooms"),
        ("users", "x-sio-users"),
        ("sessions", "x-sio-sessions"),
        ("sockets", "x-sio-sockets"),
    ] {
        let names = list(header);
        if !names.is_empty() {
            to.push(format!(r#""{member}":[{names}]"#));
        }
    }
    if text_header(properties, "x-sio-all").is_some_and(|flag| flag == "true" || flag == "1") {
        to.push(String::from(r#""all":true"#));
    }
    let except = list("x-sio-except-rooms");
    if !except.is_empty() {
        to.push(format!(r#""except":{{"rooms":[{except}]}}"#));
    }
    if let Some(namespace) = text_header(properties, "x-sio-ns") {
        to.push(format!(r#""namespace":{}"#, quoted(&namespace)));
    }
    let flags = text_header(properties, "x-sio-flags").unwrap_or_default();
    let volatile = flags.split(',').any(|flag| flag.trim() == "volatile");
    let volatile = if volatile { r#","volatile":true"# } else { "" };
    let event = quoted(event);
    let to = to.join(",");
    Ok(format!(r#"{{"event":{event},"args":[{argument}],"to":{{{to}}}{volatile}}}"#).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::types::{AMQPValue, FieldTable};

    fn properties(headers: &[(&str, &str)]) -> BasicProperties {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert((*name).into(), AMQPValue::LongString((*value).into()));
        }
        BasicProperties::default().with_headers(table)
    }

    fn json(order: &Order) -> serde_json::Value {
        serde_json::from_slice(&order.body).expect("JSON")
    }

    #[test]
    fn the_verb_is_the_type_or_the_first_word_of_the_key() {
        let typed = BasicProperties::default().with_type("join".into());
        assert_eq!(read(&typed, "emit.x", b"{}").map(|order| order.verb), Ok(Verb::Join));
        let plain = BasicProperties::default();
        let order = Order { verb: Verb::Emit, body: b"{\"a\"".to_vec() };
        assert_eq!(read(&plain, "emit.x.y", b"{\"a\""), Ok(order), "the desk judges it");
        let unknown = read(&plain, "x.emit", b"{}").map_err(|refused| refused.code);
        assert_eq!(unknown, Err("UNKNOWN_VERB"));
    }

    #[test]
    fn a_ready_payload_gets_its_target_from_headers() {
        let properties = properties(&[
            ("x-sio-event", "news"),
            ("x-sio-rooms", "a, b\""),
            ("x-sio-users", "u"),
            ("x-sio-except-rooms", "c"),
            ("x-sio-ns", "/admin"),
            ("x-sio-flags", "compress,volatile"),
        ]);
        let order = read(&properties, "", br#"{"x":1}"#).expect("a command");
        let expected = serde_json::json!({
            "event": "news", "args": [{"x": 1}], "volatile": true,
            "to": {"rooms": ["a", "b\""], "users": ["u"], "except": {"rooms": ["c"]},
                   "namespace": "/admin"},
        });
        assert_eq!((order.verb, json(&order)), (Verb::Emit, expected));
        for bad in ["1],\"x\":[2", "", "{", "1 2"] {
            let found = read(&properties, "", bad.as_bytes());
            assert_eq!(found.map_err(|refused| refused.code), Err("INVALID_JSON"), "{bad}");
        }
        let bytes = properties.clone().with_content_type("application/octet-stream".into());
        let order = read(&bytes, "", &[0, 255]).expect("a command");
        assert_eq!(json(&order)["args"][0]["$b64"], "AP8=");
        let odd = properties.with_content_type("image/png".into());
        assert_eq!(read(&odd, "", b"x").map_err(|r| r.code), Err("UNSUPPORTED_MEDIA_TYPE"));
    }

    #[test]
    fn headers_leave_room_for_those_that_are_added() {
        let long = "x".repeat(60_000);
        let fits = properties(&[("x-sio-event", "e"), ("x-sio-users", "u"), ("more", &long)]);
        assert!(read(&fits, "", b"1").is_ok());
        let mut inner = FieldTable::default();
        inner.insert("b".into(), AMQPValue::LongString(long.as_str().into()));
        let mut table = fits.headers().clone().expect("they were given");
        table.insert("nested".into(), AMQPValue::FieldTable(inner));
        let found = read(&fits.with_headers(table), "", b"1");
        assert_eq!(found.map_err(|refused| refused.code), Err("PAYLOAD_TOO_LARGE"));
    }

    #[test]
    fn the_gateways_own_events_are_judged_and_find_their_room() {
        let kind = |kind: &str| BasicProperties::default().with_type(kind.into());
        let body = br#"{"sessionId":"s1","status":"processing","more":1}"#;
        let order = read(&kind("status_update"), "", body).expect("valid");
        let expected = serde_json::json!({
            "event": "status_update", "to": {"sessions": ["s1"]},
            "args": [{"sessionId": "s1", "status": "processing", "more": 1}],
        });
        assert_eq!(json(&order), expected);
        for (name, body, code) in [
            ("status_update", r#"{"sessionId":"s1","status":"odd"}"#, "VALIDATION_FAILED"),
            ("ai_response", "{}", "VALIDATION_FAILED"),
            ("ai_response", "{", "INVALID_JSON"),
        ] {
            let found = read(&kind(name), "", body.as_bytes());
            assert_eq!(found.map_err(|refused| refused.code), Err(code), "{name}");
        }
    }

    #[test]
    fn a_deadline_needs_a_start() {
        let expiring = BasicProperties::default().with_expiration("500".into());
        assert_eq!(deadline_ms(&expiring), None);
        let dated = expiring.with_timestamp(10);
        assert_eq!(deadline_ms(&dated), Some(10_500));
        assert_eq!(deadline_ms(&properties(&[("x-sio-deadline", "77")])), Some(77));
        assert_eq!(attempt(&properties(&[("x-sio-attempt", "3")])), 3);
    }
}
