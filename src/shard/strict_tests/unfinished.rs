//! What is begun and not finished, and what comes twice while it is.

use super::holes::{SOCKET, SOCKET_3, body, frame, text, websocket};
use super::*;

const HEAD: &str = "451-[\"x\",{\"_placeholder\":true,\"num\":0}]";

/// Lets everybody in who asks.
fn accept_all(bench: &mut Bench, key: Key) {
    let asking: Vec<Key> = bench.shard.sockets.iter().map(|(socket, _)| socket).collect();
    for socket in asking {
        bench.shard.accept(socket);
    }
    bench.write(key);
}

/// Bytes of packets whose attachments are not all there.
fn in_part(bench: &Bench) -> usize {
    let of_conns: usize = bench.shard.conns.iter().map(|(_, conn)| conn.partial_bytes).sum();
    bench.shard.partial_bytes - of_conns
}

/// A WebSocket that has joined `/`.
fn joined(bench: &mut Bench) -> Key {
    let key = websocket(bench, SOCKET);
    bench.send(key, &text("40"));
    accept_all(bench, key);
    bench.written.clear();
    key
}

#[test]
fn a_packet_whose_attachments_never_come_ends_its_session_in_time() {
    let mut bench = Bench::new();
    let request_ms = bench.shard.settings.limits.request_timeout_ms;
    let key = joined(&mut bench);
    bench.send(key, &text(HEAD));
    assert_eq!(in_part(&bench), HEAD.len() - 1);
    bench.wait(key, request_ms - 100);
    assert_eq!((bench.closed, bench.ended(Ending::SocketPacket)), (false, 0));
    bench.wait(key, 200);
    assert_eq!((bench.closed, bench.ended(Ending::SocketPacket)), (true, 1));
    let counters = bench.shard.counters();
    assert_eq!((in_part(&bench), counters.sessions, counters.sockets), (0, 0, 0));

    // By polling.
    let sid = bench.session();
    assert_eq!(body(&mut bench, &sid, "40"), [200]);
    let key = bench.open();
    accept_all(&mut bench, key);
    assert_eq!(body(&mut bench, &sid, HEAD), [200]);
    assert_eq!(in_part(&bench), HEAD.len() - 1);
    bench.wait(key, request_ms + 100);
    assert_eq!(bench.ended(Ending::SocketPacket), 2);
    assert_eq!((in_part(&bench), bench.shard.counters().sockets), (0, 0));
    assert_eq!(bench.shard.counters().events_in, 0);
}

#[test]
fn attachments_follow_their_packet_at_once_or_not_at_all() {
    let mut bench = Bench::new();
    for (ended, events, packets) in [
        (0, 1, vec![text(HEAD), frame(0x82, &[1, 2, 3])]),
        // A text between them; one for another namespace; an attachment that nobody announced.
        (1, 0, vec![text(HEAD), text("42[\"y\"]"), frame(0x82, &[1])]),
        (1, 0, vec![text(HEAD), text("40/a,"), frame(0x82, &[1])]),
        (1, 0, vec![text(HEAD), text(HEAD)]),
        (1, 0, vec![frame(0x82, &[1])]),
        (1, 0, vec![text("bAQID")]),
        (1, 1, vec![text(HEAD), frame(0x82, &[1]), frame(0x82, &[2])]),
        // Packets of the engine may stand there.
        (0, 1, vec![text(HEAD), text("3"), frame(0x82, &[1, 2, 3])]),
    ] {
        let before = (bench.ended(Ending::SocketPacket), bench.shard.counters().events_in);
        let key = joined(&mut bench);
        for packet in &packets {
            bench.send(key, packet);
        }
        let shown = format!("{packets:?}");
        assert_eq!(bench.ended(Ending::SocketPacket) - before.0, ended, "{shown}");
        assert_eq!(bench.closed, ended == 1, "{shown}");
        let whole = bench.shard.counters().events_in - before.1;
        assert_eq!((whole, in_part(&bench)), (events, 0), "{shown}");
        bench.shard.handle_eof(key);
    }
}

