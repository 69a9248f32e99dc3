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

pub use load::{parse, read};

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
}

mod defaults {
    use super::{App, Transport};

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
}
