//! Request heads: the rules, every cut, noise, and what smugglers send.

use super::*;
use crate::base::Rng;

const MAX: usize = 16 * 1024;

fn read(text: &[u8]) -> Result<Option<(Head<'_>, usize)>, HeadError> {
    parse_head(text, MAX)
}

fn whole(text: &str) -> Head<'_> {
    let (head, consumed) = read(text.as_bytes()).unwrap().unwrap();
    assert_eq!(consumed, text.len());
    head
}

/// A GET with these lines between `Host` and the end.
fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n")
}

fn error_of(text: &[u8]) -> Option<HeadError> {
    read(text).err()
}

#[test]
fn a_poll_as_clients_send_it() {
    let text = "GET /socket.io/?EIO=4&transport=polling&t=abc HTTP/1.1\r\n\
        Host: localhost:3001\r\nAccept: */*\r\nX-Odd:\t a  b \r\nConnection: keep-alive\r\n\r\n";
    let head = whole(text);
    assert_eq!((head.method, head.version), ("GET", Version::Http11));
    assert_eq!((head.path(), head.query()), ("/socket.io/", Some("EIO=4&transport=polling&t=abc")));
    assert_eq!((head.body, head.keep_alive, head.expect_continue), (BodyLength::None, true, false));
    assert_eq!(head.header("ACCEPT"), Some("*/*"));
    assert_eq!(head.header("x-odd"), Some("a  b"));
    assert_eq!((head.header("none"), head.host()), (None, Some("localhost:3001")));
    let names: Vec<&str> = head.headers().map(|(name, _)| name).collect();
    assert_eq!(names, ["Host", "Accept", "X-Odd", "Connection"]);
}

#[test]
fn what_follows_the_head_is_not_consumed() {
    let text = get("Content-Length: 5\r\n");
    let bytes = [text.as_bytes(), b"hello"].concat();
    let (head, consumed) = read(&bytes).unwrap().unwrap();
    assert_eq!((head.body, consumed), (BodyLength::Length(5), text.len()));
}

#[test]
fn every_cut_needs_more_and_no_cut_changes_the_head() {
    let text = format!("\r\n\r\n{}", get("Content-Length: 5\r\nConnection: close\r\n"));
    for cut in 0..text.len() {
        assert!(matches!(read(&text.as_bytes()[..cut]), Ok(None)), "cut at {cut}");
    }
    let head = whole(&text);
    assert_eq!((head.body, head.keep_alive), (BodyLength::Length(5), false));
}

#[test]
fn a_stored_head_reads_alike() {
    let text = get("X: y\r\nTransfer-Encoding: Chunked\r\n");
    let stored = text.as_bytes().to_vec();
    let (first, again) = (format!("{:?}", whole(&text)), read(&stored).unwrap().unwrap().0);
    assert_eq!(first, format!("{again:?}"));
}

