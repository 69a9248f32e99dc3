//! Tokens, and what identity providers publish and answer.

use std::sync::LazyLock;

use corewire::auth::{
    Claims, Introspected, Key, KeySet, Signer, TOKEN_BYTES_MAX, TokenRules, discovery, header,
    introspection, jwks, payload, pem, verify,
};
use corewire::config::JwtAlg;
use serde_json::Value;

use super::choice;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW_MS: u64 = 1_800_000_000_000;

/// Made once: what costs here is to be the reading.
static KEYS: LazyLock<(KeySet, Signer)> = LazyLock::new(|| {
    let key = Key::secret(None, &[JwtAlg::Hs256], SECRET).expect("it is long enough");
    let signer = Signer::secret(JwtAlg::Hs256, None, SECRET).expect("it is long enough");
    (KeySet::new(vec![key]), signer)
});

/// Nothing that was not signed gets in; of what was signed, just what it says.
pub(super) fn token(bytes: &[u8]) {
    let (keys, signer) = &*KEYS;
    let rules = TokenRules::default();
    let text = String::from_utf8_lossy(bytes);
    let read = header(&text);
    if let Ok(claims) = verify(&text, keys, &rules, NOW_MS) {
        // Only the way it is signed here makes such a token.
        let said = payload(&text).expect("it was verified");
        assert_eq!(Claims::read(&said).as_ref(), Ok(&claims));
        let message = text.rsplit_once('.').expect("it was verified").0;
        assert!(read.is_ok_and(|header| header.alg == JwtAlg::Hs256), "{message}");
    }
    // What is not understood is not looked at: a claim of someone else's may be no value.
    let _read = Claims::read(bytes);
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    // Written from a value, members that stood there twice stand there once.
    let plain = value.to_string();
    let Ok(signed) = signer.sign(&value) else { return };
    let verdict = verify(&signed, keys, &rules, NOW_MS);
    if signed.len() > TOKEN_BYTES_MAX {
        return assert!(verdict.is_err(), "a token of {} bytes", signed.len());
    }
    match (Claims::read(plain.as_bytes()), verdict) {
        (Ok(stated), Ok(claims)) => {
            assert_eq!(stated, claims);
            assert!(claims.expires_unix_ms.is_none_or(|at| at > NOW_MS), "it is over");
            assert!(claims.not_before_unix_ms.is_none_or(|at| at <= NOW_MS), "it is too early");
            assert!(!claims.user.is_empty() && claims.user.len() <= 256);
        }
        (Err(_), Ok(claims)) => panic!("{claims:?} out of claims that are none"),
        (_, Err(_)) => {}
    }
    let mut bent = signed.into_bytes();
    let at = bytes.len() % bent.len();
    bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
    let bent = String::from_utf8(bent).expect("ASCII");
    assert!(verify(&bent, keys, &rules, NOW_MS).is_err(), "bent at {at}: {bent}");
}

/// Documents of others: nothing of a secret in them, and claims as in a token.
pub(super) fn documents(bytes: &[u8]) {
    let (first, rest) = choice(bytes);
    match first % 4 {
        0 => {
            let Some(keys) = jwks(rest) else { return };
            assert!(keys.len() <= 64);
            // Nothing that is published is a secret with which one could sign.
            let (_, signer) = &*KEYS;
            let token = signer.sign(&serde_json::json!({"sub": "ann"})).expect("claims");
            assert!(verify(&token, &keys, &TokenRules::default(), NOW_MS).is_err());
        }
        1 => {
            let Some(Ok(Introspected::Active(claims))) = introspection(rest) else { return };
            assert!(!claims.user.is_empty() && claims.user.len() <= 256);
        }
        2 => {
            let Some(found) = discovery(rest, "https://i") else { return };
            assert_eq!(found.issuer, "https://i");
        }
        _ => {
            let text = String::from_utf8_lossy(rest);
            if let Some(der) = pem(&text, "PUBLIC KEY") {
                assert!(der.len() <= text.len());
            }
            for alg in [JwtAlg::Rs256, JwtAlg::Es256, JwtAlg::EdDsa] {
                let key = Key::public_pem(None, &[alg], &text);
                assert!(key.is_err() || text.contains("BEGIN PUBLIC KEY"));
            }
            let secret = Key::public_pem(None, &[JwtAlg::Hs256], &text);
            assert!(secret.is_err(), "a public key taken for a secret");
        }
    }
}
