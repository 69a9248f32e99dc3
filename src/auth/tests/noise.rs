//! Whatever the bytes are, nothing panics, and nothing but what was signed gets in.

use serde_json::json;

use super::super::*;
use super::{NOW_MS, NOW_S, hmac_key, signed};
use crate::base::Rng;
use crate::config::JwtAlg::Hs256;

const ALPHABET: &[u8] =
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.={}\":,\\ \xC3\xA4";

fn noise(rng: &mut Rng, length: usize) -> Vec<u8> {
    (0..length).map(|_| ALPHABET[rng.below(ALPHABET.len())]).collect()
}

#[test]
fn a_token_with_a_byte_changed_is_refused() {
    let token = signed(Hs256, Some("k"), &json!({"sub": "ann", "exp": NOW_S + 9}));
    let keys = hmac_key(Some("k"), &[Hs256]);
    let rules = TokenRules::default();
    assert!(verify(&token, &keys, &rules, NOW_MS).is_ok());
    let mut rng = Rng::new(1, 0xA17);
    for round in 0..20_000 {
        let mut bytes = token.clone().into_bytes();
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len());
            match rng.below(3) {
                0 => bytes[at] = ALPHABET[rng.below(68)],
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, ALPHABET[rng.below(68)]),
            }
        }
        let Ok(changed) = String::from_utf8(bytes) else { continue };
        let verdict = verify(&changed, &keys, &rules, NOW_MS);
        assert!(changed == token || verdict.is_err(), "round {round}: {changed}");
    }
}

#[test]
fn noise_is_told_from_everything_that_is_read() {
    let keys = hmac_key(None, &[Hs256]);
    for seed in 0..20_000 {
        let mut rng = Rng::new(seed, 0xA18);
        let length = rng.below(200);
        let bytes = noise(&mut rng, length);
        let text = String::from_utf8_lossy(&bytes);
        assert!(verify(&text, &keys, &TokenRules::default(), NOW_MS).is_err());
        assert!(Claims::read(&bytes).is_err());
        assert!(introspection(&bytes).is_none() && discovery(&bytes, "x").is_none());
        assert!(jwks(&bytes).is_none());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----");
        assert!(Key::public_pem(None, &[Hs256], &pem).is_err());
        assert!(Signer::private_pem(Hs256, None, &pem).is_err());
        assert!(super::super::der::public_key(&bytes).is_none());
    }
}

/// DER whose lengths lie, behind a beginning that is right.
#[test]
fn a_public_key_cut_or_bent_is_no_key_and_no_panic() {
    use base64::Engine as _;
    let der = "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    let der = base64::engine::general_purpose::STANDARD.decode(der).unwrap();
    assert!(super::super::der::public_key(&der).is_some());
    for cut in 0..der.len() {
        assert!(super::super::der::public_key(&der[..cut]).is_none());
    }
    for at in 0..12 {
        for byte in 0..=255 {
            let mut bent = der.clone();
            bent[at] = byte;
            let read = super::super::der::public_key(&bent);
            assert!(read.is_none() || bent == der, "{at} {byte}");
        }
    }
}
