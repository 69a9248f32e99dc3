//! What REST and the bridges may ask for. Each verb runs on a worker core, any one, and never
//! blocks it: the answer comes through its [`Done`], maybe from another core.
//!
//! Those of `/socket/…` are here and act in `/`; the commands of `/api/v1` are in the folder, and
//! the others are thin forms of them.

pub mod binary;
mod emit;
mod lists;
mod members;
mod revoke;
mod target;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::error::{Done, VerbError};
use super::identity::user_room;
use super::views::{ConnectedView, KeptView, MembershipView, RecipientsView, RoomView};
use super::{Gateway, ROOT, keeper, on};
use crate::api::Io;
use crate::base::CoreId;

pub use super::membership::Changed;
pub use emit::{
    ASK_TIMEOUT_MAX_MS, AskRequest, Emission, EmitRequest, Heard, Question, Reached, ask, emit,
    emit_some,
};
pub use lists::{
    Filter, PAGE_DEFAULT, PAGE_MAX, Page, Paged, connected_here, rooms, rooms_here, sockets, users,
    users_here,
};
pub use members::{DisconnectRequest, Dismissal, RoomsRequest, change, disconnect};
pub use revoke::{Revocation, RevokeRequest, RevokedView, revoke};
pub use target::{Aim, Names, To};

/// `POST /socket/rooms`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "runtime", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CreateRoom {
    /// The room.
    pub room_id: String,
    /// Its name for people.
    pub name: String,
}

/// `POST /socket/rooms/join` and `/leave`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "runtime", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Membership {
    /// The user, all of whose sockets are meant.
    pub user_id: String,
    /// The room.
    pub room_id: String,
}

/// `POST /socket/rooms/message`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "runtime", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RoomMessage {
    /// The room.
    pub room_id: String,
    /// The event.
    pub event: String,
    /// Its only argument; without it the event has none.
    #[cfg_attr(feature = "runtime", schema(value_type = Option<Object>))]
    #[serde(default, deserialize_with = "given")]
    pub data: Option<Box<RawValue>>,
}

/// `null` is something that was given.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

/// A whole number that was judged before, however it is written: JSON has one kind of number, and
/// `50.0` or `5e1` is 50. None of ours is beyond what a float holds exactly.
fn count<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let number = f64::deserialize(from)?;
    #[expect(clippy::cast_possible_truncation, reason = "it was judged as a whole number")]
    #[expect(clippy::cast_sign_loss, reason = "it was judged to be 0 at least")]
    let count = number as u64;
    Ok(count)
}

/// The same of a member that may be absent.
fn given_count<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    count(from).map(Some)
}

/// `POST /socket/notifications`: whose it is, and the body as it came, which is what clients get.
#[derive(Clone, Debug)]
pub struct Notification {
    /// The user.
    pub user_id: String,
    /// The whole object.
    pub body: Box<RawValue>,
}

impl<'de> Deserialize<'de> for Notification {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Whose {
            user_id: String,
        }
        let body = Box::<RawValue>::deserialize(from)?;
        let Whose { user_id } =
            serde_json::from_str(body.get()).map_err(serde::de::Error::custom)?;
        Ok(Self { user_id, body })
    }
}

/// The core that keeps a room.
#[must_use]
pub fn home_of_room(room: &str, cores: usize) -> CoreId {
    keeper::home(room, cores)
}

/// The core that keeps a user.
#[must_use]
pub fn home_of_user(user: &str, cores: usize) -> CoreId {
    keeper::home(user, cores)
}

/// The rooms with the most sockets among those this core keeps, the largest first.
#[must_use]
pub fn rooms_top_here(io: &Io, count: usize) -> Vec<(String, u64)> {
    let gateway = io.state::<Gateway>();
    gateway.map_or_else(Vec::new, |gateway| gateway.space(ROOT).borrow().top(count))
}

/// How much this core keeps.
#[must_use]
pub fn kept_here(io: &Io) -> KeptView {
    let Some(gateway) = io.state::<Gateway>() else {
        return KeptView::default();
    };
    let (rooms, users) = gateway.space(ROOT).borrow().sizes();
    KeptView { rooms: rooms as u64, users: users as u64 }
}

/// Whether a user is there.
pub fn user_connected(io: &Io, user: &str, done: Done<ConnectedView>) {
    let user_id = user.to_owned();
    on(io, home_of_user(user, io.cores()), move |gateway, _| {
        let sockets = u64::from(gateway.space(ROOT).borrow().sockets_of(&user_id));
        done(Ok(ConnectedView { user_id, connected: sockets > 0, sockets }));
    });
}

/// Makes a room; true if it was not there before.
pub fn create_room(io: &Io, request: CreateRoom, done: Done<(RoomView, bool)>) {
    let Some(done) = unless_overloaded(io, done) else {
        return;
    };
    on(io, home_of_room(&request.room_id, io.cores()), move |gateway, io| {
        let CreateRoom { room_id, name } = request;
        let made = gateway.space(ROOT).borrow_mut().create(&room_id, &name, io.unix_ms());
        done(made.map_err(|keeper::Full| VerbError::LimitReached));
    });
}

/// Puts all sockets of a user into a room.
pub fn join_user(io: &Io, request: &Membership, done: Done<MembershipView>) {
    change_user(io, request, true, done);
}

/// Takes all sockets of a user out of a room.
pub fn leave_user(io: &Io, request: &Membership, done: Done<MembershipView>) {
    change_user(io, request, false, done);
}

fn change_user(io: &Io, request: &Membership, joins: bool, done: Done<MembershipView>) {
    let Membership { user_id, room_id } = request.clone();
    let aim = Aim::room(&user_room(&user_id));
    let done: Done<Changed> = Box::new(move |told| {
        done(told.and_then(|changed| match (joins, changed.matched) {
            (true, 0) => Err(VerbError::UserNotConnected),
            _ => Ok(MembershipView { user_id, room_id, sockets: changed.done_for }),
        }));
    });
    members::change(io, aim, &request.room_id, joins, done);
}

/// Sends a notification to all sockets of a user.
pub fn notify(io: &Io, request: &Notification, done: Done<RecipientsView>) {
    emit(io, &request.emission(), recipients(done));
}

/// Sends an event to a room.
pub fn room_message(io: &Io, request: RoomMessage, done: Done<RecipientsView>) {
    emit(io, &request.emission(), recipients(done));
}

impl Notification {
    /// What is to be sent.
    #[must_use]
    pub fn emission(&self) -> Emission {
        let event = String::from("notification");
        Emission::to_room(&user_room(&self.user_id), event, self.body.get())
    }
}

impl RoomMessage {
    /// What is to be sent.
    #[must_use]
    pub fn emission(self) -> Emission {
        let data = self.data.as_deref().map_or("", RawValue::get);
        Emission::to_room(&self.room_id, self.event, data)
    }
}

fn recipients(done: Done<RecipientsView>) -> Done<Reached> {
    Box::new(move |told| {
        done(told.map(|reached| RecipientsView {
            recipients: reached.queued,
            partial: reached.partial,
        }));
    })
}

/// Hands `done` back unless it has been told that nothing more is taken on.
fn unless_overloaded<T>(io: &Io, done: Done<T>) -> Option<Done<T>> {
    if io.is_overloaded() {
        done(Err(VerbError::Overloaded));
        return None;
    }
    Some(done)
}
