//! One call of a hook, and what its outcome means.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, StatusCode};
use tokio::time::Instant;

use super::Caller;
use super::breaker::{Pass, State};
use super::desk::{Line, count};
use super::queue::backoff_ms;
use crate::bridge::http::{HttpAnswer, HttpCall, HttpError};
use crate::command::unix_ms;
use crate::config::LogLevel;

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The longest wait that a server may ask for.
const RETRY_AFTER_MAX_S: u64 = 300;
/// What whoever met a busy server is told, if the server did not say.
const RETRY_AFTER_MS: u64 = 1_000;
const AGENT: &str = concat!("corewire/", env!("CARGO_PKG_VERSION"));

/// Why a call brought no answer of success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It was not made: the breaker is open.
    Skipped { retry_after_ms: u64 },
    /// It was not made: too many others wait.
    Crowded,
    /// It never reached the server.
    NotSent(String),
    /// The server wants it later; it has done nothing.
    Later { status: u16, retry_after_ms: Option<u64> },
    /// No answer came in time; nobody knows what the server did.
    TimedOut,
    /// It answered with a status that is no success.
    Status(u16),
    /// The answer broke off, or was too long.
    Failed(String),
}

impl Fault {
    /// Whether the same call may be made again although it must not be done twice: the server has
    /// surely not done it.
    const fn is_harmless(&self) -> bool {
        matches!(self, Self::NotSent(_) | Self::Later { .. })
    }

    /// Whether the server could not be asked, or says that it cannot answer. Clients can bring about
    /// the rest by themselves: a crowd that waits, or a call that a server does not want (4xx).
    pub(super) const fn is_its_own(&self) -> bool {
        match self {
            Self::Skipped { .. } | Self::NotSent(_) | Self::TimedOut => true,
            Self::Later { status, .. } | Self::Status(status) => *status >= 500,
            Self::Crowded | Self::Failed(_) => false,
        }
    }

    /// When it is worth trying again, if that was said.
    pub(super) const fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Skipped { retry_after_ms } => Some(*retry_after_ms),
            Self::Later { retry_after_ms, .. } => *retry_after_ms,
            _ => None,
        }
    }

    /// The same for a client.
    pub(super) fn client_retry_ms(&self) -> u64 {
        self.retry_after_ms().unwrap_or(RETRY_AFTER_MS).max(1)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Skipped { .. } => out.write_str("the breaker is open"),
            Self::Crowded => out.write_str("too many calls wait"),
            Self::NotSent(why) => write!(out, "it cannot be reached: {why}"),
            Self::Later { status, .. } | Self::Status(status) => write!(out, "status {status}"),
            Self::TimedOut => out.write_str("no answer in time"),
            Self::Failed(why) => out.write_str(why),
        }
    }
}

/// A body that is sent under one id, however often.
pub(super) struct Message<'a> {
    pub(super) id: &'a str,
    pub(super) body: &'a Bytes,
}

/// The time of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    /// What it may take now.
    pub(super) left: Duration,
    /// What it could have taken without waiting for a place, or for its turn to be tried again.
    pub(super) whole: Duration,
}

impl Time {
    pub(super) const fn all(whole: Duration) -> Self {
        Self { left: whole, whole }
    }

    /// Whether so little is left that a late answer says nothing of the server.
    fn is_a_rest(self) -> bool {
        self.left < self.whole / 2
    }
}

