//! One command from the queue to its end.

use std::sync::Arc;
use std::time::Duration;

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};
use tokio::sync::{mpsc, oneshot};

use super::clock;
use super::command::{self, Order, Refused};
use super::line::{Direct, Sent};
use super::settings::{RETRY_MS, Settings};
use super::wire::PERSISTENT;
use super::{Shared, wire};
use crate::bridge::body;
use crate::command::unix_ms;
use crate::command::{Answer, Repeat};

/// Between two tries to publish while the broker does not take anything.
const PUBLISH_AGAIN: Duration = Duration::from_millis(500);
/// Between two tries of a command that met a core which is behind.
const AGAIN: Duration = Duration::from_millis(50);
/// Tries before such a command is put off.
const TRIES: u32 = 5;
/// How long a command waits for the first one with its id.
const RUNNING_TRIES: u32 = 100;
/// Whose ids the message ids are, for the desk.
const WHOSE: &str = "rabbitmq";

/// What is to be said to the broker of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Ack,
    /// Not now, and not its fault.
    Requeue,
    /// Nobody could take it over: what the broker's own policy says happens.
    Reject,
}

/// A command that has ended.
pub(super) struct Ended {
    pub(super) tag: u64,
    pub(super) end: End,
    /// A core was behind.
    pub(super) behind: bool,
}

/// Carries commands out.
#[derive(Clone)]
pub(super) struct Carrier {
    pub(super) shared: Shared,
    pub(super) settings: Arc<Settings>,
    pub(super) direct: mpsc::Sender<Direct>,
}

/// What an answer means for its message.
enum Next {
    Done,
    Dead { code: String, message: String },
    Later,
}

impl Carrier {
    /// One delivery, to its end.
    pub(super) async fn carry(self, delivery: Delivery) -> Ended {
        let Delivery { delivery_tag: tag, routing_key, properties, data, .. } = delivery;
        let mut behind = false;
        let end = match self.order(&properties, routing_key.as_str(), &data) {
            Ok(None) => End::Ack,
            Ok(Some(order)) => {
                let (end, was_behind) = self.run(order, &properties, &data).await;
                behind = was_behind;
                end
            }
            Err(Refused { code, message }) => {
                let answer = refusal(code, &message);
                let answered = self.answer(&properties, 422, answer.into_bytes()).await;
                self.bury(&properties, &data, code, &message).await.after(answered)
            }
        };
        Ended { tag, end, behind }
    }

    /// What is asked for; nothing if it is too late.
    fn order(
        &self,
        properties: &BasicProperties,
        routing_key: &str,
        body: &[u8],
    ) -> Result<Option<Order>, Refused> {
        self.shared.count(|counters| counters.amqp_commands += 1);
        if command::deadline_ms(properties).is_some_and(|deadline| deadline <= unix_ms()) {
            self.shared.count(|counters| counters.amqp_expired += 1);
            return Ok(None);
        }
        let has_id = properties.message_id().as_ref().is_some_and(|id| !id.as_str().is_empty());
        if self.settings.require_message_id && !has_id {
            let message =
                String::from("a command needs a message_id, by which a repetition is known");
            return Err(Refused { code: "MESSAGE_ID_REQUIRED", message });
        }
        command::read(properties, routing_key, body).map(Some)
    }

    async fn run(&self, order: Order, properties: &BasicProperties, body: &[u8]) -> (End, bool) {
        let (answer, behind) = self.ask(order, properties).await;
        if answer.replayed {
            self.shared.count(|counters| counters.amqp_duplicates += 1);
        }
        let end = match next(&answer) {
            Next::Done => self.answer(properties, answer.status, answer.body).await,
            Next::Dead { code, message } => {
                let answered = self.answer(properties, answer.status, answer.body).await;
                self.bury(properties, body, &code, &message).await.after(answered)
            }
            Next::Later => self.put_off(properties, body).await,
        };
        (end, behind)
    }

