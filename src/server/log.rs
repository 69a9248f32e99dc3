//! The log: lines on standard error, written by a thread of their own.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::CoreId;
use crate::config::{LogFormat, LogLevel};
use crate::shard::{Fault, LogEvent};

/// Lines that may wait to be written. A terminal that stands still must not stop a server.
const WAITING_MAX: usize = 8_192;

/// A way to the log, from any thread; never blocks.
#[derive(Clone)]
pub(super) struct Log {
    level: LogLevel,
    sender: Sender<Entry>,
    lost: Arc<AtomicU64>,
    /// Whether some core has told that a forwarded address was ignored.
    ignored_told: Arc<AtomicBool>,
}

/// What to do about a forwarded address that was ignored.
const FORWARDED_IGNORED: &str = "it says for whom it forwards, and trusted_proxies does not name it: \
    all who come through it have one address here and share what an address may have; if it is \
    your proxy, set trusted_proxies";

enum Entry {
    Line(Line),
    /// Told when all before it is written.
    Written(Sender<()>),
}

struct Line {
    level: LogLevel,
    event: &'static str,
    fields: Vec<(&'static str, String)>,
}

impl Log {
    /// Starts the thread that writes.
    pub(super) fn start(level: LogLevel, format: LogFormat) -> std::io::Result<Self> {
        let (sender, receiver) = bounded(WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let reported = Arc::clone(&lost);
        std::thread::Builder::new()
            .name(String::from("log"))
            .spawn(move || write_lines(&receiver, format, &reported))?;
        Ok(Self { level, sender, lost, ignored_told: Arc::default() })
    }

    /// Writes a line, if its level is wanted.
    pub(super) fn line(
        &self,
        level: LogLevel,
        event: &'static str,
        fields: Vec<(&'static str, String)>,
    ) {
        if rank(level) > rank(self.level) {
            return;
        }
        if self.sender.try_send(Entry::Line(Line { level, event, fields })).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was said so far is written, for as long as `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let (written, heard) = bounded(1);
        if self.sender.try_send(Entry::Written(written)).is_ok() {
            let _stands_still = heard.recv_timeout(patience);
        }
    }

    /// Writes what was noticed at the start.
    pub(super) fn notes(&self, notes: &[String]) {
        for note in notes {
            self.line(LogLevel::Info, "start", vec![("note", note.clone())]);
        }
    }

    /// Writes what was noticed at the start and somebody should do something about.
    pub(super) fn warnings(&self, warnings: &[String]) {
        for warning in warnings {
            self.line(LogLevel::Warn, "start", vec![("warning", warning.clone())]);
        }
    }

    /// Writes what a worker saw.
    pub(super) fn event(&self, core: CoreId, event: LogEvent, suppressed: u64) {
        let mut fields = vec![("core", core.0.to_string())];
        let (level, name) = match event {
            LogEvent::Joined { namespace, id } => {
                fields.push(("namespace", namespace.to_string()));
                fields.push(("socket", id.as_str().to_owned()));
                (LogLevel::Debug, "socket joined")
            }
            LogEvent::Refused { namespace, message } => {
                fields.push(("namespace", namespace.to_string()));
                fields.push(("message", message));
                (LogLevel::Info, "socket refused")
            }
            LogEvent::Left { namespace, id, ending } => {
                fields.push(("namespace", namespace.to_string()));
                fields.push(("socket", id));
                fields.push(("ending", ending.label().to_owned()));
                (level_of(ending.fault()), "socket left")
            }
            LogEvent::Ended(ending) => {
                fields.push(("ending", ending.label().to_owned()));
                (level_of(ending.fault()), "connection ended")
            }
            LogEvent::Request { status, why } => {
                fields.push(("status", status.to_string()));
                fields.push(("why", why.to_owned()));
                (LogLevel::Info, "request refused")
            }
            LogEvent::ForwardedIgnored { peer } => {
                if self.ignored_told.swap(true, Ordering::Relaxed) {
                    return;
                }
                fields.push(("peer", peer.to_string()));
                fields.push(("warning", FORWARDED_IGNORED.to_owned()));
                (LogLevel::Warn, "forwarded address ignored")
            }
        };
        if suppressed > 0 {
            fields.push(("left_out_before", suppressed.to_string()));
        }
        self.line(level, name, fields);
    }
}

const fn level_of(fault: Fault) -> LogLevel {
    match fault {
        Fault::Nobody => LogLevel::Debug,
        Fault::Peer | Fault::Policy => LogLevel::Info,
        Fault::Ours => LogLevel::Error,
    }
}

const fn rank(level: LogLevel) -> u8 {
    match level {
        LogLevel::Error => 0,
        LogLevel::Warn => 1,
        LogLevel::Info => 2,
        LogLevel::Debug => 3,
    }
}

const fn word(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    }
}

fn write_lines(receiver: &Receiver<Entry>, format: LogFormat, lost: &AtomicU64) {
    while let Ok(entry) = receiver.recv() {
        let mut line = match entry {
            Entry::Line(line) => line,
            Entry::Written(written) => {
                let _impatient = written.try_send(());
                continue;
            }
        };
        let missing = lost.swap(0, Ordering::Relaxed);
        if missing > 0 {
            line.fields.push(("lost_before", missing.to_string()));
        }
        let text = render(&line, format);
        // A closed standard error leaves nobody to tell.
        let _unread = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

fn render(line: &Line, format: LogFormat) -> String {
    let time = crate::base::rfc3339(crate::command::unix_ms());
    let mut text = String::new();
    match format {
        LogFormat::Json => {
            let mut object = serde_json::Map::new();
            object.insert("time".into(), time.into());
            object.insert("level".into(), word(line.level).into());
            object.insert("event".into(), line.event.into());
            for (name, value) in &line.fields {
                object.insert((*name).into(), value.as_str().into());
            }
            text.push_str(&serde_json::Value::Object(object).to_string());
        }
        LogFormat::Text => {
            let _infallible = write!(text, "{time} {:5} {}", word(line.level), line.event);
            for (name, value) in &line.fields {
                let plain = !value.is_empty()
                    && value.chars().all(|c| c.is_ascii_graphic() && c != '"' && c != '=');
                let _infallible = if plain {
                    write!(text, " {name}={value}")
                } else {
                    write!(text, " {name}={value:?}")
                };
            }
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_be_forged_by_what_it_quotes() {
        let fields = vec![("message", String::from("x\n2026 error forged=\"y\""))];
        let line = Line { level: LogLevel::Info, event: "socket refused", fields };
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = render(&line, format);
            assert_eq!(text.matches('\n').count(), 1, "{text}");
        }
    }
}
