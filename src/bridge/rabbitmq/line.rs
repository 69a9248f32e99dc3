//! Where the publisher's connection stands, and what the consumer publishes by it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::ConfirmSelectOptions;
use lapin::{BasicProperties, Event};
use tokio::sync::oneshot;

use super::link::{self, Link};
use super::settings::Settings;
use super::trouble::{Trouble, judge};

type Making = Pin<Box<dyn Future<Output = Result<Link, Trouble>> + Send>>;

/// Something the consumer publishes: an answer, a dead letter, a repetition.
pub(super) struct Direct {
    pub(super) exchange: String,
    pub(super) key: String,
    pub(super) properties: BasicProperties,
    pub(super) body: Vec<u8>,
    /// Whether it must find a queue.
    pub(super) mandatory: bool,
    /// What became of it.
    pub(super) done: oneshot::Sender<Sent>,
}

/// What became of something published directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The broker has it.
    Yes,
    /// No queue takes it, or the broker refuses it.
    Refused,
    /// There is no broker, or nobody knows.
    Lost,
}

/// Where the connection stands.
pub(super) enum Line {
    Up(Box<Link>),
    Making(Making),
    /// It is not tried again.
    Given,
}

/// What a connection says.
pub(super) enum Heard {
    Made(Result<Box<Link>, Trouble>),
    Event(Option<Event>),
}

pub(super) async fn next_word(line: &mut Line) -> Heard {
    match line {
        Line::Up(link) => Heard::Event(link.events.next().await),
        Line::Making(making) => Heard::Made(making.await.map(Box::new)),
        Line::Given => std::future::pending().await,
    }
}

pub(super) fn making(settings: &Arc<Settings>, wait_ms: u64, was_up: bool) -> Making {
    let settings = Arc::clone(settings);
    Box::pin(async move {
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        let link = link::connect(&settings, "publisher", was_up).await?;
        let confirms = link.channel.confirm_select(ConfirmSelectOptions::default()).await;
        confirms.map_err(|error| judge("asking for confirms", &error, was_up))?;
        Ok(link)
    })
}
