//! Triggers of holes that other servers of this family had, where no other test has them.

use super::*;

const POLLING_3: &str = "/socket.io/?EIO=3&transport=polling";
pub(super) const SOCKET: &str = "/socket.io/?EIO=4&transport=websocket";
pub(super) const SOCKET_3: &str = "/socket.io/?EIO=3&transport=websocket";

fn post_whole(target: &str, body: &str) -> String {
    post(target, &format!("Content-Length: {}\r\n", body.len()), body)
}

/// Posts to a session of EIO 4.
pub(super) fn body(bench: &mut Bench, sid: &str, body: &str) -> Vec<u16> {
    body_to(bench, &format!("{POLLING}&sid={sid}"), body)
}

fn body_to(bench: &mut Bench, target: &str, body: &str) -> Vec<u16> {
    let key = bench.open();
    bench.send(key, post_whole(target, body).as_bytes());
    let statuses = bench.statuses();
    bench.shard.handle_eof(key);
    statuses
}

/// A WebSocket that was opened there.
pub(super) fn websocket(bench: &mut Bench, target: &str) -> Key {
    let key = bench.open();
    bench.send(key, get(target, UPGRADE).as_bytes());
    assert_eq!((bench.statuses(), bench.closed), (vec![101], false), "{target}");
    bench.written.clear();
    key
}

/// A client's frame of a few bytes, masked with zeros.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126);
    let mut bytes = vec![first, 0x80 | length.expect("it is short"), 0, 0, 0, 0];
    bytes.extend_from_slice(payload);
    bytes
}

pub(super) fn text(packet: &str) -> Vec<u8> {
    frame(0x81, packet.as_bytes())
}

/// CVE-2022-21676: reserved bits in the very segment of the handshake.
#[test]
fn a_reserved_bit_behind_the_handshake_is_a_broken_rule() {
    for first in [0xA1_u8, 0x91, 0xC1] {
        let mut bench = Bench::new();
        let key = bench.open();
        let target = POLLING.replace("polling", "websocket");
        let mut bytes = get(&target, UPGRADE).into_bytes();
        bytes.extend_from_slice(&[first, 0x81, 1, 2, 3, 4, b'2' ^ 1]);
        bench.send(key, &bytes);
        assert_eq!((bench.statuses(), bench.ended(Ending::WebSocketRule)), (vec![101], 1));
        assert!(bench.closed);
    }
}

/// engine.io 6.6.10: another revision than the session's.
#[test]
fn a_session_keeps_its_revision() {
    let mut bench = Bench::new();
    let sid = bench.session();
    let key = bench.open();
    bench.send(key, get(&format!("{POLLING}&sid={sid}").replace("EIO=4", "EIO=3"), "").as_bytes());
    assert_eq!(bench.statuses(), [400]);
    bench.shard.handle_eof(key);
    assert_eq!(body(&mut bench, &sid, "40"), [200], "the session is none the worse for it");
}

/// engine.io 6.6.10: the same where the client moves to a WebSocket, and both revisions are served.
#[test]
fn no_upgrade_changes_the_revision_of_a_session() {
    let mut bench = Bench::with(|settings| settings.eio3 = true);
    for (own, other, whole) in [(POLLING, SOCKET_3, "40"), (POLLING_3, SOCKET, "1:2")] {
        let key = bench.open();
        bench.send(key, get(own, "").as_bytes());
        let answer = bench.text();
        let (_, rest) = answer.split_once("\"sid\":\"").expect("an open packet");
        let sid = &rest[..20];
        let key = bench.open();
        bench.send(key, get(&format!("{other}&sid={sid}"), UPGRADE).as_bytes());
        assert_eq!(bench.statuses(), [400]);
        assert!(bench.text().contains("{\"code\":3,\"message\":\"Bad request\"}"), "{own}");
        bench.shard.handle_eof(key);
        assert_eq!(bench.shard.counters().upgrades_failed, 0, "none was begun: {own}");
        assert_eq!(body_to(&mut bench, &format!("{own}&sid={sid}"), whole), [200], "{own}");
    }
    assert_eq!(bench.shard.counters().sessions, 2, "they are none the worse for it");
}

/// CVE-2026-48802: answers to pings that nobody sent.
#[test]
fn pongs_that_nobody_asked_for_pile_up_nowhere() {
    let mut bench = Bench::new();
    let sid = bench.session();
    let flood = post_whole(&format!("{POLLING}&sid={sid}"), &vec!["3"; 20_000].join("\x1e"));
    let key = bench.open();
    bench.send(key, flood.as_bytes());
    let timers = bench.shard.counters().timers;
    for _ in 0..5 {
        bench.send(key, flood.as_bytes());
    }
    assert_eq!(bench.statuses(), [200; 6]);
    let counters = bench.shard.counters();
    assert_eq!((counters.sessions, counters.outbox_bytes, counters.answer_bytes), (1, 0, 0));
    assert_eq!((counters.timers, counters.packets_in), (timers, 120_000));

    let key = websocket(&mut bench, SOCKET);
    let timers = bench.shard.counters().timers;
    bench.send(key, &text("3").repeat(20_000));
    let counters = bench.shard.counters();
    assert_eq!((counters.sessions, counters.outbox_bytes, counters.answer_bytes), (2, 0, 0));
    assert_eq!((counters.timers, counters.packets_in), (timers, 140_000));
    assert_eq!((bench.written.len(), bench.closed), (0, false));
}

