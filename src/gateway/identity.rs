//! Who a socket belongs to.

use std::any::Any;
use std::cell::{Cell, OnceCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use super::error::VerbError;
use super::fair::{Seat, Used};
use super::schema::{self, Fault, name_fault};
use super::tokens::Bearer;
use crate::api::{Io, Refusal, Socket};
use crate::auth::Revoke;

/// Whose socket it is. One a socket; its texts are shared with the core that keeps the user.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) user: Arc<str>,
    pub(super) session: Option<Arc<str>>,
    /// How much back ends were told of it.
    seq: Cell<u64>,
    /// What only some sockets have, so that the others are no larger for it.
    extra: OnceCell<Box<Extra>>,
}

#[derive(Default)]
struct Extra {
    used: OnceCell<Used>,
    bearer: Cell<Option<Rc<Bearer>>>,
    seat: Cell<Option<Seat>>,
    is_refreshing: Cell<bool>,
}

impl fmt::Debug for Extra {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Extra").field("used", &self.used).finish_non_exhaustive()
    }
}

impl Identity {
    pub(super) fn new(user: Arc<str>, session: Option<Arc<str>>) -> Self {
        Self { user, session, seq: Cell::new(0), extra: OnceCell::new() }
    }

    /// The number of the next thing that back ends are told of it, from 1.
    pub(super) fn next_seq(&self) -> u64 {
        self.seq.set(self.seq.get() + 1);
        self.seq.get()
    }

    /// What it has used up of what is fair.
    pub(super) fn used(&self, first: impl FnOnce() -> Used) -> &Used {
        self.extra().used.get_or_init(first)
    }

    fn extra(&self) -> &Extra {
        self.extra.get_or_init(Box::default)
    }

    /// The token it came with, if any was asked for.
    pub(super) fn bearer(&self) -> Option<Rc<Bearer>> {
        let kept = &self.extra.get()?.bearer;
        let bearer = kept.take();
        kept.set(bearer.clone());
        bearer
    }

    /// It has another token now.
    pub(super) fn bear(&self, bearer: Rc<Bearer>) {
        self.extra().bearer.set(Some(bearer));
    }

    /// It is counted among the sockets of its user.
    pub(super) fn take_seat(&self, seat: Seat) {
        self.extra().seat.set(Some(seat));
    }

    /// It is counted no longer, whoever still holds this.
    pub(super) fn give_back_seat(&self) {
        if let Some(extra) = self.extra.get() {
            drop(extra.seat.take());
        }
    }

    /// Whether a new token of its is being judged.
    pub(super) fn is_refreshing(&self) -> bool {
        self.extra.get().is_some_and(|extra| extra.is_refreshing.get())
    }

    pub(super) fn set_refreshing(&self, is_refreshing: bool) {
        self.extra().is_refreshing.set(is_refreshing);
    }

    /// Whether it came with a token that is taken back.
    pub(super) fn bears_any_of(&self, what: &Revoke) -> bool {
        self.bearer().is_some_and(|bearer| bearer.is_any_of(&self.user, what))
    }

    /// The room of all the user's sockets.
    pub(super) fn user_room(&self) -> String {
        user_room(&self.user)
    }

    /// The room of the session's sockets.
    pub(super) fn session_room(&self) -> Option<String> {
        self.session.as_deref().map(session_room)
    }
}

/// Whose socket it is, by its state.
pub(super) fn user_of(data: &dyn Any) -> Option<Arc<str>> {
    data.downcast_ref::<Identity>().map(|who| Arc::clone(&who.user))
}

/// What must be the same for a client to take up its session again: the user, the session, and
/// what its token permits, so that nobody keeps a room by it that a new token does not open.
pub(super) fn likeness_of(data: &dyn Any) -> Option<Arc<str>> {
    let who = data.downcast_ref::<Identity>()?;
    let bearer = who.bearer();
    let token = bearer.as_ref().map(|bearer| (&bearer.claims.grants, &bearer.claims.rooms));
    Some(format!("{:?}", (&who.user, &who.session, token)).into())
}