impl Caller {
    /// Makes one call when it is its turn: an answer has a status of success.
    pub(super) async fn attempt(
        &self,
        line: &Line,
        message: &Message<'_>,
        time: Time,
    ) -> Result<HttpAnswer, Fault> {
        let pass = match line.breaker().pass(self.now_ms()) {
            Ok(pass) => pass,
            Err(retry_after_ms) => {
                count(&self.hooks.counts.skipped);
                return Err(Fault::Skipped { retry_after_ms });
            }
        };
        count(&self.hooks.counts.calls);
        let call = HttpCall {
            method: Method::POST,
            url: line.url.clone(),
            headers: headers(line, message, unix_ms() / 1_000),
            body: message.body.clone(),
            timeout: time.left,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        let outcome = judge(self.http.call(call).await);
        if let Err(fault) = &outcome {
            count(&self.hooks.counts.failures);
            line.note_error(&fault.to_string());
        }
        self.report(line, &pass, &outcome, time);
        outcome
    }

    /// Tells the breaker, and the log if its state is another one now.
    fn report(&self, line: &Line, pass: &Pass, outcome: &Result<HttpAnswer, Fault>, time: Time) {
        let now_ms = self.now_ms();
        let changed = match outcome {
            // A server that says no is there.
            Ok(_) | Err(Fault::Status(400..=499)) => line.breaker().report(pass, true, now_ms),
            Err(Fault::Later { status: 429, .. }) => {
                line.breaker().forget(pass);
                None
            }
            // It had no fair chance: the time went by while others were answered.
            Err(Fault::TimedOut) if time.is_a_rest() => {
                line.breaker().forget(pass);
                None
            }
            Err(_) => line.breaker().report(pass, false, now_ms),
        };
        let Some(state) = changed else { return };
        let mut fields = vec![("hook", line.hook.name.clone())];
        match (state, outcome) {
            (State::Open, Err(why)) => {
                fields.push(("why", why.to_string()));
                (self.common.log)(LogLevel::Warn, "webhook left alone", fields);
            }
            _ => (self.common.log)(LogLevel::Info, "webhook answers again", fields),
        }
    }

    /// Makes a call for somebody who waits, and again where that is harmless, until it is too late.
    pub(super) async fn ask(
        &self,
        line: &Line,
        message: &Message<'_>,
        deadline: Instant,
    ) -> Result<HttpAnswer, Fault> {
        let own = Duration::from_millis(line.hook.timeout_ms);
        let whole = own.min(deadline.saturating_duration_since(Instant::now()));
        let mut attempts = 0;
        loop {
            let fault = match self.ask_once(line, message, deadline, whole).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            attempts += 1;
            let backoff_ms = backoff_ms(attempts, getrandom::u64().unwrap_or(0));
            let wait_ms = fault.retry_after_ms().map_or(backoff_ms, |said| said.max(backoff_ms));
            let again_at = Instant::now() + Duration::from_millis(wait_ms);
            if !fault.is_harmless() || attempts > line.hook.retries || again_at >= deadline {
                return Err(fault);
            }
            tokio::time::sleep_until(again_at).await;
            count(&self.hooks.counts.retries);
        }
    }

    async fn ask_once(
        &self,
        line: &Line,
        message: &Message<'_>,
        deadline: Instant,
        whole: Duration,
    ) -> Result<HttpAnswer, Fault> {
        let permit = tokio::time::timeout_at(deadline, line.permits.acquire()).await;
        let Ok(Ok(_permit)) = permit else { return Err(Fault::Crowded) };
        let left = deadline.saturating_duration_since(Instant::now());
        self.attempt(line, message, Time { left: whole.min(left), whole }).await
    }

    /// Room for one more who waits, until it is dropped.
    pub(super) fn admit_asker<'a>(&self, line: &'a Line) -> Option<Asker<'a>> {
        if line.asked.fetch_add(1, Ordering::Relaxed) < line.hook.queue_max {
            return Some(Asker(line));
        }
        line.asked.fetch_sub(1, Ordering::Relaxed);
        count(&self.hooks.counts.turned_away);
        None
    }
}

/// One who waits for an answer.
pub(super) struct Asker<'a>(&'a Line);

impl Drop for Asker<'_> {
    fn drop(&mut self) {
        self.0.asked.fetch_sub(1, Ordering::Relaxed);
    }
}

