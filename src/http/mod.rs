//! # http: the part of HTTP/1.1 a gateway needs
//!
//! Reads request heads and bodies out of bytes, writes answers into bytes, decides CORS and
//! WebSocket handshakes. Strict where two parsers in a row could disagree: whatever frames a
//! message (line ends, lengths, codings) has one reading here or none.
//!
//! Owns: nothing between calls but a [`Body`]'s place in its body.
//! Imports: nothing of ours.
//!
//! Holds at all times:
//! - a head is bounded in bytes, headers and name length before anything is kept of it;
//! - a head that was read once reads alike from its stored bytes;
//! - no value from outside can end a header line of an answer.
//!
//! Read first: `head.rs`, then `body.rs`, then `respond.rs`.

mod body;
mod coding;
mod cors;
mod head;
mod proxies;
mod proxy_header;
mod query;
mod respond;
mod upgrade;

pub use body::{Body, BodyError};
pub use coding::{Coding, coding_of};
pub use cors::{Cors, Origins, origin_is_legal, origin_of};
pub use head::{BodyLength, Head, HeadError, Version, host_is_legal, parse_head};
pub use proxies::{Client, ForwardedHeader, Proxies};
pub use proxy_header::{NoProxyHeader, PROXY_HEADER_BYTES_MAX, ProxyHeader, parse_proxy_header};
pub use query::{EngineQuery, Query, decode};
pub use respond::{CONTINUE, EngineError, Header, Response, header_value_is_legal};
pub use upgrade::{UpgradeError, accept, is_websocket_upgrade};

/// Whether `text` is a token.
///
/// Rule: RFC 9110 section 5.6.2.
fn is_token(text: &[u8]) -> bool {
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(legal)
}
