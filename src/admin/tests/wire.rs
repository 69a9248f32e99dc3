//! From bytes to bytes, on either listener.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::super::{Admin, call, router, serve};
use super::fake::World;
use super::key;
use crate::config::Scope;

const PEER: ([u8; 4], u16) = ([203, 0, 113, 9], 4_711);

/// Head lines and body of a response whose length is as announced.
fn read(bytes: &[u8]) -> (Vec<String>, String) {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split("\r\n").map(str::to_ascii_lowercase).collect(), body.to_owned())
}

fn forward(world: &World, head: &str, body: &str) -> (Vec<String>, String, bool) {
    let router = router(&world.admin);
    let answer = call(&router, head.as_bytes(), body.as_bytes().to_vec(), PEER.into());
    let (bytes, keep_alive) = world.run(answer);
    let (head, body) = read(&bytes);
    let connection = if keep_alive { "connection: keep-alive" } else { "connection: close" };
    assert_eq!(head.iter().filter(|line| *line == connection).count(), 1, "{head:?}");
    let lengths: Vec<_> = head.iter().filter(|line| line.starts_with("content-length")).collect();
    if head[0].contains(" 204") {
        assert!(lengths.is_empty());
    } else if !body.is_empty() {
        assert_eq!(lengths, [&format!("content-length: {}", body.len())]);
    }
    (head, body, keep_alive)
}

#[test]
fn a_forwarded_request_is_answered_in_bytes() {
    let world = World::new(2, |admin| {
        admin.keys = vec![key("owner", "admin-secret", &[Scope::Admin])];
    });
    let (head, body, keep_alive) = forward(
        &world,
        "POST /socket/rooms HTTP/1.1\r\nHost: x\r\nX-API-Key: admin-secret\r\n\
         Content-Type: application/json\r\nContent-Length: 25\r\n\r\n",
        r#"{"roomId":"r","name":"R"}"#,
    );
    assert_eq!((head[0].as_str(), keep_alive), ("http/1.1 201 created", true));
    assert!(body.starts_with(r#"{"success":true,"#), "{body}");
    assert!(head.contains(&"content-type: application/json".to_owned()));

    let (head, ..) = forward(
        &world,
        "POST /socket/rooms HTTP/1.1\r\nHost: x\r\nX-API-Key: admin-secret\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        r#"{"roomId":"r","name":"R"}"#,
    );
    assert_eq!(head[0], "http/1.1 200 ok", "the coding has been taken off before");
}

#[test]
fn forwarded_requests_of_every_kind_get_a_whole_answer() {
    let world = World::new(1, |admin| {
        admin.keys = vec![key("owner", "admin-secret", &[Scope::Admin])];
        admin.cors_origins = vec!["https://a.example".into()];
    });
    for (request, status, lives) in [
        ("GET /socket/stats HTTP/1.1\r\nHost: x\r\n\r\n", "401 unauthorized", true),
        (
            "GET /socket/stats HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            "401 unauthorized",
            false,
        ),
        ("GET /socket/health HTTP/1.0\r\n\r\n", "200 ok", false),
        ("GET /socket/health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "200 ok", true),
        ("GET http://x/socket/health HTTP/1.1\r\nHost: x\r\n\r\n", "200 ok", true),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "404 not found", true),
        ("GET /socket/users/%zz%/connected HTTP/1.1\r\nHost: x\r\n\r\n", "401 unauthorized", true),
        (
            "OPTIONS /socket/rooms HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\n\r\n",
            "204 no content",
            true,
        ),
        ("BREW /socket/rooms HTTP/1.1\r\nHost: x\r\n\r\n", "405 method not allowed", true),
        ("not a request\r\n\r\n", "400 bad request", false),
        ("GET /socket/stats HTTP/1.1\r\nHost: x\r\n", "400 bad request", false),
    ] {
        let (head, _, keep_alive) = forward(&world, request, "");
        assert_eq!((head[0].as_str(), keep_alive), (format!("http/1.1 {status}").as_str(), lives));
    }
}

#[test]
fn the_answer_to_head_has_the_length_of_the_one_to_get() {
    let world = World::new(1, |_| {});
    let get = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let (_, whole, _) = forward(&world, get, "");
    let (head, body, _) = forward(&world, &get.replace("GET", "HEAD"), "");
    assert!(head.contains(&format!("content-length: {}", whole.len())), "{head:?}");
    assert_eq!(body, "");
}

#[test]
fn noise_from_outside_is_answered_and_never_panics() {
    let world = World::new(1, |_| {});
    let router = router(&world.admin);
    let mut rng = crate::base::Rng::new(3, 5);
    let seed = b"POST /socket/rooms/join?limit=%F0&x HTTP/1.1\r\nHost: x\r\nVia: \xff\r\n\r\n";
    for _ in 0..2_000 {
        let mut head = seed.to_vec();
        for _ in 0..rng.below(4) {
            let at = rng.below(head.len());
            head[at] = rng.bytes(1)[0];
        }
        head.truncate(head.len() - rng.below(2) * rng.below(head.len()));
        let len = rng.below(40);
        let body = rng.bytes(len);
        let (bytes, _) = world.run(call(&router, &head, body, PEER.into()));
        assert!(bytes.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&bytes));
    }
}

fn listen(world: &World) -> (TcpListener, SocketAddr, std::sync::Arc<Admin>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address, std::sync::Arc::clone(&world.admin))
}

