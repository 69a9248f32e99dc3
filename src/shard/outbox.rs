//! One session's queue, counted in bytes.

use std::collections::VecDeque;

use super::Shard;
use super::frame::Frame;
use crate::base::{Key, Limits};

/// Frames waiting for one client, oldest first.
///
/// Cost: an idle client owns nothing here; the first waiting frame needs no allocation.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    head: Option<Frame>,
    rest: VecDeque<Frame>,
    bytes: usize,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Push {
    Queued,
    /// A volatile frame met a client that is behind, and was let go.
    Dropped,
    /// Too many bytes: the client ends as a slow consumer.
    BytesExceeded,
    /// Too many frames: likewise.
    FramesExceeded,
}

impl Outbox {
    /// Appends a frame, unless a limit says no. An empty outbox takes a message of any size.
    pub(crate) fn push(&mut self, frame: &Frame, volatile: bool, limits: &Limits) -> Push {
        if self.head.is_some() {
            if volatile && self.bytes > limits.outbox_soft_bytes {
                return Push::Dropped;
            }
            if self.bytes + frame.cost() > limits.outbox_bytes_max {
                return Push::BytesExceeded;
            }
            if self.rest.len() + 1 >= limits.outbox_frames_max {
                return Push::FramesExceeded;
            }
            self.rest.push_back(frame.clone());
        } else {
            self.head = Some(frame.clone());
        }
        self.bytes += frame.cost();
        Push::Queued
    }

    /// Appends a frame although a limit said no: the client is not behind, it was merely given
    /// much at once.
    pub(crate) fn push_anyway(&mut self, frame: &Frame) {
        self.bytes += frame.cost();
        if self.head.is_some() {
            self.rest.push_back(frame.clone());
        } else {
            self.head = Some(frame.clone());
        }
    }

    /// How many frames wait.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.head.is_some()) + self.rest.len()
    }

    /// Takes the oldest frame. The memory of a long queue is given back when it is empty.
    pub(crate) fn pop(&mut self) -> Option<Frame> {
        let frame = self.head.take()?;
        self.head = self.rest.pop_front();
        self.bytes -= frame.cost();
        if self.head.is_none() && self.rest.capacity() > 0 {
            self.rest = VecDeque::new();
        }
        Some(frame)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Frame> {
        self.head.iter().chain(&self.rest)
    }
}

impl Shard {
    /// How much more may wait for a session.
    pub(super) fn room_of(&self, key: Key) -> Option<Room> {
        let session = self.sessions.get(key)?;
        let conn = session.transport.writable().and_then(|conn| self.conns.get(conn));
        let reads = conn.is_some_and(|conn| conn.blocked_at.is_none());
        let (times, limits) = (if reads { AT_ONCE } else { 1 }, &self.settings.limits);
        let bytes_max = limits.outbox_bytes_max.saturating_mul(times);
        let frames_max = limits.outbox_frames_max.saturating_mul(times);
        Some(Room {
            reads,
            bytes: bytes_max.saturating_sub(session.outbox.bytes()),
            frames: frames_max.saturating_sub(session.outbox.len()),
        })
    }
}

/// How many times its limits a client that is not behind may be given between two writes.
const AT_ONCE: usize = 16;

/// How much more may wait for a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Its client takes what is written: it may be given more at once.
    pub(super) reads: bool,
    pub(super) bytes: usize,
    pub(super) frames: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use crate::shard::frame::Wire;

    fn frame(len: usize) -> Frame {
        Frame::from(Wire::text(&vec![b'x'; len]))
    }

    #[test]
    fn an_empty_outbox_takes_one_message_of_any_size_and_then_the_limits_hold() {
        let limits = Limits {
            outbox_bytes_max: 1_000,
            outbox_soft_bytes: 900,
            outbox_frames_max: 3,
            ..Limits::DEFAULT
        };
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(&frame(5_000), false, &limits), Push::Queued);
        assert_eq!(outbox.push(&frame(1), true, &limits), Push::Dropped);
        assert_eq!(outbox.push(&frame(1), false, &limits), Push::BytesExceeded);
        assert!(outbox.pop().is_some() && outbox.is_empty() && outbox.bytes() == 0);
        for _ in 0..3 {
            assert_eq!(outbox.push(&frame(1), true, &limits), Push::Queued);
        }
        assert_eq!(outbox.push(&frame(1), false, &limits), Push::FramesExceeded);
    }

    #[test]
    fn frames_leave_in_the_order_they_came_and_bytes_agree() {
        let mut outbox = Outbox::default();
        for len in 1..100 {
            assert_eq!(outbox.push(&frame(len), false, &Limits::DEFAULT), Push::Queued);
        }
        let mut costs = Vec::new();
        while let Some(frame) = outbox.pop() {
            costs.push(frame.cost());
            assert_eq!(outbox.bytes(), outbox.iter().map(Frame::cost).sum::<usize>());
        }
        assert!(costs.is_sorted() && costs.len() == 99);
    }

    /// A naive outbox: a list of what frames cost, added up each time.
    #[test]
    fn the_outbox_agrees_with_a_list() {
        for seed in 0..300 {
            let mut rng = Rng::new(seed, 0x0B_0C);
            let limits = Limits {
                outbox_bytes_max: 200 + rng.below(5_000),
                outbox_soft_bytes: rng.below(3_000),
                outbox_frames_max: 1 + rng.below(20),
                ..Limits::DEFAULT
            };
            let taste = 1 + rng.below(9);
            let (mut outbox, mut list) = (Outbox::default(), Vec::<usize>::new());
            for _ in 0..200 {
                if rng.below(10) < taste {
                    let (frame, volatile) = (frame(rng.below(900)), rng.below(3) == 0);
                    let bytes: usize = list.iter().sum();
                    let wanted = match list.len() {
                        0 => Push::Queued,
                        _ if volatile && bytes > limits.outbox_soft_bytes => Push::Dropped,
                        _ if bytes + frame.cost() > limits.outbox_bytes_max => Push::BytesExceeded,
                        len if len >= limits.outbox_frames_max => Push::FramesExceeded,
                        _ => Push::Queued,
                    };
                    assert_eq!(outbox.push(&frame, volatile, &limits), wanted, "seed {seed}");
                    let refused = matches!(wanted, Push::BytesExceeded | Push::FramesExceeded);
                    let anyway = refused && rng.below(4) == 0;
                    if anyway {
                        outbox.push_anyway(&frame);
                    }
                    if anyway || wanted == Push::Queued {
                        list.push(frame.cost());
                    }
                } else {
                    let wanted = (!list.is_empty()).then(|| list.remove(0));
                    assert_eq!(outbox.pop().map(|frame| frame.cost()), wanted, "seed {seed}");
                }
                let costs: Vec<usize> = outbox.iter().map(Frame::cost).collect();
                assert_eq!(costs, list, "seed {seed}");
                assert_eq!(outbox.bytes(), list.iter().sum::<usize>(), "seed {seed}");
                assert_eq!((outbox.len(), outbox.is_empty()), (list.len(), list.is_empty()));
            }
        }
    }
}
