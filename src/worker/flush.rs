//! The end of a tick: completions, messages to other cores, and one write a connection.

use std::rc::Rc;

use super::conn::ConnIo;
use super::fd;
use super::inbox::Item;
use super::notify::yield_now;
use super::run::Worker;
use crate::base::{CoreId, Key};
use crate::shard::Shard;

/// Connections written to before other tasks get their turn.
const SLICE_CONNS: usize = 512;
/// Connections written to at one time of the clock.
const WRITES_A_CLOCK: usize = 16;
/// Bytes joined into one write. A message that is larger goes out whole.
pub(super) const WRITE_BYTES: usize = 64 << 10;

impl Worker {
    /// Runs completions, sends to other cores, writes; until nothing is left of all that.
    ///
    /// A round ends with it; asked for elsewhere it runs after everything that was runnable then,
    /// so that all frames of a tick leave a connection in one write.
    pub(super) async fn flush(self: &Rc<Self>) {
        loop {
            self.core.pump();
            self.write_log();
            self.send_batches();
            self.send_sibling();
            while self.write_slice() {
                yield_now().await;
            }
            for key in self.core.with(Shard::take_resumed) {
                self.resume(key);
            }
            if self.stuck.get() || !self.core.with(|shard| shard.has_output()) {
                break;
            }
        }
        self.core.begin_flush();
        if self.stuck.get() && !self.retries.replace(true) {
            drop(monoio::spawn(Rc::clone(self).retry()));
        }
    }

    /// Another core's inbox is full. It is emptied without us; tries again shortly.
    async fn retry(self: Rc<Self>) {
        monoio::time::sleep(std::time::Duration::from_millis(1)).await;
        self.retries.set(false);
        // Going in finds that something waits, and asks for a flush.
        self.core.with(|_| ());
    }

    /// Writes to those that have something waiting, up to a slice. True if more may be left.
    fn write_slice(self: &Rc<Self>) -> bool {
        for _ in 0..SLICE_CONNS / WRITES_A_CLOCK {
            let more = self.core.at_one_time(|| {
                for _ in 0..WRITES_A_CLOCK {
                    let Some(key) = self.core.with(Shard::take_dirty) else {
                        return false;
                    };
                    self.write(key);
                }
                true
            });
            if !more {
                return false;
            }
        }
        true
    }

    /// Lets a connection go on whose answer is out, or whose handshake has been decided.
    fn resume(self: &Rc<Self>, key: Key) {
        if self.core.with(|shard| shard.needs_step(key)) {
            self.step(key);
        }
        self.look_again(key);
    }

    fn send_batches(&self) {
        self.stuck.set(false);
        let (me, cores) = self.core.with(|shard| (shard.core(), shard.cores()));
        for to in (0..cores).map(CoreId::from_index).filter(|to| *to != me) {
            let sent = &self.sent[to.index()];
            let take = |shard: &mut Shard| {
                let bytes = shard.mesh_bytes(to);
                // Its inbox has slots, and as many bytes of ours as it may hold.
                if bytes > 0 && sent.bytes() > shard.settings().limits.mesh_soft_bytes {
                    shard.counters_mut().mesh_full += 1;
                    return None;
                }
                Some((bytes, shard.take_mesh(to)))
            };
            let Some((bytes, messages)) = self.core.with(take) else {
                self.stuck.set(true);
                continue;
            };
            if messages.is_empty() {
                continue;
            }
            let (sent_at, load) = (self.core.now_us(), sent.give(bytes));
            let batch = Item::Batch { sent_at, messages, load };
            if let Err(Item::Batch { messages, .. }) = self.outlets[to.index()].try_send(batch) {
                self.core.with(|shard| shard.return_mesh(to, messages));
                self.stuck.set(true);
            }
        }
    }

    /// Writes everything that waits for a connection, as far as the kernel takes it.
    fn write(&self, key: Key) {
        let takes = |io: &mut ConnIo| (!io.blocked).then_some(io.channel.is_none());
        let is_plain = self.conns.borrow_mut().get(key).and_then(takes);
        let Some(is_plain) = is_plain else {
            if self.core.with(|shard| shard.is_aborted(key)) {
                self.cut(key);
            }
            return;
        };
        let mut buffer = self.out.take();
        loop {
            buffer.clear();
            let fill = self.core.with(|shard| shard.fill(key, &mut buffer, WRITE_BYTES));
            if fill.aborted {
                self.cut(key);
                break;
            }
            let sent = if is_plain {
                self.send(key, &buffer)
            } else {
                self.send_sealed(key, &buffer, fill.shut)
            };
            if !sent {
                break;
            }
            if fill.shut {
                self.shut(key, false);
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

    /// Closes the descriptor of a connection that was given up, whatever waits for it.
    fn cut(&self, key: Key) {
        if let Some(io) = self.conns.borrow_mut().get(key) {
            io.blocked = false;
            fd::shut(&io.fd, true);
        }
        self.look_again(key);
    }

    /// Sends; what the kernel does not take is kept until it says that it takes more. False then,
    /// and if the connection is broken.
    pub(super) fn send(&self, key: Key, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let mut conns = self.conns.borrow_mut();
        let Some(io) = conns.get(key) else { return false };
        let Ok(count) = fd::send(&io.fd, bytes) else {
            drop(conns);
            self.give_up(key);
            return false;
        };
        if count == bytes.len() {
            return true;
        }
        io.blocked = true;
        drop(conns);
        let unsent = bytes[count..].to_vec();
        self.core.with(|shard| shard.handle_blocked(key, unsent));
        false
    }

    /// Sends what the kernel did not take at once.
    pub(super) fn send_rest(&self, key: Key) {
        let mut unsent = self.core.with(|shard| shard.take_unsent(key));
        let sent = match self.conns.borrow_mut().get(key) {
            Some(io) => fd::send(&io.fd, &unsent),
            None => return,
        };
        match sent {
            Ok(count) if count == unsent.len() => {}
            Ok(count) => {
                unsent.drain(..count);
                self.core.with(|shard| shard.handle_progress(key, count, unsent));
                return;
            }
            Err(_) => {
                self.give_up(key);
                return;
            }
        }
        if let Some(io) = self.conns.borrow_mut().get(key) {
            io.blocked = false;
        }
        self.core.with(|shard| shard.handle_written(key));
        self.look_again(key);
    }
}
