//! New connections.

use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::net::SocketFlags;

use super::entrance::Door;
use super::fd;
use super::notify::{Notify, yield_now};
use super::run::Worker;
use crate::base::Micros;
use crate::shard::Way;

/// Accepted in a row before other tasks get their turn.
const ACCEPTS_IN_A_ROW: usize = 64;
/// Wait after the process ran out of descriptors.
const NO_DESCRIPTORS_MS: u64 = 100;
/// Bytes the kernel may hold that it has not sent. Without it a reader that sleeps makes the
/// kernel take 4 MB before we hear of it.
const NOTSENT_LOWAT_BYTES: u32 = 64 << 10;
/// Time in which a listener that is to close takes in who waits at a full entrance. Whoever is
/// there and owes the next word is late in less.
const LAST_ONES_US: Micros = 1_500_000;

/// Accepts until told to stop. Connections that wait by then are taken in before the listener
/// closes: closing it would reset them. Where the entrance is full they are given some time, and
/// who has no place at its end is closed, and counted.
pub(super) async fn serve(
    worker: Rc<Worker>,
    listener: std::net::TcpListener,
    door: Door,
    stop: Rc<Notify>,
) {
    let Ok(waiting) = listener.try_clone() else { return };
    let Ok(waiting) = monoio::net::TcpListener::from_std(waiting) else { return };
    let row = Row { worker, listener, door, stop, room: Rc::default() };
    loop {
        // Both may be dropped unfinished: neither holds anything that could be lost.
        let stopped = monoio::select! {
            ready = waiting.readable(false) => ready.is_err(),
            () = row.stop.wait() => true,
        };
        if row.accept_waiting(stopped).await {
            return;
        }
    }
}

/// A listener, and what wakes it.
struct Row {
    worker: Rc<Worker>,
    listener: std::net::TcpListener,
    door: Door,
    stop: Rc<Notify>,
    /// There may be a way in again.
    room: Rc<Notify>,
}

impl Row {
    /// Takes in every connection that waits. True if it was told to stop, by now or before.
    async fn accept_waiting(&self, stopped: bool) -> bool {
        let last_ones = || self.worker.core.now_us() + LAST_ONES_US;
        let mut until = stopped.then(last_ones);
        let mut accepted = 0;
        loop {
            if self.worker.way_in(self.door) == Way::Shut {
                if !fd::is_readable(self.listener.as_fd()) {
                    return until.is_some();
                }
                if until.is_none_or(|until| self.worker.core.now_us() < until) {
                    if self.pause(until).await {
                        until = Some(last_ones());
                    }
                    continue;
                }
            }
            match accept(&self.listener) {
                Ok(Some((stream, peer))) => self.worker.enter(stream.into(), peer, self.door),
                Ok(None) => return until.is_some(),
                Err(_) => {
                    self.worker.core.with(|shard| shard.counters_mut().connections_refused += 1);
                    monoio::time::sleep(Duration::from_millis(NO_DESCRIPTORS_MS)).await;
                    return until.is_some();
                }
            }
            accepted += 1;
            if accepted % ACCEPTS_IN_A_ROW == 0 {
                yield_now().await;
            }
        }
    }

    /// Leaves those that wait to the kernel until somebody has left the entrance or is late, or
    /// until then. True if it is told to stop meanwhile.
    async fn pause(&self, until: Option<Micros>) -> bool {
        self.worker.core.with(|shard| shard.counters_mut().entrance_pauses += 1);
        self.worker.paused.borrow_mut().push_back(Rc::clone(&self.room));
        let stopped = match until {
            None => monoio::select! {
                () = self.room.wait() => false,
                () = self.stop.wait() => true,
            },
            Some(until) => {
                let left_us = until.saturating_sub(self.worker.core.now_us());
                monoio::select! {
                    () = self.room.wait() => {},
                    () = monoio::time::sleep(Duration::from_micros(left_us)) => {},
                }
                false
            }
        };
        self.worker.paused.borrow_mut().retain(|other| !Rc::ptr_eq(other, &self.room));
        stopped
    }
}

type Accepted = Option<(std::net::TcpStream, std::net::SocketAddr)>;

/// Accepts one connection if one waits.
fn accept(listener: &std::net::TcpListener) -> std::io::Result<Accepted> {
    use rustix::io::Errno;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    match rustix::net::acceptfrom_with(listener.as_fd(), flags) {
        Ok((fd, peer)) => {
            let stream = std::net::TcpStream::from(fd);
            let peer = peer.and_then(|peer| std::net::SocketAddr::try_from(peer).ok());
            let Some(peer) = peer else { return Ok(None) };
            // Options that fail cost latency or memory, not correctness.
            let _slow = stream.set_nodelay(true);
            let socket = socket2::SockRef::from(&stream);
            let _large = socket.set_tcp_notsent_lowat(NOTSENT_LOWAT_BYTES);
            Ok(Some((stream, peer)))
        }
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
