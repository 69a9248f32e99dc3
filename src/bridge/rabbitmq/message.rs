//! What is published: client events and facts as messages.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::settings::Settings;
use crate::bridge::body;
use crate::config::{KeyTemplate, Slot};
use crate::gateway::backend::{Client, Fact, FactKind, RoutedEvent};
use crate::gateway::schema::name_fault;
use crate::socketio::split_args;

/// A header's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Header {
    Flag(bool),
    Number(i64),
    Text(String),
}

/// A message that may wait, in memory or in a file, until the broker is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) exchange: String,
    pub(super) key: String,
    /// The property `type`.
    pub(super) kind: String,
    /// Whether an answer is expected on the reply queue.
    pub(super) wants_reply: bool,
    /// Milliseconds since the epoch.
    pub(super) at_ms: u64,
    pub(super) deadline_ms: Option<u64>,
    pub(super) mandatory: bool,
    /// How often it was sent again.
    pub(super) republished: i64,
    pub(super) headers: BTreeMap<String, Header>,
    /// Not in the record's head: it follows it as it is.
    #[serde(skip)]
    pub(super) body: Vec<u8>,
}

/// What a message costs beside its body, about.
const MESSAGE_BYTES: usize = 512;

impl Message {
    /// Bytes it counts for.
    pub(super) fn bytes(&self) -> usize {
        MESSAGE_BYTES + self.body.len()
    }

    /// As a record of a file.
    pub(super) fn to_record(&self) -> Vec<u8> {
        let head = serde_json::to_vec(self).unwrap_or_default();
        let length = u32::try_from(head.len()).unwrap_or(u32::MAX);
        [&length.to_le_bytes()[..], &head, &self.body].concat()
    }

    /// From a record of a file.
    pub(super) fn from_record(record: &[u8]) -> Option<Self> {
        let length = u32::from_le_bytes(record.get(..4)?.try_into().ok()?);
        let end = 4usize.checked_add(usize::try_from(length).ok()?)?;
        let mut message: Self = serde_json::from_slice(record.get(4..end)?).ok()?;
        message.body = record[end..].to_vec();
        Some(message)
    }
}

fn client_headers(settings: &Settings, client: &Client, seq: u64) -> BTreeMap<String, Header> {
    let text = |text: &str| Header::Text(text.to_owned());
    let mut headers = BTreeMap::from([
        ("x-sio-ns".into(), text(&client.namespace)),
        ("x-sio-sid".into(), text(&client.socket_id)),
        ("x-sio-user".into(), text(&client.user)),
        ("x-sio-node".into(), text(&settings.node)),
        ("x-sio-seq".into(), Header::Number(i64::try_from(seq).unwrap_or(i64::MAX))),
    ]);
    if let Some(session) = &client.session {
        headers.insert("x-sio-session".into(), text(session));
    }
    headers
}

/// The message of an event.
pub(super) fn of_event(
    settings: &Settings,
    event: &RoutedEvent,
    (exchange, key, expiration_ms): (&str, &KeyTemplate, Option<u64>),
    id: String,
) -> Message {
    let mut headers = client_headers(settings, &event.client, event.seq);
    headers.insert("x-sio-ack".into(), Header::Flag(event.wants_ack));
    // A client chooses how long it is, and headers must fit into one frame. The body has it anyway.
    if let Some(request) = event.request_id.as_ref().filter(|id| name_fault(id).is_none()) {
        headers.insert("x-sio-request-id".into(), Header::Text(request.clone()));
    }
    Message {
        id,
        exchange: exchange.to_owned(),
        key: key.render(|slot| value(event, slot)),
        kind: event.event.clone(),
        wants_reply: true,
        at_ms: event.at_unix_ms,
        deadline_ms: expiration_ms.map(|ms| event.at_unix_ms + ms),
        mandatory: true,
        republished: 0,
        headers,
        body: body::event(event).into_bytes(),
    }
}

/// The message of a fact. Nobody is told what became of it, and nobody need want it.
pub(super) fn of_fact(settings: &Settings, fact: &Fact, id: String) -> Message {
    let kind = match fact.kind {
        FactKind::Connected => "client.connected",
        FactKind::Recovered => "client.recovered",
        FactKind::Disconnected(_) => "client.disconnected",
        FactKind::Joined(_) => "room.joined",
        FactKind::Left(_) => "room.left",
    };
    Message {
        id,
        exchange: settings.events.clone(),
        key: kind.to_owned(),
        kind: kind.to_owned(),
        wants_reply: false,
        at_ms: fact.at_unix_ms,
        deadline_ms: None,
        mandatory: false,
        republished: 0,
        headers: client_headers(settings, &fact.client, fact.seq),
        body: body::fact(fact, kind).into_bytes(),
    }
}

