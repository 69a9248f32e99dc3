//! Each member of a room gets each message exactly once and in order from each sender, while
//! members join, leave, reconnect and change cores.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use corewire::base::CoreId;
use serde_json::{Value, json};

use crate::fixture::start;
use crate::wire::{Polling, Wire, Ws, event_in};

const SENDERS: usize = 4;
/// How long they send.
const RUN: Duration = Duration::from_secs(4);

/// What senders have sent and been acknowledged, as the oracle knows it.
#[derive(Default)]
struct Sent {
    /// The next number of each sender: all below have been handed to the kernel or will be.
    next: [AtomicU64; SENDERS],
    /// Numbers of each sender that a worker has confirmed.
    confirmed: [AtomicU64; SENDERS],
    /// The total of each sender, once it has ended.
    total: [AtomicU64; SENDERS],
    over: AtomicBool,
}

fn load(counts: &[AtomicU64; SENDERS]) -> [u64; SENDERS] {
    std::array::from_fn(|sender| counts[sender].load(Ordering::SeqCst))
}

/// What one member has got in one stay.
#[derive(Default)]
struct Stay {
    /// The first and the next number of each sender.
    seen: [Option<(u64, u64)>; SENDERS],
}

impl Stay {
    fn take(&mut self, packet: &str) {
        let said = event_in(packet, "said").unwrap_or_else(|| panic!("nobody sent {packet}"));
        let sender = said[0].as_u64().expect("a sender");
        let number = said[1].as_u64().expect("a number");
        let seen = &mut self.seen[usize::try_from(sender).expect("one of four")];
        let (first, next) = seen.unwrap_or((number, number));
        assert_eq!(number, next, "sender {sender}: lost, doubled or out of order");
        *seen = Some((first, next + 1));
    }

    /// Nothing sent after the join was confirmed may be missing.
    fn check_first(&self, sent_by_then: &[u64; SENDERS]) {
        for (seen, sent) in self.seen.iter().zip(sent_by_then) {
            if let Some((first, _)) = seen {
                assert!(first <= sent, "the first was {first}, but {sent} came after the join");
            }
        }
    }

    fn is_complete(&self, sent: &Sent) -> bool {
        sent.over.load(Ordering::SeqCst) && {
            let total = load(&sent.total);
            self.seen.iter().zip(total).all(|(seen, total)| seen.is_some_and(|(_, n)| n == total))
        }
    }

    fn messages(&self) -> u64 {
        self.seen.iter().flatten().map(|(first, next)| next - first).sum()
    }
}

