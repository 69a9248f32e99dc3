//! What REST is answered with: the contract's `data`.

use serde::Serialize;
use serde_json::value::RawValue;

/// A socket and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "runtime", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct UserView {
    /// The user's id.
    pub id: String,
    /// The socket's public id.
    pub socket_id: String,
    /// The session it belongs to, if it named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// When it joined, RFC 3339.
    pub connected_at: String,
    /// When it last sent something, RFC 3339.
    pub last_activity: String,
}

/// A socket, and whose it is, in any namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "runtime", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SocketView {
    /// The socket's public id.
    pub socket_id: String,
    /// The user it belongs to.
    pub user_id: String,
    /// The session it belongs to, if it named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Its namespace.
    pub namespace: String,
    /// `polling` or `websocket`.
    pub transport: String,
    /// When it joined, RFC 3339.
    pub connected_at: String,
    /// When it last sent something, RFC 3339.
    pub last_activity: String,
}

/// What one client answered.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "runtime", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReplyView {
    /// The socket's public id.
    pub socket_id: String,
    /// The user it belongs to.
    pub user_id: Option<String>,
    /// The arguments it called the acknowledgement with; binary as `{"$b64":…}`.
    #[cfg_attr(feature = "runtime", schema(value_type = Vec<Object>))]
    pub args: Box<RawValue>,
}

impl PartialEq for ReplyView {
    fn eq(&self, other: &Self) -> bool {
        let parts = |one: &Self| (one.socket_id.clone(), one.user_id.clone());
        parts(self) == parts(other) && self.args.get() == other.args.get()
    }
}

impl Eq for ReplyView {}

/// A room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "runtime", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RoomView {
    /// Its name on the wire.
    pub id: String,
    /// Its name for people; the same unless REST gave it one.
    pub name: String,
    /// Users in it, however many sockets each has.
    pub user_count: u64,
    /// Sockets in it.
    pub sockets: u64,
    /// Since when it is there, RFC 3339.
    pub created_at: String,
    /// When somebody last joined, left or said something in it, RFC 3339.
    pub last_activity: String,
}

/// Whether a user is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "runtime", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ConnectedView {
    /// The user's id.
    pub user_id: String,
    /// Whether at least one socket is.
    pub connected: bool,
    /// How many are.
    pub sockets: u64,
}

/// A user who was put into a room or taken out of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "runtime", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct MembershipView {
    /// The user's id.
    pub user_id: String,
    /// The room.
    pub room_id: String,
    /// Sockets that are in it now, or that left it.
    pub sockets: u64,
}

/// Whom a message was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "runtime", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RecipientsView {
    /// Sockets it was queued for.
    pub recipients: u64,
    /// Set if a core did not say in time how many it has.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// How much a core keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptView {
    /// Rooms, the automatic ones left out.
    pub rooms: u64,
    /// Users that are connected.
    pub users: u64,
}
