//! What a Node server answers and does, vector by vector: the error table, the packets that end a
//! connection and those that must not.

use crate::fixture::start;
use crate::wire::{POLLING, Wire, Ws, fetch, frame, get, post};
use corewire::ws::Kind;

/// Each ends the connection, whatever came before it.
const MUST_CLOSE: &[&str] = &[
    "47",
    "4x",
    "4",
    "42[]",
    "42{}",
    "42[null]",
    "42[\"connect\"]",
    "42[{\"toString\":\"x\"}]",
    "42[[\"a\"]]",
    "40[]",
    "40null",
    "40\"x\"",
    "41[\"x\"]",
    "44{}",
    "43{}",
    "45[\"x\"]",
    "450-[\"x\"]",
    "4511-[\"x\"]",
    "45100000000-[\"x\"]",
    "42[\"a\"",
    "42[\"a\"]x",
    "40",
    "2",
    "42/not-joined,[\"a\"]",
];

/// None does.
const MUST_NOT_CLOSE: &[&str] = &[
    "42",
    "4399[\"late\"]",
    "430",
    "42[\"error\"]",
    "42[1,2]",
    "42 [\"a\"]",
    "42[\"\\ud800\"]",
    "40/nowhere",
    "3",
    "6",
    "1",
    "5",
];

#[test]
fn packets_that_end_a_connection_do() {
    let fixture = start(1);
    for packet in MUST_CLOSE {
        let mut client = Ws::connect(fixture.address);
        client.text(packet);
        client.ending();
    }
    let mut client = Ws::connect(fixture.address);
    client.text("451-[\"x\",{\"_placeholder\":true,\"num\":1}]");
    client.wire.try_send(&frame(Kind::Binary, &[1])).unwrap_or_default();
    client.ending();
    // One attachment in many places: it would be copied for each.
    let mut client = Ws::connect(fixture.address);
    let again = ",{\"_placeholder\":true,\"num\":0}".repeat(1_000);
    client.text(&format!("451-[\"x\"{again}]"));
    client.wire.try_send(&frame(Kind::Binary, &[1; 10_000])).unwrap_or_default();
    client.ending();
}

#[test]
fn packets_that_may_be_odd_do_not() {
    let fixture = start(1);
    for packet in MUST_NOT_CLOSE {
        let mut client = Ws::connect(fixture.address);
        client.text(packet);
        if *packet == "40/nowhere" {
            assert_eq!(client.message(), "44/nowhere,{\"message\":\"Invalid namespace\"}");
        }
        assert!(client.is_well(), "{packet}");
    }
}

#[test]
fn wrong_requests_get_the_codes_of_the_table() {
    let fixture = start(1);
    let cases = [
        (get("/socket.io/?EIO=4"), 0),
        (get("/socket.io/?EIO=4&transport=constructor"), 0),
        (get("/socket.io/?EIO=4&transport=webtransport"), 0),
        (get("/socket.io/?EIO=4&transport=polling&sid=__proto__"), 1),
        (get("/socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA"), 1),
        (post("/socket.io/?EIO=3&transport=polling", "1:2"), 2),
        (get("/socket.io/?EIO=4&transport=websocket"), 3),
        (get("/socket.io/?EIO=3&transport=polling"), 5),
        (get("/socket.io/?transport=polling"), 5),
    ];
    for (request, code) in cases {
        let what = String::from_utf8_lossy(&request).into_owned();
        let reply = fetch(fixture.address, &request);
        assert_eq!((reply.status, reply.json()["code"].as_u64()), (400, Some(code)), "{what}");
    }
    assert_eq!(fetch(fixture.address, &get("/socket.io?EIO=4&transport=polling")).status, 404);
}

#[test]
fn a_body_where_none_belongs_is_not_taken_for_the_next_request() {
    let fixture = start(1);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut wire = Wire::connect(fixture.address);
    let length = smuggled.len();
    let head = format!("GET {POLLING} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    wire.send(format!("{head}{smuggled}").as_bytes());
    assert_eq!(wire.reply().status, 400);
    assert!(wire.is_closed());
}
