//! # assets: the client bundle
//!
//! The files of the `socket.io-client` package that a Socket.IO server hands out, embedded. They
//! are MIT licensed; the licence stands beside them.
//!
//! Owns: nothing at run time. Imports: `shard` (the type of a bundle).

use crate::shard::Assets;

/// The version of the embedded client.
const VERSION: &str = "4.8.4";

const SCRIPT: &str = "application/javascript; charset=utf-8";
const MAP: &str = "application/json; charset=utf-8";

/// The bundle and its version.
#[must_use]
pub fn bundle() -> Option<(Assets, &'static str)> {
    Some((file, VERSION))
}

/// Declares each file once: it is served under its own name.
macro_rules! files {
    ($name:expr; $( $file:literal: $media:expr, )+) => {
        match $name {
            $( $file => Some(($media, include_bytes!($file).as_slice())), )+
            _ => None,
        }
    };
}

fn file(name: &str) -> Option<(&'static str, &'static [u8])> {
    files! { name;
        "socket.io.js": SCRIPT,
        "socket.io.js.map": MAP,
        "socket.io.min.js": SCRIPT,
        "socket.io.min.js.map": MAP,
        "socket.io.esm.min.js": SCRIPT,
        "socket.io.esm.min.js.map": MAP,
        "socket.io.msgpack.min.js": SCRIPT,
        "socket.io.msgpack.min.js.map": MAP,
    }
}
