//! How a server ends: readiness off, no more connections, sessions in shares, out.

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::ending::send_until;
use super::ports::{listening, listening_an_address};
use super::run::Running;
use crate::worker::{Orders, attach_filter};

/// Between two shares of sessions.
const STEP_MS: u64 = 100;
/// Sessions of a worker that may go in one step without anybody noticing a crowd.
const STEP_SESSIONS: usize = 100;
/// What is left at a worker that has not said it yet; all of them together are still a number.
const UNKNOWN: usize = usize::MAX >> 8;
/// Steps for a worker that has not said what is left.
const UNKNOWN_STEPS: usize = 10;
/// Time in which handshakes that the kernel has begun for us come to an end.
const SUCCESSION_MS: u64 = 1_000;
/// Time in which a worker closes its listener, if nothing holds it up.
const CLOSING: Duration = Duration::from_millis(200);
/// Part of the drain's time in which a worker that a handler holds up is waited for: listeners that
/// close out of turn would have the kernel steer new connections to the one that is held up.
const CLOSING_SHARE: f64 = 0.25;

/// Waits for the first signal. The next one ends the process at once. `ready` is called as soon as
/// a signal would be heeded: whoever reads what it says may send one.
///
/// SIGHUP has `reread` done, what can be read again; it never ends the process, not the second
/// time either: whoever sends it wants a reload.
pub(super) fn wait_for_signals(ready: impl FnOnce(), reread: &dyn Fn()) {
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP]);
    ready();
    let Ok(mut signals) = signals else { return };
    for signal in signals.forever() {
        if signal != SIGHUP {
            break;
        }
        reread();
    }
    let watch = move || {
        if signals.forever().any(|signal| signal != SIGHUP) {
            std::process::exit(1);
        }
    };
    // Without the thread a second signal is merely not special.
    let _none = std::thread::Builder::new().name(String::from("signals")).spawn(watch);
}

