//! Triggers of holes that other servers of this family had, where no other test has them.

use super::*;

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn body(bench: &mut Bench, sid: &str, body: &str) -> Vec<u16> {
    let key = bench.open();
    let target = format!("{POLLING}&sid={sid}");
    let length = format!("Content-Length: {}\r\n", body.len());
    bench.send(key, post(&target, &length, body).as_bytes());
    let statuses = bench.statuses();
    bench.shard.handle_eof(key);
    statuses
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

/// CVE-2026-48802: answers to pings that nobody sent.
#[test]
fn pongs_that_nobody_asked_for_pile_up_nowhere() {
    let mut bench = Bench::new();
    let sid = bench.session();
    let flood = vec!["3"; 20_000].join("\x1e");
    for _ in 0..5 {
        assert_eq!(body(&mut bench, &sid, &flood), [200]);
    }
    let counters = bench.shard.counters();
    assert_eq!((counters.sessions, counters.outbox_bytes, counters.answer_bytes), (1, 0, 0));
}

/// CVE-2026-48804: the head of a binary packet before there is a namespace.
#[test]
fn what_is_to_be_collected_for_has_a_namespace() {
    let mut bench = Bench::new();
    let sid = bench.session();
    body(&mut bench, &sid, "451-[\"x\",{\"_placeholder\":true,\"num\":0}]");
    assert_eq!(bench.ended(Ending::NotJoined), 1);
}

/// python-engineio: payloads that end where something must follow.
#[test]
fn payloads_that_are_too_short_are_no_panic() {
    for short in ["b", "b4", "b=", "\u{e9}", "4", "b4\x1e", "\x1e", "", "bA", "4\u{20ac}"] {
        let mut bench = Bench::new();
        let sid = bench.session();
        let statuses = body(&mut bench, &sid, short);
        assert!(statuses == [200] || statuses == [400], "{short:?}: {statuses:?}");
        bench.shard.check();
    }
}
