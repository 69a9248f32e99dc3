//! How a server ends: readiness off, no more connections, sessions in shares, out.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
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
/// Time in which a worker closes its listener; the next one is not kept waiting for longer.
const CLOSING: Duration = Duration::from_millis(200);

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
    stop_accepting(server, listeners);
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

/// Takes no more connections. If another process listens on our ports, it gets all new ones from
/// now on, and those that wait for us are taken in before the listeners close: none is reset.
fn stop_accepting(server: &Running, listeners: Vec<TcpListener>) {
    let ours = server.outlets.len();
    let theirs: Vec<usize> =
        server.addresses.iter().map(|address| listeners_beside(server, address.port())).collect();
    if theirs.iter().all(|theirs| *theirs == 0) {
        drop(listeners);
        for outlet in &server.outlets {
            send(outlet, Orders::StopAccepting);
        }
        return;
    }
    let steer = |place: &dyn Fn(usize) -> (usize, usize)| {
        for (listener, theirs) in listeners.iter().zip(&theirs) {
            let (first, count) = place((*theirs).max(1));
            // Where filters are refused, the kernel goes on sharing: a connection may be reset.
            let _shared = attach_successor_filter(listener.as_fd(), index(first), index(count));
        }
    };
    steer(&|theirs| (ours, theirs));
    std::thread::sleep(Duration::from_millis(SUCCESSION_MS));
    for (closed, outlet) in server.outlets.iter().enumerate() {
        steer(&|theirs| (safe_place(ours, theirs, closed), 1));
        let all = listening(&server.addresses);
        send(outlet, Orders::StopAccepting);
        if closed + 1 < ours {
            let asked = Instant::now();
            while listening(&server.addresses) == all && asked.elapsed() < CLOSING {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    // The duplicates are of the listeners that close last.
}

/// Where a listener of the successor stands in the kernel's list while one of ours closes, of
/// which `closed` have closed before.
///
/// The list begins with ours in the order they were opened, and workers have them from its end;
/// a listener that closes leaves its place to the last one of the list. What stands behind ours
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

fn index(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// How many sockets listen on a port of ours beside our own, an address.
fn listeners_beside(server: &Running, port: u16) -> usize {
    let addresses = server.addresses.iter().filter(|address| address.port() == port).count();
    (listening_on(port) / addresses.max(1)).saturating_sub(server.outlets.len())
}

fn listening(addresses: &[SocketAddr]) -> usize {
    addresses.iter().map(|address| listening_on(address.port())).sum()
}

/// How many sockets listen on a port of this machine.
///
/// Cost: the kernel lists those that listen before all others, which are not read.
fn listening_on(port: u16) -> usize {
    let wanted = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::File::open(path).ok())
        .map(|table| {
            let lines = BufReader::new(table).lines().map_while(Result::ok).skip(1);
            lines.map_while(|line| listens(&line, &wanted)).filter(|ours| *ours).count()
        })
        .sum()
}

/// Whether a line of the table is of the port; `None` if it is not of a socket that listens.
fn listens(line: &str, wanted: &str) -> Option<bool> {
    const LISTEN: &str = "0A";
    let mut words = line.split_whitespace().skip(1);
    let local = words.next()?;
    (words.nth(1)? == LISTEN).then(|| local.ends_with(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's list, as `reuseport_detach_sock` keeps it.
    fn close(list: &mut Vec<(bool, usize)>, number: usize) {
        let at = list.iter().position(|of| *of == (true, number)).expect("it is open");
        list.swap_remove(at);
    }

    #[test]
    fn while_listeners_close_new_connections_go_to_the_successor() {
        for ours in 1..8 {
            for theirs in 2..8 {
                let list = (0..ours).map(|number| (true, number));
                let mut list: Vec<_> = list.chain((0..theirs).map(|it| (false, it))).collect();
                for closed in 0..ours {
                    let place = safe_place(ours, theirs, closed);
                    assert!(!list[place].0, "{ours} {theirs} {closed}");
                    close(&mut list, ours - 1 - closed);
                    let chosen = list.get(place);
                    let last = closed + 1 == ours;
                    assert_eq!(chosen.is_none(), last, "{ours} {theirs} {closed}");
                    assert!(chosen.is_none_or(|(of_ours, _)| !of_ours), "{ours} {theirs} {closed}");
                }
            }
        }
    }

    #[test]
    fn listeners_of_a_port_are_counted_and_what_follows_them_is_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let _client = std::net::TcpStream::connect(address).expect("it listens");
        assert_eq!(listening_on(address.port()), 1);
        drop(listener);
        assert_eq!(listening_on(address.port()), 0);
        assert_eq!(listens("  0: 0100007F:0BB9 00000000:0000 0A 0", ":0BB9"), Some(true));
        assert_eq!(listens("  0: 0100007F:0BB9 00000000:0000 0A 0", ":0BBA"), Some(false));
        assert_eq!(listens("  0: 0100007F:0BB9 00000000:0000 01 0", ":0BB9"), None);
    }
}
