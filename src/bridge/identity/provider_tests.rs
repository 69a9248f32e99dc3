//! A provider that is a few lines of HTTP, and a clock that is set by hand.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::provider::Provider;
use crate::auth::{KeySet, TokenError};
use crate::config::{AuthMode, IdpError, Options};

const START_MS: u64 = 1_800_000_000_000;

/// Answers by path, or by token where it is asked about one: a status and a body. What has none is
/// answered 404.
#[derive(Default)]
struct Pages {
    answers: BTreeMap<String, (u16, String)>,
    calls: Vec<String>,
}

/// An identity provider. Ends with the test's process.
#[derive(Clone)]
struct Idp {
    pages: Arc<Mutex<Pages>>,
    url: String,
}

impl Idp {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let idp = Self { pages: Arc::default(), url };
        let serving = idp.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                serving.answer(stream);
            }
        });
        idp
    }

    fn answer(&self, mut stream: TcpStream) {
        let Some((path, token)) = read(&mut stream) else { return };
        let mut pages = self.pages.lock().unwrap();
        let name = token.unwrap_or(path);
        let (status, body) = pages.answers.get(&name).cloned().unwrap_or((404, String::new()));
        pages.calls.push(name);
        drop(pages);
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}");
        let _gone = stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes());
    }

    fn says(&self, name: &str, status: u16, body: &Value) {
        let mut pages = self.pages.lock().unwrap();
        pages.answers.insert(name.into(), (status, body.to_string()));
    }

    fn forgets(&self, name: &str) {
        self.pages.lock().unwrap().answers.remove(name);
    }

    /// How often it was asked for something.
    fn calls(&self, name: &str) -> usize {
        self.pages.lock().unwrap().calls.iter().filter(|call| *call == name).count()
    }

    /// Says where its keys are, and where it is asked about tokens.
    fn describes(&self, keys: &str, introspection: &str) {
        let url = &self.url;
        let document = json!({
            "issuer": url,
            "jwks_uri": format!("{url}{keys}"),
            "introspection_endpoint": format!("{url}{introspection}"),
        });
        self.says(DESCRIPTION, 200, &document);
    }
}

const DESCRIPTION: &str = "/.well-known/openid-configuration";

/// The path of a request, and the token of its form.
fn read(stream: &mut TcpStream) -> Option<(String, Option<String>)> {
    let (mut request, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        request.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.to_lowercase();
        let length = length.split_once("content-length: ").map_or(0, |(_, rest)| {
            rest.lines().next().and_then(|line| line.trim().parse().ok()).unwrap_or(0)
        });
        if body.len() < length {
            continue;
        }
        let path = head.split(' ').nth(1)?.to_owned();
        let form = body.split('&').find_map(|pair| pair.strip_prefix("token="));
        return Some((path, form.map(str::to_owned)));
    }
}

/// A provider as it is asked, and its clock.
fn provider(options: Options) -> (Arc<Provider>, Arc<AtomicU64>) {
    let now = Arc::new(AtomicU64::new(START_MS));
    let clock = Arc::clone(&now);
    let provider = Provider::with_clock(
        Arc::new(options),
        Arc::new(|_, _, _| ()),
        KeySet::default(),
        Arc::new(move || clock.load(Ordering::Relaxed)),
    );
    (Arc::new(provider), now)
}

fn introspects(idp: &Idp) -> Options {
    Options {
        auth_mode: AuthMode::Introspection,
        introspection_url: format!("{}/introspect", idp.url),
        idp_timeout_ms: 5_000,
        ..Options::default()
    }
}

fn active() -> Value {
    json!({"active": true, "sub": "ann"})
}

/// Somebody who signs with a key of a name.
struct Issuer {
    pair: Ed25519KeyPair,
    kid: &'static str,
}

impl Issuer {
    fn new(kid: &'static str, seed: u8) -> Self {
        Self { pair: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap(), kid }
    }

    fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key());
        json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid})
    }

    fn token(&self, issuer: &str) -> String {
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let head = encode(json!({"alg": "EdDSA", "kid": self.kid}));
        let message = format!("{head}.{}", encode(json!({"sub": "ann", "iss": issuer})));
        let signature = self.pair.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[tokio::test]
async fn what_is_said_of_one_token_is_no_failure_of_the_provider() {
    let idp = Idp::start();
    let (provider, _) = provider(introspects(&idp));
    for status in [400, 403, 413, 414, 422, 431] {
        for at in 0..3 {
            let token = format!("odd-{status}-{at}");
            idp.says(&token, status, &json!({"error": "invalid_request"}));
            assert_eq!(provider.verdict(&token).await, Err(TokenError::Inactive), "{status}");
        }
    }
    idp.says("good", 200, &active());
    assert_eq!(provider.verdict("good").await.map(|claims| claims.user), Ok("ann".into()));
    // What says that we may not ask, or that it cannot answer, is one.
    for (at, status) in [401, 404, 429, 500, 503].into_iter().enumerate() {
        let token = format!("t{at}");
        idp.says(&token, status, &json!({}));
        assert_eq!(provider.verdict(&token).await, Err(TokenError::Unavailable), "{status}");
    }
    idp.says("another", 200, &active());
    assert_eq!(provider.verdict("another").await, Err(TokenError::Unavailable), "left alone");
    assert_eq!(idp.calls("another"), 0);
}

#[tokio::test]
async fn good_answers_serve_while_nobody_can_be_asked_if_that_is_wanted() {
    for (on_idp_error, served) in [(IdpError::Reject, false), (IdpError::AllowCached, true)] {
        let idp = Idp::start();
        let (provider, now) = provider(Options { on_idp_error, ..introspects(&idp) });
        idp.says("good", 200, &active());
        idp.says(
            "short",
            200,
            &json!({"active": true, "sub": "ann", "exp": START_MS / 1_000 + 90}),
        );
        assert!(provider.verdict("good").await.is_ok() && provider.verdict("short").await.is_ok());
        idp.says("good", 500, &json!({}));
        idp.says("short", 500, &json!({}));
        now.fetch_add(59_999, Ordering::Relaxed);
        assert!(provider.verdict("good").await.is_ok());
        assert_eq!(idp.calls("good"), 1, "it is not asked about again so soon");
        now.fetch_add(1, Ordering::Relaxed);
        assert_eq!(provider.verdict("good").await.is_ok(), served);
        assert_eq!(idp.calls("good"), 2, "it is asked first");
        assert_eq!(provider.verdict("short").await.is_ok(), served);
        now.fetch_add(60_000, Ordering::Relaxed);
        assert!(provider.verdict("short").await.is_err(), "not beyond the token's end");
        assert_eq!(provider.verdict("good").await.is_ok(), served);
        now.store(START_MS + 600_000, Ordering::Relaxed);
        assert_eq!(provider.verdict("good").await, Err(TokenError::Unavailable), "not for ever");
    }
}

#[tokio::test]
async fn a_question_that_ends_without_an_answer_is_in_nobodys_way() {
    // A port on which nobody takes a connection up: whoever asks waits.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let idp = Idp { pages: Arc::default(), url };
    let (provider, _) = provider(Options { idp_timeout_ms: 60_000, ..introspects(&idp) });
    let ask = || {
        let provider = Arc::clone(&provider);
        tokio::spawn(async move { provider.verdict("t").await })
    };
    let first = ask();
    tokio::task::yield_now().await;
    let second = ask();
    tokio::task::yield_now().await;
    first.abort();
    let waited = tokio::time::timeout(std::time::Duration::from_secs(5), second);
    let told = waited.await.expect("it is told at once").expect("no panic");
    assert_eq!(told, Err(TokenError::Unavailable));
}

fn signed(idp: &Idp) -> Options {
    Options {
        auth_mode: AuthMode::Jwt,
        oidc_issuer: idp.url.clone(),
        idp_timeout_ms: 5_000,
        ..Options::default()
    }
}

#[tokio::test]
async fn keys_that_have_moved_are_found_where_the_issuer_says_now() {
    let idp = Idp::start();
    let (old, new) = (Issuer::new("old", 1), Issuer::new("new", 2));
    let (provider, now) = provider(signed(&idp));
    idp.describes("/keys", "/introspect");
    idp.says("/keys", 200, &json!({"keys": [old.jwk()]}));
    assert!(provider.verdict(&old.token(&idp.url)).await.is_ok());
    assert!(provider.verdict(&old.token(&idp.url)).await.is_ok());
    assert_eq!((idp.calls(DESCRIPTION), idp.calls("/keys")), (1, 1));
    idp.describes("/moved", "/introspect");
    idp.forgets("/keys");
    idp.says("/moved", 200, &json!({"keys": [new.jwk()]}));
    now.fetch_add(5_000, Ordering::Relaxed);
    assert!(provider.verdict(&new.token(&idp.url)).await.is_ok());
    assert_eq!((idp.calls(DESCRIPTION), idp.calls("/moved")), (2, 1));
}

#[tokio::test]
async fn an_issuer_is_asked_again_by_and_by_and_believed_while_it_cannot_be() {
    let idp = Idp::start();
    let key = Issuer::new("k", 1);
    // Fetched keys are old after three refreshes, so that each look here fetches them again.
    let (provider, now) = provider(Options { jwks_refresh_ms: 1_000, ..signed(&idp) });
    idp.describes("/keys", "/introspect");
    idp.says("/keys", 200, &json!({"keys": [key.jwk()]}));
    let token = key.token(&idp.url);
    assert!(provider.verdict(&token).await.is_ok());
    now.store(START_MS + 3_599_999, Ordering::Relaxed);
    assert!(provider.verdict(&token).await.is_ok());
    assert_eq!((idp.calls(DESCRIPTION), idp.calls("/keys")), (1, 2));
    now.store(START_MS + 3_604_000, Ordering::Relaxed);
    assert!(provider.verdict(&token).await.is_ok());
    assert_eq!((idp.calls(DESCRIPTION), idp.calls("/keys")), (2, 3), "an hour has passed");
    idp.forgets(DESCRIPTION);
    now.store(START_MS + 9_000_000, Ordering::Relaxed);
    assert!(provider.verdict(&token).await.is_ok(), "what it said last still holds");
    assert_eq!((idp.calls(DESCRIPTION), idp.calls("/keys")), (3, 4));
}

#[tokio::test]
async fn who_is_asked_about_tokens_is_found_where_the_issuer_says_now() {
    let idp = Idp::start();
    idp.describes("/keys", "/a");
    idp.says("one", 200, &active());
    let options = Options {
        oidc_issuer: idp.url.clone(),
        introspection_url: String::new(),
        ..introspects(&idp)
    };
    let (provider, now) = provider(options);
    // Answers name no issuer, which is demanded of tokens: what counts is that one came.
    assert_eq!(provider.verdict("one").await, Err(TokenError::WrongIssuer));
    assert_eq!(idp.calls(DESCRIPTION), 1);
    now.fetch_add(2_000, Ordering::Relaxed);
    assert_eq!(provider.verdict("two").await, Err(TokenError::Unavailable));
    assert_eq!(idp.calls(DESCRIPTION), 1);
    idp.says("three", 200, &active());
    assert_eq!(provider.verdict("three").await, Err(TokenError::WrongIssuer));
    assert_eq!(idp.calls(DESCRIPTION), 2, "after a failure it is asked where that is");
}

#[tokio::test]
async fn an_empty_set_of_keys_takes_none_away() {
    let idp = Idp::start();
    let (key, stranger) = (Issuer::new("k", 1), Issuer::new("other", 2));
    let options = Options {
        oidc_issuer: String::new(),
        jwks_url: format!("{}/keys", idp.url),
        ..signed(&idp)
    };
    let (provider, _) = provider(options);
    idp.says("/keys", 200, &json!({"keys": [key.jwk()]}));
    assert!(provider.verdict(&key.token("us")).await.is_ok());
    for empty in [json!({"keys": []}), json!({"keys": [{"kty": "oct", "k": "AAAA"}]}), json!({})] {
        idp.says("/keys", 200, &empty);
        // A name that is not known has them fetched again. Nobody has said that it is nobody's.
        let verdict = provider.verdict(&stranger.token("us")).await;
        assert_eq!(verdict, Err(TokenError::Unavailable), "{empty}");
        assert!(provider.verdict(&key.token("us")).await.is_ok(), "{empty}");
    }
    assert_eq!(idp.calls("/keys"), 4, "each time");
    idp.says("/keys", 200, &json!({"keys": [key.jwk(), stranger.jwk()]}));
    assert!(provider.verdict(&stranger.token("us")).await.is_ok(), "as soon as it is there");
}

#[tokio::test]
async fn those_who_wait_for_keys_in_vain_do_not_each_ask_again() {
    let idp = Idp::start();
    idp.describes("/keys", "/introspect");
    let key = Issuer::new("k", 1);
    let (provider, _) = provider(signed(&idp));
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (provider, token) = (Arc::clone(&provider), key.token(&idp.url));
        waiting.spawn(async move { provider.verdict(&token).await });
    }
    while let Some(verdict) = waiting.join_next().await {
        assert_eq!(verdict.unwrap(), Err(TokenError::Unavailable));
    }
    assert_eq!((idp.calls(DESCRIPTION), idp.calls("/keys")), (1, 1));
}
