//! From bytes to work: bodies are judged by the table of shapes, then read as what they are.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::answer::Failure;
use super::verb::Verb;
use crate::gateway::schema::Fault;
use crate::gateway::verbs::{
    Aim, AskRequest, CreateRoom, DisconnectRequest, Dismissal, Emission, EmitRequest, Filter,
    Membership, Notification, PAGE_DEFAULT, Page, Question, Revocation, RevokeRequest, RoomMessage,
    RoomsRequest,
};
use crate::gateway::{Payload, VerbError, validate};

/// One command, ready to be done.
pub(super) enum Work {
    Emit(Emission),
    /// An event that is answered with its recipients.
    Send(Emission),
    Ask(Box<Question>),
    Change {
        aim: Aim,
        rooms: Vec<String>,
        joins: bool,
    },
    Dismiss(Dismissal),
    Query {
        users: Vec<String>,
        namespace: String,
    },
    Rooms(Page, Filter),
    Sockets(Page, Filter),
    Revoke(Revocation),
    CreateRoom(CreateRoom),
    ChangeUser(Membership, bool),
}

/// One command or many.
pub(super) enum Order {
    One(Work),
    Many(Batch),
}

/// Commands that came together.
pub(super) struct Batch {
    pub(super) steps: Vec<Result<Work, Failure>>,
    pub(super) parallel: bool,
    pub(super) stop_on_error: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchRequest {
    commands: Vec<Box<RawValue>>,
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    stop_on_error: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueryRequest {
    user_ids: Vec<String>,
    #[serde(default)]
    namespace: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct ListRequest {
    limit: Option<f64>,
    cursor: Option<String>,
    prefix: Option<String>,
    namespace: Option<String>,
    user_id: Option<String>,
    auto: bool,
}

impl ListRequest {
    fn read(self, cores: usize) -> Result<(Page, Filter), VerbError> {
        let Self { limit, cursor, prefix, namespace, user_id, auto } = self;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it was judged as a small whole number"
        )]
        #[expect(clippy::cast_sign_loss, reason = "it was judged to be 1 at least")]
        let limit = limit.map_or(PAGE_DEFAULT, |limit| limit as usize);
        let page = Page::of(limit, cursor.as_deref(), cores)?;
        let prefix = prefix.unwrap_or_default();
        Ok((page, Filter { namespace, prefix, user: user_id, auto }))
    }
}

/// The body as a value.
fn value(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::invalid_json(&error))
}

/// Reads a body as its type, if it has its shape. It is judged as a value and read from its
/// bytes: what is passed on is what was sent, to the last digit.
fn read<T: DeserializeOwned>(payload: Payload, value: &Value, body: &[u8]) -> Result<T, Failure> {
    let errors = validate(payload, value);
    if !errors.is_empty() {
        return Err(VerbError::Invalid(errors).into());
    }
    // Only a member that stands there twice is left.
    serde_json::from_slice(body).map_err(|_| Failure::invalid("payload", "is ambiguous"))
}

/// What a command wants, of a server with so many cores.
///
/// # Errors
/// Its body is no JSON, or not of its shape.
pub(super) fn prepare(verb: Verb, body: &[u8], cores: usize) -> Result<Order, Failure> {
    let value = value(body)?;
    if verb == Verb::Batch {
        return batch(&value, body, cores).map(Order::Many);
    }
    one(verb, &value, body, cores).map(Order::One)
}

fn one(verb: Verb, value: &Value, body: &[u8], cores: usize) -> Result<Work, Failure> {
    let payload = verb.facts().payload;
    Ok(match verb {
        Verb::Emit => Work::Emit(read::<EmitRequest>(payload, value, body)?.emission()?),
        Verb::Ask => {
            let question = read::<AskRequest>(payload, value, body)?.question()?;
            Work::Ask(Box::new(question))
        }
        Verb::Join | Verb::Leave => {
            let RoomsRequest { to, rooms } = read(payload, value, body)?;
            Work::Change { aim: to.aim()?, rooms, joins: verb == Verb::Join }
        }
        Verb::Disconnect => {
            Work::Dismiss(read::<DisconnectRequest>(payload, value, body)?.dismissal()?)
        }
        Verb::UsersQuery => {
            let QueryRequest { user_ids: users, namespace } = read(payload, value, body)?;
            Work::Query { users, namespace: namespace.unwrap_or_else(|| String::from("/")) }
        }
        Verb::Rooms | Verb::Sockets => {
            let (page, filter) = read::<ListRequest>(payload, value, body)?.read(cores)?;
            if verb == Verb::Rooms {
                Work::Rooms(page, filter)
            } else {
                Work::Sockets(page, filter)
            }
        }
        Verb::Revoke => Work::Revoke(read::<RevokeRequest>(payload, value, body)?.revocation()?),
        Verb::RoomCreate => Work::CreateRoom(read(payload, value, body)?),
        Verb::RoomJoin => Work::ChangeUser(read(payload, value, body)?, true),
        Verb::RoomLeave => Work::ChangeUser(read(payload, value, body)?, false),
        Verb::Notification => Work::Send(read::<Notification>(payload, value, body)?.emission()),
        Verb::RoomMessage => Work::Send(read::<RoomMessage>(payload, value, body)?.emission()),
        Verb::Batch => return Err(VerbError::member("verb", Fault::NotVerb).into()),
    })
}

fn batch(value: &Value, body: &[u8], cores: usize) -> Result<Batch, Failure> {
    let request: BatchRequest = read(Payload::Batch, value, body)?;
    let steps = request.commands.iter().map(|command| step(command, cores)).collect();
    let parallel = request.mode.as_deref() == Some("parallel");
    Ok(Batch { steps, parallel, stop_on_error: request.stop_on_error })
}

/// One command of a batch: a verb's body with `verb` beside its members.
fn step(command: &RawValue, cores: usize) -> Result<Work, Failure> {
    let body = command.get().as_bytes();
    let mut value = value(body)?;
    let named = value.as_object_mut().and_then(|members| members.remove("verb"));
    let verb = named.as_ref().and_then(Value::as_str).and_then(Verb::from_name);
    match verb.filter(|verb| verb.facts().in_batch) {
        Some(verb) => one(verb, &value, body, cores),
        None => Err(VerbError::member("verb", Fault::NotVerb).into()),
    }
}
