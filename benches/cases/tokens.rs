//! Tokens with a shared secret, which workers verify themselves.

use corewire::auth::{Key, KeySet, Signer, TokenPlan, TokenRules, verify};
use corewire::config::JwtAlg;

use super::{Case, Live, steady};

/// The rows of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![Case::new("auth/verify-hs256", "token", hs256)]
}

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW_S: u64 = 1_800_000_000;

/// Claims as an issuer writes them: a user, a session, audience, issuer, and caps.
fn hs256() -> Box<dyn Live> {
    let plan = TokenPlan {
        user: String::from("user-0123456789"),
        session: Some(String::from("session-0123456789")),
        token_id: Some(String::from("0123456789abcdef")),
        issued_unix_s: NOW_S,
        expires_unix_s: NOW_S + 900,
        issuer: Some(String::from("https://login.example")),
        audience: Some(String::from("chat")),
        caps: vec![(String::from("order:*"), vec![String::from("join"), String::from("emit")])],
        ..TokenPlan::default()
    };
    let signer = Signer::secret(JwtAlg::Hs256, Some("k1"), SECRET).expect("it takes a secret");
    let token = signer.sign(&plan.claims()).expect("it signs");
    let key = Key::secret(Some("k1"), &[JwtAlg::Hs256], SECRET).expect("it is long enough");
    let rules = TokenRules {
        audience: vec![String::from("chat")],
        issuer: vec![String::from("https://login.example")],
        leeway_ms: 30_000,
    };
    steady((token, KeySet::new(vec![key]), rules), |(token, keys, rules)| {
        assert!(verify(token, keys, rules, NOW_S * 1_000).is_ok());
    })
}