fn value(event: &RoutedEvent, slot: &Slot) -> Option<String> {
    match slot {
        Slot::Event => Some(event.event.clone()),
        Slot::Namespace => Some(event.client.namespace.trim_start_matches('/').to_owned()),
        Slot::User => Some(event.client.user.to_string()),
        Slot::Session => event.client.session.as_deref().map(str::to_owned),
        Slot::Argument { index, path } => {
            let argument = split_args(&event.args).nth(*index)?;
            let mut value: serde_json::Value = serde_json::from_str(argument).ok()?;
            for name in path {
                value = value.get_mut(name)?.take();
            }
            match value {
                serde_json::Value::String(text) => Some(text),
                serde_json::Value::Number(number) => Some(number.to_string()),
                serde_json::Value::Bool(flag) => Some(flag.to_string()),
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::backend::Ticket;

    fn event(args: &str, attachments: Vec<Vec<u8>>) -> RoutedEvent {
        RoutedEvent {
            route: 0,
            client: Client {
                socket_id: "s1".into(),
                namespace: "/".into(),
                user: "u\"1".into(),
                session: None,
            },
            event: "ai_request".into(),
            args: args.into(),
            attachments,
            request_id: Some("r1".into()),
            seq: 7,
            at_unix_ms: 1_000,
            wants_ack: true,
            ticket: Ticket::default(),
            load: std::sync::Arc::default(),
        }
    }

    fn message(key: &str, event: &RoutedEvent) -> Message {
        let key = KeyTemplate::parse(key).expect("a template");
        let settings = Settings::for_test();
        of_event(&settings, event, ("x", &key, Some(60_000)), "ID".into())
    }

    #[test]
    fn an_event_carries_who_and_what() {
        let event = event(r#"{"toolId":"t.1","n":{"k":5}}"#, Vec::new());
        let message = message("ai.{args.0.toolId}.{args.0.n.k}.{args.0.n}.{user}.{ns}", &event);
        assert_eq!(message.key, "ai.t_1.5._.u_1._");
        assert_eq!((message.deadline_ms, message.mandatory), (Some(61_000), true));
        assert_eq!(message.headers["x-sio-user"], Header::Text("u\"1".into()));
        assert_eq!(message.headers["x-sio-seq"], Header::Number(7));
        let body: serde_json::Value = serde_json::from_slice(&message.body).expect("JSON");
        assert_eq!(body["args"][0]["toolId"], "t.1");
        assert_eq!(body["client"]["userId"], "u\"1");
        assert_eq!(body["client"]["sessionId"], serde_json::Value::Null);
        assert_eq!((&body["requestId"], &body["wantsAck"]), (&"r1".into(), &true.into()));
    }

    #[test]
    fn its_headers_are_those_of_the_published_schema() {
        let parts: serde_json::Value =
            serde_json::from_str(crate::command::RABBITMQ).expect("JSON");
        let schema = &parts["schemas"]["RabbitmqEvent"]["properties"]["headers"];
        let message = message("{event}", &event("1", Vec::new()));
        for (name, header) in &message.headers {
            let kind = match header {
                Header::Text(_) => "string",
                Header::Number(_) => "integer",
                Header::Flag(_) => "boolean",
            };
            assert_eq!(schema["properties"][name]["type"], kind, "{name}");
        }
        for name in schema["required"].as_array().expect("a list") {
            assert!(message.headers.contains_key(name.as_str().expect("a name")), "{name}");
        }
    }

    #[test]
    fn bytes_are_base64() {
        let event = event(r#"{"_placeholder":true,"num":0}"#, vec![vec![1, 2]]);
        let body: serde_json::Value =
            serde_json::from_slice(&message("{event}", &event).body).expect("JSON");
        assert_eq!(body["args"][0]["$b64"], "AQI=");
    }

    #[test]
    fn a_record_holds_all_of_it() {
        let message = message("{event}", &event("1,2", Vec::new()));
        let record = message.to_record();
        assert_eq!(Message::from_record(&record), Some(message));
        for end in 0..record.len().min(200) {
            let cut = Message::from_record(&record[..end]);
            assert!(cut.is_none(), "{end}");
        }
    }
}
