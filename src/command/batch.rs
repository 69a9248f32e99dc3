//! Many commands at once. Events that follow each other go to a worker together, a slice at a
//! time: it sends for a moment, tells how far it came, and serves its clients in between.

use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::answer::{Answer, Failure};
use super::desk::{Desk, answered, sent};
use super::views::{BatchResultView, BatchView};
use super::work::{Batch, Work};
use super::{ANSWER_TIMEOUT, AskError, ask};
use crate::base::CoreId;
use crate::gateway::VerbError;
use crate::gateway::verbs::{Emission, Reached, emit_some};

/// Time for which a worker sends in one go.
const SLICE_US: u64 = 50;
/// Events it sends in one go: each is a write to somebody else's connection, which is what costs.
const SLICE_EVENTS: usize = 16;

/// A command of a batch, by what is done with it.
enum Step {
    /// An event, and whether it is answered with its recipients.
    Event(Emission, bool),
    Other(Work),
    Wrong(Failure),
}

impl From<Result<Work, Failure>> for Step {
    fn from(step: Result<Work, Failure>) -> Self {
        match step {
            Ok(Work::Emit(emission)) => Self::Event(emission, false),
            Ok(Work::Send(emission)) => Self::Event(emission, true),
            Ok(work) => Self::Other(work),
            Err(failure) => Self::Wrong(failure),
        }
    }
}

/// Events that go to one core together, with their numbers in the batch.
#[derive(Default)]
struct Run {
    emissions: Vec<Emission>,
    places: Vec<(usize, bool)>,
}

impl Run {
    fn push(&mut self, at: usize, emission: Emission, recipients: bool) {
        self.emissions.push(emission);
        self.places.push((at, recipients));
    }
}

impl Desk {
    /// Does all commands of a batch and tells of each.
    pub(super) async fn batch(self: &Arc<Self>, batch: Batch) -> Answer {
        let id = self.next_id();
        let Batch { steps, parallel, stop_on_error } = batch;
        let steps: Vec<Step> = steps.into_iter().map(Step::from).collect();
        let answers = if parallel {
            self.all_at_once(steps).await
        } else {
            self.one_by_one(steps, stop_on_error).await
        };
        let succeeded = answers.iter().filter(|answer| answer.code.is_none()).count();
        let failed = answers.len() - succeeded;
        let results = answers.into_iter().map(result).collect();
        let message = if failed == 0 { "All done" } else { "Some were not done" };
        let view = BatchView { id, succeeded, failed, results };
        Answer::data(message, &view).named(view.id)
    }

    /// In their order, each begun after the one before is done; events of a run are sent in their
    /// order by one core, which keeps it for every receiver.
    async fn one_by_one(self: &Arc<Self>, steps: Vec<Step>, stop_on_error: bool) -> Vec<Answer> {
        let count = steps.len();
        let mut answers: Vec<Option<Answer>> = vec![None; count];
        let (mut run, mut stopped) = (Run::default(), false);
        for (at, step) in steps.into_iter().enumerate() {
            if let Step::Event(emission, recipients) = step {
                run.push(at, emission, recipients);
                if !stop_on_error {
                    continue;
                }
                self.send(std::mem::take(&mut run), &mut answers).await;
            } else {
                self.send(std::mem::take(&mut run), &mut answers).await;
                answers[at] = Some(match step {
                    Step::Other(work) => self.perform(work).await,
                    Step::Wrong(failure) => failure.named(self.next_id()).into(),
                    Step::Event(..) => continue,
                });
            }
            let failed = answers[at].as_ref().is_some_and(|answer| answer.code.is_some());
            if stop_on_error && failed {
                stopped = true;
                break;
            }
        }
        if !stopped {
            self.send(run, &mut answers).await;
        }
        let skipped = || {
            let failure = Failure::new(424, "SKIPPED", "An earlier command failed");
            failure.named(self.next_id()).into()
        };
        answers.into_iter().map(|one| one.unwrap_or_else(skipped)).collect()
    }

