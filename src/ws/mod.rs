//! # ws: RFC 6455, the server's half
//!
//! Turns bytes of a client into messages, and payloads into frames. Frame headers, opcodes and
//! close codes are those of `tungstenite`; assembly, limits and unmasking are ours, because they
//! happen in the read buffer and a connection that is idle must not own one.
//!
//! Owns: the fragments of one unfinished message a connection ([`Decoder`]), and nothing else.
//! Imports: nothing of ours.
//!
//! Holds at all times:
//! - a length is judged from the header, before a byte of its payload is waited for or copied;
//! - a decoder keeps about twice `message_bytes_max` at most (a vector's spare room), and nothing
//!   while no message is in parts;
//! - compressed messages are put together here and inflated by the shard, whose core has one
//!   inflater for all;
//! - bytes that do not hold a whole frame are left as they were, so asking again is harmless.
//!
//! Read first: `message.rs`, then `frame.rs`.

mod close;
mod extension;
mod frame;
mod message;
#[cfg(test)]
mod tests;

pub use close::{close_code_is_legal, close_frame};
pub use extension::{Agreed, BadExtensions, negotiate};
pub use frame::{
    Kind, ServerFrame, header_len, read_server_frame, write_client_frame, write_header,
    write_packed_header, write_pong,
};
pub use message::{Decoder, Event, Limits, Step, WsError};

/// The `Sec-WebSocket-Accept` that answers `key`.
///
/// Rule: RFC 6455 section 4.2.2, item 5.4.
#[must_use]
pub fn accept_key(key: &str) -> String {
    tungstenite::handshake::derive_accept_key(key.as_bytes())
}
