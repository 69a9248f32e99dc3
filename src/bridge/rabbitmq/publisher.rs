//! What leaves: events of clients, facts, and what the consumer has to say. One task, which waits
//! for nothing but its next turn.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Confirmation, Event};
use tokio::sync::{mpsc, oneshot};

use super::backoff::Backoff;
use super::book::{Book, Fate, Word};
use super::clock::{self, unix_ms};
use super::link::{self, Link, shown};
use super::message::{self, Message};
use super::pace::Pace;
use super::replies::{Replies, Waiter};
use super::settings::Settings;
use super::store::{Parcel, Store};
use super::trouble::{Trouble, judge};
use super::{LINK, Shared, reached};
use crate::bridge::Standing;
use crate::config::{LogLevel, RabbitDeclare, RouteAck};
use crate::gateway::backend::{Fact, Outcome, RouteFailure, RoutedEvent, Ticket};
use crate::telemetry::LinkState;

/// Messages that may be published and not confirmed. More wait in the spool.
const IN_FLIGHT_MAX: usize = 2_000;
/// Of these, messages of the spool.
const DRAINED_MAX: usize = 1_000;
/// Between two looks at what is late and what may leave the spool.
const TICK: Duration = Duration::from_millis(25);
/// Time in which what is left may leave once the workers are gone.
const LAST_MS: u64 = 4_000;
/// Events taken over in one turn.
const AT_ONCE: usize = 256;

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

/// What is under way.
enum Flight {
    Event { parcel: Parcel, told: Told },
    Direct(Option<oneshot::Sender<Sent>>),
}

/// Who waits to hear of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Nobody, or not any more.
    Nobody,
    /// The client.
    Client(Ticket),
}

type Answered = (u64, lapin::Result<Confirmation>);
type Making = Pin<Box<dyn Future<Output = Result<Link, Trouble>> + Send>>;

/// Where the connection stands.
enum Line {
    Up(Link),
    Making(Making),
    /// It is not tried again.
    Given,
}

/// The queues this task reads.
pub(super) struct Inlet {
    pub(super) events: mpsc::Receiver<RoutedEvent>,
    pub(super) facts: mpsc::Receiver<Fact>,
    pub(super) direct: mpsc::Receiver<Direct>,
}

pub(super) struct Publisher {
    shared: Shared,
    settings: Arc<Settings>,
    replies: Arc<Mutex<Replies>>,
    store: Store,
    book: Book<Flight>,
    flights: FuturesUnordered<Pin<Box<dyn Future<Output = Answered> + Send>>>,
    line: Line,
    blocked: bool,
    was_up: bool,
    backoff: Backoff,
    pace: Pace,
    ticks: u64,
}

impl Publisher {
    pub(super) fn new(
        shared: Shared,
        settings: Arc<Settings>,
        replies: Arc<Mutex<Replies>>,
        store: Store,
    ) -> Self {
        let making = making(&settings, 0, false);
        Self {
            shared,
            settings,
            replies,
            store,
            book: Book::default(),
            flights: FuturesUnordered::new(),
            line: Line::Making(making),
            blocked: false,
            was_up: false,
            backoff: Backoff::default(),
            pace: Pace::new(unix_ms()),
            ticks: 0,
        }
    }

    /// Runs until the process closes and what was kept has left, or time is over.
    pub(super) async fn run(mut self, mut inlet: Inlet) {
        let mut standing = self.shared.common.standing.clone();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut events: Vec<RoutedEvent> = Vec::with_capacity(AT_ONCE);
        loop {
            tokio::select! {
                biased;
                () = reached(&mut standing, Standing::Closing) => break,
                Some(answer) = self.flights.next(), if !self.flights.is_empty() => {
                    self.answered(answer);
                }
                word = next_word(&mut self.line) => self.heard(word),
                Some(direct) = inlet.direct.recv() => self.direct(direct),
                count = inlet.events.recv_many(&mut events, AT_ONCE) => {
                    if count == 0 {
                        break;
                    }
                    events.drain(..).for_each(|event| self.event(event));
                }
                Some(fact) = inlet.facts.recv() => self.fact(&fact),
                _ = tick.tick() => self.tick(),
            }
        }
        self.close(inlet).await;
    }

