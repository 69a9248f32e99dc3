//! Answers of back ends: the client's acknowledgement, or an event to its user.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::BasicProperties;
use serde_json::Value;

use super::Shared;
use super::replies::{Replies, Waiter};
use super::wire::text_header;
use crate::api::Io;
use crate::base::CoreId;
use crate::bridge::{binary, body};
use crate::command::Errand;
use crate::gateway::backend::Outcome;
use crate::gateway::schema::{Payload, validate};

/// Between two tries to reach a core that is behind.
const AGAIN: Duration = Duration::from_millis(2);

/// An answer that nobody can have.
pub(super) struct Dead {
    pub(super) code: &'static str,
    pub(super) message: String,
}

/// What an answer turns into.
pub(super) enum Turn {
    Settle(crate::gateway::backend::Ticket, Outcome),
    Emit { namespace: Arc<str>, user: String, args: String, attachments: Vec<Vec<u8>> },
    Nothing,
}

/// Takes an answer to whom it is for.
///
/// # Errors
/// It is for nobody, or no answer.
pub(super) async fn take(
    shared: &Shared,
    replies: &Mutex<Replies>,
    properties: &BasicProperties,
    body: &[u8],
) -> Result<(), Dead> {
    shared.count(|counters| counters.amqp_replies += 1);
    let id = properties.correlation_id().as_ref().map(ToString::to_string).unwrap_or_default();
    let turn = {
        let mut replies = replies.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = turn(replies.of(&id), properties, body)?;
        // Only now: what is no answer must not take the place of the one that follows.
        replies.answered(&id);
        turn
    };
    match turn {
        Turn::Settle(ticket, outcome) => shared.common.settle(ticket, outcome).await,
        Turn::Emit { namespace, user, args, attachments } => {
            emit(shared, &namespace, &user, &args, &attachments).await;
        }
        Turn::Nothing => {}
    }
    Ok(())
}

pub(super) fn turn(
    waiter: Option<&Waiter>,
    properties: &BasicProperties,
    content: &[u8],
) -> Result<Turn, Dead> {
    let ticket = waiter.and_then(|waiter| waiter.ticket).map(|(ticket, _)| ticket);
    if let Some(code) = text_header(properties, "x-sio-error-code") {
        let message = text_header(properties, "x-sio-error-message").unwrap_or_default();
        let retryable = text_header(properties, "x-sio-error-retryable").as_deref() == Some("true");
        let failure = body::refused(code, message, retryable)
            .ok_or_else(|| invalid("x-sio-error-code is 1 to 64 of A to Z, 0 to 9 and _"))?;
        return Ok(match ticket {
            Some(ticket) => Turn::Settle(ticket, Outcome::Failed(failure)),
            None => Turn::Nothing,
        });
    }
    let text = std::str::from_utf8(content).map_err(|_| invalid("an answer is JSON"))?;
    // One value: it must not be able to end its place.
    let value: Value = serde_json::from_str(text).map_err(|error| invalid(&error.to_string()))?;
    let read = |text: &str| binary::args_in(&format!("[{text}]"));
    if let Some(ticket) = ticket {
        let read = read(text).ok_or_else(|| invalid("what should be base64 is not"))?;
        let (args, attachments) = read;
        return Ok(Turn::Settle(ticket, Outcome::Reply { args, attachments }));
    }
    if waiter.is_some_and(|waiter| !waiter.is_ai_request) {
        // An event of the operator's own: only an acknowledgement could have taken the answer.
        return Ok(Turn::Nothing);
    }
    let (value, text) = with_user(value, text, waiter);
    if let Some(error) = validate(Payload::AiResponse, &value).first() {
        return Err(invalid(&format!("{} {}", error.member, error.fault)));
    }
    let (args, attachments) = read(&text).ok_or_else(|| invalid("what should be base64 is not"))?;
    let named = || value.get("userId").and_then(Value::as_str).unwrap_or_default().to_owned();
    let (namespace, user) = match waiter {
        Some(waiter) => (Arc::clone(&waiter.namespace), waiter.user.to_string()),
        // Asked for by another process, or too long ago: the back end says whose it is.
        None => ("/".into(), named()),
    };
    Ok(Turn::Emit { namespace, user, args, attachments })
}

/// A back end may leave out whose answer it is, if that is known here.
fn with_user(mut value: Value, text: &str, waiter: Option<&Waiter>) -> (Value, String) {
    if let (Value::Object(members), Some(waiter)) = (&mut value, waiter)
        && !members.contains_key("userId")
    {
        members.insert(String::from("userId"), Value::from(&*waiter.user));
        let text = value.to_string();
        return (value, text);
    }
    (value, text.to_owned())
}

fn invalid(message: &str) -> Dead {
    Dead { code: "VALIDATION_FAILED", message: message.to_owned() }
}

/// To all sockets of a user, wherever they are.
async fn emit(
    shared: &Shared,
    namespace: &Arc<str>,
    user: &str,
    args: &str,
    attachments: &[Vec<u8>],
) {
    let workers = &shared.common.workers;
    // One core for one user, so that two answers keep their order.
    let place = super::clock::lane(user) % workers.cores().max(1) as u64;
    let core = CoreId::from_index(usize::try_from(place).unwrap_or(0));
    loop {
        let (namespace, room) = (Arc::clone(namespace), format!("user:{user}"));
        let (args, attachments) = (args.to_owned(), attachments.to_vec());
        let errand: Errand = Box::new(move |io: &Io| {
            io.of(&namespace).to(&room).emit_raw("ai_response", &args, &attachments);
        });
        if workers.send(core, errand).is_ok() {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::backend::Ticket;

    const ANSWER: &str =
        r#"{"requestId":"r","response":"hi","success":true,"duration":5,"toolId":"t"}"#;

    fn waiter(ticket: bool) -> Waiter {
        let ticket = ticket.then(|| (Ticket::default(), 1));
        Waiter { user: "u1".into(), namespace: "/x".into(), is_ai_request: true, ticket }
    }

    fn turned(waiter: Option<&Waiter>, body: &str) -> Result<Turn, &'static str> {
        turn(waiter, &BasicProperties::default(), body.as_bytes()).map_err(|dead| dead.code)
    }

    #[test]
    fn an_awaited_answer_is_the_acknowledgement_word_for_word() {
        let Ok(Turn::Settle(_, Outcome::Reply { args, .. })) =
            turned(Some(&waiter(true)), " [1, 2.0] ")
        else {
            panic!("not settled");
        };
        assert_eq!(args, "[1, 2.0]");
        assert!(matches!(turned(Some(&waiter(true)), "1,2"), Err("VALIDATION_FAILED")));
    }

    #[test]
    fn any_other_answer_is_an_event_to_the_user_who_asked() {
        let Ok(Turn::Emit { namespace, user, args, .. }) = turned(Some(&waiter(false)), ANSWER)
        else {
            panic!("not emitted");
        };
        assert_eq!((&*namespace, user.as_str()), ("/x", "u1"));
        assert!(args.contains(r#""userId":"u1""#), "{args}");
        assert!(matches!(turned(Some(&waiter(false)), "{}"), Err("VALIDATION_FAILED")));
        assert!(matches!(turned(None, ANSWER), Err("VALIDATION_FAILED")), "whose is it?");
        let named = ANSWER.replace("{\"req", "{\"userId\":\"u2\",\"req");
        assert!(matches!(turned(None, &named), Ok(Turn::Emit { user, .. }) if user == "u2"));
    }
}
