//! Plain WebSockets: who is still there.

use super::*;

const PING: [u8; 2] = [0x89, 0];

/// Steps of the clock: a worker's timers are hardly later than that.
const STEP_MS: u64 = 10;

struct Plain {
    bench: Bench,
    key: Key,
}

impl Plain {
    fn open(interval_ms: u64, timeout_ms: u64) -> Self {
        let mut bench = Bench::with(|settings| {
            settings.endpoints.push(plain("/ws"));
            settings.ping_interval_ms = interval_ms;
            settings.ping_timeout_ms = timeout_ms;
        });
        let key = bench.open();
        bench.send(key, get("/ws", UPGRADE).as_bytes());
        assert_eq!(bench.statuses(), [101]);
        bench.written.clear();
        Self { bench, key }
    }

    /// Waits until something is said: that, and how long it took.
    fn next(&mut self) -> (Vec<u8>, u64) {
        let mut waited_ms = 0;
        while self.bench.written.is_empty() {
            assert!(waited_ms < 100_000, "nothing is said");
            self.bench.wait(self.key, STEP_MS);
            waited_ms += STEP_MS;
        }
        (std::mem::take(&mut self.bench.written), waited_ms)
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.bench.send(self.key, bytes);
        self.bench.written.clear();
    }
}

/// Whether it took about so long.
fn is_about(waited_ms: u64, expected_ms: u64) -> bool {
    (expected_ms.saturating_sub(STEP_MS)..=expected_ms + 100).contains(&waited_ms)
}

#[test]
fn a_plain_websocket_that_answers_nothing_is_gone() {
    let mut plain = Plain::open(25_000, 20_000);
    let (said, waited_ms) = plain.next();
    assert!(said == PING && is_about(waited_ms, 25_000), "{said:?} after {waited_ms} ms");
    let (said, waited_ms) = plain.next();
    // A close frame without a code, as a session gets one.
    assert!(said == [0x88, 0] && is_about(waited_ms, 20_000), "{said:?} after {waited_ms} ms");
    assert_eq!((plain.bench.ended(Ending::PingTimeout), plain.bench.closed), (1, true));
    plain.bench.wait(plain.key, super::super::conn::LINGER_MS + 100);
    assert!(plain.bench.shard.is_aborted(plain.key), "its goodbye is not waited for");
    plain.bench.shard.handle_eof(plain.key);
    assert_eq!(plain.bench.ended(Ending::PingTimeout), 1);
}

#[test]
fn anything_that_arrives_is_a_sign_of_life() {
    // A pong, a ping, a message, parts of one, and a long frame that comes byte by byte.
    let signs: [(&[u8], &[u8]); 5] = [
        (&[0x8a, 0x80, 1, 2, 3, 4], &[0x8a, 0x80, 1, 2, 3, 4]),
        (&[0x89, 0x80, 1, 2, 3, 4], &[0x89, 0x80, 1, 2, 3, 4]),
        (&[0x82, 0x81, 1, 2, 3, 4, 5], &[0x82, 0x81, 1, 2, 3, 4, 5]),
        (&[0x02, 0x81, 1, 2, 3, 4, 5], &[0x00, 0x81, 1, 2, 3, 4, 5]),
        (&[0x82, 0xfe, 0x10, 0, 1, 2, 3, 4, 5], &[1]),
    ];
    for (interval_ms, timeout_ms) in [(25_000, 20_000), (300, 200), (1_000, 1_000), (500, 2_000)] {
        for (first, more) in signs {
            let mut plain = Plain::open(interval_ms, timeout_ms);
            let mut expected_ms = interval_ms;
            for sign in [first, more, more, more] {
                let (said, waited_ms) = plain.next();
                let shown = format!("{said:?} after {waited_ms} of {expected_ms} ms, {sign:?}");
                assert!(said == PING && is_about(waited_ms, expected_ms), "{shown}");
                plain.hear(sign);
                expected_ms = interval_ms.max(timeout_ms);
            }
            assert_eq!((plain.bench.ended(Ending::PingTimeout), plain.bench.closed), (0, false));
        }
    }
}

#[test]
fn what_came_before_a_ping_is_no_answer_to_it() {
    let mut plain = Plain::open(25_000, 20_000);
    plain.bench.wait(plain.key, 24_900);
    plain.hear(&[0x8a, 0x80, 1, 2, 3, 4]);
    assert_eq!(plain.next().0, PING);
    assert_eq!(plain.next().0, [0x88, 0]);
    assert_eq!(plain.bench.ended(Ending::PingTimeout), 1);
}

#[test]
fn a_session_is_pinged_by_packets_only() {
    let mut bench = Bench::new();
    let key = bench.open();
    bench.send(key, get(&POLLING.replace("polling", "websocket"), UPGRADE).as_bytes());
    bench.written.clear();
    bench.wait(key, bench.shard.settings.ping_interval_ms + 100);
    assert_eq!(bench.written, [0x81, 1, b'2']);
}
