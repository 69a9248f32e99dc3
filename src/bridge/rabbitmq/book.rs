//! Which published messages the broker has not answered for, and what it says of them.
//!
//! A message that no queue takes is returned *before* its confirm, and names itself by its message
//! id. The client library hands a returned message to whichever confirm it completes next, which
//! with `multiple` confirms can be another's: a positive confirm is therefore believed only once
//! no return that came before it can be under way.

use std::collections::VecDeque;

use crate::base::Map;

/// What a broker said of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It has it.
    Ack,
    /// It refuses it.
    Nack,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Every queue that wants it has it.
    Taken,
    /// No queue wants it.
    Unroutable,
    /// It was refused.
    Nacked,
}

struct Line<T> {
    what: T,
    id: String,
    returned: bool,
    word: Option<Word>,
    /// Confirms that had come when its own did and carried a stranger's return; `None` if its
    /// own carried none.
    uncertain: bool,
    sent_ms: u64,
    late_told: bool,
}

/// The messages of one channel, by the order they were published in.
pub(super) struct Book<T> {
    lines: VecDeque<Option<Line<T>>>,
    /// The number of the first line.
    first: u64,
    by_id: Map<String, u64>,
    open: usize,
    unspoken: usize,
}

impl<T> Default for Book<T> {
    fn default() -> Self {
        Self { lines: VecDeque::new(), first: 0, by_id: super::ids::map(), open: 0, unspoken: 0 }
    }
}

impl<T> Book<T> {
    /// How many messages have no fate yet.
    pub(super) fn len(&self) -> usize {
        self.open
    }

    /// A message is published; the answer is the number to speak of it by.
    pub(super) fn sent(&mut self, id: &str, what: T, now_ms: u64) -> u64 {
        let number = self.first + self.lines.len() as u64;
        self.by_id.insert(id.to_owned(), number);
        self.lines.push_back(Some(Line {
            what,
            id: id.to_owned(),
            returned: false,
            word: None,
            uncertain: false,
            sent_ms: now_ms,
            late_told: false,
        }));
        self.open += 1;
        self.unspoken += 1;
        number
    }