/// CVE-2026-48779: a message in as many parts as its sender likes.
#[test]
fn a_message_has_so_many_parts_and_no_more() {
    let mut bench = Bench::with(|settings| {
        let special = Endpoint { message_bytes_max: Some(1 << 20), ..plain("/special") };
        settings.endpoints.extend([plain("/plain"), special]);
    });
    let general = bench.shard.settings.limits.fragments_max as usize;
    let of_its_own = super::super::step::PLAIN_FRAGMENTS_MAX as usize;
    assert_eq!(general, 16_384);
    for (ended, (target, parts_max)) in
        (1..).zip([(SOCKET, general), ("/plain", general), ("/special", of_its_own)])
    {
        let key = websocket(&mut bench, target);
        bench.send(key, &frame(0x01, b"4"));
        bench.send(key, &frame(0x00, b"x").repeat(parts_max - 1));
        assert_eq!((bench.closed, bench.ended(Ending::MessageTooBig)), (false, ended - 1));
        let partial_bytes = bench.shard.counters().partial_bytes as usize;
        assert!(partial_bytes >= parts_max, "{partial_bytes} of {parts_max}");
        bench.send(key, &frame(0x00, b"x"));
        assert_eq!((bench.closed, bench.ended(Ending::MessageTooBig)), (true, ended), "{target}");
        assert_eq!(bench.written, [0x88, 2, 0x03, 0xf1], "1009");
        bench.shard.handle_eof(key);
        assert_eq!(bench.shard.counters().partial_bytes, 0);
    }
}

/// CVE-2026-48809: a post that says of no length, and is followed by bytes nonetheless.
#[test]
fn a_post_without_a_length_has_no_body_or_a_bounded_one() {
    let mut bench = Bench::with(|settings| settings.limits.message_bytes_max = 1_000);
    let packets = |bench: &Bench| bench.shard.counters().packets_in;
    // Rule: RFC 9112 section 6.3: it has none, and what follows is the next request.
    for (behind, statuses, closes) in [
        ("", &[400][..], false),
        ("40", &[400], false),
        ("40\r\n\r\n", &[400, 400], true),
        ("GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n", &[400, 404], false),
    ] {
        let target = format!("{POLLING}&sid={}", bench.session());
        let ended = bench.ended(Ending::EnginePacket);
        let key = bench.open();
        bench.send(key, post(&target, "", behind).as_bytes());
        assert_eq!((bench.statuses().as_slice(), bench.closed), (statuses, closes), "{behind:?}");
        assert_eq!((packets(&bench), bench.ended(Ending::EnginePacket)), (0, ended + 1));
        bench.shard.handle_eof(key);
    }
    // One in chunks is counted as it comes, and its session lives.
    let sid = bench.session();
    let target = format!("{POLLING}&sid={sid}");
    let key = bench.open();
    let chunk = format!("{:x}\r\n{}\r\n", 600, "4".repeat(600));
    let chunked = "Transfer-Encoding: chunked\r\n";
    bench.send(key, post(&target, chunked, &chunk).as_bytes());
    assert_eq!((bench.statuses(), bench.closed), (vec![], false));
    bench.send(key, chunk.as_bytes());
    assert_eq!((bench.statuses(), bench.closed, packets(&bench)), (vec![413], true, 0));
    bench.shard.handle_eof(key);
    assert_eq!(body(&mut bench, &sid, "40"), [200]);
}

/// CVE-2026-48804: the head of a binary packet before there is a namespace.
#[test]
fn what_is_to_be_collected_for_has_a_namespace() {
    let mut bench = Bench::new();
    let sid = bench.session();
    body(&mut bench, &sid, "451-[\"x\",{\"_placeholder\":true,\"num\":0}]");
    assert_eq!(bench.ended(Ending::NotJoined), 1);
}

/// engineioxide-core 0.2.3: payloads that end where something must follow.
#[test]
fn payloads_that_are_too_short_are_no_panic() {
    let shorts = ["b", "b4", "b=", "\u{e9}", "4", "b4\x1e", "\x1e", "", "bA", "4\u{20ac}"];
    let lengths = ["0:", "1:", "1:b", "2:b4", "2:b5", "1:4", "2:4", "3:b4A", "1:\u{1f600}"];
    for short in shorts.into_iter().chain(lengths) {
        for (polling, socket) in [(POLLING, SOCKET), (POLLING_3, SOCKET_3)] {
            let shown = format!("{short:?} {polling}");
            let mut bench = Bench::with(|settings| settings.eio3 = true);
            let key = bench.open();
            bench.send(key, get(polling, "").as_bytes());
            let answer = bench.text();
            let (_, rest) = answer.split_once("\"sid\":\"").expect("an open packet");
            let statuses = body_to(&mut bench, &format!("{polling}&sid={}", &rest[..20]), short);
            assert!(statuses == [200] || statuses == [400], "{shown}: {statuses:?}");

            for first in [0x81, 0x82] {
                let before = bench.shard.sids.len();
                let key = websocket(&mut bench, socket);
                bench.send(key, &frame(first, short.as_bytes()));
                let lives = usize::from(!bench.closed);
                assert_eq!(bench.shard.sids.len(), before + lives, "{shown}");
                bench.shard.handle_eof(key);
            }
        }
    }
}

