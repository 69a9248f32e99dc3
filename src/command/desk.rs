//! Where commands are done, whichever door they came by.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::answer::{Answer, Failure};
use super::idempotency::{Begun, Ledger, LedgerLimits};
use super::verb::Verb;
use super::views::{AskedView, ChangedRoomView, ChangedView, DisconnectedView, EmittedView};
use super::work::{Order, Work, prepare};
use super::{ANSWER_TIMEOUT, Reply, Workers, ask_within};
use crate::api::Io;
use crate::base::{CoreId, hasher};
use crate::gateway::verbs::{
    self, Aim, Changed, Heard, Question, Reached, home_of_room, home_of_user,
};
use crate::gateway::{ConnectedView, Done, RecipientsView, VerbError};

/// Questions to clients that may be under way.
const ASKS_MAX: usize = 10_000;
/// Time over that of the clients which cores have to say what came of a question.
const ASK_GRACE: Duration = Duration::from_secs(2);
/// Bytes of a key of idempotency.
const KEY_BYTES_MAX: usize = 256;

/// A key that makes a command idempotent: the same key of the same caller is the same command.
#[derive(Clone, Copy, Debug)]
pub struct Repeat<'a> {
    /// Whose key it is: keys of two callers never meet.
    pub whose: &'a str,
    /// The key; 1 to 256 bytes without control characters.
    pub key: &'a str,
}

/// Where commands are done. Shared by all doors; its work is done on the runtime of whoever calls.
pub struct Desk {
    workers: Arc<dyn Workers>,
    /// Never held across an await.
    ledger: Mutex<Ledger>,
    asks: AtomicUsize,
    epoch: Instant,
    /// Of this process, so that ids of two are different ones.
    boot: u64,
    commands: AtomicU64,
}

