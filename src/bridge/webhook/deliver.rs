//! Empties the queues: one pump a hook, one task a batch.

use std::time::Duration;

use hyper::body::Bytes;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::call::{Fault, Message, Time};
use super::desk::count;
use super::queue::{Batch, backoff_ms};
use super::{Caller, new_id, shape};
use crate::bridge::thread::CLOSING_MAX;
use crate::command::unix_ms;
use crate::config::LogLevel;

/// Sends what one hook is to be told, until the process closes and everything has left.
pub(super) async fn pump(caller: Caller, index: usize) {
    let line = caller.hooks.line(index);
    let mut closing = false;
    let mut moving = JoinSet::new();
    loop {
        let batch = line.queue().next(caller.now_ms(), new_id);
        if let Some(batch) = batch {
            moving.spawn(deliver(caller.clone(), index, batch));
            continue;
        }
        let (due_ms, left) = {
            let queue = line.queue();
            (queue.due_ms(), queue.len())
        };
        if closing && moving.is_empty() && (left == 0 || due_ms.is_none()) {
            return;
        }
        let due = due_ms.map(|due_ms| caller.epoch + Duration::from_millis(due_ms));
        tokio::select! {
            () = line.wake.notified() => {}
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            Some(_) = moving.join_next() => {}
            () = caller.common.closing(), if !closing => {
                closing = true;
                line.queue().hurry();
            }
        }
    }
}

/// Sends a batch until it has arrived or is given up. While the breaker is open nothing counts as
/// an attempt.
async fn deliver(caller: Caller, index: usize, mut batch: Batch) {
    let line = caller.hooks.line(index);
    let body = Bytes::from(shape::batch(&batch.items));
    let time = Time::all(Duration::from_millis(line.hook.timeout_ms));
    let mut last_one = false;
    loop {
        let outcome = match line.permits.acquire().await {
            Ok(_permit) => {
                caller.attempt(line, &Message { id: &batch.id, body: &body }, time).await
            }
            Err(_) => return,
        };
        let Err(fault) = outcome else { break };
        let skipped = matches!(fault, Fault::Skipped { .. });
        batch.attempts += u32::from(!skipped);
        if batch.attempts > line.hook.retries {
            let why = fault.to_string();
            let gone = batch.clone();
            if caller.hooks.bury(index, gone, why.clone(), unix_ms()) {
                let fields = vec![("hook", line.hook.name.clone()), ("why", why)];
                (caller.common.log)(LogLevel::Warn, "webhook has dead letters", fields);
            }
            break;
        }
        if last_one {
            // It stays in the queue, and is counted there.
            return;
        }
        let chance = getrandom::u64().unwrap_or(0);
        let wait_ms = match fault.retry_after_ms() {
            Some(said) if skipped => said + chance % 20,
            said => said.unwrap_or(0).max(backoff_ms(batch.attempts, chance)),
        };
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
            () = caller.common.closing() => last_one = true,
        }
        count(&caller.hooks.counts.retries);
    }
    line.queue().done(&batch);
    line.wake.notify_one();
}

/// The process closes: waits for the pumps, and says what is lost with it.
pub(super) async fn finish(caller: &Caller, mut pumps: JoinSet<()>) {
    let all = async { while pumps.join_next().await.is_some() {} };
    let _in_time = tokio::time::timeout(CLOSING_MAX, all).await;
    let (left, dead) = caller.hooks.left();
    if left + dead > 0 {
        let fields = vec![("facts", left.to_string()), ("dead_letters", dead.to_string())];
        (caller.common.log)(LogLevel::Warn, "webhooks were not told everything", fields);
    }
}
