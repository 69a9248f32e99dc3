//! The bill bites: no row of it can be passed unseen.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::held_tests::{Crowd, UPGRADE, emit};
use super::message::Part;
use super::{AckOutcome, Entrance, Gathered, RecoveryTerms, Settings, Target};
use crate::base::Limits;

/// Sets one limit so low that a busy core is over it.
type Lower = fn(&mut Limits);

/// What a core holds that is [`busy`], with the limit for each row of the bill. Compressed forms
/// have their bound in the settings, and their test in `press_tests.rs`.
const ROWS: [(&str, Lower); 20] = [
    ("connections", |limits| limits.conns_max = 1),
    ("sessions", |limits| limits.sessions_max = 1),
    ("bytes that wait for clients", |limits| limits.outboxes_bytes_max = 1),
    ("sockets", |limits| limits.sockets_max = 1),
    ("namespaces", |limits| limits.namespaces_max = 0),
    ("connections at their entrance", |limits| limits.half_open_max = 0),
    ("connections without a request", |limits| limits.opening_max = 0),
    ("sessions without a namespace", |limits| limits.unjoined_max = 0),
    ("bytes of heads and auth", |limits| limits.kept_bytes_max = 1),
    ("bytes of rooms", |limits| limits.rooms_bytes_max = 1),
    ("bytes that questions collected", |limits| limits.gathered_bytes_max = 1),
    ("bytes in part", |limits| limits.partials_bytes_max = 1),
    ("questions", |limits| limits.gathers_max = 0),
    ("acks owed", |limits| limits.acks_max = 0),
    ("async handlers", |limits| limits.tasks_max = 1),
    ("bytes of events of async handlers", |limits| {
        (limits.tasks_bytes_max, limits.packet_bytes_max) = (1_000, 500);
    }),
    ("sessions that broke off", |limits| limits.recovery_sessions_max = 1),
    ("bytes of sessions that broke off", |limits| limits.recovery_bytes_max = 1),
    ("events kept", |limits| limits.recovery_entries_max = 1),
    // Those of sessions have the same limit and come first: see below.
    ("bytes of events kept", |limits| limits.recovery_bytes_max = 2_000),
];

/// A core that holds something in each row, two clients' worth of most.
fn busy() -> Crowd {
    let mut crowd = Crowd::with(Settings {
        recovery: Some(RecoveryTerms { epoch: 0xE, window_ms: 60_000 }),
        ..Settings::default()
    });
    for _ in 0..2 {
        let (gone, _) = crowd.join("").expect("there is room");
        crowd.shard.handle_eof(gone);
    }
    let (conn, one) = crowd.join("").expect("there is room");
    let (_, _two) = crowd.join("").expect("there is room");
    assert_eq!(crowd.shard.join(one, "r"), Ok(true));
    let args = format!("\"{}\"", "x".repeat(1_500));
    for _ in 0..2 {
        crowd.shard.broadcast("/", Target::default(), &emit(&args), false, None);
        assert!(crowd.shard.begin_task(one, 1_000).is_some());
    }
    let asked = crowd.shard.emit_with_ack(one, &emit("1"), 5_000, Box::new(|_: AckOutcome| ()));
    assert!(asked.is_ok());
    // Half a frame of one, a session that joins nothing, two that have not begun.
    crowd.say(conn, &[0x81, 0x85, 1, 2, 3, 4, 5]);
    let idle = crowd.connect().expect("there is room");
    crowd.say(idle, format!("{}\r\n", UPGRADE).as_bytes());
    assert!(crowd.connect().is_some());
    let half_open = crowd.connect().expect("there is room");
    crowd.shard.expect_entrance(half_open, Entrance::Tls);
    // A question that one of two has answered.
    let done = Box::new(|_: Gathered| ());
    let Ok(gather) = crowd.shard.open_gather(2, None, 1_000, done) else { panic!("it is one") };
    let sockets = vec![crowd.shard.socket_info(one).expect("it is here")];
    crowd.shard.gather_part(gather.key, Part::Done { count: 1, queued: 0, sockets });
    crowd.check();
    crowd
}

/// What the bill says is wrong, if anything.
fn breach(crowd: &Crowd, limits: &Limits) -> Option<String> {
    let checked = catch_unwind(AssertUnwindSafe(|| crowd.shard.check_bill(limits)));
    checked.err().map(|why| why.downcast_ref::<String>().expect("a text").clone())
}

#[test]
fn every_row_of_the_bill_can_fail() {
    let crowd = busy();
    let rows = crowd.shard.bill(&Limits::DEFAULT);
    let named = rows.iter().map(|(what, ..)| *what);
    let named: Vec<&str> = named.filter(|what| *what != "bytes of compressed forms").collect();
    assert_eq!(named, ROWS.map(|(what, _)| what), "each row of the bill has its test");
    assert_eq!(breach(&crowd, &Limits::DEFAULT), None);
    for (what, lower) in ROWS {
        let mut limits = Limits::DEFAULT;
        lower(&mut limits);
        let why = breach(&crowd, &limits).unwrap_or_else(|| panic!("nobody notices the {what}"));
        assert!(why.contains(&format!(" {what}, where ")), "{what}: {why}");
    }
}