/// The room of all sockets of a user.
pub(super) fn user_room(user: &str) -> String {
    format!("user:{user}")
}

/// The room of all sockets of a session.
pub(super) fn session_room(session: &str) -> String {
    format!("session:{session}")
}

/// The sockets of a user on this core. They are those of the user's room: no client gets into it
/// by another way, and whom REST puts there is somebody else.
pub(super) fn sockets_here(io: &Io, namespace: &str, user: &str) -> Vec<Socket> {
    let is_theirs = |socket: &Socket| {
        socket.data::<Identity>().is_some_and(|who: Rc<Identity>| *who.user == *user)
    };
    let mut sockets = io.members_here(namespace, &user_room(user));
    sockets.retain(is_theirs);
    sockets
}

/// Reads `userId` and `sessionId` from the auth payload, else from the query string.
pub(super) fn identify(socket: &Socket) -> Result<Rc<Identity>, Refusal> {
    let auth = socket.raw_auth();
    let mut found = from_auth(&auth)?;
    if found.iter().any(Option::is_none)
        && let Some(handshake) = socket.handshake()
    {
        let query = handshake.query();
        for (value, name) in found.iter_mut().zip(NAMES) {
            if value.is_none() {
                *value = query.get(name).map(Arc::from);
            }
        }
    }
    for value in &mut found {
        // Rule: contract, "Identity": without a `userId` means without a usable one.
        *value = value.take().filter(|id| !id.is_empty());
    }
    for (value, name) in found.iter().zip(NAMES) {
        if let Some(fault) = value.as_deref().and_then(name_fault) {
            return Err(invalid(name, fault));
        }
    }
    let [user, session] = found;
    let Some(user) = user else {
        return Err(refusal("userId is required", "AUTH_REQUIRED"));
    };
    Ok(Rc::new(Identity::new(user, session)))
}

const NAMES: [&str; 2] = ["userId", "sessionId"];

/// `null` counts as not given: that is what clients write who have none.
fn from_auth(auth: &str) -> Result<[Option<Arc<str>>; 2], Refusal> {
    let mut found = [None, None];
    let Some(pairs) = schema::pairs(auth) else {
        return Ok(found);
    };
    for (name, raw) in pairs {
        let Some(at) = NAMES.iter().position(|known| *known == name) else {
            continue;
        };
        // Rule: JavaScript, JSON.parse: the last of two members of one name counts.
        found[at] = match raw {
            "null" => None,
            _ => match schema::text_of(raw) {
                Some(text) => Some(Arc::from(&*text)),
                None => return Err(invalid(NAMES[at], Fault::NotText)),
            },
        };
    }
    Ok(found)
}

/// Whether what a client says of itself is what its token says. It may say nothing.
pub(super) fn agrees(auth: &str, user: &str, session: Option<&str>) -> bool {
    let Ok([said_user, said_session]) = from_auth(auth) else { return false };
    let same_user = said_user.is_none_or(|said| *said == *user);
    let same_session = said_session.is_none_or(|said| Some(&*said) == session);
    same_user && same_session
}

fn invalid(name: &str, fault: Fault) -> Refusal {
    refusal(&format!("{name} {fault}"), "VALIDATION_FAILED")
}

/// A refusal as clients know it: `{"message":…,"data":{"code":…}}`.
pub(super) fn refusal_of(error: &VerbError) -> Refusal {
    let mut data = serde_json::json!({ "code": error.code(), "retryable": error.retryable() });
    if let Some(wait_ms) = error.retry_after_ms() {
        data["retryAfterMs"] = wait_ms.into();
    }
    Refusal::new(error.message()).with_data(&data)
}

/// The same of a code alone.
pub(super) fn refusal(message: &str, code: &str) -> Refusal {
    Refusal::new(message).with_data(&serde_json::json!({ "code": code }))
}
