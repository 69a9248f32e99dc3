//! Every way in which a connection, a session or a socket ends.

/// Whose doing an ending is. Decides the log level and whether anybody is paged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody's: the peer left as peers do.
    Nobody,
    /// The peer broke a rule or vanished.
    Peer,
    /// We said no on purpose: limit, verdict of the application, shutdown.
    Policy,
    /// Our own mistake.
    Ours,
}

macro_rules! endings {
    ($( $(#[doc = $doc:literal])+ $name:ident: $fault:ident, $ws:literal, $reason:literal,
        $label:literal, $back:literal; )+) => {
        /// Why something ended. This table is the only place that spells the outcomes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Ending { $( $(#[doc = $doc])+ $name, )+ }

        impl Ending {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Self] = &[ $( Self::$name, )+ ];

            /// The metric labels, in the order of the table.
            pub const LABELS: &'static [&'static str] = &[ $( $label, )+ ];

            /// Whose doing it is.
            #[must_use]
            pub const fn fault(self) -> Fault { match self { $( Self::$name => Fault::$fault, )+ } }

            /// The WebSocket close code (RFC 6455, section 7.4.1); 0 is a close frame without
            /// one, which is what Node sends and its clients read as `transport close`.
            #[must_use]
            pub const fn ws_code(self) -> u16 { match self { $( Self::$name => $ws, )+ } }

            /// The `reason` a Socket.IO disconnect handler sees.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self { $( Self::$name => $reason, )+ }
            }

            /// The metric label.
            #[must_use]
            pub const fn label(self) -> &'static str { match self { $( Self::$name => $label, )+ } }

            /// Whether the official client comes back by itself after this.
            #[must_use]
            pub const fn comes_back(self) -> bool { match self { $( Self::$name => $back, )+ } }

            /// Whether the client may take its session up again where that is served.
            ///
            /// Rule: Node saves sessions on every ending but those of a namespace and of a packet
            /// that cannot be read.
            #[must_use]
            pub fn may_be_recovered(self) -> bool {
                let reason = self.reason();
                reason != "parse error" && !reason.ends_with("namespace disconnect")
            }

            /// The page of the manual, generated from the table.
            #[must_use]
            pub fn reference_markdown() -> String {
                let mut page = String::from(
                    "| ending | whose doing | WebSocket code | reason handlers see | \
                     client comes back | when |\n| --- | --- | --- | --- | --- | --- |\n",
                );
                $(
                    let when = concat!($($doc),+).trim();
                    page.push_str(&format!(
                        "| `{}` | {:?} | {} | `{}` | {} | {} |\n",
                        $label, Fault::$fault,
                        if $ws == 0 { String::from("none") } else { $ws.to_string() },
                        $reason, if $back { "yes" } else { "no" }, when,
                    ));
                )+
                page
            }
        }
    };
}

