//! Published keys (RFC 7517).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::key::{Key, KeySet};
use crate::config::{JwtAlg, JwtFamily};

/// Bytes of the longest document that is read.
pub const JWKS_BYTES_MAX: usize = 262_144;
/// Keys of one document that are taken; the rest is as if it did not stand there.
const KEYS_MAX: usize = 64;

/// Rule: RFC 7517 section 5: `keys`, of which those are ignored that are not understood.
#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Reads a document. Keys that cannot be used are left out; `None` if it is no document at all.
///
/// Secrets (`oct`) are left out too: what is published is no secret, and a document that mixes both
/// must not turn a public key into one.
#[must_use]
pub fn jwks(json: &[u8]) -> Option<KeySet> {
    if json.len() > JWKS_BYTES_MAX {
        return None;
    }
    let document: Document = serde_json::from_slice(json).ok()?;
    let keys =
        document.keys.into_iter().filter_map(|value| key(&serde_json::from_value(value).ok()?));
    Some(KeySet::new(keys.take(KEYS_MAX).collect()))
}

const RSA_ALGS: &[JwtAlg] =
    &[JwtAlg::Rs256, JwtAlg::Rs384, JwtAlg::Rs512, JwtAlg::Ps256, JwtAlg::Ps384, JwtAlg::Ps512];

fn key(jwk: &Jwk) -> Option<Key> {
    let signs = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
    let verifies = jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
    if !signs || !verifies {
        return None;
    }
    let family = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => JwtFamily::Rsa,
        ("EC", Some("P-256")) => JwtFamily::P256,
        ("EC", Some("P-384")) => JwtFamily::P384,
        ("OKP", Some("Ed25519")) => JwtFamily::Ed25519,
        _ => return None,
    };
    let own: &[JwtAlg] = match family {
        JwtFamily::Hmac => return None,
        JwtFamily::Rsa => RSA_ALGS,
        JwtFamily::P256 => &[JwtAlg::Es256],
        JwtFamily::P384 => &[JwtAlg::Es384],
        JwtFamily::Ed25519 => &[JwtAlg::EdDsa],
    };
    let named;
    let algs = match &jwk.alg {
        None => own,
        // Rule: RFC 9864 section 2.2: EdDSA on this curve has a name of its own now.
        Some(word) if word == "Ed25519" && family == JwtFamily::Ed25519 => own,
        Some(word) => {
            named = [JwtAlg::from_word(word).filter(|alg| own.contains(alg))?];
            &named
        }
    };
    let kid = jwk.kid.as_deref();
    let part = |part: &Option<String>, bytes: usize| {
        let part = URL_SAFE_NO_PAD.decode(part.as_deref()?).ok()?;
        (bytes == 0 || part.len() == bytes).then_some(part)
    };
    match family {
        JwtFamily::Hmac => None,
        JwtFamily::Rsa => Key::rsa(kid, algs, &part(&jwk.n, 0)?, part(&jwk.e, 0)?).ok(),
        JwtFamily::P256 | JwtFamily::P384 => {
            // Rule: RFC 7518 section 6.2.1.2: both at full length.
            let bytes = if family == JwtFamily::P256 { 32 } else { 48 };
            // Rule: SEC 1 section 2.3.3: an uncompressed point.
            let point = [vec![4], part(&jwk.x, bytes)?, part(&jwk.y, bytes)?].concat();
            Some(Key::raw(kid, algs, point))
        }
        JwtFamily::Ed25519 => Some(Key::raw(kid, algs, part(&jwk.x, 32)?)),
    }
}
