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

/// The bundle and its version.
#[must_use]
pub fn bundle() -> Option<(Assets, &'static str)> {
    Some((file, VERSION))
}

fn file(name: &str) -> Option<(&'static str, &'static [u8])> {
    let bytes: &[u8] = match name {
        "socket.io.js" => include_bytes!("socket.io.js"),
        "socket.io.min.js" => include_bytes!("socket.io.min.js"),
        "socket.io.esm.min.js" => include_bytes!("socket.io.esm.min.js"),
        "socket.io.msgpack.min.js" => include_bytes!("socket.io.msgpack.min.js"),
        _ => return None,
    };
    Some((SCRIPT, bytes))
}
