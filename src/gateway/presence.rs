//! Users who come and go, as their keeper hears of it and tells the rooms configured.

use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;

use super::identity::Identity;
use super::{Gateway, on};
use crate::api::Io;

/// The payload of `connection` and `disconnection`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Presence<'a> {
    user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// Tells the user's keeper of a socket that joined.
pub(super) fn tell_up(gateway: &Gateway, io: &Io, space: u16, who: &Identity) {
    let (user, session) = (Arc::clone(&who.user), who.session.clone());
    on(io, gateway.home(&user), move |gateway, io| {
        let first = gateway.space(space).borrow_mut().user_up(Arc::clone(&user), io.unix_ms());
        if first {
            let presence =
                Presence { user_id: &user, session_id: session.as_deref(), reason: None };
            announce(gateway, io, space, "connection", &presence);
        }
    });
}

/// Tells the user's keeper of a socket that is gone.
pub(super) fn tell_down(
    gateway: &Gateway,
    io: &Io,
    space: u16,
    who: &Identity,
    reason: &'static str,
) {
    let (user, session) = (Arc::clone(&who.user), who.session.clone());
    on(io, gateway.home(&user), move |gateway, io| {
        let last = gateway.space(space).borrow_mut().user_down(&user, io.unix_ms());
        if last {
            let presence =
                Presence { user_id: &user, session_id: session.as_deref(), reason: Some(reason) };
            announce(gateway, io, space, "disconnection", &presence);
        }
    });
}

fn announce(gateway: &Rc<Gateway>, io: &Io, space: u16, event: &str, presence: &Presence<'_>) {
    let rooms = &gateway.settings.presence_rooms;
    // No room at all would be everybody.
    if !rooms.is_empty() {
        io.of(gateway.settings.namespace(space)).to_all(rooms).emit(event, presence);
    }
}
