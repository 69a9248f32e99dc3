//! # scenario: what a run does, from a TOML file
//!
//! Owns: the keys, their defaults and limits, and `--set`.
//! Imports: nothing of ours.
//!
//! Holds at all times:
//! - an unknown key, a wrong type or an impossible combination is one line that names it;
//! - what a run did can be written back as TOML, defaults filled in.
//!
//! Read first: [`Scenario`]; every key is documented there.

mod load;

pub use load::{parse, read, with};

use serde::{Deserialize, Serialize};

/// What a scenario does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Connects, as fast as the window lets it. An operation is a handshake.
    Connect,
    /// Connects and then does nothing: what does a connection cost?
    Idle,
    /// Each connection sends and waits for acknowledgements. An operation is a round trip.
    Echo,
    /// Messages to rooms. An operation is a delivery.
    Rooms,
    /// Notifications by REST to users. An operation is a delivery.
    Notify,
    /// Requests by event, answered by REST. An operation is a request with its answer.
    Ai,
    /// Rooms under traffic, and connections that come, join, leave and go. An operation is a
    /// join with its leave.
    Churn,
    /// Rooms under traffic, of which some members stop reading. An operation is a delivery to
    /// one that reads.
    Slow,
    /// Rooms under traffic, with round trips, idle connections and churn beside them. An
    /// operation is a delivery.
    Mixed,
}

impl Kind {
    /// Whether it has rooms under traffic.
    #[must_use]
    pub const fn has_rooms(self) -> bool {
        matches!(self, Self::Rooms | Self::Churn | Self::Slow | Self::Mixed)
    }

    /// How many connections belong to each other, where rooms do not say so.
    #[must_use]
    pub const fn sockets_together(self) -> u32 {
        if matches!(self, Self::Ai) { 2 } else { 1 }
    }
}

/// How messages are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Publish {
    /// By an event of a connection.
    Event,
    /// By `POST /socket/rooms/message`.
    Rest,
    /// By `POST /pub` on the public listener, with the object that `pub` takes.
    Post,
}

/// What the server speaks beyond Socket.IO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum App {
    /// The bench contract: `join`, `echo`, `pub`.
    Bench,
    /// The gateway: `room:join`, `room:message`, an identity in `auth`.
    Gateway,
}

/// How a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// WebSocket from the start.
    Websocket,
    /// HTTP long-polling.
    Polling,
    /// Polling first, then an upgrade to WebSocket.
    Upgrade,
}

impl Transport {
    /// As it is written in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Websocket => "websocket",
            Self::Polling => "polling",
            Self::Upgrade => "upgrade",
        }
    }
}

/// A scenario. Every key but `name` and `kind` has a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What to call it in reports.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// What the server speaks.
    #[serde(default = "defaults::app")]
    pub app: App,
    /// How connections speak.
    #[serde(default = "defaults::transport")]
    pub transport: Transport,
    /// Threads of the client, each with its share of the connections.
    #[serde(default = "defaults::one")]
    pub threads: u32,
    /// Whether the client polls without ever sleeping while it measures, so that the server does
    /// not pay for waking it. It takes a core a thread.
    #[serde(default = "defaults::yes")]
    pub busy_poll: bool,
    /// Connections.
    #[serde(default = "defaults::connections")]
    pub connections: u32,
    /// Connections being made at once.
    #[serde(default = "defaults::connect_window")]
    pub connect_window: u32,
    /// Time for all connections to stand.
    #[serde(default = "defaults::connect_seconds")]
    pub connect_seconds: f64,
    /// Load before the measuring begins.
    #[serde(default = "defaults::warmup_seconds")]
    pub warmup_seconds: f64,
    /// Time that is measured.
    #[serde(default = "defaults::seconds")]
    pub seconds: f64,
    /// How long what is owed may still come after the last was sent.
    #[serde(default = "defaults::drain_ms")]
    pub drain_ms: u32,
    /// Bytes of the JSON object a message carries.
    #[serde(default = "defaults::payload_bytes")]
    pub payload_bytes: u32,
    /// Closed loop: messages on their way at once, for a connection (`echo`) or a room (`rooms`).
    #[serde(default = "defaults::one")]
    pub outstanding: u32,
    /// Open loop: messages sent a second, over all. Without it the loop is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// `rooms`: members of a room.
    #[serde(default = "defaults::room_size")]
    pub room_size: u32,
    /// `rooms`: rooms that each group of `room_size` connections shares.
    #[serde(default = "defaults::one")]
    pub rooms_per_connection: u32,
    /// `rooms`: connections beside the members that publish. 0: the members take turns.
    #[serde(default)]
    pub publishers: u32,
    /// `rooms`: how messages are published.
    #[serde(default = "defaults::publish")]
    pub publish: Publish,
    /// Connections for REST calls. A user's calls and a room's all take the same one, so that
    /// they have an order.
    #[serde(default = "defaults::rest_connections")]
    pub rest_connections: u32,
    /// `churn`, `mixed`: connections that come, join a room, stay, leave and go.
    #[serde(default)]
    pub churners: u32,
    /// How long they stay in a room.
    #[serde(default)]
    pub stay_ms: u32,
    /// After how many joins they end their connection and make another; 0: never.
    #[serde(default)]
    pub joins_per_connection: u32,
    /// `slow`: members that stop reading when the load begins; the last ones of each room.
    #[serde(default)]
    pub slow_per_room: u32,
    /// `mixed`: connections that make round trips.
    #[serde(default)]
    pub echoers: u32,
    /// `mixed`: their round trips a second, over all. Without it their loop is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo_rate: Option<f64>,
    /// `mixed`: connections that do nothing.
    #[serde(default)]
    pub idlers: u32,
    /// Looks for the greatest sustainable rate, with an open loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Steps>,
    /// Runs the scenario once for each of several sizes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
}

