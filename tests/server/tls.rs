//! TLS of the workers: handshakes, their ends, what moves between cores, new certificates.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use corewire::base::CoreId;
use corewire::config::Options;
use corewire::server::Server;
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, version};

use crate::fixture::{Fixture, StopAtEnd, eventually, options, start_server};
use crate::pki::{Pki, serial};
use crate::polling::Polling;
use crate::wire::{Heard, POLLING, Wire, Ws, core_of, get, post};

fn secure(workers: u16, pki: &Pki) -> Options {
    Options {
        tls_listen: vec!["127.0.0.1:0".parse().expect("an address")],
        tls_cert_file: pki.certificate(),
        tls_key_file: pki.key(),
        tls_watch_ms: 100,
        ..options(workers)
    }
}

fn start(options: Options) -> Fixture {
    start_server(options, |server: Server| server)
}

fn connect(fixture: &Fixture, config: &Arc<ClientConfig>) -> Wire {
    Wire::connect_tls(fixture.tls, config).expect("the handshake completes")
}

fn joined(fixture: &Fixture, config: &Arc<ClientConfig>) -> Ws {
    let mut client = Ws::open_on(connect(fixture, config));
    client.join("/", "");
    client
}

#[test]
fn websocket_and_polling_over_both_versions() {
    let pki = Pki::new();
    let fixture = start(secure(1, &pki));
    for (spoken, number) in
        [(&version::TLS13, ProtocolVersion::TLSv1_3), (&version::TLS12, ProtocolVersion::TLSv1_2)]
    {
        let config = pki.client_with(&[spoken], &["h2", "http/1.1"]);
        let mut client = joined(&fixture, &config);
        assert_eq!(client.wire.tls().protocol_version(), Some(number));
        assert_eq!(client.wire.tls().alpn_protocol(), Some(b"http/1.1".as_slice()));
        assert!(client.is_well());
        assert_eq!(client.ask(r#"["is-secure"]"#)[0], true);
        let long = "x".repeat(300_000);
        assert_eq!(client.ask(&format!(r#"["echo","{long}"]"#))[0], long.as_str());

        let mut wire = connect(&fixture, &config);
        wire.send(&get(POLLING));
        let reply = wire.reply();
        assert_eq!(reply.status, 200);
        wire.send(&get("/healthz"));
        assert_eq!(wire.reply().status, 200, "REST goes through the same door");
    }
    let mut plain = Ws::connect(fixture.address);
    assert_eq!(plain.ask(r#"["is-secure"]"#)[0], false);
    assert_eq!(fixture.metric("corewire_tls_handshakes_total"), 4);
    assert_eq!(fixture.metric("corewire_tls_failures_total"), 0);
}

#[test]
fn a_client_that_offers_no_protocol_of_ours_is_refused() {
    let pki = Pki::new();
    let fixture = start(secure(1, &pki));
    let config = pki.client_with(&[&version::TLS13], &["h2"]);
    let refused = Wire::connect_tls(fixture.tls, &config).err().expect("nothing is in common");
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
    eventually("it is counted", || ended(&fixture, "tls_rule") == 1);
    assert!(joined(&fixture, &pki.client()).is_well());
}

/// How often connections have ended so.
fn ended(fixture: &Fixture, label: &str) -> u64 {
    fixture.ended(label)
}

#[test]
fn plain_http_on_the_port_is_told_so_and_other_noise_is_not() {
    let pki = Pki::new();
    let fixture = start(secure(1, &pki));
    let mut wire = Wire::connect(fixture.tls);
    wire.send(&get(POLLING));
    let reply = wire.reply();
    assert_eq!((reply.status, reply.text().contains("TLS")), (400, true));
    assert!(wire.is_closed());
    let mut wire = Wire::connect(fixture.tls);
    wire.send(&[0x80, 0x2e, 1, 0, 2]);
    assert!(wire.is_closed());
    // A record of a handshake in which nothing is one.
    let mut wire = Wire::connect(fixture.tls);
    wire.send(&[0x16, 3, 1, 0, 4, 9, 9, 9, 9]);
    let _alert = wire.try_reply();
    eventually("they are counted", || {
        (ended(&fixture, "tls_plain"), ended(&fixture, "tls_rule")) == (2, 1)
    });
    assert_eq!(fixture.metric("corewire_tls_failures_total"), 3);
    assert_eq!(fixture.metric("corewire_handshakes_open"), 0);
    assert!(joined(&fixture, &pki.client()).is_well());
}

#[test]
fn handshakes_that_do_not_go_on_end_in_time_and_are_bounded_in_number() {
    let pki = Pki::new();
    let limits = Options { request_timeout_ms: 400, tls_handshakes_max: 3, ..secure(1, &pki) };
    let fixture = start(limits);
    let mut client = joined(&fixture, &pki.client());
    let mut silent = Wire::connect(fixture.tls);
    let mut slow = Wire::connect(fixture.tls);
    slow.send(&[0x16, 3, 1]);
    let mut third = Wire::connect(fixture.tls);
    eventually("three are half open", || fixture.metric("corewire_handshakes_open") == 3);
    let mut fourth = Wire::connect(fixture.tls);
    assert!(silent.is_closed(), "who is late for longest makes room");
    eventually("it is counted", || ended(&fixture, "entrance_full") == 1);
    assert!(client.is_well(), "those that are through do not notice");
    for wire in [&mut slow, &mut third, &mut fourth] {
        assert!(wire.is_closed());
    }
    assert_eq!(ended(&fixture, "tls_slow"), 3);
    assert_eq!(fixture.metric("corewire_handshakes_open"), 0);
    assert!(joined(&fixture, &pki.client()).is_well(), "there is room again");
}

#[test]
fn a_crowd_of_many_times_the_entrance_is_let_in_by_and_by() {
    let pki = Pki::new();
    let fixture = start(Options { tls_handshakes_max: 8, ..secure(1, &pki) });
    let config = pki.client();
    let greet = || Wire::greet_tls(fixture.tls, &config).expect("the kernel takes it");
    // All have spoken, and wait for an answer or at the listener, before anyone goes on.
    let crowd: Vec<Wire> = (0..64).map(|_| greet()).collect();
    for wire in crowd {
        let mut wire = wire.complete_tls().expect("nobody is thrown out");
        wire.send(&get("/healthz"));
        assert_eq!(wire.reply().status, 200);
    }
    assert_eq!((ended(&fixture, "entrance_full"), ended(&fixture, "tls_slow")), (0, 0));
    assert!(fixture.metric("corewire_entrance_pauses_total") > 0);
    assert_eq!(fixture.metric("corewire_tls_handshakes_total"), 64);
}

#[test]
fn a_crowd_that_only_stands_in_the_door_keeps_nobody_out_for_long() {
    let pki = Pki::new();
    let fixture = start(Options { tls_handshakes_max: 8, ..secure(1, &pki) });
    let began = Instant::now();
    let mut crowd: Vec<Wire> = (0..32).map(|_| Wire::connect(fixture.tls)).collect();
    for wire in crowd.iter_mut().step_by(2) {
        wire.send(&[0x16, 3, 1]);
    }
    assert!(joined(&fixture, &pki.client()).is_well());
    // Before the time for a handshake is over, which would make room as well.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(ended(&fixture, "tls_slow"), 0);
    assert!(ended(&fixture, "entrance_full") >= 25, "it came behind 32 to eight places");
    assert!(crowd[1].is_closed() && crowd[0].is_closed());
}

#[test]
fn who_waits_at_a_full_entrance_is_let_in_before_the_listener_closes() {
    let pki = Pki::new();
    let fixture = start(Options { tls_handshakes_max: 2, drain_ms: 8_000, ..secure(1, &pki) });
    let config = pki.client();
    // A request that is half here keeps the drain from being over before.
    let target = Polling::open(fixture.address).target();
    let mut half = Wire::connect(fixture.address);
    let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n4");
    half.send(head.as_bytes());
    let mut in_the_door = [Wire::connect(fixture.tls), Wire::connect(fixture.tls)];
    for wire in &mut in_the_door {
        wire.send(&[0x16, 3, 1]);
    }
    eventually("it is full", || fixture.metric("corewire_handshakes_open") == 2);
    let greet = || Wire::greet_tls(fixture.tls, &config).expect("the kernel takes it");
    let waiting = [greet(), greet(), greet(), greet()];
    eventually("they wait", || fixture.metric("corewire_entrance_pauses_total") > 0);
    assert_eq!(fixture.metric("corewire_tls_handshakes_total"), 0);
    std::thread::scope(|threads| {
        let stopping = threads.spawn(move || drop(fixture));
        for wire in waiting {
            wire.complete_tls().expect("its place came free in time");
        }
        half.send(b"0");
        stopping.join().expect("it stops");
    });
}

#[test]
fn a_head_may_not_drip_after_the_handshake_either() {
    let pki = Pki::new();
    let limits = Options { request_timeout_ms: 300, ..secure(1, &pki) };
    let fixture = start(limits);
    let mut wire = connect(&fixture, &pki.client());
    wire.send(b"GET / HT");
    assert_eq!(wire.reply().status, 408);
    assert!(wire.is_closed());
}

#[test]
fn a_ticket_saves_a_handshake_on_whichever_core() {
    let pki = Pki::new();
    let fixture = start(secure(2, &pki));
    let config = pki.client();
    drop(joined(&fixture, &config));
    for _ in 0..8 {
        let mut client = joined(&fixture, &config);
        assert_eq!(client.wire.tls().handshake_kind(), Some(HandshakeKind::Resumed));
        assert!(client.is_well());
    }
    assert_eq!(fixture.metric("corewire_tls_resumed_total"), 8);
}

#[test]
fn a_connection_moves_to_its_sessions_core_with_its_tls() {
    let pki = Pki::new();
    let fixture = start(secure(2, &pki));
    let config = pki.client();
    let mut wires = 0;
    for core in [CoreId(0), CoreId(1)] {
        // A session on this core, and requests on connections that the kernel deals by chance.
        let sid = loop {
            let mut wire = connect(&fixture, &config);
            wires += 1;
            wire.send(&get(POLLING));
            let open = wire.reply().text();
            let open: serde_json::Value = serde_json::from_str(&open[1..]).expect("JSON");
            let sid = open["sid"].as_str().expect("it names the session").to_owned();
            if core_of(&sid) == core {
                break sid;
            }
        };
        let target = format!("{POLLING}&sid={sid}");
        for number in 0..8 {
            let mut wire = connect(&fixture, &config);
            wires += 1;
            // Two at once: what follows the first is moved along.
            let event = if number == 0 { "40" } else { r#"42["relay",1]"# };
            wire.send(&[post(&target, event), get(&target)].concat());
            assert_eq!(wire.reply().text(), "ok");
            if number == 0 {
                assert_eq!(wire.reply().status, 200);
                continue;
            }
            // The poll waits; an ack in another post answers it.
            let mut other = connect(&fixture, &config);
            wires += 1;
            other.send(&post(&target, r#"427["is-secure"]"#));
            assert_eq!(other.reply().text(), "ok");
            assert_eq!(wire.reply().text(), "437[true]");
        }
    }
    assert!(fixture.metric("corewire_handovers_in_total") > 0, "some of them moved");
    assert!(wires < 200);
    assert_eq!(fixture.metric("corewire_tls_failures_total"), 0);
}

#[test]
fn a_new_certificate_is_taken_under_traffic_and_a_bad_one_is_not() {
    let pki = Pki::new();
    let fixture = start(secure(1, &pki));
    let fresh = || pki.client();
    let shown = |fixture: &Fixture| {
        let wire = connect(fixture, &fresh());
        serial(wire.tls().peer_certificates())
    };
    assert_eq!(shown(&fixture), 1);
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let _stop = StopAtEnd(&stop);
        let talkers: Vec<_> = (0..2)
            .map(|_| {
                let mut client = joined(&fixture, &fresh());
                let stop = &stop;
                threads.spawn(move || {
                    let mut asked = 0_u32;
                    while !stop.load(Ordering::Relaxed) {
                        assert!(client.is_well());
                        asked += 1;
                    }
                    asked
                })
            })
            .collect();
        for number in 2..5 {
            pki.issue(number);
            eventually("the new one is shown", || shown(&fixture) == number);
        }
        pki.spoil();
        let refused = || fixture.metric("corewire_tls_reload_failures_total");
        eventually("a bad one is counted", || refused() >= 1);
        assert_eq!(shown(&fixture), 4, "the one before is kept");
        pki.issue(9);
        eventually("a good one again", || shown(&fixture) == 9);
        stop.store(true, Ordering::Relaxed);
        for talker in talkers {
            assert!(talker.join().expect("its connection lived through all that") > 0);
        }
    });
    assert!(fixture.metric("corewire_tls_reloads_total") >= 4);
    assert!(fixture.metric("corewire_tls_certificate_ends_seconds") > 1_700_000_000);
}

#[test]
fn tickets_of_before_are_good_after_a_new_certificate() {
    let pki = Pki::new();
    let fixture = start(secure(1, &pki));
    let config = pki.client();
    assert!(joined(&fixture, &config).is_well());
    pki.issue(2);
    eventually("the new one is in use", || fixture.metric("corewire_tls_reloads_total") == 1);
    let mut client = joined(&fixture, &config);
    assert_eq!(client.wire.tls().handshake_kind(), Some(HandshakeKind::Resumed));
    assert!(client.is_well());
}

#[test]
fn a_slow_reader_is_cut_as_without_tls_and_an_ending_says_goodbye() {
    let pki = Pki::new();
    let limits =
        Options { outbox_bytes_max: 1 << 20, outbox_soft_bytes: 1 << 16, ..secure(1, &pki) };
    let fixture = start(limits);
    let config = pki.client();
    let narrow = Wire::connect_narrow(fixture.tls).over_tls(&config).expect("a handshake");
    let mut slow = Ws::open_on(narrow);
    slow.join("/", "");
    slow.ask(r#"["join","a"]"#);
    let mut other = joined(&fixture, &config);
    other.ask(r#"["join","a"]"#);
    let mut number = 0;
    eventually("it is cut", || {
        number += 1;
        other.ask(&format!(r#"["pad","a",{number},60000]"#));
        ended(&fixture, "slow_bytes") == 1
    });
    assert!(other.is_well());
    // The close frame and the goodbye of TLS come before the end of the stream.
    other.text("41");
    let mut client = joined(&fixture, &config);
    client.text("garbage");
    assert_eq!(client.wire.heard(), Heard::Closed(None));
    assert!(client.wire.is_closed(), "without an error of TLS");
}

#[test]
fn what_cannot_be_used_keeps_it_from_starting() {
    let pki = Pki::new();
    let good = secure(1, &pki);
    let start = |options: Options| {
        let app = |_io: &corewire::api::Io| corewire::api::App::new();
        Server::new(options, app).start().err().expect("it does not start").to_string()
    };
    let missing = Options { tls_cert_file: String::from("/nowhere.pem"), ..good.clone() };
    assert!(start(missing).starts_with("tls_cert_file = \"/nowhere.pem\""));
    let other = Pki::new();
    let unfit = start(Options { tls_key_file: other.key(), ..good.clone() });
    assert!(unfit.starts_with("tls_key_file") && !unfit.contains('\n'), "{unfit}");
    assert!(unfit.contains(&pki.certificate()) && unfit.contains(&other.key()), "{unfit}");
    let none = start(Options { tls_key_file: String::new(), ..good });
    assert!(none.contains("tls_key_file"), "{none}");
}

#[test]
fn a_connection_that_breaks_at_its_handshake_is_gone() {
    let pki = Pki::new();
    let fixture = start(secure(1, &pki));
    for _ in 0..20 {
        let mut wire = Wire::connect(fixture.tls);
        // The greeting of a client that is cut off in it.
        wire.send(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
        wire.reset();
    }
    let open = || fixture.metric("corewire_handshakes_open");
    eventually("none is left", || open() == 0 && fixture.metric("corewire_connections") == 0);
    let closed = Wire::connect_tls(fixture.tls, &pki.client());
    assert!(closed.is_ok_and(|mut wire| {
        wire.send(&get("/healthz"));
        wire.reply().status == 200
    }));
    let error = Wire::connect_tls(fixture.address, &pki.client()).err();
    let error = error.expect("no TLS on the plain port");
    assert_ne!(error.kind(), ErrorKind::WouldBlock, "it is refused and does not hang");
}
