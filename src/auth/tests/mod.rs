//! Tokens against keys, one broken rule after the other.

mod noise;
mod order;
mod vectors;

use serde_json::Value;

use super::{Key, KeySet, Signer};
use crate::config::JwtAlg;

/// Long enough for every hash.
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// A time to judge tokens at.
const NOW_MS: u64 = 1_800_000_000_000;
const NOW_S: u64 = NOW_MS / 1_000;

fn hmac_key(kid: Option<&str>, algs: &[JwtAlg]) -> KeySet {
    KeySet::new(vec![Key::secret(kid, algs, SECRET).unwrap()])
}

fn signed(alg: JwtAlg, kid: Option<&str>, claims: &Value) -> String {
    Signer::secret(alg, kid, SECRET).unwrap().sign(claims).unwrap()
}
