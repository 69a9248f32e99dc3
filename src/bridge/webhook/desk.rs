//! All hooks of a process: what other threads may see and ask of them.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::Uri;
use tokio::sync::{Notify, Semaphore};

use super::breaker::{Breaker, State};
use super::dead::{DeadLetters, Letter};
use super::queue::{Batch, Bounds, Full, Queue};
use super::sign::Signer;
use crate::base::rfc3339;
use crate::command::{DeadLetterView, HookDesk, HookHealth, ReplayView};
use crate::config::{Hook, HookEvent, Tables};
use crate::telemetry::Counters;

/// The hooks of a configuration. Made before there is a thread to call them; doors keep it.
#[derive(Debug)]
pub struct Hooks {
    pub(super) lines: Vec<Line>,
    dead: Mutex<DeadLetters>,
    pub(super) counts: Counts,
}

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) calls: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) skipped: AtomicU64,
    pub(super) turned_away: AtomicU64,
    dropped: AtomicU64,
    dead_letters: AtomicU64,
    dead_dropped: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// One hook.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) hook: Hook,
    pub(super) url: Uri,
    pub(super) signer: Signer,
    /// Calls that may be made now.
    pub(super) permits: Arc<Semaphore>,
    /// Clients and events that wait or are under way.
    pub(super) asked: AtomicUsize,
    /// Told when the queue has got something, or less.
    pub(super) wake: Notify,
    breaker: Mutex<Breaker>,
    queue: Mutex<Queue>,
    is_full: AtomicBool,
    last_error: Mutex<Option<String>>,
}

/// What a panicking task left is a number or a text: no worse than before.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    fn new(hook: &Hook) -> Self {
        let bounds = Bounds {
            items_max: hook.queue_max,
            bytes_max: hook.queue_bytes_max,
            batch_max: hook.batch_max,
            batch_wait_ms: hook.batch_wait_ms,
            batches_max: hook.concurrency_max,
        };
        let seed = getrandom::u64().unwrap_or(0);
        Self {
            // An address that passed the checks of the configuration reads.
            url: hook.url.parse().unwrap_or_default(),
            signer: Signer::new(&hook.keys()),
            permits: Arc::new(Semaphore::new(hook.concurrency_max)),
            asked: AtomicUsize::new(0),
            wake: Notify::new(),
            breaker: Mutex::new(Breaker::new(hook.breaker_failures, hook.breaker_open_ms)),
            queue: Mutex::new(Queue::new(bounds, seed)),
            is_full: AtomicBool::new(false),
            last_error: Mutex::new(None),
            hook: hook.clone(),
        }
    }

    pub(super) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        locked(&self.breaker)
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        locked(&self.queue)
    }

    /// Keeps why a call failed, for whoever looks.
    pub(super) fn note_error(&self, why: &str) {
        *locked(&self.last_error) = Some(why.to_owned());
    }
}

/// Whether a queue took something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Kept,
    /// It is lost, and so was the one before.
    Lost,
    /// It is lost, and the one before was not.
    LostFirst,
}

impl Hooks {
    /// The hooks of a configuration; none of them is called before the bridges start.
    #[must_use]
    pub fn new(tables: &Tables) -> Arc<Self> {
        Arc::new(Self {
            lines: tables.hooks.iter().map(Line::new).collect(),
            dead: Mutex::new(DeadLetters::default()),
            counts: Counts::default(),
        })
    }

    pub(super) fn line(&self, index: usize) -> &Line {
        &self.lines[index]
    }

    /// The hook that says whether clients may come into a namespace.
    pub(super) fn judge_of(&self, namespace: &str) -> Option<usize> {
        self.lines.iter().position(|line| line.hook.hears(HookEvent::Connect, namespace))
    }

    /// Puts something at the end of a hook's queue.
    pub(super) fn push(&self, index: usize, lane: &Arc<str>, json: String, now_ms: u64) -> Pushed {
        let line = self.line(index);
        let mut queue = line.queue();
        let pushed = queue.push(lane, json, now_ms);
        let has_room = queue.len() < line.hook.queue_max / 2;
        drop(queue);
        if pushed == Err(Full) {
            count(&self.counts.dropped);
            let before = line.is_full.swap(true, Ordering::Relaxed);
            return if before { Pushed::Lost } else { Pushed::LostFirst };
        }
        if has_room {
            line.is_full.store(false, Ordering::Relaxed);
        }
        line.wake.notify_one();
        Pushed::Kept
    }

