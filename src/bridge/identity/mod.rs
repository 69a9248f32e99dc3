//! Tokens that no worker verifies: those with public keys, and those that somebody is asked about.
//!
//! `provider.rs` speaks to identity providers; `keys.rs` keeps what they publish; `asked.rs` keeps
//! what they said of tokens. Nothing here knows a socket: a token comes in, a verdict goes back.

mod asked;
mod breaker;
mod keys;
mod provider;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::thread::Common;
use crate::auth::KeySet;
use crate::gateway::TokenRequest;
use provider::Provider;

/// Tokens that are looked at one beside the other; the others wait in their queue.
const AT_ONCE: usize = 512;

/// Verifies what comes, until the workers are gone.
pub(super) async fn run(common: Common, keys: KeySet, mut tokens: mpsc::Receiver<TokenRequest>) {
    let provider = Arc::new(Provider::new(&common, keys));
    let mut looking = JoinSet::new();
    let refreshing = provider.refresh_for_ever();
    tokio::pin!(refreshing);
    let closing = common.closing();
    tokio::pin!(closing);
    loop {
        tokio::select! {
            token = tokens.recv(), if looking.len() < AT_ONCE => {
                let Some(TokenRequest { token, ticket }) = token else { return };
                let (provider, common) = (Arc::clone(&provider), common.clone());
                looking.spawn(async move {
                    let verdict = provider.verdict(&token).await.map(Box::new);
                    common.settle_token(ticket, verdict).await;
                });
            }
            Some(_) = looking.join_next() => {}
            () = &mut refreshing => return,
            () = &mut closing => return,
        }
    }
}
