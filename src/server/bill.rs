//! The memory bill of the process, added up from the limits.

use super::Server;
use crate::command::LEDGER_BYTES_MAX;
use crate::deflate::{MACHINERY_BYTES, PACK_BYTES_MAX};
use crate::gateway::backend::ROUTED_BYTES_MAX;
use crate::worker::{SIBLING_BYTES_MAX, TLS_BUFFERS_BYTES, TLS_CONN_BYTES};

/// What the admin core may hold: 256 connections of its own listener with a body of a megabyte
/// each, whose callers have a key or are on this machine; its histograms; lines of the log.
const ADMIN_BYTES: usize = 288 << 20;
/// What waits for the bridges beside events: 16,384 tokens of 8 KiB, facts, and clients to be
/// asked about, whose requests count on their core.
const INLETS_BYTES: usize = 192 << 20;
/// Dead letters of one webhook.
const DEAD_LETTERS_BYTES: usize = 32 << 20;

impl Server {
    /// Bytes of one worker at its very worst: the limits of its core, what compression takes
    /// where there is any, and what TLS takes where it listens.
    #[must_use]
    pub fn core_bytes_max(&self, workers: usize) -> usize {
        let routed = if self.gateway { ROUTED_BYTES_MAX } else { 0 };
        let limits = self.limits();
        // What a core keeps for a process that takes over, until all cores know of it.
        let sibling = if self.options.recovery { SIBLING_BYTES_MAX } else { 0 };
        let beside = self.compression_bytes_max() + self.tls_bytes_max(limits.conns_max) + sibling;
        limits.core_bytes_max(workers) + beside + routed
    }

    /// What compression takes of one worker: the compressed forms of messages that wait for
    /// others too, the machinery, and what is in its hands at one time. A compressed answer to a
    /// poll counts among what waits.
    fn compression_bytes_max(&self) -> usize {
        let options = &self.options;
        if !options.deflate && !options.http_compression {
            return 0;
        }
        // The form with which its bound is passed.
        let kept = if options.deflate { options.deflate_memory_bytes + PACK_BYTES_MAX } else { 0 };
        // A message that grows is moved into twice the room.
        let inflated = if options.deflate { 2 * self.limits().message_bytes_max } else { 0 };
        kept + MACHINERY_BYTES + PACK_BYTES_MAX + inflated
    }

    /// What TLS takes of one worker, all its connections having it. Records that came in part
    /// count among what has arrived in part, sealed ones that the kernel did not take among what
    /// waits.
    fn tls_bytes_max(&self, conns_max: usize) -> usize {
        if self.options.tls_listen.is_empty() {
            return 0;
        }
        conns_max * TLS_CONN_BYTES + TLS_BUFFERS_BYTES
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
        // What waits for the process that replaces this one, what waits here of it, and a message
        // in each direction.
        let sibling = if options.recovery { 4 * SIBLING_BYTES_MAX } else { 0 };
        ADMIN_BYTES + LEDGER_BYTES_MAX + spool + hooks + inlets + sibling
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Options, Tables};

    fn bill(change: impl FnOnce(&mut Options)) -> usize {
        let mut options = Options { deflate: false, http_compression: false, ..Options::default() };
        options.tls_listen.clear();
        change(&mut options);
        Server::gateway(options, Tables::default()).core_bytes_max(2)
    }

    #[test]
    fn compression_and_tls_are_in_the_bill_where_they_are_on() {
        let bare = bill(|_| ());
        let options = Options::default();
        let of_http = bill(|options| options.http_compression = true) - bare;
        assert_eq!(of_http, MACHINERY_BYTES + PACK_BYTES_MAX);
        let of_messages = bill(|options| options.deflate = true) - bare;
        assert!(of_messages > of_http + options.deflate_memory_bytes);
        let of_tls = bill(|options| options.tls_listen = vec![([127, 0, 0, 1], 1).into()]) - bare;
        assert_eq!(of_tls, options.conns_max * TLS_CONN_BYTES + TLS_BUFFERS_BYTES);
    }
}
