//! The mesh in every order of steps that its threads may take.
//!
//! `inbox.rs` and `interest.rs` are the product's own files; only what they are built on
//! (`sync.rs`) is loom's. `tests/run loom` runs this.
#![cfg(test)]

// The files ask for these by the names they have in the product.
use corewire::{base, shard};

#[path = "../../../src/mesh/inbox.rs"]
mod inbox;
#[expect(dead_code, reason = "not all of the table is asked for here")]
#[path = "../../../src/mesh/interest.rs"]
mod interest;
mod sync;

use inbox::{Inbox, inbox};
use interest::{InterestTable, TableOf};
use loom::thread;

use crate::base::CoreId;
use crate::shard::Interest;

/// Takes items until there were so many, asleep whenever there are none: the loop of
/// `worker/inbox.rs`. Loom reports a sleeper that nobody wakes.
fn receive(inbox: &Inbox<u32>, count: usize) -> Vec<u32> {
    let bell = inbox.bell_fd().expect("there always is one");
    let mut items = Vec::new();
    while items.len() < count {
        match inbox.try_recv() {
            Some(item) => items.push(item),
            None if inbox.sleep() => {
                sync::wait(&bell);
                inbox.wake();
            }
            None => {}
        }
    }
    items
}

/// All orders with at most so many switches that nobody waited for.
fn model(switches: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(switches);
    builder.check(body);
}

#[test]
fn a_sleeper_is_woken_by_one_who_sends() {
    sync::STORES_SWAP.set(true);
    model(3, || {
        let (outlet, inbox) = inbox(2).expect("a bell");
        let sender = thread::spawn(move || {
            assert!(outlet.try_send(1).is_ok());
            assert!(outlet.try_send(2).is_ok());
        });
        assert_eq!(receive(&inbox, 2), [1, 2]);
        sender.join().expect("it ends");
    });
}

#[test]
fn a_sleeper_is_woken_by_two_who_send() {
    sync::STORES_SWAP.set(true);
    model(2, || {
        let (outlet, inbox) = inbox(2).expect("a bell");
        let senders = [1, 2].map(|item| {
            let outlet = outlet.clone();
            thread::spawn(move || assert!(outlet.try_send(item).is_ok()))
        });
        let mut items = receive(&inbox, 2);
        items.sort_unstable();
        assert_eq!(items, [1, 2]);
        senders.into_iter().for_each(|sender| sender.join().expect("it ends"));
    });
}

/// A full inbox gives the item back, and none is lost or doubled.
#[test]
fn what_a_full_inbox_gives_back_and_what_it_took_is_all() {
    sync::STORES_SWAP.set(true);
    model(2, || {
        let (outlet, inbox) = inbox(1).expect("a bell");
        let senders = [1, 2].map(|item| {
            let outlet = outlet.clone();
            thread::spawn(move || outlet.try_send(item).err())
        });
        let mut items = receive(&inbox, 1);
        let back = senders.map(|sender| sender.join().expect("it ends"));
        items.extend(back.into_iter().flatten());
        items.extend(std::iter::from_fn(|| inbox.try_recv()));
        items.sort_unstable();
        assert_eq!(items, [1, 2]);
    });
}

/// One who sleeps with a message in the inbox has a ring of the bell behind it.
fn sleeper_and_sender() {
    let (outlet, inbox) = inbox(1).expect("a bell");
    let bell = inbox.bell_fd().expect("there always is one");
    let sender = thread::spawn(move || assert!(outlet.try_send(1).is_ok()));
    let sleeps = inbox.sleep();
    sender.join().expect("it ends");
    assert!(!sleeps || sync::is_raised(&bell), "asleep with an item in the inbox and no ring");
}

#[test]
fn who_sleeps_with_a_message_in_the_inbox_hears_the_bell() {
    loom::model(sleeper_and_sender);
}

/// The check bites: without the fences there is an order in which nobody rings.
#[test]
#[should_panic(expected = "no ring")]
fn without_its_fences_a_bell_is_missed() {
    sync::FENCELESS.set(true);
    loom::model(sleeper_and_sender);
}

/// A join is answered after its bit is set: whoever has heard of it finds the bit.
#[test]
fn whoever_has_heard_of_a_member_finds_its_core() {
    model(3, || {
        let table = TableOf(InterestTable::with_buckets(2, 1, 0));
        let (outlet, inbox) = inbox(1).expect("a bell");
        let other = table.clone();
        let joiner = thread::spawn(move || {
            other.set(0, CoreId(1));
            assert!(outlet.try_send(1).is_ok());
        });
        assert_eq!(receive(&inbox, 1), [1]);
        assert!(table.mask(0).has(CoreId(1)), "a message would not be sent there");
        joiner.join().expect("it ends");
    });
}

/// Cores share a word and do not touch each other's bits.
#[test]
fn cores_leave_each_others_bits_alone() {
    loom::model(|| {
        let table = TableOf(InterestTable::with_buckets(3, 1, 0));
        table.set(0, CoreId(1));
        let threads = [0, 1, 2].map(|core| {
            let table = table.clone();
            thread::spawn(move || match core {
                1 => table.clear(0, CoreId(1)),
                core => table.set(0, CoreId(core)),
            })
        });
        threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
        let mask = table.mask(0);
        assert_eq!([0, 1, 2].map(|core| mask.has(CoreId(core))), [true, false, true]);
    });
}
