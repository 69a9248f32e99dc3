use std::sync::{Arc, Mutex};

use serde_json::json;

use super::cluster::{Client, Cluster};
use crate::auth::{Claims, TokenError};
use crate::config::{Options, Tables};
use crate::gateway::backend::{
    AdmissionRequest, Backends, Busy, Fact, RouteFailure, RoutedEvent, Ticket,
};
use crate::gateway::fair::FairUse;
use crate::gateway::{GatewaySettings, TokenGate, TokenRequest, settle_token};

/// Keeps tokens that somebody else is to verify.
#[derive(Debug, Default)]
struct Clerk(Mutex<Vec<TokenRequest>>);

impl Clerk {
    /// What was asked since the last time.
    fn asked(&self) -> Vec<TokenRequest> {
        std::mem::take(&mut *self.0.lock().expect("one thread"))
    }
}

impl Backends for Clerk {
    fn route(&self, _: RoutedEvent) -> Result<(), RouteFailure> {
        Err(RouteFailure::Unroutable)
    }

    fn admit(&self, _: AdmissionRequest) -> Result<(), Busy> {
        Err(Busy)
    }

    fn verify(&self, request: TokenRequest) -> Result<(), Busy> {
        self.0.lock().expect("one thread").push(request);
        Ok(())
    }

    fn tell(&self, _: Fact) {}
}

fn cluster(options: &Options) -> (Cluster, Arc<Clerk>) {
    let clerk = Arc::new(Clerk::default());
    let tables = Tables::default();
    let settings = GatewaySettings {
        backends: Some(Arc::clone(&clerk) as Arc<dyn Backends>),
        tokens: Some(Arc::new(TokenGate { is_opaque: true, ..TokenGate::default() })),
        fair: FairUse::new(options, &tables, 7).map(Arc::new),
        ..GatewaySettings::from(options, &tables)
    };
    (Cluster::new(1, settings), clerk)
}

fn says(cluster: &mut Cluster, ticket: Ticket, user: &str) {
    let claims = Claims { user: user.into(), ..Claims::default() };
    settle_token(&cluster.io(0), ticket, Ok(Box::new(claims)));
    cluster.settle();
}

