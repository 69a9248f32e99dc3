//! Hears every worker once a second, and at once when somebody wants to know.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::process;
use super::state::{Admin, label};
use super::watch::Teller;
use crate::api::SnapshotParts;
use crate::base::CoreId;
use crate::command::{Full, unix_ms};
use crate::telemetry::{CoreSnapshot, Histograms};

/// Time between two snapshots of a core.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time that a caller waits for numbers that are not older than its call.
const FRESH_WITHIN: Duration = Duration::from_millis(300);

/// Listens to the workers for as long as the admin core runs: spawn it once, on the admin
/// core's runtime.
///
/// A core is asked again when it has answered and an interval is over. However late an answer
/// is, its histograms are merged: they are in no other snapshot.
///
/// `tell` hears of workers that fall silent and of those that come back.
pub async fn collect(admin: Arc<Admin>, tell: Arc<Teller>) {
    for core in admin.cores() {
        tokio::spawn(listen(Arc::clone(&admin), core));
    }
    loop {
        admin.absorb_own();
        admin.watch(&*tell);
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Listens to one core.
async fn listen(admin: Arc<Admin>, core: CoreId) {
    let mut spare = Histograms::new();
    loop {
        let (reply, answer) = oneshot::channel();
        let asked_at = Instant::now();
        let errand = Box::new(move |io: &crate::api::Io| {
            let _left = reply.send((io.snapshot(spare), rustix::thread::gettid()));
        });
        if admin.workers().send(core, errand) == Err(Full) {
            admin.book().known[core.index()].overloaded = true;
            spare = Histograms::new();
        } else if let Ok((parts, thread)) = answer.await {
            let thread = thread.as_raw_pid();
            let busy_us = process::thread_cpu_us(thread).unwrap_or(0);
            admin.book().known[core.index()].thread = Some(thread);
            spare = admin.absorb(core, asked_at, parts, busy_us);
        } else {
            // The worker ended, or the errand panicked; either way it is asked again.
            spare = Histograms::new();
        }
        let nudge = admin.nudges[core.index()].notified();
        let _woken = tokio::time::timeout(INTERVAL, nudge).await;
    }
}

impl Admin {
    /// Takes in what a core told, and gives its histograms back, empty.
    fn absorb(
        &self,
        core: CoreId,
        asked_at: Instant,
        parts: SnapshotParts,
        busy_us: u64,
    ) -> Histograms {
        let mut book = self.book();
        let book = &mut *book;
        let known = &mut book.known[core.index()];
        known.busy.look(|| busy_us);
        known.asked_at = Some(asked_at);
        known.heard_at = Some(Instant::now());
        known.overloaded = parts.overloaded;
        book.heard_unix_ms = unix_ms();
        let empty = book.totals.absorb(CoreSnapshot {
            core: core.index(),
            label: label(core.index()),
            counters: parts.counters,
            endings: parts.endings,
            hists: parts.hists,
            taken_at_us: parts.now_us,
            uptime_us: parts.now_us,
            pinned: known.cpu,
            driver: known.driver.clone(),
            busy_us,
        });
        self.heard.notify_waiters();
        empty
    }

    /// Takes in what the admin core counted itself; it stands behind the workers.
    pub(super) fn absorb_own(&self) {
        let now_us = self.now_us();
        let mut book = self.book();
        book.cpu.look(process::cpu_us);
        let hists = std::mem::take(&mut book.own_hists);
        let mut counters = book.own.clone();
        if let Some(hooks) = &self.settings.hooks {
            hooks.count(&mut counters);
        }
        counters.merge(&self.settings.outside.counters());
        let empty = book.totals.absorb(CoreSnapshot {
            core: self.workers().cores(),
            label: "admin".to_owned(),
            counters,
            endings: crate::telemetry::Endings::default(),
            hists,
            taken_at_us: now_us,
            uptime_us: now_us,
            pinned: None,
            driver: "tokio".to_owned(),
            busy_us: process::own_cpu_us().unwrap_or(0),
        });
        book.own_hists = empty;
    }

    /// Right after the start nobody has been heard yet: waits a moment for the first word, so
    /// that a server which says where it listens also says that it is ready.
    pub(super) async fn hear_once(&self) {
        let silent = self.book().known.iter().any(|one| one.heard_at.is_none());
        if silent {
            self.refresh().await;
        }
    }

    /// Waits until every core has answered a question put after this call, for a moment at most:
    /// whoever connects and then asks finds itself counted.
    pub(super) async fn refresh(&self) {
        let since = Instant::now();
        for nudge in &self.nudges {
            nudge.notify_one();
        }
        let all_heard = async {
            loop {
                let heard = self.heard.notified();
                let fresh = |at: &Instant| *at >= since;
                if self.book().known.iter().all(|one| one.asked_at.as_ref().is_some_and(fresh)) {
                    return;
                }
                heard.await;
            }
        };
        // Whoever is silent is reported as last heard.
        let _in_time = tokio::time::timeout(FRESH_WITHIN, all_heard).await;
        self.absorb_own();
    }
}
