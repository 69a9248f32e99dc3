//! Bad input over real sockets: the answer of the tables or a clean close, and nobody else
//! notices.

use corewire::config::Options;
use corewire::shard::Ending;
use serde_json::json;

use crate::fixture::{options, start, start_with};
use crate::wire::{Heard, POLLING, Polling, Wire, Ws, fetch, get};

#[test]
fn malformed_json_is_relayed_to_nobody_and_ends_its_sender() {
    let fixture = start(2);
    let mut others: Vec<Ws> = (0..4).map(|_| Ws::connect(fixture.address)).collect();
    let broken = [
        r#"42["relay",{]"#,
        r#"42["relay",1"#,
        r#"42["relay",01]"#,
        r#"42["relay","a" "b"]"#,
        "42[\"relay\",\"\u{1}\"]",
        r#"42["relay","\ud800"x]"#,
        r#"42["relay",NaN]"#,
        r#"42["relay",1]]"#,
        r#"42{"relay":1}"#,
        r#"42[]"#,
        r#"42[null]"#,
        r#"42["connect"]"#,
        "42/nowhere,[\"relay\",1]",
        "4",
        "48",
        "9",
        "",
    ];
    for text in broken {
        let mut sender = Ws::connect(fixture.address);
        sender.text(text);
        sender.ending();
    }
    let deep = format!(r#"42["relay",{}{}]"#, "[".repeat(100_000), "]".repeat(100_000));
    let mut sender = Ws::connect(fixture.address);
    sender.text(&deep);
    sender.ending();
    for _ in 0..=broken.len() {
        let gone = fixture.next_gone();
        assert!(["forced close", "parse error"].contains(&gone.reason), "{gone:?}");
    }
    let mut sender = Ws::connect(fixture.address);
    sender.ask(r#"["relay","well"]"#);
    for other in &mut others {
        assert_eq!(other.event("relayed"), [json!("well")]);
    }
}

#[test]
fn frames_that_rfc_6455_forbids_end_their_connection_with_its_code() {
    let fixture = start(1);
    let mut other = Ws::connect(fixture.address);
    let cases: [(&[u8], u16); 6] = [
        // Section 5.1: a client masks.
        (&[0x81, 0x01, b'2'], 1002),
        // Section 5.2: reserved bits, reserved opcodes.
        (&[0xc1, 0x81, 0, 0, 0, 0, b'2'], 1002),
        (&[0x83, 0x81, 0, 0, 0, 0, b'2'], 1002),
        // Section 5.4: a continuation of nothing.
        (&[0x80, 0x81, 0, 0, 0, 0, b'2'], 1002),
        // Section 8.1: text that is not UTF-8.
        (&[0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28], 1007),
        // A length above the limit, judged before a byte of it has come.
        (&[0x81, 0xff, 0, 0, 0, 0, 0x7f, 0, 0, 0, 0, 0, 0, 0], 1009),
    ];
    for (bytes, code) in cases {
        let mut client = Ws::connect(fixture.address);
        client.wire.send(bytes);
        assert_eq!(client.ending(), Some(code), "{bytes:?}");
    }
    assert!(other.is_well());
}

#[test]
fn heads_that_are_too_large_or_ambiguous_are_refused() {
    let fixture = start(1);
    let name = "x".repeat(70_000);
    let many: String = (0..2_000).map(|number| format!("X-{number}: {number}\r\n")).collect();
    let target = format!("GET {POLLING} HTTP/1.1\r\nHost: a\r\n");
    let post = format!("POST {POLLING} HTTP/1.1\r\nHost: a\r\n");
    let cases = [
        (format!("{target}{name}: 1\r\n\r\n"), 431),
        (format!("{target}A: {name}\r\n\r\n"), 431),
        (format!("{target}{many}\r\n"), 431),
        (format!("{post}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1"), 400),
        (format!("{post}Content-Length: 1\r\nContent-Length: 2\r\n\r\n12"), 400),
        (format!("{post}Transfer-Encoding: gzip\r\n\r\n"), 501),
        (String::from("NONSENSE\r\n\r\n"), 400),
        (format!("GET {POLLING} HTTP/1.1\r\nBad Name: 1\r\n\r\n"), 400),
    ];
    let mut other = Ws::connect(fixture.address);
    for (request, status) in cases {
        let mut wire = Wire::connect(fixture.address);
        // A server that has seen enough may close while the rest is under way.
        let _refused = wire.try_send(request.as_bytes());
        let shown: String = request.chars().take(120).collect();
        let reply = wire.try_reply();
        let reply = reply.unwrap_or_else(|error| panic!("{error} after {shown}"));
        assert_eq!(reply.status, status, "{shown}");
        assert!(wire.is_closed(), "it must not be used again after {shown}");
    }
    assert!(other.is_well());
}

#[test]
fn a_body_above_the_limit_is_refused_and_its_session_lives() {
    let fixture = start_with(Options { max_payload_bytes: 2_000, ..options(2) });
    let client = Polling::connect(fixture.address);
    let body = format!(r#"42["echo","{}"]"#, "z".repeat(4_000));
    let length = body.len();
    let target = client.target();
    let cases = [
        format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"),
        format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             {length:x}\r\n{body}\r\n0\r\n\r\n"
        ),
    ];
    for request in cases {
        let reply = fetch(fixture.address, request.as_bytes());
        assert_eq!((reply.status, reply.body.len()), (413, 0));
        client.post(r#"421["echo","small"]"#);
        assert_eq!(client.poll(), [r#"431["small"]"#]);
    }
    let mut socket = Ws::connect(fixture.address);
    socket.text(&body);
    assert_eq!(socket.ending(), Some(1009));
}

#[test]
fn who_joins_nothing_in_time_is_closed() {
    let fixture = start_with(Options { connect_timeout_ms: 200, ..options(2) });
    let polling = Polling::open(fixture.address);
    let mut idle = Ws::open(fixture.address);
    let mut joined = Ws::connect(fixture.address);
    assert!(matches!(idle.heard(), Heard::Closed(_)));
    assert_eq!(polling.poll(), ["1"]);
    let reply = fetch(fixture.address, &get(&polling.target()));
    assert_eq!(reply.json()["code"], 1);
    assert!(joined.is_well());
}

#[test]
fn requests_that_do_not_arrive_and_connections_without_one_are_closed_in_time() {
    let limits = Options { request_timeout_ms: 200, keep_alive_timeout_ms: 300, ..options(1) };
    let fixture = start_with(limits);
    let mut half = Wire::connect(fixture.address);
    half.send(b"GET /socket.io/?EIO=4 HT");
    let mut silent = Wire::connect(fixture.address);
    let mut kept = Wire::connect(fixture.address);
    kept.send(&get(POLLING));
    assert_eq!(kept.reply().status, 200);
    let mut body = Wire::connect(fixture.address);
    let client = Polling::connect(fixture.address);
    let head =
        format!("POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n42[", client.target());
    body.send(head.as_bytes());
    // Some of them get a 408 first; all of them end.
    for wire in [&mut half, &mut silent, &mut kept, &mut body] {
        let _answer = wire.try_reply();
        assert!(wire.is_closed());
    }
    let reply = fetch(fixture.address, &get(&client.target()));
    assert_eq!(reply.status, 400, "an unfinished post ends its session");
}

#[test]
fn a_client_that_does_not_answer_pings_is_gone() {
    let limits = Options { ping_interval_ms: 100, ping_timeout_ms: 200, ..options(2) };
    let fixture = start_with(limits);
    let mut dead = Ws::connect(fixture.address);
    let id = dead.socket_id();
    // It reads and says nothing.
    while !matches!(dead.wire.heard(), Heard::Closed(_)) {}
    let gone = fixture.next_gone();
    assert_eq!(gone.id, id);
    assert_eq!((gone.ending, gone.reason), (Ending::PingTimeout, "ping timeout"));
    let mut alive = Ws::connect(fixture.address);
    assert!(alive.is_well());
}
