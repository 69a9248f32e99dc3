//! Making tokens, for `corewire token` and for tests.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use serde_json::{Map, Value, json};

use super::der;
use crate::config::JwtAlg;

/// Somebody who can sign.
pub struct Signer {
    alg: JwtAlg,
    kid: Option<String>,
    key: Private,
}

enum Private {
    Hmac(hmac::Key),
    Rsa(Box<RsaKeyPair>, &'static dyn signature::RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Why nothing is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignFault {
    /// The text holds no private key of the kind that the algorithm takes.
    NoPrivateKey,
    /// The mathematics refused.
    Refused,
}

impl fmt::Display for SignFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NoPrivateKey => {
                "holds no private key of that kind in PEM (PKCS #8, BEGIN PRIVATE KEY)"
            }
            Self::Refused => "does not sign",
        })
    }
}

/// What a token is to say.
#[derive(Clone, Debug, Default)]
pub struct TokenPlan {
    /// The user.
    pub user: String,
    /// The session.
    pub session: Option<String>,
    /// The token's id.
    pub token_id: Option<String>,
    /// From when, seconds since the epoch.
    pub issued_unix_s: u64,
    /// Until when, seconds since the epoch.
    pub expires_unix_s: u64,
    /// Who issues it.
    pub issuer: Option<String>,
    /// For whom.
    pub audience: Option<String>,
    /// Namespaces; all if there are none.
    pub namespaces: Vec<String>,
    /// Rooms its bearer is put into.
    pub rooms: Vec<String>,
    /// Patterns of rooms, with what is allowed there.
    pub caps: Vec<(String, Vec<String>)>,
    /// Labels.
    pub labels: Vec<(String, String)>,
}

impl TokenPlan {
    /// The claims as they stand in the token.
    #[must_use]
    pub fn claims(&self) -> Value {
        let mut sio = Map::new();
        if !self.namespaces.is_empty() {
            sio.insert("ns".into(), json!(self.namespaces));
        }
        if !self.rooms.is_empty() {
            sio.insert("rooms".into(), json!(self.rooms));
        }
        if !self.caps.is_empty() {
            let cap =
                |(room, allow): &(String, Vec<String>)| json!({"rooms": [room], "allow": allow});
            sio.insert("caps".into(), self.caps.iter().map(cap).collect());
        }
        if !self.labels.is_empty() {
            let labels = self.labels.iter().map(|(name, value)| (name.clone(), json!(value)));
            sio.insert("labels".into(), Value::Object(labels.collect()));
        }
        let mut claims = Map::new();
        claims.insert("sub".into(), json!(self.user));
        let texts = [
            ("sid", &self.session),
            ("jti", &self.token_id),
            ("iss", &self.issuer),
            ("aud", &self.audience),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                claims.insert(name.into(), json!(text));
            }
        }
        claims.insert("iat".into(), json!(self.issued_unix_s));
        claims.insert("exp".into(), json!(self.expires_unix_s));
        if !sio.is_empty() {
            claims.insert("sio".into(), Value::Object(sio));
        }
        Value::Object(claims)
    }
}

impl Signer {
    /// Signs with a shared secret. `None` if the algorithm takes none.
    #[must_use]
    pub fn secret(alg: JwtAlg, kid: Option<&str>, secret: &[u8]) -> Option<Self> {
        let hash = match alg {
            JwtAlg::Hs256 => hmac::HMAC_SHA256,
            JwtAlg::Hs384 => hmac::HMAC_SHA384,
            JwtAlg::Hs512 => hmac::HMAC_SHA512,
            _ => return None,
        };
        Some(Self::new(alg, kid, Private::Hmac(hmac::Key::new(hash, secret))))
    }

    /// Signs with a private key in PEM.
    ///
    /// # Errors
    /// There is none in it, or one of another kind.
    pub fn private_pem(alg: JwtAlg, kid: Option<&str>, text: &str) -> Result<Self, SignFault> {
        let der = der::pem(text, "PRIVATE KEY").ok_or(SignFault::NoPrivateKey)?;
        let no = |_| SignFault::NoPrivateKey;
        let rsa = |encoding| -> Result<Private, SignFault> {
            Ok(Private::Rsa(Box::new(RsaKeyPair::from_pkcs8(&der).map_err(no)?), encoding))
        };
        let ecdsa = |scheme| -> Result<Private, SignFault> {
            let pair = EcdsaKeyPair::from_pkcs8(scheme, &der, &SystemRandom::new());
            Ok(Private::Ecdsa(pair.map_err(no)?))
        };
        let key = match alg {
            JwtAlg::Hs256 | JwtAlg::Hs384 | JwtAlg::Hs512 => return Err(SignFault::NoPrivateKey),
            JwtAlg::Rs256 => rsa(&signature::RSA_PKCS1_SHA256)?,
            JwtAlg::Rs384 => rsa(&signature::RSA_PKCS1_SHA384)?,
            JwtAlg::Rs512 => rsa(&signature::RSA_PKCS1_SHA512)?,
            JwtAlg::Ps256 => rsa(&signature::RSA_PSS_SHA256)?,
            JwtAlg::Ps384 => rsa(&signature::RSA_PSS_SHA384)?,
            JwtAlg::Ps512 => rsa(&signature::RSA_PSS_SHA512)?,
            JwtAlg::Es256 => ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)?,
            JwtAlg::Es384 => ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING)?,
            JwtAlg::EdDsa => {
                // What openssl writes has no public half; ring makes it.
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(no)?;
                Private::Ed25519(pair)
            }
        };
        Ok(Self::new(alg, kid, key))
    }

    fn new(alg: JwtAlg, kid: Option<&str>, key: Private) -> Self {
        Self { alg, kid: kid.map(str::to_owned), key }
    }

    /// A token with these claims.
    ///
    /// # Errors
    /// The mathematics refused.
    pub fn sign(&self, claims: &Value) -> Result<String, SignFault> {
        let mut header = json!({ "alg": self.alg.word(), "typ": "JWT" });
        if let Some(kid) = &self.kid {
            header["kid"] = json!(kid);
        }
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(&header), encode(claims));
        let signature = self.signature(message.as_bytes())?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, SignFault> {
        let chance = SystemRandom::new();
        let refused = |_| SignFault::Refused;
        match &self.key {
            Private::Hmac(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            Private::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, &chance, message, &mut signature).map_err(refused)?;
                Ok(signature)
            }
            Private::Ecdsa(pair) => {
                Ok(pair.sign(&chance, message).map_err(refused)?.as_ref().to_vec())
            }
            Private::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Signer").field("alg", &self.alg).finish_non_exhaustive()
    }
}
