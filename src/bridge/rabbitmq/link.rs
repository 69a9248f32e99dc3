//! Connections to the broker, and what is declared there.

use std::pin::Pin;

use futures_util::Stream;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, Event, ExchangeKind};

use super::files;
use super::settings::{RETRY_MS, Settings};
use super::trouble::{Trouble, judge};
use crate::config::RabbitDeclare;

/// Rule of the broker's documentation: 5 to 20 s.
const HEARTBEAT_S: u16 = 10;
/// A connection that takes longer than this is given up.
const CONNECT_MAX: std::time::Duration = std::time::Duration::from_secs(10);
/// How long answers for a process that is gone are kept.
const REPLIES_KEPT_MS: u32 = 600_000;

/// Largest frame of a link, as RabbitMQ has it by default. Headers come in one frame, and lapin
/// reads what is nested in them by recursion: this bounds how deep, see [`STACK_BYTES`].
const FRAME_BYTES_MAX: u32 = 128 << 10;
/// Stack that lapin's thread needs for the headers of any frame: some 22,000 levels.
///
/// lapin starts that thread itself, with the stack that is usual for the process. The 2 MiB of
/// Rust are over at 1,000 levels of an unoptimised build and 4,000 of another, and a process that
/// runs out of stack is gone.
pub const STACK_BYTES: usize = 64 << 20;

/// A connection with the one channel that is used on it.
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) channel: Channel,
    pub(super) events: Pin<Box<dyn Stream<Item = Event> + Send>>,
}

/// Where the broker is, without what nobody may read.
pub(super) fn shown(url: &str) -> String {
    match url.parse::<AMQPUri>() {
        Ok(uri) => format!("{}:{} vhost {}", uri.authority.host, uri.authority.port, uri.vhost),
        Err(_) => String::from("?"),
    }
}

/// Connects and sees to the topology.
pub(super) async fn connect(
    settings: &Settings,
    role: &str,
    was_up: bool,
) -> Result<Link, Trouble> {
    let made = tokio::time::timeout(CONNECT_MAX, open(settings, role, was_up)).await;
    made.unwrap_or_else(|_| Err(Trouble::Passing(String::from("connecting took too long"))))
}

async fn open(settings: &Settings, role: &str, was_up: bool) -> Result<Link, Trouble> {
    let mut uri: AMQPUri = settings
        .url
        .parse()
        .map_err(|_| Trouble::Fatal(String::from("rabbitmq_url cannot be read")))?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
    let frame_max = uri.query.frame_max.filter(|bytes| *bytes > 0).unwrap_or(FRAME_BYTES_MAX);
    uri.query.frame_max = Some(frame_max.min(FRAME_BYTES_MAX));
    let name = format!("corewire {} {role}", settings.node);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let runtime = lapin::runtime::default_runtime();
    let runtime = runtime.map_err(|error| judge("connecting", &error, was_up))?;
    let trust = OwnedTLSConfig { identity: None, cert_chain: trusted(settings)? };
    let connection = Connection::connect_uri_with_config(uri, properties, trust, runtime)
        .await
        .map_err(|error| judge("connecting", &error, was_up))?;
    let events = Box::pin(connection.events_listener());
    topology(&connection, settings, was_up).await?;
    let channel = connection.create_channel().await;
    let channel = channel.map_err(|error| judge("opening a channel", &error, was_up))?;
    Ok(Link { connection, channel, events })
}

/// What is trusted besides the machine's certificates. Read for every connection, so that a file
/// that was replaced is used by the next one.
fn trusted(settings: &Settings) -> Result<Option<String>, Trouble> {
    let Some(path) = &settings.ca_file else { return Ok(None) };
    let bad = |why| Trouble::Fatal(format!("{} {}: {why}", files::CA_OPTION, path.display()));
    files::trusted(path).map(Some).map_err(bad)
}

/// Declares or checks, on a channel of its own: a refusal closes it.
async fn topology(
    connection: &Connection,
    settings: &Settings,
    was_up: bool,
) -> Result<(), Trouble> {
    if settings.declare == RabbitDeclare::None {
        return Ok(());
    }
    let channel = connection.create_channel().await;
    let channel = channel.map_err(|error| judge("opening a channel", &error, was_up))?;
    let passive = settings.declare == RabbitDeclare::Passive;
    let declare = Declare { channel: &channel, passive, was_up };
    declare.exchange(&settings.commands, ExchangeKind::Topic).await?;
    declare.exchange(&settings.events, ExchangeKind::Topic).await?;
    declare.exchange(&settings.dead.0, ExchangeKind::Topic).await?;
    declare.exchange(&settings.unrouted, ExchangeKind::Fanout).await?;
    // Not a stream: one that is declared shortly before a broker of 3.10 is killed is lost.
    declare.queue(&settings.dead.1, kind("quorum")).await?;
    declare.bind(&settings.dead.1, &settings.dead.0).await?;
    declare.bind(&settings.dead.1, &settings.unrouted).await?;
    declare.queue(&settings.queue, kind("quorum")).await?;
    declare.bind(&settings.queue, &settings.commands).await?;
    for (at, ms) in RETRY_MS.iter().enumerate() {
        let Some(name) = settings.retry_queue(at + 1) else { continue };
        let mut arguments = kind("quorum");
        let mut set = |name: &str, value: AMQPValue| {
            arguments.insert(name.into(), value);
        };
        set("x-message-ttl", AMQPValue::LongLongInt(i64::try_from(*ms).unwrap_or(i64::MAX)));
        set("x-dead-letter-exchange", text(""));
        set("x-dead-letter-routing-key", text(&settings.queue));
        set("x-dead-letter-strategy", text("at-least-once"));
        set("x-overflow", text("reject-publish"));
        declare.queue(&name, arguments).await?;
    }
    let look = Declare { channel: &channel, passive: true, was_up };
    for exchange in &settings.others {
        look.exchange(exchange, ExchangeKind::Topic).await?;
    }
    // Whoever closes it too early is told by the next declaration.
    let _closed = channel.close(200, "OK".into()).await;
    Ok(())
}

