//! The shapes of all payloads: one table, and the judge that reads it.
//!
//! Two kinds of text are judged by it. Events of clients are read where they lie, because what is
//! relayed stays the sender's bytes; bodies of REST come as values.

mod commands;
mod deep;
mod fault;

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{MemberError, VerbError};
use crate::config::is_reserved_room;
use crate::socketio::{self, split_args};

pub(super) use commands::ASK_TIMEOUT_MAX_MS;
pub use fault::Fault;

/// Bytes of a user id, a session id, a room's or an event's name.
pub const NAME_BYTES_MAX: usize = 256;
/// Bytes of a text that people read at a glance.
const TITLE_BYTES_MAX: usize = 1_024;
/// Bytes of a text that people read.
const MESSAGE_BYTES_MAX: usize = 65_536;
/// Bytes of a text that a tool reads; the limit of a packet is usually below.
const PROMPT_BYTES_MAX: usize = 1_048_576;

/// What a member must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Want {
    /// 1 to 256 bytes without control characters.
    Name,
    /// A name that is no reserved event.
    Event,
    /// A name that is no automatic room.
    Room,
    /// A text of so many bytes, not empty.
    Text(usize),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A number between these two.
    Number(f64, f64),
    /// `true` or `false`.
    Flag,
    /// Anything at all.
    Any,
    /// A whole number between these two.
    Count(u64, u64),
    /// `any`, `majority`, `all`, or how many, up to so many.
    Quorum(u64),
    /// A list of anything.
    List,
    /// A list of at most so many, each of which is this.
    Each(&'static Self, usize),
    /// An object with these members and no other.
    Shape(&'static [Member]),
    /// An object that is judged on its own, by what it says it is.
    Object,
}

impl Want {
    /// Whether it is more than one JSON value deep, so that it is read as a value.
    const fn is_deep(self) -> bool {
        matches!(self, Self::List | Self::Each(..) | Self::Shape(_) | Self::Object)
    }
}

/// One member of a shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// What it must be.
    pub want: Want,
    /// Whether it must be there.
    pub required: bool,
}

pub(super) const fn needs(name: &'static str, want: Want) -> Member {
    Member { name, want, required: true }
}

pub(super) const fn may(name: &'static str, want: Want) -> Member {
    Member { name, want, required: false }
}

/// Members of the longest shape.
const MEMBERS_MAX: usize = 8;
/// Mistakes of one payload that are told.
const ERRORS_MAX: usize = 16;
const STATUS: Want = Want::Word(&["processing", "completed", "failed", "cancelled"]);
const TYPE: Want = Want::Word(&["success", "error", "warning", "info"]);

/// A payload with a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// `ai_request`.
    AiRequest,
    /// `ai_response`.
    AiResponse,
    /// `status_update`.
    StatusUpdate,
    /// `notification`, and the body of `POST /socket/notifications`.
    Notification,
    /// `room:join` and `room:leave`.
    RoomName,
    /// `room:message`.
    RoomMessage,
    /// The body of `POST /socket/rooms`.
    CreateRoom,
    /// The body of `POST /socket/rooms/join` and `/leave`.
    Membership,
    /// The body of `POST /socket/rooms/message`.
    SendToRoom,
    /// The command `emit`.
    Emit,
    /// The command `batch`.
    Batch,
    /// The command `ask`.
    Ask,
    /// The commands `join` and `leave`.
    Rooms,
    /// The command `disconnect`.
    Disconnect,
    /// The command `users/query`.
    UsersQuery,
    /// The command `rooms`.
    RoomList,
    /// The command `sockets`.
    SocketList,
    /// The body of `POST /api/v1/hooks/dead-letters/replay`.
    ReplayDeadLetters,
    /// The command `auth/revoke`.
    Revoke,
}

