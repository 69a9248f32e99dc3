//! What smugglers, scanners and slow peers send: the status or the end that each gets, and that it
//! is counted. Heads and bodies by themselves are tested in `http/`; this is what a connection
//! makes of them.

mod entrance;
mod holes;
mod late;
mod plain;
mod unfinished;

use std::net::SocketAddr;
use std::rc::Rc;

use super::alone::Alone;
use super::*;
use crate::http::{Cors, Origins, Response};

const PEER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7)), 4_000);

/// A shard, and a host that does as little as one can.
struct Bench {
    shard: Shard,
    unread: Vec<u8>,
    /// All that was written, and whether it ended with that.
    written: Vec<u8>,
    closed: bool,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            forwarded: vec![String::from("/api/")],
            assets: Some(|name| (name == "socket.io.js").then_some(("text/javascript", b"js"))),
            cors: Cors {
                origins: Origins::List(vec!["http://a.example".into(), "http://b.example".into()]),
                ..Cors::default()
            },
            ..Settings::default()
        };
        change(&mut settings);
        let mut chance = 0_u8;
        let birth = Birth {
            core: CoreId(0),
            cores: 1,
            hash_seed: 1,
            unix_base_ms: 0,
            interest: Rc::new(Alone),
            entropy: Box::new(move |bytes| {
                bytes.fill_with(|| {
                    chance = chance.wrapping_mul(5).wrapping_add(77);
                    chance
                });
            }),
        };
        let shard = Shard::new(Rc::new(settings), birth);
        Self { shard, unread: Vec::new(), written: Vec::new(), closed: false }
    }

    fn open(&mut self) -> Key {
        self.unread.clear();
        self.written.clear();
        self.closed = false;
        self.shard.open_conn(PEER).expect("there is room")
    }

    /// Hands in bytes, as far as they are wanted, and writes what comes of it.
    fn send(&mut self, key: Key, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        loop {
            let (consumed, more) = match self.shard.next(key, &mut self.unread) {
                Step::Wait { consumed } => (consumed, false),
                Step::Run { consumed, .. } => (consumed, true),
                Step::Forward { consumed, .. } => {
                    let mut answer = Vec::new();
                    Response::empty(200).write(&mut answer, true);
                    self.shard.respond_forwarded(key, &answer, true);
                    (consumed, true)
                }
                Step::Handover { .. } => panic!("there is one core"),
            };
            self.unread.drain(..consumed);
            if !more {
                break;
            }
        }
        self.shard.note_partial(key, self.unread.capacity());
        self.write(key);
    }

    fn write(&mut self, key: Key) {
        let fill = self.shard.fill(key, &mut self.written, 1 << 20);
        self.closed |= fill.shut || self.shard.is_aborted(key);
        self.shard.handle_written(key);
        self.shard.check();
    }

    /// Lets time go by.
    fn wait(&mut self, key: Key, ms: u64) {
        self.shard.set_now(self.shard.now() + ms * 1_000);
        self.shard.handle_timeout();
        self.write(key);
    }

    /// The statuses of all answers, in order. No body of ours has such a line.
    fn statuses(&self) -> Vec<u16> {
        let text = String::from_utf8_lossy(&self.written);
        let after = text.split("HTTP/1.1 ").skip(1);
        after.map(|rest| rest[..3].parse().expect("a status")).collect()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.written).into_owned()
    }

    fn ended(&self, ending: Ending) -> u64 {
        self.shard.endings.get(ending as usize)
    }

    /// A polling session that has joined nothing: its id.
    fn session(&mut self) -> String {
        let key = self.open();
        self.send(key, get(POLLING, "").as_bytes());
        let text = self.text();
        let (_, rest) = text.split_once("\"sid\":\"").expect("an open packet");
        rest[..20].to_owned()
    }
}

/// A plain WebSocket at this path.
fn plain(path: &str) -> Endpoint {
    Endpoint {
        path: path.to_owned(),
        service: Service::PlainWebSocket,
        message_bytes_max: None,
        deflate: false,
    }
}

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