    /// In any order: the events of each core together, cores at the same time.
    async fn all_at_once(self: &Arc<Self>, steps: Vec<Step>) -> Vec<Answer> {
        let cores = self.workers().cores();
        let mut answers: Vec<Option<Answer>> = vec![None; steps.len()];
        let mut runs: Vec<Run> = (0..cores).map(|_| Run::default()).collect();
        let mut others = Vec::new();
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Event(emission, recipients) => {
                    let home = emission.aim.home(cores).index();
                    runs[home].push(at, emission, recipients);
                }
                Step::Other(work) => others.push((at, work)),
                Step::Wrong(failure) => {
                    answers[at] = Some(failure.named(self.next_id()).into());
                }
            }
        }
        let mut sending = JoinSet::new();
        for (core, run) in runs.into_iter().enumerate().filter(|(_, run)| !run.places.is_empty()) {
            let desk = Arc::clone(self);
            sending.spawn(async move {
                let told = desk.send_run(CoreId::from_index(core), run.emissions).await;
                run.places.into_iter().zip(told).collect::<Vec<_>>()
            });
        }
        for (at, work) in others {
            answers[at] = Some(self.perform(work).await);
        }
        while let Some(told) = sending.join_next().await {
            for ((at, recipients), told) in told.unwrap_or_default() {
                answers[at] = Some(self.sent(told, recipients));
            }
        }
        answers.into_iter().map(|one| one.unwrap_or_else(|| Failure::internal().into())).collect()
    }

    async fn send(&self, run: Run, answers: &mut [Option<Answer>]) {
        let Run { emissions, places } = run;
        let Some(first) = emissions.first() else { return };
        let core = first.aim.home(self.workers().cores());
        let told = self.send_run(core, emissions).await;
        for ((at, recipients), told) in places.into_iter().zip(told) {
            answers[at] = Some(self.sent(told, recipients));
        }
    }

    /// Sends events from one core, in their order; says of each what became of it.
    async fn send_run(
        &self,
        core: CoreId,
        emissions: Vec<Emission>,
    ) -> Vec<Result<Reached, Failure>> {
        let emissions = Arc::new(emissions);
        let mut told: Vec<Option<Result<Reached, Failure>>> = vec![None; emissions.len()];
        let (tell, mut hear) = mpsc::unbounded_channel();
        let mut from = 0;
        while from < emissions.len() {
            let (emissions, tell) = (Arc::clone(&emissions), tell.clone());
            let slice = ask(&**self.workers(), core, move |io, reply| {
                let until_us = io.now_us() + SLICE_US;
                let done = move |at: usize, result: Result<Reached, VerbError>| {
                    // Whoever asked may have given up: that is theirs to know.
                    let _left = tell.send((from + at, result));
                };
                let to = emissions.len().min(from + SLICE_EVENTS);
                reply.send(emit_some(io, &emissions[from..to], until_us, done));
            });
            match slice.await {
                Ok(sent) => from += sent,
                Err(error) => {
                    told[from..].fill(Some(Err(error.into())));
                    break;
                }
            }
        }
        drop(tell);
        let all = async {
            while let Some((at, result)) = hear.recv().await {
                told[at] = Some(result.map_err(Failure::from));
            }
        };
        // Whoever is silent is told of below.
        let _in_time = tokio::time::timeout(ANSWER_TIMEOUT, all).await;
        let silent = || Err(Failure::from(AskError::TimedOut));
        told.into_iter().map(|one| one.unwrap_or_else(silent)).collect()
    }

    /// The answer to one event of a batch, which is a command of its own.
    fn sent(&self, told: Result<Reached, Failure>, recipients: bool) -> Answer {
        let id = self.next_id();
        let told = told.map(|reached| sent(&id, reached, recipients));
        answered(id, told)
    }
}

fn result(answer: Answer) -> BatchResultView {
    let text = String::from_utf8(answer.body).ok();
    let body = text.and_then(|text| RawValue::from_string(text).ok());
    let body = body.unwrap_or_else(|| RawValue::NULL.to_owned());
    BatchResultView { status: answer.status, body }
}
