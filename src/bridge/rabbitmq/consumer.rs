//! What comes in: commands, answers, and messages of python-socketio managers.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
    BasicRejectOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Event};
use tokio::sync::mpsc;

use super::acks::Acks;
use super::backoff::Backoff;
use super::carry::{Carrier, End, Ended};
use super::clock::{self, unix_ms};
use super::line::Direct;
use super::link::{self, Link};
use super::pace::Prefetch;
use super::replies::Replies;
use super::settings::Settings;
use super::trouble::{Trouble, judge};
use super::{LINK, Shared, python, reached, reply};
use crate::bridge::Standing;
use crate::config::LogLevel;
use crate::telemetry::LinkState;

/// The name of the command consumer on its channel.
const COMMANDS: &str = "commands";
/// Between two words to the broker about what is done.
const FLUSH: Duration = Duration::from_millis(5);
/// Between two looks at how things go.
const LOOK: Duration = Duration::from_millis(250);
/// Answers fetched ahead.
const REPLIES_PREFETCH: u16 = 64;
/// A stable connection is one that has lasted this long: what fails earlier is tried ever later.
const STABLE_MS: u64 = 5_000;

type Jobs = FuturesUnordered<Pin<Box<dyn Future<Output = Ended> + Send>>>;

/// The consumer, whatever its connection does.
pub(super) struct Consumer {
    shared: Shared,
    settings: Arc<Settings>,
    replies: Arc<Mutex<Replies>>,
    carrier: Carrier,
    prefetch: Prefetch,
    was_up: bool,
}

/// One connection of it.
struct Session {
    link: Link,
    commands: Option<lapin::Consumer>,
    answers: lapin::Consumer,
    answers_channel: Channel,
    python: Option<lapin::Consumer>,
    acks: Acks,
    jobs: Jobs,
    draining: bool,
}

impl Consumer {
    pub(super) fn new(
        shared: Shared,
        settings: Arc<Settings>,
        replies: Arc<Mutex<Replies>>,
        direct: mpsc::Sender<Direct>,
    ) -> Self {
        let (high, low) = settings.prefetch;
        let carrier = Carrier { shared: shared.clone(), settings: Arc::clone(&settings), direct };
        let prefetch = Prefetch::new(high, low);
        Self { shared, settings, replies, carrier, prefetch, was_up: false }
    }

    /// Runs until the process closes.
    pub(super) async fn run(mut self) {
        let mut standing = self.shared.common.standing.clone();
        tokio::select! {
            () = reached(&mut standing, Standing::Closing) => {}
            () = self.live() => {}
        }
    }

