//! What a connection shows before its first request, and the time it has for that.

use super::*;

#[test]
fn what_is_to_be_shown_first_has_its_time_and_its_number() {
    let mut bench = Bench::new();
    let limits = bench.shard.settings.limits;
    for (entrance, ending) in
        [(Entrance::Proxy, Ending::ProxyRule), (Entrance::Tls, Ending::TlsSlow)]
    {
        let key = bench.open();
        bench.shard.expect_entrance(key, entrance);
        assert_eq!(bench.shard.counters().handshakes_open, 1);
        bench.wait(key, limits.request_timeout_ms + 100);
        assert_eq!((bench.ended(ending), bench.closed), (1, true));
        bench.shard.handle_eof(key);
        assert_eq!(bench.shard.counters().handshakes_open, 0);
    }
    // Whoever has shown it has the time of a request again.
    let key = bench.open();
    bench.shard.expect_entrance(key, Entrance::Proxy);
    bench.wait(key, limits.request_timeout_ms - 100);
    // One entrance after the other.
    bench.shard.expect_entrance(key, Entrance::Tls);
    assert_eq!(bench.shard.counters().handshakes_open, 1);
    bench.shard.pass(key);
    bench.wait(key, 200);
    bench.send(key, get("/a", "").as_bytes());
    assert_eq!(bench.statuses(), [404]);

    let keys: Vec<Key> = (0..limits.half_open_max).map(|_| bench.open()).collect();
    for key in &keys {
        bench.shard.expect_entrance(*key, Entrance::Tls);
    }
    // Whoever only stands in the door keeps nobody out: the one that is late for longest goes.
    assert_eq!(bench.shard.way_in(), Way::Shut);
    later(&mut bench, 100);
    assert_eq!(bench.shard.way_in(), Way::Instead(keys[0]));
    let one_more = bench.open();
    bench.shard.expect_entrance(one_more, Entrance::Tls);
    assert!(bench.shard.is_aborted(keys[0]) && !bench.shard.is_aborted(keys[1]));
    assert!(!bench.shard.is_aborted(one_more));
    assert_eq!(bench.shard.counters().handshakes_open as usize, limits.half_open_max);
    bench.shard.handle_eof(keys[0]);
    bench.shard.check();
    assert_eq!(bench.ended(Ending::EntranceFull), 1);
}

fn later(bench: &mut Bench, ms: u64) {
    bench.shard.set_now(bench.shard.now() + ms * 1_000);
}

/// One more at the entrance.
fn come(bench: &mut Bench) -> Key {
    let key = bench.open();
    bench.shard.expect_entrance(key, Entrance::Tls);
    key
}

/// An entrance with four places, and those who have them.
fn full() -> (Bench, Vec<Key>) {
    let mut bench = Bench::with(|settings| settings.limits.half_open_max = 4);
    let keys = (0..4).map(|_| come(&mut bench)).collect();
    (bench, keys)
}

#[test]
fn nobody_who_waits_for_us_is_thrown_out_of_a_full_entrance() {
    let (mut bench, keys) = full();
    for key in &keys {
        bench.shard.hear_entrance(*key, Said::Unread);
    }
    later(&mut bench, 9_000);
    assert_eq!(bench.shard.way_in(), Way::Shut);
    // A host that does not ask for the way in gains nothing by it.
    let one_more = come(&mut bench);
    assert!(bench.shard.is_aborted(one_more));
    assert!(keys.iter().all(|key| !bench.shard.is_aborted(*key)));
    assert_eq!(bench.shard.counters().handshakes_open, 4);
    bench.shard.check();
    assert_eq!(bench.ended(Ending::EntranceFull), 1);
    // Each way out makes room, and at once.
    bench.shard.pass(keys[2]);
    assert_eq!(bench.shard.way_in(), Way::Open);
    come(&mut bench);
    assert_eq!(bench.shard.way_in(), Way::Shut);
    bench.shard.turn_away(keys[0], Ending::TlsRule, b"");
    assert_eq!(bench.shard.way_in(), Way::Open);
    come(&mut bench);
    bench.shard.handle_eof(keys[1]);
    assert_eq!(bench.shard.way_in(), Way::Open);
    come(&mut bench);
    later(&mut bench, 1_100);
    bench.shard.handle_timeout();
    assert!(bench.shard.is_aborted(keys[3]));
    assert_eq!((bench.shard.way_in(), bench.ended(Ending::TlsSlow)), (Way::Open, 1));
    bench.shard.check();
}

