//! What an embedder relies on, through real workers: handlers, gates, rooms over cores, acks.

use std::time::{Duration, Instant};

use corewire::base::CoreId;
use corewire::shard::Ending;
use serde_json::{Value, json};

use crate::fixture::{Fixture, eventually, options, start, start_server};
use crate::wire::{Heard, POLLING, Polling, Wire, Ws, fetch, get};

/// Three clients on each of two workers, all of them in `room`.
fn crowd(fixture: &Fixture) -> Vec<Ws> {
    let cores = [0, 1, 0, 1, 0, 1];
    let mut clients: Vec<Ws> =
        cores.iter().map(|core| Ws::connect_on(fixture.address, CoreId(*core))).collect();
    for client in &mut clients {
        assert_eq!(client.ask(r#"["join","room"]"#), json!([true]));
    }
    clients
}

fn sorted_ids(clients: &mut [Ws]) -> Vec<String> {
    let mut ids: Vec<String> = clients.iter_mut().map(Ws::socket_id).collect();
    ids.sort();
    ids
}

#[test]
fn a_handler_that_panics_ends_its_own_socket_only() {
    let fixture = start(2);
    let mut others: Vec<Ws> =
        (0..2).map(|core| Ws::connect_on(fixture.address, CoreId(core))).collect();
    for (round, event) in [r#"["panic"]"#, r#"["panic-later"]"#].into_iter().enumerate() {
        for core in 0..2 {
            let mut victim = Ws::connect_on(fixture.address, CoreId(core));
            let id = victim.socket_id();
            victim.text(&format!("42{event}"));
            assert_eq!(victim.ending(), Some(Ending::HandlerPanic.ws_code()));
            let gone = loop {
                let gone = fixture.next_gone();
                if gone.id == id {
                    break gone;
                }
            };
            assert_eq!(gone.ending, Ending::HandlerPanic);
            assert_eq!(gone.reason, "forced server close");
        }
        let panics = fixture.metric("corewire_handler_panics_total");
        assert_eq!(panics, 2 * (round as u64 + 1));
        assert!(others.iter_mut().all(Ws::is_well));
    }
}

#[test]
fn a_panic_behind_a_polling_client_ends_its_session_and_answers_its_requests() {
    let fixture = start(2);
    let client = Polling::connect(fixture.address);
    client.post(r#"42["panic"]"#);
    let reply = fetch(fixture.address, &get(&client.target()));
    assert_eq!((reply.status, reply.text().as_str()), (200, "1"));
    let reply = fetch(fixture.address, &get(&client.target()));
    assert_eq!((reply.status, reply.json()["code"].clone()), (400, 1.into()));
}

#[test]
fn a_broadcast_with_acks_gathers_over_both_workers() {
    let fixture = start(2);
    let mut clients = crowd(&fixture);
    let mut asker = Ws::connect(fixture.address);
    asker.text(r#"429["ask-all","room",5000]"#);
    for (number, client) in clients.iter_mut().enumerate() {
        let question = client.packet();
        let id = question.strip_prefix("42").and_then(|rest| rest.split('[').next());
        assert!(question.ends_with(r#"["question","why"]"#), "{question}");
        client.text(&format!("43{}[{number}]", id.expect("it wants an ack")));
    }
    let (count, mut answers, partial) = gathered(&asker.packet());
    answers.sort_unstable();
    assert_eq!((count, answers, partial), (6, vec![0, 1, 2, 3, 4, 5], false));
}

#[test]
fn what_is_missing_at_the_deadline_makes_a_broadcast_with_acks_partial() {
    let fixture = start(2);
    let mut clients = crowd(&fixture);
    let mut asker = Ws::connect(fixture.address);
    let began = Instant::now();
    asker.text(r#"429["ask-all","room",300]"#);
    for (number, client) in clients.iter_mut().enumerate() {
        let question = client.packet();
        let id = question.strip_prefix("42").and_then(|rest| rest.split('[').next());
        if number < 4 {
            client.text(&format!("43{}[{number}]", id.expect("it wants an ack")));
        }
    }
    let (count, mut answers, partial) = gathered(&asker.packet());
    assert!(began.elapsed() >= Duration::from_millis(290), "{:?}", began.elapsed());
    answers.sort_unstable();
    assert_eq!((count, answers, partial), (6, vec![0, 1, 2, 3], true));
    // An answer that comes too late harms nobody.
    clients[5].text("430[1]");
    assert!(clients[5].is_well());
}

#[test]
fn members_that_leave_instead_of_answering_do_not_keep_the_asker_waiting() {
    let fixture = start(2);
    let mut clients = crowd(&fixture);
    let mut asker = Ws::connect(fixture.address);
    let began = Instant::now();
    asker.text(r#"429["ask-all","room",14000]"#);
    for client in &mut clients {
        assert!(client.packet().ends_with(r#"["question","why"]"#));
    }
    for client in clients {
        client.wire.reset();
    }
    let (count, answers, partial) = gathered(&asker.packet());
    assert_eq!((count, answers.len(), partial), (6, 0, true));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// Count, answers and whether some are missing, from `439[…]`.
fn gathered(packet: &str) -> (u64, Vec<u64>, bool) {
    let args = packet.strip_prefix("439").unwrap_or_else(|| panic!("no ack: {packet}"));
    serde_json::from_str(args).expect("the three")
}

#[test]
fn an_emit_with_ack_is_answered_or_times_out() {
    let fixture = start(1);
    let mut client = Ws::connect(fixture.address);
    client.text(r#"425["ask-me"]"#);
    assert_eq!(client.packet(), r#"420["question","why"]"#);
    client.text(r#"430["because"]"#);
    assert_eq!(client.packet(), r#"435["\"because\""]"#);
    client.text(r#"426["ask-me"]"#);
    assert_eq!(client.packet(), r#"421["question","why"]"#);
    assert_eq!(client.packet(), r#"436["TimedOut"]"#);
    assert_eq!(fixture.metric("corewire_acks_timed_out_total"), 1);
}

#[test]
fn sets_of_sockets_are_fetched_moved_and_disconnected_over_both_workers() {
    let fixture = start(2);
    let mut clients = crowd(&fixture);
    let ids = sorted_ids(&mut clients);
    let mut operator = Ws::connect(fixture.address);
    let mut who =
        |room: &str| -> Value { operator.ask(&format!(r#"["who","{room}"]"#))[0].clone() };
    assert_eq!(who("room"), json!(ids));
    assert_eq!(who("other"), json!([]));
    let mut operator = Ws::connect(fixture.address);
    operator.ask(r#"["all-join","room","other"]"#);
    // Other cores join theirs when they hear of it, and nobody waits for that.
    eventually("all are in", || operator.ask(r#"["who","other"]"#)[0] == json!(ids));
    operator.ask(r#"["all-leave","other","room"]"#);
    eventually("all are out", || operator.ask(r#"["who","room"]"#)[0] == json!([]));
    operator.ask(r#"["say","other",1,2]"#);
    for client in &mut clients {
        assert_eq!(client.event("said"), [json!(1), json!(2)]);
    }
    // One by its id, which is a room of its own; it is told and its connection stays.
    let first = clients[0].socket_id();
    operator.ask(&format!(r#"["all-out","{first}",false]"#));
    assert_eq!(clients[0].packet(), "41");
    assert!(clients[0].join("/", "").starts_with("40{"));
    assert!(clients[0].is_well());
    operator.ask(r#"["all-out","other",true]"#);
    for client in &mut clients[1..] {
        assert_eq!(client.packet(), "41");
        assert!(matches!(client.heard(), Heard::Closed(_)));
    }
    assert!(clients[0].is_well() && operator.is_well());
    for _ in 0..6 {
        let gone = fixture.next_gone();
        assert!(matches!(gone.ending, Ending::ServerLeft | Ending::ServerClosed), "{gone:?}");
    }
}

#[test]
fn dynamic_namespaces_exist_by_name_and_share_nothing() {
    let fixture = start(2);
    let mut client = Ws::open(fixture.address);
    let answer = client.join("/tenant-1", "");
    assert!(answer.starts_with(r#"40/tenant-1,{"sid":""#), "{answer}");
    assert!(client.join("/tenant-2", "").starts_with("40/tenant-2,{"));
    assert_eq!(client.join("/nobody", ""), r#"44/nobody,{"message":"Invalid namespace"}"#);
    client.text(r#"42/tenant-2,3["whoami"]"#);
    let answer = client.packet();
    assert!(answer.starts_with("43/tenant-2,3[") && answer.contains("/tenant-2"), "{answer}");
    let mut other = Ws::open(fixture.address);
    other.join("/tenant-1", "");
    client.text(r#"42/tenant-2,4["relay",1]"#);
    assert_eq!(client.packet(), "43/tenant-2,4[]");
    client.text(r#"42/tenant-1,5["relay",2]"#);
    assert_eq!(other.packet(), r#"42/tenant-1,["relayed",2]"#);
}

#[test]
fn packet_middleware_keeps_events_from_their_handlers() {
    let fixture = start(1);
    let mut client = Ws::connect(fixture.address);
    client.text(r#"421["forbidden"]"#);
    assert_eq!(client.packet(), r#"42["refused","not here"]"#);
    assert!(client.is_well());
}

#[test]
fn connection_middleware_may_wait_and_events_before_its_verdict_break_the_rules() {
    let fixture = start(1);
    let mut client = Ws::open(fixture.address);
    let refusal = client.join("/vault", "");
    assert_eq!(refusal, r#"44/vault,{"message":"not authorized","data":{"code":401}}"#);
    let answer = client.join("/vault", r#"{"token":"open sesame"}"#);
    assert!(answer.starts_with("40/vault,{"), "{answer}");
    client.text(r#"42/vault,1["echo","in"]"#);
    assert_eq!(client.packet(), r#"43/vault,1["in"]"#);
    let mut hasty = Ws::open(fixture.address);
    hasty.text(r#"40/vault,{"token":"open sesame"}"#);
    hasty.text(r#"42/vault,1["echo","too early"]"#);
    assert_eq!(hasty.ending(), None);
    let mut quitter = Ws::open(fixture.address);
    quitter.text(r#"40/vault,{"token":"open sesame"}"#);
    quitter.wire.reset();
    assert!(client.join("/", "").starts_with("40{") && client.is_well());
}

#[test]
fn a_handshake_that_the_application_refuses_gets_its_reason() {
    let fixture = start_server(options(2), corewire::server::Server::ask_allow_request);
    let head = |target: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nX-Guest: no\r\n").into_bytes()
    };
    let reply = fetch(fixture.address, &[&head(POLLING)[..], b"\r\n"].concat());
    let wanted = json!({ "code": 4, "message": "not today" });
    assert_eq!((reply.status, reply.json()), (403, wanted.clone()));
    let upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let target = "/socket.io/?EIO=4&transport=websocket";
    let reply = fetch(fixture.address, &[&head(target)[..], upgrade].concat());
    assert_eq!((reply.status, reply.json()), (403, wanted));
    assert!(Ws::connect(fixture.address).is_well());
    Polling::connect(fixture.address);
    // A connection that is gone before the verdict.
    let mut wire = Wire::connect(fixture.address);
    wire.send(&get(POLLING));
    wire.reset();
    assert!(Ws::connect(fixture.address).is_well());
}