impl Payload {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::AiRequest,
        Self::AiResponse,
        Self::StatusUpdate,
        Self::Notification,
        Self::RoomName,
        Self::RoomMessage,
        Self::CreateRoom,
        Self::Membership,
        Self::SendToRoom,
        Self::Emit,
        Self::Batch,
        Self::Ask,
        Self::Rooms,
        Self::Disconnect,
        Self::UsersQuery,
        Self::RoomList,
        Self::SocketList,
        Self::ReplayDeadLetters,
        Self::Revoke,
    ];

    /// The members it may have. What else it holds passes through, unless it is strict.
    #[must_use]
    pub const fn members(self) -> &'static [Member] {
        match self {
            Self::AiRequest => AI_REQUEST,
            Self::AiResponse => AI_RESPONSE,
            Self::StatusUpdate => STATUS_UPDATE,
            Self::Notification => NOTIFICATION,
            Self::RoomName => ROOM_NAME,
            Self::RoomMessage => ROOM_MESSAGE,
            Self::CreateRoom => CREATE_ROOM,
            Self::Membership => MEMBERSHIP,
            Self::SendToRoom => SEND_TO_ROOM,
            Self::Emit => commands::EMIT,
            Self::Batch => commands::BATCH,
            Self::Ask => commands::ASK,
            Self::Rooms => commands::ROOMS,
            Self::Disconnect => commands::DISCONNECT,
            Self::UsersQuery => commands::USERS_QUERY,
            Self::RoomList => commands::ROOM_LIST,
            Self::SocketList => commands::SOCKET_LIST,
            Self::ReplayDeadLetters => commands::REPLAY_DEAD_LETTERS,
            Self::Revoke => commands::REVOKE,
        }
    }

    /// Whether a member it does not know is refused: a mistyped `except` must not reach those it
    /// was to spare.
    #[must_use]
    pub const fn is_strict(self) -> bool {
        matches!(
            self,
            Self::Emit
                | Self::Batch
                | Self::Ask
                | Self::Rooms
                | Self::Disconnect
                | Self::UsersQuery
                | Self::RoomList
                | Self::SocketList
                | Self::ReplayDeadLetters
                | Self::Revoke
        )
    }
}

// The table.

const AI_REQUEST: &[Member] = &[
    needs("toolId", Want::Name),
    needs("message", Want::Text(PROMPT_BYTES_MAX)),
    needs("requestId", Want::Name),
    needs("sessionId", Want::Name),
    may("userId", Want::Name),
];
const AI_RESPONSE: &[Member] = &[
    needs("requestId", Want::Name),
    needs("response", Want::Any),
    needs("success", Want::Flag),
    may("error", Want::Text(MESSAGE_BYTES_MAX)),
    needs("duration", Want::Number(0.0, f64::MAX)),
    needs("toolId", Want::Name),
    needs("userId", Want::Name),
];
const STATUS_UPDATE: &[Member] = &[
    needs("sessionId", Want::Name),
    may("userId", Want::Name),
    needs("status", STATUS),
    may("progress", Want::Number(0.0, 100.0)),
    may("message", Want::Text(MESSAGE_BYTES_MAX)),
];
const NOTIFICATION: &[Member] = &[
    needs("userId", Want::Name),
    needs("type", TYPE),
    needs("title", Want::Text(TITLE_BYTES_MAX)),
    needs("message", Want::Text(MESSAGE_BYTES_MAX)),
    may("data", Want::Any),
];
const ROOM_NAME: &[Member] = &[needs("roomId", Want::Name)];
const ROOM_MESSAGE: &[Member] =
    &[needs("roomId", Want::Name), needs("event", Want::Name), needs("data", Want::Any)];
const CREATE_ROOM: &[Member] = &[needs("roomId", Want::Room), needs("name", Want::Name)];
const MEMBERSHIP: &[Member] = &[needs("userId", Want::Name), needs("roomId", Want::Room)];
const SEND_TO_ROOM: &[Member] =
    &[needs("roomId", Want::Name), needs("event", Want::Event), may("data", Want::Any)];

/// A value as far as it matters here.
enum Seen<'a> {
    Text(Cow<'a, str>),
    Number(f64),
    Flag,
    Other,
}

