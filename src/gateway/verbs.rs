//! What REST and the bridges may ask for. Each verb runs on a worker core, any one, and never
//! blocks it: the answer comes through its [`Done`], maybe from another core.
//!
//! All of them act in `/`.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::error::{Done, VerbError};
use super::identity::{self, Identity, user_room};
use super::schema::Fault;
use super::views::{ConnectedView, KeptView, MembershipView, RecipientsView, RoomView, UserView};
use super::{Gateway, ROOT, keeper, membership, on};
use crate::api::{Gathered, Io, Socket};
use crate::base::CoreId;
use crate::base::rfc3339;

/// Entries of a page, unless said otherwise.
pub const PAGE_DEFAULT: usize = 1_000;
/// Entries of the longest page.
pub const PAGE_MAX: usize = 10_000;
/// Entries that one core looks up in one go while it has clients to serve.
const SLICE: usize = 256;

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

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    limit: usize,
    core: CoreId,
    after: Option<u32>,
}

impl Page {
    /// Reads `limit` and `cursor` of a query; `cores` is [`Io::cores`].
    ///
    /// # Errors
    /// [`VerbError::Invalid`], naming the one that is wrong.
    pub fn new(limit: Option<&str>, cursor: Option<&str>, cores: usize) -> Result<Self, VerbError> {
        let bounds = Fault::NotNumber(1.0, 10_000.0);
        let limit = match limit {
            None => PAGE_DEFAULT,
            Some(text) => match text.parse() {
                Ok(limit @ 1..=PAGE_MAX) => limit,
                _ => return Err(VerbError::member("limit", bounds)),
            },
        };
        let Some(cursor) = cursor else {
            return Ok(Self { limit, core: CoreId(0), after: None });
        };
        let read = || {
            let (core, after) = cursor.split_once('.')?;
            let core: u8 = core.parse().ok().filter(|core| usize::from(*core) < cores)?;
            let after = if after.is_empty() { None } else { Some(after.parse().ok()?) };
            Some((CoreId(core), after))
        };
        let (core, after) = read().ok_or_else(|| VerbError::member("cursor", Fault::Cursor))?;
        Ok(Self { limit, core, after })
    }

    /// The core whose part comes first, and the entry after which it begins there.
    #[must_use]
    pub const fn start(&self) -> (CoreId, Option<u32>) {
        (self.core, self.after)
    }

    /// How many entries are wanted.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paged<T> {
    /// Its entries.
    pub data: Vec<T>,
    /// What the next page is asked for with; nothing follows if there is none.
    pub next_cursor: Option<String>,
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

/// The sockets of this core, of one user if asked for, and where the next page begins.
#[must_use]
pub fn users_here(
    io: &Io,
    after: Option<u32>,
    limit: usize,
    user: Option<&str>,
) -> (Vec<UserView>, Option<u32>) {
    let (sockets, next) = match user {
        None => io.page_here("/", after, limit),
        Some(user) => page_of_user(io, user, after, limit),
    };
    (sockets.iter().filter_map(|socket| user_view(io, socket)).collect(), next)
}

fn page_of_user(
    io: &Io,
    user: &str,
    after: Option<u32>,
    limit: usize,
) -> (Vec<Socket>, Option<u32>) {
    let mut found = identity::sockets_here(io, user);
    found.retain(|socket| after.is_none_or(|after| socket.key().slot() > after));
    found.sort_unstable_by_key(|socket| socket.key().slot());
    let more = found.len() > limit;
    found.truncate(limit);
    let next = if more { found.last().map(|socket| socket.key().slot()).or(after) } else { None };
    (found, next)
}

fn user_view(io: &Io, socket: &Socket) -> Option<UserView> {
    let who = socket.data::<Identity>()?;
    let info = io.socket_info(socket.key())?;
    Some(UserView {
        id: who.user.to_string(),
        socket_id: info.id,
        session_id: who.session.as_deref().map(str::to_owned),
        connected_at: rfc3339(info.connected_at_unix_ms),
        last_activity: rfc3339(info.last_activity_unix_ms),
    })
}

/// The rooms this core keeps, and where the next page begins. With `auto` also those of users
/// and sessions.
#[must_use]
pub fn rooms_here(
    io: &Io,
    after: Option<u32>,
    limit: usize,
    auto: bool,
) -> (Vec<RoomView>, Option<u32>) {
    let Some(gateway) = io.state::<Gateway>() else {
        return (Vec::new(), None);
    };
    let space = gateway.space(ROOT).borrow();
    space.page(after, limit, auto)
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

/// The sockets of all cores, of one user if asked for.
pub fn users(io: &Io, page: Page, user: Option<String>, done: Done<Paged<UserView>>) {
    let here = move |io: &Io, after, limit| users_here(io, after, limit, user.as_deref());
    walk(io, page, Vec::new(), here, done);
}

/// The rooms of all cores.
pub fn rooms(io: &Io, page: Page, auto: bool, done: Done<Paged<RoomView>>) {
    walk(io, page, Vec::new(), move |io, after, limit| rooms_here(io, after, limit, auto), done);
}

/// Goes from core to core until the page is full, with other work between the slices.
fn walk<T, F>(io: &Io, page: Page, mut found: Vec<T>, here: F, done: Done<Paged<T>>)
where
    T: Send + 'static,
    F: Fn(&Io, Option<u32>, usize) -> (Vec<T>, Option<u32>) + Send + 'static,
{
    io.run_on(page.core, move |io| {
        let (part, next) = here(io, page.after, SLICE.min(page.limit - found.len()));
        found.extend(part);
        let core = page.core.index() + usize::from(next.is_none());
        if core == io.cores() {
            return done(Ok(Paged { data: found, next_cursor: None }));
        }
        if found.len() < page.limit {
            let page = Page { core: CoreId::from_index(core), after: next, ..page };
            return walk(io, page, found, here, done);
        }
        let after = next.map_or(String::new(), |slot| slot.to_string());
        done(Ok(Paged { data: found, next_cursor: Some(format!("{core}.{after}")) }));
    });
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
    let Some(done) = unless_overloaded(io, done) else {
        return;
    };
    let Some(gateway) = io.state::<Gateway>() else {
        return;
    };
    membership::change_user(&gateway, io, &request.user_id, &request.room_id, joins, done);
}

/// Sends a notification to all sockets of a user.
pub fn notify(io: &Io, request: &Notification, done: Done<RecipientsView>) {
    let Some(done) = unless_overloaded(io, done) else {
        return;
    };
    let room = user_room(&request.user_id);
    io.to(&room).emit_counted("notification", request.body.get(), &[], recipients(done));
}

/// Sends an event to a room.
pub fn room_message(io: &Io, request: RoomMessage, done: Done<RecipientsView>) {
    let Some(done) = unless_overloaded(io, done) else {
        return;
    };
    let RoomMessage { room_id, event, data } = request;
    let data = data.as_deref().map_or("", RawValue::get);
    io.to(&room_id).emit_counted(&event, data, &[], recipients(done));
    on(io, home_of_room(&room_id, io.cores()), move |gateway, io| {
        gateway.space(ROOT).borrow_mut().touch(&room_id, io.unix_ms());
    });
}

fn recipients(done: Done<RecipientsView>) -> impl FnOnce(Gathered) {
    move |found| done(Ok(RecipientsView { recipients: found.count, partial: found.partial }))
}

/// Hands `done` back unless it has been told that nothing more is taken on.
fn unless_overloaded<T>(io: &Io, done: Done<T>) -> Option<Done<T>> {
    if io.is_overloaded() {
        done(Err(VerbError::Overloaded));
        return None;
    }
    Some(done)
}
