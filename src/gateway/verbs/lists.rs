//! Lists in pages: they go from core to core, a slice at a time, so that no worker with clients
//! to serve looks up much in one go.

use super::super::error::{Done, VerbError};
use super::super::identity::{self, Identity};
use super::super::schema::Fault;
use super::super::views::{ConnectedView, RoomView, SocketView, UserView};
use super::super::{Gateway, ROOT};
use crate::api::{Io, Socket};
use crate::base::{CoreId, rfc3339};

/// Entries of a page, unless said otherwise.
pub const PAGE_DEFAULT: usize = 1_000;
/// Entries of the longest page.
pub const PAGE_MAX: usize = 10_000;
/// Entries that one core looks up in one go while it has clients to serve.
const SLICE: usize = 256;

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
        Self::of(limit, cursor, cores)
    }

    /// A page of so many entries, at most [`PAGE_MAX`].
    ///
    /// # Errors
    /// [`VerbError::Invalid`]: the cursor is none.
    pub fn of(limit: usize, cursor: Option<&str>, cores: usize) -> Result<Self, VerbError> {
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

/// Which entries of a list are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The namespace; `/` if absent.
    pub namespace: Option<String>,
    /// What the room's or the user's name begins with; empty is any.
    pub prefix: String,
    /// One user only.
    pub user: Option<String>,
    /// The rooms of users and sessions too.
    pub auto: bool,
}

impl Filter {
    fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("/")
    }

    /// The sockets of this core that are wanted, and where the next page begins.
    fn sockets_here(
        &self,
        io: &Io,
        after: Option<u32>,
        limit: usize,
    ) -> (Vec<Socket>, Option<u32>) {
        let (mut sockets, next) = match &self.user {
            None => io.page_here(self.namespace(), after, limit),
            Some(user) => page_of_user(io, self.namespace(), user, after, limit),
        };
        if !self.prefix.is_empty() {
            sockets.retain(|socket| {
                socket.data::<Identity>().is_some_and(|who| who.user.starts_with(&*self.prefix))
            });
        }
        (sockets, next)
    }
}

/// The sockets of this core, of one user if asked for, and where the next page begins.
#[must_use]
pub fn users_here(
    io: &Io,
    after: Option<u32>,
    limit: usize,
    user: Option<&str>,
) -> (Vec<UserView>, Option<u32>) {
    let filter = Filter { user: user.map(str::to_owned), ..Filter::default() };
    let (sockets, next) = filter.sockets_here(io, after, limit);
    (sockets.iter().filter_map(|socket| user_view(io, socket)).collect(), next)
}

fn page_of_user(
    io: &Io,
    namespace: &str,
    user: &str,
    after: Option<u32>,
    limit: usize,
) -> (Vec<Socket>, Option<u32>) {
    let mut found = identity::sockets_here(io, namespace, user);
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

fn socket_view(io: &Io, socket: &Socket) -> Option<SocketView> {
    let UserView { id, socket_id, session_id, connected_at, last_activity } =
        user_view(io, socket)?;
    Some(SocketView {
        socket_id,
        user_id: id,
        session_id,
        namespace: socket.namespace().to_string(),
        transport: socket.transport().to_owned(),
        connected_at,
        last_activity,
    })
}

/// The rooms of `/` that this core keeps, and where the next page begins. With `auto` also those
/// of users and sessions.
#[must_use]
pub fn rooms_here(
    io: &Io,
    after: Option<u32>,
    limit: usize,
    auto: bool,
) -> (Vec<RoomView>, Option<u32>) {
    let gateway = io.state::<Gateway>();
    let page =
        |gateway: std::rc::Rc<Gateway>| gateway.space(ROOT).borrow().page(after, limit, auto, "");
    gateway.map_or_else(|| (Vec::new(), None), page)
}

/// The sockets of all cores in `/`, of one user if asked for.
pub fn users(io: &Io, page: Page, user: Option<String>, done: Done<Paged<UserView>>) {
    let here = move |io: &Io, after, limit| users_here(io, after, limit, user.as_deref());
    walk(io, page, Vec::new(), here, done);
}

/// The sockets of all cores that are wanted.
pub fn sockets(io: &Io, page: Page, filter: Filter, done: Done<Paged<SocketView>>) {
    if Gateway::space_of(io, filter.namespace()).is_none() {
        return done(Err(VerbError::NamespaceNotFound));
    }
    let here = move |io: &Io, after, limit| {
        let (sockets, next) = filter.sockets_here(io, after, limit);
        (sockets.iter().filter_map(|socket| socket_view(io, socket)).collect(), next)
    };
    walk(io, page, Vec::new(), here, done);
}

/// The rooms of all cores that are wanted.
pub fn rooms(io: &Io, page: Page, filter: Filter, done: Done<Paged<RoomView>>) {
    let Some((_, space)) = Gateway::space_of(io, filter.namespace()) else {
        return done(Err(VerbError::NamespaceNotFound));
    };
    let here = move |io: &Io, after, limit| {
        let gateway = io.state::<Gateway>().expect("every core has the same application");
        let space = gateway.space(space).borrow();
        space.page(after, limit, filter.auto, &filter.prefix)
    };
    walk(io, page, Vec::new(), here, done);
}

/// Whether users are there whose keeper this core is.
///
/// # Errors
/// The namespace is not served.
pub fn connected_here(
    io: &Io,
    namespace: &str,
    users: &[String],
) -> Result<Vec<ConnectedView>, VerbError> {
    let found = Gateway::space_of(io, namespace).ok_or(VerbError::NamespaceNotFound)?;
    let (gateway, space) = found;
    let space = gateway.space(space).borrow();
    let view = |user: &String| {
        let sockets = u64::from(space.sockets_of(user));
        ConnectedView { user_id: user.to_string(), connected: sockets > 0, sockets }
    };
    Ok(users.iter().map(view).collect())
}

/// Goes from core to core until the page is full, with other work between the slices.
fn walk<T, F>(io: &Io, page: Page, mut found: Vec<T>, here: F, done: Done<Paged<T>>)
where
    T: Send + 'static,
    F: Fn(&Io, Option<u32>, usize) -> (Vec<T>, Option<u32>) + Send + 'static,
{
    io.go_on(page.core, move |io| {
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
