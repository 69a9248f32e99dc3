//! What a shard must know of the configuration.

use std::sync::Arc;

use super::recovery::RecoveryTerms;
use crate::base::{Limits, Pressure, SharedBuckets, SharedCounts};
use crate::http::{Cors, Proxies};

/// What is served at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Socket.IO over Engine.IO.
    SocketIo,
    /// Engine.IO alone: the application gets messages.
    Engine,
    /// A WebSocket alone.
    PlainWebSocket,
}

/// One path and what is served there.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The prefix of the request target, `/socket.io/` for instance.
    pub path: String,
    /// What is there.
    pub service: Service,
    /// Bytes of one message here, where it differs from the general limit.
    pub message_bytes_max: Option<usize>,
    /// Whether clients may agree on permessage-deflate here although it is off elsewhere.
    pub deflate: bool,
}

/// What is compressed, and within which bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Whether WebSocket clients may agree on permessage-deflate.
    pub websocket: bool,
    /// Whether answers to polls are compressed for clients that ask for it.
    pub polling: bool,
    /// Bytes from which a WebSocket message is compressed.
    pub threshold_bytes: usize,
    /// Bytes from which an answer to a poll is.
    pub polling_threshold_bytes: usize,
    /// How many times its compressed length a client's message may have.
    pub ratio_max: usize,
    /// Bytes of compressed forms that one core keeps for receivers to come; beyond, messages
    /// leave as they are.
    pub memory_bytes_max: usize,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            websocket: false,
            polling: true,
            threshold_bytes: 1_024,
            polling_threshold_bytes: 1_024,
            ratio_max: 100,
            memory_bytes_max: 16 << 20,
        }
    }
}

/// Names of the application's static files and how to get one: path after the endpoint's prefix
/// to media type and bytes.
pub type Assets = fn(&str) -> Option<(&'static str, &'static [u8])>;

/// The settings of all shards of a process.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The ceilings.
    pub limits: Limits,
    /// Paths, the first match wins.
    pub endpoints: Vec<Endpoint>,
    /// Prefixes of paths that the admin core answers.
    pub forwarded: Vec<String>,
    /// Time between pings.
    pub ping_interval_ms: u64,
    /// Time a pong may take.
    pub ping_timeout_ms: u64,
    /// Time until a namespace must be joined.
    pub connect_timeout_ms: u64,
    /// Time an upgrade may take.
    pub upgrade_timeout_ms: u64,
    /// Whether polling is served.
    pub polling: bool,
    /// Whether WebSocket is served.
    pub websocket: bool,
    /// Whether polling sessions may move to WebSocket.
    pub allow_upgrades: bool,
    /// Whether EIO 3 clients are let in.
    pub eio3: bool,
    /// Cross-origin rules.
    pub cors: Cors,
    /// Whether a foreign Origin is refused and not merely not named.
    pub strict_origin: bool,
    /// What is compressed.
    pub compression: Compression,
    /// Whether and how long sessions that broke off can be recovered.
    pub recovery: Option<RecoveryTerms>,
    /// The name of the session cookie, if one is set.
    pub cookie: Option<String>,
    /// Whether handshakes wait for the application's hook.
    pub ask_allow_request: bool,
    /// The client bundle, if it is served.
    pub assets: Option<Assets>,
    /// The version of the bundle, its ETag.
    pub assets_version: &'static str,
    /// Connections of one address, on all cores together; without it they are not counted.
    pub address_conns: Option<Arc<SharedCounts>>,
    /// Proxies that are believed when they say who a client is.
    pub proxies: Proxies,
    /// How short of memory the process is.
    pub pressure: Arc<Pressure>,
    /// Sessions that one address may begin; without it, as many as it likes.
    pub address_handshakes: Option<Arc<SharedBuckets>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::DEFAULT,
            endpoints: vec![Endpoint {
                path: String::from("/socket.io/"),
                service: Service::SocketIo,
                message_bytes_max: None,
                deflate: false,
            }],
            forwarded: Vec::new(),
            ping_interval_ms: 25_000,
            ping_timeout_ms: 20_000,
            connect_timeout_ms: 45_000,
            upgrade_timeout_ms: 10_000,
            polling: true,
            websocket: true,
            allow_upgrades: true,
            eio3: false,
            cors: Cors::default(),
            strict_origin: false,
            compression: Compression::default(),
            recovery: None,
            cookie: None,
            ask_allow_request: false,
            assets: None,
            assets_version: "",
            address_conns: None,
            proxies: Proxies::default(),
            pressure: Arc::default(),
            address_handshakes: None,
        }
    }
}

impl Settings {
    /// Width of a timer slot: deadlines are kept to a thirty-second of the shortest interval, and
    /// to 20 ms at most, so that an ack timeout of the application is not late either.
    #[must_use]
    pub fn slot_ms(&self) -> u64 {
        let shortest = self.ping_interval_ms.min(self.ping_timeout_ms).min(self.connect_timeout_ms);
        (shortest / 64).clamp(1, 20)
    }
}
