//! Identity providers: their keys, and what they say of tokens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method};
use tokio::sync::oneshot;

use super::super::Logger;
use super::super::http::{Http, HttpAnswer, HttpCall};
use super::asked::{Asked, Print, Said};
use super::breaker::Breaker;
use super::discovery::Issuer;
use super::keys::Published;
use crate::auth::{
    self, ANSWER_BYTES_MAX, Discovered, Introspected, JWKS_BYTES_MAX, KeySet, TokenError,
    TokenRules,
};
use crate::command::unix_ms;
use crate::config::{AuthMode, IdpError, LogLevel, Options};

/// Good answers of a provider that are kept.
const GOOD_MAX: usize = 20_000;
/// Refusals of a provider that are kept.
const BAD_MAX: usize = 10_000;

/// Everything that is known of the identity provider.
pub(super) struct Provider {
    options: Arc<Options>,
    rules: TokenRules,
    /// Keys of the configuration.
    fixed: KeySet,
    http: Http,
    log: Logger,
    /// One fetch of keys at a time; held while it is under way.
    fetching: tokio::sync::Mutex<()>,
    /// One question to the issuer at a time; held while it is under way.
    issuer: tokio::sync::Mutex<Issuer>,
    /// These are never held across an await.
    published: Mutex<Published>,
    asked: Mutex<Asked>,
    asking: Mutex<BTreeMap<Print, Vec<oneshot::Sender<Said>>>>,
    breaker: Mutex<Breaker>,
    clock: Clock,
}

