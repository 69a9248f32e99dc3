//! The order in which a token is judged.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::claims::{Claims, given};
use super::error::TokenError;
use super::key::KeySet;
use crate::config::{JwtAlg, JwtFamily, Options};

/// Bytes of the longest token.
pub const TOKEN_BYTES_MAX: usize = 8_192;
/// Bytes of a key's name.
const KID_BYTES_MAX: usize = 256;

/// What must be so of every token, whoever has signed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRules {
    /// It must name one of these; none checks none.
    pub audience: Vec<String>,
    /// It must be of one of these; none checks none.
    pub issuer: Vec<String>,
    /// How far clocks may be apart.
    pub leeway_ms: u64,
}

/// What a token says of its signature. Nothing of it is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// How it is signed.
    pub alg: JwtAlg,
    /// By which key.
    pub kid: Option<String>,
}

impl Header {
    /// Whether it is cheap enough to be verified where clients are served.
    #[must_use]
    pub fn is_cheap(&self) -> bool {
        self.alg.family() == JwtFamily::Hmac
    }
}

/// Rule: RFC 7515 section 4.1. Keys that a token brings along (`jwk`, `jku`, `x5c`, `x5u`) are not
/// looked at.
#[derive(Deserialize)]
struct Written {
    alg: String,
    #[serde(default, deserialize_with = "given")]
    kid: Option<String>,
    #[serde(default, deserialize_with = "given")]
    crit: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "given")]
    b64: Option<bool>,
}

/// Reads a token's header.
///
/// # Errors
/// [`TokenError::TooLarge`], [`TokenError::Malformed`] or [`TokenError::AlgorithmNotAllowed`].
pub fn header(token: &str) -> Result<Header, TokenError> {
    if token.is_empty() {
        return Err(TokenError::Missing);
    }
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLarge);
    }
    let (head, rest) = token.split_once('.').ok_or(TokenError::Malformed)?;
    let (_, signature) = rest.split_once('.').ok_or(TokenError::Malformed)?;
    // More parts are an encrypted token.
    if signature.contains('.') {
        return Err(TokenError::Malformed);
    }
    let head = decode(head)?;
    let Written { alg, kid, crit, b64 } =
        serde_json::from_slice(&head).map_err(|_| TokenError::Malformed)?;
    let names = kid.as_ref().is_none_or(|kid| kid.len() <= KID_BYTES_MAX);
    // Rule: RFC 7515 section 4.1.11: who does not understand what is critical refuses; we
    // understand none. What is no list of names is as wrong, `null` too.
    // Rule: RFC 7519 section 5 and RFC 7797 section 7: the claims of a JWT are always encoded.
    if crit.is_some() || b64 == Some(false) || !names {
        return Err(TokenError::Malformed);
    }
    let alg = JwtAlg::from_word(&alg).ok_or(TokenError::AlgorithmNotAllowed)?;
    Ok(Header { alg, kid })
}

/// Verifies a token at a time.
///
/// Cost: with HMAC a few microseconds; what an RSA or EC signature costs belongs on no core that
/// serves clients, see [`Header::is_cheap`].
///
/// # Errors
/// The first rule that it breaks, in the order size, algorithm and key, signature, claims, time,
/// audience, issuer.
pub fn verify(
    token: &str,
    keys: &KeySet,
    rules: &TokenRules,
    now_unix_ms: u64,
) -> Result<Claims, TokenError> {
    let Header { alg, kid } = header(token)?;
    let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let signature = decode(signature)?;
    keys.check(kid.as_deref(), alg, message.as_bytes(), &signature)?;
    let (_, claims) = message.split_once('.').ok_or(TokenError::Malformed)?;
    let claims = Claims::read(&decode(claims)?)?;
    rules.judge(&claims, now_unix_ms)?;
    Ok(claims)
}

/// The claims of a token as they stand there, for people. Nothing of them is proven.
#[must_use]
pub fn payload(token: &str) -> Option<Vec<u8>> {
    decode(token.split('.').nth(1)?).ok()
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    // Rule: RFC 7515 section 2: base64url, and nothing behind it.
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)
}

impl From<&Options> for TokenRules {
    fn from(options: &Options) -> Self {
        let mut issuer = options.jwt_issuer.clone();
        if issuer.is_empty() && !options.oidc_issuer.is_empty() {
            issuer.push(options.oidc_issuer.clone());
        }
        Self { audience: options.jwt_audience.clone(), issuer, leeway_ms: options.jwt_leeway_ms }
    }
}

impl TokenRules {
    /// Judges claims that are proven.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn judge(&self, claims: &Claims, now_unix_ms: u64) -> Result<(), TokenError> {
        if claims.expires_unix_ms.is_some_and(|end| now_unix_ms >= end + self.leeway_ms) {
            return Err(TokenError::Expired);
        }
        let over = |end: u64| end > 0 && now_unix_ms >= end + self.leeway_ms;
        if claims.ends_unix_ms.is_some_and(over) {
            return Err(TokenError::Expired);
        }
        if claims.not_before_unix_ms.is_some_and(|start| start > now_unix_ms + self.leeway_ms) {
            return Err(TokenError::NotYetValid);
        }
        let named = |name: &String| self.audience.contains(name);
        if !self.audience.is_empty() && !claims.audience.iter().any(named) {
            return Err(TokenError::WrongAudience);
        }
        let known = |name: &String| self.issuer.contains(name);
        if !self.issuer.is_empty() && !claims.issuer.as_ref().is_some_and(known) {
            return Err(TokenError::WrongIssuer);
        }
        Ok(())
    }
}
