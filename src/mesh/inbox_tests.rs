//! The inbox with real threads and a real descriptor; `tests/loom` tries every order.

use super::*;

#[test]
fn a_sleeper_is_always_woken() {
    let (outlet, inbox) = inbox::<u32>(64).expect("a descriptor is left");
    let sender = std::thread::spawn(move || {
        for item in 0..50_000 {
            let mut item = item;
            while let Err(back) = outlet.try_send(item) {
                item = back;
                std::thread::yield_now();
            }
        }
    });
    let bell = inbox.bell_fd().expect("a descriptor is left");
    let mut next = 0;
    while next < 50_000 {
        while let Some(item) = inbox.try_recv() {
            assert_eq!(item, next);
            next += 1;
        }
        if next < 50_000 && inbox.sleep() {
            let mut polled = [rustix::event::PollFd::new(&bell, rustix::event::PollFlags::IN)];
            let limit = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
            let ready = rustix::event::poll(&mut polled, Some(&limit)).expect("poll works");
            assert_eq!(ready, 1, "asleep with an item in the inbox and no ring");
            inbox.wake();
        }
    }
    sender.join().expect("the sender ends");
}

#[test]
fn a_full_inbox_gives_the_item_back() {
    let (outlet, inbox) = inbox(1).expect("a descriptor is left");
    assert_eq!(outlet.try_send(1), Ok(()));
    assert_eq!(outlet.try_send(2), Err(2));
    assert_eq!(inbox.try_recv(), Some(1));
}
