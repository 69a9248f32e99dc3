//! Tokens: who a client is by what it was given, for how long, and what it may do besides.
//!
//! Tokens with a shared secret are verified here; all others leave the core through
//! [`Backends::verify`](super::backend::Backends::verify) and their claims come back as an errand.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;

use super::backend::{AWAITED_MAX, Busy, GRACE_MS, Ticket};
use super::error::VerbError;
use super::identity::{self, Identity};
use super::{Gateway, events, membership, rules, schema};
use crate::api::{Ack, Ending, Io, Socket, promise};
use crate::auth::{self, Claims, Deed, KeySet, Revoke, TOKEN_BYTES_MAX, TokenError, TokenRules};
use crate::base::Key;
use crate::config::Verb;

/// How tokens are verified; one value a process.
#[derive(Clone, Debug, Default)]
pub struct TokenGate {
    /// Keys of the configuration. Only those with a shared secret are used here.
    pub keys: KeySet,
    /// What must be so of every token.
    pub rules: TokenRules,
    /// Tokens say nothing by themselves: somebody is asked about each.
    pub is_opaque: bool,
    /// A token may stand in the query.
    pub in_query: bool,
}

/// A token that cannot be verified on a worker.
#[derive(Clone)]
pub struct TokenRequest {
    /// The token; at most 8 KiB.
    pub token: String,
    /// Its bearer is in already, and can wait longer than those at the door.
    pub is_refresh: bool,
    /// Where its claims are waited for.
    pub ticket: Ticket,
}

impl std::fmt::Debug for TokenRequest {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("TokenRequest").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

/// How long the verification of one token may take that needs an identity provider, which has so
/// long for each answer: what an issuer says of itself, its keys, and both once more.
#[must_use]
pub const fn verdict_timeout_ms(idp_timeout_ms: u64) -> u64 {
    idp_timeout_ms.saturating_mul(4)
}

/// What somebody verified a token to say.
pub type TokenVerdict = Result<Box<Claims>, TokenError>;

/// Tells a core what a token says. Run it on the ticket's core.
pub fn settle_token(io: &Io, ticket: Ticket, verdict: TokenVerdict) {
    let Some(gateway) = io.state::<Gateway>() else { return };
    let asked = gateway.local.borrow_mut().tokens.remove(ticket.key);
    if let Some(asked) = asked {
        asked.resolve(verdict);
    }
}

/// What is kept of a socket's token.
#[derive(Debug)]
pub(super) struct Bearer {
    pub(super) claims: Claims,
    /// When it is next looked at, milliseconds since the epoch; `u64::MAX` is never.
    due_ms: Cell<u64>,
}

/// Whether what a socket comes in with was taken back while somebody was asked about it.
pub(super) fn is_revoked(gateway: &Gateway, io: &Io, who: &Identity) -> bool {
    let Some(bearer) = who.bearer() else { return false };
    let (id, issued) = (bearer.claims.token_id.as_deref(), bearer.claims.issued_unix_ms);
    gateway.local.borrow().revoked.holds(&who.user, id, issued, io.unix_ms())
}

/// A socket came in with these.
pub(super) fn bear(who: &Identity, claims: Claims) {
    who.bear(Bearer::new(claims));
}

/// How long before its end a token's bearer is told.
const WARNING_MS: u64 = 30_000;

impl Bearer {
    fn new(mut claims: Claims) -> Rc<Self> {
        // What the identity holds, and what has been judged, is not kept twice.
        claims.user = String::new();
        claims.session = None;
        claims.issuer = None;
        claims.audience = Vec::new();
        Rc::new(Self { claims, due_ms: Cell::new(u64::MAX) })
    }

    /// Whether its token permits something in a room.
    pub(super) fn permits(&self, room: &str, verb: Verb) -> bool {
        let deed = match verb {
            Verb::Join => Deed::Join,
            Verb::Publish => Deed::Emit,
        };
        self.claims.grants.permits(room, deed)
    }

    /// Whether its token is among those taken back.
    pub(super) fn is_any_of(&self, user: &str, what: &Revoke) -> bool {
        what.takes(user, self.claims.token_id.as_deref(), self.claims.issued_unix_ms)
    }