/// What is wrong with a name, which is 1 to 256 bytes without control characters.
#[must_use]
pub fn name_fault(text: &str) -> Option<Fault> {
    if !(1..=NAME_BYTES_MAX).contains(&text.len()) {
        return Some(Fault::Length(NAME_BYTES_MAX));
    }
    text.chars().any(char::is_control).then_some(Fault::Control)
}

/// Words that a quorum may be.
pub const QUORUMS: [&str; 3] = ["any", "majority", "all"];

#[expect(clippy::cast_precision_loss, reason = "the bounds are far below 2^53")]
fn is_count(number: f64, min: u64, max: u64) -> bool {
    number.fract() == 0.0 && (min as f64..=max as f64).contains(&number)
}

fn fault(want: Want, seen: &Seen<'_>) -> Option<Fault> {
    match (want, seen) {
        (Want::Any, _) | (Want::Flag, Seen::Flag) => None,
        (Want::Count(min, max), Seen::Number(number)) if is_count(*number, min, max) => None,
        (Want::Count(min, max), _) => Some(Fault::NotCount(min, max)),
        (Want::Quorum(_), Seen::Text(text)) if QUORUMS.contains(&&**text) => None,
        (Want::Quorum(max), Seen::Number(number)) if is_count(*number, 1, max) => None,
        (Want::Quorum(max), _) => Some(Fault::NotQuorum(max)),
        (Want::List | Want::Each(..), _) => Some(Fault::NotList),
        (Want::Shape(_) | Want::Object, _) => Some(Fault::NotAnObject),
        (Want::Flag, _) => Some(Fault::NotFlag),
        (Want::Number(min, max), Seen::Number(number)) if (min..=max).contains(number) => None,
        (Want::Number(min, max), _) => Some(Fault::NotNumber(min, max)),
        (Want::Word(words), Seen::Text(text)) if words.contains(&&**text) => None,
        (Want::Word(words), _) => Some(Fault::NotOneOf(words)),
        (Want::Text(max), Seen::Text(text)) => {
            (!(1..=max).contains(&text.len())).then_some(Fault::Length(max))
        }
        (Want::Name, Seen::Text(text)) => name_fault(text),
        (Want::Event, Seen::Text(text)) => {
            name_fault(text).or_else(|| socketio::is_reserved(text).then_some(Fault::ReservedEvent))
        }
        (Want::Room, Seen::Text(text)) => {
            name_fault(text).or_else(|| is_reserved_room(text).then_some(Fault::AutomaticRoom))
        }
        (Want::Text(_) | Want::Name | Want::Event | Want::Room, _) => Some(Fault::NotText),
    }
}

fn error_of(member: &Member, seen: Option<&Seen<'_>>) -> Option<MemberError> {
    let fault = match seen {
        Some(seen) => fault(member.want, seen),
        None => member.required.then_some(Fault::Missing),
    };
    fault.map(|fault| MemberError { member: Cow::Borrowed(member.name), fault })
}

const NOT_AN_OBJECT: MemberError =
    MemberError { member: Cow::Borrowed("payload"), fault: Fault::NotAnObject };

/// Everything that is wrong with the body of a request; empty if nothing is.
#[must_use]
pub fn validate(payload: Payload, value: &Value) -> Vec<MemberError> {
    let Some(object) = value.as_object() else {
        return vec![NOT_AN_OBJECT];
    };
    let mut errors = Vec::new();
    deep::members("", payload.members(), payload.is_strict(), object, &mut errors);
    errors
}

/// The body of a request as its type, if it has its shape.
///
/// # Errors
/// [`VerbError::Invalid`] with every member that is wrong.
pub fn request<T: DeserializeOwned>(payload: Payload, value: &Value) -> Result<T, VerbError> {
    let errors = validate(payload, value);
    if !errors.is_empty() {
        return Err(VerbError::Invalid(errors));
    }
    T::deserialize(value).map_err(|_| VerbError::Invalid(vec![NOT_AN_OBJECT]))
}

