//! How a server ends: readiness off, no more connections, sessions in shares, out.

use std::fs;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::run::{Running, send};
use crate::worker::{Orders, attach_successor_filter};

/// Between two shares of sessions.
const STEP_MS: u64 = 100;
/// Sessions of a worker that may go in one step without anybody noticing a crowd.
const STEP_SESSIONS: usize = 100;
/// Time in which handshakes that the kernel has begun for us come to an end.
const SUCCESSION_MS: u64 = 1_000;

/// Waits for the first signal. The next one ends the process at once.
pub(super) fn wait_for_signals() {
    let Ok(mut signals) = Signals::new([SIGTERM, SIGINT]) else { return };
    signals.forever().next();
    let watch = move || {
        signals.forever().next();
        std::process::exit(1);
    };
    // Without the thread a second signal is merely not special.
    let _none = std::thread::Builder::new().name(String::from("signals")).spawn(watch);
}

/// Closes everything within `drain_ms`. `listeners` are duplicates of those of the workers, and
/// go first: a listener closes with its last descriptor.
pub(super) fn drain(server: &Running, listeners: Vec<TcpListener>) {
    let began = Instant::now();
    let limit = Duration::from_millis(server.drain_ms);
    hand_port_over(server, listeners);
    for outlet in &server.outlets {
        send(outlet, Orders::StopAccepting);
    }
    for left in &server.left {
        left.store(usize::MAX >> 8, Ordering::Release);
    }
    // Four fifths of the time for closing in shares, the rest for what is still being written.
    let shares_end = limit.mul_f64(0.8);
    loop {
        let elapsed = began.elapsed();
        let steps_left = shares_end.saturating_sub(elapsed).as_millis() / u128::from(STEP_MS);
        let steps_left = usize::try_from(steps_left).unwrap_or(usize::MAX).max(1);
        let sessions = server.left();
        let wanted = (sessions / server.outlets.len().max(1)).div_ceil(STEP_SESSIONS).max(1);
        let of = if sessions > usize::MAX >> 9 { 10 } else { wanted.min(steps_left) };
        for outlet in &server.outlets {
            send(outlet, Orders::CloseSome { of });
        }
        std::thread::sleep(Duration::from_millis(STEP_MS));
        if server.left() == 0 || began.elapsed() >= limit {
            return;
        }
    }
}

/// If another process listens on our ports, it gets all new connections from now on, and those
/// that wait for us are taken in before the listeners close: none is reset.
fn hand_port_over(server: &Running, listeners: Vec<TcpListener>) {
    let ours = server.outlets.len();
    let mut shared = false;
    for (listener, address) in listeners.iter().zip(&server.addresses) {
        let theirs = listening_on(address.port()).saturating_sub(ours);
        if theirs > 0 {
            shared = true;
            let count = |count: usize| u32::try_from(count).unwrap_or(1);
            // Where filters are refused, the kernel goes on sharing: a connection may be reset.
            let _shared = attach_successor_filter(listener.as_fd(), count(ours), count(theirs));
        }
    }
    drop(listeners);
    if !shared {
        return;
    }
    std::thread::sleep(Duration::from_millis(SUCCESSION_MS));
}

/// How many sockets listen on a port of this machine.
fn listening_on(port: u16) -> usize {
    const LISTEN: &str = "0A";
    let wanted = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .map(|table| {
            let listens = |line: &&str| {
                let mut words = line.split_whitespace().skip(1);
                words.next().is_some_and(|local| local.ends_with(&wanted))
                    && words.nth(1) == Some(LISTEN)
            };
            table.lines().filter(listens).count()
        })
        .sum()
}
