//! What clients may send, and what becomes of it.

use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;

use super::backend::{self, FactKind};
use super::error::VerbError;
use super::identity::Identity;
use super::local::Pending;
use super::schema::{self, Fields, Payload};
use super::tokens;
use super::{Gateway, door, membership, presence, rules};
use crate::api::{Ack, Event, NamespaceBuilder, Socket};
use crate::base::rfc3339;
use crate::config::Verb;
use crate::socketio::escape_json;

/// A handler: what it cannot do, it says.
type Handler = fn(&Call<'_>) -> Result<(), VerbError>;

/// The events of the gateway. Presence, notifications and answers only ever go out.
const HANDLERS: [(&str, Handler); 7] = [
    ("ai_request", ai_request),
    ("status_update", status_update),
    ("ping", ping),
    ("room:join", room_join),
    ("room:leave", room_leave),
    ("room:message", room_message),
    ("auth_refresh", auth_refresh),
];

/// One event of one client.
struct Call<'a> {
    gateway: &'a Rc<Gateway>,
    space: u16,
    event: &'a Event<'a>,
    socket: &'a Socket,
    who: Rc<Identity>,
}

/// Says what happens in a namespace.
pub(super) fn serve(builder: &mut NamespaceBuilder, gateway: &Rc<Gateway>, space: u16) {
    let is_asked = door::guard(builder, gateway, space);
    let here = Rc::clone(gateway);
    builder.on_connect(move |socket| {
        let Some(who) = socket.data::<Identity>() else {
            return;
        };
        let io = socket.io();
        presence::tell_up(&here, &io, space, &who);
        tokens::note_end(&here, socket.key(), &who);
        if is_asked || socket.recovered() {
            membership::tell_first_rooms(&here, space, &who, socket);
        } else {
            membership::tell_own_rooms(&here, &io, space, &who);
        }
        let kind = if socket.recovered() { FactKind::Recovered } else { FactKind::Connected };
        backend::tell_fact(&here, &io, space, (&socket.id(), &who), kind);
    });
    let here = Rc::clone(gateway);
    builder.on_disconnect(move |gone| {
        let Some(who) = gone.data::<Identity>() else {
            return;
        };
        who.give_back_seat();
        tokens::forget_end(&here, gone.key(), &who);
        membership::tell_gone(&here, space, &who, gone);
        presence::tell_down(&here, gone.io(), space, &who, gone.reason());
        let kind = FactKind::Disconnected(gone.reason());
        backend::tell_fact(&here, gone.io(), space, (gone.id(), &who), kind);
    });
    for (name, handler) in HANDLERS {
        let here = Rc::clone(gateway);
        builder.on(name, move |event| run(&here, space, event, handler));
    }
    let here = Rc::clone(gateway);
    builder.on_unknown(move |event| {
        run(&here, space, event, other);
    });
}

fn run(gateway: &Rc<Gateway>, space: u16, event: &Event<'_>, handler: Handler) {
    let socket = event.socket();
    // The gate gave every socket that joined an identity.
    let Some(who) = socket.data::<Identity>() else {
        return;
    };
    let call = Call { gateway, space, event, socket, who };
    if let Err(error) = call.is_fair().and_then(|()| handler(&call)) {
        if matches!(error, VerbError::Invalid(_)) {
            socket.io().count(|counters| counters.events_bad_args += 1);
        }
        refuse(socket, &call.who, Some(event.ack()), &error);
    }
}

#[derive(Serialize)]
struct Failure<'a> {
    success: bool,
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

/// The payload of `error`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorEvent<'a> {
    code: &'a str,
    message: &'a str,
    timestamp: String,
    user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
}

