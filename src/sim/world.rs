//! Several cores and their clients, one thread, one seed.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::app::{self, Presence};
use super::choice::Choice;
use super::client::{Client, Ctx, Habits, Stage};
use super::fault::Tally;
use super::host::{Table, TableOf};
use super::ledger::Ledger;
use super::link::{Link, Place};
use super::mutant::Saboteur;
use super::node::{Item, Lanes, Node, Notes};
use super::plan::{Plan, STEPS, spoiled};
use super::script::{Act, Script, WORLD};
use super::user::Desk;
use crate::base::{CoreId, Micros, Rng};
use crate::shard::{Birth, Shard};
use crate::telemetry::Counters;

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
    /// What went wrong by itself, and how often.
    pub faults: BTreeMap<&'static str, u64>,
}

/// The world of one seed.
pub(super) struct World {
    script: Script,
    pub(super) plan: Plan,
    pub(super) clock: Rc<Cell<Micros>>,
    pub(super) nodes: Vec<Node>,
    /// `lanes[from].to[to]`.
    pub(super) lanes: Vec<Lanes>,
    pub(super) links: Vec<Link>,
    pub(super) clients: Vec<Client>,
    pub(super) ledger: Ledger,
    pub(super) tally: Rc<Tally>,
    /// What was done, for whoever wants to know how it came to this.
    told: Told,
    /// How far the clock has jumped.
    pub(super) jumped_us: Micros,
    /// How many acts there were of each client, and of the world.
    acts: BTreeMap<usize, u32>,
    presence: Rc<Presence>,
    table: Rc<Table>,
    schedule: Rng,
    workload: Rng,
    faults: Rng,
    trace: u64,
    steps: u64,
    answers: u64,
}

