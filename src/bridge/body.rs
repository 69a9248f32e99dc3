//! What back ends read of events and facts: the same bodies, by whichever bridge they come.

use serde::Serialize;

use super::binary;
use crate::base::rfc3339;
use crate::gateway::backend::{Client, Fact, FactKind, RoutedEvent};
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

/// The body that hands an event over. Nothing if its arguments are nested too deeply.
pub(super) fn event(event: &RoutedEvent) -> Option<String> {
    let args = binary::args_out(&event.args, &event.attachments)?;
    let request = event.request_id.as_deref().map_or_else(|| String::from("null"), quoted);
    Some(format!(
        r#"{{"type":"event","at":{},"event":{},"args":[{args}],"client":{},"seq":{},"requestId":{request},"wantsAck":{}}}"#,
        quoted(&rfc3339(event.at_unix_ms)),
        quoted(&event.event),
        text_of(&ClientView::from(&event.client)),
        event.seq,
        event.wants_ack,
    ))
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
