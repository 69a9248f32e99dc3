//! Acks against a naive twin: a list of what is owed, looked through each time.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use super::alone::Alone;
use super::{AckOutcome, Birth, Dispatch, Emit, Settings, Shard, SocketError, Step};
use crate::base::{CoreId, Key, Limits, Rng};
use crate::ws;

const UPGRADE: &[u8] = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n\
    Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A core with one client in `/`.
struct Bench {
    shard: Shard,
    conn: Key,
    socket: Key,
}

impl Bench {
    fn new(seed: u64, acks_pending_max: usize) -> Self {
        let limits = Limits { acks_pending_max, ..Limits::DEFAULT };
        let settings = Settings { limits, ..Settings::default() };
        let birth = Birth {
            core: CoreId(0),
            cores: 1,
            hash_seed: seed,
            unix_base_ms: 0,
            interest: Rc::new(Alone),
            entropy: Box::new(|bytes| bytes.fill(7)),
        };
        let mut shard = Shard::new(Rc::new(settings), birth);
        let conn = shard.open_conn(SocketAddr::from(([127, 0, 0, 1], 9))).expect("there is room");
        let mut upgrade = UPGRADE.to_vec();
        assert!(matches!(shard.next(conn, &mut upgrade), Step::Wait { .. }));
        let mut bench = Self { shard, conn, socket: conn };
        let mut frame = text("40");
        let Step::Run { dispatch: Dispatch::Connect { socket }, .. } =
            bench.shard.next(conn, &mut frame)
        else {
            panic!("a CONNECT asks the application")
        };
        bench.socket = socket;
        assert!(bench.shard.accept(socket));
        bench
    }

    /// The client says something; nothing of it runs a handler.
    fn say(&mut self, packet: &str) {
        let mut frame = text(packet);
        let step = self.shard.next(self.conn, &mut frame);
        assert!(matches!(step, Step::Wait { .. }), "{packet}");
    }

    /// Runs what the application waits for.
    fn pump(&mut self) {
        while let Some(completion) = self.shard.take_completion() {
            if let super::Completion::Ack(done, outcome) = completion {
                done(outcome);
            }
        }
        let mut out = Vec::new();
        while self.shard.take_dirty().is_some() {
            self.shard.fill(self.conn, &mut out, usize::MAX);
        }
        self.shard.check();
    }
}

fn text(packet: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    ws::write_client_frame(&mut bytes, ws::Kind::Text, true, [1, 2, 3, 4], packet.as_bytes());
    bytes
}

/// What is owed, by the twin's account.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Owed {
    id: u64,
    due_ms: u64,
}

/// Outcomes in the order in which they were told.
type Told = Rc<RefCell<Vec<(u64, AckOutcome)>>>;

fn against_a_list(seed: u64) {
    let mut rng = Rng::new(seed, 0xAC_4B);
    let acks_max = 1 + rng.below(12);
    let mut bench = Bench::new(seed, acks_max);
    let slot_ms = bench.shard.settings().slot_ms();
    let (told, mut owed) = (Told::default(), Vec::<Owed>::new());
    let (mut now_ms, mut next_id) = (0, 0_u64);
    for _ in 0..150 {
        let mut wanted = Vec::new();
        match rng.below(6) {
            0 | 1 => {
                let (id, tell) = (next_id, Rc::clone(&told));
                next_id += 1;
                let timeout_ms = 1 + rng.below(4_000) as u64;
                let done = Box::new(move |outcome| tell.borrow_mut().push((id, outcome)));
                let emit = Emit { name: "q", args: "1", attachments: &[], volatile: false };
                let asked = bench.shard.emit_with_ack(bench.socket, &emit, timeout_ms, done);
                if owed.len() < acks_max {
                    assert_eq!(asked, Ok(()), "seed {seed}");
                    owed.push(Owed { id, due_ms: now_ms + timeout_ms });
                } else {
                    assert_eq!(asked, Err(SocketError::TooManyAcks), "seed {seed}");
                    wanted.push((id, AckOutcome::Gone));
                }
            }
            2 | 3 => {
                // One that is owed, or was, or never will be.
                let id = rng.below(usize::try_from(next_id).expect("small") + 3) as u64;
                bench.say(&format!("43{id}[{id},\"x\"]"));
                if let Some(at) = owed.iter().position(|one| one.id == id) {
                    owed.remove(at);
                    let ack = super::AckArgs { args: format!("{id},\"x\""), attachments: vec![] };
                    wanted.push((id, AckOutcome::Acked(ack)));
                }
            }
            4 => bench.say("4399999999999999999999[]"),
            _ => {
                now_ms += rng.below(900) as u64;
                bench.shard.set_now(now_ms * 1_000);
                bench.shard.handle_timeout();
                let late =
                    owed.iter().filter(|one| one.due_ms.div_ceil(slot_ms) * slot_ms <= now_ms);
                wanted.extend(late.map(|one| (one.id, AckOutcome::TimedOut)));
                bench.say("3");
            }
        }
        bench.pump();
        let mut heard = told.take();
        heard.sort_by_key(|(id, _)| *id);
        // A deadline that is over may be seen before its slot is.
        for (id, outcome) in &heard {
            if *outcome == AckOutcome::TimedOut && !wanted.iter().any(|(other, _)| other == id) {
                let one = owed.iter().find(|one| one.id == *id).expect("it was owed");
                assert!(one.due_ms <= now_ms, "seed {seed}: {id} was given up early");
                wanted.push((*id, AckOutcome::TimedOut));
            }
        }
        wanted.sort_by_key(|(id, _)| *id);
        assert_eq!(heard, wanted, "seed {seed}");
        owed.retain(|one| !heard.iter().any(|(id, _)| *id == one.id));
        assert_eq!(bench.shard.counters().acks_pending, owed.len() as u64, "seed {seed}");
    }
    bench.say("41");
    bench.pump();
    let mut heard: Vec<u64> = told.take().into_iter().map(|(id, _)| id).collect();
    heard.sort_unstable();
    let left: Vec<u64> = owed.iter().map(|one| one.id).collect();
    assert_eq!(heard, left, "seed {seed}: who waited is told that nobody answers");
}

#[test]
fn acks_agree_with_a_list_of_what_is_owed() {
    for seed in 0..300 {
        against_a_list(seed);
    }
}
