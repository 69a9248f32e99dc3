//! Who comes in, and as whom: what a client says of itself, what its token proves, what a back end
//! says of it. Each of them may refuse; where two are asked they must agree.

use std::rc::Rc;
use std::sync::Arc;

use super::backend::{self, Busy, Verdict};
use super::error::VerbError;
use super::identity::{Identity, identify, refusal, refusal_of};
use super::tokens::{self, TokenGate};
use super::{Gateway, membership};
use crate::api::{NamespaceBuilder, Refusal, Socket};
use crate::auth::TokenError;

/// Somebody who may come in, and rooms to join at once beside those of user and session.
type Guest = (Rc<Identity>, Vec<String>);

/// Guards a namespace. True if somebody is asked about each client, so that clients come in with
/// rooms that only this core knows of.
pub(super) fn guard(builder: &mut NamespaceBuilder, gateway: &Rc<Gateway>, space: u16) -> bool {
    let settings = &gateway.settings;
    let is_judged = settings.judged.iter().any(|name| name == settings.namespace(space));
    let (here, gate) = (Rc::clone(gateway), settings.tokens.clone());
    if gate.is_none() && !is_judged {
        builder.gate(move |socket| {
            if !here.settings.trusted {
                return Err(refusal("nobody vouches for clients here", "AUTH_REQUIRED"));
            }
            let_in(&here, socket, identify(socket)?, &[])
        });
        return false;
    }
    builder.gate_async(move |socket| {
        let (here, gate) = (Rc::clone(&here), gate.clone());
        async move {
            let mut guest = None;
            if let Some(gate) = &gate {
                guest = Some(by_token(&here, gate, &socket, space).await?);
            }
            if is_judged {
                guest = Some(by_back_end(&here, &socket, guest).await?);
            }
            let Some((who, rooms)) = guest else {
                return Err(refusal("nobody vouches for clients here", "AUTH_REQUIRED"));
            };
            let_in(&here, &socket, who, &rooms)
        }
    });
    true
}

/// Rooms of its own are joined before the client hears that it is in.
fn let_in(
    gateway: &Gateway,
    socket: &Socket,
    who: Rc<Identity>,
    rooms: &[String],
) -> Result<(), Refusal> {
    // Asking took its time; from here on nothing waits, and whoever revokes sees the socket.
    if tokens::is_revoked(gateway, &socket.io(), &who) {
        return Err(refusal_of(&VerbError::Token(TokenError::Revoked)));
    }
    if let Some(fair) = &gateway.settings.fair {
        let seat = fair.admit(&who.user, socket.io().held_us()).map_err(|error| {
            socket.io().count(|counters| counters.connects_limited += 1);
            refusal_of(&error)
        })?;
        if let Some(seat) = seat {
            who.take_seat(seat);
        }
    }
    let joined =
        membership::join_own_rooms(socket, &who) && rooms.iter().all(|room| socket.join(room));
    if !joined {
        return Err(refusal("the user's rooms cannot be joined", "LIMIT_REACHED"));
    }
    socket.forget_auth();
    socket.set_data(who);
    Ok(())
}

async fn by_token(
    gateway: &Gateway,
    gate: &TokenGate,
    socket: &Socket,
    space: u16,
) -> Result<Guest, Refusal> {
    let proven = tokens::identify(gateway, gate, socket, space).await;
    socket.io().count(|counters| match proven {
        Ok(_) => counters.tokens_taken += 1,
        Err(_) => counters.tokens_refused += 1,
    });
    proven.map_err(|error| refusal_of(&VerbError::Token(error)))
}

/// Asks a back end. Who came with a token stays who that says; the back end may add rooms.
async fn by_back_end(
    gateway: &Gateway,
    socket: &Socket,
    proven: Option<Guest>,
) -> Result<Guest, Refusal> {
    let refused = |message: &str, code: &str, retryable| {
        let data = serde_json::json!({ "code": code, "retryable": retryable });
        Refusal::new(message).with_data(&data)
    };
    match (backend::admission(gateway, socket).await, proven) {
        (Ok(Verdict::Admit(claims)), None) => {
            let who =
                Identity::new((*claims.user).into(), claims.session.as_deref().map(Arc::from));
            let rooms = claims.rooms.clone();
            tokens::bear(&who, *claims);
            Ok((Rc::new(who), rooms))
        }
        (Ok(Verdict::Admit(claims)), Some((who, mut rooms))) => {
            if *claims.user != *who.user {
                return Err(refusal_of(&VerbError::Token(TokenError::IdentityMismatch)));
            }
            rooms.extend(claims.rooms);
            Ok((who, rooms))
        }
        (Ok(Verdict::Refuse { message, code, retryable }), _) => {
            Err(refused(&message, &code, retryable))
        }
        (Ok(Verdict::Abstain), Some(proven)) => Ok(proven),
        (Ok(Verdict::Abstain), None) => Ok((identify(socket)?, Vec::new())),
        (Err(Busy), _) => Err(refused("too many wait to be let in", "HOOK_UNAVAILABLE", true)),
    }
}
