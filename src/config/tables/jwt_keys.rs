//! `[[jwt_keys]]`: keys that tokens of clients are signed with.

use super::super::ConfigError;
use super::super::shapes::{Secret, is_name};
use super::row::Row;

/// One key, as the file has it. Files that it names are read by whoever starts the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtKey {
    /// What tokens call it; a key without one is tried for every token.
    pub kid: Option<String>,
    /// Algorithms that it may be used with, all of one family.
    pub algs: Vec<JwtAlg>,
    /// The key itself.
    pub material: JwtMaterial,
    /// A file with the private key (PKCS#8, PEM), with which `corewire token` signs.
    pub private_key_file: Option<String>,
}

/// What a key is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwtMaterial {
    /// Bytes that issuer and server share.
    Secret(Secret),
    /// A public key: PEM, or the name of a file that holds it.
    Public(String),
}

/// How a token is signed. There is no word for unsigned ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwtAlg {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSA, PKCS #1 v1.5, SHA-256.
    Rs256,
    /// RSA, PKCS #1 v1.5, SHA-384.
    Rs384,
    /// RSA, PKCS #1 v1.5, SHA-512.
    Rs512,
    /// RSA, PSS, SHA-256.
    Ps256,
    /// RSA, PSS, SHA-384.
    Ps384,
    /// RSA, PSS, SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

/// Algorithms that take the same kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwtFamily {
    /// A shared secret.
    Hmac,
    /// An RSA key.
    Rsa,
    /// A key on P-256.
    P256,
    /// A key on P-384.
    P384,
    /// A key on Ed25519.
    Ed25519,
}

impl JwtAlg {
    /// Rule: RFC 7518 section 3.1 and RFC 8037 section 3.1, the names, which are case-sensitive.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("HS256", Self::Hs256),
        ("HS384", Self::Hs384),
        ("HS512", Self::Hs512),
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("EdDSA", Self::EdDsa),
    ];

    /// The algorithm of that name.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, alg)| *alg)
    }

    /// Its name in a token's header.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, alg)| *alg == self).map_or("", |(word, _)| word)
    }

    /// The kind of key it takes.
    #[must_use]
    pub const fn family(self) -> JwtFamily {
        match self {
            Self::Hs256 | Self::Hs384 | Self::Hs512 => JwtFamily::Hmac,
            Self::Rs256 | Self::Rs384 | Self::Rs512 => JwtFamily::Rsa,
            Self::Ps256 | Self::Ps384 | Self::Ps512 => JwtFamily::Rsa,
            Self::Es256 => JwtFamily::P256,
            Self::Es384 => JwtFamily::P384,
            Self::EdDsa => JwtFamily::Ed25519,
        }
    }

    /// Bytes that a shared secret must have at least; 0 where there is none.
    ///
    /// Rule: RFC 7518 section 3.2: as many as the hash has.
    #[must_use]
    pub const fn secret_bytes_min(self) -> usize {
        match self {
            Self::Hs256 => 32,
            Self::Hs384 => 48,
            Self::Hs512 => 64,
            _ => 0,
        }
    }
}

const SECRETS: &str = "32 to 1024 visible ASCII characters, for HS384 48 and for HS512 64 at least";
const PUBLIC: &str = "a public key in PEM, or the name of a file that holds it";
const KIDS: &str = "1 to 256 bytes without control characters";
const ONE_FAMILY: &str = "algorithms that take the same kind of key";

impl JwtKey {
    pub(super) fn read(row: &Row<'_>) -> Result<Self, ConfigError> {
        row.only(&["kid", "algs", "secret", "public_key", "private_key_file"])?;
        let has = |member: &str| row.members.contains_key(member);
        let algs = row.words("algs", JwtAlg::WORDS)?;
        let family = algs[0].family();
        let words = || algs.iter().map(|alg| alg.word()).collect::<Vec<_>>().join(", ");
        if algs.iter().any(|alg| alg.family() != family) {
            return Err(row.refused("algs", &words(), ONE_FAMILY));
        }
        let is_shared = family == JwtFamily::Hmac;
        if is_shared && (has("public_key") || has("private_key_file")) {
            let allowed = "with a public key no HS algorithm; those take a secret";
            return Err(row.refused("algs", &words(), allowed));
        }
        if !is_shared && has("secret") {
            return Err(row.refused("algs", &words(), "with a secret HS256, HS384 and HS512"));
        }
        let material = if is_shared {
            let secret = row.hidden("secret", SECRETS, is_secret)?;
            let bytes_min = algs.iter().map(|alg| alg.secret_bytes_min()).max().unwrap_or(0);
            if secret.expose().len() < bytes_min {
                return Err(row.refused("secret", "***", SECRETS));
            }
            JwtMaterial::Secret(secret)
        } else {
            JwtMaterial::Public(row.text("public_key", PUBLIC, |text| !text.is_empty())?)
        };
        let text = |member, allowed, accept: fn(&str) -> bool| match has(member) {
            true => row.text(member, allowed, accept).map(Some),
            false => Ok(None),
        };
        Ok(Self {
            kid: text("kid", KIDS, is_name)?,
            private_key_file: text("private_key_file", "the name of a file", is_name)?,
            algs,
            material,
        })
    }

    /// The key of the option `jwt_secret`.
    pub(in super::super) fn of_option(secret: Secret) -> Self {
        Self {
            kid: None,
            algs: vec![JwtAlg::Hs256],
            material: JwtMaterial::Secret(secret),
            private_key_file: None,
        }
    }
}

fn is_secret(text: &str) -> bool {
    (32..=1_024).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