    fn can_publish(&self) -> bool {
        matches!(self.line, Line::Up(_)) && !self.blocked
    }

    fn settle(&self, ticket: Ticket, outcome: Outcome) {
        self.shared.settle(ticket, outcome);
    }

    /// Takes an event over.
    fn event(&mut self, event: RoutedEvent) {
        let now_ms = unix_ms();
        let Some(row) = self.shared.common.tables.routes.get(event.route).cloned() else {
            return self.settle(event.ticket, Outcome::Failed(RouteFailure::Unroutable));
        };
        let id = clock::message_id(now_ms);
        let exchange = row.exchange.as_deref().unwrap_or(&self.settings.events);
        let way = (exchange, &row.key, row.expiration_ms);
        let Some(message) = message::of_event(&self.settings, &event, way, id.clone()) else {
            let refused = RouteFailure::Refused {
                code: String::from("INVALID_PAYLOAD"),
                message: String::from("it is nested too deeply"),
                retryable: false,
            };
            return self.settle(event.ticket, Outcome::Failed(refused));
        };
        let waits = row.ack == RouteAck::Reply;
        let waiter = Waiter {
            user: Arc::clone(&event.client.user),
            namespace: Arc::clone(&event.client.namespace),
            is_ai_request: event.event == "ai_request",
            ticket: waits.then_some((event.ticket, now_ms + row.timeout_ms)),
        };
        self.lock_replies().expect(&id, waiter, now_ms);
        let told = match row.ack {
            RouteAck::Confirm => Told::Client(event.ticket),
            RouteAck::Reply => Told::Nobody,
            RouteAck::Immediate => {
                self.settle(event.ticket, Outcome::Queued { message_id: id });
                Told::Nobody
            }
        };
        let lane = clock::lane(&event.client.socket_id);
        self.send(Parcel { message: Arc::new(message), lane, place: None }, told);
    }

    fn fact(&mut self, fact: &Fact) {
        let message = message::of_fact(&self.settings, fact, clock::message_id(unix_ms()));
        let lane = clock::lane(&fact.client.socket_id);
        self.send(Parcel { message: Arc::new(message), lane, place: None }, Told::Nobody);
    }

    /// Publishes, or keeps, or refuses.
    fn send(&mut self, parcel: Parcel, told: Told) {
        let free = self.book.len() < IN_FLIGHT_MAX && !self.store.holds(parcel.lane);
        if self.can_publish() && free {
            return self.launch(parcel, told);
        }
        let id = parcel.message.id.clone();
        let given_up = matches!(self.line, Line::Given);
        match if given_up { None } else { self.store.keep(&parcel) } {
            Some(gone) => {
                self.shared.count(|counters| {
                    counters.amqp_spooled += 1;
                    counters.amqp_spool_dropped += gone as u64;
                });
                if let Told::Client(ticket) = told {
                    self.settle(ticket, Outcome::Queued { message_id: id });
                }
            }
            None => {
                self.shared.count(|counters| counters.amqp_spool_refused += 1);
                let retry_after_ms = self.backoff.ceiling_ms().max(1_000);
                let outcome = Outcome::Failed(RouteFailure::BrokerUnavailable { retry_after_ms });
                self.fail(&id, told, outcome);
            }
        }
    }

    /// Tells whoever waits for an event that it got nowhere.
    fn fail(&mut self, id: &str, told: Told, outcome: Outcome) {
        let waiter = self.lock_replies().forget(id);
        let waits = waiter.and_then(|waiter| waiter.ticket).map(|(ticket, _)| ticket);
        match told {
            Told::Client(ticket) => self.settle(ticket, outcome),
            Told::Nobody => {
                if let Some(ticket) = waits {
                    self.settle(ticket, outcome);
                }
            }
        }
    }