/// How the greatest sustainable rate is looked for: the rate is raised until the server falls
/// behind, then the gap is halved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Steps {
    /// Messages a second to begin with.
    pub start_rate: f64,
    /// What the rate is multiplied by.
    #[serde(default = "defaults::factor")]
    pub factor: f64,
    /// The rate has been found when it is known to this share.
    #[serde(default = "defaults::within")]
    pub within: f64,
    /// Length of each try.
    #[serde(default = "defaults::step_seconds")]
    pub seconds: f64,
    /// A rate is sustained only if everything came this soon after the end of the try.
    #[serde(default = "defaults::late_ms")]
    pub late_ms: u32,
    /// And if the 99th percentile was at most this.
    #[serde(default = "defaults::p99_ms")]
    pub p99_ms: f64,
}

/// Which sizes a scenario is run with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// The keys that take each value, separated by commas.
    pub key: String,
    /// The values, smallest first: memory that a server keeps is used again by the next.
    pub values: Vec<i64>,
    /// What the size is called in plots.
    #[serde(default)]
    pub label: String,
    /// What a value is multiplied with in plots.
    #[serde(default = "defaults::times")]
    pub times: f64,
}

mod defaults {
    use super::{App, Publish, Transport};

    pub(super) const fn app() -> App {
        App::Bench
    }
    pub(super) const fn transport() -> Transport {
        Transport::Websocket
    }
    pub(super) const fn one() -> u32 {
        1
    }
    pub(super) const fn yes() -> bool {
        true
    }
    pub(super) const fn connections() -> u32 {
        100
    }
    pub(super) const fn connect_window() -> u32 {
        64
    }
    pub(super) const fn connect_seconds() -> f64 {
        60.0
    }
    pub(super) const fn warmup_seconds() -> f64 {
        1.0
    }
    pub(super) const fn seconds() -> f64 {
        10.0
    }
    pub(super) const fn drain_ms() -> u32 {
        2_000
    }
    pub(super) const fn payload_bytes() -> u32 {
        64
    }
    pub(super) const fn room_size() -> u32 {
        5
    }
    pub(super) const fn publish() -> Publish {
        Publish::Event
    }
    pub(super) const fn rest_connections() -> u32 {
        8
    }
    pub(super) const fn factor() -> f64 {
        1.6
    }
    pub(super) const fn within() -> f64 {
        0.04
    }
    pub(super) const fn step_seconds() -> f64 {
        1.3
    }
    pub(super) const fn late_ms() -> u32 {
        100
    }
    pub(super) const fn p99_ms() -> f64 {
        100.0
    }
    pub(super) const fn times() -> f64 {
        1.0
    }
}
