//! Triggers of holes that other servers of this family had, where no other test has them.

use super::*;

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