/// Serves while a client of another thread does what it does.
fn with_server<T: Send + 'static>(
    world: &World,
    client: impl FnOnce(SocketAddr) -> T + Send + 'static,
) -> T {
    let (listener, address, admin) = listen(world);
    let (done, ended) = tokio::sync::oneshot::channel::<()>();
    let client = std::thread::spawn(move || {
        let result = client(address);
        drop(done);
        result
    });
    let shutdown = async { drop(ended.await) };
    world.run(serve(vec![listener], admin, shutdown)).unwrap();
    client.join().unwrap()
}

fn talk(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // A reset behind a refusal is an end too.
    let _end = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn the_admin_listener_serves_http_and_bounds_it() {
    let world = World::new(1, |admin| admin.request_timeout = Duration::from_millis(300));
    let answers = with_server(&world, |address| {
        let host = format!("Host: {address}\r\n");
        let two = format!(
            "GET /healthz HTTP/1.1\r\n{host}\r\nPOST /socket/rooms HTTP/1.1\r\n{host}\
             Content-Type: application/json\r\nConnection: close\r\nTransfer-Encoding: chunked\
             \r\n\r\n19\r\n{{\"roomId\":\"r\",\"name\":\"R\"}}\r\n0\r\n\r\n"
        );
        let headers: String = (0..70).map(|n| format!("h{n}: 1\r\n")).collect();
        let long = "x".repeat(40_000);
        let began = Instant::now();
        let slow_head = talk(address, b"GET /healthz HTTP/1.1\r\n");
        let slow_body = format!(
            "POST /socket/rooms HTTP/1.1\r\n{host}Content-Type: application/json\r\n\
             Content-Length: 25\r\n\r\n{{"
        );
        let slow_body = talk(address, slow_body.as_bytes());
        assert!(began.elapsed() < Duration::from_secs(5), "nobody is waited for");
        [
            talk(address, two.as_bytes()),
            talk(address, format!("GET / HTTP/1.1\r\n{host}{headers}\r\n").as_bytes()),
            talk(address, format!("GET / HTTP/1.1\r\n{host}x: {long}\r\n\r\n").as_bytes()),
            slow_head,
            slow_body,
        ]
        .map(|answer| String::from_utf8(answer).unwrap())
    });
    let [two, many_headers, long_head, slow_head, slow_body] = answers;
    assert!(two.starts_with("HTTP/1.1 200 OK"), "{two}");
    assert!(two.contains("HTTP/1.1 201 Created"), "{two}");
    assert!(many_headers.starts_with("HTTP/1.1 431"), "{many_headers}");
    assert!(long_head.starts_with("HTTP/1.1 431"), "{long_head}");
    assert!(!slow_head.contains(" 200 "), "{slow_head}");
    assert!(slow_body.contains("REQUEST_TIMEOUT"), "{slow_body}");
}

#[test]
fn an_idle_connection_does_not_hold_the_end_up() {
    let world = World::new(1, |_| {});
    let began = Instant::now();
    let stream = with_server(&world, |address| {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        assert!(stream.read(&mut [0; 2_048]).unwrap() > 0);
        stream
    });
    assert!(began.elapsed() < Duration::from_millis(1_500));
    let mut stream = stream;
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0, "it has been closed");
}