    /// The desk's answer, and whether a core was behind.
    async fn ask(&self, order: Order, properties: &BasicProperties) -> (Answer, bool) {
        let id = properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default();
        let (mut tries, mut behind) = (0, false);
        loop {
            let key = Repeat { whose: WHOSE, key: &id };
            let key = Some(key).filter(|key| !key.key.is_empty());
            let answer = self.shared.common.desk.run(order.verb, &order.body, key).await;
            let running = answer.code.as_deref() == Some("IDEMPOTENCY_IN_PROGRESS");
            let passing = matches!(answer.status, 429 | 503);
            behind |= passing;
            tries += 1;
            let limit = if running { RUNNING_TRIES } else { TRIES };
            if !(running || passing) || tries >= limit {
                return (answer, behind);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Tells whoever asked what came of it.
    async fn answer(&self, properties: &BasicProperties, status: u16, body: Vec<u8>) -> End {
        let Some(reply_to) = properties.reply_to().as_ref().filter(|to| !to.as_str().is_empty())
        else {
            return End::Ack;
        };
        let mut headers = FieldTable::default();
        headers.insert("x-sio-status".into(), AMQPValue::LongUInt(u32::from(status)));
        let mut out = BasicProperties::default()
            .with_message_id(clock::message_id(unix_ms()).into())
            .with_content_type("application/json".into())
            .with_delivery_mode(PERSISTENT)
            .with_app_id("corewire".into())
            .with_headers(headers);
        if let Some(id) = properties.correlation_id() {
            out = out.with_correlation_id(id.clone());
        }
        match self.publish("", reply_to.as_str(), out, body, false).await {
            // Whoever asked may have left.
            Sent::Yes | Sent::Refused => End::Ack,
            Sent::Lost => End::Requeue,
        }
    }

    /// Publishes and waits for the broker's word; a broker that is away is waited for.
    async fn publish(
        &self,
        exchange: &str,
        key: &str,
        properties: BasicProperties,
        body: Vec<u8>,
        mandatory: bool,
    ) -> Sent {
        for _ in 0..10 {
            let (done, sent) = oneshot::channel();
            let direct = Direct {
                exchange: exchange.to_owned(),
                key: key.to_owned(),
                properties: properties.clone(),
                body: body.clone(),
                mandatory,
                done,
            };
            if self.direct.send(direct).await.is_err() {
                return Sent::Lost;
            }
            match sent.await {
                Ok(Sent::Lost) | Err(_) => tokio::time::sleep(PUBLISH_AGAIN).await,
                Ok(sent) => return sent,
            }
        }
        Sent::Lost
    }

    /// Gives a command to the dead letters, with the reason.
    pub(super) async fn bury(
        &self,
        properties: &BasicProperties,
        content: &[u8],
        code: &str,
        message: &str,
    ) -> End {
        // Without those that came with it, if there is no room beside them.
        let mut headers = properties.headers().clone().filter(wire::has_room).unwrap_or_default();
        let text = |text: &str| AMQPValue::LongString(text.into());
        headers.insert("x-sio-error-code".into(), text(code));
        headers.insert("x-sio-error-message".into(), text(&body::shortened(message.to_owned())));
        headers.insert("x-sio-node".into(), text(&self.settings.node));
        let out = with_id(kept(properties).with_headers(headers));
        match self.publish(&self.settings.dead.0, code, out, content.to_vec(), true).await {
            Sent::Yes => {
                self.shared.count(|counters| counters.amqp_dead_lettered += 1);
                End::Ack
            }
            Sent::Refused => End::Reject,
            Sent::Lost => End::Requeue,
        }
    }

    /// Puts a command off; after the last time it is dead.
    async fn put_off(&self, properties: &BasicProperties, body: &[u8]) -> End {
        let attempt = command::attempt(properties) + 1;
        let Some(queue) = self.settings.retry_queue(attempt) else {
            let message = format!("the cores were behind {} times", RETRY_MS.len() + 1);
            return self.bury(properties, body, "RETRIES_EXHAUSTED", &message).await;
        };
        let mut headers = properties.headers().clone().unwrap_or_default();
        let number =
            |number: u64| AMQPValue::LongLongInt(i64::try_from(number).unwrap_or(i64::MAX));
        headers.insert("x-sio-attempt".into(), number(attempt as u64));
        if let Some(deadline_ms) = command::deadline_ms(properties) {
            headers.insert("x-sio-deadline".into(), number(deadline_ms));
        }
        let out = with_id(kept(properties).with_headers(headers));
        match self.publish("", &queue, out, body.to_vec(), true).await {
            Sent::Yes => {
                self.shared.count(|counters| counters.amqp_retried += 1);
                End::Ack
            }
            Sent::Refused | Sent::Lost => End::Requeue,
        }
    }
}

impl End {
    /// The worse of two.
    fn after(self, before: Self) -> Self {
        if before == Self::Requeue { before } else { self }
    }
}

/// Whether what was asked for is done, or there was nobody to do it to.
pub(super) fn is_done(answer: &Answer) -> bool {
    matches!(next(answer), Next::Done)
}

fn next(answer: &Answer) -> Next {
    match answer.status {
        200..=299 => Next::Done,
        // What clients did, and not what is wrong with the command.
        504 if answer.code.as_deref() == Some("QUORUM_MISSED") => Next::Done,
        // Nobody to do it to is no mistake of the command.
        404 if answer.code.as_deref() == Some("USER_NOT_CONNECTED") => Next::Done,
        409 | 429 | 500..=599 => Next::Later,
        _ => Next::Dead {
            code: answer.code.clone().unwrap_or_default().into_owned(),
            message: sentence_of(&answer.body),
        },
    }
}

/// The sentence of a failure.
fn sentence_of(body: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    value.get("message").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

fn refusal(code: &str, message: &str) -> String {
    let (code, message) = (body::quoted(code), body::quoted(message));
    format!(
        r#"{{"success":false,"message":{message},"error":{{"code":{code},"retryable":false}}}}"#
    )
}

/// The properties that go on with a message: all but the time it had, which starts anew for every
/// queue.
fn kept(properties: &BasicProperties) -> BasicProperties {
    let mut out = BasicProperties::default().with_delivery_mode(PERSISTENT);
    macro_rules! keep {
        ($($get:ident $with:ident)+) => {
            $(if let Some(value) = properties.$get() { out = out.$with(value.clone()); })+
        };
    }
    keep! {
        message_id with_message_id
        correlation_id with_correlation_id
        reply_to with_reply_to
        kind with_type
        content_type with_content_type
        content_encoding with_content_encoding
        app_id with_app_id
        timestamp with_timestamp
        priority with_priority
    }
    out
}

/// A message that may come back needs an id to be known by.
fn with_id(properties: BasicProperties) -> BasicProperties {
    match wire::id(&properties) {
        Some(_) => properties,
        None => properties.with_message_id(clock::message_id(unix_ms()).into()),
    }
}
