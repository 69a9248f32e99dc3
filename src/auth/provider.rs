//! What identity providers answer: about a token (RFC 7662), and about themselves (OpenID Connect
//! Discovery).

use serde::Deserialize;

use super::claims::{Claims, Written, given};
use super::error::TokenError;

/// Bytes of the longest answer that is read.
pub const ANSWER_BYTES_MAX: usize = 65_536;

/// What a provider says of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Introspected {
    /// It is one of its tokens, and says this. The caller still judges time, audience and issuer.
    Active(Box<Claims>),
    /// It is not, or no longer.
    Inactive,
}

/// Reads the answer to a question about a token. `None` if it is none.
///
/// # Errors
/// The token is good and its claims are not: [`TokenError::BadClaims`].
pub fn introspection(json: &[u8]) -> Option<Result<Introspected, TokenError>> {
    if json.len() > ANSWER_BYTES_MAX {
        return None;
    }
    #[derive(Deserialize)]
    struct Verdict {
        active: bool,
    }
    /// Rule: RFC 7662 section 2.2: beside `sub`, or instead.
    #[derive(Deserialize)]
    struct Named {
        #[serde(default, deserialize_with = "given")]
        username: Option<String>,
    }
    let Verdict { active } = serde_json::from_slice(json).ok()?;
    // Rule: RFC 7662 section 2.2: of an inactive token nothing else is said.
    if !active {
        return Some(Ok(Introspected::Inactive));
    }
    let claims = serde_json::from_slice::<Written>(json).ok().and_then(|written| {
        let Named { username } = serde_json::from_slice(json).ok()?;
        Claims::judge(written, username)
    });
    Some(claims.map(|claims| Introspected::Active(Box::new(claims))).ok_or(TokenError::BadClaims))
}

/// What an OpenID Connect issuer says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Discovered {
    /// Its own name.
    pub issuer: String,
    /// Where its keys are.
    pub jwks_uri: String,
    /// Where it is asked about tokens.
    pub introspection_endpoint: Option<String>,
}

/// Reads what an issuer says of itself. `None` if it is no such document, or one of another issuer.
///
/// Rule: OpenID Connect Discovery 1.0 section 4.3: the names must be the same to the letter; section
/// 3: `jwks_uri` is `https`. An issuer that is asked by `https` sends nobody to where others can read
/// tokens or write keys.
#[must_use]
pub fn discovery(json: &[u8], issuer: &str) -> Option<Discovered> {
    if json.len() > ANSWER_BYTES_MAX {
        return None;
    }
    let found: Discovered = serde_json::from_slice(json).ok()?;
    let is_secret =
        |url: &str| url.get(..6).is_some_and(|kind| kind.eq_ignore_ascii_case("https:"));
    let mut urls = std::iter::once(&found.jwks_uri).chain(&found.introspection_endpoint);
    let is_as_secret = !is_secret(issuer) || urls.all(|url| is_secret(url));
    (found.issuer == issuer && is_as_secret).then_some(found)
}
