//! New connections.

use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::net::SocketFlags;

use super::entrance::Door;
use super::notify::{Notify, yield_now};
use super::run::Worker;

/// Accepted in a row before other tasks get their turn.
const ACCEPTS_IN_A_ROW: usize = 64;
/// Wait after the process ran out of descriptors.
const NO_DESCRIPTORS_MS: u64 = 100;
/// Bytes the kernel may hold that it has not sent. Without it a reader that sleeps makes the
/// kernel take 4 MB before we hear of it.
const NOTSENT_LOWAT_BYTES: u32 = 64 << 10;

/// Accepts until told to stop. Connections that wait by then are taken in before the listener
/// closes: closing it would reset them.
pub(super) async fn serve(
    worker: Rc<Worker>,
    listener: std::net::TcpListener,
    door: Door,
    stop: Rc<Notify>,
) {
    let Ok(waiting) = listener.try_clone() else { return };
    let Ok(waiting) = monoio::net::TcpListener::from_std(waiting) else { return };
    loop {
        // Both may be dropped unfinished: neither holds anything that could be lost.
        let stopped = monoio::select! {
            ready = waiting.readable(false) => ready.is_err(),
            () = stop.wait() => true,
        };
        accept_waiting(&worker, &listener, door).await;
        if stopped {
            return;
        }
    }
}

/// Takes in every connection that waits.
async fn accept_waiting(worker: &Rc<Worker>, listener: &std::net::TcpListener, door: Door) {
    let mut accepted = 0;
    loop {
        match accept(listener) {
            Ok(Some((stream, peer))) => worker.enter(stream.into(), peer, door),
            Ok(None) => return,
            Err(_) => {
                worker.core.with(|shard| shard.counters_mut().connections_refused += 1);
                monoio::time::sleep(Duration::from_millis(NO_DESCRIPTORS_MS)).await;
                return;
            }
        }
        accepted += 1;
        if accepted % ACCEPTS_IN_A_ROW == 0 {
            yield_now().await;
        }
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