#[test]
fn targets_of_rfc_9112_section_3_2() {
    let table: &[(&str, &str, &str, Option<&str>, &str)] = &[
        ("GET", "/", "/", None, "h"),
        ("GET", "/a?b?c", "/a", Some("b?c"), "h"),
        ("GET", "/?", "/", Some(""), "h"),
        ("GET", "/http://x/y", "/http://x/y", None, "h"),
        ("GET", "http://x.example:80/y?z", "/y", Some("z"), "x.example:80"),
        ("GET", "HTTPS://x", "/", None, "x"),
        ("GET", "http://x?z", "/", Some("z"), "x"),
        ("GET", "http://[::1]:3001/y", "/y", None, "[::1]:3001"),
        ("OPTIONS", "*", "*", None, "h"),
    ];
    for (method, target, path, query, host) in table {
        let text = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        let head = whole(&text);
        assert_eq!((head.path(), head.query(), head.host()), (*path, *query, Some(*host)));
    }
    for target in ["*", "x", "x:443", "http:/x", "http://", "ftp://x/", "http://u@x/", "/a#b", "?a"]
    {
        let text = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(error_of(text.as_bytes()), Some(HeadError::Target), "{target}");
    }
    for target in [b"/\xC3\xA4".as_slice(), b"/\x7f", b"/\x01", b"/\0", b"/a\tb", b""] {
        let text = [b"GET ", target, b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
        let error = error_of(&text).map(HeadError::status);
        assert_eq!(error, Some(400), "{}", target.escape_ascii());
    }
}

#[test]
fn versions_of_rfc_9110_section_2_5() {
    let status = |version: &str| {
        let text = format!("GET / {version}\r\nHost: h\r\n\r\n");
        error_of(text.as_bytes()).map(HeadError::status)
    };
    assert_eq!((status("HTTP/1.1"), status("HTTP/1.0")), (None, None));
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/2", "HTTP/3"] {
        assert_eq!(status(version), Some(505), "{version}");
    }
    for version in ["", "HTTP", "HTTP/", "HTTP/x.y", "http/1.1", "HTTP/1.1 ", "HTTP/1.10", "X/1.1"]
    {
        assert_eq!(status(version), Some(400), "{version}");
    }
    assert_eq!(error_of(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Some(HeadError::Version));
    assert_eq!(error_of(b"GET /\r\n\r\n").map(HeadError::status), Some(400));
}

#[test]
fn connections_of_rfc_9112_section_9_3() {
    let keep = |version: &str, connection: &str| {
        whole(&format!("GET / HTTP/{version}\r\nHost: h\r\n{connection}\r\n")).keep_alive
    };
    assert!(keep("1.1", ""));
    assert!(keep("1.1", "Connection: Upgrade\r\n"));
    assert!(!keep("1.1", "Connection: Close\r\n"));
    assert!(!keep("1.1", "Connection: x ,close\r\n"));
    assert!(!keep("1.1", "Connection: keep-alive\r\nConnection: close\r\n"));
    assert!(!keep("1.0", ""));
    assert!(keep("1.0", "Connection: Keep-Alive\r\n"));
    assert!(!keep("1.0", "Connection: keep-alive, close\r\n"));
}

#[test]
fn expectations_of_rfc_9110_section_10_1_1() {
    let waits = |version: &str, lines: &str| {
        whole(&format!("POST / HTTP/{version}\r\nHost: h\r\n{lines}\r\n")).expect_continue
    };
    assert!(waits("1.1", "Expect: 100-Continue\r\nContent-Length: 1\r\n"));
    assert!(waits("1.1", "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n"));
    assert!(!waits("1.1", "Expect: 100-continue\r\nContent-Length: 0\r\n"));
    assert!(!waits("1.1", "Expect: 100-continue\r\n"));
    assert!(!waits("1.0", "Expect: 100-continue\r\nContent-Length: 1\r\n"));
    let odd = get("Expect: 200-ok\r\n");
    assert_eq!(error_of(odd.as_bytes()), Some(HeadError::Expectation));
    assert_eq!(HeadError::Expectation.status(), 417);
}

#[test]
fn what_frames_a_request_has_one_reading_or_none() {
    use HeadError as E;
    let table: &[(&str, E, u16)] = &[
        ("Content-Length: 1\r\nContent-Length: 2\r\n", E::TwoLengths, 400),
        ("Content-Length: 1\r\ncontent-length: 1\r\n", E::TwoLengths, 400),
        ("Content-Length: 1, 1\r\n", E::Length, 400),
        ("Content-Length:\r\n", E::Length, 400),
        ("Content-Length: +1\r\n", E::Length, 400),
        ("Content-Length: -1\r\n", E::Length, 400),
        ("Content-Length: 0x1\r\n", E::Length, 400),
        ("Content-Length: 1 0\r\n", E::Length, 400),
        ("Content-Length: 18446744073709551616\r\n", E::Length, 400),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", E::LengthAndEncoding, 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", E::LengthAndEncoding, 400),
        ("Transfer-Encoding: x\r\nContent-Length: 0\r\n", E::LengthAndEncoding, 400),
        ("Transfer-Encoding: identity\r\n", E::Encoding, 501),
        ("Transfer-Encoding: gzip, chunked\r\n", E::Encoding, 501),
        ("Transfer-Encoding: chunked, identity\r\n", E::Encoding, 501),
        ("Transfer-Encoding: xchunked\r\n", E::Encoding, 501),
        ("Transfer-Encoding: \"chunked\"\r\n", E::Encoding, 501),
        ("Transfer-Encoding:\r\n", E::Encoding, 501),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", E::Encoding, 501),
        ("Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n", E::Encoding, 501),
    ];
    for (lines, error, status) in table {
        assert_eq!(error_of(get(lines).as_bytes()), Some(*error), "{lines}");
        assert_eq!(error.status(), *status);
    }
    let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(error_of(old), Some(E::LengthAndEncoding));
    let chunked = get("Transfer-Encoding:  CHUNKED \r\n");
    assert_eq!(whole(&chunked).body, BodyLength::Chunked);
    let most = get("Content-Length: 18446744073709551615\r\n");
    assert_eq!(whole(&most).body, BodyLength::Length(u64::MAX));
}

