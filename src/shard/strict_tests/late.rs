//! What still comes in on a connection that was refused.

use super::*;
use crate::base::LINGER_BYTES_MAX;

/// Sends so many bytes, in the pieces that a worker reads.
fn pour(bench: &mut Bench, key: Key, bytes: usize) {
    for _ in 0..bytes / (64 << 10) {
        bench.send(key, &[b'x'; 64 << 10]);
    }
}

#[test]
fn who_is_refused_and_sends_on_is_cut_before_long() {
    let frame = [0x81, 0xff, 0, 0, 0, 0, 0x7f, 0, 0, 0, 1, 2, 3, 4];
    let socket = POLLING.replace("polling", "websocket");
    for (first, status, then) in [
        (String::from("NONSENSE\r\n\r\n"), 400, &[] as &[u8]),
        (post("/api/x", "Content-Length: 100000000\r\n", ""), 413, &[]),
        (get(&socket, UPGRADE), 101, &frame),
    ] {
        let mut bench = Bench::new();
        let key = bench.open();
        bench.send(key, first.as_bytes());
        bench.send(key, then);
        let hits = bench.shard.counters().limits_hit;
        pour(&mut bench, key, LINGER_BYTES_MAX);
        let is_aborted = bench.shard.is_aborted(key);
        assert_eq!((bench.statuses(), bench.closed, is_aborted), (vec![status], true, false));
        bench.send(key, b"x");
        assert!(bench.shard.is_aborted(key), "after {status}");
        // Until the host has seen to it, more may come.
        pour(&mut bench, key, 1 << 20);
        assert_eq!(bench.shard.counters().limits_hit, hits + 1);
        bench.shard.handle_eof(key);
        bench.shard.check();
    }
}

#[test]
fn who_takes_its_last_words_in_drops_has_the_time_for_all_of_them() {
    let mut bench = Bench::new();
    let key = bench.open();
    bench.send(key, b"NONSENSE\r\n\r\n");
    assert!(bench.closed);
    // The kernel has taken none of it yet.
    let mut unsent = std::mem::take(&mut bench.written);
    let age_ms = bench.shard.settings.limits.outbox_age_ms;
    let wait = |bench: &mut Bench| {
        bench.shard.set_now(bench.shard.now() + (age_ms - 1) * 1_000);
        bench.shard.handle_timeout();
        bench.shard.check();
    };
    bench.shard.handle_blocked(key, unsent.clone());
    while unsent.len() > 1 {
        wait(&mut bench);
        assert!(!bench.shard.is_aborted(key), "{} bytes are left", unsent.len());
        unsent.remove(0);
        let _taken = bench.shard.take_unsent(key);
        bench.shard.handle_progress(key, 1, unsent.clone());
        // Nothing is added: it is bounded in bytes.
        bench.shard.write_raw(key, b"more");
        assert!(bench.shard.conns.get(key).is_some_and(|conn| conn.out.is_empty()));
    }
    wait(&mut bench);
    wait(&mut bench);
    assert!(bench.shard.is_aborted(key), "it has taken nothing for too long");
}
