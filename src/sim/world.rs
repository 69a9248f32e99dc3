//! Several cores and their clients, one thread, one seed.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::app::{self, Presence};
use super::client::{Client, Ctx, Stage};
use super::host::{Table, TableOf};
use super::ledger::Ledger;
use super::link::{Link, Place, Waits};
use super::node::{Item, Lanes, Node};
use super::plan::{Plan, STEPS};
use super::user::Desk;
use crate::base::{CoreId, Micros, Rng};
use crate::shard::{Birth, Shard};
use crate::telemetry::Counters;

/// One thing that may happen next.
#[derive(Clone, Copy, Debug)]
enum Choice {
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
}

impl Choice {
    /// Its kind and what it concerns, as numbers.
    fn numbers(self) -> (usize, usize, usize) {
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
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Folded over every choice and every byte a client read: equal seeds, equal traces.
    pub trace: u64,
    /// Steps taken.
    pub steps: u64,
    /// Messages that reached somebody.
    pub delivered: u64,
    /// Events that were answered.
    pub answers: u64,
    /// What all cores counted.
    pub counters: Counters,
}

/// The world of one seed.
pub(super) struct World {
    plan: Plan,
    clock: Rc<Cell<Micros>>,
    nodes: Vec<Node>,
    /// `lanes[from].to[to]`.
    lanes: Vec<Lanes>,
    links: Vec<Link>,
    clients: Vec<Client>,
    ledger: Ledger,
    presence: Rc<Presence>,
    table: Rc<Table>,
    schedule: Rng,
    workload: Rng,
    faults: Rng,
    trace: u64,
    steps: u64,
    answers: u64,
}

/// Steps after which a world that does not come to rest is given up.
const STEPS_MAX: u64 = 2_000_000;
/// Time after which it must be quiet when nobody does anything more.
const QUIET_US: Micros = 60_000_000;

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let plan = Plan::new(&mut Rng::new(seed, 0x91A4));
        let clock = Rc::new(Cell::new(0));
        let table = Rc::new(Table::new(plan.buckets));
        let presence = Rc::new(Presence::default());
        let settings = Rc::new(plan.settings.clone());
        let node = |at: usize| {
            let core = CoreId::from_index(at);
            let mut ids = Rng::new(seed, 0x1D5 + at as u64);
            let birth = Birth {
                core,
                cores: plan.cores,
                hash_seed: seed ^ at as u64,
                unix_base_ms: 1_700_000_000_000,
                interest: Rc::new(TableOf(Rc::clone(&table))),
                entropy: Box::new(move |bytes| {
                    bytes.fill_with(|| ids.draw().to_le_bytes()[0]);
                }),
            };
            let node = Node::new(Shard::new(Rc::clone(&settings), birth), &clock);
            node.core.install(&|_| app::build(&presence));
            node
        };
        let nodes: Vec<Node> = (0..plan.cores).map(node).collect();
        let lane = || Lanes {
            to: (0..plan.cores).map(|_| VecDeque::new()).collect(),
            room: plan.lane_room,
        };
        let clients = plan.clients.iter().enumerate();
        let clients = clients.map(|(at, habits)| Client::new(at, *habits)).collect();
        Self {
            lanes: (0..plan.cores).map(|_| lane()).collect(),
            nodes,
            links: Vec::new(),
            clients,
            ledger: Ledger::default(),
            presence,
            table,
            schedule: Rng::new(seed, 0x5C4E),
            workload: Rng::new(seed, 0x3011),
            faults: Rng::new(seed, 0xFA17),
            trace: seed,
            steps: 0,
            answers: 0,
            clock,
            plan,
        }
    }

    fn now(&self) -> Micros {
        self.clock.get()
    }

    /// Runs everything, to the rest at the end.
    pub(super) fn run(mut self) -> Report {
        for _ in 0..self.plan.rounds {
            let (mut acts, until) = (self.plan.acts, self.now() + QUIET_US);
            while acts > 0 && self.clients.iter().any(|client| client.stage != Stage::Retired) {
                match self.step(true) {
                    Some(Choice::Act(_)) => acts -= 1,
                    Some(_) => {}
                    None => assert!(self.advance() && self.now() < until, "nobody can go on"),
                }
            }
            self.come_to_quiet();
        }
        self.everybody_goes();
        self.come_to_rest();
        let mut counters = Counters::default();
        for node in &self.nodes {
            counters.merge(&node.core.with(|shard| shard.counters()));
        }
        Report {
            trace: self.trace,
            steps: self.steps,
            delivered: self.ledger.delivered,
            answers: self.answers,
            counters,
        }
    }

    /// Nobody does anything more until all that was begun is done.
    fn come_to_quiet(&mut self) {
        let until = self.now() + QUIET_US;
        loop {
            if self.step(false).is_some() {
                continue;
            }
            let Some(why) = self.unsettled() else { break };
            assert!(self.advance() && self.now() < until, "it does not become quiet: {why}");
        }
        for client in &mut self.clients {
            client.user.settle();
        }
        self.ledger.settle();
        for node in &self.nodes {
            node.check();
            node.check_waits(&mut self.links);
        }
    }

    fn unsettled(&self) -> Option<String> {
        let stalled = self.links.iter().any(|link| self.now() < link.slow_until && !link.deaf);
        let running = self.presence.running.get();
        let stuck = self.nodes.iter().any(|node| node.desk.flush.get());
        self.clients
            .iter()
            .find_map(Client::unsettled)
            .or_else(|| stalled.then(|| String::from("somebody does not read")))
            .or_else(|| stuck.then(|| String::from("an inbox is full")))
            .or_else(|| self.ledger.owed())
            .or_else(|| (running > 0).then(|| format!("{running} handlers wait for something")))
    }

    fn everybody_goes(&mut self) {
        for client in &mut self.clients {
            client.habits.lives = 0;
        }
        if self.plan.drains {
            for client in &mut self.clients {
                client.user.doubt(&mut self.ledger);
            }
            for node in &self.nodes {
                let left = node.core.with(|shard| shard.drain_some(usize::MAX));
                assert_eq!(left, 0, "all sessions were to end");
            }
        }
        for at in 0..self.clients.len() {
            if self.clients[at].stage == Stage::Open && !self.plan.drains {
                self.with_client(at, |client, ctx| client.leave(ctx));
            }
        }
    }

    /// Runs until nothing is left to happen, then looks whether anything was forgotten.
    fn come_to_rest(&mut self) {
        while self.step(false).is_some() || self.advance() {}
        for client in &self.clients {
            assert_eq!(client.stage, Stage::Retired, "a client hangs: {client:?}");
        }
        for (at, link) in self.links.iter().enumerate() {
            assert!(matches!(link.place, Place::Closed), "connection {at} is kept: {link:?}");
        }
        for (at, node) in self.nodes.iter().enumerate() {
            node.check();
            let counters = node.core.with(|shard| shard.counters());
            let left = [
                counters.connections,
                counters.sessions,
                counters.sockets,
                counters.rooms,
                counters.room_memberships,
                counters.namespaces,
                counters.acks_pending,
                counters.outbox_bytes,
                counters.timers,
                node.desk.tasks() as u64,
            ];
            assert_eq!(left, [0; 10], "core {at} keeps something");
        }
        assert!(self.table.is_clear(), "a bit of interest was forgotten");
        assert!(self.presence.is_empty(), "a handler was not told that its socket is gone");
    }

    /// Everything that may happen now.
    fn choices(&self, acting: bool) -> Vec<Choice> {
        let now = self.now();
        let mut all = Vec::new();
        for (id, link) in self.links.iter().enumerate() {
            match &link.place {
                Place::Queued { .. } => all.push(Choice::Accept(id)),
                Place::Served(served) => {
                    let waits = served.waits;
                    if waits == Waits::Input && link.readable_by_core() {
                        all.push(Choice::Read(id));
                    }
                    if matches!(waits, Waits::Resume | Waits::End) && served.resume {
                        all.push(Choice::Resume(id));
                    }
                    if !served.unsent.is_empty() && link.room(now) > 0 {
                        all.push(Choice::SendRest(id));
                    }
                }
                Place::Moving | Place::Closed => {}
            }
            if link.readable_by_client(now) {
                all.push(Choice::Hear(id));
            }
        }
        for (at, node) in self.nodes.iter().enumerate() {
            let ready = (0..node.desk.tasks()).filter(|task| node.desk.is_ready(*task));
            all.extend(ready.map(|task| Choice::Task(at, task)));
            let forwarded = node.forwarded.borrow().len();
            all.extend((0..forwarded).map(|request| Choice::Answer(at, request)));
            if node.desk.flush.get() && node.retry_at.is_none_or(|retry| retry <= now) {
                all.push(Choice::Flush(at));
            }
            if node.next_due().is_some_and(|due| due.0 * 1_000 <= now) {
                all.push(Choice::Timeout(at));
            }
            let lanes = self.lanes[at].to.iter().enumerate();
            let full = lanes.filter(|(_, lane)| !lane.is_empty());
            all.extend(full.map(|(to, _)| Choice::Lane(at, to)));
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

    /// Does one thing that may happen; `None` if nothing can until time passes.
    fn step(&mut self, acting: bool) -> Option<Choice> {
        let choices = self.choices(acting);
        let weight = |choice: &Choice| self.plan.weights[choice.numbers().0 % STEPS];
        let total: usize = choices.iter().map(weight).sum();
        if total == 0 {
            return None;
        }
        let mut at = self.schedule.below(total);
        let chosen = choices.iter().find(|choice| {
            let weight = weight(choice);
            let here = at < weight;
            at = at.saturating_sub(weight);
            here
        });
        let choice = *chosen?;
        let pause = if self.faults.below(64) == 0 { 3_000 } else { 20 };
        self.clock.set(self.now() + self.faults.below(pause) as u64);
        self.steps += 1;
        assert!(self.steps < STEPS_MAX, "it never ends; next would be {choice:?}");
        let (kind, one, two) = choice.numbers();
        self.fold((kind << 32 | one << 8 | two) as u64);
        if let Some(core) = self.perform(choice) {
            self.nodes[core].check();
        }
        if let Some(wrong) = self.presence.wrong() {
            panic!("the application noticed: {wrong}");
        }
        Some(choice)
    }

    fn fold(&mut self, number: u64) {
        let mixed = (self.trace ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.trace = mixed ^ (mixed >> 29);
    }

    /// Does it; returns the core that was concerned.
    fn perform(&mut self, choice: Choice) -> Option<usize> {
        match choice {
            Choice::Accept(id) => {
                let Place::Queued { core } = self.links[id].place else { return None };
                self.serve(core, |node, links, lanes| node.adopt(links, id, Vec::new(), lanes))
            }
            Choice::Read(id) => {
                let here = if self.links[id].aborted { 0 } else { self.links[id].up.len() };
                let count = if here == 0 { 0 } else { self.cut(here) };
                let core = self.core_of(id)?;
                self.serve(core, |node, links, lanes| node.read(links, id, count, lanes))
            }
            Choice::Resume(id) => {
                let core = self.core_of(id)?;
                self.serve(core, |node, links, lanes| node.resume(links, id, lanes))
            }
            Choice::SendRest(id) => {
                let core = self.core_of(id)?;
                self.serve(core, |node, links, lanes| node.send_rest(links, id, lanes))
            }
            Choice::Flush(core) => self.serve(core, |node, links, lanes| node.flush(links, lanes)),
            Choice::Timeout(core) => self.serve(core, |node, _, _| node.handle_timeout()),
            Choice::Answer(core, at) => self.serve(core, |node, _, _| node.answer(at)),
            Choice::Task(core, task) => self.serve(core, |node, _, _| node.desk.poll(task)),
            Choice::Lane(from, to) => {
                let item = self.lanes[from].to[to].pop_front()?;
                self.serve(to, |node, links, lanes| match item {
                    Item::Batch { messages } => node.take(messages),
                    Item::Moved { link, bytes } => node.adopt(links, link, bytes, lanes),
                })
            }
            Choice::Hear(id) => {
                self.hear(id);
                None
            }
            Choice::Fire(at) => {
                self.with_client(at, Client::fire);
                None
            }
            Choice::Act(at) => {
                self.with_client(at, Client::act);
                None
            }
        }
    }

    fn core_of(&self, id: usize) -> Option<usize> {
        match &self.links[id].place {
            Place::Served(served) => Some(served.core),
            _ => None,
        }
    }

    fn serve(
        &mut self,
        core: usize,
        act: impl FnOnce(&mut Node, &mut [Link], &mut Lanes),
    ) -> Option<usize> {
        act(&mut self.nodes[core], &mut self.links, &mut self.lanes[core]);
        Some(core)
    }

    /// Where a stretch of bytes is cut: anywhere, and often not at all.
    fn cut(&mut self, here: usize) -> usize {
        match self.faults.below(4) {
            0 => 1 + self.faults.below(here),
            1 => 1 + self.faults.below(here.min(20)),
            _ => here,
        }
    }

    fn hear(&mut self, id: usize) {
        if self.links[id].down.is_empty() {
            self.links[id].end_seen = true;
            self.with_client(self.links[id].client, |client, ctx| client.hear_end(id, ctx));
            return;
        }
        let count = self.cut(self.links[id].down.len());
        let bytes: Vec<u8> = self.links[id].down.drain(..count).collect();
        for byte in &bytes {
            self.fold(u64::from(*byte));
        }
        self.links[id].got.extend_from_slice(&bytes);
        self.with_client(self.links[id].client, |client, ctx| client.hear(id, ctx));
    }

    fn with_client(&mut self, at: usize, act: impl FnOnce(&mut Client, &mut Ctx<'_>)) {
        let desk =
            Desk { now: self.clock.get(), ledger: &mut self.ledger, work: &mut self.workload };
        let mut ctx = Ctx {
            desk,
            links: &mut self.links,
            cores: self.plan.cores,
            faults: &mut self.faults,
            ping_interval_ms: self.plan.settings.ping_interval_ms,
            tight: self.plan.tight,
        };
        let client = &mut self.clients[at];
        act(client, &mut ctx);
        self.answers += std::mem::take(&mut client.user.answers);
    }

    /// Nothing can happen now: time passes until something can. False if nothing ever will.
    fn advance(&mut self) -> bool {
        let cores = self.nodes.iter().filter_map(Node::next_due).map(|due| due.0 * 1_000);
        let clients = self.clients.iter().filter_map(Client::due);
        let readers = self.links.iter().filter(|link| !link.deaf).map(|link| link.slow_until);
        let retries = self.nodes.iter().filter_map(|node| node.retry_at);
        let now = self.now();
        let next = cores.chain(clients).chain(readers).chain(retries).filter(|at| *at > now).min();
        if let Some(next) = next {
            self.clock.set(next);
        }
        next.is_some()
    }
}
