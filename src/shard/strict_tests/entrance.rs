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
        assert!(bench.shard.expect_entrance(key, entrance));
        assert_eq!(bench.shard.counters().handshakes_open, 1);
        bench.wait(key, limits.request_timeout_ms + 100);
        assert_eq!((bench.ended(ending), bench.closed), (1, true));
        bench.shard.handle_eof(key);
        assert_eq!(bench.shard.counters().handshakes_open, 0);
    }
    // Whoever has shown it has the time of a request again.
    let key = bench.open();
    assert!(bench.shard.expect_entrance(key, Entrance::Proxy));
    bench.wait(key, limits.request_timeout_ms - 100);
    assert!(bench.shard.expect_entrance(key, Entrance::Tls), "one entrance after the other");
    assert_eq!(bench.shard.counters().handshakes_open, 1);
    bench.shard.pass(key);
    bench.wait(key, 200);
    bench.send(key, get("/a", "").as_bytes());
    assert_eq!(bench.statuses(), [404]);

    let keys: Vec<Key> = (0..limits.half_open_max).map(|_| bench.open()).collect();
    assert!(keys.iter().all(|key| bench.shard.expect_entrance(*key, Entrance::Tls)));
    let one_more = bench.open();
    assert!(!bench.shard.expect_entrance(one_more, Entrance::Tls));
    assert!(bench.shard.peer(one_more).is_none(), "it is forgotten");
    bench.shard.check();
    assert_eq!(bench.ended(Ending::EntranceFull), 1);
}
