//! Who is looked at when: so many tokens one beside the other, the others wait in their queues.
//!
//! Clients at the door and clients that are in already have places of their own. However many new
//! tokens those bring, nobody at the door waits for them.

use std::future::Future;

use tokio::task::JoinSet;

use crate::bridge::switchboard::TokenInlets;
use crate::gateway::TokenRequest;

/// Tokens of clients at the door that are looked at one beside the other.
const LOGINS_MAX: usize = 512;
/// New tokens of clients that are in.
const REFRESHES_MAX: usize = 128;

/// Has every token looked at, until nobody brings any more.
pub(super) async fn look_at_all<F>(tokens: TokenInlets, look: impl Fn(TokenRequest) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let TokenInlets { mut logins, mut refreshes } = tokens;
    let (mut at_door, mut inside) = (JoinSet::new(), JoinSet::new());
    loop {
        // A panic of one has ended that one only; its ticket is settled by its core when it is due.
        tokio::select! {
            token = logins.recv(), if at_door.len() < LOGINS_MAX => match token {
                Some(token) => drop(at_door.spawn(look(token))),
                None => return,
            },
            token = refreshes.recv(), if inside.len() < REFRESHES_MAX => match token {
                Some(token) => drop(inside.spawn(look(token))),
                None => return,
            },
            Some(_) = at_door.join_next() => {}
            Some(_) = inside.join_next() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::{Notify, mpsc};

    use super::*;
    use crate::base::{CoreId, Key};
    use crate::gateway::backend::Ticket;

    fn request(token: &str, is_refresh: bool) -> TokenRequest {
        let ticket = Ticket::for_test(CoreId::from_index(0), Key::default());
        TokenRequest { token: token.into(), is_refresh, ticket }
    }

    #[tokio::test]
    async fn nobody_at_the_door_waits_for_those_inside_and_a_panic_is_one_tokens_own() {
        let (login, logins) = mpsc::channel(2_000);
        let (refresh, refreshes) = mpsc::channel(2_000);
        let (begun, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (counted, known) = (Arc::clone(&begun), Arc::clone(&seen));
        tokio::spawn(look_at_all(TokenInlets { logins, refreshes }, move |request| {
            let (begun, seen) = (Arc::clone(&counted), Arc::clone(&known));
            async move {
                match &*request.token {
                    "good" => seen.notify_one(),
                    "bad" => panic!("a token that nobody can look at"),
                    _ => {
                        begun.fetch_add(1, Ordering::Relaxed);
                        std::future::pending().await
                    }
                }
            }
        }));
        for _ in 0..2_000 {
            refresh.send(request("slow", true)).await.expect("somebody looks");
        }
        for _ in 0..LOGINS_MAX {
            login.send(request("bad", false)).await.expect("somebody looks");
        }
        login.send(request("good", false)).await.expect("somebody looks");
        let waited = tokio::time::timeout(std::time::Duration::from_secs(5), seen.notified());
        waited.await.expect("it is looked at");
        assert_eq!(begun.load(Ordering::Relaxed), REFRESHES_MAX);
    }
}