    fn may_be_in(&self, room: &str) -> bool {
        self.permits(room, Verb::Join) || self.claims.rooms.iter().any(|one| one == room)
    }
}

/// The token that a socket came with.
pub(super) fn token_of(gate: &TokenGate, socket: &Socket) -> Option<String> {
    let auth = socket.raw_auth();
    // Rule: JavaScript, JSON.parse: the last of two members of one name counts.
    if let Some(raw) = schema::member_of(&auth, "token").filter(|raw| *raw != "null") {
        // What is no text is no token, and none beside it counts.
        return Some(schema::text_of(raw).map(Into::into).unwrap_or_default());
    }
    let handshake = socket.handshake()?;
    if let Some(value) = handshake.header("authorization")
        && let Some((scheme, token)) = value.split_once(' ')
        && scheme.eq_ignore_ascii_case("bearer")
    {
        return Some(token.trim().to_owned());
    }
    let by_query = gate.in_query.then(|| handshake.query());
    by_query.and_then(|query| query.get("access_token").map(str::to_owned))
}

/// What can be said of a token here; `None` if somebody must be asked.
fn look(gate: &TokenGate, token: &str, now_ms: u64) -> Option<Result<Claims, TokenError>> {
    if gate.is_opaque {
        return match token.len() {
            0 => Some(Err(TokenError::Missing)),
            1..=TOKEN_BYTES_MAX => None,
            _ => Some(Err(TokenError::TooLarge)),
        };
    }
    match auth::header(token) {
        Ok(header) if header.is_cheap() => {
            Some(auth::verify(token, &gate.keys, &gate.rules, now_ms))
        }
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    }
}

/// What a token says by the word of somebody else.
async fn claims_from_elsewhere(
    gateway: &Gateway,
    io: &Io,
    token: String,
    is_refresh: bool,
) -> Result<Claims, TokenError> {
    let Some(backends) = &gateway.settings.backends else { return Err(TokenError::Unavailable) };
    let (resolver, verdict) = promise();
    let key = {
        let mut local = gateway.local.borrow_mut();
        if local.tokens.len() >= AWAITED_MAX {
            return Err(TokenError::Unavailable);
        }
        let due_ms = io.unix_ms() + gateway.settings.token_timeout_ms + GRACE_MS;
        local.tokens.insert(due_ms, resolver)
    };
    let ticket = Ticket { core: io.core(), key };
    if let Err(Busy) = backends.verify(TokenRequest { token, is_refresh, ticket }) {
        gateway.local.borrow_mut().tokens.remove(key);
        return Err(TokenError::Unavailable);
    }
    verdict.await.unwrap_or(Err(TokenError::Unavailable)).map(|claims| *claims)
}

/// Whether what is proven may be used here and now.
fn judge(gateway: &Gateway, io: &Io, space: u16, claims: &Claims) -> Result<(), TokenError> {
    if !claims.grants.permits_namespace(gateway.settings.namespace(space)) {
        return Err(TokenError::NamespaceNotGranted);
    }
    let (user, id) = (claims.user.as_str(), claims.token_id.as_deref());
    let local = gateway.local.borrow();
    if local.revoked.holds(user, id, claims.issued_unix_ms, io.unix_ms()) {
        return Err(TokenError::Revoked);
    }
    Ok(())
}

/// Who a socket is by its token, and the rooms that the token puts it into.
pub(super) async fn identify(
    gateway: &Gateway,
    gate: &TokenGate,
    socket: &Socket,
    space: u16,
) -> Result<(Rc<Identity>, Vec<String>), TokenError> {
    let io = socket.io();
    let token = token_of(gate, socket).ok_or(TokenError::Missing)?;
    let claims = match look(gate, &token, io.unix_ms()) {
        Some(verdict) => verdict?,
        None => claims_from_elsewhere(gateway, &io, token, false).await?,
    };
    judge(gateway, &io, space, &claims)?;
    let session = claims.session.as_deref();
    if !identity::agrees(&socket.raw_auth(), &claims.user, session) {
        return Err(TokenError::IdentityMismatch);
    }
    let who = Rc::new(Identity::new(claims.user.as_str().into(), session.map(Arc::from)));
    let rooms = claims.rooms.clone();
    who.bear(Bearer::new(claims));
    Ok((who, rooms))
}

/// A socket with a token has come in: its end is noted.
pub(super) fn note_end(gateway: &Gateway, socket: Key, who: &Identity) {
    let Some(bearer) = who.bearer() else { return };
    if let Some(end) = bearer.claims.end_unix_ms() {
        schedule(gateway, socket, &bearer, end.saturating_sub(WARNING_MS));
    }
}

fn schedule(gateway: &Gateway, socket: Key, bearer: &Bearer, due_ms: u64) {
    bearer.due_ms.set(due_ms);
    gateway.local.borrow_mut().expiries.insert((due_ms, socket));
}

/// A socket is gone, or has another token.
pub(super) fn forget_end(gateway: &Gateway, socket: Key, who: &Identity) {
    if let Some(bearer) = who.bearer() {
        gateway.local.borrow_mut().expiries.remove(&(bearer.due_ms.get(), socket));
    }
}

/// Tells bearers whose token ends soon, and ends connections whose token has.
pub(super) fn sweep(gateway: &Gateway, io: &Io) {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Expiring {
        in_ms: u64,
    }
    let now_ms = io.unix_ms();
    let leeway_ms = gateway.settings.tokens.as_ref().map_or(0, |gate| gate.rules.leeway_ms);
    let due: Vec<Key> = {
        let mut local = gateway.local.borrow_mut();
        let later = local.expiries.split_off(&(now_ms + 1, Key::from_u64(0)));
        let due = std::mem::replace(&mut local.expiries, later);
        due.into_iter().map(|(_, key)| key).collect()
    };
    for key in due {
        let socket = io.socket(key);
        let Some(who) = socket.data::<Identity>() else { continue };
        let Some(bearer) = who.bearer() else { continue };
        let Some(end) = bearer.claims.end_unix_ms() else { continue };
        // As a client that comes in is judged: clocks may be apart.
        if now_ms >= end + leeway_ms {
            io.count(|counters| counters.tokens_expired += 1);
            socket.close_as(Ending::TokenExpired);
            continue;
        }
        if bearer.due_ms.get() < end {
            socket.emit("auth_expiring", &Expiring { in_ms: end.saturating_sub(now_ms) });
        }
        schedule(gateway, key, &bearer, end + leeway_ms);
    }
}

/// A socket whose new token is being judged; no longer once this goes, however that ends.
struct Refreshing(Rc<Identity>);

impl Refreshing {
    fn begin(who: &Rc<Identity>) -> Self {
        who.set_refreshing(true);
        Self(Rc::clone(who))
    }
}

impl Drop for Refreshing {
    fn drop(&mut self) {
        self.0.set_refreshing(false);
    }
}

/// A client brings a new token for a connection that stays. Of a socket one is judged at a time:
/// others have a claim on those who judge, too.
pub(super) fn refresh(
    gateway: &Rc<Gateway>,
    gate: &TokenGate,
    space: u16,
    (socket, who): (&Socket, &Rc<Identity>),
    args: &str,
    ack: Ack,
) -> Result<(), VerbError> {
    if who.is_refreshing() {
        return Err(VerbError::TooManyPending);
    }
    let raw = schema::member_of(args, "token");
    let token = raw.and_then(schema::text_of).map(String::from).unwrap_or_default();
    let io = socket.io();
    if let Some(verdict) = look(gate, &token, io.unix_ms()) {
        answer_refresh(gateway, space, (socket, who), verdict, ack);
        return Ok(());
    }
    let (gateway, waiting, refreshing) =
        (Rc::clone(gateway), socket.clone(), Refreshing::begin(who));
    socket.spawn(Box::pin(async move {
        let claims = claims_from_elsewhere(&gateway, &io, token, true).await;
        if waiting.is_connected() {
            answer_refresh(&gateway, space, (&waiting, &refreshing.0), claims, ack);
        }
    }));
    Ok(())
}

fn answer_refresh(
    gateway: &Gateway,
    space: u16,
    (socket, who): (&Socket, &Rc<Identity>),
    claims: Result<Claims, TokenError>,
    ack: Ack,
) {
    match claims.and_then(|claims| replace(gateway, space, socket, who, claims)) {
        Ok(()) => {
            socket.io().count(|counters| counters.tokens_refreshed += 1);
            ack.send_raw(r#"{"success":true,"status":"accepted"}"#, &[]);
        }
        Err(error) => {
            socket.io().count(|counters| counters.tokens_refused += 1);
            socket.log_refused(error.message());
            events::refuse(socket, who, Some(ack), &VerbError::Token(error));
        }
    }
}

/// Puts a new token in the place of the old one, and takes the socket out of rooms that only the
/// old one opened.
fn replace(
    gateway: &Gateway,
    space: u16,
    socket: &Socket,
    who: &Rc<Identity>,
    claims: Claims,
) -> Result<(), TokenError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Lost<'a> {
        room_id: &'a str,
    }
    let io = socket.io();
    judge(gateway, &io, space, &claims)?;
    let same_session =
        claims.session.is_none() || claims.session.as_deref() == who.session.as_deref();
    if *claims.user != *who.user || !same_session {
        return Err(TokenError::IdentityMismatch);
    }
    let (old, new) = (who.bearer(), Bearer::new(claims));
    forget_end(gateway, socket.key(), who);
    who.bear(Rc::clone(&new));
    note_end(gateway, socket.key(), who);
    let namespace = gateway.settings.namespace(space);
    let ruled = |room: &str| gateway.settings.permits(space, &who.user, room, Verb::Join);
    for room in socket.rooms() {
        let was_opened = old.as_ref().is_some_and(|old| old.may_be_in(&room));
        let own = rules::is_closed_room(namespace, &room);
        if was_opened && !own && !new.may_be_in(&room) && !ruled(&room) {
            membership::put(gateway, space, (socket, who), &room, false);
            socket.emit("room_revoked", &Lost { room_id: &room });
        }
    }
    for room in &new.claims.rooms {
        membership::put(gateway, space, (socket, who), room, true);
    }
    Ok(())
}
