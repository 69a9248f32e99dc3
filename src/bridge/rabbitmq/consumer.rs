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

use super::abreast::Abreast;
use super::acks::Acks;
use super::backoff::Backoff;
use super::carry::{Carrier, End, Ended};
use super::clock;
use super::line::Direct;
use super::link::{self, Link};
use super::pace::Prefetch;
use super::replies::Replies;
use super::settings::Settings;
use super::trouble::{Trouble, judge};
use super::{LINK, Shared, python, reached, reply};
use crate::bridge::Standing;
use crate::command::unix_ms;
use crate::config::LogLevel;
use crate::telemetry::LinkState;

/// The name of the command consumer on its channel.
const COMMANDS: &str = "commands";
/// Between two words to the broker about what is done.
const FLUSH: Duration = Duration::from_millis(5);
/// Between two looks at how things go.
const LOOK: Duration = Duration::from_millis(250);
/// Answers fetched ahead, and so the most dead ones that wait for the broker to take them.
const REPLIES_PREFETCH: u16 = 256;
/// Messages of managers that are carried out at a time; more wait at the broker.
const PYTHON_PREFETCH: u16 = 256;
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
    /// Dead answers that the broker has not taken yet, by their tags.
    burials: Abreast<(u64, End)>,
    python: Option<lapin::Consumer>,
    python_channel: Channel,
    /// Messages of managers under way, by their tags.
    python_jobs: Abreast<u64>,
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
        let answers = start(&answers_channel, queue, "answers", was_up).await?;
        let ours = link.connection.create_channel().await;
        let python_channel = ours.map_err(|error| judge("opening a channel", &error, was_up))?;
        let python = match &self.settings.python {
            Some(exchange) => {
                let queue = link::declare_python(&python_channel, exchange, was_up).await?;
                qos(&python_channel, PYTHON_PREFETCH, was_up).await?;
                Some(start(&python_channel, &queue, "python", was_up).await?)
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
            burials: Abreast::new(REPLIES_PREFETCH),
            python,
            python_channel,
            python_jobs: Abreast::new(PYTHON_PREFETCH),
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
        start(channel, &self.settings.queue, COMMANDS, self.was_up).await
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
                event = session.link.events.next() => told(event),
                () = reached(&mut standing, Standing::Draining), if !session.draining => {
                    session.drain().await
                }
                _ = look.tick() => self.look(&mut session).await,
                delivery = next(&mut session.commands) => self.command(&mut session, delivery).await,
                (tag, end) = session.burials.next() => session.buried(tag, end).await,
                tag = session.python_jobs.next() => acked(&session.python_channel, tag).await,
                delivery = session.answers.next(), if session.burials.has_room() => {
                    self.answer(&mut session, delivery).await
                }
                delivery = next(&mut session.python), if session.python_jobs.has_room() => {
                    self.manager(&mut session, delivery)
                }
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
        session: &mut Session,
        delivery: Option<lapin::Result<Delivery>>,
    ) -> Result<(), Trouble> {
        let gone = || Trouble::Passing(String::from("the queue of answers is gone"));
        let delivery = delivery.ok_or_else(gone)?;
        let delivery = delivery.map_err(|error| judge("consuming", &error, true))?;
        let Delivery { delivery_tag, properties, data, .. } = delivery;
        let taken = reply::take(&self.shared, &self.replies, &properties, &data).await;
        let Err(dead) = taken else {
            return acked(&session.answers_channel, delivery_tag).await;
        };
        let carrier = self.carrier.clone();
        // Not awaited: other answers do not wait for a broker that is slow to confirm.
        let was_last = session.burials.begin(async move {
            let end = carrier.bury(&properties, &data, dead.code, &dead.message).await;
            (delivery_tag, end)
        });
        self.shared.count(|counters| counters.amqp_dead_full += u64::from(was_last));
        Ok(())
    }

    /// A message of a manager.
    fn manager(
        &self,
        session: &mut Session,
        delivery: Option<lapin::Result<Delivery>>,
    ) -> Result<(), Trouble> {
        let gone = || Trouble::Passing(String::from("the managers' queue is gone"));
        let delivery = delivery.ok_or_else(gone)?;
        let delivery = delivery.map_err(|error| judge("consuming", &error, true))?;
        let common = &self.shared.common;
        let (desk, outside) = (Arc::clone(&common.desk), Arc::clone(&common.outside));
        let was_last = session.python_jobs.begin(async move {
            python::carry(&delivery.data, &desk, &outside).await;
            delivery.delivery_tag
        });
        self.shared.count(|counters| {
            counters.amqp_python += 1;
            counters.amqp_python_full += u64::from(was_last);
        });
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

    /// A dead answer is with the dead letters, or stays in its queue.
    async fn buried(&mut self, tag: u64, end: End) -> Result<(), Trouble> {
        match end {
            End::Ack | End::Reject => acked(&self.answers_channel, tag).await,
            End::Requeue => give_back(&self.answers_channel, tag).await,
        }
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

async fn acked(channel: &Channel, tag: u64) -> Result<(), Trouble> {
    let said = channel.basic_ack(tag, BasicAckOptions::default()).await;
    said.map_err(|error| judge("acknowledging", &error, true))
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
    was_up: bool,
) -> Result<lapin::Consumer, Trouble> {
    let options = BasicConsumeOptions::default();
    let consumer =
        channel.basic_consume(queue.into(), tag.into(), options, FieldTable::default()).await;
    consumer.map_err(|error| judge(&format!("consuming {queue}"), &error, was_up))
}
