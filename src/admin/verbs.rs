//! The gateway's routes: which core is asked what, and how its answer is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::answer::{Failure, Reply};
use super::route::Call;
use super::state::Admin;
use crate::api::Io;
use crate::base::CoreId;
use crate::command::{Reply as Answer, ask};
use crate::gateway::schema::{Fault, NAME_BYTES_MAX};
use crate::gateway::verbs::{
    self, CreateRoom, Membership, Notification, Page, RoomMessage, home_of_room, home_of_user,
};
use crate::gateway::{Done, Payload, RecipientsView, VerbError, validate};

/// Rooms that statistics name.
const LARGEST_ROOMS: usize = 1_000;

impl From<VerbError> for Failure {
    fn from(error: VerbError) -> Self {
        let failure =
            Self::new(error.status(), error.code().to_owned(), sentence(&error.message()));
        match error.details() {
            [] => failure,
            details => failure.with_details(json!(details)),
        }
    }
}

/// The same words with a capital.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Asks a core for a verb and waits for what its `done` is told.
async fn verb<T: Send + 'static>(
    admin: &Admin,
    core: CoreId,
    verb: impl FnOnce(&Io, Done<T>) + Send + 'static,
) -> Result<T, Failure> {
    let question = move |io: &Io, answer: Answer<Result<T, VerbError>>| {
        verb(io, Box::new(move |told| answer.send(told)));
    };
    Ok(ask(&*admin.workers, core, question).await??)
}

/// The body as its type, if it has its shape. It is judged as a value and read from its bytes:
/// what is passed on is what was sent, to the last digit.
fn read<T: DeserializeOwned>(payload: Payload, body: &[u8]) -> Result<T, Failure> {
    let value: Value = serde_json::from_slice(body).map_err(|e| Failure::invalid_json(&e))?;
    let errors = validate(payload, &value);
    if !errors.is_empty() {
        return Err(VerbError::Invalid(errors).into());
    }
    // Only a member that stands there twice is left.
    serde_json::from_slice(body).map_err(|_| Failure::invalid("payload", "is ambiguous"))
}

fn check_name(member: &str, name: &str) -> Result<(), Failure> {
    let fault = if !(1..=NAME_BYTES_MAX).contains(&name.len()) {
        Fault::Length(NAME_BYTES_MAX)
    } else if name.chars().any(char::is_control) {
        Fault::Control
    } else {
        return Ok(());
    };
    Err(Failure::invalid(member, &fault.to_string()))
}

fn page(admin: &Admin, call: &Call) -> Result<Page, Failure> {
    let (limit, cursor) = (call.query.get("limit"), call.query.get("cursor"));
    Ok(Page::new(limit, cursor, admin.workers.cores())?)
}

/// `GET /socket/users`.
pub(super) async fn list_users(admin: Arc<Admin>, call: Call) -> Result<Reply, Failure> {
    let page = page(&admin, &call)?;
    let user = call.query.get("userId").map(str::to_owned);
    if let Some(user) = &user {
        check_name("userId", user)?;
    }
    let (first, _) = page.start();
    let found = verb(&admin, first, move |io, done| verbs::users(io, page, user, done)).await?;
    Reply::page("Connected users", &found.data, found.next_cursor.as_deref())
}

/// `GET /socket/users/{userId}/connected`.
pub(super) async fn connected(admin: Arc<Admin>, call: Call) -> Result<Reply, Failure> {
    let user = call.param("userId").to_owned();
    check_name("userId", &user)?;
    let home = home_of_user(&user, admin.workers.cores());
    let view = verb(&admin, home, move |io, done| verbs::user_connected(io, &user, done)).await?;
    let message =
        if view.connected { "The user is connected" } else { "The user is not connected" };
    Reply::data(message, &view)
}

/// `GET /socket/rooms`.
pub(super) async fn list_rooms(admin: Arc<Admin>, call: Call) -> Result<Reply, Failure> {
    let page = page(&admin, &call)?;
    let auto = match call.query.get("auto") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Failure::invalid("auto", &Fault::NotFlag.to_string())),
    };
    let (first, _) = page.start();
    let found = verb(&admin, first, move |io, done| verbs::rooms(io, page, auto, done)).await?;
    Reply::page("Rooms", &found.data, found.next_cursor.as_deref())
}

