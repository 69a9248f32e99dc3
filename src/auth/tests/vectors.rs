//! Tokens and keys printed in RFCs.

use super::super::{KeySet, TokenError, TokenRules, jwks, verify};
use crate::config::JwtAlg;

/// RFC 7515, the payload of appendices A.1 to A.3: it names no user.
const PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt\
                       cGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

fn signed_by(keys: &KeySet, alg: JwtAlg, message: &str, signature: &str) -> Result<(), TokenError> {
    use base64::Engine as _;
    let signature = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(signature).unwrap();
    keys.check(None, alg, message.as_bytes(), &signature)
}

fn holds(keys: &KeySet, alg: JwtAlg, header: &str, payload: &str, signature: &str) {
    let message = format!("{header}.{payload}");
    assert_eq!(signed_by(keys, alg, &message, signature), Ok(()), "{alg:?}");
    let other = format!("{message}A");
    assert_eq!(signed_by(keys, alg, &other, signature), Err(TokenError::BadSignature), "{alg:?}");
    // The whole way: what is signed is read, and is no claims of a user.
    let whole = verify(&format!("{message}.{signature}"), keys, &TokenRules::default(), 0);
    assert_eq!(whole, Err(TokenError::BadClaims), "{alg:?}");
}

#[test]
fn rfc_7515_a_1_hmac() {
    use base64::Engine as _;
    let key =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let key = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(key).unwrap();
    let key = super::super::Key::secret(None, &[JwtAlg::Hs256], &key).unwrap();
    let header = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9";
    let signature = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    holds(&KeySet::new(vec![key]), JwtAlg::Hs256, header, PAYLOAD, signature);
}

#[test]
fn rfc_7515_a_2_rsa() {
    let key = r#"{"keys":[{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}]}"#;
    let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let keys = jwks(key.as_bytes()).unwrap();
    holds(&keys, JwtAlg::Rs256, "eyJhbGciOiJSUzI1NiJ9", PAYLOAD, signature);
}

#[test]
fn rfc_7515_a_3_ec() {
    let key = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    let signature =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let keys = jwks(key.as_bytes()).unwrap();
    holds(&keys, JwtAlg::Es256, "eyJhbGciOiJFUzI1NiJ9", PAYLOAD, signature);
}

#[test]
fn rfc_8037_a_4_ed25519() {
    let key = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let signature =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let keys = jwks(key.as_bytes()).unwrap();
    let payload = "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    holds(&keys, JwtAlg::EdDsa, "eyJhbGciOiJFZERTQSJ9", payload, signature);
}

/// RFC 7519 section 6.1: an unsecured token.
#[test]
fn rfc_7519_6_1_unsecured() {
    let token = format!("eyJhbGciOiJub25lIn0.{PAYLOAD}.");
    let keys = super::hmac_key(None, &[JwtAlg::Hs256]);
    let verdict = verify(&token, &keys, &TokenRules::default(), 0);
    assert_eq!(verdict, Err(TokenError::AlgorithmNotAllowed));
}
