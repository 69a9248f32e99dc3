//! Names and numbers, from the options.

use std::path::PathBuf;

use super::spool::{Bounds, Full};
use crate::config::{Destination, Options, RabbitDeclare, SpoolFull, Tables};

/// What the two connections must know of the configuration.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// With its password: never shown.
    pub(super) url: String,
    /// Certificates that are trusted besides the machine's.
    pub(super) ca_file: Option<PathBuf>,
    pub(super) declare: RabbitDeclare,
    /// This process, in names and headers.
    pub(super) node: String,
    /// Exchange of commands.
    pub(super) commands: String,
    /// Queue of commands.
    pub(super) queue: String,
    /// Exchange of client events.
    pub(super) events: String,
    /// Exchange of what nobody takes.
    pub(super) unrouted: String,
    /// Exchanges that routes name, which somebody else declares.
    pub(super) others: Vec<String>,
    /// Exchange and queue of dead letters.
    pub(super) dead: (String, String),
    /// This process's queue of answers.
    pub(super) replies: String,
    /// Exchange of python-socketio's managers.
    pub(super) python: Option<String>,
    pub(super) take_commands: bool,
    pub(super) require_message_id: bool,
    pub(super) prefetch: (u16, u16),
    pub(super) confirm_timeout_ms: u64,
    pub(super) bounds: Bounds,
    pub(super) folder: Option<(PathBuf, u64)>,
}

/// How long a message waits in each of the retry queues. Their names hold the number, so that it
/// can change without a queue that is declared in two ways.
pub(super) const RETRY_MS: [u64; 4] = [1_000, 4_000, 15_000, 60_000];

impl Settings {
    /// `None` if there is no broker.
    pub(super) fn new(options: &Options, tables: &Tables, boot: &str) -> Option<Self> {
        let url = options.rabbitmq_url.as_ref()?.expose().to_owned();
        let prefix = &options.rabbitmq_prefix;
        let name = |end: &str| format!("{prefix}.{end}");
        let node = match options.rabbitmq_node.as_str() {
            "" => boot.to_owned(),
            node => node.to_owned(),
        };
        let path = |text: &str| Some(PathBuf::from(text)).filter(|_| !text.is_empty());
        let folder = path(&options.rabbitmq_spool_file);
        let in_file = folder.is_some();
        let file_bytes = options.rabbitmq_spool_file_bytes_max;
        Some(Self {
            url,
            ca_file: path(&options.rabbitmq_ca_file),
            declare: options.rabbitmq_declare,
            commands: name("commands"),
            queue: name("commands.q"),
            events: name("events"),
            unrouted: name("unrouted"),
            others: tables
                .routes
                .iter()
                .filter(|route| route.to == Destination::Rabbitmq)
                .filter_map(|route| route.exchange.clone())
                .collect(),
            dead: (name("dlx"), name("dead.q")),
            replies: format!("{prefix}.replies.{node}"),
            node,
            python: Some(options.rabbitmq_python_channel.clone()).filter(|name| !name.is_empty()),
            take_commands: options.rabbitmq_commands,
            require_message_id: options.rabbitmq_require_message_id,
            prefetch: (options.rabbitmq_prefetch, options.rabbitmq_prefetch_low),
            confirm_timeout_ms: options.rabbitmq_confirm_timeout_ms,
            bounds: Bounds {
                items_max: match (in_file, options.rabbitmq_spool_messages_max) {
                    (true, 1..) => usize::MAX,
                    (_, max) => max,
                },
                bytes_max: if in_file { file_bytes } else { options.rabbitmq_spool_bytes_max },
                full: match options.rabbitmq_spool_full {
                    SpoolFull::Reject => Full::Reject,
                    SpoolFull::DropOldest => Full::DropOldest,
                    SpoolFull::DropNewest => Full::DropNewest,
                },
            },
            folder: folder.map(|folder| (folder, file_bytes as u64)),
        })
    }

    /// The queue in which a command waits before its `attempt`th repetition, from 1.
    pub(super) fn retry_queue(&self, attempt: usize) -> Option<String> {
        let ms = RETRY_MS.get(attempt.checked_sub(1)?)?;
        Some(format!("{}.retry.{ms}", self.commands))
    }

    #[cfg(test)]
    pub(super) fn for_test() -> Self {
        let options = Options {
            rabbitmq_url: Some(crate::config::Secret::new("amqp://u:p@127.0.0.1")),
            ..Options::default()
        };
        Self::new(&options, &Tables::default(), "node1").expect("there is a url")
    }
}
