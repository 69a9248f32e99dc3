//! What a token says, judged by its shape.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::error::TokenError;
use super::grants::{Deed, Grants};

/// Rooms that a token may put its bearer into.
const ROOMS_MAX: usize = 64;
/// Patterns of rooms in all caps together.
const PATTERNS_MAX: usize = 256;
/// Namespaces a token may name.
const NAMESPACES_MAX: usize = 64;
/// Labels of one token.
const LABELS_MAX: usize = 8;
/// Bytes of a label's name and of its value.
const LABEL_BYTES_MAX: usize = 64;
/// Bytes of what others may know of the bearer.
const INFO_BYTES_MAX: usize = 1_024;
/// Bytes of a name, as everywhere in the gateway.
const NAME_BYTES_MAX: usize = 256;
/// The last second that a date may be of: the year 9999.
const SECONDS_MAX: f64 = 253_402_300_799.0;

/// What a token says that matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// `sub`: the user.
    pub user: String,
    /// `sid`, or `sio.session`: the user's session.
    pub session: Option<String>,
    /// `jti`: the token's own id.
    pub token_id: Option<String>,
    /// `iat`, milliseconds since the epoch.
    pub issued_unix_ms: Option<u64>,
    /// `exp`, milliseconds since the epoch; a token without it lives until it is revoked.
    pub expires_unix_ms: Option<u64>,
    /// `nbf`, milliseconds since the epoch.
    pub not_before_unix_ms: Option<u64>,
    /// `iss`.
    pub issuer: Option<String>,
    /// `aud`, one or several.
    pub audience: Vec<String>,
    /// `sio.ns` and `sio.caps`: what it permits.
    pub grants: Grants,
    /// `sio.rooms`: rooms its bearer is put into.
    pub rooms: Vec<String>,
    /// `sio.labels`.
    pub labels: Vec<(String, String)>,
    /// `sio.info`: what others may know of its bearer, raw JSON.
    pub info: Option<String>,
    /// `sio.expire_at`: when a connection made with it ends, instead of `exp`; 0 is never.
    pub ends_unix_ms: Option<u64>,
}

/// Rule: RFC 7519 section 4.1: the registered claims; `sid` is OpenID Connect's.
#[derive(Deserialize)]
pub(super) struct Written {
    #[serde(default, deserialize_with = "given")]
    sub: Option<String>,
    #[serde(default, deserialize_with = "given")]
    sid: Option<String>,
    #[serde(default, deserialize_with = "given")]
    exp: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    nbf: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    iat: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    jti: Option<String>,
    #[serde(default, deserialize_with = "given")]
    iss: Option<String>,
    #[serde(default, deserialize_with = "given")]
    aud: Option<Audience>,
    #[serde(default, deserialize_with = "given")]
    sio: Option<Own>,
}

/// A member that is there must be what it must be: `null` is nothing that a token may say.
pub(super) fn given<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(from).map(Some)
}

/// Rule: RFC 7519 section 4.1.3: one string, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// The claims that are ours.
#[derive(Deserialize)]
struct Own {
    #[serde(default, deserialize_with = "given")]
    session: Option<String>,
    /// What is absent permits all; what is `null` was forgotten and permits nothing.
    #[serde(default, deserialize_with = "given")]
    ns: Option<Vec<String>>,
    #[serde(default)]
    rooms: Vec<String>,
    #[serde(default)]
    caps: Vec<OwnCap>,
    #[serde(default, deserialize_with = "labels")]
    labels: BTreeMap<String, String>,
    info: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "given")]
    expire_at: Option<f64>,
}

/// Labels by name, none of them twice.
fn labels<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Pairs;
    impl<'de> Visitor<'de> for Pairs {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("labels")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
            let mut found = BTreeMap::new();
            while let Some((name, value)) = pairs.next_entry()? {
                if found.insert(name, value).is_some() {
                    return Err(serde::de::Error::custom("a label stands there twice"));
                }
            }
            Ok(found)
        }
    }
    from.deserialize_map(Pairs)
}

