//! What is said at once and what waits in the outbox: in one order, and bounded alike.

use std::sync::Arc;

use super::held_tests::{Crowd, emit};
use super::{Ending, Target};
use crate::base::{Key, Limits};
use crate::ws;

fn one(limits: &Limits) -> (Crowd, Key, Key) {
    let mut crowd = Crowd::new(limits, &Arc::default());
    let (conn, socket) = crowd.join("").expect("there is room");
    crowd.reads = true;
    crowd.flush();
    crowd.taken.clear();
    (crowd, conn, socket)
}

/// The numbers of the events that a connection was sent.
fn numbers(crowd: &Crowd, conn: Key) -> Vec<usize> {
    let (mut rest, mut numbers) = (&crowd.taken[&conn][..], Vec::new());
    while let Some(frame) = ws::read_server_frame(rest).expect("it is ours") {
        let text = std::str::from_utf8(frame.payload).expect("text");
        let digits: String = text[2..].chars().filter(char::is_ascii_digit).collect();
        numbers.push(digits.parse().expect("a number"));
        rest = &rest[frame.consumed..];
    }
    numbers
}

#[test]
fn what_is_said_at_once_and_what_waits_come_in_one_order() {
    let (mut crowd, conn, socket) = one(&Limits::DEFAULT);
    let padding = "x".repeat(1_000);
    // Beyond 16 KiB, and behind a broadcast, what is said waits.
    for number in 0..40 {
        let args = format!("{number},\"{padding}\"");
        if number % 25 == 3 {
            let all = Target::default();
            crowd.shard.broadcast("/", all, &emit(&args), true, None);
        } else {
            assert!(crowd.shard.emit(socket, &emit(&args)));
        }
        crowd.check();
    }
    while crowd.shard.counters().outbox_bytes + crowd.shard.counters().answer_bytes > 0 {
        crowd.flush();
    }
    assert_eq!(numbers(&crowd, conn), (0..40).collect::<Vec<_>>());
    crowd.check();
}

#[test]
fn nothing_is_said_at_once_to_who_does_not_take_it() {
    let limits = Limits { outbox_bytes_max: 4_000, ..Limits::DEFAULT };
    let (mut crowd, conn, socket) = one(&limits);
    crowd.deaf.insert(conn);
    let args = format!("\"{}\"", "x".repeat(1_000));
    assert!(crowd.shard.emit(socket, &emit(&args)));
    assert_eq!(crowd.shard.counters().outbox_bytes, 0, "it goes at once");
    crowd.flush();
    // What follows waits, and is bounded.
    for _ in 0..3 {
        assert!(crowd.shard.emit(socket, &emit(&args)));
        crowd.check();
    }
    assert!(crowd.shard.counters().outbox_bytes > 3_000);
    crowd.shard.emit(socket, &emit(&args));
    assert!(!crowd.shard.is_joined(socket));
    assert_eq!(crowd.shard.endings().get(Ending::SlowBytes as usize), 1);
    crowd.flush();
    crowd.check();
}
