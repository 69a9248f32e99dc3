use std::sync::{Arc, Mutex};

use serde_json::json;

use super::cluster::Cluster;
use crate::config::{Destination, KeyTemplate, Route, RouteAck};
use crate::gateway::GatewaySettings;
use crate::gateway::backend::{
    AdmissionRequest, Backends, Busy, Fact, FactKind, Outcome, RouteFailure, RoutedEvent, settle,
};

/// Keeps what cores hand over; takes no more than so many events.
#[derive(Debug, Default)]
struct Shelf {
    events: Mutex<Vec<RoutedEvent>>,
    facts: Mutex<Vec<Fact>>,
    room: usize,
}

impl Backends for Shelf {
    fn route(&self, event: RoutedEvent) -> Result<(), RouteFailure> {
        let mut events = self.events.lock().expect("one thread");
        if events.len() >= self.room {
            return Err(RouteFailure::BrokerUnavailable { retry_after_ms: 1_500 });
        }
        events.push(event);
        Ok(())
    }

    fn admit(&self, _: AdmissionRequest) -> Result<(), Busy> {
        Err(Busy)
    }

    fn tell(&self, fact: Fact) {
        self.facts.lock().expect("one thread").push(fact);
    }
}

fn route(event: &str) -> Route {
    Route {
        namespace: "/".into(),
        event: event.into(),
        to: Destination::Rabbitmq,
        ack: RouteAck::Confirm,
        timeout_ms: 1_000,
        exchange: None,
        key: KeyTemplate::parse("{event}").expect("a template"),
        expiration_ms: None,
    }
}

fn cluster(room: usize) -> (Cluster, Arc<Shelf>) {
    let shelf = Arc::new(Shelf { room, ..Shelf::default() });
    let settings = GatewaySettings {
        routes: vec![route("ai_request"), route("order:*")],
        backends: Some(Arc::clone(&shelf) as Arc<dyn Backends>),
        facts: true,
        ..GatewaySettings::default()
    };
    (Cluster::new(2, settings), shelf)
}

const REQUEST: &str =
    r#"42%["ai_request",{"toolId":"t","message":"hi","requestId":"r1","sessionId":"s1"}]"#;

fn taken(shelf: &Shelf) -> RoutedEvent {
    shelf.events.lock().expect("one thread").remove(0)
}

#[test]
fn a_routed_request_is_relayed_and_answered_when_its_outcome_comes() {
    let (mut cluster, shelf) = cluster(9);
    let who = json!({"userId": "alice", "sessionId": "s1"});
    let (asker, other) = (cluster.join(0, &who), cluster.join(1, &who));
    for (outcome, answer) in [
        (
            Outcome::Accepted { message_id: "m".into() },
            r#"{"success":true,"status":"accepted","messageId":"m","requestId":"r1"}"#,
        ),
        (
            Outcome::Queued { message_id: "m\"".into() },
            r#"{"success":true,"status":"queued","messageId":"m\"","requestId":"r1"}"#,
        ),
        (Outcome::Reply { args: "1,[2]".into(), attachments: Vec::new() }, "1,[2]"),
        (
            Outcome::Failed(RouteFailure::Unroutable),
            r#"{"success":false,"error":{"code":"UNROUTABLE","message":"nobody takes such requests","retryable":false}}"#,
        ),
    ] {
        cluster.say(asker, &REQUEST.replace('%', "7"));
        let event = taken(&shelf);
        assert_eq!(event.request_id.as_deref(), Some("r1"));
        assert!(event.args.contains(r#""userId":"alice""#), "filled in: {}", event.args);
        assert_eq!(cluster.events(other)[0][0], "ai_request", "the user's others see it");
        assert!(cluster.packets(asker).is_empty(), "no answer before the outcome");
        settle(&cluster.io(0), event.ticket, outcome.clone());
        settle(&cluster.io(0), event.ticket, outcome);
        cluster.settle();
        assert_eq!(cluster.packets(asker), [format!("437[{answer}]")], "once");
    }
    cluster.check();
}

#[test]
fn a_refusal_and_a_silent_bridge_are_told() {
    let (mut cluster, shelf) = cluster(1);
    let asker = cluster.join(0, &json!({"userId": "alice", "sessionId": "s1"}));
    cluster.say(asker, &REQUEST.replace('%', ""));
    cluster.say(asker, &REQUEST.replace('%', "7"));
    let refused = cluster.packets(asker);
    assert!(refused[0].contains(r#""code":"BROKER_UNAVAILABLE""#), "{refused:?}");
    assert!(refused[0].contains(r#""retryable":true,"retryAfterMs":1500"#), "{refused:?}");
    cluster.pass(2_999);
    crate::gateway::sweep(&cluster.io(0));
    assert!(cluster.packets(asker).is_empty(), "its route's second and the grace");
    cluster.pass(1);
    crate::gateway::sweep(&cluster.io(0));
    cluster.settle();
    let late = cluster.events(asker);
    assert_eq!((&late[0][0], &late[0][1]["code"]), (&json!("error"), &json!("TIMEOUT")));
    settle(&cluster.io(0), taken(&shelf).ticket, Outcome::Accepted { message_id: "m".into() });
    cluster.settle();
    assert!(cluster.packets(asker).is_empty(), "what comes after that is for nobody");
}

#[test]
fn an_answer_finds_its_user_elsewhere() {
    let (mut cluster, shelf) = cluster(9);
    let who = json!({"userId": "alice", "sessionId": "s1"});
    let (asker, other) = (cluster.join(0, &who), cluster.join(1, &who));
    cluster.say(asker, &REQUEST.replace('%', "7"));
    cluster.vanish(asker);
    cluster.packets(other);
    let args = r#"{"requestId":"r1"}"#.to_owned();
    settle(&cluster.io(0), taken(&shelf).ticket, Outcome::Reply { args, attachments: vec![] });
    cluster.settle();
    assert_eq!(cluster.events(other), [json!(["ai_response", {"requestId": "r1"}])]);
}

#[test]
fn other_events_go_where_a_route_says() {
    let (mut cluster, shelf) = cluster(9);
    let client = cluster.user(0, "alice");
    cluster.say(client, r#"427["order:new",{"requestId":"r\u0031"},2]"#);
    let event = taken(&shelf);
    assert_eq!((&*event.event, &*event.args), ("order:new", r#"{"requestId":"r\u0031"},2"#));
    assert_eq!((event.request_id.as_deref(), event.route), (Some("r1"), 1));
    cluster.say(client, r#"427["orders"]"#);
    assert!(cluster.packets(client)[0].contains("UNKNOWN_EVENT"));
    assert_eq!(cluster.counters(0).events_routed, 1);
}

#[test]
fn facts_are_numbered_with_the_events_of_their_socket() {
    let (mut cluster, shelf) = cluster(9);
    let client = cluster.user(0, "alice");
    cluster.say(client, r#"42["order:new"]"#);
    cluster.vanish(client);
    let facts = shelf.facts.lock().expect("one thread");
    let seen: Vec<_> = facts.iter().map(|fact| (fact.seq, fact.kind.clone())).collect();
    assert_eq!(seen, [(1, FactKind::Connected), (3, FactKind::Disconnected("transport close"))]);
    assert_eq!(facts[0].client.socket_id.len(), 20);
    assert_eq!(facts[0].client, facts[1].client);
}
