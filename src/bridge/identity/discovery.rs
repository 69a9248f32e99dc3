//! What an issuer says of itself, as long as it is believed. Time is handed in; who asks is
//! somebody else.

use crate::auth::Discovered;

/// How long it is believed: issuers move seldom, and say so nowhere.
const AGE_MAX_MS: u64 = 3_600_000;
/// Between two questions: after a failure, and after an answer that soon turned out to be no good.
const AGAIN_MS: u64 = 1_000;

/// What is known of an issuer.
#[derive(Debug, Default)]
pub(super) struct Issuer {
    said: Option<Discovered>,
    said_ms: u64,
    is_doubted: bool,
    failed_ms: Option<u64>,
}

impl Issuer {
    /// What it says, unless it has to be asked again.
    pub(super) fn believed(&self, now_ms: u64) -> Option<&Discovered> {
        let is_old = now_ms.saturating_sub(self.said_ms) >= AGE_MAX_MS;
        self.said.as_ref().filter(|_| !is_old && !self.is_doubted)
    }

    /// What it said last, whenever that was.
    pub(super) const fn last(&self) -> Option<&Discovered> {
        self.said.as_ref()
    }

    /// Whether it may be asked now.
    pub(super) fn may_ask(&self, now_ms: u64) -> bool {
        self.failed_ms.is_none_or(|failed| now_ms >= failed + AGAIN_MS)
    }

    /// It has answered.
    pub(super) fn put(&mut self, said: Discovered, now_ms: u64) {
        *self = Self { said: Some(said), said_ms: now_ms, is_doubted: false, failed_ms: None };
    }

    /// It could not be asked.
    pub(super) const fn failed(&mut self, now_ms: u64) {
        self.failed_ms = Some(now_ms);
    }

    /// Where it said that something is, that is not.
    pub(super) const fn doubt(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.said_ms) >= AGAIN_MS {
            self.is_doubted = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(jwks_uri: &str) -> Discovered {
        let issuer = String::from("us");
        Discovered { issuer, jwks_uri: jwks_uri.into(), introspection_endpoint: None }
    }

    #[test]
    fn what_it_says_is_believed_for_a_while_and_until_it_proves_wrong() {
        let mut issuer = Issuer::default();
        assert!(issuer.believed(0).is_none() && issuer.may_ask(0));
        issuer.put(said("a"), 5_000);
        assert!(issuer.believed(5_000 + AGE_MAX_MS - 1).is_some());
        assert!(issuer.believed(5_000 + AGE_MAX_MS).is_none(), "it is asked again by and by");
        issuer.doubt(5_999);
        assert!(issuer.believed(5_999).is_some(), "it has only just said so");
        issuer.doubt(6_000);
        assert!(issuer.believed(6_000).is_none() && issuer.last() == Some(&said("a")));
        issuer.failed(6_000);
        assert!(!issuer.may_ask(6_999) && issuer.may_ask(7_000));
        issuer.put(said("b"), 7_000);
        assert_eq!(issuer.believed(7_000), Some(&said("b")));
        assert!(issuer.may_ask(7_000));
    }
}
