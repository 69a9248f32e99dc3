//! What a broker and the spool's files hand over, read as it is always read and by nothing but the
//! bytes: the way in for whoever tries all inputs. No part of the server comes by here.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

use super::message::Message;
use super::replies::Waiter;
use super::reply::{Turn, turn};
use super::wire::short;
use super::{command as orders, python as managers};
use crate::command::Verb;
use crate::gateway::backend::{Outcome, Ticket};

/// What stands on a message beside its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Where it was sent.
    pub routing_key: &'a str,
    /// The property `type`.
    pub kind: Option<&'a str>,
    /// The property `content_type`.
    pub content_type: Option<&'a str>,
    /// The property `expiration`.
    pub expiration: Option<&'a str>,
    /// The property `timestamp`.
    pub timestamp: Option<u64>,
    /// The headers; of two with one name the last counts.
    pub headers: Vec<(&'a str, Field<'a>)>,
}

/// A header's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// A long string.
    Text(&'a str),
    /// A 64-bit number.
    Number(i64),
    /// A boolean.
    Flag(bool),
    /// A string in so many tables, each in the next.
    Nested(u8, &'a str),
}

impl Field<'_> {
    fn value(self) -> AMQPValue {
        match self {
            Self::Text(text) => AMQPValue::LongString(text.into()),
            Self::Number(number) => AMQPValue::LongLongInt(number),
            Self::Flag(flag) => AMQPValue::Boolean(flag),
            Self::Nested(tables, text) => {
                (0..tables).fold(AMQPValue::LongString(text.into()), |inner, _| {
                    let mut table = FieldTable::default();
                    table.insert("in".into(), inner);
                    AMQPValue::FieldTable(table)
                })
            }
        }
    }
}

impl Envelope<'_> {
    fn properties(&self) -> BasicProperties {
        let mut headers = FieldTable::default();
        for (name, field) in &self.headers {
            headers.insert(short(name), field.value());
        }
        let mut properties = BasicProperties::default().with_headers(headers);
        if let Some(kind) = self.kind {
            properties = properties.with_type(short(kind));
        }
        if let Some(kind) = self.content_type {
            properties = properties.with_content_type(short(kind));
        }
        if let Some(expiration) = self.expiration {
            properties = properties.with_expiration(short(expiration));
        }
        if let Some(at) = self.timestamp {
            properties = properties.with_timestamp(at);
        }
        properties
    }
}

/// A command as the desk gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// What is asked for.
    pub verb: Verb,
    /// JSON, which is not judged yet.
    pub body: Vec<u8>,
    /// Until when it is to be carried out, milliseconds since the epoch.
    pub deadline_ms: Option<u64>,
    /// How often it was put off before.
    pub attempt: usize,
}

/// Reads a command.
///
/// # Errors
/// It is none; the code that says why.
pub fn command(envelope: &Envelope<'_>, body: &[u8]) -> Result<Command, &'static str> {
    let properties = envelope.properties();
    let deadline_ms = orders::deadline_ms(&properties);
    let attempt = orders::attempt(&properties);
    let order = orders::read(&properties, envelope.routing_key, body);
    let order = order.map_err(|refused| refused.code)?;
    Ok(Command { verb: order.verb, body: order.body, deadline_ms, attempt })
}

/// Reads what a manager of python-socketio asks for.
#[must_use]
pub fn python(body: &[u8]) -> Option<(Verb, Vec<u8>)> {
    match managers::read(body) {
        managers::Read::Order(order) => Some((order.verb, order.body)),
        managers::Read::Others | managers::Read::Nothing => None,
    }
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// Nobody that is known here.
    Unknown,
    /// The acknowledgement of an event of this user.
    ByAck(&'static str),
    /// This user, who sent an `ai_request`.
    ByEvent(&'static str),
    /// A user who sent another event: only an acknowledgement could have taken the answer.
    ByNobody(&'static str),
}

/// What an answer turns into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// An acknowledgement, or a refusal in the place of one.
    Settled(Outcome),
    /// An event to a user.
    Emitted {
        /// Whose it is.
        user: String,
        /// Its arguments: JSON without the brackets.
        args: String,
        /// Their attachments.
        attachments: Vec<Vec<u8>>,
    },
    /// Nothing that anybody sees.
    Nothing,
}

/// Reads an answer.
///
/// # Errors
/// It is for nobody, or none; the code that says why.
pub fn answer(
    envelope: &Envelope<'_>,
    body: &[u8],
    awaited: Awaited,
) -> Result<Answered, &'static str> {
    let waiter = |user: &str, is_ai_request, waits: bool| Waiter {
        user: user.into(),
        namespace: "/".into(),
        is_ai_request,
        ticket: waits.then(|| (Ticket::default(), 1)),
    };
    let waiter = match awaited {
        Awaited::Unknown => None,
        Awaited::ByAck(user) => Some(waiter(user, true, true)),
        Awaited::ByEvent(user) => Some(waiter(user, true, false)),
        Awaited::ByNobody(user) => Some(waiter(user, false, false)),
    };
    let turned = turn(waiter.as_ref(), &envelope.properties(), body);
    Ok(match turned.map_err(|dead| dead.code)? {
        Turn::Settle(_, outcome) => Answered::Settled(outcome),
        Turn::Emit { user, args, attachments, .. } => Answered::Emitted { user, args, attachments },
        Turn::Nothing => Answered::Nothing,
    })
}

/// Reads a message that waited in a file, and writes it as it would wait again.
#[must_use]
pub fn record(bytes: &[u8]) -> Option<Vec<u8>> {
    Message::from_record(bytes).map(|message| message.to_record())
}
