//! What hooks are sent, and how their answers are read. The schemas in `command/hooks.rs` say the
//! same to people.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::auth::Claims;
use crate::base::rfc3339;
use crate::bridge::binary;
use crate::bridge::body::{self, quoted};
use crate::gateway::backend::{AdmissionRequest, Fact, FactKind, Outcome, RouteFailure, Verdict};

/// The body that asks whether a client may come in. Of its headers a hook sees those it names.
pub(super) fn connect(request: &AdmissionRequest, headers: &[String], at_unix_ms: u64) -> String {
    let handshake = &request.handshake;
    let pairs = |all: &mut dyn Iterator<Item = (String, String)>| {
        let members = all.map(|(name, value)| format!("{}:{}", quoted(&name), quoted(&value)));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    };
    let query = handshake.query();
    let query = pairs(&mut query.iter().map(|(name, value)| (name.into(), value.into())));
    let mut shown = handshake.headers();
    shown.retain(|(name, _)| headers.contains(name));
    format!(
        r#"{{"type":"connect","at":{},"namespace":{},"auth":{},"query":{query},"headers":{},"address":{}}}"#,
        quoted(&rfc3339(at_unix_ms)),
        quoted(&request.namespace),
        if request.auth.is_empty() { "null" } else { &request.auth },
        pairs(&mut shown.into_iter()),
        quoted(&handshake.address()),
    )
}

/// One fact, as it stands in a batch.
pub(super) fn fact(fact: &Fact) -> String {
    let kind = match fact.kind {
        FactKind::Connected | FactKind::Recovered => "connected",
        FactKind::Disconnected(_) => "disconnect",
        FactKind::Joined(_) => "join",
        FactKind::Left(_) => "leave",
    };
    body::fact(fact, kind)
}

/// The body of a batch.
pub(super) fn batch(items: &[String]) -> String {
    format!(r#"{{"type":"batch","events":[{}]}}"#, items.join(","))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConnectAnswer {
    allow: bool,
    user_id: Option<String>,
    session_id: Option<String>,
    rooms: Option<Vec<String>>,
    grants: Option<Value>,
    labels: Option<Value>,
    code: Option<String>,
    message: Option<String>,
    retryable: Option<bool>,
}

/// Reads whether a client may come in. Nothing if this is no answer: then nobody comes in by it.
#[must_use]
pub fn verdict(answer: &[u8]) -> Option<Verdict> {
    let answer: ConnectAnswer = serde_json::from_slice(answer).ok()?;
    if !answer.allow {
        let code = answer.code.unwrap_or_else(|| String::from("FORBIDDEN"));
        return Some(Verdict::Refuse {
            message: body::shortened(answer.message.unwrap_or_else(|| String::from("refused"))),
            code: body::is_code(&code).then_some(code)?,
            retryable: answer.retryable.unwrap_or(false),
        });
    }
    // What a token may say of its bearer, an answer may, under the same rules.
    let mut own = json!({ "rooms": answer.rooms.unwrap_or_default() });
    for (name, value) in [("caps", answer.grants), ("labels", answer.labels)] {
        if let Some(value) = value {
            own[name] = value;
        }
    }
    let mut claims = json!({ "sub": answer.user_id?, "sio": own });
    if let Some(session) = answer.session_id {
        claims["sid"] = session.into();
    }
    let claims = Claims::read(claims.to_string().as_bytes()).ok()?;
    Some(Verdict::Admit(Box::new(claims)))
}

#[derive(Deserialize)]
struct EventAnswer<'a> {
    #[serde(borrow)]
    ack: Option<&'a RawValue>,
    error: Option<ErrorAnswer>,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    retryable: bool,
}

/// Reads an answer that becomes the client's acknowledgement. Nothing is an acknowledgement
/// without arguments.
#[must_use]
pub fn reply(answer: &[u8]) -> Outcome {
    if answer.iter().all(u8::is_ascii_whitespace) {
        return Outcome::Reply { args: String::new(), attachments: Vec::new() };
    }
    let failed = Outcome::Failed(RouteFailure::HookFailed);
    match serde_json::from_slice(answer) {
        Ok(EventAnswer { ack: Some(ack), error: None }) => match binary::args_in(ack.get()) {
            Some((args, attachments)) => Outcome::Reply { args, attachments },
            None => failed,
        },
        Ok(EventAnswer { ack: None, error: Some(error) }) => {
            let ErrorAnswer { code, message, retryable } = error;
            body::refused(code, message, retryable).map_or(failed, Outcome::Failed)
        }
        _ => failed,
    }
}
