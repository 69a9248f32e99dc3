//! Signatures, as the Standard Webhooks specification has them: a receiver checks them with any of
//! its libraries.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// Signs with one key, or with two while one replaces the other.
#[derive(Clone)]
pub(super) struct Signer {
    keys: Vec<hmac::Key>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Signer({} keys)", self.keys.len())
    }
}

impl Signer {
    pub(super) fn new(keys: &[Vec<u8>]) -> Self {
        let key = |bytes: &Vec<u8>| hmac::Key::new(hmac::HMAC_SHA256, bytes);
        Self { keys: keys.iter().map(key).collect() }
    }

    /// The value of `webhook-signature`: one signature a key, a space between them.
    pub(super) fn sign(&self, id: &str, unix_s: u64, body: &[u8]) -> String {
        let one = |key: &hmac::Key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{unix_s}.").as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        };
        self.keys.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that the specification's own libraries are tested with.
    #[test]
    fn the_signature_is_that_of_the_specification() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let body = br#"{"test": 2432232314}"#;
        let signed = Signer::new(std::slice::from_ref(&key)).sign(id, 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let rotating = Signer::new(&[key, vec![1; 32]]).sign(id, 1_614_265_330, body);
        let (first, second) = rotating.split_once(' ').expect("two signatures");
        assert_eq!(first, signed);
        assert!(second.starts_with("v1,") && second != first, "{second}");
    }
}
