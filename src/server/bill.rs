//! The memory bill of the process, added up from the limits.

use super::Server;
use crate::command::LEDGER_BYTES_MAX;
use crate::gateway::backend::ROUTED_BYTES_MAX;

/// What the admin core may hold: 256 connections of its own listener with a body of a megabyte
/// each, whose callers have a key or are on this machine; its histograms; lines of the log.
const ADMIN_BYTES: usize = 288 << 20;
/// What waits for the bridges beside events: 16,384 tokens of 8 KiB, facts, and clients to be
/// asked about, whose requests count on their core.
const INLETS_BYTES: usize = 192 << 20;
/// Dead letters of one webhook.
const DEAD_LETTERS_BYTES: usize = 32 << 20;

impl Server {
    /// Bytes of one worker at its very worst: the limits of its core, and the memory of the
    /// compressor where messages may be compressed.
    #[must_use]
    pub fn core_bytes_max(&self, workers: usize) -> usize {
        let options = &self.options;
        let packs = options.deflate || options.http_compression;
        let press = if packs { options.deflate_memory_bytes } else { 0 };
        let routed = if self.gateway { ROUTED_BYTES_MAX } else { 0 };
        self.limits().core_bytes_max(workers) + press + routed
    }

    /// Bytes of everything beside the workers at its very worst: admin core, answers kept for
    /// commands that come twice, what waits for back ends.
    #[must_use]
    pub fn shared_bytes_max(&self) -> usize {
        let options = &self.options;
        let spool =
            if options.rabbitmq_url.is_some() { options.rabbitmq_spool_bytes_max } else { 0 };
        let hooks = self.tables.hooks.len() * DEAD_LETTERS_BYTES;
        let inlets = if self.gateway { INLETS_BYTES } else { 0 };
        ADMIN_BYTES + LEDGER_BYTES_MAX + spool + hooks + inlets
    }
}
