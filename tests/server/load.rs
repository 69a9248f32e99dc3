//! Crowds: slow readers, connections that come and go, a flood beside the admin core.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use corewire::base::CoreId;
use corewire::config::Options;
use corewire::shard::Ending;
use corewire::ws::Kind;
use serde_json::json;

use crate::fixture::{Fixture, Gone, eventually, flood, metric, options, start, start_with};
use crate::program::Program;
use crate::wire::{POLLING, Polling, Wire, Ws, fetch, frame, get};

/// A publisher, a member that reads, one that does not, its id.
struct Room {
    publisher: Ws,
    reader: Ws,
    sleeper: Ws,
    sleeper_id: String,
}

impl Room {
    /// Both members live on the core that is not the publisher's.
    fn new(fixture: &Fixture) -> Self {
        let mut reader = Ws::connect_on(fixture.address, CoreId(1));
        reader.ask(r#"["join","room"]"#);
        let mut sleeper = loop {
            let mut sleeper = Ws::open_on(Wire::connect_narrow(fixture.address));
            if crate::wire::core_of(&sleeper.sid) == CoreId(1) {
                sleeper.join("/", "");
                break sleeper;
            }
        };
        sleeper.ask(r#"["join","room"]"#);
        let sleeper_id = sleeper.socket_id();
        let publisher = Ws::connect_on(fixture.address, CoreId(0));
        Self { publisher, reader, sleeper, sleeper_id }
    }

    /// Sends one message to the room; the reader gets it at once.
    fn round(&mut self, number: u64, bytes: usize) {
        self.publisher.ask(&format!(r#"["pad","room",{number},{bytes}]"#));
        let padded = self.reader.event("padded");
        assert_eq!(padded[0], json!(number));
        assert_eq!(padded[1].as_str().map(str::len), Some(bytes));
    }
}

fn check_cut(fixture: &Fixture, room: &mut Room, gone: &Gone, ending: Ending, next: u64) {
    assert_eq!((gone.id.as_str(), gone.ending), (room.sleeper_id.as_str(), ending));
    for number in next..next + 50 {
        room.round(number, 100);
    }
    assert_eq!(fixture.metric("corewire_slow_consumers_total"), 1);
    // What it had been sent before comes in order, then the end.
    let mut expected = 0;
    while let crate::wire::Heard::Text(packet) = room.sleeper.heard() {
        let padded = crate::wire::event_in(&packet, "padded").expect("only these were sent");
        assert_eq!(padded[0], json!(expected));
        expected += 1;
    }
    eventually("its bytes are forgotten", || fixture.metric("corewire_outbox_bytes") == 0);
}

#[test]
fn a_slow_reader_is_cut_by_bytes_and_the_room_does_not_notice() {
    let limits = Options { outbox_bytes_max: 64 << 10, outbox_soft_bytes: 16 << 10, ..options(2) };
    let fixture = start_with(limits);
    let mut room = Room::new(&fixture);
    let mut number = 0;
    let gone = loop {
        assert!(number < 2_000, "32 MB wait for a client that reads nothing");
        room.round(number, 16 << 10);
        number += 1;
        if let Ok(gone) = fixture.gone.try_recv() {
            break gone;
        }
    };
    check_cut(&fixture, &mut room, &gone, Ending::SlowBytes, number);
}

#[test]
fn a_slow_reader_is_cut_by_frames_and_the_room_does_not_notice() {
    let fixture = start_with(Options { outbox_frames_max: 64, ..options(2) });
    let mut room = Room::new(&fixture);
    let mut number = 0;
    let gone = loop {
        assert!(number < 20_000, "20,000 frames wait for a client that reads nothing");
        let bytes = if number < 60 { 16 << 10 } else { 10 };
        room.round(number, bytes);
        number += 1;
        if let Ok(gone) = fixture.gone.try_recv() {
            break gone;
        }
    };
    check_cut(&fixture, &mut room, &gone, Ending::SlowFrames, number);
}

#[test]
fn a_slow_reader_is_cut_by_age_and_the_room_does_not_notice() {
    let fixture = start_with(Options { outbox_age_ms: 400, ..options(2) });
    let mut room = Room::new(&fixture);
    // More than both kernels take.
    for number in 0..60 {
        room.round(number, 16 << 10);
    }
    let blocked = Instant::now();
    let mut number = 60;
    let gone = loop {
        assert!(blocked.elapsed() < Duration::from_secs(10), "nothing went out for 10 s");
        room.round(number, 100);
        number += 1;
        if let Ok(gone) = fixture.gone.recv_timeout(Duration::from_millis(10)) {
            break gone;
        }
    };
    check_cut(&fixture, &mut room, &gone, Ending::SlowAge, number);
}

/// Levels that must be back where they were, once everybody is gone.
const LEVELS: [&str; 8] = [
    "corewire_connections",
    "corewire_sessions",
    "corewire_sockets",
    "corewire_rooms",
    "corewire_room_memberships",
    "corewire_outbox_bytes",
    "corewire_acks_pending",
    "corewire_async_handlers_running",
];

#[test]
fn two_thousand_connections_that_come_and_vanish_leave_nothing_behind() {
    let program = Program::start(&[
        "--workers=2",
        "--ping-interval=300",
        "--ping-timeout=300",
        "--request-timeout=500",
        "--keep-alive-timeout=500",
    ]);
    let descriptors = || {
        let path = format!("/proc/{}/fd", program.id());
        std::fs::read_dir(path).expect("the process lives").count()
    };
    let levels = || LEVELS.map(|name| metric(program.admin, name));
    // The first of each kind may open what stays.
    for kind in 0..8 {
        come_and_vanish(&program, kind);
    }
    eventually("the first ones are gone", || levels() == [0; LEVELS.len()]);
    let before = descriptors();
    for number in 0..2_000 {
        come_and_vanish(&program, number % 8);
    }
    eventually("levels stay up", || levels() == [0; LEVELS.len()]);
    // The connection that asks for metrics may be one of those counted.
    eventually("descriptors stay open", || {
        metric(program.admin, "corewire_connections");
        descriptors() <= before + 1
    });
    let opened = metric(program.admin, "corewire_connections_opened_total");
    assert!(opened >= 2_000, "{opened}");
    let reply = fetch(program.admin, &get("/readyz"));
    assert_eq!(reply.status, 200, "{}", reply.text());
}

fn come_and_vanish(program: &Program, kind: usize) {
    let mut wire = Wire::connect(program.address);
    match kind {
        0 => {}
        1 => wire.send(b"GET /socket.io/?EIO"),
        2 => {
            wire.send(&get(POLLING));
            wire.reply();
        }
        3 => {
            let mut socket = Ws::open_on(wire);
            let answer = socket.join("/", r#"{"userId":"u"}"#);
            assert!(answer.starts_with("40{"), "{answer}");
            socket.wire.reset();
            return;
        }
        // A poll that waits, perhaps on the other worker.
        4 => {
            let client = Polling::open(program.address);
            wire.send(&get(&client.target()));
        }
        // Half a post, likewise.
        5 => {
            let target = Polling::open(program.address).target();
            let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n40");
            wire.send(head.as_bytes());
        }
        // Half a frame.
        6 => {
            let mut socket = Ws::open_on(wire);
            socket.wire.send(&[0x81, 0xfe, 0x10]);
            socket.wire.reset();
            return;
        }
        // A goodbye instead of a reset.
        _ => return,
    }
    wire.reset();
}

#[test]
fn the_admin_core_answers_while_a_worker_is_flooded() {
    const DEPTH: usize = 512;
    let fixture = start(1);
    let (stop, echoes) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut batch = Vec::new();
    for number in 0..DEPTH {
        batch.extend(frame(Kind::Text, format!(r#"42{number}["echo",1]"#).as_bytes()));
    }
    let worst = std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Ws::connect(fixture.address);
                while !stop.load(Ordering::Relaxed) {
                    client.wire.send(&batch);
                    for number in 0..DEPTH {
                        assert_eq!(client.packet(), format!("43{number}[1]"));
                    }
                    echoes.fetch_add(DEPTH as u64, Ordering::Relaxed);
                }
            });
        }
        let (began, mut worst) = (Instant::now(), Duration::ZERO);
        while began.elapsed() < Duration::from_secs(2) {
            let asked = Instant::now();
            assert_eq!(fetch(fixture.admin, &get("/socket/latency")).status, 200);
            worst = worst.max(asked.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
        worst
    });
    let echoes = echoes.load(Ordering::Relaxed);
    assert!(echoes > 1_000, "only {echoes} echoes: that is no flood");
    assert!(worst < Duration::from_secs(1), "{worst:?} beside {echoes} echoes");
}

#[test]
fn timers_run_while_a_worker_always_has_something_to_read() {
    let limits = Options { ping_interval_ms: 100, ping_timeout_ms: 10_000, ..options(1) };
    let fixture = start_with(limits);
    let mut quiet = Ws::connect(fixture.address);
    let stop = AtomicBool::new(false);
    let worst = std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| flood(fixture.address, &stop));
        }
        let (began, mut worst) = (Instant::now(), Duration::ZERO);
        while began.elapsed() < Duration::from_secs(2) {
            let asked = Instant::now();
            assert_eq!(quiet.message(), "2");
            quiet.text("3");
            worst = worst.max(asked.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
        worst
    });
    assert!(worst < Duration::from_secs(1), "a ping came after {worst:?} instead of 100 ms");
}
