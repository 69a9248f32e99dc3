//! How threads end: each has its time, and one that hangs keeps nobody else from ending.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::drain;
use super::run::Running;
use crate::bridge;
use crate::config::LogLevel;
use crate::mesh::Outlet;
use crate::worker::{Item, Orders};

/// Time that workers have to end once the drain is over.
const WORKERS_END: Duration = Duration::from_secs(3);
/// Time that the bridges and the admin core have, side by side: what the bridges take at most to
/// hand over what they kept, and a little to write down the rest. The admin core needs less.
const OTHERS_END: Duration = bridge::CLOSING_MAX.saturating_add(Duration::from_secs(1));
/// Time in which the log takes down who did not end.
const LOG_END: Duration = Duration::from_millis(500);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(1);

impl Running {
    /// Drains and ends all threads, and says whether all have ended. One that does not, because a
    /// handler holds it up, is named in the log and left behind: whoever ends the process then ends
    /// it with a failure.
    pub fn stop(mut self) -> bool {
        self.log.line(LogLevel::Info, "draining", Vec::new());
        if let Some(admin) = &self.admin {
            admin.set_draining();
        }
        if let Some(bridge) = &self.bridge {
            bridge.drain();
        }
        let listeners = std::mem::take(&mut self.listener_fds);
        drain::drain(&self, listeners);
        if let Some(admin) = &self.admin {
            admin.close();
        }
        let workers_ended = self.end_workers();
        let others_ended = self.end_others();
        let all = workers_ended && others_ended;
        if !all {
            self.log.flush(LOG_END);
        }
        all
    }

    /// Whether all workers ended.
    fn end_workers(&mut self) -> bool {
        let mut heard = vec![false; self.outlets.len()];
        let outlets = &self.outlets;
        let hanging = join_all(std::mem::take(&mut self.workers), WORKERS_END, |worker| {
            // An inbox that is full is tried again at the next look.
            heard[worker] = heard[worker] || try_send(&outlets[worker], Orders::End);
        });
        for worker in &hanging {
            let fields = vec![("core", worker.to_string())];
            self.log.line(LogLevel::Error, "worker does not end", fields);
        }
        hanging.is_empty()
    }

    /// Whether the other threads ended, which are told that the workers are gone.
    fn end_others(&mut self) -> bool {
        let bridge = self.bridge.take().map(|bridge| ("bridge", bridge.end()));
        let admin = self.admin.take().map(|admin| ("admin", admin.end()));
        let (names, threads): (Vec<_>, Vec<_>) = bridge.into_iter().chain(admin).unzip();
        let hanging = join_all(threads, OTHERS_END, |_| ());
        for thread in &hanging {
            let fields = vec![("thread", names[*thread].to_owned())];
            self.log.line(LogLevel::Error, "thread does not end", fields);
        }
        hanging.is_empty()
    }
}

/// Waits until all threads have ended, for as long as `patience`, and returns which have not.
/// `remind` is called for each that has not at every look.
fn join_all(
    threads: Vec<JoinHandle<()>>,
    patience: Duration,
    mut remind: impl FnMut(usize),
) -> Vec<usize> {
    let began = Instant::now();
    loop {
        let running = |index: &usize| !threads[*index].is_finished();
        let hanging: Vec<usize> = (0..threads.len()).filter(running).collect();
        hanging.iter().for_each(|index| remind(*index));
        if hanging.is_empty() || began.elapsed() >= patience {
            for thread in threads.into_iter().filter(JoinHandle::is_finished) {
                // One that panicked has been reported by its panic.
                let _panicked = thread.join();
            }
            return hanging;
        }
        std::thread::sleep(LOOK);
    }
}

/// Sends orders, once; whether the inbox took them.
fn try_send(outlet: &Outlet<Item>, orders: Orders) -> bool {
    outlet.try_send(Item::Orders(orders)).is_ok()
}

/// Sends orders, once at least; a full inbox is tried again until then. Whoever hangs, and whose
/// inbox stays full, takes no time from the rest of the drain.
pub(super) fn send_until(outlet: &Outlet<Item>, orders: Orders, until: Instant) {
    while !try_send(outlet, orders) && Instant::now() < until {
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_thread_that_hangs_is_told_apart_and_one_that_is_slow_to_hear_is_reminded() {
        let (remind, reminded) = mpsc::channel::<()>();
        let (release, held) = mpsc::channel::<()>();
        let prompt = std::thread::spawn(|| ());
        let slow = std::thread::spawn(move || {
            let _third = (0..3).map(|_| reminded.recv()).collect::<Vec<_>>();
        });
        let hangs = std::thread::spawn(move || {
            let _released = held.recv();
        });
        let began = Instant::now();
        let patience = Duration::from_millis(300);
        let hanging = join_all(vec![prompt, slow, hangs], patience, |index| {
            if index == 1 {
                let _ended = remind.send(());
            }
        });
        assert_eq!(hanging, [2]);
        assert!(began.elapsed() >= patience);
        drop(release);
    }

    #[test]
    fn nobody_is_waited_for_once_all_have_ended() {
        let threads = (0..3).map(|_| std::thread::spawn(|| ())).collect();
        assert!(join_all(threads, Duration::from_secs(60), |_| ()).is_empty());
    }
}
