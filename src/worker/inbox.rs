//! What a worker receives from other cores, the admin core and the main thread.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use super::entrance::Channel;
use super::run::{Orders, Worker};
use super::sibling::OfSibling;
use crate::api::Io;
use crate::base::{CoreId, Key, Loaded, Micros};
use crate::mesh::Inbox;
use crate::shard::MeshMsg;

/// One item of an inbox.
pub enum Item {
    /// What another core has to say, a tick's worth.
    Batch {
        /// When it was sent.
        sent_at: Micros,
        /// The messages, in order.
        messages: Vec<MeshMsg>,
        /// Counts their bytes as long as they lie here.
        load: Loaded,
    },
    /// A connection whose session lives here.
    Moved(Moved),
    /// New connections begin TLS with this.
    Certificate(Arc<rustls::ServerConfig>),
    /// Something to run here.
    Errand(Box<dyn FnOnce(&Io) + Send>),
    /// The admin core's answer to a request of the public port.
    Answer {
        /// The connection that waits.
        conn: Key,
        /// The whole answer.
        bytes: Vec<u8>,
        /// Whether another request may follow.
        keep_alive: bool,
    },
    /// What the process says that replaces this one, or that it replaces.
    Sibling(OfSibling),
    /// What the main thread wants.
    Orders(Orders),
}

/// A connection on its way to another core; dropped, it is closed.
pub struct Moved {
    pub(super) fd: OwnedFd,
    pub(super) peer: SocketAddr,
    /// It came over TLS, here or to a proxy.
    pub(super) secure: bool,
    /// Bytes read and not consumed, its request first.
    pub(super) bytes: Vec<u8>,
    /// Its TLS, with what was received and not opened.
    pub(super) channel: Option<Box<Channel>>,
}

/// A REST request of the public port on its way to the admin core.
#[derive(Debug)]
pub struct AdminCall {
    /// The core that waits for the answer.
    pub core: CoreId,
    /// The connection that does.
    pub conn: Key,
    /// Its peer.
    pub peer: SocketAddr,
    /// The request head, as received.
    pub head: Vec<u8>,
    /// The body, complete.
    pub body: Vec<u8>,
    /// Counts its bytes for as long as it is not answered.
    pub load: Loaded,
}

/// Items handled before other tasks get their turn.
const ROUND_ITEMS: usize = 64;

/// Takes items for as long as the worker lives.
pub(super) async fn serve(worker: Rc<Worker>, inbox: Inbox<Item>) -> std::io::Result<()> {
    // An eventfd is waited on like a socket; nothing else of a stream is used.
    let bell = std::net::TcpStream::from(inbox.bell_fd()?);
    let bell = monoio::net::TcpStream::from_std(bell)?;
    loop {
        let mut taken = 0;
        while let Some(item) = inbox.try_recv() {
            worker.take(item);
            taken += 1;
            if taken % ROUND_ITEMS == 0 {
                worker.run_due();
                worker.park_once().await;
            }
        }
        if worker.has_ended() {
            return Ok(());
        }
        if inbox.sleep() {
            bell.readable(false).await?;
            inbox.wake();
            if worker.on_epoll {
                worker.park_once().await;
            }
        }
    }
}

impl Worker {
    fn take(self: &Rc<Self>, item: Item) {
        match item {
            Item::Batch { sent_at, messages, load: _load } => self.core.with(|shard| {
                let hop = shard.now().saturating_sub(sent_at);
                shard.record(crate::telemetry::Stage::MeshHop, hop);
                for message in messages {
                    shard.handle_mesh(message);
                }
            }),
            Item::Moved(moved) => {
                self.core.with(|shard| shard.counters_mut().handovers_in += 1);
                self.adopt(moved);
            }
            Item::Certificate(config) => *self.tls.borrow_mut() = Some(config),
            Item::Errand(errand) => {
                let io = Io::new(Rc::clone(&self.core));
                self.core.errand(|| errand(&io));
            }
            Item::Answer { conn, bytes, keep_alive } => {
                self.core.with(|shard| shard.respond_forwarded(conn, &bytes, keep_alive));
            }
            Item::Sibling(news) => self.hear_sibling(news),
            Item::Orders(orders) => self.obey(orders),
        }
    }
}