#[test]
fn who_is_late_for_longest_leaves_a_full_entrance_first() {
    let (mut bench, keys) = full();
    let [waits, answered, silent, half] = keys[..] else { panic!("they are four") };
    bench.shard.hear_entrance(waits, Said::Unread);
    bench.shard.hear_entrance(answered, Said::Answered);
    bench.shard.hear_entrance(half, Said::Part);
    later(&mut bench, 99);
    assert_eq!(bench.shard.way_in(), Way::Shut);
    later(&mut bench, 1);
    assert_eq!(bench.shard.way_in(), Way::Instead(silent));
    let one_more = come(&mut bench);
    assert!(bench.shard.is_aborted(silent));
    bench.shard.hear_entrance(one_more, Said::Unread);
    later(&mut bench, 899);
    assert_eq!(bench.shard.way_in(), Way::Shut);
    later(&mut bench, 1);
    for late in [answered, half] {
        assert_eq!(bench.shard.way_in(), Way::Instead(late));
        let one_more = come(&mut bench);
        assert!(bench.shard.is_aborted(late));
        bench.shard.hear_entrance(one_more, Said::Unread);
    }
    assert_eq!(bench.shard.way_in(), Way::Shut);
    assert!(!bench.shard.is_aborted(waits));
    bench.shard.check();
    assert_eq!(bench.ended(Ending::EntranceFull), 3);
}

#[test]
fn a_peer_has_its_time_from_its_first_word_and_from_each_answer_and_not_from_each_byte() {
    use Said::{Answered, Part, Unread};
    // What is heard after how long, and after how long from the beginning it is late.
    let cases: [(&[(u64, Said)], u64); 9] = [
        (&[], 100),
        (&[(50, Part)], 1_050),
        (&[(300, Part)], 1_300),
        (&[(50, Part), (900, Part), (90, Part)], 1_050),
        (&[(50, Answered)], 1_050),
        (&[(50, Part), (900, Answered)], 1_950),
        (&[(50, Answered), (900, Part)], 1_050),
        (&[(50, Unread), (2_000, Answered)], 3_050),
        (&[(50, Answered), (500, Unread), (400, Part)], 1_050),
    ];
    for (heard, late_at) in cases {
        let mut bench = Bench::with(|settings| settings.limits.half_open_max = 1);
        let key = come(&mut bench);
        for (after, said) in heard {
            later(&mut bench, *after);
            bench.shard.hear_entrance(key, *said);
        }
        let now = bench.shard.now() / 1_000;
        if now < late_at {
            later(&mut bench, late_at - now - 1);
            assert_eq!(bench.shard.way_in(), Way::Shut, "{heard:?}");
            later(&mut bench, 1);
        }
        assert_eq!(bench.shard.way_in(), Way::Instead(key), "{heard:?}");
    }
    // One entrance after the other: the second begins with time of its own.
    let mut bench = Bench::with(|settings| settings.limits.half_open_max = 1);
    let key = bench.open();
    bench.shard.expect_entrance(key, Entrance::Proxy);
    later(&mut bench, 99);
    bench.shard.expect_entrance(key, Entrance::Tls);
    later(&mut bench, 999);
    assert_eq!(bench.shard.way_in(), Way::Shut);
    later(&mut bench, 1);
    assert_eq!(bench.shard.way_in(), Way::Instead(key));
}

#[test]
fn a_silent_crowd_keeps_nobody_out() {
    let (mut bench, _) = full();
    for round in 0..50 {
        let mut waited_ms = 0;
        while bench.shard.way_in() == Way::Shut {
            waited_ms += 1;
            later(&mut bench, 1);
        }
        assert!(waited_ms <= 100, "{waited_ms} ms in round {round}");
        let honest = come(&mut bench);
        bench.shard.hear_entrance(honest, Said::Unread);
        // As many of them as can be come while it waits for us, and go before it does.
        for _ in 0..10 {
            later(&mut bench, 100);
            come(&mut bench);
        }
        assert!(!bench.shard.is_aborted(honest));
        bench.shard.pass(honest);
        come(&mut bench);
    }
    bench.shard.check();
    assert_eq!(bench.shard.counters().handshakes_open, 4);
}

#[test]
fn a_forwarded_address_that_is_ignored_is_counted_and_told_once() {
    use crate::http::{ForwardedHeader, Proxies};
    let forwarded = "X-Forwarded-For: 192.0.2.1\r\n";
    for (trusted, ignored) in [(&[][..], 3), (&["10.0.0.0/8"], 3), (&["198.51.100.7"], 0)] {
        let networks: Vec<String> = trusted.iter().map(|text| String::from(*text)).collect();
        let mut bench = Bench::with(|settings| {
            settings.proxies = Proxies::new(&networks, ForwardedHeader::XForwardedFor);
        });
        let mut told = Vec::new();
        for lines in ["", forwarded, "Via: 1.1 a\r\n", "Forwarded: for=192.0.2.1\r\n", forwarded] {
            let key = bench.open();
            bench.send(key, get(POLLING, lines).as_bytes());
            assert_eq!(bench.statuses(), [200]);
            // Only who wants in is looked at.
            bench.send(key, get("/a", lines).as_bytes());
            while let Some(event) = bench.shard.take_log() {
                if let LogEvent::ForwardedIgnored { peer } = event {
                    told.push(peer);
                }
            }
        }
        assert_eq!(bench.shard.counters().forwarded_ignored, ignored, "{trusted:?}");
        assert_eq!(told, vec![PEER.ip(); usize::from(ignored > 0)], "{trusted:?}");
    }
}
