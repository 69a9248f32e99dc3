//! # rabbitmq: client events out, commands and answers in
//!
//! Two connections: one publishes, one consumes, because a broker short of memory stops reading
//! from whoever publishes. Both are made again when they are lost, each by itself.
//!
//! Owns: the two connections, the spool, the book of unconfirmed messages, the table of awaited
//! answers.
//! Imports: `gateway::backend` (events), `command` (what commands ask for), `api` (answers to
//! users), `config`, `telemetry`, `base`; lapin, tokio.
//!
//! Holds at all times:
//! - every event is settled once, and by a true word: *accepted* is confirmed by the broker,
//!   *queued* is held here within bounds;
//! - one client's messages leave in the order they came, but for a message sent again because
//!   nobody knows whether it arrived, which has the id it had;
//! - a delivery is acknowledged after the cores took it, or after another queue has it;
//! - no worker waits for anything here.
//!
//! Pure, with tests beside them: `abreast`, `acks`, `backoff`, `book`, `command`, `ids`, `message`, `pace`,
//! `python`, `replies`, `spool`, `trouble`. Read first: `publisher.rs`, then `consumer.rs`.

mod abreast;
mod acks;
mod backoff;
mod book;
mod carry;
mod clock;
mod command;
mod consumer;
mod files;
mod ids;
mod inlet;
pub mod inputs;
mod line;
mod link;
mod message;
mod pace;
mod policy;
mod publisher;
mod python;
mod replies;
mod reply;
mod segments;
mod settings;
mod spool;
mod store;
mod trouble;
mod turns;
mod wire;

use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};

use super::thread::{Common, Standing};
use crate::config::LogLevel;
use crate::gateway::backend::{Fact, Outcome, RoutedEvent, Ticket};
use crate::telemetry::{Counters, Link, LinkState};
pub use files::check_rabbitmq_files;
use inlet::Inlet;
pub use link::STACK_BYTES;
pub use policy::rabbitmq_policies;
use publisher::Publisher;
use settings::Settings;
use store::Store;

/// Things the consumer may have to publish at one time.
const DIRECT_MAX: usize = 4_096;

/// The names of the links in health.
struct Links {
    publisher: &'static str,
    consumer: &'static str,
}

const LINK: Links = Links { publisher: "rabbitmq publisher", consumer: "rabbitmq consumer" };

/// What both connections' tasks have.
#[derive(Clone)]
struct Shared {
    common: Common,
}

impl Shared {
    fn settle(&self, ticket: Ticket, outcome: Outcome) {
        let common = self.common.clone();
        tokio::spawn(async move { common.settle(ticket, outcome).await });
    }

    fn count(&self, add: impl FnOnce(&mut Counters)) {
        self.common.outside.count(add);
    }

    /// Says how a link is; whether that is news.
    fn say(&self, name: &'static str, state: LinkState, why: &str) -> bool {
        let outside = &self.common.outside;
        let before = outside.links().get(name).map(|link| link.state);
        let required = self.common.options.rabbitmq_required;
        let since = crate::command::unix_ms();
        outside.say(name, Link { state, required, why: why.to_owned(), since });
        before != Some(state)
    }
}

/// Waits until the process has come so far.
async fn reached(standing: &mut watch::Receiver<Standing>, goal: Standing) {
    // Whoever says so may be gone: then it has come to its end.
    let _gone = standing.wait_for(|standing| *standing >= goal).await;
}

/// What workers hand over to the broker.
pub(super) struct Work {
    pub(super) events: mpsc::Receiver<RoutedEvent>,
    pub(super) facts: mpsc::Receiver<Fact>,
}

/// Runs both connections until the process closes. Without a URL nothing is run, and what
/// comes is given back.
pub(super) async fn run(common: Common, work: Work) -> Option<Work> {
    let Some(settings) = Settings::new(&common.options, &common.tables, &clock::node_name()) else {
        return Some(work);
    };
    let settings = Arc::new(settings);
    let shared = Shared { common };
    for link in [LINK.publisher, LINK.consumer] {
        shared.say(link, LinkState::Connecting, "");
    }
    let store = match Store::open(&settings) {
        Ok((store, found)) => {
            if found.messages > 0 || found.torn_bytes > 0 {
                let fields = vec![
                    ("messages", found.messages.to_string()),
                    ("torn_bytes", found.torn_bytes.to_string()),
                ];
                (shared.common.log)(LogLevel::Info, "rabbitmq spool found", fields);
            }
            store
        }
        Err(error) => {
            let fields = vec![("why", error.to_string())];
            (shared.common.log)(LogLevel::Error, "rabbitmq spool unusable", fields);
            shared.say(LINK.publisher, LinkState::Misconfigured, "the spool cannot be used");
            return Some(work);
        }
    };
    let replies = Arc::new(Mutex::new(replies::Replies::default()));
    let (direct, direct_in) = mpsc::channel(DIRECT_MAX);
    let publisher =
        Publisher::new(shared.clone(), Arc::clone(&settings), Arc::clone(&replies), store);
    let inlet = Inlet { events: work.events, facts: work.facts, direct: direct_in };
    let consumer = consumer::Consumer::new(shared, settings, replies, direct);
    tokio::join!(publisher.run(inlet), consumer.run());
    None
}
