//! The workers as the admin core sees them: somebody to send errands to.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::api::Io;
use crate::base::CoreId;

/// A closure on its way to a worker core.
pub type Errand = Box<dyn FnOnce(&Io) + Send>;

/// A worker's inbox has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// All worker cores as the admin core sees them; never blocks.
pub trait Workers: Send + Sync + 'static {
    /// How many there are.
    fn cores(&self) -> usize;

    /// Runs a closure on a core, a little later. Errands of one sender keep their order.
    ///
    /// # Errors
    /// The core is so far behind that it takes no more.
    fn send(&self, core: CoreId, errand: Errand) -> Result<(), Full>;
}

/// Why a worker gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskError {
    /// It takes no more errands: nothing has happened.
    Overloaded,
    /// It did not answer in time; what was asked for may happen yet.
    TimedOut,
    /// It will not answer: the errand was dropped.
    Gone,
}

/// The way back for one answer. Dropping it tells the asker that none comes.
#[derive(Debug)]
pub struct Reply<T>(oneshot::Sender<T>);

impl<T> Reply<T> {
    /// Sends the answer; an asker that has left misses it.
    pub fn send(self, answer: T) {
        // Whoever asked may have given up: that is theirs to know.
        let _left = self.0.send(answer);
    }
}

/// Time a worker has to answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks a core and waits for its answer, which may come from a later tick than the errand's.
///
/// # Errors
/// None came.
pub async fn ask<T: Send + 'static>(
    workers: &dyn Workers,
    core: CoreId,
    question: impl FnOnce(&Io, Reply<T>) + Send + 'static,
) -> Result<T, AskError> {
    ask_within(workers, core, ANSWER_TIMEOUT, question).await
}

/// The same with a time of one's own.
///
/// # Errors
/// None came.
pub async fn ask_within<T: Send + 'static>(
    workers: &dyn Workers,
    core: CoreId,
    within: Duration,
    question: impl FnOnce(&Io, Reply<T>) + Send + 'static,
) -> Result<T, AskError> {
    let (reply, answer) = oneshot::channel();
    let errand: Errand = Box::new(move |io| question(io, Reply(reply)));
    workers.send(core, errand).map_err(|Full| AskError::Overloaded)?;
    match tokio::time::timeout(within, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(AskError::Gone),
        Err(_) => Err(AskError::TimedOut),
    }
}