/// A client at the door.
fn knock(cluster: &mut Cluster, clerk: &Clerk) -> (Client, Ticket) {
    let client = cluster.open(0, "");
    cluster.say(client, r#"40{"token":"t0"}"#);
    assert!(cluster.packets(client).is_empty(), "it waits");
    let asked = clerk.asked();
    assert_eq!((asked.len(), &*asked[0].token, asked[0].is_refresh), (1, "t0", false));
    (client, asked[0].ticket)
}

fn ann(cluster: &mut Cluster, clerk: &Clerk) -> Client {
    let (client, ticket) = knock(cluster, clerk);
    says(cluster, ticket, "ann");
    assert!(cluster.packets(client)[0].starts_with("40{"));
    client
}

fn bring(cluster: &mut Cluster, client: Client, token: &str) {
    cluster.say(client, &format!("427{}", json!(["auth_refresh", { "token": token }])));
}

#[test]
fn of_two_tokens_the_last_is_the_one_as_in_javascript() {
    let (mut cluster, clerk) = cluster(&Options::default());
    for (auth, token) in [
        (r#"{"token":"first","token":"last"}"#, Some("last")),
        (r#"{"token":null,"t\u006fken":"last"}"#, Some("last")),
        (r#"{"token":"first","token":null}"#, None),
    ] {
        let client = cluster.open(0, "");
        cluster.say(client, &format!("40{auth}"));
        let asked: Vec<String> = clerk.asked().into_iter().map(|asked| asked.token).collect();
        assert_eq!(asked.first().map(String::as_str), token, "{auth}");
        if token.is_none() {
            assert!(cluster.packets(client)[0].contains("TOKEN_MISSING"));
        }
    }
}

#[test]
fn one_new_token_of_a_socket_is_judged_at_a_time() {
    let (mut cluster, clerk) = cluster(&Options::default());
    let client = ann(&mut cluster, &clerk);
    bring(&mut cluster, client, "t1");
    assert!(cluster.packets(client).is_empty(), "it is being judged");
    for _ in 0..9 {
        let answer = cluster.ask(client, "auth_refresh", &json!({"token": "t2"}));
        let error = json!({
            "code": "TOO_MANY_PENDING", "message": "as many questions are under way as may be",
            "retryable": true, "retryAfterMs": 1_000,
        });
        assert_eq!(answer, json!({"success": false, "error": error}));
    }
    let asked = clerk.asked();
    assert_eq!((asked.len(), &*asked[0].token, asked[0].is_refresh), (1, "t1", true));
    assert_eq!(cluster.counters(0).events_limited, 9);
    says(&mut cluster, asked[0].ticket, "ann");
    assert_eq!(cluster.packets(client), [r#"437[{"success":true,"status":"accepted"}]"#]);
    bring(&mut cluster, client, "t3");
    let asked = clerk.asked();
    assert_eq!(&*asked[0].token, "t3", "the next one's turn");
    says(&mut cluster, asked[0].ticket, "bob");
    assert!(cluster.packets(client)[0].contains("IDENTITY_MISMATCH"));
    let other = ann(&mut cluster, &clerk);
    bring(&mut cluster, other, "t4");
    assert_eq!(clerk.asked().len(), 1, "each socket has its own");
}

#[test]
fn who_goes_on_bringing_tokens_is_disconnected() {
    let fair =
        Options { socket_events_per_s: 1_000, abuse_refusals_per_min: 3, ..Options::default() };
    let (mut cluster, clerk) = cluster(&fair);
    let client = ann(&mut cluster, &clerk);
    for _ in 0..6 {
        bring(&mut cluster, client, "t1");
    }
    let packets = cluster.packets(client);
    assert_eq!(packets.get(3).map(String::as_str), Some("41"), "{packets:?}");
    assert_eq!(cluster.counters(0).abusers_expelled, 1);
    assert_eq!(clerk.asked().len(), 1);
}

#[test]
fn whose_token_nobody_judges_is_told_so_in_time() {
    let (mut cluster, clerk) = cluster(&Options { idp_timeout_ms: 100, ..Options::default() });
    let (client, ticket) = knock(&mut cluster, &clerk);
    let pass = |cluster: &mut Cluster, ms| {
        cluster.pass(ms);
        crate::gateway::sweep(&cluster.io(0));
        cluster.settle();
    };
    pass(&mut cluster, 2_399);
    assert!(cluster.packets(client).is_empty(), "four answers of a provider and the grace");
    pass(&mut cluster, 1);
    let refused = cluster.packets(client).remove(0);
    let code = r#""data":{"code":"AUTH_UNAVAILABLE","retryable":true}"#;
    assert!(refused.starts_with("44") && refused.contains(code), "{refused}");
    says(&mut cluster, ticket, "ann");
    assert!(cluster.packets(client).is_empty(), "what comes after that is for nobody");

    let client = ann(&mut cluster, &clerk);
    bring(&mut cluster, client, "t1");
    pass(&mut cluster, 2_400);
    assert!(cluster.packets(client)[0].contains("AUTH_UNAVAILABLE"));
    clerk.asked();
    bring(&mut cluster, client, "t2");
    let asked = clerk.asked();
    assert_eq!(&*asked[0].token, "t2", "it is not in the way of the next one");
    settle_token(&cluster.io(0), asked[0].ticket, Err(TokenError::Inactive));
    cluster.settle();
    assert!(cluster.packets(client)[0].contains("TOKEN_INACTIVE"));
}

#[test]
fn a_silent_provider_with_many_who_wait_is_no_long_pause() {
    let (mut cluster, clerk) = cluster(&Options { idp_timeout_ms: 100, ..Options::default() });
    let clients: Vec<Client> = (0..5_000).map(|_| knock(&mut cluster, &clerk).0).collect();
    let refused = |cluster: &mut Cluster| {
        cluster.pass(2_400);
        crate::gateway::sweep(&cluster.io(0));
        cluster.settle();
        let told = clients.iter().filter(|client| !cluster.packets(**client).is_empty());
        told.count()
    };
    assert_eq!(refused(&mut cluster), 4_096, "so many in one go");
    assert_eq!(refused(&mut cluster), 5_000 - 4_096);
}