/// What the public listener refuses and this one, which is hyper's, takes: the page on TLS says so.
/// A request without its one `Host` is refused by both.
#[test]
fn the_admin_listener_is_less_strict_than_the_public_one() {
    let world = World::new(1, |admin| {
        admin.keys = vec![key("owner", "admin-secret", &[Scope::Admin])];
    });
    let begin = "POST /socket/rooms HTTP/1.1\r\nX-API-Key: admin-secret\r\n\
                 Content-Type: application/json\r\nConnection: close\r\n";
    let body = r#"{"roomId":"r","name":"R"}"#;
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n19\r\n{body}\r\n0\r\n\r\n");
    let length = "Content-Length: 25\r\n";
    let taken = [
        format!("{begin}Host: x\r\n{length}{length}\r\n{body}"),
        format!("{begin}Host: x\r\nContent-Length: 3\r\n{chunked}"),
        format!("{begin}Host: x\r\n{}", chunked.replace("chunked", "gzip, chunked")),
        format!("{begin}Host: x\r\n{length}\r\n").replace('\r', "") + body,
        format!("{begin}{length}\r\n{body}").replace("HTTP/1.1", "HTTP/1.0"),
    ];
    let refused = [
        format!("{begin}{length}\r\n{body}"),
        format!("{begin}Host: x\r\nHost: x\r\n{length}\r\n{body}"),
        format!("{begin}Host: x, y\r\n{length}\r\n{body}"),
        format!("{begin}Host: x\r\n{length}Content-Length: 26\r\n\r\n{body}"),
        format!("{begin}Host : x\r\n{length}\r\n{body}"),
        "NONSENSE\r\n\r\n".to_owned(),
    ];
    let metrics = "GET /metrics HTTP/1.1\r\nHost: x\r\nX-API-Key: admin-secret\r\n\
                   Connection: close\r\n\r\n";
    let numbers = with_server(&world, move |address| {
        let text = |bytes: &str| String::from_utf8(talk(address, bytes.as_bytes())).unwrap();
        for (requests, status) in [(&taken[..], "20"), (&refused, "400")] {
            for request in requests {
                let answer = text(request);
                let code = answer.split(' ').nth(1).unwrap();
                assert!(code.starts_with(status), "{request}: {answer}");
            }
        }
        text(metrics)
    });
    // What is refused at the door never comes to where calls are counted.
    for line in [
        "rest_calls_total{core=\"1\"} 5\n",
        "rest_errors_total{core=\"1\"} 0\n",
        "admin_refused_total{core=\"1\"} 6\n",
        "admin_connections_opened_total{core=\"1\"} 12\n",
        "admin_connections_closed_total{core=\"1\"} 11\n",
    ] {
        assert!(numbers.contains(line), "{line:?} is missing: {numbers}");
    }
}

/// A number that stands in the metrics.
fn metric(address: SocketAddr, name: &str) -> u64 {
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n");
    let text = String::from_utf8(talk(address, request.as_bytes())).unwrap();
    let line =
        text.lines().find(|line| line.starts_with(&format!("corewire_{name}{{core=\"1\"}}")));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn who_does_not_read_an_answer_is_not_waited_for() {
    let world = World::new(1, |admin| admin.answer_timeout = Duration::from_millis(200));
    with_server(&world, |address| {
        let mut silent = TcpStream::connect(address).unwrap();
        // More answers than the kernel keeps for one that does not read.
        let request = format!("GET /openapi.json HTTP/1.1\r\nHost: {address}\r\n\r\n");
        silent.write_all(request.repeat(500).as_bytes()).unwrap();
        let began = Instant::now();
        while metric(address, "admin_unread_total") == 0 {
            assert!(began.elapsed() < Duration::from_secs(10), "it is waited for");
        }
        silent.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut answers = Vec::new();
        let cut = silent.read_to_end(&mut answers);
        assert!(cut.is_ok() || cut.is_err_and(|why| why.kind() == ErrorKind::ConnectionReset));
        let answered = answers.windows(12).filter(|part| part == b"HTTP/1.1 200").count();
        assert!((1..500).contains(&answered), "{answered}");
        assert_eq!(metric(address, "admin_unread_total"), 1);
    });
}

#[test]
fn who_reads_late_has_every_answer() {
    let world = World::new(1, |_| {});
    with_server(&world, |address| {
        let mut late = TcpStream::connect(address).unwrap();
        late.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let request = format!("GET /openapi.json HTTP/1.1\r\nHost: {address}\r\n\r\n");
        late.write_all(request.repeat(499).as_bytes()).unwrap();
        late.write_all(request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes())
            .unwrap();
        // By then the kernel has taken all that it takes.
        assert_eq!(metric(address, "admin_unread_total"), 0);
        let mut answers = Vec::new();
        late.read_to_end(&mut answers).unwrap();
        let answered = answers.windows(12).filter(|part| part == b"HTTP/1.1 200").count();
        assert_eq!(answered, 500);
    });
}
