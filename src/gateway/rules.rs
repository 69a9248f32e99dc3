//! What clients may do in rooms, and what they may never send there.

use super::GatewaySettings;
use crate::base::Id20;
use crate::config::{Verb, is_reserved_room};
use crate::socketio;

/// Events that only the gateway itself sends to clients.
const OWN_EVENTS: [&str; 10] = [
    "ai_request",
    "ai_response",
    "status_update",
    "notification",
    "connection",
    "disconnection",
    "error",
    "pong",
    "auth_expiring",
    "room_revoked",
];

/// Whether no client may publish an event of this name into a room.
pub(super) fn is_own_event(name: &str) -> bool {
    OWN_EVENTS.contains(&name) || socketio::is_reserved(name)
}

/// Whether no rule can open a room to clients: those of the gateway, and whatever may be a
/// socket's id, because a message to a socket is a message to the room of its id.
pub(super) fn is_closed_room(namespace: &str, room: &str) -> bool {
    // Rule: Socket.IO before v3: an id outside of `/` has its namespace in front.
    let bare = room.strip_prefix(namespace).and_then(|rest| rest.strip_prefix('#'));
    is_reserved_room(room) || Id20::parse(bare.unwrap_or(room)).is_some()
}

impl GatewaySettings {
    /// Whether a client may do something in a room.
    ///
    /// Cost: one pattern match a rule, each bounded by 256 times 256 steps.
    pub(super) fn permits(&self, space: u16, user: &str, room: &str, verb: Verb) -> bool {
        let namespace = self.namespace(space);
        !is_closed_room(namespace, room)
            && (self.rooms_open
                || self.rules.iter().any(|rule| rule.permits(namespace, user, room, verb)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Rule;

    fn rule(namespace: &str, users: &str, rooms: &str, allow: Verb) -> Rule {
        Rule {
            namespace: namespace.into(),
            users: vec![users.into()],
            rooms: vec![rooms.into()],
            allow: vec![allow],
        }
    }

    #[test]
    fn rules_open_rooms_but_never_those_of_the_gateway_or_of_a_socket() {
        let mut settings = GatewaySettings {
            namespaces: vec!["/".into(), "/ops".into()],
            rules: vec![
                rule("/", "al*", "team:*", Verb::Join),
                rule("/ops", "*", "*", Verb::Publish),
            ],
            ..GatewaySettings::default()
        };
        let cases = [
            (0, "alice", "team:1", Verb::Join, true),
            (0, "bob", "team:1", Verb::Join, false),
            (0, "alice", "team:1", Verb::Publish, false),
            (0, "alice", "club:1", Verb::Join, false),
            (1, "alice", "team:1", Verb::Join, false),
            (1, "bob", "anything", Verb::Publish, true),
            (1, "bob", "user:alice", Verb::Publish, false),
            (1, "bob", "session:1", Verb::Publish, false),
            (1, "bob", "0123456789abcdefghi-", Verb::Publish, false),
            (1, "bob", "/ops#0123456789abcdefghi-", Verb::Publish, false),
            (1, "bob", "0123456789abcdefghi", Verb::Publish, true),
        ];
        for (space, user, room, verb, expected) in cases {
            assert_eq!(settings.permits(space, user, room, verb), expected, "{user} {room}");
        }
        settings.rules.clear();
        assert!(!settings.permits(0, "alice", "team:1", Verb::Join), "no rule, no room");
        settings.rooms_open = true;
        for (_, user, room, verb, _) in cases {
            let closed = is_closed_room("/ops", room);
            assert_eq!(settings.permits(1, user, room, verb), !closed, "{room}");
        }
    }

    #[test]
    fn no_client_speaks_for_the_gateway() {
        for name in ["ai_response", "notification", "error", "connect", "disconnect", "pong"] {
            assert!(is_own_event(name), "{name}");
        }
        for name in ["chat", "message", "Connect", ""] {
            assert!(!is_own_event(name), "{name}");
        }
    }
}