/// What was done so far; it outlives a world that fails.
pub(super) type Told = Rc<RefCell<Vec<(Act, &'static str)>>>;

/// Steps between two faults where the weather is bad.
const FAULT_STEPS: usize = 120;
/// Steps after which a world that does not come to rest is given up.
const STEPS_MAX: u64 = 2_000_000;
/// Time after which it must be quiet when nobody does anything more.
const QUIET_US: Micros = 60_000_000;

impl World {
    pub(super) fn new(script: &Script, told: &Told) -> Self {
        let seed = script.seed;
        let plan = Plan::new(&mut script.stream(0x91A4));
        let clock = Rc::new(Cell::new(0));
        let (tally, saboteur) =
            (Rc::default(), Saboteur::new(script.mutant, script.stream(0x5AB0)));
        let notes = Notes { tally: Rc::clone(&tally), saboteur: Rc::new(saboteur) };
        let table = Rc::new(Table::new(plan.buckets, Rc::clone(&notes.saboteur)));
        let presence = Rc::new(Presence::default());
        let settings = Rc::new(spoiled(&plan.settings, script.mutant));
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
            let shard = Shard::new(Rc::clone(&settings), birth);
            let node = Node::new(shard, &clock, notes.clone());
            node.core.install(&|_| app::build(&presence));
            node
        };
        let nodes: Vec<Node> = (0..plan.cores).map(node).collect();
        let lane = || Lanes {
            to: (0..plan.cores).map(|_| VecDeque::new()).collect(),
            room: plan.lane_room,
            late_until: vec![0; plan.cores],
        };
        let clients = plan.clients.iter().enumerate();
        let client = |(at, habits): (usize, &Habits)| {
            let mut client = Client::new(at, *habits);
            if !script.has_client(at) {
                client.stage = Stage::Retired;
            }
            client
        };
        let clients = clients.map(client).collect();
        Self {
            script: script.clone(),
            tally,
            told: Rc::clone(told),
            jumped_us: 0,
            acts: BTreeMap::new(),
            lanes: (0..plan.cores).map(|_| lane()).collect(),
            nodes,
            links: Vec::new(),
            clients,
            ledger: Ledger::default(),
            presence,
            table,
            schedule: script.twisted(0x5C4E),
            workload: script.stream(0x3011),
            faults: script.twisted(0xFA17),
            trace: seed,
            steps: 0,
            answers: 0,
            clock,
            plan,
        }
    }

    pub(super) fn now(&self) -> Micros {
        self.clock.get()
    }

    /// Runs everything, to the rest at the end.
    pub(super) fn run(mut self) -> Report {
        for _ in 0..self.script.rounds.unwrap_or(self.plan.rounds).min(self.plan.rounds) {
            let (mut acts, until) = (self.plan.acts, self.now() - self.jumped_us + QUIET_US);
            while acts > 0 && self.clients.iter().any(|client| client.stage != Stage::Retired) {
                match self.step(true) {
                    Some(Choice::Act(_)) => acts -= 1,
                    Some(_) => {}
                    None => {
                        let goes_on = self.advance() && self.now() - self.jumped_us < until;
                        assert!(goes_on, "{}", self.stuck());
                    }
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
            faults: self.tally.take(),
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
            node.check(&self.plan.settings.limits);
            node.check_waits(&mut self.links);
        }
    }

    fn unsettled(&self) -> Option<String> {
        let stalled = self.links.iter().any(|link| self.now() < link.slow_until && !link.deaf);
        let running = self.presence.running.get();
        let stuck = self.nodes.iter().any(|node| node.desk.flush.get());
        let stands = (0..self.nodes.len()).any(|core| self.is_stopped(core));
        let late = self.lanes.iter().any(|lane| lane.to.iter().any(|to| !to.is_empty()));
        self.clients
            .iter()
            .find_map(Client::unsettled)
            .or_else(|| stalled.then(|| String::from("somebody does not read")))
            .or_else(|| stuck.then(|| String::from("an inbox is full")))
            .or_else(|| stands.then(|| String::from("a core stands still")))
            .or_else(|| late.then(|| String::from("a batch is late")))
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
            node.check(&self.plan.settings.limits);
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
        let weather = acting && self.plan.weather.is_bad() && self.faults.below(FAULT_STEPS) == 0;
        let choice = if weather { Choice::Fault } else { *chosen? };
        let pause = if self.faults.below(64) == 0 { 3_000 } else { 20 };
        self.clock.set(self.now() + self.faults.below(pause) as u64);
        self.steps += 1;
        assert!(self.steps < STEPS_MAX, "it never ends; next would be {choice:?}");
        let (kind, one, two) = choice.numbers();
        self.fold((kind << 32 | one << 8 | two) as u64);
        if let Some(core) = self.perform(choice) {
            self.nodes[core].check(&self.plan.settings.limits);
            self.nodes[core].watch_upgrades(&mut self.links, &self.plan.settings);
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
                let here = self.links[id].arrived();
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
                self.act(at);
                None
            }
            Choice::Fault => {
                let act = self.next_act(WORLD);
                if self.script.has_act(act) {
                    let what = self.befall(self.script.of_act(act, 0xFA17));
                    self.told.borrow_mut().push((act, what));
                }
                None
            }
        }
    }

    /// Why nobody goes on, for whoever has to find out.
    fn stuck(&self) -> String {
        let clients = self.clients.iter().filter_map(Client::unsettled);
        let clients: Vec<String> = clients.collect();
        let links = self.links.iter().enumerate();
        let links = links.filter(|(_, link)| !matches!(link.place, Place::Closed));
        let links: Vec<String> = links.map(|(id, link)| format!("{id}: {link:?}")).collect();
        format!("at {} nobody can go on: {clients:?} {links:#?}", self.now())
    }

    fn next_act(&mut self, actor: usize) -> Act {
        let number = self.acts.entry(actor).or_default();
        let act = Act { actor, number: *number };
        *number += 1;
        act
    }

    /// A client does what it does at this point of its life, by chances of its own.
    fn act(&mut self, at: usize) {
        let act = self.next_act(at);
        if !self.script.has_act(act) {
            return;
        }
        let workload = std::mem::replace(&mut self.workload, self.script.of_act(act, 0x3011));
        let faults = std::mem::replace(&mut self.faults, self.script.of_act(act, 0xFA17));
        let told = Rc::clone(&self.told);
        told.borrow_mut().push((act, "began"));
        self.with_client(at, |client, ctx| {
            let what = client.act(ctx);
            if let Some(last) = told.borrow_mut().last_mut() {
                last.1 = what;
            }
        });
        (self.workload, self.faults) = (workload, faults);
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
            kernel_bytes: self.plan.kernel_bytes,
            faults: &mut self.faults,
            ping_interval_ms: self.plan.settings.ping_interval_ms,
            upgrade_timeout_ms: self.plan.settings.upgrade_timeout_ms,
            tight: self.plan.tight,
        };
        let client = &mut self.clients[at];
        act(client, &mut ctx);
        self.answers += std::mem::take(&mut client.user.answers);
    }

    /// Nothing can happen now: time passes until something can. False if nothing ever will.
    fn advance(&mut self) -> bool {
        let cores = self.nodes.iter().filter_map(Node::next_due);
        let stopped = self.nodes.iter().map(|node| node.stopped_until);
        let late = self.lanes.iter().flat_map(|lane| lane.late_until.iter().copied());
        let clients = self.clients.iter().filter_map(Client::due);
        let readers = self.links.iter().filter(|link| !link.deaf).map(|link| link.slow_until);
        let retries = self.nodes.iter().filter_map(|node| node.retry_at);
        let now = self.now();
        let held = stopped.chain(late);
        let next = cores
            .chain(clients)
            .chain(readers)
            .chain(retries)
            .chain(held)
            .filter(|at| *at > now)
            .min();
        if let Some(next) = next {
            self.clock.set(next);
        }
        next.is_some()
    }
}