/// Closes everything within `drain_ms`. `listeners` are duplicates of those of the workers, and
/// go first: a listener closes with its last descriptor.
pub(super) fn drain(server: &Running, listeners: Vec<TcpListener>) {
    let began = Instant::now();
    let limit = Duration::from_millis(server.drain_ms);
    stop_accepting(server, listeners, limit.mul_f64(CLOSING_SHARE));
    for left in &server.left {
        left.store(UNKNOWN, Ordering::Release);
    }
    // Four fifths of the time for closing in shares, the rest for what is still being written.
    let shares_end = limit.mul_f64(0.8);
    loop {
        let elapsed = began.elapsed();
        let steps_left = shares_end.saturating_sub(elapsed).as_millis() / u128::from(STEP_MS);
        let steps_left = usize::try_from(steps_left).unwrap_or(usize::MAX);
        let next = Instant::now() + Duration::from_millis(STEP_MS);
        for (outlet, left) in server.outlets.iter().zip(&server.left) {
            let of = steps(left.load(Ordering::Acquire), steps_left);
            send_until(outlet, Orders::CloseSome { of }, next);
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        if server.left() == 0 || began.elapsed() >= limit {
            return;
        }
    }
}

/// In how many steps a worker closes what is left of it: none a crowd, and none too late.
///
/// Each worker has its own: one that is held up, or has most of the sessions, changes nothing for
/// the others.
fn steps(left: usize, steps_left: usize) -> usize {
    let wanted = if left == UNKNOWN { UNKNOWN_STEPS } else { left.div_ceil(STEP_SESSIONS) };
    wanted.clamp(1, steps_left.max(1))
}

/// Takes no more connections. If another process listens on our ports, it gets all new ones from
/// now on, and those that wait for us are taken in before the listeners close: none is reset.
///
/// Most often that is our successor. If the one we were to replace is still there, we are taken
/// back: its listeners begin the kernel's list and stay where they are, whatever ours do. It is
/// left with a filter for its own, which the next that takes over takes off.
///
/// `patience` is for all workers together that do not close theirs at once.
fn stop_accepting(server: &Running, listeners: Vec<TcpListener>, patience: Duration) {
    let ours = server.rows;
    let addresses = server.all_addresses();
    let taken_back = server.predecessor.stays(&addresses);
    let beside = |port| listening_an_address(&addresses, port).saturating_sub(ours);
    let theirs: Vec<usize> = addresses.iter().map(|address| beside(address.port())).collect();
    if theirs.iter().all(|theirs| *theirs == 0) {
        drop(listeners);
        let until = Instant::now() + patience;
        for row in 0..ours {
            send_until(server.outlet_of(row), Orders::StopAccepting, until);
        }
        return;
    }
    let steer = |place: &dyn Fn(usize) -> (usize, usize)| {
        for (listener, theirs) in listeners.iter().zip(&theirs) {
            let (first, count) = place((*theirs).max(1));
            // Where filters are refused, the kernel goes on sharing: a connection may be reset.
            let _shared = attach_filter(listener.as_fd(), index(first), index(count));
        }
    };
    steer(&|theirs| if taken_back { (0, theirs) } else { (ours, theirs) });
    std::thread::sleep(Duration::from_millis(SUCCESSION_MS));
    let began = Instant::now();
    for closed in 0..ours {
        if !taken_back {
            steer(&|theirs| (safe_place(ours, theirs, closed), 1));
        }
        let all = listening(&addresses);
        let until = (began + patience).max(Instant::now() + CLOSING);
        send_until(server.outlet_of(closed), Orders::StopAccepting, until);
        if closed + 1 < ours {
            let asked = Instant::now();
            let is_early = || asked.elapsed() < CLOSING || began.elapsed() < patience;
            while listening(&addresses) == all && is_early() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    // The duplicates are of the listeners that close last.
}

/// Where a listener of the successor stands in the kernel's list while one of ours closes, of
/// which `closed` have closed before.
///
/// The list begins with ours, which close from its end on, see [`closing_order`]; a listener that
/// closes leaves its place to the last one of the list. What stands behind ours
/// therefore stays where it is unless it is the last. When the last of ours closes, the place must
/// be one that is gone with it: then the kernel falls back to its own choice among all that are
/// left, for good.
const fn safe_place(ours: usize, theirs: usize, closed: usize) -> usize {
    let left = ours - closed;
    if left == 1 {
        theirs
    } else if theirs >= closed + 2 {
        ours
    } else {
        left
    }
}

/// In which order listeners close that were opened when `before` of a predecessor were in the
/// kernel's list: so that each closes as the last one of ours in that list.
///
/// The predecessor closes its own from the end of its part on, each time leaving its place to the
/// last of the list, which is one of ours; so ours come to stand in another order. One that was
/// killed instead closes in some order; then the kernel's choice may be a listener that is about
/// to close, and its connections are reset.
pub(super) fn closing_order(before: usize, count: usize) -> Vec<usize> {
    let ours = before..before + count;
    let mut list: Vec<usize> = (0..ours.end).collect();
    for at in (0..before).rev() {
        list.swap_remove(at);
    }
    list.iter().rev().map(|place| place - before).collect()
}

fn index(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_closes_in_steps_of_its_own_that_the_time_suffices_for() {
        for (left, steps_left, wanted) in [
            (0, 80, 1),
            (1, 80, 1),
            (100, 80, 1),
            (101, 80, 2),
            (5_000, 80, 50),
            (100_000, 80, 80),
            (5_000, 1, 1),
            (UNKNOWN - 1, 80, 80),
            (UNKNOWN, 80, 10),
            (UNKNOWN, 8, 8),
            (UNKNOWN, 0, 1),
        ] {
            assert_eq!(steps(left, steps_left), wanted, "{left} in {steps_left}");
        }
    }

    /// Closes what is left of a process, as [`stop_accepting`] does, and checks at each step that
    /// new connections go to its successor.
    fn succeed(list: &mut Vec<(u32, usize)>, process: u32, closing: &[usize], theirs: usize) {
        let ours = closing.len();
        for (closed, number) in closing.iter().enumerate() {
            let place = safe_place(ours, theirs, closed);
            assert_ne!(list[place].0, process, "{ours} {theirs} {closed}: {list:?}");
            let at = list.iter().position(|of| *of == (process, *number)).expect("it is open");
            // The kernel's list, as `reuseport_detach_sock` keeps it.
            list.swap_remove(at);
            let chosen = list.get(place);
            let last = closed + 1 == ours;
            assert_eq!(chosen.is_none(), last, "{ours} {theirs} {closed}: {list:?}");
            assert!(chosen.is_none_or(|of| of.0 != process), "{ours} {theirs} {closed}");
        }
    }

    #[test]
    fn while_listeners_close_new_connections_go_to_the_successor_and_to_its_successors() {
        for (first, second) in (1..8).flat_map(|first| (2..8).map(move |second| (first, second))) {
            for third in 2..8 {
                let counts = [first, second, third, 2];
                let mut list: Vec<(u32, usize)> = (0..first).map(|it| (0, it)).collect();
                let mut closing = closing_order(0, first);
                for (process, theirs) in (0..).zip(&counts[1..]) {
                    let before = list.len();
                    list.extend((0..*theirs).map(|it| (process + 1, it)));
                    succeed(&mut list, process, &closing, *theirs);
                    closing = closing_order(before, *theirs);
                }
            }
        }
    }
}
