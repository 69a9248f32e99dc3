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
    // Whoever only stands in the door keeps nobody out: the one that has stood there longest goes.
    let one_more = bench.open();
    bench.shard.expect_entrance(one_more, Entrance::Tls);
    assert!(bench.shard.is_aborted(keys[0]) && !bench.shard.is_aborted(keys[1]));
    assert!(!bench.shard.is_aborted(one_more));
    assert_eq!(bench.shard.counters().handshakes_open as usize, limits.half_open_max);
    bench.shard.handle_eof(keys[0]);
    bench.shard.check();
    assert_eq!(bench.ended(Ending::EntranceFull), 1);
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
