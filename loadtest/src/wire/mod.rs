//! # wire: bytes to and from a server
//!
//! Owns: sockets and their epoll set, WebSocket frames, the Engine.IO and Socket.IO handshakes,
//! HTTP for polling, REST calls and the question which server it is.
//! Imports: `clock`, and from `scenario` the transport's name.
//!
//! Holds at all times:
//! - nothing is allocated for a message: frames are read where the kernel put them, and written
//!   into a buffer that a connection keeps;
//! - what is sent to a connection in one tick leaves in one write;
//! - the server is trusted: sizes are capped, but hostile input is not a subject here.
//!
//! Read first: `net.rs`, then `input.rs`.

pub mod frame;
mod handshake;
pub mod helpers;
mod http;
mod input;
pub mod net;
mod poll;
pub mod rest;
pub mod target;
pub mod version;
