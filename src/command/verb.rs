//! The verbs: one row each, from which routes, names and documents follow.

use crate::config::Scope;
use crate::gateway::Payload;

/// What a back end may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Sends an event.
    Emit,
    /// Several commands at once.
    Batch,
    /// Sends an event and gathers what clients answer.
    Ask,
    /// Puts sockets into rooms.
    Join,
    /// Takes sockets out of rooms.
    Leave,
    /// Sends clients away.
    Disconnect,
    /// Says which of many users are connected.
    UsersQuery,
    /// Lists rooms.
    Rooms,
    /// Lists sockets.
    Sockets,
    /// Takes tokens back.
    Revoke,
    /// Makes a room.
    RoomCreate,
    /// Puts a user into a room.
    RoomJoin,
    /// Takes a user out of a room.
    RoomLeave,
    /// Sends a user a notification.
    Notification,
    /// Sends an event to a room.
    RoomMessage,
}

/// What is declared of a verb.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Its name: in a batch, and as a message's type.
    pub name: &'static str,
    /// Its path by REST.
    pub path: &'static str,
    /// By REST it is a GET, its members a query.
    pub is_get: bool,
    /// What a caller must be permitted.
    pub scope: Scope,
    /// It changes or sends something, so that doing it twice is not doing it once.
    pub writes: bool,
    /// It may stand in a batch.
    pub in_batch: bool,
    /// The shape of its body.
    pub payload: Payload,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Statuses of its own.
    pub statuses: &'static [(u16, &'static str)],
}

const fn write(name: &'static str, path: &'static str, payload: Payload) -> Facts {
    Facts {
        name,
        path,
        is_get: false,
        scope: Scope::Emit,
        writes: true,
        in_batch: true,
        payload,
        summary: "",
        statuses: &[],
    }
}

const fn look(name: &'static str, path: &'static str, payload: Payload) -> Facts {
    let row = write(name, path, payload);
    Facts { is_get: true, scope: Scope::Read, writes: false, in_batch: false, ..row }
}

const NO_NAMESPACE: (u16, &str) = (404, "`NAMESPACE_NOT_FOUND`: it is not served.");

const REVOKE: Facts = Facts {
    summary: "Takes tokens back, by id, user or time of issue, and closes their sockets",
    scope: Scope::Admin,
    // Who may send commands in a batch need not be permitted this.
    in_batch: false,
    statuses: &[(429, "`LIMIT_REACHED`: as many are revoked as may be.")],
    ..write("auth/revoke", "/api/v1/auth/revoke", Payload::Revoke)
};

impl Verb {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Emit,
        Self::Batch,
        Self::Ask,
        Self::Join,
        Self::Leave,
        Self::Disconnect,
        Self::UsersQuery,
        Self::Rooms,
        Self::Sockets,
        Self::Revoke,
        Self::RoomCreate,
        Self::RoomJoin,
        Self::RoomLeave,
        Self::Notification,
        Self::RoomMessage,
    ];

    /// The verb of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.facts().name == name)
    }

    /// What is declared of it.
    #[must_use]
    pub const fn facts(self) -> Facts {
        match self {
            Self::Emit => Facts {
                summary: "Sends an event to rooms, users, sessions, sockets or everybody",
                statuses: &[NO_NAMESPACE],
                ..write("emit", "/api/v1/emit", Payload::Emit)
            },
            Self::Batch => Facts {
                summary: "Up to 1,000 commands, each with a result of its own",
                in_batch: false,
                ..write("batch", "/api/v1/batch", Payload::Batch)
            },
            Self::Ask => Facts {
                summary: "Sends an event and answers with what clients acknowledged",
                in_batch: false,
                statuses: &[NO_NAMESPACE, (504, "`QUORUM_MISSED`, with the counts.")],
                ..write("ask", "/api/v1/ask", Payload::Ask)
            },
            Self::Join => Facts {
                summary: "Puts sockets into rooms",
                statuses: &[NO_NAMESPACE],
                ..write("join", "/api/v1/join", Payload::Rooms)
            },
            Self::Leave => Facts {
                summary: "Takes sockets out of rooms",
                statuses: &[NO_NAMESPACE],
                ..write("leave", "/api/v1/leave", Payload::Rooms)
            },
            Self::Disconnect => Facts {
                summary: "Sends clients away, to come back or to stay away",
                statuses: &[NO_NAMESPACE],
                ..write("disconnect", "/api/v1/disconnect", Payload::Disconnect)
            },
            Self::UsersQuery => Facts {
                summary: "Says which of up to 1,000 users are connected",
                is_get: false,
                statuses: &[NO_NAMESPACE],
                ..look("users/query", "/api/v1/users/query", Payload::UsersQuery)
            },
            Self::Rooms => Facts {
                summary: "Rooms, of any namespace, by prefix",
                statuses: &[NO_NAMESPACE],
                ..look("rooms", "/api/v1/rooms", Payload::RoomList)
            },
            Self::Sockets => Facts {
                summary: "Sockets, of any namespace, by user or by prefix of users' names",
                statuses: &[NO_NAMESPACE],
                ..look("sockets", "/api/v1/sockets", Payload::SocketList)
            },
            Self::Revoke => REVOKE,
            seed => seed.facts_of_seed(),
        }
    }

    /// The writes under `/socket`, and nothing else.
    const fn facts_of_seed(self) -> Facts {
        match self {
            Self::RoomCreate => Facts {
                summary: "Creates a room; one that exists stays as it is",
                in_batch: false,
                statuses: &[(201, "It was created; 200 if it existed.")],
                ..write("room_create", "/socket/rooms", Payload::CreateRoom)
            },
            Self::RoomJoin => Facts {
                summary: "Puts all sockets of a user into a room",
                statuses: &[(404, "`USER_NOT_CONNECTED`: the user has no socket.")],
                ..write("room_join", "/socket/rooms/join", Payload::Membership)
            },
            Self::RoomLeave => Facts {
                summary: "Takes all sockets of a user out of a room",
                ..write("room_leave", "/socket/rooms/leave", Payload::Membership)
            },
            Self::Notification => Facts {
                summary: "Sends a notification to all sockets of a user",
                ..write("notification", "/socket/notifications", Payload::Notification)
            },
            _ => Facts {
                summary: "Sends an event to all sockets of a room",
                ..write("room_message", "/socket/rooms/message", Payload::SendToRoom)
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_verb_has_a_name_and_a_path_of_its_own() {
        let names: BTreeSet<_> = Verb::ALL.iter().map(|verb| verb.facts().name).collect();
        let paths: BTreeSet<_> = Verb::ALL.iter().map(|verb| verb.facts().path).collect();
        assert_eq!((names.len(), paths.len()), (Verb::ALL.len(), Verb::ALL.len()));
        for verb in Verb::ALL {
            let facts = verb.facts();
            assert_eq!(Verb::from_name(facts.name), Some(verb));
            assert!(!facts.summary.is_empty() && (facts.writes || !facts.in_batch), "{facts:?}");
        }
        assert_eq!(Verb::from_name("EMIT"), None);
    }
}
