//! What leaves: events of clients, facts, and what the consumer has to say. One task, which waits
//! for nothing but its next turn.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lapin::options::BasicPublishOptions;
use lapin::{Confirmation, Event};
use tokio::sync::oneshot;

use super::backoff::Backoff;
use super::book::{Book, Fate, Word};
use super::clock;
use super::inlet::{AT_ONCE, Inlet, Turn};
use super::line::{Direct, Heard, Line, Sent, making, next_word};
use super::link::shown;
use super::message::{self, Message};
use super::pace::Pace;
use super::replies::{Replies, Waiter};
use super::settings::Settings;
use super::store::{Parcel, Store};
use super::trouble::{Trouble, judge};
use super::{LINK, Shared, reached};
use crate::bridge::Standing;
use crate::command::unix_ms;
use crate::config::{LogLevel, RabbitDeclare, RouteAck};
use crate::gateway::backend::{Fact, Outcome, RouteFailure, RoutedEvent, Ticket};
use crate::telemetry::LinkState;

/// Messages that may be published and not confirmed. More wait in the spool.
const IN_FLIGHT_MAX: usize = 2_000;
/// Between two looks at what is late and what may leave the spool.
const TICK: Duration = Duration::from_millis(25);

/// What is under way.
pub(super) enum Flight {
    Event { parcel: Parcel, told: Told },
    Direct(Option<oneshot::Sender<Sent>>),
}

/// Who waits to hear of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nobody, or not any more.
    Nobody,
    /// The client.
    Client(Ticket),
}

pub(super) type Answered = (u64, lapin::Result<Confirmation>);

pub(super) struct Publisher {
    pub(super) shared: Shared,
    pub(super) settings: Arc<Settings>,
    pub(super) replies: Arc<Mutex<Replies>>,
    pub(super) store: Store,
    pub(super) book: Book<Flight>,
    pub(super) flights: FuturesUnordered<Pin<Box<dyn Future<Output = Answered> + Send>>>,
    pub(super) line: Line,
    pub(super) blocked: bool,
    pub(super) was_up: bool,
    pub(super) backoff: Backoff,
    pub(super) pace: Pace,
    pub(super) ticks: u64,
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
                turn = inlet.turn(&mut tick, &mut events) => match turn {
                    Turn::Tick => self.tick(),
                    Turn::Direct(direct) => self.direct(*direct),
                    Turn::Events => events.drain(..).for_each(|event| self.event(&event)),
                    Turn::Fact(fact) => self.fact(&fact),
                    Turn::End => break,
                },
            }
        }
        self.close(inlet).await;
    }

    pub(super) fn can_publish(&self) -> bool {
        matches!(self.line, Line::Up(_)) && !self.blocked
    }

    pub(super) fn settle(&self, ticket: Ticket, outcome: Outcome) {
        self.shared.settle(ticket, outcome);
    }

    /// Takes an event over.
    pub(super) fn event(&mut self, event: &RoutedEvent) {
        let now_ms = unix_ms();
        let Some(row) = self.shared.common.tables.routes.get(event.route).cloned() else {
            return self.settle(event.ticket, Outcome::Failed(RouteFailure::Unroutable));
        };
        let id = clock::message_id(now_ms);
        let exchange = row.exchange.as_deref().unwrap_or(&self.settings.events);
        let way = (exchange, &row.key, row.expiration_ms);
        let message = message::of_event(&self.settings, event, way, id.clone());
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

    pub(super) fn fact(&mut self, fact: &Fact) {
        let message = message::of_fact(&self.settings, fact, clock::message_id(unix_ms()));
        let lane = clock::lane(&fact.client.socket_id);
        self.send(Parcel { message: Arc::new(message), lane, place: None }, Told::Nobody);
    }

    /// Publishes, or keeps, or refuses.
    pub(super) fn send(&mut self, parcel: Parcel, told: Told) {
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
                let unwritten = self.store.take_unwritten();
                self.shared.count(|counters| {
                    counters.amqp_spool_refused += 1;
                    counters.amqp_spool_unwritten += unwritten;
                });
                let retry_after_ms = self.backoff.ceiling_ms().max(1_000);
                let outcome = Outcome::Failed(RouteFailure::BrokerUnavailable { retry_after_ms });
                self.fail(&id, told, outcome);
            }
        }
    }

    /// Tells whoever waits for an event that it got nowhere.
    pub(super) fn fail(&mut self, id: &str, told: Told, outcome: Outcome) {
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

    pub(super) fn lock_replies(&self) -> std::sync::MutexGuard<'_, Replies> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn launch(&mut self, parcel: Parcel, told: Told) {
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

    pub(super) fn direct(&mut self, direct: Direct) {
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
    pub(super) fn answered(&mut self, first: Answered) {
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
    pub(super) fn lost(&mut self, trouble: &Trouble) {
        self.flights = FuturesUnordered::new();
        let mut back = Vec::new();
        for (flight, fate) in self.book.give_up() {
            match (flight, fate) {
                (flight, Some(fate)) => self.fate(flight, fate),
                (Flight::Direct(done), None) => {
                    let _left = done.map(|done| done.send(Sent::Lost));
                }
                (Flight::Event { parcel, told }, None) => {
                    if let Some(parcel) = self.unconfirmed(&parcel, told) {
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
    fn unconfirmed(&mut self, parcel: &Parcel, told: Told) -> Option<Parcel> {
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
        Some(Parcel { message: Arc::new(message), ..parcel.clone() })
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
    pub(super) fn heard(&mut self, word: Heard) {
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
}

async fn wait(
    sent: lapin::Result<impl Future<Output = lapin::Result<Confirmation>>>,
) -> lapin::Result<Confirmation> {
    sent?.await
}
