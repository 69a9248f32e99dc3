//! What back ends read of events and facts: the same bodies, by whichever bridge they come.

use serde::Serialize;

use crate::base::rfc3339;
use crate::gateway::backend::{Client, Fact, FactKind, RouteFailure, RoutedEvent};
use crate::gateway::verbs::binary::give;
use crate::socketio::escape_json;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClientView<'a> {
    user_id: &'a str,
    session_id: Option<&'a str>,
    socket_id: &'a str,
    namespace: &'a str,
}

impl<'a> From<&'a Client> for ClientView<'a> {
    fn from(client: &'a Client) -> Self {
        Self {
            user_id: &client.user,
            session_id: client.session.as_deref(),
            socket_id: &client.socket_id,
            namespace: &client.namespace,
        }
    }
}

/// A JSON text of ours; what cannot be written cannot be built either.
fn text_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// `"…"`.
pub(super) fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    escape_json(&mut out, text);
    String::from_utf8(out).unwrap_or_default()
}

/// Bytes of a refusal's code.
const CODE_BYTES_MAX: usize = 64;
/// Bytes of what a refusal tells people.
const MESSAGE_BYTES_MAX: usize = 1_024;

/// Whether a back end's code is one: `UPPER_SNAKE`, as clients know codes.
pub(super) fn is_code(code: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=CODE_BYTES_MAX).contains(&code.len()) && code.bytes().all(fits)
}

/// As much of a message as people are told.
pub(super) fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MESSAGE_BYTES_MAX));
    text
}

/// An event that its back end has refused, with its own words; nothing if its code is none.
pub(super) fn refused(code: String, message: String, retryable: bool) -> Option<RouteFailure> {
    let message = shortened(message);
    is_code(&code).then_some(RouteFailure::Refused { code, message, retryable })
}

/// The body that hands an event over.
pub(super) fn event(event: &RoutedEvent) -> String {
    let args = give(&event.args, &event.attachments);
    let request = event.request_id.as_deref().map_or_else(|| String::from("null"), quoted);
    format!(
        r#"{{"type":"event","at":{},"event":{},"args":{args},"client":{},"seq":{},"requestId":{request},"wantsAck":{}}}"#,
        quoted(&rfc3339(event.at_unix_ms)),
        quoted(&event.event),
        text_of(&ClientView::from(&event.client)),
        event.seq,
        event.wants_ack,
    )
}

/// A fact under the name that its bridge has for it.
pub(super) fn fact(fact: &Fact, kind: &str) -> String {
    let more = match &fact.kind {
        FactKind::Connected => String::new(),
        FactKind::Recovered => String::from(r#","recovered":true"#),
        FactKind::Disconnected(reason) => format!(r#","reason":{}"#, quoted(reason)),
        FactKind::Joined(room) | FactKind::Left(room) => {
            format!(r#","roomId":{}"#, quoted(room))
        }
    };
    format!(
        r#"{{"type":"{kind}","at":{},"client":{},"seq":{}{more}}}"#,
        quoted(&rfc3339(fact.at_unix_ms)),
        text_of(&ClientView::from(&fact.client)),
        fact.seq,
    )
}
