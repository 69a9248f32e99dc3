//! Taking tokens back: sockets that came with one go, and it lets nobody in any more.

use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::super::Gateway;
use super::super::error::{Done, VerbError};
use super::super::identity::Identity;
use super::super::schema::Fault;
use crate::api::{Ending, Io};
use crate::auth::Revoke;
use crate::base::CoreId;

/// `POST /api/v1/auth/revoke`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevokeRequest {
    /// One token, by its `jti`.
    pub token_id: Option<String>,
    /// Tokens of this user.
    pub user_id: Option<String>,
    /// Only tokens issued before this, seconds since the epoch.
    #[serde(default, deserialize_with = "super::given_count")]
    pub issued_before: Option<u64>,
    /// How long the tokens stay revoked, milliseconds; a day unless said otherwise.
    #[serde(default, deserialize_with = "super::given_count")]
    pub ttl_ms: Option<u64>,
    /// Whether sockets that came with one are closed; they are unless this is `false`.
    pub disconnect: Option<bool>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "runtime", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RevokedView {
    /// Sockets that were closed.
    pub disconnected: u64,
}

/// A request that makes sense.
#[derive(Clone, Debug)]
pub struct Revocation {
    what: Revoke,
    ttl_ms: u64,
    disconnect: bool,
}

/// How long tokens stay revoked.
const TTL_MS: u64 = 86_400_000;
/// Sockets that are looked at in one go while a core has clients to serve.
const SLICE: usize = 256;

impl RevokeRequest {
    /// What is meant.
    ///
    /// # Errors
    /// Nothing is, or two things are.
    pub fn revocation(self) -> Result<Revocation, VerbError> {
        let before_ms = self.issued_before.map(|seconds| seconds.saturating_mul(1_000));
        let what = match (self.token_id, self.user_id, before_ms) {
            (Some(id), None, None) => Revoke::Token(id),
            (None, Some(user), before) => Revoke::User(user, before),
            (None, None, Some(before)) => Revoke::Before(before),
            (None, None, None) => return Err(VerbError::member("tokenId", Fault::Missing)),
            (Some(_), ..) => return Err(VerbError::member("tokenId", Fault::NotBoth)),
        };
        let ttl_ms = self.ttl_ms.unwrap_or(TTL_MS);
        Ok(Revocation { what, ttl_ms, disconnect: self.disconnect.unwrap_or(true) })
    }
}

/// Where the walk over all cores, namespaces and sockets is.
struct Walk {
    revocation: Revocation,
    core: usize,
    space: usize,
    after: Option<u32>,
    closed: u64,
    done: Done<RevokedView>,
}

/// Takes tokens back on every core.
pub fn revoke(io: &Io, revocation: Revocation, done: Done<RevokedView>) {
    step(io, Walk { revocation, core: 0, space: 0, after: None, closed: 0, done });
}

fn step(io: &Io, walk: Walk) {
    io.go_on(CoreId::from_index(walk.core), move |io| {
        if let Some(gateway) = io.state::<Gateway>() {
            here(&gateway, io, walk);
        }
    });
}

fn here(gateway: &Rc<Gateway>, io: &Io, mut walk: Walk) {
    let now_ms = io.unix_ms();
    if walk.space == 0 && walk.after.is_none() {
        let until_ms = now_ms.saturating_add(walk.revocation.ttl_ms);
        let noted = gateway.local.borrow_mut().revoked.add(&walk.revocation.what, until_ms, now_ms);
        if noted.is_err() {
            return (walk.done)(Err(VerbError::LimitReached));
        }
    }
    let namespace = gateway.settings.namespaces.get(walk.space);
    let next = namespace.filter(|_| walk.revocation.disconnect).and_then(|name| {
        let (sockets, next) = io.page_here(name, walk.after, SLICE);
        for socket in sockets {
            let is_meant = socket
                .data::<Identity>()
                .is_some_and(|who| who.bears_any_of(&walk.revocation.what));
            if is_meant {
                io.count(|counters| counters.tokens_revoked += 1);
                socket.close_as(Ending::TokenRevoked);
                walk.closed += 1;
            }
        }
        next
    });
    walk.after = next;
    if next.is_none() {
        walk.space += 1;
    }
    if !walk.revocation.disconnect || walk.space >= gateway.settings.namespaces.len() {
        (walk.core, walk.space, walk.after) = (walk.core + 1, 0, None);
    }
    if walk.core >= gateway.cores {
        return (walk.done)(Ok(RevokedView { disconnected: walk.closed }));
    }
    step(io, walk);
}
