//! The order of the rules, and each rule by itself.

use serde_json::{Value, json};

use super::super::*;
use super::{NOW_MS, NOW_S, SECRET, hmac_key, signed};
use crate::config::{JwtAlg, JwtAlg::*};

fn strict() -> TokenRules {
    TokenRules { audience: vec!["here".into()], issuer: vec!["us".into()], leeway_ms: 30_000 }
}

fn good() -> Value {
    json!({"sub": "ann", "exp": NOW_S + 60, "iat": NOW_S, "aud": "here", "iss": "us"})
}

fn verdict(claims: &Value) -> Result<Claims, TokenError> {
    verify(&signed(Hs256, None, claims), &hmac_key(None, &[Hs256]), &strict(), NOW_MS)
}

fn with(name: &str, value: Value) -> Result<Claims, TokenError> {
    let mut claims = good();
    claims[name] = value;
    verdict(&claims)
}

#[test]
fn a_good_token_is_read_whole() {
    let mut claims = good();
    claims["sid"] = json!("s1");
    claims["jti"] = json!("t1");
    claims["sio"] = json!({
        "ns": ["/"], "rooms": ["team:1"], "labels": {"plan": "pro"}, "info": {"name": "Ann"},
        "caps": [{"rooms": ["order:*"], "allow": ["join", "emit"]}], "expire_at": NOW_S + 5,
    });
    let read = verdict(&claims).unwrap();
    assert_eq!((&*read.user, read.session.as_deref()), ("ann", Some("s1")));
    assert_eq!(read.token_id.as_deref(), Some("t1"));
    assert_eq!(read.expires_unix_ms, Some(NOW_MS + 60_000));
    assert_eq!(read.end_unix_ms(), Some(NOW_MS + 5_000));
    assert_eq!(read.rooms, ["team:1"]);
    assert_eq!(read.labels, [("plan".to_owned(), "pro".to_owned())]);
    assert_eq!(read.info.as_deref(), Some(r#"{"name":"Ann"}"#));
    assert!(read.grants.permits("order:7", Deed::Join) && read.grants.permits_namespace("/"));
    assert!(!read.grants.permits_namespace("/ops"));
}

#[test]
fn one_broken_rule_each() {
    for (name, value, error) in [
        ("exp", json!(NOW_S - 30), TokenError::Expired),
        ("exp", json!("soon"), TokenError::BadClaims),
        ("exp", json!(-1), TokenError::BadClaims),
        ("exp", json!(1e300), TokenError::BadClaims),
        ("exp", json!(null), TokenError::BadClaims),
        ("nbf", json!(NOW_S + 31), TokenError::NotYetValid),
        ("aud", json!("there"), TokenError::WrongAudience),
        ("aud", json!([]), TokenError::WrongAudience),
        ("iss", json!("them"), TokenError::WrongIssuer),
        ("sub", json!(7), TokenError::BadClaims),
        ("sub", json!(""), TokenError::BadClaims),
        ("sub", json!("a\nb"), TokenError::BadClaims),
        ("sub", json!("x".repeat(257)), TokenError::BadClaims),
        ("sio", json!([]), TokenError::BadClaims),
        ("sio", json!({"rooms": ["user:bob"]}), TokenError::BadClaims),
        ("sio", json!({"rooms": vec!["r"; 65]}), TokenError::BadClaims),
        ("sio", json!({"caps": [{"rooms": ["x"], "allow": ["fly"]}]}), TokenError::BadClaims),
        ("sio", json!({"labels": {"a": "x".repeat(65)}}), TokenError::BadClaims),
        ("sio", json!({"labels": null}), TokenError::BadClaims),
        // Where an absent member permits more, a `null` must not be taken for an absent one.
        ("sio", json!({"ns": null}), TokenError::BadClaims),
        ("sio", json!({"session": null}), TokenError::BadClaims),
        ("sio", json!({"expire_at": null}), TokenError::BadClaims),
        ("sio", json!({"info": "x".repeat(1_025)}), TokenError::BadClaims),
        ("sio", json!({"expire_at": NOW_S - 31}), TokenError::Expired),
    ] {
        assert_eq!(with(name, value.clone()), Err(error), "{name} {value}");
    }
}

#[test]
fn clocks_may_be_apart_and_no_further() {
    assert!(with("exp", json!(NOW_S - 29)).is_ok());
    assert!(with("nbf", json!(NOW_S + 30)).is_ok());
    assert!(with("aud", json!(["there", "here"])).is_ok());
    assert!(with("exp", json!(NOW_S as f64 - 29.999)).is_ok());
    let mut claims = good();
    claims.as_object_mut().unwrap().remove("exp");
    assert_eq!(verdict(&claims).unwrap().end_unix_ms(), None);
}

/// The verdict on claims as they are written.
fn written(claims: &str) -> Result<Claims, TokenError> {
    use base64::Engine as _;
    let b64 = |text: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", b64(br#"{"alg":"HS256"}"#), b64(claims.as_bytes()));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET);
    let signature = b64(ring::hmac::sign(&key, message.as_bytes()).as_ref());
    let rules = TokenRules::default();
    verify(&format!("{message}.{signature}"), &hmac_key(None, &[Hs256]), &rules, NOW_MS)
}

#[test]
fn a_claim_that_stands_there_twice_is_no_claim() {
    assert!(written(r#"{"sub":"ann"}"#).is_ok());
    for claims in [
        r#"{"sub":"ann","sub":"bob"}"#,
        r#"{"sub":"ann","s\u0075b":"bob"}"#,
        r#"{"sub":"ann","sio":{"ns":["/"],"ns":["/ops"]}}"#,
        r#"{"sub":"ann","sio":{"labels":{"plan":"free","plan":"pro"}}}"#,
        r#"{"sub":"ann","sio":{},"sio":{}}"#,
    ] {
        assert_eq!(written(claims), Err(TokenError::BadClaims), "{claims}");
    }
}

#[test]
fn what_a_token_says_besides_is_its_issuers_affair() {
    // Members of answers about opaque tokens mean nothing here.
    let claims = written(r#"{"sub":"ann","username":5,"active":"maybe"}"#).unwrap();
    assert_eq!(claims.user, "ann");
    let nobody = written(r#"{"username":"admin","active":true}"#);
    assert_eq!(nobody, Err(TokenError::BadClaims), "a user is the sub and nothing else");
    let bomb = format!(r#"{{"sub":"ann","x":{}{}}}"#, "[".repeat(2_000), "]".repeat(2_000));
    assert!(written(&bomb).is_ok(), "what is not looked at is not gone into");
    let bomb = format!(r#"{{"sub":{}{}}}"#, "[".repeat(2_000), "]".repeat(2_000));
    assert_eq!(written(&bomb), Err(TokenError::BadClaims));
    for claims in ["", "null", "[]", "7", "{", "{}", "\u{feff}{}", r#"{"sub":"ann"} {}"#] {
        assert_eq!(written(claims), Err(TokenError::BadClaims), "{claims}");
    }
    for exp in ["1e400", "-0.1", "253402300800", "\"9999999999\"", "true", "[9999999999]"] {
        let claims = format!(r#"{{"sub":"ann","exp":{exp}}}"#);
        assert_eq!(written(&claims), Err(TokenError::BadClaims), "{exp}");
    }
    assert_eq!(written(r#"{"sub":"ann","exp":-0.0}"#), Err(TokenError::Expired));
}

#[test]
fn a_key_is_used_with_its_own_algorithms_only() {
    let judge = |alg: JwtAlg, kid: Option<&str>, keys: &KeySet| {
        verify(&signed(alg, kid, &good()), keys, &strict(), NOW_MS).map(drop)
    };
    for alg in [Hs256, Hs384, Hs512] {
        assert_eq!(judge(alg, None, &hmac_key(None, &[alg])), Ok(()));
    }
    let keys = hmac_key(Some("a"), &[Hs512]);
    assert_eq!(judge(Hs512, Some("a"), &keys), Ok(()));
    assert_eq!(judge(Hs512, None, &keys), Ok(()), "a token without kid can be of any key");
    assert_eq!(judge(Hs256, Some("a"), &keys), Err(TokenError::AlgorithmNotAllowed));
    for kid in ["b", "../../a", "a' OR '1'='1", "/dev/null", ""] {
        assert_eq!(judge(Hs512, Some(kid), &keys), Err(TokenError::UnknownKey), "{kid}");
    }
    let other = KeySet::new(vec![Key::secret(Some("a"), &[Hs512], &[7; 64]).unwrap()]);
    assert_eq!(judge(Hs512, Some("a"), &other), Err(TokenError::BadSignature));
    let both = KeySet::new(other.iter().chain(keys.iter()).cloned().collect());
    assert_eq!(judge(Hs512, Some("a"), &both), Ok(()), "one of two keys of that name");
}

/// The classic: a public key taken for a shared secret.
#[test]
fn a_public_key_is_no_secret() {
    let jwk = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    let token = signed(Hs256, Some("a"), &good());
    let verdict = verify(&token, &jwks(jwk.as_bytes()).unwrap(), &strict(), NOW_MS);
    assert_eq!(verdict, Err(TokenError::AlgorithmNotAllowed));
}

#[test]
fn what_is_no_token_is_told_before_anything_is_computed() {
    use base64::Engine as _;
    let b64 = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let token = signed(Hs256, None, &good());
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (_, payload) = message.split_once('.').unwrap();
    let headed = |header: &str| format!("{}.{payload}.{signature}", b64(header));
    for (token, error) in [
        (String::new(), TokenError::Missing),
        ("x".repeat(TOKEN_BYTES_MAX + 1), TokenError::TooLarge),
        ("abc".into(), TokenError::Malformed),
        ("a.b.c".into(), TokenError::Malformed),
        (format!("{token}.x.y"), TokenError::Malformed),
        (format!("{token}="), TokenError::Malformed),
        (headed("[]"), TokenError::Malformed),
        (headed(r#"{"alg":"HS256","crit":["exp"]}"#), TokenError::Malformed),
        (headed(r#"{"alg":"HS256","crit":null}"#), TokenError::Malformed),
        (headed(r#"{"alg":"HS256","crit":[]}"#), TokenError::Malformed),
        (headed(r#"{"alg":"HS256","crit":"exp"}"#), TokenError::Malformed),
        (headed(r#"{"alg":"HS256","crit":[null]}"#), TokenError::Malformed),
        (headed(r#"{"alg":"HS256","cr\u0069t":{}}"#), TokenError::Malformed),
        (headed(r#"{"alg":"HS256","crit":["b64"],"b64":true}"#), TokenError::Malformed),
        (headed(r#"{"alg":"HS256","b64":false}"#), TokenError::Malformed),
        (headed(r#"{"alg":"HS256","b64":null}"#), TokenError::Malformed),
        (headed(r#"{"alg":"HS256","b64":"false"}"#), TokenError::Malformed),
        (headed(r#"{"alg":"HS256","b64":true}"#), TokenError::BadSignature),
        (headed(r#"{"alg":"HS256","alg":"none"}"#), TokenError::Malformed),
        (headed(r#"{"alg":"HS256","kid":7}"#), TokenError::Malformed),
        (headed(r#"{"alg":"none"}"#), TokenError::AlgorithmNotAllowed),
        (headed(r#"{"alg":"None"}"#), TokenError::AlgorithmNotAllowed),
        (headed(r#"{"alg":""}"#), TokenError::AlgorithmNotAllowed),
        (headed(r#"{"alg":"hs256"}"#), TokenError::AlgorithmNotAllowed),
        (headed(r#"{"alg":"RS256"}"#), TokenError::AlgorithmNotAllowed),
        (headed(r#"{"alg":"HS256","jku":"http://evil"}"#), TokenError::BadSignature),
        (format!("{message}."), TokenError::BadSignature),
    ] {
        let verdict = verify(&token, &hmac_key(None, &[Hs256]), &strict(), NOW_MS);
        assert_eq!(verdict, Err(error), "{token}");
    }
}

#[test]
fn codes_are_each_their_own() {
    let mut codes: Vec<&str> = TokenError::ALL.iter().map(|error| error.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), TokenError::ALL.len());
}

#[test]
fn secrets_are_as_long_as_their_hash() {
    assert_eq!(Key::secret(None, &[Hs256], &[1; 31]).unwrap_err(), KeyFault::TooShort);
    assert_eq!(Key::secret(None, &[Hs256, Hs512], &[1; 63]).unwrap_err(), KeyFault::TooShort);
    assert_eq!(Key::secret(None, &[Rs256], &[1; 64]).unwrap_err(), KeyFault::WrongFamily);
    assert_eq!(Key::public_pem(None, &[Rs256], "x").unwrap_err(), KeyFault::NoPublicKey);
}

#[test]
fn keys_that_cannot_be_used_are_left_out_of_a_document() {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let ed = |more: Value| {
        let mut key = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        jwks(json!({"keys": [key, "no key", {"kty": 7}]}).to_string().as_bytes()).unwrap().len()
    };
    assert_eq!(ed(json!({})), 1);
    assert_eq!(ed(json!({"use": "sig", "alg": "EdDSA", "key_ops": ["verify"]})), 1);
    assert_eq!(ed(json!({"use": "enc"})), 0);
    assert_eq!(ed(json!({"alg": "RS256"})), 0);
    assert_eq!(ed(json!({"key_ops": ["sign"]})), 0);
    assert_eq!(ed(json!({"x": "AAAA"})), 0);
    assert_eq!(ed(json!({"kty": "oct", "k": "AAAA"})), 0);
    assert_eq!(ed(json!({"crv": "secp256k1"})), 0);
    assert!(jwks(b"[]").is_none() && jwks(b"").is_none() && jwks(&[b' '; 300_000]).is_none());
    let many = json!({"keys": vec![json!({"kty": "OKP", "crv": "Ed25519", "x": x}); 100]});
    assert_eq!(jwks(many.to_string().as_bytes()).unwrap().len(), 64);
    let short = json!({"keys": [{"kty": "RSA", "e": "AQAB", "n": "AQAB"}]});
    assert_eq!(jwks(short.to_string().as_bytes()).unwrap().len(), 0);
}

#[test]
fn answers_of_providers() {
    let read = |json: Value| introspection(json.to_string().as_bytes());
    assert_eq!(read(json!({"active": false, "sub": 7})), Some(Ok(Introspected::Inactive)));
    assert_eq!(read(json!({"active": "yes"})), None);
    assert_eq!(read(json!({"error": "invalid_client"})), None);
    assert_eq!(read(json!({"active": true})), Some(Err(TokenError::BadClaims)));
    let Some(Ok(Introspected::Active(claims))) =
        read(json!({"active": true, "username": "ann", "exp": NOW_S, "scope": "a b"}))
    else {
        panic!("it is active")
    };
    assert_eq!((&*claims.user, claims.expires_unix_ms), ("ann", Some(NOW_MS)));

    let document = json!({"issuer": "https://idp", "jwks_uri": "https://idp/keys"}).to_string();
    assert_eq!(discovery(document.as_bytes(), "https://idp").unwrap().jwks_uri, "https://idp/keys");
    assert_eq!(discovery(document.as_bytes(), "https://idp/"), None, "to the letter");
    for weaker in [
        json!({"issuer": "https://idp", "jwks_uri": "http://idp/keys"}),
        json!({"issuer": "https://idp", "jwks_uri": "https://idp/keys",
            "introspection_endpoint": "http://idp/ask"}),
        json!({"issuer": "https://idp", "jwks_uri": ""}),
    ] {
        assert_eq!(discovery(weaker.to_string().as_bytes(), "https://idp"), None, "{weaker}");
    }
    let plain = json!({"issuer": "http://idp", "jwks_uri": "http://idp/keys"}).to_string();
    assert!(discovery(plain.as_bytes(), "http://idp").is_some(), "no weaker than it was asked");
}

#[test]
fn what_is_taken_back_stays_so_until_its_time_is_over() {
    let mut revoked = Revoked::new(3);
    revoked.add(&Revoke::Token("t1".into()), 100, 0).unwrap();
    revoked.add(&Revoke::User("ann".into(), Some(50)), 100, 0).unwrap();
    revoked.add(&Revoke::User("bob".into(), None), 100, 0).unwrap();
    for (user, id, issued, held) in [
        ("eve", "t1", Some(60), true),
        ("eve", "t2", Some(60), false),
        ("ann", "t3", Some(49), true),
        ("ann", "t3", Some(50), false),
        ("ann", "t3", None, true),
        ("bob", "t4", Some(1_000), true),
    ] {
        assert_eq!(revoked.holds(user, Some(id), issued, 99), held, "{user} {id} {issued:?}");
        assert!(!revoked.holds(user, Some(id), issued, 100), "{user} {id}");
    }
    assert_eq!(revoked.add(&Revoke::Token("t9".into()), 100, 1), Err(RevocationsFull));
    revoked.add(&Revoke::User("ann".into(), Some(70)), 90, 1).unwrap();
    assert!(revoked.holds("ann", Some("t3"), Some(69), 99), "the wider of two holds");
    revoked.add(&Revoke::Token("t9".into()), 200, 101).unwrap();
    assert_eq!(revoked.len(), 3, "what is over makes room, as much as is needed");
    assert!(revoked.holds("eve", Some("t9"), None, 150));
    revoked.add(&Revoke::Before(70), 200, 101).unwrap();
    assert!(revoked.holds("eve", Some("x"), Some(69), 150));
    assert!(!revoked.holds("eve", Some("x"), Some(70), 150));
}

#[test]
fn what_is_taken_back_again_is_forgotten_when_the_longer_time_is_over() {
    let mut revoked = Revoked::new(2);
    let (token, user) = (Revoke::Token("t1".into()), Revoke::User("ann".into(), None));
    for until in [300, 100, 200] {
        revoked.add(&token, until, 0).unwrap();
        revoked.add(&user, until, 0).unwrap();
    }
    let other = Revoke::Token("t2".into());
    assert_eq!(revoked.add(&other, 900, 299), Err(RevocationsFull));
    assert!(revoked.holds("eve", Some("t1"), None, 299) && revoked.holds("ann", None, None, 299));
    revoked.add(&other, 900, 300).unwrap();
    revoked.add(&Revoke::Token("t3".into()), 900, 300).unwrap();
    assert_eq!(revoked.add(&Revoke::Token("t4".into()), 900, 300), Err(RevocationsFull));
    assert_eq!(revoked.len(), 2);
}
