//! Proxies in front: the PROXY header, forwarded addresses, and who is believed.

use std::net::SocketAddr;

use corewire::config::{ForwardedHeader, Options};
use rustix::process::Signal;

use crate::fixture::{Fixture, eventually, metric, options, start_with};
use crate::pki::Pki;
use crate::program::Program;
use crate::wire::{POLLING, Wire, Ws, get};

/// A PROXY header, version 2, of a client at an IPv4 address.
fn header(client: [u8; 4], port: u16) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    bytes.extend_from_slice(&client);
    bytes.extend_from_slice(&[127, 0, 0, 1]);
    bytes.extend_from_slice(&port.to_be_bytes());
    bytes.extend_from_slice(&443_u16.to_be_bytes());
    bytes
}

fn address_of(client: &mut Ws) -> String {
    client.ask(r#"["address"]"#)[0].as_str().expect("an address").to_owned()
}

fn behind(trusted: &[&str]) -> Options {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    Options {
        proxy_listen: vec![any],
        trusted_proxies: trusted.iter().map(|network| (*network).to_owned()).collect(),
        ..options(1)
    }
}

fn session(fixture: &Fixture, lines: &str) -> Ws {
    let mut wire = Wire::connect(fixture.address);
    wire.send(
        format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\n\
             Upgrade: websocket\r\nConnection: Upgrade\r\n{lines}\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        .as_bytes(),
    );
    let mut client = Ws::answered(wire);
    client.join("/", "");
    client
}

#[test]
fn a_proxy_header_says_who_the_client_is_at_any_cut() {
    let fixture = start_with(behind(&["127.0.0.0/8"]));
    for cut in [0, 1, 15, 16, 27, 28] {
        let bytes = header([198, 51, 100, 7], 1234);
        let mut wire = Wire::connect(fixture.address);
        wire.send(&bytes[..cut]);
        wire.send(&bytes[cut..]);
        let mut client = Ws::open_on(wire);
        client.join("/", "");
        assert_eq!(address_of(&mut client), "198.51.100.7");
        assert!(client.is_well());
    }
    // A check of the proxy itself: it is who is there.
    let mut wire = Wire::connect(fixture.address);
    wire.send(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00");
    wire.send(&get("/healthz"));
    assert_eq!(wire.reply().status, 200);
    assert_eq!(fixture.metric("corewire_proxy_headers_total"), 7);
    assert_eq!(fixture.metric("corewire_handshakes_open"), 0);
}

#[test]
fn what_is_no_header_ends_and_is_counted() {
    let limits = Options { request_timeout_ms: 300, ..behind(&["127.0.0.1"]) };
    let fixture = start_with(limits);
    for bytes in [
        get(POLLING),
        b"PROXY TCP4 198.51.100.7 127.0.0.1 1 2\r\n".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x0c".to_vec(),
    ] {
        let mut wire = Wire::connect(fixture.address);
        wire.send(&bytes);
        assert!(wire.is_closed(), "{}", bytes.escape_ascii());
    }
    let mut slow = Wire::connect(fixture.address);
    slow.send(b"\r\n\r\n");
    assert!(slow.is_closed());
    assert_eq!(fixture.ended("proxy_rule"), 5);
}

#[test]
fn nobody_else_may_connect_where_proxies_do() {
    let fixture = start_with(behind(&["203.0.113.0/24"]));
    let mut wire = Wire::connect(fixture.address);
    let _refused = wire.try_send(&header([198, 51, 100, 7], 1));
    assert!(wire.is_closed());
    eventually("it is counted", || fixture.ended("proxy_untrusted") == 1);
}

#[test]
fn connections_are_counted_by_the_address_that_the_header_names() {
    let limits = Options { address_conns_max: 2, ..behind(&["127.0.0.1"]) };
    let fixture = start_with(limits);
    let connect = |last| {
        let mut wire = Wire::connect(fixture.address);
        wire.send(&header([198, 51, 100, last], 1));
        wire
    };
    let mut kept: Vec<Ws> = Vec::new();
    for last in [1, 1, 2, 2, 3] {
        kept.push(Ws::open_on(connect(last)));
    }
    assert!(connect(1).is_closed(), "its third is one too many");
    assert_eq!(fixture.ended("address_full"), 1);
    kept.remove(0);
    eventually("there is room again", || {
        let mut wire = connect(1);
        let _closed = wire.try_send(&get(POLLING));
        wire.try_reply().is_ok_and(|reply| reply.status == 200)
    });
}

#[test]
fn tls_may_follow_the_header() {
    let pki = Pki::new();
    let fixture = start_with(Options {
        tls_listen: vec!["127.0.0.1:0".parse().expect("an address")],
        tls_cert_file: pki.certificate(),
        tls_key_file: pki.key(),
        ..behind(&["127.0.0.1"])
    });
    let mut wire = Wire::connect(fixture.tls);
    wire.send(&header([198, 51, 100, 7], 1234));
    let mut client = Ws::open_on(wire.over_tls(&pki.client()).expect("a handshake"));
    client.join("/", "");
    assert_eq!(address_of(&mut client), "198.51.100.7");
    assert_eq!(client.ask(r#"["is-secure"]"#)[0], true);
}

#[test]
fn forwarded_addresses_are_believed_of_trusted_proxies_only() {
    let lines = "X-Forwarded-For: 9.9.9.9, 198.51.100.7\r\nX-Forwarded-Proto: https\r\n\
                 Forwarded: for=192.0.2.1;proto=https\r\n";
    let with = |trusted: &[&str], forwarded_header| Options {
        proxy_listen: Vec::new(),
        forwarded_header,
        ..behind(trusted)
    };
    for (options, address, secure) in [
        (with(&[], ForwardedHeader::XForwardedFor), "127.0.0.1", false),
        (with(&["10.0.0.0/8"], ForwardedHeader::XForwardedFor), "127.0.0.1", false),
        (with(&["127.0.0.1"], ForwardedHeader::XForwardedFor), "198.51.100.7", true),
        (with(&["127.0.0.0/8"], ForwardedHeader::Forwarded), "192.0.2.1", true),
    ] {
        let fixture = start_with(options);
        let mut client = session(&fixture, lines);
        assert_eq!(address_of(&mut client), address);
        assert_eq!(client.ask(r#"["is-secure"]"#)[0], secure);
    }
}

#[test]
fn handshakes_are_limited_by_the_client_and_not_by_its_proxy() {
    let fixture = start_with(Options {
        address_handshakes_per_s: 1,
        address_handshakes_burst: 1,
        proxy_listen: Vec::new(),
        ..behind(&["127.0.0.1"])
    });
    let status = |client: &str| {
        let mut wire = Wire::connect(fixture.address);
        let head =
            format!("GET {POLLING} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n\r\n");
        wire.send(head.as_bytes());
        wire.reply().status
    };
    assert_eq!(["1.1.1.1", "1.1.1.2", "1.1.1.3"].map(&status), [200; 3]);
    assert_eq!(status("1.1.1.1"), 429);
    // One that cannot be read is counted, and its proxy is taken for the client.
    assert_eq!(status("unknown"), 200);
    assert_eq!(fixture.metric("corewire_forwarded_garbled_total"), 1);
}

#[test]
fn a_proxy_that_nobody_has_named_is_told_of_once() {
    let ignored = "corewire_forwarded_ignored_total";
    let warning = "forwarded address ignored";
    let begin = |program: &Program, lines: &str| {
        let mut wire = Wire::connect(program.address);
        wire.send(format!("GET {POLLING} HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes());
        assert_eq!(wire.reply().status, 200);
    };
    let forwarded = "X-Forwarded-For: 198.51.100.7\r\n";
    let mut program = Program::start(&["--workers=2"]);
    begin(&program, "");
    assert_eq!(metric(program.admin, ignored), 0);
    // On both workers, most likely; one of them tells.
    (0..16).for_each(|_| begin(&program, forwarded));
    assert_eq!(metric(program.admin, ignored), 16);
    let line = program.logged(warning);
    for words in [" warn ", "peer=127.0.0.1", "set trusted_proxies"] {
        assert!(line.contains(words), "{words:?} is missing: {line}");
    }
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code(), 0);
    assert!(!program.rest_of_log().contains(warning), "it was told once");

    let program = Program::start(&["--trusted-proxies=127.0.0.1"]);
    begin(&program, forwarded);
    assert_eq!(metric(program.admin, ignored), 0);
}