#[test]
fn header_lines_of_rfc_9112_section_5() {
    use HeadError as E;
    let table: &[(&str, HeadError)] = &[
        ("Content-Length : 5\r\n", E::Malformed),
        (" Content-Length: 5\r\n", E::Malformed),
        ("X: y\r\n folded\r\n", E::Malformed),
        ("X: y\r\n\tfolded: z\r\n", E::Malformed),
        ("No colon\r\n", E::Malformed),
        (": no name\r\n", E::Malformed),
        ("X\0: y\r\n", E::Malformed),
        ("X: a\0b\r\n", E::Malformed),
        ("X: a\x0bb\r\n", E::Malformed),
        ("Transfer-Encoding:\x0bchunked\r\n", E::Malformed),
        ("X(y): z\r\n", E::Malformed),
        ("X: y\nContent-Length: 5\r\n", E::LineEnd),
        ("X: y\rContent-Length: 5\r\n", E::LineEnd),
        ("X: y\r\r\n", E::LineEnd),
        ("\nX: y\r\n", E::LineEnd),
        ("Host: other\r\n", E::Host),
    ];
    for (lines, error) in table {
        let text = get(lines);
        assert_eq!(error_of(text.as_bytes()), Some(*error), "{}", lines.escape_debug());
        assert_eq!(error.status(), 400);
    }
}

#[test]
fn a_bare_line_feed_ends_nothing() {
    assert_eq!(error_of(b"GET / HTTP/1.1\nHost: h\n\n"), Some(HeadError::LineEnd));
    assert_eq!(error_of(b"GET / HTTP/1.1\r\nHost: h\r\n\n"), Some(HeadError::LineEnd));
    assert_eq!(error_of(b"GET / HTTP/1.1\r\nHost: h\n\r\n"), Some(HeadError::LineEnd));
    assert_eq!(error_of(b"\nGET / HTTP/1.1\r\n"), Some(HeadError::LineEnd));
}

#[test]
fn hosts_of_rfc_9112_section_3_2() {
    let error = |version: &str, lines: &str| {
        error_of(format!("GET / HTTP/{version}\r\n{lines}\r\n").as_bytes())
    };
    assert_eq!(error("1.1", ""), Some(HeadError::Host));
    assert_eq!(error("1.0", ""), None);
    assert_eq!(error("1.1", "Host:\r\n"), None);
    assert_eq!(error("1.1", "Host: [::1]:3001\r\n"), None);
    assert_eq!(error("1.0", "Host: a\r\nHost: a\r\n"), Some(HeadError::Host));
    for host in ["a b", "a,b", "a/b", "u@h", "a?b", "\"a\""] {
        assert_eq!(error("1.1", &format!("Host: {host}\r\n")), Some(HeadError::Host), "{host}");
    }
}

