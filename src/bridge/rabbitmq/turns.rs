//! What the publisher does by the clock, and at its end.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::StreamExt;

use super::inlet::Inlet;
use super::line::{Line, next_word};
use super::publisher::{Flight, Publisher, Told};
use super::trouble::Trouble;
use crate::bridge::thread::CLOSING_MAX;
use crate::command::unix_ms;
use crate::config::LogLevel;
use crate::gateway::backend::{Outcome, RouteFailure, RoutedEvent, Ticket};

/// Messages of the spool that may be published and not confirmed.
const DRAINED_MAX: usize = 1_000;
/// Time in which what is left may leave once the workers are gone.
const LAST: Duration = CLOSING_MAX.saturating_sub(Duration::from_secs(1));

impl Publisher {
    pub(super) fn tick(&mut self) {
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
    pub(super) async fn close(mut self, mut inlet: Inlet) {
        let mut left: VecDeque<RoutedEvent> = VecDeque::new();
        while let Ok(event) = inlet.events.try_recv() {
            left.push_back(event);
        }
        left.iter().for_each(|event| self.event(event));
        while let Ok(fact) = inlet.facts.try_recv() {
            self.fact(&fact);
        }
        let deadline = tokio::time::Instant::now() + LAST;
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
