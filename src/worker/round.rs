//! A round: whoever became ready is gone on with, then everything that came of it is written.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use super::entrance::HANDSHAKES_A_ROUND;
use super::notify::yield_now;
use super::ready::{BATCH, Sign};
use super::run::Worker;

/// Batches of ready connections in one round. Under load more messages to one client are joined
/// the more a round holds; on a quiet core a round is as large as what is there.
const BATCHES_A_ROUND: usize = 2;

/// Goes round for as long as the worker lives.
///
/// # Errors
/// The watch cannot be waited on: the core is deaf.
pub(super) async fn serve(worker: Rc<Worker>) -> io::Result<()> {
    // A watch is waited on like a socket; nothing else of a stream is used.
    let bell = std::net::TcpStream::from(worker.ready.bell_fd()?);
    let bell = monoio::net::TcpStream::from_std(bell)?;
    let mut events = Vec::with_capacity(BATCH);
    loop {
        let mut readable = pin!(bell.readable(false));
        loop {
            // The wait for the kernel goes on while connections are looked at for other reasons:
            // ending it would cost the ring a cancellation each time.
            let woken = poll_fn(|context| {
                if worker.has_again(context.waker()) {
                    return Poll::Ready(None);
                }
                readable.as_mut().poll(context).map(Some)
            });
            match woken.await {
                None => worker.round(&mut events).await,
                Some(ready) => {
                    ready?;
                    break;
                }
            }
        }
        worker.round(&mut events).await;
        if worker.has_ended() {
            return Ok(());
        }
    }
}

impl Worker {
    /// Lets the runtime come to its driver once: other tasks, new connections, the inbox and the
    /// runtime's timers get their turn, however much is left to do here.
    ///
    /// Yielding is not enough. Timers of monoio run when nothing is runnable, and without a ring a
    /// wait for what is ready already is no wait; a descriptor it has never seen always is one.
    pub(super) async fn park_once(&self) {
        let Ok(fd) = self.always_readable.try_clone() else { return yield_now().await };
        let Ok(fd) = monoio::net::TcpStream::from_std(fd.into()) else { return yield_now().await };
        // It is readable; that the wait fails would only end it.
        let _readable = fd.readable(false).await;
    }

    async fn round(self: &Rc<Self>, events: &mut Vec<rustix::event::epoll::Event>) {
        self.core.claim_flush();
        self.handshakes_left.set(HANDSHAKES_A_ROUND);
        self.drive_again();
        for _ in 0..BATCHES_A_ROUND {
            let count = self.ready.take(events);
            for event in events.iter() {
                self.handle_sign(Sign::from(event));
            }
            if count < BATCH {
                break;
            }
        }
        self.run_due();
        self.flush().await;
        if self.on_epoll || !self.again.borrow().is_empty() {
            self.park_once().await;
        }
    }
}