fn headers(line: &Line, message: &Message<'_>, unix_s: u64) -> HeaderMap {
    let signature = line.signer.sign(message.id, unix_s, message.body);
    let mut headers = HeaderMap::with_capacity(5);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(HeaderName::from_static("webhook-timestamp"), unix_s.into());
    for (name, value) in [("webhook-id", message.id), ("webhook-signature", &signature)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}

fn judge(outcome: Result<HttpAnswer, HttpError>) -> Result<HttpAnswer, Fault> {
    let answer = outcome.map_err(|error| match error {
        HttpError::Unreachable(why) => Fault::NotSent(why),
        HttpError::TimedOut => Fault::TimedOut,
        HttpError::TooLarge | HttpError::Broken(_) => Fault::Failed(error.to_string()),
    })?;
    let status = answer.status;
    match status {
        _ if status.is_success() => Ok(answer),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Err(Fault::Later {
            status: status.as_u16(),
            retry_after_ms: answer.headers.get(RETRY_AFTER).and_then(seconds).map(|s| s * 1_000),
        }),
        _ => Err(Fault::Status(status.as_u16())),
    }
}

/// Rule: RFC 9110 section 10.2.3. Of its two forms the date is not read.
fn seconds(value: &HeaderValue) -> Option<u64> {
    let seconds: u64 = value.to_str().ok()?.trim().parse().ok()?;
    Some(seconds.min(RETRY_AFTER_MAX_S))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: Option<&'static str>) -> Result<HttpAnswer, HttpError> {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
        }
        let status = StatusCode::from_u16(status).unwrap();
        Ok(HttpAnswer { status, headers, body: Bytes::new() })
    }

    #[test]
    fn a_call_that_waited_for_most_of_its_time_has_only_a_rest() {
        let time = |left, whole| Time {
            left: Duration::from_millis(left),
            whole: Duration::from_millis(whole),
        };
        assert!(!Time::all(Duration::from_millis(100)).is_a_rest());
        assert!(!time(50, 100).is_a_rest());
        assert!(time(49, 100).is_a_rest());
        assert!(time(0, 100).is_a_rest());
    }

    #[test]
    fn what_may_be_done_twice_is_what_was_surely_not_done() {
        let later = |status, retry_after_ms| Fault::Later { status, retry_after_ms };
        for (outcome, fault, harmless) in [
            (answer(429, None), later(429, None), true),
            (answer(503, Some(" 2 ")), later(503, Some(2_000)), true),
            (answer(503, Some("99999")), later(503, Some(300_000)), true),
            (answer(503, Some("Fri, 31 Dec 1999 23:59:59 GMT")), later(503, None), true),
            (answer(500, Some("2")), Fault::Status(500), false),
            (answer(302, None), Fault::Status(302), false),
            (answer(404, None), Fault::Status(404), false),
            (Err(HttpError::Unreachable("x".into())), Fault::NotSent("x".into()), true),
            (Err(HttpError::TimedOut), Fault::TimedOut, false),
            (Err(HttpError::TooLarge), Fault::Failed("answered too much".into()), false),
            (Err(HttpError::Broken("x".into())), Fault::Failed("broke off: x".into()), false),
        ] {
            assert_eq!(judge(outcome).expect_err("a fault"), fault);
            assert_eq!(fault.is_harmless(), harmless, "{fault}");
        }
        for status in [200, 204, 299] {
            assert!(judge(answer(status, None)).is_ok(), "{status}");
        }
    }
    #[test]
    fn who_comes_in_unasked_cannot_have_brought_that_about() {
        let fault = |outcome| judge(outcome).expect_err("a fault");
        for own in [
            Fault::Skipped { retry_after_ms: 1 },
            fault(Err(HttpError::Unreachable("x".into()))),
            fault(Err(HttpError::TimedOut)),
            fault(answer(500, None)),
            fault(answer(503, Some("1"))),
        ] {
            assert!(own.is_its_own(), "{own}");
        }
        for other in [
            Fault::Crowded,
            fault(answer(302, None)),
            fault(answer(401, None)),
            fault(answer(403, None)),
            fault(answer(413, None)),
            fault(answer(429, None)),
            fault(Err(HttpError::TooLarge)),
            fault(Err(HttpError::Broken("x".into()))),
        ] {
            assert!(!other.is_its_own(), "{other}");
        }
    }
}
