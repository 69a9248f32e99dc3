//! What the publisher reads, and whose turn it is.

use tokio::sync::mpsc;
use tokio::time::Interval;

use super::line::Direct;
use crate::gateway::backend::{Fact, RoutedEvent};

/// Events taken over in one turn.
pub(super) const AT_ONCE: usize = 256;

/// The queues the publisher reads.
pub(super) struct Inlet {
    pub(super) events: mpsc::Receiver<RoutedEvent>,
    pub(super) facts: mpsc::Receiver<Fact>,
    pub(super) direct: mpsc::Receiver<Direct>,
}

/// Whose turn it is.
pub(super) enum Turn {
    /// The clock's.
    Tick,
    Direct(Box<Direct>),
    /// Those that were put into the list.
    Events,
    Fact(Fact),
    /// Nobody's any more: the workers are gone.
    End,
}

impl Inlet {
    /// What is to be done next. The clock goes before events, which may come without a pause; it
    /// is ready once in a while only. Nothing is lost if this is not waited for to its end.
    pub(super) async fn turn(
        &mut self,
        tick: &mut Interval,
        events: &mut Vec<RoutedEvent>,
    ) -> Turn {
        tokio::select! {
            biased;
            _ = tick.tick() => Turn::Tick,
            Some(direct) = self.direct.recv() => Turn::Direct(Box::new(direct)),
            count = self.events.recv_many(events, AT_ONCE) => {
                if count == 0 { Turn::End } else { Turn::Events }
            }
            Some(fact) = self.facts.recv() => Turn::Fact(fact),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::Instant;

    use super::*;
    use crate::gateway::backend::{Client, Ticket};

    fn event() -> RoutedEvent {
        RoutedEvent {
            route: 0,
            client: Client {
                socket_id: "s".into(),
                namespace: "/".into(),
                user: "u".into(),
                session: None,
            },
            event: "e".into(),
            args: String::new(),
            attachments: Vec::new(),
            request_id: None,
            seq: 1,
            at_unix_ms: 1,
            wants_ack: true,
            ticket: Ticket::default(),
            load: std::sync::Arc::default(),
        }
    }

    /// By the clock late confirms are told, the spool leaves, and things are counted.
    #[tokio::test]
    async fn a_flood_of_events_lets_the_clock_and_the_consumer_have_their_turns() {
        let (flood, events) = mpsc::channel(4 * AT_ONCE);
        let (_facts, facts) = mpsc::channel(1);
        let (consumer, direct) = mpsc::channel(1);
        let mut inlet = Inlet { events, facts, direct };
        // Due long ago: what is due just now the runtime rounds up to the next millisecond.
        let past = Instant::now() - Duration::from_secs(1);
        let mut tick = tokio::time::interval_at(past, Duration::from_secs(3_600));
        let mut taken = Vec::new();
        let mut turns = String::new();
        for round in 0..6 {
            // There is always more than one turn takes.
            while flood.try_send(event()).is_ok() {}
            match round {
                2 => tick.reset_at(past),
                4 => {
                    let direct = Direct {
                        exchange: String::new(),
                        key: String::new(),
                        properties: lapin::BasicProperties::default(),
                        body: Vec::new(),
                        mandatory: false,
                        done: oneshot::channel().0,
                    };
                    consumer.send(direct).await.expect("there is room");
                }
                _ => {}
            }
            turns.push(match inlet.turn(&mut tick, &mut taken).await {
                Turn::Tick => 't',
                Turn::Direct(_) => 'd',
                Turn::Events => 'e',
                Turn::Fact(_) => 'f',
                Turn::End => 'x',
            });
        }
        assert_eq!(turns, "tetede");
        assert_eq!(taken.len(), 3 * AT_ONCE);
    }
}