    fn line(&mut self, number: u64) -> Option<&mut Line<T>> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.lines.get_mut(at)?.as_mut()
    }

    /// The broker spoke of a message; `returned` is the id of the message that came back with it.
    pub(super) fn confirmed(&mut self, number: u64, word: Word, returned: Option<&str>) {
        let named = returned.and_then(|id| self.by_id.get(id).copied());
        if let Some(line) = named.and_then(|named| self.line(named)) {
            line.returned = true;
        }
        let Some(line) = self.line(number) else { return };
        if line.word.is_none() {
            line.word = Some(word);
            line.uncertain = returned.is_some_and(|id| id != line.id);
            self.unspoken -= 1;
        }
        if returned.is_none() {
            // None was waiting: all that were returned before this are known.
            for line in self.lines.iter_mut().flatten() {
                line.uncertain = false;
            }
        }
    }

    /// Takes the messages whose fate is known. Call it when every answer that has come was given
    /// to [`Self::confirmed`], and not before.
    pub(super) fn settle(&mut self) -> Vec<(T, Fate)> {
        let all_spoken = self.unspoken == 0;
        let mut settled = Vec::new();
        for slot in &mut self.lines {
            let Some(line) = slot.as_ref() else { continue };
            let fate = match line.word {
                _ if line.returned && line.word.is_some() => Fate::Unroutable,
                Some(Word::Nack) => Fate::Nacked,
                Some(Word::Ack) if !line.uncertain || all_spoken => Fate::Taken,
                _ => continue,
            };
            if let Some(line) = slot.take() {
                self.by_id.remove(&line.id);
                self.open -= 1;
                settled.push((line.what, fate));
            }
        }
        while matches!(self.lines.front(), Some(None)) {
            self.lines.pop_front();
            self.first += 1;
        }
        settled
    }

    /// Names each message that has waited so long, once.
    pub(super) fn late(&mut self, now_ms: u64, limit_ms: u64) -> Vec<&mut T> {
        let mut late = Vec::new();
        for line in self.lines.iter_mut().flatten() {
            if now_ms.saturating_sub(line.sent_ms) >= limit_ms && !line.late_told {
                line.late_told = true;
                late.push(&mut line.what);
            }
        }
        late
    }

    /// Gives all that have no fate back, in their order: the channel is gone. What was returned
    /// is known to have no queue.
    pub(super) fn give_up(&mut self) -> Vec<(T, Option<Fate>)> {
        let lines = std::mem::take(&mut self.lines);
        *self = Self::default();
        let known = |line: &Line<T>| line.returned.then_some(Fate::Unroutable);
        lines
            .into_iter()
            .flatten()
            .map(|line| {
                let fate = known(&line);
                (line.what, fate)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(ids: &[&'static str]) -> Book<&'static str> {
        let mut book = Book::default();
        for id in ids {
            book.sent(id, *id, 0);
        }
        book
    }

    #[test]
    fn a_plain_confirm_settles_its_message() {
        let mut book = book(&["a", "b"]);
        book.confirmed(1, Word::Ack, None);
        assert_eq!(book.settle(), [("b", Fate::Taken)]);
        book.confirmed(0, Word::Nack, None);
        assert_eq!(book.settle(), [("a", Fate::Nacked)]);
        assert_eq!(book.len(), 0);
        assert_eq!(book.sent("c", "c", 0), 2, "numbers go on");
    }

    #[test]
    fn a_return_belongs_to_the_message_it_names_whoever_carries_it() {
        // a and c are taken, b and d come back; one confirm covers all, in any order.
        let orders: [[(u64, Option<&str>); 4]; 4] = [
            [(0, Some("b")), (1, Some("d")), (2, None), (3, None)],
            [(3, Some("b")), (2, Some("d")), (1, None), (0, None)],
            [(1, Some("b")), (0, Some("d")), (3, None), (2, None)],
            [(2, Some("b")), (0, Some("d")), (3, None), (1, None)],
        ];
        for order in orders {
            // The answers may be seen in two goes, cut anywhere.
            for cut in 0..=order.len() {
                let mut book = book(&["a", "b", "c", "d"]);
                let mut settled = Vec::new();
                for (at, (number, returned)) in order.into_iter().enumerate() {
                    if at == cut {
                        settled.extend(book.settle());
                    }
                    book.confirmed(number, Word::Ack, returned);
                }
                settled.extend(book.settle());
                settled.sort_unstable_by_key(|(id, _)| *id);
                let expected = [
                    ("a", Fate::Taken),
                    ("b", Fate::Unroutable),
                    ("c", Fate::Taken),
                    ("d", Fate::Unroutable),
                ];
                assert_eq!(settled, expected, "{order:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_has_no_fate_is_given_back_in_order() {
        let mut book = book(&["a", "b", "c", "d"]);
        book.confirmed(1, Word::Ack, Some("c"));
        assert_eq!(book.settle(), []);
        let back = book.give_up();
        assert_eq!(back, [("a", None), ("b", None), ("c", Some(Fate::Unroutable)), ("d", None)]);
        assert_eq!((book.len(), book.sent("x", "x", 0)), (0, 0));
    }

    #[test]
    fn the_late_are_named_once() {
        let mut book = book(&["a"]);
        book.sent("b", "b", 100);
        assert_eq!(book.late(4_999, 5_000).len(), 0);
        assert_eq!(book.late(5_000, 5_000), [&mut "a"]);
        assert_eq!(book.late(5_099, 5_000).len(), 0);
        book.confirmed(0, Word::Ack, None);
        assert_eq!(book.settle(), [("a", Fate::Taken)]);
    }
}
