//! The gateway's routes: which core is asked what, and how its answer is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tokio::task::JoinSet;

use super::answer::{Failure, Reply};
use super::route::Call;
use super::state::Admin;
use crate::api::Io;
use crate::command::{Repeat, Reply as Answer, Verb, ask};
use crate::gateway::Payload;
use crate::gateway::schema::{Fault, NAME_BYTES_MAX, Want};
use crate::gateway::verbs::{self, Filter, Page, home_of_user};

/// Rooms that statistics name.
const LARGEST_ROOMS: usize = 1_000;

/// Does the command of a route and answers with whatever came of it.
pub(super) async fn command(admin: Arc<Admin>, call: Call, verb: Verb) -> Result<Reply, Failure> {
    let facts = verb.facts();
    let body = if facts.is_get { from_query(&call, facts.payload) } else { call.body };
    let key = call.idempotency_key.as_deref().map(|key| Repeat { whose: &call.caller, key });
    Ok(Reply::Json(admin.desk.run(verb, &body, key).await))
}

/// The query as the body that a command of the same verb would have. What cannot be read as what
/// it must be stays a text, and is refused by the table of shapes.
fn from_query(call: &Call, payload: Payload) -> Vec<u8> {
    let mut body = serde_json::Map::new();
    for member in payload.members() {
        let Some(text) = call.query.get(member.name) else { continue };
        let value = match member.want {
            Want::Count(..) => text.parse::<u64>().map_or_else(|_| text.into(), Value::from),
            Want::Flag => text.parse::<bool>().map_or_else(|_| text.into(), Value::from),
            _ => text.into(),
        };
        body.insert(member.name.to_owned(), value);
    }
    serde_json::to_vec(&body).unwrap_or_default()
}

pub(super) fn check_name(member: &str, name: &str) -> Result<(), Failure> {
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
    Ok(Page::new(limit, cursor, admin.workers().cores())?)
}

/// `GET /socket/users`.
pub(super) async fn list_users(admin: Arc<Admin>, call: Call) -> Result<Reply, Failure> {
    let page = page(&admin, &call)?;
    let user = call.query.get("userId").map(str::to_owned);
    if let Some(user) = &user {
        check_name("userId", user)?;
    }
    let (first, _) = page.start();
    let found = admin.desk.of(first, move |io, done| verbs::users(io, page, user, done)).await?;
    Reply::page("Connected users", &found.data, found.next_cursor.as_deref())
}

/// `GET /socket/users/{userId}/connected`.
pub(super) async fn connected(admin: Arc<Admin>, call: Call) -> Result<Reply, Failure> {
    let user = call.param("userId").to_owned();
    check_name("userId", &user)?;
    let home = home_of_user(&user, admin.workers().cores());
    let view = admin.desk.of(home, move |io, done| verbs::user_connected(io, &user, done)).await?;
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
    let filter = Filter { auto, ..Filter::default() };
    let (first, _) = page.start();
    let found = admin.desk.of(first, move |io, done| verbs::rooms(io, page, filter, done)).await?;
    Reply::page("Rooms", &found.data, found.next_cursor.as_deref())
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
        let workers = Arc::clone(admin.workers());
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
