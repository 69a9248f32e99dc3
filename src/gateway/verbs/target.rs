//! Whom a command is for: the one target object of all of them.

use serde::Deserialize;

use super::super::identity::{session_room, user_room};
use super::super::keeper;
use super::super::schema::Fault;
use super::VerbError;
use crate::api::Target;
use crate::base::{CoreId, Id20};

/// Sets of sockets by name; together they are a union.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Names {
    /// Members of these rooms.
    pub rooms: Vec<String>,
    /// All sockets of these users.
    pub users: Vec<String>,
    /// All sockets of these sessions.
    pub sessions: Vec<String>,
    /// These sockets, by their public ids.
    pub sockets: Vec<String>,
}

impl Names {
    /// As rooms of the library, where users, sessions and sockets are rooms too.
    fn into_rooms(self) -> Vec<Box<str>> {
        let users = self.users.iter().map(|user| user_room(user));
        let sessions = self.sessions.iter().map(|session| session_room(session));
        let named = self.rooms.into_iter().chain(users).chain(sessions).chain(self.sockets);
        named.map(String::into_boxed_str).collect()
    }
}

/// The target object. A socket that several names mean is reached once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct To {
    /// Members of these rooms.
    pub rooms: Vec<String>,
    /// All sockets of these users.
    pub users: Vec<String>,
    /// All sockets of these sessions.
    pub sessions: Vec<String>,
    /// These sockets, by their public ids.
    pub sockets: Vec<String>,
    /// Everybody in the namespace.
    pub all: bool,
    /// Whom it spares, however they were named.
    pub except: Names,
    /// The namespace; `/` if absent.
    pub namespace: Option<String>,
}

/// A target object as the library wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aim {
    /// The namespace, which may not be served.
    pub namespace: String,
    /// Which of its sockets.
    pub target: Target,
}

impl To {
    /// Which sockets are meant.
    ///
    /// # Errors
    /// Nobody is named. That everybody is meant must be said: a list that came out empty by
    /// mistake must not broadcast.
    pub fn aim(self) -> Result<Aim, VerbError> {
        let Self { rooms, users, sessions, sockets, all, except, namespace } = self;
        let rooms = Names { rooms, users, sessions, sockets }.into_rooms();
        if rooms.is_empty() && !all {
            return Err(VerbError::member("to", Fault::NoTarget));
        }
        let rooms = if all { Vec::new() } else { rooms };
        let target = Target { rooms, except: except.into_rooms() };
        Ok(Aim { namespace: namespace.unwrap_or_else(|| String::from("/")), target })
    }
}

impl Aim {
    /// One room of `/`.
    pub(super) fn room(room: &str) -> Self {
        let target = Target { rooms: vec![room.into()], except: Vec::new() };
        Self { namespace: String::from("/"), target }
    }

    /// The core that a command with this aim goes to first: the one of the socket if one is
    /// named, else the keeper of the first name, so that commands of one name keep their order.
    #[must_use]
    pub fn home(&self, cores: usize) -> CoreId {
        let Some(first) = self.target.rooms.first() else { return CoreId(0) };
        let socket = Id20::parse(first).map(Id20::core).filter(|core| core.index() < cores);
        let name = first.strip_prefix("user:").unwrap_or(first);
        socket.unwrap_or_else(|| keeper::home(name, cores))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(text: &str) -> Result<Aim, VerbError> {
        serde_json::from_str::<To>(text).expect("its shape").aim()
    }

    #[test]
    fn users_sessions_and_sockets_become_rooms_and_so_do_those_spared() {
        let aim =
            to(r#"{"rooms":["r"],"users":["u"],"sessions":["s"],"sockets":["x"],"namespace":"/n",
                "except":{"users":["v"],"sockets":["y"]}}"#)
            .expect("somebody");
        let rooms: Vec<&str> = aim.target.rooms.iter().map(|room| &**room).collect();
        assert_eq!(rooms, ["r", "user:u", "session:s", "x"]);
        let except: Vec<&str> = aim.target.except.iter().map(|room| &**room).collect();
        assert_eq!((&*aim.namespace, except), ("/n", vec!["user:v", "y"]));
    }

    #[test]
    fn everybody_must_be_said() {
        let nobody = VerbError::member("to", Fault::NoTarget);
        for text in ["{}", r#"{"users":[]}"#, r#"{"all":false,"except":{"users":["u"]}}"#] {
            assert_eq!(to(text), Err(nobody.clone()), "{text}");
        }
        let all = to(r#"{"all":true,"rooms":["r"],"except":{"rooms":["q"]}}"#).expect("all");
        assert_eq!((all.target.rooms.len(), all.target.except.len()), (0, 1));
        assert_eq!(all.namespace, "/");
    }
}
