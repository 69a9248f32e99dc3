//! Webhooks, seen from REST: their dead letters, their numbers, their part of the document.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::answer::{Failure, Reply};
use super::route::Call;
use super::state::Admin;
use super::verbs::check_name;
use crate::command::{HookHealth, RABBITMQ, ReplayView, WEBHOOKS};
use crate::gateway::verbs::PAGE_MAX;
use crate::gateway::{Payload, VerbError, validate};
use crate::telemetry::{Exposition, Kind};

/// Entries of a page, if the caller does not say.
const LIMIT: usize = 1_000;

/// `GET /api/v1/hooks/dead-letters`.
pub(super) async fn dead_letters(admin: Arc<Admin>, call: Call) -> Result<Reply, Failure> {
    let limit = match call.query.get("limit") {
        None => LIMIT,
        Some(text) => {
            let limit = text.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
            limit.ok_or_else(|| Failure::invalid("limit", "must be 1 to 10000"))?
        }
    };
    let after = call.query.get("cursor").map_or(Ok(0), |text| {
        text.parse().map_err(|_| Failure::invalid("cursor", "must be a cursor of a page before"))
    })?;
    let hook = call.query.get("hook");
    if let Some(hook) = hook {
        check_name("hook", hook)?;
    }
    let (page, next) = match &admin.settings.hooks {
        Some(hooks) => hooks.dead_letters(hook, after, limit),
        None => (Vec::new(), None),
    };
    Reply::page("Dead letters", &page, next.map(|next| next.to_string()).as_deref())
}

#[derive(Deserialize)]
struct Replay {
    hook: Option<String>,
    id: Option<String>,
}

fn read(body: &[u8]) -> Result<Replay, Failure> {
    let value: Value = serde_json::from_slice(body).map_err(|e| Failure::invalid_json(&e))?;
    match validate(Payload::ReplayDeadLetters, &value) {
        errors if errors.is_empty() => {}
        errors => return Err(VerbError::Invalid(errors).into()),
    }
    // Only a member that stands there twice is left.
    serde_json::from_slice(body).map_err(|_| Failure::invalid("payload", "is ambiguous"))
}

/// `POST /api/v1/hooks/dead-letters/replay`.
pub(super) async fn replay(admin: Arc<Admin>, call: Call) -> Result<Reply, Failure> {
    let Replay { hook, id } = read(&call.body)?;
    let view = match &admin.settings.hooks {
        Some(hooks) => hooks.replay(hook.as_deref(), id.as_deref()),
        None => ReplayView { replayed: 0, kept: 0 },
    };
    Reply::data("Dead letters are sent again", &view)
}

/// One series a hook: whether it is left alone, and what waits for it.
pub(super) fn measure(out: &mut Exposition, hooks: &[HookHealth]) {
    let (name, help) = ("corewire_hook_open", "1 while a webhook is left alone.");
    out.family(name, help, Kind::Gauge);
    for hook in hooks {
        out.sample(name, &[("hook", &hook.name)], u8::from(hook.breaker != "closed"));
    }
    let (name, help) = ("corewire_hook_queue", "Facts that wait for a webhook.");
    out.family(name, help, Kind::Gauge);
    for hook in hooks {
        out.sample(name, &[("hook", &hook.name)], hook.waiting);
    }
}

/// Adds to the document what hooks are sent and answer, and the messages of the broker.
pub(super) fn describe(document: &mut Value) {
    for text in [WEBHOOKS, RABBITMQ] {
        let Ok(Value::Object(parts)) = serde_json::from_str::<Value>(text) else { continue };
        for (part, content) in parts {
            match (&*part, content) {
                ("parameters" | "schemas", Value::Object(named)) => {
                    for (name, content) in named {
                        document["components"][&part][name] = content;
                    }
                }
                (_, content) => document[&part] = content,
            }
        }
    }
}
