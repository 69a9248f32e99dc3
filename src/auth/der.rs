//! Public keys in the form in which people keep them: PEM around a `SubjectPublicKeyInfo`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::JwtFamily;

/// Bytes of a key in PEM; an RSA key of 8,192 bits has about 1,500.
const PEM_BYTES_MAX: usize = 16_384;

/// The bytes between the lines of a PEM text with this label, as `PUBLIC KEY`. `None` if there are
/// none. What else stands in the text does not matter.
///
/// Rule: RFC 7468 section 3.
#[must_use]
pub fn pem(text: &str, label: &str) -> Option<Vec<u8>> {
    if text.len() > PEM_BYTES_MAX {
        return None;
    }
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(body).ok()
}

/// Rule: RFC 3279 section 2.3.1.
const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
/// Rule: RFC 5480 section 2.1.1.
const EC: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
/// Rule: RFC 5480 section 2.1.1.1.
const P256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2B, 0x81, 0x04, 0x00, 0x22];
/// Rule: RFC 8410 section 3.
const ED25519: &[u8] = &[0x2B, 0x65, 0x70];

const SEQUENCE: u8 = 0x30;
const OID: u8 = 0x06;
const BIT_STRING: u8 = 0x03;

/// The kind of a key and its bytes: `RSAPublicKey`, a point, or 32 bytes.
///
/// Rule: RFC 5280 section 4.1, `SubjectPublicKeyInfo`.
pub(super) fn public_key(der: &[u8]) -> Option<(JwtFamily, &[u8])> {
    let (info, rest) = element(der, SEQUENCE)?;
    let (algorithm, key) = element(info, SEQUENCE)?;
    let (key, after) = element(key, BIT_STRING)?;
    if !rest.is_empty() || !after.is_empty() {
        return None;
    }
    // Keys are whole bytes: none of the last one's bits is unused.
    let key = key.strip_prefix(&[0])?;
    let (name, parameters) = element(algorithm, OID)?;
    let family = match name {
        RSA => JwtFamily::Rsa,
        ED25519 => JwtFamily::Ed25519,
        EC => match element(parameters, OID)?.0 {
            P256 => JwtFamily::P256,
            P384 => JwtFamily::P384,
            _ => return None,
        },
        _ => return None,
    };
    Some((family, key))
}

/// The content of the first element, which must be of this kind, and what follows it.
fn element(der: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    if *first != kind {
        return None;
    }
    let (length, rest) = match rest {
        [short @ 0..=0x7F, rest @ ..] => (usize::from(*short), rest),
        [0x81, one, rest @ ..] => (usize::from(*one), rest),
        [0x82, high, low, rest @ ..] => (usize::from(*high) << 8 | usize::from(*low), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}