/// The members of an event's payload that its shape names, where they lie.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    /// The whole object, as it came.
    pub(super) object: &'a str,
    members: &'static [Member],
    values: [Option<&'a str>; MEMBERS_MAX],
}

impl<'a> Fields<'a> {
    /// A member's raw JSON.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        let at = self.members.iter().position(|member| member.name == name)?;
        self.values[at]
    }

    /// A member's text; empty if there is none, which a required one never is.
    pub(super) fn text(&self, name: &str) -> Cow<'a, str> {
        self.raw(name).and_then(text_of).unwrap_or_default()
    }
}

/// Reads the first argument of an event by its shape. `args` have been judged as JSON before.
///
/// Cost: two passes over the bytes, nothing is allocated unless something is written with escapes.
pub(super) fn read(payload: Payload, args: &str) -> Result<Fields<'_>, VerbError> {
    read_members(payload.members(), payload.is_strict(), args)
}

/// The same by members that stand in the configuration; with `only` there may be no others.
pub(super) fn read_members<'a>(
    members: &'static [Member],
    only: bool,
    args: &'a str,
) -> Result<Fields<'a>, VerbError> {
    let object = split_args(args).next().unwrap_or_default();
    let mut fields = Fields { object, members, values: [None; MEMBERS_MAX] };
    let Some(pairs) = pairs(object) else {
        return Err(VerbError::Invalid(vec![NOT_AN_OBJECT]));
    };
    let (mut errors, mut unknown) = (Vec::new(), Vec::new());
    for (name, value) in pairs {
        // A refusal must not be longer than what it refuses.
        if errors.len() + unknown.len() >= ERRORS_MAX {
            break;
        }
        let Some(at) = members.iter().position(|member| member.name == name) else {
            unknown.extend(only.then(|| name.into_owned()));
            continue;
        };
        if fields.values[at].replace(value).is_some() {
            let member = Cow::Borrowed(members[at].name);
            errors.push(MemberError { member, fault: Fault::Twice });
        }
    }
    for (member, value) in members.iter().zip(fields.values) {
        match value {
            Some(raw) if member.want.is_deep() => deep::raw(member, raw, &mut errors),
            value => errors.extend(error_of(member, value.map(seen).as_ref())),
        }
    }
    let unknown = unknown.into_iter().map(Cow::Owned);
    errors.extend(unknown.map(|member| MemberError { member, fault: Fault::Unknown }));
    if errors.is_empty() { Ok(fields) } else { Err(VerbError::Invalid(errors)) }
}

/// A member of the first argument's object, raw; the last of that name.
pub(super) fn member_of<'a>(args: &'a str, name: &str) -> Option<&'a str> {
    let found = pairs(split_args(args).next()?)?.filter(|(known, _)| known == name);
    found.last().map(|(_, value)| value)
}

/// The members of a JSON object that has been judged before; `None` if it is none.
pub(super) fn pairs(object: &str) -> Option<impl Iterator<Item = (Cow<'_, str>, &str)>> {
    let inner = object.strip_prefix('{')?.strip_suffix('}')?;
    Some(split_args(inner).filter_map(pair))
}

fn pair(item: &str) -> Option<(Cow<'_, str>, &str)> {
    let bytes = item.as_bytes();
    let mut end = 1;
    while *bytes.get(end)? != b'"' {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    let value = item[end + 1..].trim_start_matches(BLANKS).strip_prefix(':')?;
    Some((text_of(&item[..=end])?, value.trim_matches(BLANKS)))
}

/// Rule: RFC 8259 section 2, "ws".
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// What a JSON string says; half characters become U+FFFD.
pub(super) fn text_of(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    socketio::from_args::<String>(raw).ok().map(Cow::Owned)
}

fn seen(raw: &str) -> Seen<'_> {
    match raw.as_bytes().first() {
        Some(b'"') => text_of(raw).map_or(Seen::Other, Seen::Text),
        Some(b't' | b'f') => Seen::Flag,
        Some(b'-' | b'0'..=b'9') => raw.parse().map_or(Seen::Other, Seen::Number),
        _ => Seen::Other,
    }
}
