//! # targets: what every parser must keep, whatever the bytes
//!
//! A target takes any bytes and panics where a rule is broken. Beyond "no panic" each one has a
//! rule that an oracle, a second reading or the way back decides.
//!
//! Owns: nothing. Imports: the codecs of `corewire`; oracles from crates.
//!
//! Holds at all times: equal bytes, equal verdict. Where chance is wanted (where to cut), the bytes
//! themselves are its seed.
//!
//! A new parser is a function here and a row in [`TARGETS`]; `.ci/long fuzz` then runs it, and
//! `tests/fuzz.rs` replays what is kept of it in `corpus/`.

mod backends;
mod config;
mod deflate;
mod engineio;
mod http;
mod json;
mod packets;
mod proxies;
mod rest;
mod sibling;
mod tokens;
mod ws;

use corewire::base::Rng;

/// One parser and its rules.
pub(crate) struct Target {
    /// Its name, and the name of its folder in `corpus/`.
    pub(crate) name: &'static str,
    /// Panics where a rule is broken.
    pub(crate) run: fn(&[u8]),
}

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    Target { name: "http_head", run: http::head },
    Target { name: "http_body", run: http::body },
    Target { name: "http_query", run: http::query },
    Target { name: "ws_frames", run: ws::frames },
    Target { name: "ws_stream", run: ws::stream },
    Target { name: "ws_extensions", run: deflate::extensions },
    Target { name: "inflate", run: deflate::inflate },
    Target { name: "deflate", run: deflate::deflate },
    Target { name: "proxy", run: proxies::header },
    Target { name: "forwarded", run: proxies::forwarded },
    Target { name: "engineio", run: engineio::payload },
    Target { name: "packet", run: packets::text },
    Target { name: "msgpack", run: packets::msgpack },
    Target { name: "json", run: json::value },
    Target { name: "b64", run: json::binary },
    Target { name: "rest", run: rest::body },
    Target { name: "token", run: tokens::token },
    Target { name: "jwks", run: tokens::documents },
    Target { name: "config", run: config::file },
    Target { name: "sibling", run: sibling::message },
    Target { name: "broker", run: backends::message },
    Target { name: "hook", run: backends::hook },
];

/// The target of that name.
pub(crate) fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Chance of which the bytes are the seed.
fn chance(bytes: &[u8]) -> Rng {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
    Rng::new(bytes.iter().fold(0xCBF2_9CE4_8422_2325, mix), 0xF022)
}

/// The bytes in up to so many pieces, some of them empty.
fn pieces(bytes: &[u8], count: usize) -> Vec<&[u8]> {
    let mut rng = chance(bytes);
    let (mut rest, mut pieces) = (bytes, Vec::new());
    for _ in 1..count {
        let (piece, after) = rest.split_at(rng.below(rest.len() + 1));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

/// The first byte, as a choice, and what follows it.
fn choice(bytes: &[u8]) -> (u8, &[u8]) {
    bytes.split_first().map_or((0, bytes), |(first, rest)| (*first, rest))
}