/// Binary in base64 on a WebSocket: EIO 3 has the packet's kind between the `b` and the base64.
#[test]
fn base64_on_a_websocket_is_read_as_its_revision_has_it() {
    let path = String::from("/engine/");
    let engine = Endpoint { path, service: Service::Engine, ..plain("") };
    let mut bench = Bench::with(|settings| {
        settings.eio3 = true;
        settings.endpoints.push(engine);
    });
    for (revision, packet, expected) in [
        (4, "bAQID", Some(&[1, 2, 3][..])),
        (4, "bAQI=", Some(&[1, 2])),
        (4, "b", Some(&[])),
        (4, "b4AQID", None),
        (3, "b4AQID", Some(&[1, 2, 3])),
        (3, "b4AQI=", Some(&[1, 2])),
        (3, "b4", Some(&[])),
        (3, "bAQID", None),
        (3, "b2AQID", None),
        (3, "b", None),
    ] {
        let key = websocket(&mut bench, &format!("/engine/?EIO={revision}&transport=websocket"));
        let ended = bench.ended(Ending::EnginePacket);
        let mut bytes = text(packet);
        let data = match bench.shard.next(key, &mut bytes) {
            Step::Run { dispatch: Dispatch::EngineMessage { message, .. }, .. } => Some(message),
            _ => None,
        };
        let data = data.map(|message| match message {
            RawMessage::Binary(data) => data,
            RawMessage::Text(text) => panic!("{packet} is no text: {text}"),
        });
        assert_eq!(data.as_deref(), expected, "{revision} {packet}");
        let ended = bench.ended(Ending::EnginePacket) - ended;
        assert_eq!(ended, u64::from(expected.is_none()), "{revision} {packet}");
        bench.shard.handle_eof(key);
    }
}

/// CVE-2019-13611: a page of another site opens a WebSocket with its visitor's cookies.
#[test]
fn a_strict_server_gives_no_websocket_to_pages_of_other_sites() {
    let mut bench = Bench::with(|settings| {
        settings.strict_origin = true;
        settings.endpoints.push(plain("/ws"));
    });
    let sid = bench.session();
    let socket = POLLING.replace("polling", "websocket");
    for (origin, status) in [
        ("http://evil.example", 403),
        ("http://a.example.evil.example", 403),
        ("https://a.example", 403),
        ("http://a.example:81", 403),
        ("null", 403),
        ("http://a.example", 101),
        // Its own pages, and whoever is no browser.
        ("http://h", 101),
        ("", 101),
    ] {
        let cookie = format!("{UPGRADE}Cookie: session=1\r\n");
        let lines = match origin {
            "" => cookie,
            origin => format!("{cookie}Origin: {origin}\r\n"),
        };
        for target in [socket.as_str(), &format!("{socket}&sid={sid}"), "/ws"] {
            let sessions = bench.shard.counters().sessions_opened;
            let key = bench.open();
            bench.send(key, get(target, &lines).as_bytes());
            assert_eq!(bench.statuses(), [status], "{target} {origin}");
            let opened = bench.shard.counters().sessions_opened - sessions;
            assert_eq!(opened, u64::from(status == 101 && target == socket), "{target} {origin}");
            bench.shard.handle_eof(key);
        }
    }
}

/// engineioxide 0.17.4 (#731): a WebSocket that names a session and never says another word.
#[test]
fn an_upgrade_that_is_never_finished_leaves_nothing_behind() {
    let mut bench = Bench::new();
    let settings = Rc::clone(&bench.shard.settings);
    let sid = bench.session();
    let target = format!("{}&sid={sid}", POLLING.replace("polling", "websocket"));
    for tried in 1..=2 {
        let key = bench.open();
        bench.send(key, get(&target, UPGRADE).as_bytes());
        assert_eq!((bench.statuses(), bench.closed), (vec![101], false));
        bench.wait(key, settings.upgrade_timeout_ms + 100);
        assert_eq!((bench.closed, bench.ended(Ending::UpgradeFailed)), (true, tried));
        bench.wait(key, super::super::conn::LINGER_MS + 100);
        assert!(bench.shard.is_aborted(key), "it is not waited for any longer");
        bench.shard.handle_eof(key);
    }
    assert_eq!(body(&mut bench, &sid, "40"), [200], "the session is none the worse for it");
    // Nor does it outlive its client.
    let key = bench.open();
    bench.send(key, get(&target, UPGRADE).as_bytes());
    for _ in 0..3 {
        bench.wait(key, settings.ping_interval_ms);
    }
    bench.shard.handle_eof(key);
    assert_eq!(bench.shard.counters().sessions, 0);
    assert!(bench.shard.sessions.is_empty() && bench.shard.sids.is_empty());
}