#[test]
fn a_namespace_too_many_is_refused_and_the_others_stay() {
    let mut bench = Bench::with(|settings| settings.limits.namespaces_per_conn_max = 2);
    let key = joined(&mut bench);
    bench.send(key, &text("40/a,"));
    accept_all(&mut bench, key);
    bench.written.clear();
    for refused in 1..=3 {
        bench.send(key, &text("40/b,"));
        let answer = "44/b,{\"message\":\"Too many namespaces\"}";
        assert!(bench.text().ends_with(answer), "{}", bench.text());
        let counters = bench.shard.counters();
        assert_eq!((counters.limits_hit, counters.sockets, counters.namespaces), (refused, 2, 2));
    }
    // Those it has are served, and one that is left makes room.
    bench.send(key, &text("42[\"x\"]"));
    bench.send(key, &text("42/a,[\"x\"]"));
    bench.send(key, &text("41/a,"));
    bench.written.clear();
    bench.send(key, &text("40/b,"));
    accept_all(&mut bench, key);
    assert!(bench.text().contains("40/b,{\"sid\":"), "{}", bench.text());
    let counters = bench.shard.counters();
    assert_eq!((counters.events_in, counters.sessions, bench.closed), (2, 1, false));
}

#[test]
fn one_websocket_is_enough_for_a_session() {
    let mut bench = Bench::new();
    let target = format!("{SOCKET}&sid={}", bench.session());
    let failed = |bench: &Bench| {
        let failed = bench.shard.counters().upgrades_failed;
        assert_eq!(failed, bench.ended(Ending::UpgradeFailed));
        failed
    };
    let is_spare = |bench: &mut Bench| {
        let before = failed(bench);
        let key = bench.open();
        bench.send(key, get(&target, UPGRADE).as_bytes());
        assert_eq!((bench.statuses(), bench.closed), (vec![101], true));
        assert!(bench.written.ends_with(&[0x88, 0]), "a close frame without a code");
        let said = bench.written.len();
        for packet in ["2probe", "5", "40"] {
            bench.send(key, &text(packet));
        }
        assert_eq!(bench.written.len(), said, "what it says is nobody's");
        bench.shard.handle_eof(key);
        assert_eq!(failed(bench), before + 1);
    };
    let first = websocket(&mut bench, &target);
    is_spare(&mut bench);
    (bench.closed, bench.written) = (false, Vec::new());
    bench.send(first, &text("2probe"));
    assert_eq!(bench.written, [&[0x81, 6][..], b"3probe"].concat());
    is_spare(&mut bench);
    (bench.closed, bench.written) = (false, Vec::new());
    bench.send(first, &text("5"));
    is_spare(&mut bench);
    (bench.closed, bench.written) = (false, Vec::new());
    bench.send(first, &text("40"));
    accept_all(&mut bench, first);
    assert!(bench.text().contains("40{\"sid\":") && !bench.closed, "{}", bench.text());
    let counters = bench.shard.counters();
    assert_eq!((counters.sessions, counters.upgrades_completed, failed(&bench)), (1, 1, 3));
}

#[test]
fn a_second_connect_does_not_wait_beside_the_first() {
    for (second, ending) in [
        ("40", Ending::ConnectTwice),
        ("40{\"token\":\"other\"}", Ending::ConnectTwice),
        ("42[\"x\"]", Ending::NotJoined),
        ("41", Ending::NotJoined),
        (HEAD, Ending::NotJoined),
    ] {
        let mut bench = Bench::new();
        let key = websocket(&mut bench, SOCKET);
        bench.send(key, &text("40"));
        // For another namespace it may.
        bench.send(key, &text("40/a,"));
        let sockets: Vec<Key> = bench.shard.sockets.iter().map(|(socket, _)| socket).collect();
        assert_eq!((sockets.len(), bench.closed), (2, false));
        bench.send(key, &text(second));
        assert_eq!((bench.ended(ending), bench.closed), (1, true), "{second}");
        let counters = bench.shard.counters();
        assert_eq!((counters.sockets, counters.events_in, in_part(&bench)), (0, 0, 0));
        // The application's answer is late.
        assert!(sockets.iter().all(|socket| !bench.shard.accept(*socket)), "{second}");
        bench.shard.handle_eof(key);
    }
    // Rule: clients before v3 connect to `/`, where the server has put them by itself.
    let mut bench = Bench::with(|settings| settings.eio3 = true);
    let key = websocket(&mut bench, SOCKET_3);
    bench.send(key, &text("40"));
    bench.send(key, &text("40"));
    assert_eq!((bench.shard.counters().sockets, bench.closed), (1, false));
    accept_all(&mut bench, key);
    bench.send(key, &text("42[\"x\"]"));
    assert_eq!((bench.shard.counters().events_in, bench.closed), (1, false));
}