/// `POST /socket/rooms`.
pub(super) async fn create_room(admin: Arc<Admin>, call: Call) -> Result<Reply, Failure> {
    let request: CreateRoom = read(Payload::CreateRoom, &call.body)?;
    let home = home_of_room(&request.room_id, admin.workers.cores());
    let made = verb(&admin, home, move |io, done| verbs::create_room(io, request, done)).await?;
    match made {
        (room, true) => Reply::created("The room was created", &room),
        (room, false) => Reply::data("The room existed", &room),
    }
}

/// `POST /socket/rooms/join`.
pub(super) async fn join(admin: Arc<Admin>, call: Call) -> Result<Reply, Failure> {
    let request: Membership = read(Payload::Membership, &call.body)?;
    let home = home_of_user(&request.user_id, admin.workers.cores());
    let view = verb(&admin, home, move |io, done| verbs::join_user(io, &request, done)).await?;
    Reply::data("The user is in the room", &view)
}

/// `POST /socket/rooms/leave`.
pub(super) async fn leave(admin: Arc<Admin>, call: Call) -> Result<Reply, Failure> {
    let request: Membership = read(Payload::Membership, &call.body)?;
    let home = home_of_user(&request.user_id, admin.workers.cores());
    let view = verb(&admin, home, move |io, done| verbs::leave_user(io, &request, done)).await?;
    Reply::data("The user is not in the room", &view)
}

/// `POST /socket/notifications`.
pub(super) async fn notify(admin: Arc<Admin>, call: Call) -> Result<Reply, Failure> {
    let request: Notification = read(Payload::Notification, &call.body)?;
    let home = home_of_user(&request.user_id, admin.workers.cores());
    sent(verb(&admin, home, move |io, done| verbs::notify(io, &request, done)).await?)
}

/// `POST /socket/rooms/message`.
pub(super) async fn message(admin: Arc<Admin>, call: Call) -> Result<Reply, Failure> {
    let request: RoomMessage = read(Payload::SendToRoom, &call.body)?;
    let home = home_of_room(&request.room_id, admin.workers.cores());
    sent(verb(&admin, home, move |io, done| verbs::room_message(io, request, done)).await?)
}

fn sent(view: RecipientsView) -> Result<Reply, Failure> {
    let message = if view.recipients == 0 { "Nobody is there" } else { "Queued" };
    Reply::data(message, &view)
}

/// The largest rooms with their sockets, as far as cores answer. Each room is kept by one core,
/// so the largest of all are among the largest of each.
pub(super) async fn largest_rooms(admin: &Admin) -> BTreeMap<String, u64> {
    let kept = every_core(admin, |io| verbs::rooms_top_here(io, LARGEST_ROOMS)).await;
    let mut rooms: Vec<_> = kept.into_iter().flatten().collect();
    rooms.sort_unstable_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    rooms.truncate(LARGEST_ROOMS);
    rooms.into_iter().collect()
}

/// How many rooms and users there are, as far as cores answer.
pub(super) async fn kept(admin: &Admin) -> (u64, u64) {
    let kept = every_core(admin, verbs::kept_here).await;
    kept.iter().fold((0, 0), |(rooms, users), one| (rooms + one.rooms, users + one.users))
}

/// Asks all cores at once. Who does not answer is left out.
async fn every_core<T: Send + 'static>(admin: &Admin, look: fn(&Io) -> T) -> Vec<T> {
    let mut asked = JoinSet::new();
    for core in admin.cores() {
        let workers = Arc::clone(&admin.workers);
        asked.spawn(async move {
            ask(&*workers, core, move |io, answer: Answer<T>| answer.send(look(io))).await
        });
    }
    let mut answers = Vec::new();
    while let Some(answer) = asked.join_next().await {
        answers.extend(answer.ok().and_then(Result::ok));
    }
    answers
}