fn get(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\n{lines}\r\n")
}

fn post(target: &str, lines: &str, body: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: h\r\n{lines}\r\n{body}")
}

/// What each request gets on a connection of its own: the statuses, and whether that is its end.
fn judge(table: &[(String, &[u16], bool)]) {
    let mut bench = Bench::new();
    for (request, statuses, closes) in table {
        let shown: String = request.escape_debug().take(160).collect();
        let errors = bench.shard.counters.http_errors;
        let key = bench.open();
        bench.send(key, request.as_bytes());
        assert_eq!((bench.statuses().as_slice(), bench.closed), (*statuses, *closes), "{shown}");
        let refused = statuses.iter().filter(|status| **status >= 400).count() as u64;
        assert_eq!(bench.shard.counters.http_errors - errors, refused, "counted: {shown}");
        // What stood behind is nobody's request.
        if *closes {
            let answered = bench.written.len();
            bench.send(key, get(POLLING, "").as_bytes());
            assert_eq!(bench.written.len(), answered, "nothing follows: {shown}");
        }
        bench.shard.handle_eof(key);
    }
}

#[test]
fn requests_with_two_ends_have_none() {
    let target = "/api/x";
    let smuggled = "GET /admin HTTP/1.1\r\nHost: h\r\n\r\n";
    let lengths = |lines: &str| post(target, lines, &format!("12345{smuggled}"));
    let length = smuggled.len();
    judge(&[
        (lengths("Content-Length: 5\r\nContent-Length: 6\r\n"), &[400], true),
        (lengths("Content-Length: 5\r\nContent-Length: 5\r\n"), &[400], true),
        (lengths("Content-Length: 5, 5\r\n"), &[400], true),
        (lengths("Content-Length: +5\r\n"), &[400], true),
        (lengths("Content-Length: 0x5\r\n"), &[400], true),
        (lengths("Content-Length: 5 0\r\n"), &[400], true),
        (lengths("Content-Length: -5\r\n"), &[400], true),
        (lengths("Content-Length:\r\n"), &[400], true),
        (lengths("Content-Length: 18446744073709551616\r\n"), &[400], true),
        (lengths("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), &[400], true),
        (lengths("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), &[400], true),
        (lengths("Transfer-Encoding: identity\r\nContent-Length: 5\r\n"), &[400], true),
        (lengths("Transfer-Encoding: identity\r\n"), &[501], true),
        (lengths("Transfer-Encoding: gzip, chunked\r\n"), &[501], true),
        (lengths("Transfer-Encoding: chunked, chunked\r\n"), &[501], true),
        (lengths("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n"), &[501], true),
        (lengths("Transfer-Encoding: xchunked\r\n"), &[501], true),
        (lengths("Transfer-Encoding: \"chunked\"\r\n"), &[501], true),
        (lengths("Transfer-Encoding:\x0bchunked\r\n"), &[400], true),
        (lengths("Transfer-Encoding : chunked\r\n"), &[400], true),
        (lengths("Transfer-Encoding\r\n : chunked\r\n"), &[400], true),
        (lengths("X: y\r\n Transfer-Encoding: chunked\r\n"), &[400], true),
        (lengths("X: y\nTransfer-Encoding: chunked\r\n"), &[400], true),
        (lengths("X: y\rTransfer-Encoding: chunked\r\n"), &[400], true),
        (lengths("Content-Length: 5\r\n").replace("1.1", "1.0"), &[200, 404], true),
        (lengths("Transfer-Encoding: chunked\r\n").replace("1.1", "1.0"), &[400], true),
        // The body of a request that has none of its own.
        (
            format!("{}{smuggled}", get(POLLING, &format!("Content-Length: {length}\r\n"))),
            &[400],
            true,
        ),
        (get(POLLING, "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n", &[400], true),
        // A body that is a request, of one that is refused: it is read past and never answered.
        (post(POLLING, &format!("Content-Length: {length}\r\n"), smuggled), &[400], false),
        (post("/nowhere", &format!("Content-Length: {length}\r\n"), smuggled), &[404], false),
    ]);
}

#[test]
fn chunks_have_one_reading() {
    let chunked = |body: &str| post("/api/x", "Transfer-Encoding: chunked\r\n", body);
    let bomb = "e".repeat(9_000);
    let small: String = (0..2_000).map(|_| format!("1;{}\r\nx\r\n", "e".repeat(8))).collect();
    judge(&[
        (chunked("5\r\nhello\r\n0\r\n\r\n"), &[200], false),
        (chunked("5;a=b\r\nhello\r\n0\r\nT: u\r\n\r\n"), &[200], false),
        (chunked("5\r\nhello\r\n0\r\nT:\r\nU: v\r\n\r\n"), &[200], false),
        (chunked("5\r\nhello\r\n0\r\nnothing\r\n\r\n"), &[400], true),
        (chunked("5\r\nhello\r\n0\r\nGET /x HTTP/1.1\r\n\r\n"), &[400], true),
        (chunked("5\r\nhello\r\n0\r\nT : u\r\n\r\n"), &[400], true),
        (chunked("5\r\nhello\r\n0\r\n: u\r\n\r\n"), &[400], true),
        (chunked("5\r\nhello\r\n0\r\nT: u\r\n v\r\n\r\n"), &[400], true),
        (chunked("5\nhello\r\n0\r\n\r\n"), &[400], true),
        (chunked("5\r\nhello\n0\r\n\r\n"), &[400], true),
        (chunked("5\r\nhello\r\n0\n\n"), &[400], true),
        (chunked("5\r\nhello\r\n0\r\n\n"), &[400], true),
        (chunked("5\r\nhelloX\r\n0\r\n\r\n"), &[400], true),
        (chunked("4\r\nhello\r\n0\r\n\r\n"), &[400], true),
        (chunked("g\r\nhello\r\n"), &[400], true),
        (chunked("\r\nhello\r\n"), &[400], true),
        (chunked(" 5\r\nhello\r\n"), &[400], true),
        (chunked("5 \r\nhello\r\n"), &[400], true),
        (chunked("5 ;a\r\nhello\r\n"), &[400], true),
        (chunked("+5\r\nhello\r\n"), &[400], true),
        (chunked("-5\r\nhello\r\n"), &[400], true),
        (chunked("0x5\r\nhello\r\n"), &[400], true),
        (chunked("00000000000000005\r\nhello\r\n"), &[400], true),
        (chunked("10000000000000005\r\nhello\r\n"), &[400], true),
        (chunked("ffffffffffffffff\r\nhello\r\n"), &[413], true),
        (chunked("5;\x01\r\nhello\r\n"), &[400], true),
        (chunked("5;\0\r\nhello\r\n"), &[400], true),
        (chunked(&format!("5;{bomb}\r\nhello\r\n0\r\n\r\n")), &[400], true),
        (chunked(&format!("5\r\nhello\r\n0\r\nT: {bomb}\r\n\r\n")), &[400], true),
        (chunked(&small), &[400], true),
    ]);
}

#[test]
fn heads_are_what_rfc_9112_says_or_nothing() {
    let lines = |lines: &str| get("/nowhere", lines);
    judge(&[
        (lines(""), &[404], false),
        (lines("X : y\r\n"), &[400], true),
        (lines(" X: y\r\n"), &[400], true),
        (lines("X: y\r\n folded\r\n"), &[400], true),
        (lines("X: y\r\n\tfolded\r\n"), &[400], true),
        (lines("X: a\0b\r\n"), &[400], true),
        (lines("X: a\x07b\r\n"), &[400], true),
        (lines("X: a\x7fb\r\n"), &[400], true),
        (lines("X\0: y\r\n"), &[400], true),
        (lines("X y\r\n"), &[400], true),
        (lines(": y\r\n"), &[400], true),
        (lines("X: y\n"), &[400], true),
        (lines("X: y\r\r\n"), &[400], true),
        (String::from("GET / HTTP/1.1\nHost: h\n\n"), &[400], true),
        (String::from("GET / HTTP/1.1\r\n\r\n"), &[400], true),
        (lines("Host: h\r\n"), &[400], true),
        (lines("Host: other\r\n"), &[400], true),
        (get("/nowhere", "").replace("Host: h", "Host: h, i"), &[400], true),
        (get("/nowhere", "").replace("Host: h", "Host: u@h"), &[400], true),
        (get("/nowhere", "").replace("Host: h", "Host: h/x"), &[400], true),
        (get("/nowhere", "").replace("Host: h\r\n", "").replace("1.1", "1.0"), &[404], true),
        (get("/nowhere", "").replace("HTTP/1.1", "HTTP/1.2"), &[505], true),
        (get("/nowhere", "").replace("HTTP/1.1", "HTTP/2.0"), &[505], true),
        (get("/nowhere", "").replace("HTTP/1.1", "HTTP/1.10"), &[400], true),
        (String::from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), &[505], true),
        (String::from("GET /\r\n\r\n"), &[400], true),
        (String::from("GET  / HTTP/1.1\r\nHost: h\r\n\r\n"), &[400], true),
        (String::from("GET / x HTTP/1.1\r\nHost: h\r\n\r\n"), &[400], true),
        (String::from("\x16\x03\x01\x02\x00\x01"), &[400], true),
        (lines("Expect: 200-ok\r\n"), &[417], true),
        (lines("Expect: 100-continue, x\r\n"), &[417], true),
    ]);
}

#[test]
fn heads_are_bounded() {
    let many = |count: usize| get("/nowhere", &"X: y\r\n".repeat(count));
    let long = "v".repeat(16 << 10);
    let handshake = |list: &str| {
        let lines = format!("{UPGRADE}{list}: a{}b\r\n", " ".repeat(9_000));
        get(&POLLING.replace("polling", "websocket"), &lines)
    };
    judge(&[
        (many(63), &[404], false),
        (many(64), &[431], true),
        (many(2_000), &[431], true),
        (get("/nowhere", &format!("X: {long}\r\n")), &[431], true),
        (get("/nowhere", &format!("{long}: x\r\n")), &[431], true),
        (get(&format!("/{long}"), ""), &[431], true),
        // Not even complete.
        (format!("GET /{long}"), &[431], true),
        ("x".repeat(16 << 10), &[431], true),
        (get("/nowhere", &format!("{}: x\r\n", "n".repeat(257))), &[431], true),
        // RFC 6455 handshakes with lists that take long to read (CVE-2021-32640).
        (handshake("Sec-WebSocket-Protocol"), &[101], false),
        (handshake("Sec-WebSocket-Extensions"), &[101], false),
    ]);
}

#[test]
fn targets_and_methods_that_are_not_ours() {
    judge(&[
        (get(&format!("http://h{POLLING}"), ""), &[200], false),
        (get("http://h", ""), &[404], false),
        (get("ftp://h/", ""), &[400], true),
        (get("http://u@h/", ""), &[400], true),
        (get("*", ""), &[400], true),
        (String::from("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"), &[404], false),
        (String::from("CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n"), &[400], true),
        (get("/a#b", ""), &[400], true),
        (get("/\x7f", ""), &[400], true),
        (get("/a\tb", ""), &[400], true),
        (get("/../../etc/passwd", ""), &[404], false),
        (get("//etc/passwd", ""), &[404], false),
        (get("/socket.io/../../etc/passwd", ""), &[400], false),
        (get("/socket.io/%2e%2e/%2e%2e/etc/passwd", ""), &[400], false),
        (get("/socket.io/..%5c..%5cetc", ""), &[400], false),
        (get("/socket.io/./socket.io.js", ""), &[400], false),
        (get("/socket.io/socket.io.js", ""), &[200], false),
        (get("/socket.io/socket.io.js%00", ""), &[400], false),
        (get(POLLING, "").replace("GET", "TRACE"), &[400], false),
        (get(POLLING, "").replace("GET", "BREW"), &[400], false),
        // Scripts as answers are not served.
        (get(&format!("{POLLING}&j=0"), ""), &[400], false),
        (get("/socket.io/?EIO=4&transport=__proto__", ""), &[400], false),
        (get("/socket.io/?EIO=4&transport=", ""), &[400], false),
        (get(&format!("{POLLING}&sid=__proto__"), ""), &[400], false),
        (get(&format!("{POLLING}&EIO=3"), ""), &[400], false),
        // A WebSocket that does not come to be.
        (get("/socket.io/?EIO=4&transport=websocket", "Upgrade: websocket\r\n"), &[400], false),
        (
            get(
                "/socket.io/?EIO=4&transport=__proto__",
                "Upgrade: websocket\r\nConnection: upgrade\r\n",
            ),
            &[400],
            false,
        ),
        (get(POLLING, "Upgrade: h2c\r\nConnection: upgrade\r\n"), &[200], false),
    ]);
}

#[test]
fn nothing_that_is_echoed_ends_its_line() {
    let mut bench = Bench::new();
    for request in [
        get(&format!("{POLLING}&sid=%0d%0aX-Evil:%201"), ""),
        get("/nowhere%0d%0aX-Evil:%201", ""),
        get(POLLING, "Origin: http://a.example%0d%0aX-Evil: 1\r\n"),
        get(POLLING, "Origin: http://a.example\x0bX-Evil: 1\r\n"),
        get(POLLING, "Access-Control-Request-Headers: a\tX-Evil: 1\r\n").replace("GET", "OPTIONS"),
        get("/socket.io/socket.io.js", "If-None-Match: \"x\x0bX-Evil: 1\"\r\n"),
    ] {
        let key = bench.open();
        bench.send(key, request.as_bytes());
        let text = bench.text();
        assert_eq!(bench.statuses().len(), 1, "{text}");
        let evil = text.split("\r\n").any(|line| line.starts_with("X-Evil"));
        assert!(!evil && !text.contains('\x0b'), "{text}");
    }
}

#[test]
fn requests_in_a_row_are_answered_in_a_row() {
    let mut bench = Bench::new();
    let key = bench.open();
    let expecting = post("/api/x", "Expect: 100-continue\r\nContent-Length: 5\r\n", "");
    let row = [get("/a", ""), post("/api/x", "Content-Length: 2\r\n", "ab"), get(POLLING, "")];
    bench.send(key, (row.concat() + &expecting).as_bytes());
    assert_eq!((bench.statuses(), bench.closed), (vec![404, 200, 200, 100], false));
    bench.send(key, b"hello");
    assert_eq!(bench.statuses(), [404, 200, 200, 100, 200]);
    bench.send(key, get("/a", "Connection: close\r\n").as_bytes());
    bench.send(key, get("/a", "").as_bytes());
    assert_eq!((bench.statuses(), bench.closed), (vec![404, 200, 200, 100, 200, 404], true));

    // Behind a poll that waits nothing is answered before it.
    let sid = bench.session();
    let key = bench.open();
    let poll = get(&format!("{POLLING}&sid={sid}"), "");
    bench.send(key, (poll + &get("/a", "")).as_bytes());
    assert_eq!((bench.statuses(), bench.shard.is_busy(key)), (vec![], true));
}

#[test]
fn posts_that_are_refused_say_so_to_the_page_that_sent_them() {
    let mut bench = Bench::new();
    let origin = "Origin: http://a.example\r\n";
    let allowed = "Access-Control-Allow-Origin: http://a.example\r\n";
    let chunked = format!("Transfer-Encoding: chunked\r\n{origin}");
    let huge = format!("Content-Length: 100000000\r\n{origin}");
    let octets = format!("Content-Type: application/octet-stream\r\nContent-Length: 1\r\n{origin}");
    for (lines, body, status, lives) in [
        (&chunked, "zz\r\n", 400, false),
        (&chunked, "fffffff\r\n", 413, true),
        (&huge, "", 413, true),
        (&octets, "x", 400, false),
        (&format!("Content-Length: 1\r\n{origin}"), "x", 400, false),
    ] {
        let sid = bench.session();
        let target = format!("{POLLING}&sid={sid}");
        let key = bench.open();
        let errors = bench.shard.counters.http_errors;
        bench.send(key, post(&target, lines, body).as_bytes());
        assert_eq!(bench.statuses(), [status], "{lines}{body}");
        assert!(bench.text().contains(allowed), "{}", bench.text());
        assert_eq!(bench.shard.counters.http_errors, errors + 1, "{lines}{body}");
        let key = bench.open();
        bench.send(key, post(&target, "Content-Length: 2\r\n", "40").as_bytes());
        assert_eq!(bench.statuses(), [if lives { 200 } else { 400 }], "{lines}{body}");
    }
    // A stranger is not told.
    let sid = bench.session();
    let key = bench.open();
    let lines = "Content-Length: 100000000\r\nOrigin: http://evil.example\r\n";
    bench.send(key, post(&format!("{POLLING}&sid={sid}"), lines, "").as_bytes());
    assert!(!bench.text().contains("Access-Control-Allow-Origin"), "{}", bench.text());
}

#[test]
fn a_head_has_the_time_of_a_request_from_its_first_byte() {
    let mut bench = Bench::new();
    let limits = bench.shard.settings.limits;
    let (request_ms, keep_ms) = (limits.request_timeout_ms, limits.keep_alive_ms);
    assert!(keep_ms > 3 * request_ms, "or this would prove nothing");

    let key = bench.open();
    bench.wait(key, request_ms - 100);
    assert!(!bench.closed, "a new connection has as long for its first request");
    bench.send(key, b"G");
    bench.wait(key, 50);
    assert!(!bench.closed);
    bench.wait(key, 200);
    assert_eq!((bench.statuses(), bench.closed), (vec![408], true), "and not longer");

    let key = bench.open();
    bench.send(key, get("/a", "").as_bytes());
    bench.wait(key, keep_ms - request_ms - 5_000);
    assert!(!bench.closed, "it may stay idle for longer");
    let ended = bench.ended(Ending::HttpRule);
    for byte in "GET / HTTP/1".as_bytes() {
        assert_eq!(bench.statuses(), [404], "each byte is in time, and the head is not");
        bench.send(key, &[*byte]);
        bench.wait(key, request_ms / 11);
    }
    assert_eq!((bench.statuses(), bench.closed), (vec![404, 408], true));
    assert_eq!(bench.ended(Ending::HttpRule), ended + 1);

    let key = bench.open();
    bench.send(key, get("/a", "").as_bytes());
    bench.wait(key, keep_ms + 100);
    assert_eq!((bench.statuses(), bench.closed), (vec![404], true), "idle, and nothing to say");
    assert_eq!(bench.ended(Ending::HttpIdle), 1);
}

#[test]
fn a_body_that_drips_ends_its_session_in_time() {
    let mut bench = Bench::new();
    let request_ms = bench.shard.settings.limits.request_timeout_ms;
    let target = format!("{POLLING}&sid={}", bench.session());
    let key = bench.open();
    bench.send(key, post(&target, "Content-Length: 50\r\n", "").as_bytes());
    for _ in 0..12 {
        bench.send(key, b"4");
        bench.wait(key, request_ms / 11);
    }
    assert_eq!((bench.statuses(), bench.closed), (vec![408], true));
    let key = bench.open();
    bench.send(key, get(&target, "").as_bytes());
    assert_eq!(bench.statuses(), [400], "its session is gone");
    assert_eq!(bench.ended(Ending::RequestAborted), 1);
}