    fn lock_replies(&self) -> std::sync::MutexGuard<'_, Replies> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn launch(&mut self, parcel: Parcel, told: Told) {
        let Line::Up(link) = &self.line else { return };
        let message = Arc::clone(&parcel.message);
        let number = self.book.sent(&message.id, Flight::Event { parcel, told }, unix_ms());
        let channel = link.channel.clone();
        let properties = super::wire::properties(&message, &self.settings, unix_ms());
        self.flights.push(Box::pin(async move {
            let Message { exchange, key, body, mandatory, .. } = &*message;
            let options = BasicPublishOptions { mandatory: *mandatory, immediate: false };
            let (exchange, key) = (exchange.as_str().into(), key.as_str().into());
            let sent = channel.basic_publish(exchange, key, options, body, properties).await;
            drop(message);
            (number, wait(sent).await)
        }));
        self.pace.note(0, self.book.len(), unix_ms());
    }

    fn direct(&mut self, direct: Direct) {
        let Line::Up(link) = &self.line else {
            let _left = direct.done.send(Sent::Lost);
            return;
        };
        let Direct { exchange, key, properties, body, mandatory, done } = direct;
        let id = properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default();
        let number = self.book.sent(&id, Flight::Direct(Some(done)), unix_ms());
        let channel = link.channel.clone();
        self.flights.push(Box::pin(async move {
            let options = BasicPublishOptions { mandatory, immediate: false };
            let (exchange, key) = (exchange.into(), key.into());
            let sent = channel.basic_publish(exchange, key, options, &body, properties).await;
            (number, wait(sent).await)
        }));
    }

    /// The broker spoke of a message; what else it has said is heard before anything is believed.
    fn answered(&mut self, first: Answered) {
        let mut next = Some(first);
        let mut error = None;
        let mut count = 0;
        while let Some((number, result)) = next {
            match result {
                Ok(Confirmation::Ack(returned)) => {
                    self.book.confirmed(number, Word::Ack, super::wire::id_of(returned).as_deref());
                }
                Ok(Confirmation::Nack(returned)) => {
                    self.book.confirmed(
                        number,
                        Word::Nack,
                        super::wire::id_of(returned).as_deref(),
                    );
                }
                // Confirms are always asked for.
                Ok(Confirmation::NotRequested) => {}
                Err(lost) => error = Some(lost),
            }
            count += 1;
            next = self.flights.next().now_or_never().flatten();
        }
        for (flight, fate) in self.book.settle() {
            self.fate(flight, fate);
        }
        self.pace.note(count, self.book.len(), unix_ms());
        if let Some(error) = error {
            let trouble = judge("publishing", &error, false);
            self.lost(&self.unless_declared(trouble));
        }
    }

    fn fate(&mut self, flight: Flight, fate: Fate) {
        let (parcel, told) = match flight {
            Flight::Direct(done) => {
                let sent = if fate == Fate::Taken { Sent::Yes } else { Sent::Refused };
                let _left = done.map(|done| done.send(sent));
                return;
            }
            Flight::Event { parcel, told } => (parcel, told),
        };
        self.store.done(parcel.place);
        let id = &parcel.message.id;
        let failure = match fate {
            Fate::Taken => {
                self.shared.count(|counters| counters.amqp_published += 1);
                if let Told::Client(ticket) = told {
                    self.settle(ticket, Outcome::Accepted { message_id: id.clone() });
                }
                return;
            }
            Fate::Unroutable => {
                self.shared.count(|counters| counters.amqp_unroutable += 1);
                RouteFailure::Unroutable
            }
            Fate::Nacked => {
                self.shared.count(|counters| counters.amqp_nacked += 1);
                RouteFailure::BrokerNack
            }
        };
        self.fail(id, told, Outcome::Failed(failure));
    }

    /// The connection is gone: what it did not confirm will be sent again, by the same ids.
    fn lost(&mut self, trouble: &Trouble) {
        self.flights = FuturesUnordered::new();
        let mut back = Vec::new();
        for (flight, fate) in self.book.give_up() {
            match (flight, fate) {
                (flight, Some(fate)) => self.fate(flight, fate),
                (Flight::Direct(done), None) => {
                    let _left = done.map(|done| done.send(Sent::Lost));
                }
                (Flight::Event { parcel, told }, None) => {
                    if let Some(parcel) = self.unconfirmed(parcel, told) {
                        back.push(parcel);
                    }
                }
            }
        }
        self.shared.count(|counters| counters.amqp_republished += back.len() as u64);
        self.store.put_back(back);
        self.blocked = false;
        let wait_ms = self.backoff.next_ms(clock::random());
        self.pace = Pace::new(unix_ms());
        self.line = match trouble {
            Trouble::Fatal(_) => Line::Given,
            Trouble::Passing(_) => Line::Making(making(&self.settings, wait_ms, self.was_up)),
        };
        self.say_trouble(trouble);
    }

    /// An exchange that is gone while we see to exchanges ourselves is looked for once more.
    fn unless_declared(&self, trouble: Trouble) -> Trouble {
        match trouble {
            Trouble::Fatal(why) if self.settings.declare != RabbitDeclare::None => {
                Trouble::Passing(why)
            }
            trouble => trouble,
        }
    }

    /// A message without a fate when its connection was lost, if it is to be sent again.
    fn unconfirmed(&mut self, parcel: Parcel, told: Told) -> Option<Parcel> {
        let id = parcel.message.id.clone();
        if !self.store.is_on() {
            self.shared.count(|counters| counters.amqp_unconfirmed += 1);
            self.fail(&id, told, Outcome::Failed(RouteFailure::Unconfirmed));
            return None;
        }
        if let Told::Client(ticket) = told {
            self.settle(ticket, Outcome::Queued { message_id: id });
        }
        let republished = parcel.message.republished + 1;
        let message = Message { republished, ..(*parcel.message).clone() };
        Some(Parcel { message: Arc::new(message), ..parcel })
    }

    fn say_trouble(&self, trouble: &Trouble) {
        let (state, level, event) = match trouble {
            Trouble::Fatal(_) => {
                (LinkState::Misconfigured, LogLevel::Error, "rabbitmq publisher given up")
            }
            Trouble::Passing(_) => (LinkState::Down, LogLevel::Warn, "rabbitmq publisher down"),
        };
        let changed = self.shared.say(LINK.publisher, state, trouble.why());
        if changed {
            let fields = vec![("why", trouble.why().to_owned())];
            (self.shared.common.log)(level, event, fields);
        }
    }

    /// The connection has something to say.
    fn heard(&mut self, word: Heard) {
        match word {
            Heard::Made(Ok(link)) => {
                self.line = Line::Up(link);
                self.was_up = true;
                self.backoff.reset();
                self.shared.count(|counters| counters.amqp_connects += 1);
                self.shared.say(LINK.publisher, LinkState::Up, "");
                let fields = vec![
                    ("broker", shown(&self.settings.url)),
                    ("waiting", self.store.len().to_string()),
                ];
                (self.shared.common.log)(LogLevel::Info, "rabbitmq publisher up", fields);
            }
            Heard::Made(Err(trouble)) => self.lost(&trouble),
            Heard::Event(Some(Event::ConnectionBlocked(why))) => {
                self.blocked = true;
                self.shared.say(LINK.publisher, LinkState::Blocked, &why);
                let fields = vec![("why", why)];
                (self.shared.common.log)(LogLevel::Warn, "rabbitmq publisher blocked", fields);
            }
            Heard::Event(Some(Event::ConnectionUnblocked)) => {
                self.blocked = false;
                self.shared.say(LINK.publisher, LinkState::Up, "");
                (self.shared.common.log)(LogLevel::Info, "rabbitmq publisher unblocked", vec![]);
            }
            Heard::Event(Some(Event::Error(error))) => {
                self.lost(&judge("the connection", &error, true));
            }
            Heard::Event(None) => {
                self.lost(&Trouble::Passing(String::from("the connection ended")));
            }
            Heard::Event(Some(_)) => {}
        }
    }

    fn tick(&mut self) {
        let now_ms = unix_ms();
        for (ticket, id) in self.late_confirms(now_ms) {
            let outcome = match self.store.is_on() {
                // It is held here until its fate is known, and sent again if need be.
                true => Outcome::Queued { message_id: id },
                false => Outcome::Failed(RouteFailure::Unconfirmed),
            };
            self.shared.count(|counters| counters.amqp_unconfirmed += 1);
            self.settle(ticket, outcome);
        }
        self.drain(now_ms);
        self.ticks += 1;
        if self.ticks.is_multiple_of(8) {
            let late = self.lock_replies().late(now_ms);
            for ticket in late {
                self.settle(ticket, Outcome::Failed(RouteFailure::Timeout));
            }
            let expired = self.store.expire(now_ms) as u64;
            let (messages, bytes) = (self.store.len() as u64, self.store.bytes() as u64);
            let (age_ms, in_flight) = (self.store.age_ms(now_ms), self.book.len() as u64);
            self.shared.count(|counters| {
                counters.amqp_spool_expired += expired;
                counters.amqp_spool_messages = messages;
                counters.amqp_spool_bytes = bytes;
                counters.amqp_spool_age_ms = age_ms;
                counters.amqp_in_flight = in_flight;
            });
        }
    }

    fn late_confirms(&mut self, now_ms: u64) -> Vec<(Ticket, String)> {
        let mut late = Vec::new();
        for flight in self.book.late(now_ms, self.settings.confirm_timeout_ms) {
            if let Flight::Event { parcel, told } = flight
                && let Told::Client(ticket) = *told
            {
                *told = Told::Nobody;
                late.push((ticket, parcel.message.id.clone()));
            }
        }
        late
    }

    /// Publishes of the spool what the pace permits.
    fn drain(&mut self, now_ms: u64) {
        let allowance = self.pace.allowance(now_ms);
        let mut used = 0;
        while used < allowance && self.store.len() > 0 {
            if !self.can_publish() || self.book.len() >= DRAINED_MAX {
                break;
            }
            self.launch_oldest();
            used += 1;
        }
        self.pace.used(used);
    }

    fn launch_oldest(&mut self) {
        let (parcel, lost) = self.store.take();
        if lost > 0 {
            self.shared.count(|counters| counters.amqp_spool_dropped += lost as u64);
        }
        if let Some(parcel) = parcel {
            self.launch(parcel, Told::Nobody);
        }
    }

    /// The workers are gone: what is left leaves, or is written down, or is counted as lost.
    async fn close(mut self, mut inlet: Inlet) {
        let mut left: VecDeque<RoutedEvent> = VecDeque::new();
        while let Ok(event) = inlet.events.try_recv() {
            left.push_back(event);
        }
        left.into_iter().for_each(|event| self.event(event));
        while let Ok(fact) = inlet.facts.try_recv() {
            self.fact(&fact);
        }
        let deadline = tokio::time::Instant::now() + Duration::from_millis(LAST_MS);
        while self.can_publish() && (self.store.len() > 0 || self.book.len() > 0) {
            while self.store.len() > 0 && self.book.len() < DRAINED_MAX {
                self.launch_oldest();
            }
            tokio::select! {
                biased;
                Some(answer) = self.flights.next(), if !self.flights.is_empty() => {
                    self.answered(answer);
                }
                word = next_word(&mut self.line) => self.heard(word),
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
        if self.book.len() > 0 {
            self.lost(&Trouble::Passing(String::from("the server ends")));
        }
        let (kept, lost) = self.store.close();
        let level = if lost > 0 { LogLevel::Error } else { LogLevel::Info };
        let fields = vec![("kept", kept.to_string()), ("lost", lost.to_string())];
        (self.shared.common.log)(level, "rabbitmq publisher ended", fields);
        if let Line::Up(link) = &self.line {
            let _closed = link.connection.close(200, "OK".into()).await;
        }
    }
}

async fn wait(
    sent: lapin::Result<impl Future<Output = lapin::Result<Confirmation>>>,
) -> lapin::Result<Confirmation> {
    sent?.await
}

/// What a connection says.
enum Heard {
    Made(Result<Link, Trouble>),
    Event(Option<Event>),
}

async fn next_word(line: &mut Line) -> Heard {
    match line {
        Line::Up(link) => Heard::Event(link.events.next().await),
        Line::Making(making) => Heard::Made(making.await),
        Line::Given => std::future::pending().await,
    }
}

fn making(settings: &Arc<Settings>, wait_ms: u64, was_up: bool) -> Making {
    let settings = Arc::clone(settings);
    Box::pin(async move {
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        let link = link::connect(&settings, "publisher", was_up).await?;
        let confirms = link.channel.confirm_select(ConfirmSelectOptions::default()).await;
        confirms.map_err(|error| judge("asking for confirms", &error, was_up))?;
        Ok(link)
    })
}