/// Tells a client that something was not done: in its ack, or as an event if it wants none.
pub(super) fn refuse(socket: &Socket, who: &Identity, ack: Option<Ack>, error: &VerbError) {
    let (code, message) = (error.code(), &*error.message());
    if let Some(ack) = ack.filter(Ack::is_wanted) {
        let (retryable, retry_after_ms) = (error.retryable(), error.retry_after_ms());
        let error = ErrorBody { code, message, retryable, retry_after_ms };
        ack.send(&Failure { success: false, error });
        return;
    }
    let timestamp = rfc3339(socket.io().unix_ms());
    let (user_id, session_id) = (&*who.user, who.session.as_deref());
    socket.emit("error", &ErrorEvent { code, message, timestamp, user_id, session_id });
}

/// Answers `room:join` and `room:leave`. The answer is partial if the keeper did not say in time
/// how many users there are.
pub(super) fn send_room_ack(ack: Ack, room: &str, users: usize, partial: bool) {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Joined<'a> {
        success: bool,
        room_id: &'a str,
        user_count: usize,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        partial: bool,
    }
    ack.send(&Joined { success: true, room_id: room, user_count: users, partial });
}

impl<'a> Call<'a> {
    fn is_fair(&self) -> Result<(), VerbError> {
        let Some(fair) = &self.gateway.settings.fair else { return Ok(()) };
        fair.check(self.gateway.settings.namespace(self.space), self.event, &self.who)
    }