fn send_all(address: SocketAddr, sender: usize, sent: &Sent) {
    let core = CoreId(u8::try_from(sender % 2).expect("0 or 1"));
    let mut client = Ws::connect_on(address, core);
    let began = Instant::now();
    let mut number = 0;
    while began.elapsed() < RUN {
        // Some in one write, so that they travel in one batch, and some alone.
        for _ in 0..number % 5 {
            sent.next[sender].store(number + 1, Ordering::SeqCst);
            client.text(&format!(r#"42["say","room",{sender},{number}]"#));
            number += 1;
        }
        sent.next[sender].store(number + 1, Ordering::SeqCst);
        let answer = client.ask(&format!(r#"["say","room",{sender},{number}]"#));
        assert_eq!(answer, json!([number]));
        number += 1;
        sent.confirmed[sender].store(number, Ordering::SeqCst);
    }
    sent.total[sender].store(number, Ordering::SeqCst);
}

/// A member that stays: it gets everything. It must join before anybody sends.
fn stay(mut client: Ws, sent: &Sent) {
    let mut stay = Stay::default();
    while !stay.is_complete(sent) {
        stay.take(&client.packet());
    }
    stay.check_first(&[0; SENDERS]);
    assert_eq!(client.ask(r#"["leave","room"]"#), json!([true]));
}

/// The same by polling, each poll on a connection of its own and so on any worker.
fn stay_polling(client: &Polling, sent: &Sent) {
    let mut stay = Stay::default();
    while !stay.is_complete(sent) {
        for packet in client.poll() {
            stay.take(&packet);
        }
    }
    stay.check_first(&[0; SENDERS]);
}

/// Joins by polling and moves to WebSocket while messages come.
fn stay_upgrading(client: &Polling, sent: &Sent) {
    let mut stay = Stay::default();
    let poll = |stay: &mut Stay| {
        let packets = client.poll();
        for packet in packets.iter().filter(|packet| *packet != "6") {
            stay.take(packet);
        }
        packets.iter().any(|packet| packet == "6")
    };
    for _ in 0..50 {
        poll(&mut stay);
    }
    let target = format!("/socket.io/?EIO=4&transport=websocket&sid={}", client.sid);
    let mut socket = Ws::upgraded(Wire::connect(client.address), &target);
    socket.text("2probe");
    assert_eq!(socket.message(), "3probe");
    poll(&mut stay);
    socket.text("5");
    while !stay.is_complete(sent) {
        stay.take(&socket.packet());
    }
    stay.check_first(&[0; SENDERS]);
}

/// A member that joins, leaves, and now and then comes back on another connection.
fn come_and_go(address: SocketAddr, restless: usize, sent: &Sent) -> u64 {
    let mut client = Ws::connect(address);
    let (mut messages, mut round) = (0, restless);
    while !sent.over.load(Ordering::SeqCst) {
        let answer = client.ask(r#"["join","room"]"#);
        let sent_by_then = load(&sent.next);
        assert_eq!(answer, json!([true]));
        let mut stay = Stay::default();
        for _ in 0..(round % 7) * 20 {
            if sent.over.load(Ordering::SeqCst) {
                break;
            }
            stay.take(&client.packet());
        }
        round += 1;
        if round % 5 == 0 {
            // Vanishes in the middle of it, and is another socket on perhaps another core.
            client.wire.reset();
            client = Ws::connect(address);
        } else {
            let left = client.ask(r#"["leave","room"]"#);
            assert_eq!(left, json!([true]));
            // All that came before the answer is kept by `ask`; after it nothing may come.
            let echo: Value = client.ask(r#"["echo","mark"]"#);
            assert_eq!(echo, json!(["mark"]));
            client.text(r#"42999999999["echo","end"]"#);
            loop {
                let packet = client.packet();
                if packet == r#"43999999999["end"]"# {
                    break;
                }
                stay.take(&packet);
            }
        }
        stay.check_first(&sent_by_then);
        messages += stay.messages();
    }
    messages
}

#[test]
fn members_of_a_room_get_each_message_once_and_in_order() {
    let fixture = start(2);
    let address = fixture.address;
    let sent = Sent::default();
    let mut staying: Vec<Ws> =
        [0, 1, 0, 1].iter().map(|core| Ws::connect_on(address, CoreId(*core))).collect();
    for client in &mut staying {
        assert_eq!(client.ask(r#"["join","room"]"#), json!([true]));
    }
    let polling: Vec<Polling> = (0..4).map(|_| Polling::connect(address)).collect();
    for client in &polling {
        client.post(r#"420["join","room"]"#);
        assert_eq!(client.poll(), ["430[true]"]);
    }
    let (sent, polling) = (&sent, &polling);
    let wandered: u64 = std::thread::scope(|scope| {
        for client in staying {
            scope.spawn(move || stay(client, sent));
        }
        for client in &polling[..2] {
            scope.spawn(move || stay_polling(client, sent));
        }
        for client in &polling[2..] {
            scope.spawn(move || stay_upgrading(client, sent));
        }
        let restless: Vec<_> =
            (0..4).map(|number| scope.spawn(move || come_and_go(address, number, sent))).collect();
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| scope.spawn(move || send_all(address, sender, sent)))
            .collect();
        for sender in senders {
            sender.join().expect("a sender ends well");
        }
        sent.over.store(true, Ordering::SeqCst);
        // Whoever waits for a message now gets this last one of each sender.
        let mut last = Ws::connect(address);
        for (sender, total) in load(&sent.total).into_iter().enumerate() {
            sent.total[sender].store(total + 1, Ordering::SeqCst);
            last.ask(&format!(r#"["say","room",{sender},{total}]"#));
        }
        restless.into_iter().map(|one| one.join().expect("a member ends well")).sum()
    });
    let total: u64 = load(&sent.total).iter().sum();
    assert!(total > 500, "only {total} messages were sent");
    assert!(wandered > 200, "restless members saw only {wandered}");
    assert!(fixture.metric("corewire_mesh_messages_in_total") > 0);
}