    /// Connects, consumes, and does it again, until there is no use in it.
    async fn live(&mut self) {
        let mut backoff = Backoff::default();
        loop {
            let began_ms = unix_ms();
            let trouble = match self.open().await {
                Ok(session) => {
                    self.was_up = true;
                    self.shared.count(|counters| counters.amqp_connects += 1);
                    self.shared.say(LINK.consumer, LinkState::Up, "");
                    let fields = vec![("queue", self.settings.queue.clone())];
                    (self.shared.common.log)(LogLevel::Info, "rabbitmq consumer up", fields);
                    self.consume(session).await
                }
                Err(trouble) => trouble,
            };
            if unix_ms() >= began_ms + STABLE_MS {
                backoff.reset();
            }
            let (state, level, event) = match trouble {
                Trouble::Fatal(_) => {
                    (LinkState::Misconfigured, LogLevel::Error, "rabbitmq consumer given up")
                }
                Trouble::Passing(_) => (LinkState::Down, LogLevel::Warn, "rabbitmq consumer down"),
            };
            if self.shared.say(LINK.consumer, state, trouble.why()) {
                let fields = vec![("why", trouble.why().to_owned())];
                (self.shared.common.log)(level, event, fields);
            }
            if matches!(trouble, Trouble::Fatal(_)) {
                return;
            }
            let wait_ms = backoff.next_ms(clock::random());
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
    }

    async fn open(&mut self) -> Result<Session, Trouble> {
        let was_up = self.was_up;
        let link = link::connect(&self.settings, "consumer", was_up).await?;
        let ours = link.connection.create_channel().await;
        let answers_channel = ours.map_err(|error| judge("opening a channel", &error, was_up))?;
        link::declare_replies(&answers_channel, &self.settings, was_up).await?;
        qos(&answers_channel, REPLIES_PREFETCH, was_up).await?;
        let queue = &self.settings.replies;
        let answers = start(&answers_channel, queue, "answers", false, was_up).await?;
        let python = match &self.settings.python {
            Some(exchange) => {
                let queue = link::declare_python(&answers_channel, exchange, was_up).await?;
                Some(start(&answers_channel, &queue, "python", true, was_up).await?)
            }
            None => None,
        };
        let is_open = *self.shared.common.standing.borrow() == Standing::Open;
        let commands = match self.settings.take_commands && is_open {
            true => Some(self.subscribe(&link.channel, self.prefetch.current()).await?),
            false => None,
        };
        Ok(Session {
            link,
            commands,
            answers,
            answers_channel,
            python,
            acks: Acks::default(),
            jobs: FuturesUnordered::new(),
            draining: !is_open,
        })
    }

    async fn subscribe(
        &self,
        channel: &Channel,
        prefetch: u16,
    ) -> Result<lapin::Consumer, Trouble> {
        qos(channel, prefetch, self.was_up).await?;
        start(channel, &self.settings.queue, COMMANDS, false, self.was_up).await
    }

    /// Consumes until something is wrong.
    async fn consume(&mut self, mut session: Session) -> Trouble {
        let mut standing = self.shared.common.standing.clone();
        let mut flush = tokio::time::interval(FLUSH);
        flush.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                biased;
                Some(ended) = session.jobs.next(), if !session.jobs.is_empty() => {
                    self.ended(&mut session, &ended).await
                }
                _ = flush.tick(), if session.acks.has_done() => session.flush().await,
                delivery = next(&mut session.commands) => self.command(&mut session, delivery).await,
                delivery = session.answers.next() => self.answer(&session.answers_channel, delivery).await,
                delivery = next(&mut session.python) => self.manager(delivery),
                event = session.link.events.next() => told(event),
                () = reached(&mut standing, Standing::Draining), if !session.draining => {
                    session.drain().await
                }
                _ = look.tick() => self.look(&mut session).await,
            };
            if let Err(trouble) = step {
                return trouble;
            }
        }
    }

    async fn command(
        &self,
        session: &mut Session,
        delivery: Option<lapin::Result<Delivery>>,
    ) -> Result<(), Trouble> {
        let delivery = match delivery {
            Some(delivery) => delivery.map_err(|error| judge("consuming", &error, true))?,
            None if session.draining => {
                session.commands = None;
                return Ok(());
            }
            None => return Err(Trouble::Passing(String::from("the command queue is gone"))),
        };
        let tag = delivery.delivery_tag;
        if session.draining {
            return give_back(&session.link.channel, tag).await;
        }
        session.acks.came(tag);
        session.jobs.push(Box::pin(self.carrier.clone().carry(delivery)));
        Ok(())
    }

    async fn ended(&mut self, session: &mut Session, ended: &Ended) -> Result<(), Trouble> {
        let now_ms = unix_ms();
        if ended.behind {
            self.prefetch.behind(now_ms);
        }
        match ended.end {
            End::Ack => session.acks.done(ended.tag, now_ms),
            End::Requeue => {
                session.acks.forget(ended.tag);
                give_back(&session.link.channel, ended.tag).await?;
            }
            End::Reject => {
                session.acks.forget(ended.tag);
                let options = BasicRejectOptions { requeue: false };
                let said = session.link.channel.basic_reject(ended.tag, options).await;
                said.map_err(|error| judge("rejecting", &error, true))?;
            }
        }
        if session.acks.is_due() { session.flush().await } else { Ok(()) }
    }

    async fn answer(
        &self,
        channel: &Channel,
        delivery: Option<lapin::Result<Delivery>>,
    ) -> Result<(), Trouble> {
        let gone = || Trouble::Passing(String::from("the queue of answers is gone"));
        let delivery = delivery.ok_or_else(gone)?;
        let delivery = delivery.map_err(|error| judge("consuming", &error, true))?;
        let Delivery { delivery_tag, properties, data, .. } = delivery;
        let taken = reply::take(&self.shared, &self.replies, &properties, &data).await;
        if let Err(dead) = taken {
            let carrier = self.carrier.clone();
            // Not awaited: other answers do not wait for a broker that is slow to confirm.
            tokio::spawn(async move {
                carrier.bury(&properties, &data, dead.code, &dead.message).await;
            });
        }
        let acked = channel.basic_ack(delivery_tag, BasicAckOptions::default());
        acked.await.map_err(|error| judge("acknowledging", &error, true))
    }

    /// A message of a manager; nobody is told what became of it.
    fn manager(&self, delivery: Option<lapin::Result<Delivery>>) -> Result<(), Trouble> {
        let gone = || Trouble::Passing(String::from("the managers' queue is gone"));
        let delivery = delivery.ok_or_else(gone)?;
        let delivery = delivery.map_err(|error| judge("consuming", &error, true))?;
        self.shared.count(|counters| counters.amqp_python += 1);
        if let Some(order) = python::read(&delivery.data) {
            let desk = Arc::clone(&self.shared.common.desk);
            tokio::spawn(async move { desk.run(order.verb, &order.body, None).await });
        }
        Ok(())
    }

    async fn look(&mut self, session: &mut Session) -> Result<(), Trouble> {
        let held = session.acks.len() as u64;
        self.shared.count(|counters| counters.amqp_commands_held = held);
        if session.draining || session.commands.is_none() {
            return Ok(());
        }
        if let Some(prefetch) = self.prefetch.change(unix_ms()) {
            // The number holds for consumers that are started after it.
            session.cancel().await?;
            session.commands = Some(self.subscribe(&session.link.channel, prefetch).await?);
        }
        Ok(())
    }
}

