//! Acks that clients owe us.

use super::Shard;
use super::frame::Mark;
use super::message::{AckArgs, AckOutcome, Answered, Completion, GatherRef, Part};
use super::socket::SocketError;
use super::timer::Timer;
use crate::base::{Key, Micros, Millis};
use crate::telemetry::Stage;

/// One ack that is owed.
pub(crate) struct PendingAck {
    id: u64,
    due: Millis,
    sent_at: Micros,
    waiter: Waiter,
}

/// The socket that owes an ack, and its session, which may outlive it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Party {
    pub(crate) socket: Key,
    pub(crate) session: Key,
}

/// Who waits for it.
pub(crate) enum Waiter {
    Callback(Box<dyn FnOnce(AckOutcome)>),
    /// A question of some core, and the frame it was asked with.
    Gather(GatherRef, Mark),
}

impl Shard {
    /// The next ack id. Ids of different cores differ, so that a broadcast with acks, which uses
    /// one id for all its recipients, cannot meet an id that a recipient's core gave out.
    pub(super) fn next_ack_id(&mut self) -> u64 {
        let id = self.ack_serial * self.cores as u64 + u64::from(self.core.0);
        self.ack_serial += 1;
        id
    }

    /// Remembers that `socket` owes an answer.
    pub(super) fn expect_ack(
        &mut self,
        socket: Key,
        id: u64,
        timeout_ms: u64,
        waiter: Waiter,
    ) -> Result<(), (SocketError, Waiter)> {
        let due = self.millis().plus(timeout_ms);
        let (limits, sent_at) = (&self.settings.limits, self.now);
        let all_full = self.counters.acks_pending >= limits.acks_max as u64;
        let Some(entry) = self.sockets.get_mut(socket) else {
            return Err((SocketError::Gone, waiter));
        };
        if entry.acks.len() >= limits.acks_pending_max || all_full {
            self.counters.limits_hit += 1;
            return Err((SocketError::TooManyAcks, waiter));
        }
        entry.acks.push(PendingAck { id, due, sent_at, waiter });
        self.counters.acks_pending += 1;
        if entry.acks_timer_at.is_none_or(|at| due < at) {
            entry.acks_timer_at = Some(due);
            self.timers.add(due, Timer::Acks(socket));
        }
        Ok(())
    }

    /// An ACK packet arrived. Unknown ids are ignored, as in Node.
    pub(super) fn handle_ack(&mut self, socket: Key, id: &str, ack: AckArgs) {
        self.counters.acks_in += 1;
        let now = self.now;
        let found = self.sockets.get_mut(socket).and_then(|entry| {
            let id: u64 = id.parse().ok()?;
            let at = entry.acks.iter().position(|pending| pending.id == id)?;
            let pending = entry.acks.swap_remove(at);
            if entry.acks.is_empty() {
                entry.acks = Vec::new();
            }
            Some((pending, entry.session))
        });
        let Some((pending, session)) = found else {
            self.counters.acks_unknown += 1;
            return;
        };
        self.counters.acks_pending -= 1;
        self.hists.record(Stage::AckRoundTrip, now - pending.sent_at);
        self.settle(Some(Party { socket, session }), pending.waiter, AckOutcome::Acked(ack));
    }

    /// The socket is gone; nobody will answer.
    pub(super) fn lose_acks(&mut self, party: Party, acks: Vec<PendingAck>) {
        for pending in acks {
            self.counters.acks_pending -= 1;
            self.settle(Some(party), pending.waiter, AckOutcome::Gone);
        }
    }

    /// Tells whoever waited.
    pub(super) fn settle(&mut self, party: Option<Party>, waiter: Waiter, outcome: AckOutcome) {
        match waiter {
            Waiter::Callback(callback) => {
                self.completions.push_back(Completion::Ack(callback, outcome));
            }
            Waiter::Gather(gather, mark) => {
                let gone = outcome == AckOutcome::Gone;
                let part = match outcome {
                    AckOutcome::Acked(ack) => Part::Ack(Box::new(self.answered(party, ack))),
                    AckOutcome::TimedOut | AckOutcome::Gone => {
                        let written = self.has_left(party, &mark);
                        Part::AckLost { gone, written }
                    }
                };
                self.answer(gather, part);
            }
        }
    }

    fn answered(&self, party: Option<Party>, ack: AckArgs) -> Answered {
        let Some(Party { socket, .. }) = party else {
            return Answered { ack, ..Answered::default() };
        };
        let data = self.socket_data(socket);
        let who = self.namer.zip(data).and_then(|(namer, data)| namer(&*data));
        Answered { socket: self.socket_id(socket).unwrap_or_default(), who, ack }
    }

    /// Whether a frame waits no more for a session: its bytes were handed to the kernel, or they
    /// are in the one buffer that the kernel is taking.
    fn has_left(&self, party: Option<Party>, mark: &Mark) -> bool {
        if mark.is_gone() {
            return true;
        }
        let session = party.and_then(|party| self.sessions.get(party.session));
        session.is_some_and(|session| !session.outbox.iter().any(|frame| frame.has(mark)))
    }

    pub(super) fn acks_due(&mut self, socket: Key) {
        let now = self.millis();
        let Some(entry) = self.sockets.get_mut(socket) else { return };
        // An entry that an earlier one has overtaken does nothing.
        if entry.acks_timer_at.is_none_or(|at| now < at) {
            return;
        }
        let acks = std::mem::take(&mut entry.acks);
        let party = Party { socket, session: entry.session };
        let (late, waiting): (Vec<_>, Vec<_>) =
            acks.into_iter().partition(|pending| pending.due <= now);
        let next = waiting.iter().map(|pending| pending.due).min();
        entry.acks = waiting;
        entry.acks_timer_at = next;
        if let Some(next) = next {
            self.timers.add(next, Timer::Acks(socket));
        }
        for pending in late {
            self.counters.acks_pending -= 1;
            self.counters.acks_timed_out += 1;
            self.settle(Some(party), pending.waiter, AckOutcome::TimedOut);
        }
    }
}
