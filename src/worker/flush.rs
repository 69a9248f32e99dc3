//! The end of a tick: completions, messages to other cores, and one write a connection.

use std::rc::Rc;

use super::conn::ConnIo;
use super::fd;
use super::inbox::Item;
use super::notify::yield_now;
use super::run::Worker;
use crate::base::{CoreId, Key};

/// Connections written to before other tasks get their turn.
const SLICE_CONNS: usize = 512;
/// Bytes joined into one write. A message that is larger goes out whole.
const WRITE_BYTES: usize = 64 << 10;

impl Worker {
    /// Runs after everything that was runnable when it was asked for, so that all frames of a
    /// tick leave a connection in one write.
    pub(super) async fn flush(self: Rc<Self>) {
        loop {
            self.core.pump();
            self.write_log();
            self.send_batches();
            let mut written = 0;
            while let Some(key) = self.core.with(crate::shard::Shard::take_dirty) {
                self.write(key);
                written += 1;
                if written % SLICE_CONNS == 0 {
                    yield_now().await;
                }
            }
            for key in self.core.with(crate::shard::Shard::take_resumed) {
                self.resume(key);
            }
            if !self.core.with(|shard| shard.has_output()) || self.mesh_is_stuck() {
                break;
            }
        }
        self.core.begin_flush();
        if self.mesh_is_stuck() {
            // Another core's inbox is full. It is emptied without us; try again shortly.
            // Boxed: it is rare, and would make every flush's future larger.
            Box::pin(monoio::time::sleep(std::time::Duration::from_millis(1))).await;
            self.core.with(|_| ());
        }
    }

    /// Lets a connection go on whose answer is out, or whose handshake has been decided.
    fn resume(self: &Rc<Self>, key: Key) {
        if self.core.with(|shard| shard.needs_step(key)) {
            self.step(key);
        }
        if let Some(io) = self.conns.borrow().get(key) {
            io.resume.notify();
        }
    }

    fn mesh_is_stuck(&self) -> bool {
        self.stuck.get()
    }

    fn send_batches(&self) {
        self.stuck.set(false);
        let (me, cores) = self.core.with(|shard| (shard.core(), shard.cores()));
        for to in (0..cores).map(CoreId::from_index).filter(|to| *to != me) {
            let messages = self.core.with(|shard| shard.take_mesh(to));
            if messages.is_empty() {
                continue;
            }
            let sent_at = self.core.now_us();
            let batch = Item::Batch { sent_at, messages };
            if let Err(Item::Batch { messages, .. }) = self.outlets[to.index()].try_send(batch) {
                self.core.with(|shard| shard.return_mesh(to, messages));
                self.stuck.set(true);
            }
        }
    }

    /// Writes everything that waits for a connection, as far as the kernel takes it.
    fn write(self: &Rc<Self>, key: Key) {
        let Some(io) = self.conns.borrow().get(key) else { return };
        if self.core.with(|shard| shard.is_aborted(key)) {
            io.unsent.replace(Vec::new());
            fd::shut(&io.stream, true);
            return;
        }
        if !io.unsent.borrow().is_empty() {
            return;
        }
        let mut buffer = self.out.take();
        loop {
            buffer.clear();
            let fill = self.core.with(|shard| shard.fill(key, &mut buffer, WRITE_BYTES));
            if !self.send(key, &io, &buffer) {
                break;
            }
            if fill.shut {
                fd::shut(&io.stream, false);
            }
            if !fill.more {
                break;
            }
        }
        if buffer.capacity() > 4 * WRITE_BYTES {
            buffer = Vec::with_capacity(WRITE_BYTES);
        }
        self.out.replace(buffer);
    }

    /// Sends; what the kernel does not take is kept, and a task waits to send it. False then,
    /// and if the connection is broken.
    fn send(self: &Rc<Self>, key: Key, io: &Rc<ConnIo>, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let Ok(count) = fd::send(&io.stream, bytes) else {
            fd::shut(&io.stream, true);
            return false;
        };
        if count == bytes.len() {
            return true;
        }
        io.unsent.replace(bytes[count..].to_vec());
        self.core.with(|shard| shard.handle_blocked(key));
        drop(monoio::spawn(Rc::clone(self).send_rest(key, Rc::clone(io))));
        false
    }

    /// Sends what the kernel did not take at once.
    async fn send_rest(self: Rc<Self>, key: Key, io: Rc<ConnIo>) {
        while !io.unsent.borrow().is_empty() {
            if io.stream.writable(false).await.is_err() || io.ended.get() {
                break;
            }
            let mut unsent = io.unsent.borrow_mut();
            let Ok(count) = fd::send(&io.stream, &unsent) else {
                *unsent = Vec::new();
                fd::shut(&io.stream, true);
                break;
            };
            unsent.drain(..count);
            drop(unsent);
            if count > 0 {
                self.core.with(|shard| shard.handle_progress(key));
            }
        }
        io.unsent.replace(Vec::new());
        // Only the descriptor's own task may still hold it when it moves.
        let resumed = Rc::clone(&io);
        drop(io);
        self.core.with(|shard| shard.handle_written(key));
        resumed.resume.notify();
    }
}
