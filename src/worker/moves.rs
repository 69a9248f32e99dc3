//! What a connection does next, decided from what is known of it and nothing else.

use crate::base::CoreId;

/// What a connection does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// Nothing, until the kernel or the shard says something.
    Rest,
    Read,
    LookAgain,
    /// A round's signatures are made; the next one goes on.
    Later,
    Handover(CoreId),
    End,
}

/// What is known of a connection. What only the shard knows is asked when the rest does not decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// It goes to this core as soon as nothing is unsent.
    pub(super) moves_to: Option<CoreId>,
    /// The kernel did not take all it was given.
    pub(super) blocked: bool,
    /// No more input: the end was read, or it is broken.
    pub(super) ended: bool,
    /// Something was read and not consumed.
    pub(super) unread: bool,
    /// That may be looked at again.
    pub(super) look: bool,
    /// There is input, or an end, that we have not come to.
    pub(super) readable: bool,
    /// Nobody takes an answer any more.
    pub(super) broken: bool,
    /// A signature may be due when more is read.
    pub(super) at_handshake: bool,
    /// This round has made all its signatures.
    pub(super) signed_out: bool,
    /// Whether it still may move.
    pub(super) may_move: Option<bool>,
    /// Whether its peer is still to be answered.
    pub(super) owes: Option<bool>,
    /// Whether its input has to wait.
    pub(super) waits: Option<bool>,
}

/// What follows from what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Goes(Move),
    Asks(Question),
}

/// What the shard is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    MayMove,
    Owes,
    Waits,
}

impl Known {
    /// The next move, or what has to be asked first.
    pub(super) const fn turn(&self) -> Turn {
        if let Some(core) = self.moves_to {
            match self.may_move {
                None => return Turn::Asks(Question::MayMove),
                // What was to be sent is sent first. Where nobody will take it, nothing is blocked.
                Some(true) if self.blocked => return Turn::Goes(Move::Rest),
                Some(true) => return Turn::Goes(Move::Handover(core)),
                // Of one that was cut, what it was still to be sent is thrown away: on another
                // core the next answer would follow the half of the last. It stays, and the flush
                // closes it.
                Some(false) => {}
            }
        }
        if self.ended {
            return match self.owes {
                // A peer that has said all it wants may still be waiting for the answer.
                _ if self.blocked => Turn::Goes(Move::Rest),
                None => Turn::Asks(Question::Owes),
                Some(true) => Turn::Goes(Move::Rest),
                Some(false) => Turn::Goes(Move::End),
            };
        }
        if self.look && self.unread {
            return Turn::Goes(Move::LookAgain);
        }
        if !self.readable {
            return Turn::Goes(Move::Rest);
        }
        match self.waits {
            _ if self.broken => {}
            None => return Turn::Asks(Question::Waits),
            Some(true) => return Turn::Goes(Move::Rest),
            Some(false) => {}
        }
        Turn::Goes(match (self.at_handshake, self.blocked) {
            // The handshake does not go on before the peer has what was said last.
            (true, true) => Move::Rest,
            (true, false) if self.signed_out => Move::Later,
            _ => Move::Read,
        })
    }

    /// Whether what is unread has been passed by: then it is not looked at again before somebody
    /// says so.
    pub(super) const fn has_looked(&self) -> bool {
        !self.ended && !matches!((self.moves_to, self.may_move), (Some(_), Some(true)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the shard says when it is asked.
    #[derive(Clone, Copy, Debug)]
    struct Shard {
        may_move: bool,
        owes: bool,
        waits: bool,
    }

    /// The move, and what was asked before.
    fn settle(mut known: Known, shard: Shard) -> (Move, Vec<Question>) {
        let mut asked = Vec::new();
        loop {
            let question = match known.turn() {
                Turn::Goes(to) => return (to, asked),
                Turn::Asks(question) => question,
            };
            assert!(!asked.contains(&question), "{question:?} is asked twice");
            asked.push(question);
            match question {
                Question::MayMove => known.may_move = Some(shard.may_move),
                Question::Owes => known.owes = Some(shard.owes),
                Question::Waits => known.waits = Some(shard.waits),
            }
        }
    }

    #[test]
    fn each_case_has_its_move_and_asks_no_more_than_it_needs() {
        use Question::{MayMove, Owes, Waits};
        let idle = Known::default();
        let moves = Known { moves_to: Some(CoreId(3)), ..idle };
        let reads = Known { readable: true, ..idle };
        let greets = Known { at_handshake: true, ..reads };
        let looks = Known { look: true, unread: true, ..reads };
        let ended = Known { ended: true, ..looks };
        let goes = Move::Handover(CoreId(3));
        let calm = Shard { may_move: true, owes: false, waits: false };
        let cut = Shard { may_move: false, ..calm };
        let owing = Shard { owes: true, ..calm };
        let busy = Shard { waits: true, ..calm };
        let table: [(Known, Shard, Move, &[Question]); 23] = [
            (idle, calm, Move::Rest, &[]),
            (Known { blocked: true, ..idle }, calm, Move::Rest, &[]),
            (Known { unread: true, ..idle }, calm, Move::Rest, &[]),
            (Known { look: true, ..idle }, calm, Move::Rest, &[]),
            (moves, calm, goes, &[MayMove]),
            (Known { moves_to: moves.moves_to, ..looks }, calm, goes, &[MayMove]),
            (Known { blocked: true, ..moves }, calm, Move::Rest, &[MayMove]),
            (Known { blocked: true, ended: true, ..moves }, calm, Move::Rest, &[MayMove]),
            (Known { ended: true, ..moves }, calm, goes, &[MayMove]),
            (moves, cut, Move::Rest, &[MayMove]),
            (Known { moves_to: moves.moves_to, ..ended }, cut, Move::End, &[MayMove, Owes]),
            (ended, calm, Move::End, &[Owes]),
            (ended, owing, Move::Rest, &[Owes]),
            (Known { blocked: true, ..ended }, calm, Move::Rest, &[]),
            (looks, busy, Move::LookAgain, &[]),
            (reads, calm, Move::Read, &[Waits]),
            (Known { blocked: true, ..reads }, calm, Move::Read, &[Waits]),
            (reads, busy, Move::Rest, &[Waits]),
            (Known { broken: true, ..reads }, busy, Move::Read, &[]),
            (greets, calm, Move::Read, &[Waits]),
            (Known { blocked: true, ..greets }, calm, Move::Rest, &[Waits]),
            (Known { signed_out: true, ..greets }, calm, Move::Later, &[Waits]),
            (Known { signed_out: true, ..reads }, calm, Move::Read, &[Waits]),
        ];
        for (known, shard, wanted, questions) in table {
            let (found, asked) = settle(known, shard);
            assert_eq!((found, asked.as_slice()), (wanted, questions), "{known:?} {shard:?}");
        }
    }

    #[test]
    fn what_is_unread_stays_marked_only_where_nobody_came_to_look() {
        let marked = Known { look: true, ..Known::default() };
        assert!(marked.has_looked());
        assert!(!Known { ended: true, ..marked }.has_looked());
        let moves = Known { moves_to: Some(CoreId(1)), may_move: Some(true), ..marked };
        assert!(!moves.has_looked());
        assert!(Known { may_move: Some(false), ..moves }.has_looked());
    }
}
