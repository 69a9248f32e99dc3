//! Sockets put into rooms, taken out of them, and sent away.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::Gateway;
use super::super::error::{Done, VerbError};
use super::super::membership::{self, Changed, Wish};
use super::target::{Aim, To};
use super::unless_overloaded;
use crate::api::{Io, TargetVerb};
use crate::base::{CoreId, rfc3339};

/// The commands `join` and `leave`.
#[derive(Clone, Debug, Deserialize)]
pub struct RoomsRequest {
    /// Whose sockets.
    pub to: To,
    /// The rooms.
    pub rooms: Vec<String>,
}

/// Puts all sockets that are meant into a room, or takes them out.
pub fn change(io: &Io, aim: Aim, room: &str, joins: bool, done: Done<Changed>) {
    let Some(done) = unless_overloaded(io, done) else {
        return;
    };
    let Some((gateway, space)) = Gateway::space_of(io, &aim.namespace) else {
        return done(Err(VerbError::NamespaceNotFound));
    };
    let wish = Wish { space, target: Arc::new(aim.target), room: room.into(), joins };
    membership::change(&gateway, io, wish, done);
}

/// How clients are sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Mode {
    /// Their connections close; they come back.
    Reconnect,
    /// They are told to leave the namespace; they stay away until their program connects again.
    Terminal,
}

/// The command `disconnect`.
#[derive(Clone, Debug, Deserialize)]
pub struct DisconnectRequest {
    to: To,
    mode: Mode,
    #[serde(default)]
    reason: Option<String>,
}

/// Who is sent away, and how.
#[derive(Clone, Debug)]
pub struct Dismissal {
    /// Whose sockets.
    pub aim: Aim,
    mode: Mode,
    reason: Option<String>,
}

impl DisconnectRequest {
    /// What is to be done.
    ///
    /// # Errors
    /// Nobody is meant.
    pub fn dismissal(self) -> Result<Dismissal, VerbError> {
        let Self { to, mode, reason } = self;
        Ok(Dismissal { aim: to.aim()?, mode, reason })
    }
}

/// What a client hears before it is sent away, if there is a reason to tell.
#[derive(Serialize)]
struct Why<'a> {
    code: &'static str,
    message: &'a str,
    timestamp: String,
}

/// Sends clients away; `done` hears how many are meant, and whether a core did not say. Many go one
/// slice after the other, the last of them after `done` has heard.
pub fn disconnect(io: &Io, dismissal: &Dismissal, done: Done<(u64, bool)>) {
    let Some(done) = unless_overloaded(io, done) else {
        return;
    };
    let Dismissal { aim, mode, reason } = dismissal;
    if Gateway::space_of(io, &aim.namespace).is_none() {
        return done(Err(VerbError::NamespaceNotFound));
    }
    let sockets = || io.of(&aim.namespace).target(aim.target.clone());
    if let Some(message) = reason {
        let timestamp = rfc3339(io.unix_ms());
        sockets().emit("error", &Why { code: "DISCONNECTED", message, timestamp });
    }
    // First, so that they are counted while they are there.
    sockets().apply(&TargetVerb::Count, |found| done(Ok((found.count, found.partial))));
    let (aim, mode) = (Arc::new(aim.clone()), *mode);
    if mode == Mode::Terminal {
        // Nor does a session go on whose client is away just now.
        let (target, verb) =
            (Arc::new(aim.target.clone()), TargetVerb::Disconnect { close: false });
        io.strike(&aim.namespace, &target, &verb);
    }
    for core in (0..io.cores()).map(CoreId::from_index) {
        let aim = Arc::clone(&aim);
        io.run_on(core, move |io| {
            let sockets = io.select_here(&aim.namespace, &aim.target);
            membership::in_slices(io, membership::keys_of(&sockets), move |_, sockets, _| {
                for socket in sockets {
                    match mode {
                        Mode::Reconnect => socket.close_transport(),
                        Mode::Terminal => socket.disconnect(false),
                    }
                }
            });
        });
    }
}
