//! A round: whoever became ready is gone on with, then everything that came of it is written.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

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
    async fn round(self: &Rc<Self>, events: &mut Vec<rustix::event::epoll::Event>) {
        self.core.claim_flush();
        let more = self.drive_again();
        for _ in 0..BATCHES_A_ROUND {
            let count = self.ready.take(events);
            for event in events.iter() {
                self.handle_sign(Sign::from(event));
            }
            if count < BATCH {
                break;
            }
        }
        // Timers of the runtime rest while any task is runnable; deadlines do not.
        self.run_due();
        self.flush_now().await;
        if more {
            yield_now().await;
        }
    }
}