#[derive(Deserialize)]
struct OwnCap {
    rooms: Vec<String>,
    allow: Vec<String>,
}

impl Claims {
    /// Reads claims as they stand in a token.
    ///
    /// # Errors
    /// [`TokenError::BadClaims`].
    pub fn read(json: &[u8]) -> Result<Self, TokenError> {
        let written: Written = serde_json::from_slice(json).map_err(|_| TokenError::BadClaims)?;
        Self::judge(written, None).ok_or(TokenError::BadClaims)
    }

    /// When a connection made with it ends, milliseconds since the epoch.
    #[must_use]
    pub const fn end_unix_ms(&self) -> Option<u64> {
        match self.ends_unix_ms {
            Some(0) => None,
            Some(end) => Some(end),
            None => self.expires_unix_ms,
        }
    }

    /// Judges what was written. `username` is the user where there is no `sub`: a provider that was
    /// asked may say it so, a token may not.
    pub(super) fn judge(written: Written, username: Option<String>) -> Option<Self> {
        let Written { sub, sid, exp, nbf, iat, jti, iss, aud, sio } = written;
        let mut claims = Self {
            user: sub.or(username)?,
            session: sid,
            token_id: jti,
            issued_unix_ms: date(iat)?,
            expires_unix_ms: date(exp)?,
            not_before_unix_ms: date(nbf)?,
            issuer: iss,
            audience: match aud {
                None => Vec::new(),
                Some(Audience::One(one)) => vec![one],
                Some(Audience::Several(several)) => several,
            },
            ..Self::default()
        };
        if let Some(own) = sio {
            claims.take_own(own)?;
        }
        let names = std::iter::once(&claims.user).chain(&claims.session).chain(&claims.token_id);
        names.chain(&claims.rooms).all(|name| is_name(name)).then_some(claims)
    }

    fn take_own(&mut self, own: Own) -> Option<()> {
        if own.session.is_some() {
            self.session = own.session;
        }
        let patterns: usize = own.caps.iter().map(|cap| cap.rooms.len()).sum();
        let fits = own.rooms.len() <= ROOMS_MAX
            && patterns <= PATTERNS_MAX
            && own.caps.len() <= PATTERNS_MAX
            && own.ns.as_ref().is_none_or(|names| names.len() <= NAMESPACES_MAX)
            && own.labels.len() <= LABELS_MAX
            && own.info.as_ref().is_none_or(|info| info.get().len() <= INFO_BYTES_MAX);
        // A token can put nobody into the rooms of somebody else.
        let opens = own.rooms.iter().any(|room| crate::config::is_reserved_room(room));
        let small = |text: &String| (1..=LABEL_BYTES_MAX).contains(&text.len()) && is_name(text);
        let labelled = own.labels.iter().all(|(name, value)| small(name) && small(value));
        if !fits || opens || !labelled {
            return None;
        }
        let mut grants = Grants::new(own.ns);
        for cap in &own.caps {
            let deeds: Option<Vec<Deed>> =
                cap.allow.iter().map(|word| Deed::from_word(word)).collect();
            if !cap.rooms.iter().all(|pattern| is_name(pattern)) {
                return None;
            }
            grants.add(&cap.rooms, &deeds?);
        }
        self.grants = grants;
        self.rooms = own.rooms;
        self.labels = own.labels.into_iter().collect();
        self.info = own.info.map(|info| info.get().to_owned());
        self.ends_unix_ms = date(own.expire_at)?;
        Some(())
    }
}

/// Rule: RFC 7519 section 2, "NumericDate": seconds, with a fraction if need be. The outer `None`
/// is a number that is no date.
fn date(seconds: Option<f64>) -> Option<Option<u64>> {
    let Some(seconds) = seconds else { return Some(None) };
    if !(0.0..=SECONDS_MAX).contains(&seconds) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the bounds stand above"
    )]
    let millis = (seconds * 1_000.0) as u64;
    Some(Some(millis))
}

fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}