endings! {
    /// The peer closed its WebSocket or sent a close packet.
    PeerClosed: Nobody, 0, "transport close", "peer_closed", true;
    /// The TCP connection ended without a close.
    PeerVanished: Peer, 0, "transport close", "peer_vanished", true;
    /// A waiting poll or an unfinished post was dropped by the client.
    RequestAborted: Peer, 0, "transport error", "request_aborted", true;
    /// A second poll or post arrived while one was under way.
    RequestDuplicated: Peer, 0, "transport error", "request_duplicated", true;
    /// A sign of life was owed and did not come within the ping timeout.
    PingTimeout: Peer, 0, "ping timeout", "ping_timeout", true;
    /// A packet or payload that no rule of Engine.IO allows.
    EnginePacket: Peer, 0, "parse error", "engine_packet", true;
    /// A ping that goes the wrong way, or an octet-stream post of an EIO 4 client.
    EngineRule: Peer, 0, "transport error", "engine_rule", true;
    /// A packet that no rule of Socket.IO allows.
    SocketPacket: Peer, 0, "forced close", "socket_packet", true;
    /// A packet for a namespace that was not joined, or before the answer to CONNECT.
    NotJoined: Peer, 0, "forced close", "not_joined", true;
    /// A second CONNECT for a joined namespace, or a packet only servers send.
    ConnectTwice: Peer, 0, "forced server close", "connect_twice", true;
    /// No namespace was joined within the connect timeout.
    ConnectTimeout: Peer, 0, "forced server close", "connect_timeout", true;
    /// A WebSocket frame that RFC 6455 forbids.
    WebSocketRule: Peer, 1002, "transport error", "websocket_rule", true;
    /// Text that is not UTF-8.
    WebSocketText: Peer, 1007, "transport error", "websocket_text", true;
    /// A compressed message that cannot be inflated.
    DeflateBroken: Peer, 1007, "transport error", "deflate_broken", true;
    /// A compressed message that grows more than `deflate_ratio_max` times.
    DeflateRatio: Peer, 1009, "transport error", "deflate_ratio", true;
    /// A message above `max_payload`.
    MessageTooBig: Peer, 1009, "transport error", "message_too_big", true;
    /// An HTTP request that is malformed, too large or too slow.
    HttpRule: Peer, 0, "transport error", "http_rule", true;
    /// TLS that breaks its rules: nothing both sides speak, or a record that is forged.
    TlsRule: Peer, 0, "transport error", "tls_rule", true;
    /// Something else than TLS at a TLS listener, plain HTTP mostly.
    TlsPlain: Peer, 0, "transport error", "tls_plain", true;
    /// A TLS handshake that was not complete in time.
    TlsSlow: Peer, 0, "transport error", "tls_slow", true;
    /// A PROXY header that is none, or did not come in time.
    ProxyRule: Peer, 0, "transport error", "proxy_rule", true;
    /// A connection that only a trusted proxy may make.
    ProxyUntrusted: Peer, 0, "transport error", "proxy_untrusted", true;
    /// Too many connections were at their TLS handshake or PROXY header, and this one was late with
    /// its part for longest, or came as its listener was closing.
    EntranceFull: Policy, 0, "transport error", "entrance_full", true;
    /// A connection on which no request came for a while.
    HttpIdle: Nobody, 0, "transport close", "http_idle", true;
    /// An HTTP connection that ended between two requests.
    HttpDone: Nobody, 0, "transport close", "http_done", true;
    /// An upgrade that was begun and not finished in time, or failed on the way.
    UpgradeFailed: Peer, 0, "transport close", "upgrade_failed", true;
    /// The polling connection of a session that moved to WebSocket.
    Upgraded: Nobody, 0, "transport close", "upgraded", true;
    /// Its client has come back on another connection and takes its session up again.
    Replaced: Nobody, 0, "transport close", "replaced", true;
    /// The client left a namespace.
    ClientLeft: Nobody, 0, "client namespace disconnect", "client_left", false;
    /// The application disconnected a socket.
    ServerLeft: Policy, 0, "server namespace disconnect", "server_left", false;
    /// The application closed the whole connection.
    ServerClosed: Policy, 0, "forced server close", "server_closed", true;
    /// Its events were refused for their number or size again and again.
    Abuse: Peer, 0, "server namespace disconnect", "abuse", false;
    /// Its token has ended and no new one came.
    TokenExpired: Policy, 0, "forced server close", "token_expired", true;
    /// Its token was revoked.
    TokenRevoked: Policy, 0, "forced server close", "token_revoked", true;
    /// The outbox was full, in bytes.
    SlowBytes: Peer, 1013, "transport error", "slow_bytes", true;
    /// The outbox was full, in frames.
    SlowFrames: Peer, 1013, "transport error", "slow_frames", true;
    /// Something waited and nothing went out for too long.
    SlowAge: Peer, 1013, "transport error", "slow_age", true;
    /// All outboxes of the core were full and this was among the largest.
    CoreFull: Policy, 1013, "transport error", "core_full", true;
    /// This core has as many connections as it may.
    ConnsFull: Policy, 1013, "transport error", "conns_full", true;
    /// This address has as many connections as it may.
    AddressFull: Policy, 1013, "transport error", "address_full", true;
    /// This address begins sessions faster than it may.
    AddressFast: Policy, 1013, "transport error", "address_fast", true;
    /// This core has as many sessions as it may, or keeps as many bytes of their requests.
    SessionsFull: Policy, 1013, "transport error", "sessions_full", true;
    /// Too many connections had sent no whole request, and this one had waited longest.
    OpeningFull: Policy, 0, "transport close", "opening_full", true;
    /// Too many sessions had joined no namespace, and this one had waited longest.
    UnjoinedFull: Policy, 1013, "transport error", "unjoined_full", true;
    /// The process is short of memory and takes no new clients.
    MemoryRefused: Policy, 1013, "transport error", "memory_refused", true;
    /// The process is very short of memory, and this client held among the most of it.
    MemoryShed: Policy, 1013, "transport error", "memory_shed", true;
    /// Memory for messages that arrived in part was used up.
    PartialsFull: Policy, 1013, "transport error", "partials_full", true;
    /// The process is draining.
    ServerShutdown: Policy, 1012, "server shutting down", "server_shutdown", true;
    /// A handler panicked; its socket goes, the core lives.
    HandlerPanic: Ours, 1011, "forced server close", "handler_panic", true;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_has_its_own_label_and_a_sendable_code() {
        let mut labels = Ending::LABELS.to_vec();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Ending::ALL.len());
        for ending in Ending::ALL {
            // 1004, 1005, 1006 and 1015 must never be put on the wire.
            assert!(!matches!(ending.ws_code(), 1004..=1006 | 1015), "{ending:?}");
            assert!(Ending::reference_markdown().contains(ending.label()));
        }
    }

    #[test]
    fn reasons_are_those_a_node_server_gives() {
        const NODE: [&str; 9] = [
            "transport error",
            "transport close",
            "forced close",
            "ping timeout",
            "parse error",
            "server shutting down",
            "forced server close",
            "client namespace disconnect",
            "server namespace disconnect",
        ];
        assert!(Ending::ALL.iter().all(|ending| NODE.contains(&ending.reason())));
    }
}