    fn read(&self, payload: Payload) -> Result<Fields<'a>, VerbError> {
        schema::read(payload, self.event.raw_args())
    }

    /// What a payload says of its sender must be true.
    fn check_own(&self, fields: &Fields<'_>) -> Result<(), VerbError> {
        let own_user = fields.raw("userId").is_none() || fields.text("userId") == *self.who.user;
        let own_session = self.who.session.as_deref() == Some(&*fields.text("sessionId"));
        if own_user && own_session { Ok(()) } else { Err(VerbError::Forbidden) }
    }

    /// The sender's bytes, with the user filled in if it is not named.
    fn with_user(&self, fields: &Fields<'_>) -> String {
        if fields.raw("userId").is_some() {
            return fields.object.to_owned();
        }
        // An object of this shape has members, so a comma may follow them.
        let members = fields.object.strip_suffix('}').unwrap_or_default();
        let mut text = Vec::with_capacity(members.len() + self.who.user.len() + 16);
        text.extend_from_slice(members.as_bytes());
        text.extend_from_slice(b",\"userId\":");
        escape_json(&mut text, &self.who.user);
        text.push(b'}');
        String::from_utf8(text).expect("all parts are UTF-8")
    }

    fn relay(&self, room: &str, event: &str, args: &str) {
        self.socket.to(room).emit_raw(event, args, self.event.attachments());
    }

    /// Says that it was handed on; `request` is the payload's own `requestId`, raw.
    fn relayed(&self, request: Option<&str>) {
        if !self.event.wants_ack() {
            return;
        }
        let request = request.map_or(String::new(), |id| format!(r#","requestId":{id}"#));
        let answer = format!(r#"{{"success":true,"status":"relayed"{request}}}"#);
        self.event.ack().send_raw(&answer, &[]);
    }

    fn pending(&self, room: &str) -> Pending {
        Pending {
            socket: self.socket.clone(),
            who: Rc::clone(&self.who),
            ack: Some(self.event.ack()),
            room: Arc::from(room),
            space: self.space,
        }
    }

    fn permits(&self, room: &str, verb: Verb) -> bool {
        let closed = || rules::is_closed_room(self.gateway.settings.namespace(self.space), room);
        self.gateway.settings.permits(self.space, &self.who.user, room, verb)
            || self.who.bearer().is_some_and(|bearer| bearer.permits(room, verb) && !closed())
    }

    fn touch(&self, room: &str) {
        let now_ms = self.socket.io().unix_ms();
        self.gateway.local.borrow_mut().touch(self.space, room, now_ms);
    }
}

fn ai_request(call: &Call<'_>) -> Result<(), VerbError> {
    let fields = call.read(Payload::AiRequest)?;
    call.check_own(&fields)?;
    let (args, request) = (call.with_user(&fields), fields.raw("requestId"));
    call.relay(&call.who.user_room(), "ai_request", &args);
    if let Some(route) = backend::route_of(call.gateway, call.space, "ai_request") {
        let from = (call.space, &call.who);
        return backend::route(call.gateway, from, call.event, (route, &args), request);
    }
    call.relayed(request);
    Ok(())
}

/// An event that the gateway does not know goes where a route says, or nowhere.
fn other(call: &Call<'_>) -> Result<(), VerbError> {
    let event = call.event;
    let Some(route) = backend::route_of(call.gateway, call.space, event.name()) else {
        call.socket.io().count(|counters| counters.events_unknown += 1);
        return Err(VerbError::UnknownEvent);
    };
    let request = schema::member_of(event.raw_args(), "requestId");
    let from = (call.space, &call.who);
    backend::route(call.gateway, from, event, (route, event.raw_args()), request)
}

fn status_update(call: &Call<'_>) -> Result<(), VerbError> {
    let fields = call.read(Payload::StatusUpdate)?;
    call.check_own(&fields)?;
    let room = call.who.session_room().ok_or(VerbError::Forbidden)?;
    call.relay(&room, "status_update", &call.with_user(&fields));
    call.touch(&room);
    call.relayed(None);
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "it stands in the table of handlers")]
fn ping(call: &Call<'_>) -> Result<(), VerbError> {
    #[derive(Serialize)]
    struct Pong {
        timestamp: u64,
    }
    let timestamp = call.socket.io().unix_ms();
    call.socket.emit("pong", &Pong { timestamp });
    let answer = format!(r#"{{"success":true,"status":"accepted","timestamp":{timestamp}}}"#);
    call.event.ack().send_raw(&answer, &[]);
    Ok(())
}

fn room_join(call: &Call<'_>) -> Result<(), VerbError> {
    let fields = call.read(Payload::RoomName)?;
    let room = fields.text("roomId");
    if !call.permits(&room, Verb::Join) {
        return Err(VerbError::Forbidden);
    }
    membership::join(call.gateway, &call.socket.io(), call.pending(&room))
}

/// Whoever is in a room may leave it, even if it was put there by REST; others learn nothing of a
/// room that they could not join. The gateway's own rooms cannot be left.
fn room_leave(call: &Call<'_>) -> Result<(), VerbError> {
    let fields = call.read(Payload::RoomName)?;
    let room = fields.text("roomId");
    let closed = rules::is_closed_room(call.gateway.settings.namespace(call.space), &room);
    if closed || !(call.socket.is_in(&room) || call.permits(&room, Verb::Join)) {
        return Err(VerbError::Forbidden);
    }
    membership::leave(call.gateway, &call.socket.io(), call.pending(&room));
    Ok(())
}

fn room_message(call: &Call<'_>) -> Result<(), VerbError> {
    let fields = call.read(Payload::RoomMessage)?;
    let (room, event) = (fields.text("roomId"), fields.text("event"));
    if rules::is_own_event(&event) || !call.permits(&room, Verb::Publish) {
        return Err(VerbError::Forbidden);
    }
    call.relay(&room, &event, fields.raw("data").unwrap_or("null"));
    call.touch(&room);
    call.relayed(None);
    Ok(())
}

/// A new token for a connection that stays; without tokens it is an event like any other.
fn auth_refresh(call: &Call<'_>) -> Result<(), VerbError> {
    let Some(gate) = &call.gateway.settings.tokens else { return other(call) };
    let (event, from) = (call.event, (call.socket, &call.who));
    let begun =
        tokens::refresh(call.gateway, gate, call.space, from, event.raw_args(), event.ack());
    if begun.is_err() {
        // Who goes on asking meanwhile does too much, as with any event.
        match &call.gateway.settings.fair {
            Some(fair) => fair.refused(call.socket, &call.who),
            None => call.socket.io().count(|counters| counters.events_limited += 1),
        }
    }
    begun
}
