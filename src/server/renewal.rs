//! New certificates while the server runs: the admin core looks at the files, reads them when they
//! have changed, and tells the workers. A connection keeps what it began with.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::sync::Notify;

use super::certificate::{Files, Identity, Stamp, Unusable, ending_soon};
use super::log::Log;
use crate::command::unix_ms;
use crate::config::LogLevel;
use crate::mesh::Outlet;
use crate::telemetry::{CertificateState, Outside};
use crate::worker::Item;

/// Between two tries to tell a worker whose inbox is full.
const RETRY: Duration = Duration::from_millis(10);

/// Keeps the certificate fresh.
pub(super) struct Renewal {
    pub(super) files: Files,
    /// What the files looked like before `first` was read from them.
    pub(super) seen: Option<Stamp>,
    pub(super) first: Identity,
    pub(super) every: Duration,
    pub(super) log: Log,
    pub(super) outside: Arc<Outside>,
    /// Has them read at once, whether anything seems to have changed or not.
    pub(super) nudge: Arc<Notify>,
}

/// Seconds since the epoch.
pub(super) fn now_s() -> u64 {
    unix_ms() / 1_000
}

impl Renewal {
    /// Looks at the files for as long as the admin core runs.
    pub(super) async fn run(mut self, outlets: Vec<Outlet<Item>>) {
        let mut used = Arc::clone(&self.first.config);
        let mut ends_s = self.first.ends_s;
        let mut problem = None;
        // Whoever started the server has said it already.
        let mut said = self.ends_soon(ends_s);
        loop {
            self.tell(ends_s, problem.clone());
            let nudged = tokio::time::timeout(self.every, self.nudge.notified()).await.is_ok();
            let stamp = self.files.stamp();
            if nudged || stamp != self.seen {
                self.seen = stamp;
                match self.files.load(Some(&used), now_s()) {
                    Ok(identity) => {
                        (ends_s, problem) = (identity.ends_s, None);
                        spread(&identity.config, &outlets).await;
                        self.took(&identity);
                        used = identity.config;
                        said = self.ends_soon(ends_s);
                    }
                    Err(error) => problem = Some(self.keeps(&error)),
                }
            }
            let soon = self.ends_soon(ends_s);
            if soon != said {
                self.warn(soon.as_deref());
                said = soon;
            }
        }
    }

    fn ends_soon(&self, ends_s: Option<u64>) -> Option<String> {
        ends_s.and_then(|ends_s| ending_soon(ends_s, now_s()))
    }

    /// Tells health and metrics.
    fn tell(&self, ends_s: Option<u64>, problem: Option<String>) {
        self.outside.count(|told| told.tls_certificate_ends_seconds = ends_s.unwrap_or(0));
        self.outside.say_certificate(CertificateState {
            ends_at: ends_s.map(|ends_s| crate::base::rfc3339(ends_s * 1_000)),
            problem: problem.or_else(|| self.ends_soon(ends_s)),
        });
    }

    fn took(&self, identity: &Identity) {
        self.outside.count(|counters| counters.tls_reloads += 1);
        self.log.line(LogLevel::Info, "certificate taken into use", Vec::new());
        for warning in &identity.warnings {
            self.warn(Some(warning));
        }
    }

    fn warn(&self, warning: Option<&str>) {
        if let Some(warning) = warning {
            self.log.line(LogLevel::Warn, "certificate", vec![("warning", warning.to_owned())]);
        }
    }

    fn keeps(&self, error: &Unusable) -> String {
        let why = error.to_string();
        self.outside.count(|counters| counters.tls_reload_failures += 1);
        let event = "new certificate refused, the old one is kept";
        self.log.line(LogLevel::Error, event, vec![("why", why.clone())]);
        why
    }
}

/// Tells every worker.
async fn spread(config: &Arc<ServerConfig>, outlets: &[Outlet<Item>]) {
    for outlet in outlets {
        let mut item = Item::Certificate(Arc::clone(config));
        while let Err(back) = outlet.try_send(item) {
            item = back;
            tokio::time::sleep(RETRY).await;
        }
    }
}