/// This process's queue of answers. It outlives a connection that is lost, and not much more.
pub(super) async fn declare_replies(
    channel: &Channel,
    settings: &Settings,
    was_up: bool,
) -> Result<(), Trouble> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-expires".into(), AMQPValue::LongUInt(REPLIES_KEPT_MS));
    let declare = Declare { channel, passive: false, was_up };
    declare.queue(&settings.replies, arguments).await
}

/// A queue of our own on the exchange of python-socketio's managers; its name.
pub(super) async fn declare_python(
    channel: &Channel,
    exchange: &str,
    was_up: bool,
) -> Result<String, Trouble> {
    let what = format!("the exchange {exchange}");
    let options = ExchangeDeclareOptions::default();
    channel
        .exchange_declare(exchange.into(), ExchangeKind::Fanout, options, FieldTable::default())
        .await
        .map_err(|error| judge(&what, &error, was_up))?;
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
    let queue = channel
        .queue_declare("".into(), options, FieldTable::default())
        .await
        .map_err(|error| judge(&what, &error, was_up))?;
    let name = queue.name().to_string();
    let declare = Declare { channel, passive: false, was_up };
    declare.bind(&name, exchange).await?;
    Ok(name)
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn kind(name: &str) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text(name));
    arguments
}

struct Declare<'a> {
    channel: &'a Channel,
    passive: bool,
    was_up: bool,
}

impl Declare<'_> {
    async fn exchange(&self, name: &str, kind: ExchangeKind) -> Result<(), Trouble> {
        let options = ExchangeDeclareOptions {
            durable: true,
            passive: self.passive,
            ..ExchangeDeclareOptions::default()
        };
        self.channel
            .exchange_declare(name.into(), kind, options, FieldTable::default())
            .await
            .map_err(|error| judge(&format!("the exchange {name}"), &error, self.was_up))
    }

    async fn queue(&self, name: &str, arguments: FieldTable) -> Result<(), Trouble> {
        let options = QueueDeclareOptions {
            durable: true,
            passive: self.passive,
            ..QueueDeclareOptions::default()
        };
        let declared = self.channel.queue_declare(name.into(), options, arguments).await;
        let declared = declared.map(|_| ());
        declared.map_err(|error| judge(&format!("the queue {name}"), &error, self.was_up))
    }

    async fn bind(&self, queue: &str, exchange: &str) -> Result<(), Trouble> {
        if self.passive {
            return Ok(());
        }
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        let bound =
            self.channel.queue_bind(queue.into(), exchange.into(), "#".into(), options, arguments);
        let what = format!("binding {queue} to {exchange}");
        bound.await.map_err(|error| judge(&what, &error, self.was_up))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table whose one value holds another, and so on, in as many bytes as a frame may have.
    fn deepest(kind: u8) -> Vec<u8> {
        let name: &[u8] = if kind == b'F' { &[0] } else { &[] };
        let level = 5 + name.len();
        let depth = (FRAME_BYTES_MAX as usize - 64) / level;
        let mut table = vec![0; 5];
        let mut left = depth * level + 1;
        for _ in 0..depth {
            left -= level;
            table.push(kind);
            let len = u32::try_from(left + name.len()).expect("a frame is short");
            table.extend(len.to_be_bytes());
            table.extend(name);
        }
        table.push(b'V');
        let len = u32::try_from(table.len() - 4).expect("a frame is short");
        table[..4].copy_from_slice(&len.to_be_bytes());
        table
    }

    #[test]
    fn headers_as_deep_as_a_frame_holds_fit_the_stack() {
        for kind in [b'A', b'F'] {
            let reader = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
                let table = deepest(kind);
                let read = lapin::types::parsing::parse_field_table(&table[..]);
                let (rest, read) = read.expect("it is a table");
                assert!(rest.is_empty() && table.len() > 130_000);
                // What is done with headers on their way to the dead letters.
                drop(read.clone());
            });
            reader.expect("a thread can be had").join().expect("the stack suffices");
        }
    }
}
