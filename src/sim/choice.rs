//! What may happen next.

use super::link::{Place, Waits};
use super::world::World;

/// One thing that may happen next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Choice {
    Accept(usize),
    Read(usize),
    Resume(usize),
    SendRest(usize),
    Hear(usize),
    Task(usize, usize),
    Flush(usize),
    Timeout(usize),
    Lane(usize, usize),
    Fire(usize),
    Act(usize),
    Answer(usize, usize),
    /// Something goes wrong.
    Fault,
}

impl Choice {
    /// Its kind and what it concerns, as numbers.
    pub(super) fn numbers(self) -> (usize, usize, usize) {
        match self {
            Self::Accept(link) => (0, link, 0),
            Self::Read(link) => (1, link, 0),
            Self::Resume(link) => (2, link, 0),
            Self::SendRest(link) => (3, link, 0),
            Self::Hear(link) => (4, link, 0),
            Self::Task(core, task) => (5, core, task),
            Self::Flush(core) => (6, core, 0),
            Self::Timeout(core) => (7, core, 0),
            Self::Lane(from, to) => (8, from, to),
            Self::Fire(client) => (9, client, 0),
            Self::Act(client) => (10, client, 0),
            Self::Answer(core, at) => (11, core, at),
            Self::Fault => (12, 0, 0),
        }
    }
}

impl World {
    /// Everything that may happen now.
    pub(super) fn choices(&self, acting: bool) -> Vec<Choice> {
        let now = self.now();
        let mut all = Vec::new();
        self.of_links(&mut all);
        for (at, node) in self.nodes.iter().enumerate() {
            let lanes = self.lanes.iter().enumerate();
            let arrived = lanes.filter(|(_, from)| {
                !from.to[at].is_empty() && from.late_until[at] <= now && !self.is_stopped(at)
            });
            all.extend(arrived.map(|(from, _)| Choice::Lane(from, at)));
            if self.is_stopped(at) {
                continue;
            }
            let ready = (0..node.desk.tasks()).filter(|task| node.desk.is_ready(*task));
            all.extend(ready.map(|task| Choice::Task(at, task)));
            let forwarded = node.forwarded.borrow().len();
            all.extend((0..forwarded).map(|request| Choice::Answer(at, request)));
            if node.desk.flush.get() && node.retry_at.is_none_or(|retry| retry <= now) {
                all.push(Choice::Flush(at));
            }
            if node.next_due().is_some_and(|due| due <= now) {
                all.push(Choice::Timeout(at));
            }
        }
        for (at, client) in self.clients.iter().enumerate() {
            if client.due().is_some_and(|due| due <= now) {
                all.push(Choice::Fire(at));
            }
            if acting && client.can_act() {
                all.push(Choice::Act(at));
            }
        }
        all
    }

    fn of_links(&self, all: &mut Vec<Choice>) {
        let now = self.now();
        for (id, link) in self.links.iter().enumerate() {
            match &link.place {
                Place::Queued { core } if !self.is_stopped(*core) => all.push(Choice::Accept(id)),
                Place::Served(served) if !self.is_stopped(served.core) => {
                    let waits = served.waits;
                    let reads = waits == Waits::Input || (waits == Waits::Resume && link.broken);
                    if reads && link.readable_by_core() {
                        all.push(Choice::Read(id));
                    }
                    if matches!(waits, Waits::Resume | Waits::End) && served.resume {
                        all.push(Choice::Resume(id));
                    }
                    if served.blocked && link.room(now) > 0 {
                        all.push(Choice::SendRest(id));
                    }
                }
                _ => {}
            }
            if link.readable_by_client(now) {
                all.push(Choice::Hear(id));
            }
        }
    }

    /// Whether a core stands still.
    pub(super) fn is_stopped(&self, core: usize) -> bool {
        self.now() < self.nodes[core].stopped_until
    }
}
