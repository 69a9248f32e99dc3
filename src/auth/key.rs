//! Keys, parsed once, each with the algorithms it may be used with.

use std::fmt;

use ring::{hmac, signature};

use super::der;
use super::error::TokenError;
use crate::config::{JwtAlg, JwtFamily};

/// One key.
#[derive(Clone)]
pub struct Key {
    kid: Option<String>,
    algs: Vec<JwtAlg>,
    material: Material,
}

#[derive(Clone)]
enum Material {
    /// One a hash, made when the key is.
    Hmac(Vec<(JwtAlg, hmac::Key)>),
    /// As ring wants it: `RSAPublicKey`, an uncompressed point, or 32 bytes.
    Public(Vec<u8>),
    /// Modulus and exponent, as JWKS has them.
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

/// Why something is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// There is no public key in it.
    NoPublicKey,
    /// It is a key of another kind than its algorithms take.
    WrongFamily,
    /// Shorter than its algorithms demand.
    TooShort,
    /// An RSA key of fewer than 2,048 bits, or of more than 8,192.
    RsaSize,
}

impl fmt::Display for KeyFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NoPublicKey => "holds no public key in PEM (BEGIN PUBLIC KEY)",
            Self::WrongFamily => "holds a key of another kind than its algs take",
            Self::TooShort => "is shorter than its algs demand",
            Self::RsaSize => "holds an RSA key that has not 2048 to 8192 bits",
        })
    }
}

/// Bytes of an RSA modulus.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1_024;

impl Key {
    /// A secret that issuer and server share.
    ///
    /// # Errors
    /// It is too short for its algorithms, or they take no secret.
    pub fn secret(kid: Option<&str>, algs: &[JwtAlg], secret: &[u8]) -> Result<Self, KeyFault> {
        let mut keys = Vec::new();
        for alg in algs {
            let hash = hash(*alg).ok_or(KeyFault::WrongFamily)?;
            if secret.len() < alg.secret_bytes_min() {
                return Err(KeyFault::TooShort);
            }
            keys.push((*alg, hmac::Key::new(hash, secret)));
        }
        Ok(Self::new(kid, algs, Material::Hmac(keys)))
    }

    /// A public key in PEM.
    ///
    /// # Errors
    /// It is none, or one of another kind.
    pub fn public_pem(kid: Option<&str>, algs: &[JwtAlg], text: &str) -> Result<Self, KeyFault> {
        let der = der::pem(text, "PUBLIC KEY").ok_or(KeyFault::NoPublicKey)?;
        let (family, key) = der::public_key(&der).ok_or(KeyFault::NoPublicKey)?;
        if algs.iter().any(|alg| alg.family() != family) {
            return Err(KeyFault::WrongFamily);
        }
        // The modulus is nearly all of an RSA key.
        if family == JwtFamily::Rsa && !(256..=1_100).contains(&key.len()) {
            return Err(KeyFault::RsaSize);
        }
        Ok(Self::new(kid, algs, Material::Public(key.to_vec())))
    }

    /// A point or the 32 bytes of a public key.
    pub(super) fn raw(kid: Option<&str>, algs: &[JwtAlg], key: Vec<u8>) -> Self {
        Self::new(kid, algs, Material::Public(key))
    }

    /// An RSA key by its parts.
    pub(super) fn rsa(
        kid: Option<&str>,
        algs: &[JwtAlg],
        n: &[u8],
        e: Vec<u8>,
    ) -> Result<Self, KeyFault> {
        let zeros = n.iter().take_while(|byte| **byte == 0).count();
        let n = n[zeros..].to_vec();
        if !RSA_BYTES.contains(&n.len()) {
            return Err(KeyFault::RsaSize);
        }
        Ok(Self::new(kid, algs, Material::Rsa { n, e }))
    }

    fn new(kid: Option<&str>, algs: &[JwtAlg], material: Material) -> Self {
        Self { kid: kid.map(str::to_owned), algs: algs.to_vec(), material }
    }

    /// What tokens call it.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whether it has signed a message.
    fn has_signed(&self, alg: JwtAlg, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Hmac(keys) => {
                let key = keys.iter().find(|(of, _)| *of == alg);
                // Compared in constant time, by ring.
                key.is_some_and(|(_, key)| hmac::verify(key, message, signature).is_ok())
            }
            Material::Public(key) => {
                let Some(scheme) = scheme(alg) else { return false };
                let key = signature::UnparsedPublicKey::new(scheme, key);
                key.verify(message, signature).is_ok()
            }
            Material::Rsa { n, e } => {
                let Some(scheme) = rsa_scheme(alg) else { return false };
                let parts = signature::RsaPublicKeyComponents { n, e };
                parts.verify(scheme, message, signature).is_ok()
            }
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algs", &self.algs)
            .finish_non_exhaustive()
    }
}

fn hash(alg: JwtAlg) -> Option<hmac::Algorithm> {
    match alg {
        JwtAlg::Hs256 => Some(hmac::HMAC_SHA256),
        JwtAlg::Hs384 => Some(hmac::HMAC_SHA384),
        JwtAlg::Hs512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

fn rsa_scheme(alg: JwtAlg) -> Option<&'static signature::RsaParameters> {
    Some(match alg {
        JwtAlg::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        JwtAlg::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        JwtAlg::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        JwtAlg::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        JwtAlg::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        JwtAlg::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

fn scheme(alg: JwtAlg) -> Option<&'static dyn signature::VerificationAlgorithm> {
    Some(match alg {
        // Rule: RFC 7518 section 3.4: both numbers at their full length, no DER.
        JwtAlg::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
        JwtAlg::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
        JwtAlg::EdDsa => &signature::ED25519,
        _ => return rsa_scheme(alg).map(|scheme| scheme as _),
    })
}

/// Keys of which one may have signed a token.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

impl KeySet {
    /// A set of these.
    #[must_use]
    pub const fn new(keys: Vec<Key>) -> Self {
        Self { keys }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// Keys that a token with this `kid` can have been signed with: those of that name, and those
    /// without a name. A token without a `kid` can be of any.
    fn for_kid<'a>(&'a self, kid: Option<&'a str>) -> impl Iterator<Item = &'a Key> {
        self.keys.iter().filter(move |key| match (kid, key.kid()) {
            (Some(wanted), Some(own)) => wanted == own,
            _ => true,
        })
    }

    /// Checks who has signed a message.
    pub(super) fn check(
        &self,
        kid: Option<&str>,
        alg: JwtAlg,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), TokenError> {
        let mut found = TokenError::UnknownKey;
        for key in self.for_kid(kid) {
            if !key.algs.contains(&alg) {
                if found == TokenError::UnknownKey {
                    found = TokenError::AlgorithmNotAllowed;
                }
                continue;
            }
            if key.has_signed(alg, message, signature) {
                return Ok(());
            }
            found = TokenError::BadSignature;
        }
        Err(found)
    }
}
