//! The way to the process that replaces this one, or that it replaces: the admin core has the
//! socket, workers hand it their messages.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use super::run::Worker;
use crate::base::{Load, Loaded};
use crate::shard::{Shard, SiblingMsg, SiblingTerms};

/// Bytes that may wait for the other process, and as many of it for workers here. One that is
/// further behind is left alone, or not read.
pub const SIBLING_BYTES_MAX: usize = 64 << 20;

/// What workers hand over: messages in order, counted for as long as they wait.
pub type SiblingBatch = (Vec<SiblingMsg>, Loaded);

/// The workers' end of the way.
#[derive(Clone, Debug)]
pub struct SiblingOutlet {
    /// Takes batches; bounded by `load`.
    pub queue: UnboundedSender<SiblingBatch>,
    /// What waits, of all workers.
    pub load: Load,
    /// Told when something could not be handed over: from then on messages are missing.
    pub broken: Arc<Notify>,
}

/// What a worker is told of the other process.
pub enum OfSibling {
    /// It is there.
    Open(SiblingTerms, SiblingOutlet),
    /// It says something, which is counted until it is heard.
    Message(SiblingMsg, Loaded),
    /// It is gone.
    Close,
}

impl SiblingOutlet {
    /// Hands messages over; false if too much waits, or nobody takes them.
    fn send(&self, messages: Vec<SiblingMsg>, bytes: usize) -> bool {
        let fits = self.load.bytes() + bytes <= SIBLING_BYTES_MAX;
        fits && self.queue.send((messages, self.load.give(bytes))).is_ok()
    }
}

impl Worker {
    /// The other process comes, says something, or goes.
    pub(super) fn hear_sibling(&self, news: OfSibling) {
        match news {
            OfSibling::Open(terms, outlet) => {
                *self.sibling.borrow_mut() = Some(outlet);
                self.core.with(|shard| shard.open_sibling(terms));
            }
            OfSibling::Message(message, _load) => {
                self.core.with(|shard| shard.handle_sibling(message));
            }
            OfSibling::Close => self.leave_sibling(),
        }
    }

    pub(super) fn leave_sibling(&self) {
        *self.sibling.borrow_mut() = None;
        self.core.with(Shard::close_sibling);
    }

    /// Hands over what this core says to the other process.
    pub(super) fn send_sibling(&self) {
        let sibling = self.sibling.borrow();
        let Some(outlet) = &*sibling else { return };
        let (bytes, messages) =
            self.core.with(|shard| (shard.sibling_held(), shard.take_sibling()));
        if bytes > SIBLING_BYTES_MAX || (!messages.is_empty() && !outlet.send(messages, bytes)) {
            outlet.broken.notify_one();
            drop(sibling);
            self.leave_sibling();
        }
    }
}
