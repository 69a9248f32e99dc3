//! A room in which many never read: what the others feel of it, counted and not timed.

use super::held_tests::{Crowd, emit};
use super::{Ending, Target};
use crate::base::Limits;

/// Members of the room.
const MEMBERS: usize = 400;
/// Messages to it.
const MESSAGES: usize = 150;

/// What the others get: with every message the connections written to, and how late it came.
struct Felt {
    written: Vec<usize>,
    cut: u64,
    looks: u64,
}

/// Says something to the room again and again; `slow` members never read. Each of the others must
/// have a message whole at the end of the tick in which it was said.
fn felt(slow: usize) -> Felt {
    let limits = Limits {
        outbox_bytes_max: 64 << 10,
        opening_max: MEMBERS,
        unjoined_max: MEMBERS,
        ..Limits::DEFAULT
    };
    let mut crowd = Crowd::new(&limits, &std::sync::Arc::default());
    let members: Vec<_> = (0..MEMBERS).filter_map(|_| crowd.join("")).collect();
    for (_, socket) in &members {
        assert_eq!(crowd.shard.join(*socket, "r"), Ok(true));
    }
    crowd.reads = true;
    crowd.flush();
    crowd.deaf.extend(members.iter().take(slow).map(|(conn, _)| *conn));
    let mut written = Vec::new();
    for number in 0..MESSAGES {
        let args = format!("{number},\"{}\"", "x".repeat(2_000));
        let target = Target { rooms: vec!["r".into()], ..Target::default() };
        crowd.shard.broadcast("/", target, &emit(&args), true, None);
        crowd.pass(1);
        let wanted = format!("[\"e\",{number},");
        let mut others = 0;
        for (conn, _) in &members[slow..] {
            let taken = crowd.taken.get(conn).map(Vec::as_slice).unwrap_or_default();
            assert!(taken.windows(wanted.len()).any(|at| at == wanted.as_bytes()), "{number}");
            assert_eq!(taken.windows(5).filter(|at| *at == b"[\"e\",").count(), 1);
            others += 1;
        }
        assert_eq!(others, MEMBERS - slow);
        written.push(crowd.taken.len());
        crowd.taken.clear();
    }
    crowd.check();
    let counters = crowd.shard.counters();
    let cut = crowd.shard.endings().get(Ending::SlowBytes as usize);
    Felt { written, cut, looks: counters.sheds }
}

#[test]
fn a_tenth_that_never_reads_costs_the_others_nothing_they_could_count() {
    let (alone, beside) = (felt(0), felt(MEMBERS / 10));
    assert_eq!(alone.cut, 0);
    assert_eq!(beside.cut, MEMBERS as u64 / 10, "all that do not read are cut by their own queue");
    assert_eq!((alone.looks, beside.looks), (0, 0), "nobody looks through all the others");
    assert!(alone.written.iter().all(|count| *count == MEMBERS));
    // Who does not read is not written to again before the kernel takes more.
    assert!(beside.written.iter().all(|count| *count <= MEMBERS));
    let late = &beside.written[MESSAGES / 2..];
    assert!(late.iter().all(|count| *count == MEMBERS - MEMBERS / 10), "{late:?}");
}
