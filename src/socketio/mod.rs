//! # socketio: the words of Socket.IO
//!
//! Packets of the default parser and of the msgpack parser, read and written; the two turned
//! into each other. Whoever relays a packet relays the sender's bytes: reading here means
//! judging, because one malformed packet that is relayed makes every receiver disconnect.
//!
//! Owns: nothing at run time but the scratch of a [`JsonChecker`], one a core.
//! Imports: serde, and nothing of ours.
//!
//! Holds at all times: no input of a peer panics, recurses without bound or allocates from a
//! length that is only claimed; the judge of JSON is JavaScript's grammar, not Rust's strings;
//! both parsers obey the same rules about names, ids and payloads.
//!
//! Read first: `packet.rs` (the prefix), `json.rs` (the payload), then `encode.rs`.

mod args;
pub mod encode;
mod from_msgpack;
mod json;
mod legacy;
mod msgpack;
mod packet;
mod rooms;
mod scan;
mod to_msgpack;
#[cfg(test)]
mod transcode_tests;

pub use args::{ArgsError, SplitArgs, from_args, split_args, to_args};
pub use encode::escape_json;
pub use from_msgpack::{DecodeLimits, Decoded, decode_packet};
pub use json::{EventBody, JsonChecker};
pub use legacy::{connect_bare, connect_error_v4};
pub use packet::{
    ACK_ID_DIGITS_MAX, Kind, NAMESPACE_BYTES_MAX, Packet, RESERVED_NAMES, is_reserved, parse,
};
pub use rooms::{Join, Joined, Leave, Member, Memberships, Rooms};
pub use scan::DEPTH_MAX;
pub use to_msgpack::{TranscodeError, encode_packet};

/// Why a packet was refused. Every variant is the peer's doing; none carries its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParseError {
    /// No kind at all.
    Empty,
    /// The kind is none of the protocol's.
    UnknownKind,
    /// A binary packet without a count of attachments, or with one that is no number from 1.
    AttachmentCount,
    /// More attachments announced than the limit.
    TooManyAttachments,
    /// The namespace is longer than [`NAMESPACE_BYTES_MAX`].
    NamespaceTooLong,
    /// A msgpack namespace that the default parser could not carry.
    Namespace,
    /// More digits than [`ACK_ID_DIGITS_MAX`].
    AckIdTooLong,
    /// A msgpack ack id that is no whole number from 0.
    AckId,
    /// A payload where the kind allows none.
    PayloadUnexpected,
    /// No payload where the kind demands one.
    PayloadMissing,
    /// A payload of the wrong type for the kind (CVE-2023-32695 among others).
    PayloadType,
    /// The first item of an event is neither a string nor a number.
    EventName,
    /// The event is called by a name that is reserved.
    ReservedName,
    /// Not JSON by JavaScript's grammar.
    Json,
    /// Nested deeper than [`DEPTH_MAX`].
    TooDeep,
    /// A placeholder that names no attachment (CVE-2022-2421), or one that is named already.
    Placeholder,
    /// Not msgpack, or cut short.
    Msgpack,
    /// A msgpack string that is not UTF-8.
    Utf8,
    /// A map key that is no string.
    MapKey,
    /// More elements than the limit.
    TooManyElements,
    /// A msgpack packet that is no map, or lacks a field, or has one of the wrong type.
    Field,
    /// Binary in a payload that cannot have attachments (CONNECT, `CONNECT_ERROR`).
    BinaryMisplaced,
    /// Bytes after the end of the packet.
    TrailingBytes,
}