/// Milliseconds since the epoch.
pub(super) type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Provider {
    pub(super) fn new(options: Arc<Options>, log: Logger, fixed: KeySet) -> Self {
        Self::with_clock(options, log, fixed, Arc::new(unix_ms))
    }

    pub(super) fn with_clock(
        options: Arc<Options>,
        log: Logger,
        fixed: KeySet,
        clock: Clock,
    ) -> Self {
        // Two refreshes may fail before keys are too old.
        let age_max_ms = match options.on_idp_error {
            IdpError::Reject => Some(options.jwks_refresh_ms.saturating_mul(3)),
            IdpError::AllowCached => None,
        };
        Self {
            rules: TokenRules::from(&*options),
            fixed,
            http: Http::new(),
            log,
            fetching: tokio::sync::Mutex::new(()),
            issuer: tokio::sync::Mutex::default(),
            published: Mutex::new(Published::new(age_max_ms)),
            asked: Mutex::new(Asked::new(GOOD_MAX, BAD_MAX, options.introspection_fresh_ms)),
            asking: Mutex::new(BTreeMap::new()),
            breaker: Mutex::new(Breaker::default()),
            clock,
            options,
        }
    }

    /// What a token says.
    pub(super) async fn verdict(&self, token: &str) -> Said {
        match self.options.auth_mode {
            AuthMode::Introspection => self.opaque(token).await,
            _ => self.signed(token).await,
        }
    }

    /// Keeps published keys fresh. Returns never.
    pub(super) async fn refresh_for_ever(self: &Arc<Self>) {
        let every = Duration::from_millis(self.options.jwks_refresh_ms);
        loop {
            if self.publishes() {
                let fetches = lock(&self.published).fetches();
                self.fetch_unless_since(fetches).await;
            }
            tokio::time::sleep(every).await;
        }
    }

    fn publishes(&self) -> bool {
        let options = &self.options;
        matches!(options.auth_mode, AuthMode::Jwt)
            && !(options.jwks_url.is_empty() && options.oidc_issuer.is_empty())
    }

    // Signed tokens.

    async fn signed(&self, token: &str) -> Said {
        let now_ms = self.now_ms();
        let by_fixed = auth::verify(token, &self.fixed, &self.rules, now_ms);
        let of_no_fixed_key = matches!(
            by_fixed,
            Err(TokenError::UnknownKey
                | TokenError::AlgorithmNotAllowed
                | TokenError::BadSignature)
        );
        if !of_no_fixed_key || !self.publishes() {
            return by_fixed;
        }
        let keys = self.published_keys().await.ok_or(TokenError::Unavailable)?;
        let verdict = auth::verify(token, &keys, &self.rules, now_ms);
        if verdict != Err(TokenError::UnknownKey) {
            return verdict;
        }
        let kid = auth::header(token)?.kid.unwrap_or_default();
        let Some(keys) = self.keys_with(&kid).await? else { return Err(TokenError::UnknownKey) };
        let verdict = auth::verify(token, &keys, &self.rules, now_ms);
        if verdict == Err(TokenError::UnknownKey) {
            lock(&self.published).miss(&kid, now_ms);
        }
        verdict
    }

    /// The keys, fetched if there are none.
    async fn published_keys(&self) -> Option<Arc<KeySet>> {
        let (usable, fetches, may_fetch) = {
            let published = lock(&self.published);
            let now_ms = self.now_ms();
            (published.usable(now_ms), published.fetches(), published.may_fetch(now_ms))
        };
        if usable.is_some() || !may_fetch {
            return usable;
        }
        self.fetch_unless_since(fetches).await;
        lock(&self.published).usable(self.now_ms())
    }

    /// The keys, fetched anew because one is not among them; `None` if that is not worth it.
    async fn keys_with(&self, kid: &str) -> Result<Option<Arc<KeySet>>, TokenError> {
        let fetches = {
            let mut published = lock(&self.published);
            if !published.may_look_for(kid, self.now_ms()) {
                return Ok(None);
            }
            published.fetches()
        };
        self.fetch_unless_since(fetches).await;
        let published = lock(&self.published);
        // Nobody has said that there is no such key.
        if published.is_failing() {
            Err(TokenError::Unavailable)
        } else {
            Ok(published.usable(self.now_ms()))
        }
    }

    /// Fetches keys, unless somebody has tried since so many fetches.
    async fn fetch_unless_since(&self, fetches: u64) {
        let _turn = self.fetching.lock().await;
        if lock(&self.published).fetches() != fetches {
            return;
        }
        match self.fetch().await {
            Ok(keys) => {
                let fields = vec![("keys", keys.len().to_string())];
                (self.log)(LogLevel::Debug, "identity provider's keys fetched", fields);
                lock(&self.published).put(keys, self.now_ms());
            }
            Err(why) => {
                lock(&self.published).failed(self.now_ms());
                self.warn("identity provider's keys cannot be fetched", why);
            }
        }
    }

    async fn fetch(&self) -> Result<KeySet, String> {
        if !self.options.jwks_url.is_empty() {
            return self.keys_at(&self.options.jwks_url).await;
        }
        let url = self.discovered().await?.jwks_uri;
        let first = self.keys_at(&url).await;
        if first.is_ok() {
            return first;
        }
        // They may have moved.
        let now_at = self.discovered_anew().await?.jwks_uri;
        if now_at == url { first } else { self.keys_at(&now_at).await }
    }

    async fn keys_at(&self, url: &str) -> Result<KeySet, String> {
        let answer = self.get(url, JWKS_BYTES_MAX).await?;
        // A provider in the middle of a change must not take the keys away that are known.
        let keys = auth::jwks(&answer.body).filter(|keys| !keys.is_empty());
        keys.ok_or_else(|| format!("{url} holds no key set"))
    }

    /// What the issuer says of itself; what it said last, if it cannot be asked.
    async fn discovered(&self) -> Result<Discovered, String> {
        let mut issuer = self.issuer.lock().await;
        if let Some(said) = issuer.believed(self.now_ms()) {
            return Ok(said.clone());
        }
        let asked = match issuer.may_ask(self.now_ms()) {
            true => self.discover().await,
            // Somebody who waited before this one has tried.
            false => Err(format!("{} could not be asked a moment ago", self.options.oidc_issuer)),
        };
        match asked {
            Ok(said) => {
                issuer.put(said.clone(), self.now_ms());
                Ok(said)
            }
            Err(why) => {
                if issuer.may_ask(self.now_ms()) {
                    issuer.failed(self.now_ms());
                }
                issuer.last().cloned().ok_or(why)
            }
        }
    }

    /// The same once more, because something is not where the issuer said that it is.
    async fn discovered_anew(&self) -> Result<Discovered, String> {
        self.issuer.lock().await.doubt(self.now_ms());
        self.discovered().await
    }

    /// Rule: OpenID Connect Discovery 1.0 section 4: where an issuer says what it is.
    async fn discover(&self) -> Result<Discovered, String> {
        let issuer = &self.options.oidc_issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let answer = self.get(&url, ANSWER_BYTES_MAX).await?;
        let found = auth::discovery(&answer.body, issuer);
        found.ok_or_else(|| format!("{url} does not describe the issuer {issuer}"))
    }

    async fn get(&self, url: &str, answer_bytes_max: usize) -> Result<HttpAnswer, String> {
        let call = HttpCall {
            method: Method::GET,
            url: url.parse().map_err(|_| format!("{url} is no address"))?,
            headers: json_headers(),
            body: Bytes::new(),
            timeout: Duration::from_millis(self.options.idp_timeout_ms),
            answer_bytes_max,
        };
        let answer = self.http.call(call).await.map_err(|error| format!("{url} {error}"))?;
        if !answer.status.is_success() {
            return Err(format!("{url} answered {}", answer.status.as_u16()));
        }
        Ok(answer)
    }

    fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    fn warn(&self, what: &'static str, why: String) {
        (self.log)(LogLevel::Warn, what, vec![("why", why)]);
    }

    // Opaque tokens.

    async fn opaque(&self, token: &str) -> Said {
        let mut print: Print = [0; 32];
        let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
        print.copy_from_slice(digest.as_ref());
        if let Some(said) = lock(&self.asked).fresh(&print, self.now_ms()) {
            return self.still(said);
        }
        // One question at a time for one token, whoever else brings it meanwhile.
        let waits = {
            let mut asking = lock(&self.asking);
            match asking.get_mut(&print) {
                Some(others) => {
                    let (tell, told) = oneshot::channel();
                    others.push(tell);
                    Some(told)
                }
                None => {
                    asking.insert(print, Vec::new());
                    None
                }
            }
        };
        if let Some(told) = waits {
            return told.await.unwrap_or(Err(TokenError::Unavailable));
        }
        let question = Question { provider: self, print, is_answered: false };
        let said = self.ask_or_remember(token, print).await;
        question.answer(&said);
        said
    }

    /// Whether something that was said before still counts now.
    fn still(&self, said: Said) -> Said {
        let claims = said?;
        self.rules.judge(&claims, self.now_ms())?;
        Ok(claims)
    }

    async fn ask_or_remember(&self, token: &str, print: Print) -> Said {
        match self.ask(token).await {
            Some(said) => {
                lock(&self.asked).keep(print, &said, self.now_ms());
                said
            }
            None if self.options.on_idp_error == IdpError::AllowCached => {
                let stale = lock(&self.asked).stale(&print, self.now_ms());
                stale.map_or(Err(TokenError::Unavailable), |claims| self.still(Ok(claims)))
            }
            None => Err(TokenError::Unavailable),
        }
    }

    /// Asks the provider about a token; `None` if it does not answer.
    async fn ask(&self, token: &str) -> Option<Said> {
        if !lock(&self.breaker).pass(self.now_ms()) {
            return None;
        }
        let answered = self.introspect(token).await;
        lock(&self.breaker).report(answered.is_ok(), self.now_ms());
        let answered = answered.map_err(|why| {
            self.warn("identity provider does not answer about a token", why);
        });
        Some(match answered.ok()? {
            Ok(Introspected::Active(claims)) => {
                self.rules.judge(&claims, self.now_ms()).map(|()| *claims)
            }
            Ok(Introspected::Inactive) => Err(TokenError::Inactive),
            Err(error) => Err(error),
        })
    }

    /// Rule: RFC 7662 section 2.1: a form, with the token in it, from somebody who may ask.
    async fn introspect(&self, token: &str) -> Result<Result<Introspected, TokenError>, String> {
        let url = self.introspection_url().await?;
        let mut headers = json_headers();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form);
        if let Some(secret) = &self.options.introspection_client_secret {
            // Rule: RFC 6749 section 2.3.1: both are encoded as in a form first.
            let id = form_encoded(&self.options.introspection_client_id);
            let pair = format!("{id}:{}", form_encoded(secret.expose()));
            let value = format!("Basic {}", STANDARD.encode(pair));
            let mut value = HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let body = format!("token={}&token_type_hint=access_token", form_encoded(token));
        let call = HttpCall {
            method: Method::POST,
            url: url.parse().map_err(|_| format!("{url} is no address"))?,
            headers,
            body: Bytes::from(body),
            timeout: Duration::from_millis(self.options.idp_timeout_ms),
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        let called = self.http.call(call).await.map_err(|error| format!("{url} {error}"));
        let answer = match called {
            Ok(answer) => answer,
            Err(why) => return self.may_have_moved(why).await,
        };
        // What is said of one token, by the provider or a guard before it, is no failure of the
        // provider: one client could shut the door on all others.
        if matches!(answer.status.as_u16(), 400 | 403 | 413 | 414 | 422 | 431) {
            return Ok(Ok(Introspected::Inactive));
        }
        if !answer.status.is_success() {
            let why = format!("{url} answered {}", answer.status.as_u16());
            return self.may_have_moved(why).await;
        }
        auth::introspection(&answer.body).ok_or_else(|| format!("{url} answered no RFC 7662"))
    }

    /// Who is asked about tokens cannot be: next time its issuer is asked first where that is.
    async fn may_have_moved<T>(&self, why: String) -> Result<T, String> {
        if self.options.introspection_url.is_empty() {
            self.issuer.lock().await.doubt(self.now_ms());
        }
        Err(why)
    }

    async fn introspection_url(&self) -> Result<String, String> {
        if !self.options.introspection_url.is_empty() {
            return Ok(self.options.introspection_url.clone());
        }
        let found = self.discovered().await?.introspection_endpoint;
        found.ok_or_else(|| String::from("the issuer names no introspection_endpoint"))
    }
}

/// A question about a token that others may wait for, too. If it ends without an answer, they are
/// told that there is none.
struct Question<'a> {
    provider: &'a Provider,
    print: Print,
    is_answered: bool,
}

impl Question<'_> {
    fn answer(mut self, said: &Said) {
        self.is_answered = true;
        for other in lock(&self.provider.asking).remove(&self.print).unwrap_or_default() {
            // Whoever waited may be gone.
            let _gone = other.send(said.clone());
        }
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        // After an answer, whoever waits now has a question of its own.
        if !self.is_answered {
            lock(&self.provider.asking).remove(&self.print);
        }
    }
}

fn json_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers
}

/// Rule: URL standard, "application/x-www-form-urlencoded serializing".
fn form_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"*-._".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::form_encoded;

    #[test]
    fn forms_hold_what_no_form_can_take_apart() {
        assert_eq!(form_encoded("a-B_9.*"), "a-B_9.*");
        assert_eq!(form_encoded("a=b&c d+é"), "a%3Db%26c%20d%2B%C3%A9");
    }
}
