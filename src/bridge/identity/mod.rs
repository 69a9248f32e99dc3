//! Tokens that no worker verifies: those with public keys, and those that somebody is asked about.
//!
//! `provider.rs` speaks to identity providers; `discovery.rs` and `keys.rs` keep what they publish;
//! `asked.rs` keeps what they said of tokens; `places.rs` says how many tokens are looked at one
//! beside the other. Nothing here knows a socket: a token comes in, a verdict goes back.

mod asked;
mod breaker;
mod discovery;
mod keys;
mod places;
mod provider;
#[cfg(test)]
mod provider_tests;

use std::sync::Arc;
use std::time::Duration;

use super::switchboard::TokenInlets;
use super::thread::Common;
use crate::auth::{KeySet, TokenError};
use crate::gateway::{TokenRequest, verdict_timeout_ms};
use provider::Provider;

/// Verifies what comes, until the workers are gone.
pub(super) async fn run(common: Common, keys: KeySet, tokens: TokenInlets) {
    let log = Arc::clone(&common.log);
    let provider = Arc::new(Provider::new(Arc::clone(&common.options), log, keys));
    let at_most = Duration::from_millis(verdict_timeout_ms(common.options.idp_timeout_ms));
    let look = |TokenRequest { token, ticket, .. }| {
        let (provider, common) = (Arc::clone(&provider), common.clone());
        async move {
            let verdict = tokio::time::timeout(at_most, provider.verdict(&token)).await;
            let verdict = verdict.unwrap_or(Err(TokenError::Unavailable)).map(Box::new);
            common.settle_token(ticket, verdict).await;
        }
    };
    tokio::select! {
        () = places::look_at_all(tokens, look) => {}
        () = provider.refresh_for_ever() => {}
        () = common.closing() => {}
    }
}