impl Desk {
    /// A desk in front of these workers; `seed` is chance.
    #[must_use]
    pub fn new(workers: Arc<dyn Workers>, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            workers,
            ledger: Mutex::new(Ledger::new(seed, LedgerLimits::default())),
            asks: AtomicUsize::new(0),
            epoch: Instant::now(),
            boot: seed,
            commands: AtomicU64::new(0),
        })
    }

    /// The workers behind it.
    #[must_use]
    pub fn workers(&self) -> &Arc<dyn Workers> {
        &self.workers
    }

    /// Does a command. With a key, a command that was done before is not done again: its first
    /// answer is given once more. Whoever leaves early misses the answer; a command with a key is
    /// done nonetheless.
    pub async fn run(self: &Arc<Self>, verb: Verb, body: &[u8], key: Option<Repeat<'_>>) -> Answer {
        let answered = self.once(verb, body, key).await;
        answered.unwrap_or_else(|failure| failure.named(self.next_id()).into())
    }

    async fn once(
        self: &Arc<Self>,
        verb: Verb,
        body: &[u8],
        key: Option<Repeat<'_>>,
    ) -> Result<Answer, Failure> {
        let Some(repeat) = key.filter(|_| verb.facts().writes) else {
            return Ok(self.answer(verb, body).await);
        };
        if !(1..=KEY_BYTES_MAX).contains(&repeat.key.len()) || repeat.key.contains(char::is_control)
        {
            let message = "must be 1 to 256 bytes without control characters";
            return Err(Failure::invalid("Idempotency-Key", message));
        }
        let name = format!("{}\0{}", repeat.whose, repeat.key);
        let print = hasher(self.boot).hash_one((verb, body));
        let begun = self.ledger().begin(&name, print, self.now_ms());
        match begun {
            Begun::New => {}
            Begun::Kept(answer) => return Ok(answer),
            Begun::Running => {
                let message = "The first command with this key still runs";
                return Err(Failure::new(409, "IDEMPOTENCY_IN_PROGRESS", message));
            }
            Begun::Mismatch => {
                let message = "This key came with another command before";
                return Err(Failure::new(422, "IDEMPOTENCY_MISMATCH", message));
            }
            Begun::Full => {
                let message = "As many commands with a key are under way as may be";
                return Err(Failure::new(429, "TOO_MANY_PENDING", message));
            }
        }
        let (desk, body) = (Arc::clone(self), body.to_vec());
        // A task of its own: a caller that hangs up must not leave the command half done.
        let job = tokio::spawn(async move {
            let mut running = Running { desk: &desk, name: &name, answer: None };
            let answer = desk.answer(verb, &body).await;
            let is_final = answer.status < 500 && answer.status != 429;
            running.answer = is_final.then(|| answer.clone());
            answer
        });
        job.await.map_err(|_| Failure::internal())
    }

    async fn answer(self: &Arc<Self>, verb: Verb, body: &[u8]) -> Answer {
        match prepare(verb, body, self.workers.cores()) {
            Ok(Order::One(work)) => self.perform(work).await,
            Ok(Order::Many(batch)) => self.batch(batch).await,
            Err(failure) => failure.named(self.next_id()).into(),
        }
    }

    /// Does one command.
    pub(super) async fn perform(&self, work: Work) -> Answer {
        let id = self.next_id();
        let told = self.work(&id, work).await;
        answered(id, told)
    }

    async fn work(&self, id: &str, work: Work) -> Result<Answer, Failure> {
        let cores = self.workers.cores();
        match work {
            Work::Emit(emission) => {
                let home = emission.aim.home(cores);
                let told = self.of(home, move |io, done| verbs::emit(io, &emission, done)).await;
                Ok(sent(id, told?, false))
            }
            Work::Send(emission) => {
                let home = emission.aim.home(cores);
                let told = self.of(home, move |io, done| verbs::emit(io, &emission, done)).await;
                Ok(sent(id, told?, true))
            }
            Work::Ask(question) => self.ask(id, *question).await,
            Work::Change { aim, rooms, joins } => self.change(id, &aim, rooms, joins).await,
            Work::Dismiss(dismissal) => {
                let home = dismissal.aim.home(cores);
                let verb = move |io: &Io, done: Done<_>| verbs::disconnect(io, &dismissal, done);
                let (matched, partial) = self.of(home, verb).await?;
                let message = if matched == 0 { "Nobody is there" } else { "Disconnected" };
                let id = id.to_owned();
                Ok(Answer::data(message, &DisconnectedView { id, matched, partial }))
            }
            Work::Query { users, namespace } => self.query(&users, &namespace).await,
            Work::Rooms(page, filter) => {
                let (first, _) = page.start();
                let verb = move |io: &Io, done: Done<_>| verbs::rooms(io, page, filter, done);
                let found = self.of(first, verb).await?;
                Ok(Answer::page("Rooms", &found.data, found.next_cursor.as_deref()))
            }
            Work::Sockets(page, filter) => {
                let (first, _) = page.start();
                let verb = move |io: &Io, done: Done<_>| verbs::sockets(io, page, filter, done);
                let found = self.of(first, verb).await?;
                Ok(Answer::page("Sockets", &found.data, found.next_cursor.as_deref()))
            }
            Work::Revoke(revocation) => {
                let verb = move |io: &Io, done: Done<_>| verbs::revoke(io, revocation, done);
                Ok(Answer::data("Revoked", &self.of(CoreId(0), verb).await?))
            }
            Work::CreateRoom(room) => {
                let home = home_of_room(&room.room_id, cores);
                let verb = move |io: &Io, done: Done<_>| verbs::create_room(io, room, done);
                Ok(match self.of(home, verb).await? {
                    (room, true) => Answer::created("The room was created", &room),
                    (room, false) => Answer::data("The room existed", &room),
                })
            }
            Work::ChangeUser(request, joins) => {
                let home = home_of_user(&request.user_id, cores);
                let verb = if joins { verbs::join_user } else { verbs::leave_user };
                let view = self.of(home, move |io, done| verb(io, &request, done)).await?;
                let message =
                    if joins { "The user is in the room" } else { "The user is not in the room" };
                Ok(Answer::data(message, &view))
            }
        }
    }

    async fn ask(&self, id: &str, question: Question) -> Result<Answer, Failure> {
        let Some(_one) = Asking::begin(&self.asks) else {
            return Err(VerbError::TooManyPending.into());
        };
        let home = question.emission.aim.home(self.workers.cores());
        let within = Duration::from_millis(question.terms.timeout_ms) + ASK_GRACE;
        let verb = move |io: &Io, done: Done<Heard>| verbs::ask(io, &question, done);
        let heard = self.of_within(home, within, verb).await?;
        let has_quorum = heard.has_quorum;
        let view = AskedView::new(id.to_owned(), heard);
        if has_quorum {
            return Ok(Answer::data("Answered", &view));
        }
        let details = serde_json::to_value(&view).unwrap_or_default();
        Err(Failure::from(VerbError::QuorumMissed).with_details(details))
    }

    async fn change(
        &self,
        id: &str,
        aim: &Aim,
        rooms: Vec<String>,
        joins: bool,
    ) -> Result<Answer, Failure> {
        let (mut matched, mut views, mut first_failure) = (0, Vec::new(), None);
        for room_id in rooms {
            let home = home_of_room(&room_id, self.workers.cores());
            let (aim, room) = (aim.clone(), room_id.clone());
            let verb =
                move |io: &Io, done: Done<Changed>| verbs::change(io, aim, &room, joins, done);
            let view = match self.of(home, verb).await {
                Ok(changed) => {
                    matched = matched.max(changed.matched);
                    ChangedRoomView { room_id, sockets: changed.done_for, error: None }
                }
                Err(failure) => {
                    let error = Some(failure.code.clone().into_owned());
                    first_failure.get_or_insert(failure);
                    ChangedRoomView { room_id, sockets: 0, error }
                }
            };
            views.push(view);
        }
        if let Some(failure) = first_failure
            && views.iter().all(|view| view.error.is_some())
        {
            return Err(failure);
        }
        let message = if matched == 0 { "Nobody is there" } else { "Done" };
        Ok(Answer::data(message, &ChangedView { id: id.to_owned(), matched, rooms: views }))
    }

    /// Each user's keeper knows; every keeper is asked once.
    async fn query(&self, users: &[String], namespace: &str) -> Result<Answer, Failure> {
        let cores = self.workers.cores();
        let mut by_keeper: Vec<(Vec<usize>, Vec<String>)> = vec![Default::default(); cores];
        for (at, user) in users.iter().enumerate() {
            let (places, names) = &mut by_keeper[home_of_user(user, cores).index()];
            places.push(at);
            names.push(user.clone());
        }
        let mut found: Vec<(usize, ConnectedView)> = Vec::with_capacity(users.len());
        for (core, (places, names)) in by_keeper.into_iter().enumerate() {
            // One keeper is asked even if nobody is: the namespace may not be served.
            if names.is_empty() && !(users.is_empty() && core == 0) {
                continue;
            }
            let namespace = namespace.to_owned();
            let views = self.of(CoreId::from_index(core), move |io, done: Done<_>| {
                done(verbs::connected_here(io, &namespace, &names));
            });
            found.extend(places.into_iter().zip(views.await?));
        }
        found.sort_unstable_by_key(|(at, _)| *at);
        let views: Vec<ConnectedView> = found.into_iter().map(|(_, view)| view).collect();
        Ok(Answer::data("Users", &views))
    }

    /// Asks a core for a verb and waits for what its `done` is told.
    ///
    /// # Errors
    /// What `done` was told, or that the core did not answer.
    pub async fn of<T: Send + 'static>(
        &self,
        core: CoreId,
        verb: impl FnOnce(&Io, Done<T>) + Send + 'static,
    ) -> Result<T, Failure> {
        self.of_within(core, ANSWER_TIMEOUT, verb).await
    }

    async fn of_within<T: Send + 'static>(
        &self,
        core: CoreId,
        within: Duration,
        verb: impl FnOnce(&Io, Done<T>) + Send + 'static,
    ) -> Result<T, Failure> {
        let question = move |io: &Io, answer: Reply<Result<T, VerbError>>| {
            verb(io, Box::new(move |told| answer.send(told)));
        };
        Ok(ask_within(&*self.workers, core, within, question).await??)
    }

    /// A name for a command, no other of which has it.
    #[must_use]
    pub fn next_id(&self) -> String {
        let count = self.commands.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}{count:08x}", self.boot)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // It is changed by short calls that do not panic; what one left is whole.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// What came of a command, under its name.
pub(super) fn answered(id: String, told: Result<Answer, Failure>) -> Answer {
    match told {
        Ok(answer) => answer.named(id),
        Err(failure) => failure.named(id).into(),
    }
}

/// The answer to one event.
pub(super) fn sent(id: &str, reached: Reached, recipients: bool) -> Answer {
    let message = if reached.matched == 0 { "Nobody is there" } else { "Queued" };
    if recipients {
        let Reached { queued: recipients, partial, .. } = reached;
        return Answer::data(message, &RecipientsView { recipients, partial });
    }
    Answer::data(message, &EmittedView::new(id.to_owned(), reached))
}

/// A command with a key that runs; however it ends, its key is told.
struct Running<'a> {
    desk: &'a Desk,
    name: &'a str,
    answer: Option<Answer>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let now_ms = self.desk.now_ms();
        self.desk.ledger().finish(self.name, self.answer.take(), now_ms);
    }
}

/// One of the questions under way.
struct Asking<'a>(&'a AtomicUsize);

impl<'a> Asking<'a> {
    fn begin(asks: &'a AtomicUsize) -> Option<Self> {
        let one = Self(asks);
        (asks.fetch_add(1, Ordering::Relaxed) < ASKS_MAX).then_some(one)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
