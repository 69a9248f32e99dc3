//! # engineio: Engine.IO protocol 4, and 3 for old clients
//!
//! Packets, polling payloads, the open packet and the heartbeat, as values.
//!
//! Owns: the heartbeat of one session; everything else is a function from bytes to bytes.
//! Imports: `base`.
//!
//! Holds at all times: nothing here allocates on a claimed length, and every packet that is
//! accepted can be written again.
//!
//! Read first: `packet.rs`, `payload.rs`, then `heartbeat.rs`.

mod handshake;
mod heartbeat;
mod packet;
mod payload;

pub use handshake::open_packet;
pub use heartbeat::{Beat, Heartbeat};
pub use packet::{Kind, PacketError, Revision};
pub use payload::{
    Piece, encode_v3_binary, encode_v3_piece, encode_v3_text, next_v3, next_v3_binary, next_v4,
    read_v3,
};