    /// Keeps a call that was given up. Whether it is the only one.
    pub(super) fn bury(&self, index: usize, batch: Batch, why: String, now_unix_ms: u64) -> bool {
        count(&self.counts.dead_letters);
        let mut dead = locked(&self.dead);
        let gone = dead.bury(index, batch, why, now_unix_ms);
        self.counts.dead_dropped.fetch_add(gone as u64, Ordering::Relaxed);
        dead.len() == 1
    }

    /// Facts that no hook has had, and dead letters.
    pub(super) fn left(&self) -> (usize, usize) {
        let waiting = self.lines.iter().map(|line| line.queue().len()).sum();
        (waiting, locked(&self.dead).len())
    }

    fn view(&self, letter: &Letter) -> DeadLetterView {
        DeadLetterView {
            id: letter.batch.id.clone(),
            hook: self.line(letter.hook).hook.name.clone(),
            events: letter.batch.items.len() as u64,
            bytes: letter.batch.bytes() as u64,
            attempts: letter.batch.attempts,
            error: letter.why.clone(),
            died_at: rfc3339(letter.died_unix_ms),
        }
    }

    fn is_of(&self, letter: &Letter, hook: Option<&str>) -> bool {
        hook.is_none_or(|name| self.line(letter.hook).hook.name == name)
    }
}

impl HookDesk for Hooks {
    fn health(&self) -> Vec<HookHealth> {
        let view = |line: &Line| HookHealth {
            name: line.hook.name.clone(),
            breaker: match line.breaker().state() {
                State::Closed => "closed",
                State::Open => "open",
                State::HalfOpen => "half_open",
            },
            waiting: line.queue().len() as u64,
            last_error: locked(&line.last_error).clone(),
        };
        self.lines.iter().map(view).collect()
    }

    fn dead_letters(
        &self,
        hook: Option<&str>,
        after: u64,
        limit: usize,
    ) -> (Vec<DeadLetterView>, Option<u64>) {
        let dead = locked(&self.dead);
        let mut found = dead.after(after).filter(|letter| self.is_of(letter, hook)).peekable();
        let mut page = Vec::new();
        let mut last = after;
        while page.len() < limit
            && let Some(letter) = found.next()
        {
            page.push(self.view(letter));
            last = letter.number;
        }
        (page, found.peek().map(|_| last))
    }

    fn replay(&self, hook: Option<&str>, id: Option<&str>) -> ReplayView {
        let mut dead = locked(&self.dead);
        let is_wanted =
            |letter: &Letter| self.is_of(letter, hook) && id.is_none_or(|id| letter.batch.id == id);
        let mut view = ReplayView { replayed: 0, kept: 0 };
        for letter in dead.take(is_wanted) {
            let Letter { number, hook, batch, why, died_unix_ms } = letter;
            let line = self.line(hook);
            match line.queue().push_again(batch) {
                Ok(()) => view.replayed += 1,
                Err(batch) => {
                    view.kept += 1;
                    dead.put_back(Letter { number, hook, batch, why, died_unix_ms });
                }
            }
            line.wake.notify_one();
        }
        view
    }

    fn count(&self, counters: &mut Counters) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.counts;
        counters.hook_calls = read(&counts.calls);
        counters.hook_failures = read(&counts.failures);
        counters.hook_retries = read(&counts.retries);
        counters.hook_skipped = read(&counts.skipped);
        counters.hook_turned_away = read(&counts.turned_away);
        counters.hook_dropped = read(&counts.dropped);
        counters.hook_dead_letters = read(&counts.dead_letters);
        counters.hook_dead_dropped = read(&counts.dead_dropped);
        let (waiting, dead) = self.left();
        counters.hook_waiting = waiting as u64;
        counters.hook_dead = dead as u64;
    }
}
