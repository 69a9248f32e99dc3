//! Rounds of a worker: ends that come with the last words, floods beside newcomers, broken peers.

use std::net::Shutdown;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use corewire::config::{Driver, Options};
use corewire::ws::Kind;

use crate::fixture::{StopAtEnd, eventually, flood, options, start_with};
use crate::wire::{Heard, Wire, Ws, frame, get};

#[test]
fn who_speaks_and_shuts_at_once_gets_its_answers() {
    let fixture = start_with(options(1));
    let mut words = Vec::new();
    for number in 1..=3 {
        words.extend(frame(Kind::Text, format!(r#"42{number}["whoami"]"#).as_bytes()));
    }
    for _ in 0..100 {
        let mut client = Ws::connect(fixture.address);
        client.wire.send(&words);
        client.wire.shut(Shutdown::Write);
        for number in 1..=3 {
            assert!(client.packet().starts_with(&format!("43{number}[")));
        }
        assert!(matches!(client.heard(), Heard::Closed(_)));
    }
}

#[test]
fn requests_behind_each_other_are_answered_although_their_sender_is_done() {
    let fixture = start_with(options(2));
    for _ in 0..20 {
        let mut wire = Wire::connect(fixture.address);
        wire.send(&get("/socket.io/?EIO=4&transport=polling").repeat(20));
        wire.shut(Shutdown::Write);
        for _ in 0..20 {
            assert_eq!(wire.reply().status, 200);
        }
    }
}

#[test]
fn a_mark_of_urgent_data_does_not_end_a_request() {
    let fixture = start_with(options(1));
    for _ in 0..20 {
        let mut wire = Wire::connect(fixture.address);
        let request = get("/socket.io/?EIO=4&transport=polling");
        let (first, rest) = request.split_at(10);
        wire.send(first);
        // Its byte is taken out of the stream, wherever the rest is by then.
        wire.urgent(b'!');
        wire.send(rest);
        assert_eq!(wire.reply().status, 200);
    }
}

#[test]
fn newcomers_and_timers_have_their_turn_beside_a_flood_on_a_ring_and_on_epoll() {
    for driver in [Driver::Auto, Driver::Epoll] {
        let fixture = start_with(Options { driver, ..options(1) });
        let stop = AtomicBool::new(false);
        let worst = std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| flood(fixture.address, &stop));
            }
            let _stop = StopAtEnd(&stop);
            let mut worst = Duration::ZERO;
            for _ in 0..20 {
                let began = Instant::now();
                let mut client = Ws::connect(fixture.address);
                // A handler that sleeps on the runtime's own timer.
                client.ask(r#"["nap"]"#);
                worst = worst.max(began.elapsed());
            }
            worst
        });
        assert!(worst < Duration::from_secs(2), "{driver:?}: {worst:?}");
    }
}

#[test]
fn long_work_lets_everything_else_have_its_turn_on_a_ring_and_on_epoll() {
    for driver in [Driver::Auto, Driver::Epoll] {
        let fixture = start_with(Options { driver, ..options(1) });
        let mut client = Ws::connect(fixture.address);
        client.ask(r#"["go-on"]"#);
        // Newcomers, timers and words: had they to wait for its end, there would be none.
        let mut other = Ws::connect(fixture.address);
        other.ask(r#"["nap"]"#);
        assert!(client.is_well());
        other.ask(r#"["go-on-no-more"]"#);
        assert!(other.is_well());
    }
}

#[test]
fn a_connection_that_breaks_while_it_is_not_read_ends_at_once() {
    let fixture = start_with(Options { outbox_soft_bytes: 16 << 10, ..options(1) });
    let mut sleeper = Ws::open_on(Wire::connect_narrow(fixture.address));
    sleeper.join("/", "");
    sleeper.ask(r#"["join","room"]"#);
    let mut publisher = Ws::connect(fixture.address);
    while fixture.metric("corewire_outbox_bytes") < 64 << 10 {
        publisher.ask(r#"["pad","room",1,16384]"#);
    }
    // It says something more, which is not read: it is behind.
    sleeper.wire.send(&frame(Kind::Text, br#"42["whoami"]"#));
    eventually("reading has stopped", || fixture.metric("corewire_overload_pauses_total") == 1);
    let began = Instant::now();
    sleeper.wire.reset();
    fixture.next_gone();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}