#[test]
fn request_lines_of_rfc_9112_section_3() {
    let table = [
        "GET  / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / x HTTP/1.1",
        "GET / x HTTP/2.0",
        "G(T / HTTP/1.1",
        "/ HTTP/1.1",
        "GET",
        // Skipped, and then a header stands where a request line should.
        "",
    ];
    for line in table {
        let text = format!("{line}\r\nHost: h\r\n\r\n");
        assert_eq!(error_of(text.as_bytes()).map(HeadError::status), Some(400), "{line}");
    }
    assert_eq!(whole("M-SEARCH / HTTP/1.1\r\nHost: h\r\n\r\n").method, "M-SEARCH");
}

#[test]
fn two_empty_lines_are_skipped_and_a_third_is_refused() {
    let text = get("");
    for count in 0..=2 {
        whole(&format!("{}{text}", "\r\n".repeat(count)));
    }
    assert_eq!(error_of(format!("\r\n\r\n\r\n{text}").as_bytes()), Some(HeadError::LineEnd));
}

#[test]
fn a_head_is_bounded_in_bytes_headers_and_names() {
    let fill = |bytes: usize| get(&format!("X: {}\r\n", "v".repeat(bytes)));
    let fits = fill(MAX - fill(0).len());
    assert_eq!(fits.len(), MAX);
    whole(&fits);
    assert_eq!(error_of(&fits.as_bytes()[..MAX - 1]), None);
    assert_eq!(error_of(fill(MAX - fill(0).len() + 1).as_bytes()), Some(HeadError::TooLong));
    assert_eq!(error_of(&[b'a'; MAX]), Some(HeadError::TooLong));

    let name = |bytes: usize| get(&format!("{}: v\r\n", "n".repeat(bytes)));
    whole(&name(256));
    assert_eq!(error_of(name(257).as_bytes()), Some(HeadError::NameTooLong));
    let long = name(70_000);
    assert_eq!(parse_head(long.as_bytes(), 100_000).err(), Some(HeadError::NameTooLong));
    assert_eq!(error_of(long.as_bytes()), Some(HeadError::TooLong));

    let many = |count: usize| get(&"X: y\r\n".repeat(count));
    whole(&many(63));
    assert_eq!(error_of(many(64).as_bytes()), Some(HeadError::TooManyHeaders));
    assert_eq!(error_of(many(2000).as_bytes()), Some(HeadError::TooManyHeaders));
    assert_eq!(HeadError::TooManyHeaders.status(), 431);
}

#[test]
fn noise_is_refused_before_it_ends() {
    assert_eq!(error_of(b"\x16\x03\x01\x02\x00\x01"), Some(HeadError::Malformed));
    assert_eq!(error_of(b"SSH-2.0-x\r\n").map(HeadError::status), Some(400));
}

#[test]
fn noise_never_panics_and_what_is_read_keeps_the_rules() {
    let text = get("Content-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n");
    let text = text.replace("Content-Length: 5\r\n", "X-Length: 5\r\n");
    let odd = b"\r\n\0 :\t;,chunked";
    let mut accepted = 0;
    for seed in 0..40_000 {
        let mut rng = Rng::new(seed, 0x4EAD);
        let mut bytes = text.clone().into_bytes();
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len());
            match rng.below(3) {
                0 => bytes[at] = rng.bytes(1)[0],
                1 => bytes.insert(at, odd[rng.below(odd.len())]),
                _ => drop(bytes.remove(at)),
            }
        }
        let Ok(Some((head, consumed))) = read(&bytes) else {
            continue;
        };
        accepted += 1;
        assert!(consumed <= bytes.len() && bytes[..consumed].ends_with(b"\r\n\r\n"));
        assert!(head.headers().filter(|(name, _)| name.eq_ignore_ascii_case("host")).count() == 1);
        let lines = bytes[..consumed].split(|byte| *byte == b'\n');
        assert!(lines.rev().skip(1).all(|line| line.ends_with(b"\r")), "seed {seed}");
        assert!(!head.path().is_empty());
    }
    assert!(accepted > 1000, "{accepted}");
}
