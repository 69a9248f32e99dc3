//! Messages on their way between two processes: each with its length in front.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::parting::Parting;
use crate::base::Load;
use crate::shard::SiblingMsg;
use crate::worker::{SiblingBatch, SiblingOutlet};

/// How long the other one may take nothing at all.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of one message.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Bytes written at once, the last message left out.
const WRITE_BYTES: usize = 64 << 10;

/// A line to another process, as the admin core keeps it.
pub(super) struct Line {
    /// What workers have said before anybody was to hear it.
    pub(super) first: Vec<SiblingBatch>,
    pub(super) waiting: mpsc::UnboundedReceiver<SiblingBatch>,
    /// Told when a worker could not hand something over.
    pub(super) broken: Arc<Notify>,
}

impl Line {
    /// A line, and the workers' end of it.
    pub(super) fn new() -> (SiblingOutlet, Self) {
        let (queue, waiting) = mpsc::unbounded_channel();
        let broken = Arc::new(Notify::new());
        let outlet = SiblingOutlet { queue, load: Load::default(), broken: Arc::clone(&broken) };
        (outlet, Self { first: Vec::new(), waiting, broken })
    }

    /// Waits until so many workers have begun.
    pub(super) async fn begin(&mut self, mut workers: usize) {
        while workers > 0
            && let Some(batch) = self.waiting.recv().await
        {
            let begins = |message: &&SiblingMsg| matches!(message, SiblingMsg::Begin { .. });
            workers = workers.saturating_sub(batch.0.iter().filter(begins).count());
            self.first.push(batch);
        }
    }
}

/// Reads messages.
pub(super) struct Reader {
    stream: BufReader<OwnedReadHalf>,
    bytes: Vec<u8>,
}

impl Reader {
    pub(super) fn new(stream: OwnedReadHalf) -> Self {
        Self { stream: BufReader::with_capacity(WRITE_BYTES, stream), bytes: Vec::new() }
    }

    pub(super) async fn next(&mut self) -> Result<SiblingMsg, Parting> {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len).await?;
        let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
        if len > MESSAGE_BYTES_MAX {
            return Err(Parting::TooLarge);
        }
        self.bytes.clear();
        self.bytes.shrink_to(WRITE_BYTES);
        self.bytes.resize(len, 0);
        self.stream.read_exact(&mut self.bytes).await?;
        SiblingMsg::unpack(&self.bytes).ok_or(Parting::Garbled)
    }
}

/// Writes what workers say, until there is no worker any more.
pub(super) async fn write(
    mut writer: OwnedWriteHalf,
    first: Vec<SiblingBatch>,
    waiting: &mut mpsc::UnboundedReceiver<SiblingBatch>,
) -> Parting {
    let (mut bytes, mut first) = (Vec::new(), first.into_iter());
    while let Some((messages, load)) = match first.next() {
        Some(batch) => Some(batch),
        None => waiting.recv().await,
    } {
        for message in messages {
            if let Err(why) = append(&mut bytes, &message) {
                return why;
            }
            if bytes.len() >= WRITE_BYTES
                && let Err(why) = send(&mut writer, &mut bytes).await
            {
                return why;
            }
        }
        drop(load);
        if waiting.is_empty()
            && let Err(why) = send(&mut writer, &mut bytes).await
        {
            return why;
        }
    }
    Parting::Done
}

/// Drops what workers say, until there is no worker any more.
pub(super) async fn forget(waiting: &mut mpsc::UnboundedReceiver<SiblingBatch>) -> Parting {
    while waiting.recv().await.is_some() {}
    Parting::Done
}

async fn send(writer: &mut OwnedWriteHalf, bytes: &mut Vec<u8>) -> Result<(), Parting> {
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let written = timeout(WRITE_TIMEOUT, writer.write(rest)).await;
        rest = &rest[written.map_err(|_| Parting::Silent)??..];
    }
    bytes.clear();
    bytes.shrink_to(2 * WRITE_BYTES);
    Ok(())
}

/// Appends a message with its length in front.
fn append(bytes: &mut Vec<u8>, message: &SiblingMsg) -> Result<(), Parting> {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    let packed = message.pack(bytes);
    let len = bytes.len() - start - 4;
    if !packed || len > MESSAGE_BYTES_MAX {
        return Err(Parting::TooLarge);
    }
    let len = u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
    bytes[start..start + 4].copy_from_slice(&len);
    Ok(())
}