impl Session {
    /// Says what is done.
    async fn flush(&mut self) -> Result<(), Trouble> {
        for ack in self.acks.take(unix_ms()) {
            let options = BasicAckOptions { multiple: ack.multiple };
            let said = self.link.channel.basic_ack(ack.tag, options).await;
            said.map_err(|error| judge("acknowledging", &error, true))?;
        }
        Ok(())
    }

    /// No more commands come; those that were fetched and not begun go back.
    async fn cancel(&mut self) -> Result<(), Trouble> {
        let cancelled =
            self.link.channel.basic_cancel(COMMANDS.into(), BasicCancelOptions::default()).await;
        cancelled.map_err(|error| judge("cancelling", &error, true))?;
        if let Some(commands) = &mut self.commands {
            while let Some(Ok(delivery)) = commands.next().await {
                give_back(&self.link.channel, delivery.delivery_tag).await?;
            }
        }
        self.commands = None;
        Ok(())
    }

    /// The process drains: what was begun is finished.
    async fn drain(&mut self) -> Result<(), Trouble> {
        self.draining = true;
        if self.commands.is_some() { self.cancel().await } else { Ok(()) }
    }
}

/// Not now, and not its fault: somebody else may have it.
async fn give_back(channel: &Channel, tag: u64) -> Result<(), Trouble> {
    let options = BasicNackOptions { multiple: false, requeue: true };
    let said = channel.basic_nack(tag, options).await;
    said.map_err(|error| judge("giving back", &error, true))
}

async fn next(consumer: &mut Option<lapin::Consumer>) -> Option<lapin::Result<Delivery>> {
    match consumer {
        Some(consumer) => consumer.next().await,
        None => std::future::pending().await,
    }
}

fn told(event: Option<Event>) -> Result<(), Trouble> {
    match event {
        Some(Event::Error(error)) => Err(judge("the connection", &error, true)),
        None => Err(Trouble::Passing(String::from("the connection ended"))),
        Some(_) => Ok(()),
    }
}

async fn qos(channel: &Channel, prefetch: u16, was_up: bool) -> Result<(), Trouble> {
    let set = channel.basic_qos(prefetch, BasicQosOptions::default()).await;
    set.map_err(|error| judge("the prefetch", &error, was_up))
}

async fn start(
    channel: &Channel,
    queue: &str,
    tag: &str,
    no_ack: bool,
    was_up: bool,
) -> Result<lapin::Consumer, Trouble> {
    let options = BasicConsumeOptions { no_ack, ..BasicConsumeOptions::default() };
    let consumer =
        channel.basic_consume(queue.into(), tag.into(), options, FieldTable::default()).await;
    consumer.map_err(|error| judge(&format!("consuming {queue}"), &error, was_up))
}
