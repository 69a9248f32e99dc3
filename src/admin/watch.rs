//! Notices workers that have not answered for too long: a handler that blocks, or a thread that
//! the kernel keeps waiting. It cannot help them; it names them.

use std::time::{Duration, Instant};

use super::process;
use super::state::{Admin, Known, label};
use crate::config::LogLevel;

/// Where lines about workers go: level, event, fields.
pub type Teller = dyn Fn(LogLevel, &'static str, Vec<(&'static str, String)>) + Send + Sync;

/// After this long without a word a worker is not healthy.
const SILENCE_MAX: Duration = Duration::from_secs(3);

impl Known {
    /// Whether it has been heard within three seconds.
    pub(super) fn is_healthy(&self) -> bool {
        self.heard_at.is_some_and(|heard| heard.elapsed() <= SILENCE_MAX)
    }

    /// How long it has been silent; nothing for one that was never heard.
    pub(super) fn silence(&self) -> Duration {
        self.heard_at.map_or(Duration::ZERO, |heard| heard.elapsed())
    }

    /// What the kernel says its thread is doing, while it is not healthy.
    pub(super) fn stuck_in(&self) -> Option<&'static str> {
        let thread = self.thread.filter(|_| !self.is_healthy())?;
        process::thread_state(thread)
    }
}

impl Admin {
    /// Looks at every worker, once a second: one that fell silent is counted and named in the log,
    /// and one that is back likewise.
    pub(super) fn watch(&self, tell: &Teller) {
        let mut book = self.book();
        for (core, known) in book.known.iter_mut().enumerate() {
            let is_silent = known.heard_at.is_some() && !known.is_healthy();
            match (known.silent_since, is_silent) {
                (None, true) => {
                    known.silent_since = known.heard_at;
                    known.stalls += 1;
                    let mut fields = fields(core, known, known.silence());
                    fields.push(("doing", known.stuck_in().unwrap_or("unknown").to_owned()));
                    tell(LogLevel::Error, "worker does not answer", fields);
                }
                (Some(since), false) => {
                    known.silent_since = None;
                    let until = known.heard_at.unwrap_or_else(Instant::now);
                    let lasted = until.saturating_duration_since(since);
                    tell(LogLevel::Warn, "worker answers again", fields(core, known, lasted));
                }
                _ => {}
            }
        }
    }
}

fn fields(core: usize, known: &Known, silence: Duration) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("core", core.to_string()),
        ("worker", label(core)),
        ("silent_ms", silence.as_millis().to_string()),
    ];
    // What a debugger or a profiler asks for.
    fields.extend(known.thread.map(|thread| ("thread", thread.to_string())));
    fields
}
