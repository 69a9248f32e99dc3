//! HTTP requests of a connection: heads, bodies and answers, one request at a time.

use std::sync::Arc;

use super::conn::{Asking, Payload, Phase, PostBody, Reading, Role, Speaks, Then};
use super::message::{Dispatch, Forwarded, Step};
use super::route::Route;
use super::{Ending, Handshake, LogEvent, Shard};
use crate::base::Key;
use crate::http::{self, Body, Head, Response};

impl Shard {
    pub(super) fn next_http<'b>(&mut self, key: Key, bytes: &'b mut [u8]) -> Step<'b> {
        let mut consumed = 0;
        loop {
            let Some(conn) = self.conns.get_mut(key) else { return Step::Wait { consumed } };
            if conn.closing {
                return Step::Wait { consumed: bytes.len() };
            }
            let Speaks::Http(phase) = &mut conn.speaks else {
                return match self.next_frames(key, &mut bytes[consumed..]) {
                    Step::Wait { consumed: more } => Step::Wait { consumed: consumed + more },
                    Step::Run { consumed: more, dispatch } => {
                        Step::Run { consumed: consumed + more, dispatch }
                    }
                    other => other,
                };
            };
            match phase {
                Phase::Poll { .. } | Phase::Forwarded => return Step::Wait { consumed },
                // A client that sends requests and reads no answers waits for its own.
                Phase::Head if conn.out.len() > self.settings.limits.outbox_soft_bytes => {
                    return Step::Wait { consumed };
                }
                Phase::Head => match self.read_head(key, &bytes[consumed..]) {
                    HeadOutcome::More => return Step::Wait { consumed },
                    HeadOutcome::Took(len) => consumed += len,
                    HeadOutcome::Run(len, dispatch) => {
                        return Step::Run { consumed: consumed + len, dispatch };
                    }
                    HeadOutcome::Handover(core) => return self.hand_over(key, consumed, core),
                },
                Phase::Body(_) => {
                    let (taken, request) = self.read_body(key, &bytes[consumed..]);
                    consumed += taken;
                    if let Some(request) = request {
                        return Step::Forward { consumed, request };
                    }
                    if self.still_reading(key) {
                        return Step::Wait { consumed };
                    }
                }
                Phase::Payload(_) => {
                    if self.post_waits(key) {
                        return Step::Wait { consumed };
                    }
                    if let Some(dispatch) = self.next_packet(key) {
                        return Step::Run { consumed, dispatch };
                    }
                }
                Phase::Asking(asking) => {
                    if asking.verdict.is_none() {
                        return Step::Wait { consumed };
                    }
                    if let Some(dispatch) = self.answer_asking(key) {
                        return Step::Run { consumed, dispatch };
                    }
                }
            }
        }
    }

    /// The connection moves to another core, once answers to earlier requests are out.
    fn hand_over(&mut self, key: Key, consumed: usize, core: crate::base::CoreId) -> Step<'static> {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.moving = consumed > 0 || !conn.out.is_empty();
            if !conn.moving {
                return Step::Handover { core };
            }
            self.mark_dirty(key);
        }
        Step::Wait { consumed }
    }

    fn still_reading(&self, key: Key) -> bool {
        let conn = self.conns.get(key);
        conn.is_some_and(|conn| matches!(conn.speaks, Speaks::Http(Phase::Body(_))))
    }

    fn read_head(&mut self, key: Key, bytes: &[u8]) -> HeadOutcome {
        if bytes.is_empty() {
            return HeadOutcome::More;
        }
        let (head, len) = match http::parse_head(bytes, self.settings.limits.head_bytes_max) {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.head_begins(key);
                return HeadOutcome::More;
            }
            Err(error) => {
                self.refuse_request(key, error.status(), "malformed head", None);
                return HeadOutcome::Took(bytes.len());
            }
        };
        self.counters.http_requests += 1;
        self.has_opened(key);
        let limit_ms = self.settings.limits.request_timeout_ms;
        self.set_conn_due(key, limit_ms);
        let route = self.route(&head);
        let bodiless = matches!(head.body, http::BodyLength::None | http::BodyLength::Length(0));
        let takes_none = !matches!(
            route,
            Route::Answer(_) | Route::Forward | Route::Post { .. } | Route::Handover(_)
        );
        if takes_none && !bodiless {
            // Rule: RFC 9110 section 9.3.1: a body of a GET has no meaning. Left unread it would
            // be taken for the next request.
            let origin = http::origin_of(&head).unwrap_or_default();
            self.refuse_request(key, 400, "a body where none belongs", origin);
            return HeadOutcome::Took(bytes.len());
        }
        let raw = &bytes[..len];
        match route {
            Route::Handover(core) => return HeadOutcome::Handover(core),
            Route::Answer(response) => self.answer_request(key, &head, &response),
            Route::Forward => self.begin_body(key, &head, Then::Forward { head: raw.to_vec() }),
            Route::Poll(session) => self.begin_poll(key, session, &head),
            Route::Post { session, binary } => self.begin_post(key, session, &head, binary),
            Route::Upgrade(session) => self.begin_upgrade(key, session, &head),
            Route::Spare => {
                // Rule: engine.io: a second candidate is accepted and closed at once; the session
                // is unharmed. Refusing it with 400 would be an error the client does not expect.
                if self.become_websocket(key, &head, Role::Spent) {
                    self.count_ending(Ending::UpgradeFailed);
                    self.counters.upgrades_failed += 1;
                    self.close_conn(key, Ending::UpgradeFailed);
                }
            }
            Route::Plain(_) if !self.has_memory() => self.refuse_for_memory(key, &head),
            Route::Plain(endpoint) => {
                self.become_websocket(key, &head, Role::Plain { endpoint });
            }
            Route::Open(endpoint) => {
                let handshake = Arc::new(self.handshake_of(key, &head, raw));
                if self.settings.ask_allow_request {
                    let asking = Asking {
                        handshake: Arc::clone(&handshake),
                        endpoint,
                        head: raw.to_vec(),
                        asked_at: self.now,
                        verdict: None,
                    };
                    self.set_phase(key, Phase::Asking(Box::new(asking)));
                    return HeadOutcome::Run(len, Dispatch::AllowRequest { conn: key, handshake });
                }
                if let Some(dispatch) = self.open_session(key, &head, handshake, endpoint, self.now)
                {
                    return HeadOutcome::Run(len, dispatch);
                }
            }
        }
        HeadOutcome::Took(len)
    }

    pub(super) fn set_phase(&mut self, key: Key, phase: Phase) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.speaks = Speaks::Http(phase);
        }
    }

    /// Writes an answer and waits for the next request.
    pub(super) fn respond(&mut self, key: Key, response: &Response, keep_alive: bool) {
        let keep_alive = keep_alive && self.draining.is_none();
        let mut out = Vec::new();
        self.count_status(response.status);
        response.write(&mut out, keep_alive);
        self.respond_bytes(key, &out, keep_alive);
    }

    fn count_status(&mut self, status: u16) {
        self.counters.http_errors += u64::from(status >= 400);
    }

    pub(super) fn respond_bytes(&mut self, key: Key, bytes: &[u8], keep_alive: bool) {
        self.set_phase(key, Phase::Head);
        self.count_partial(key);
        self.write_raw(key, bytes);
        self.shed_waiting();
        let keep_ms = self.settings.limits.keep_alive_ms;
        if keep_alive {
            self.set_conn_due(key, keep_ms);
            self.resumed.push(key);
        } else {
            self.close_conn(key, Ending::HttpDone);
        }
    }

    /// Answers a request whose head says already what it gets; its body is read past.
    pub(super) fn answer_request(&mut self, key: Key, head: &Head<'_>, response: &Response) {
        let keep_alive = head.keep_alive && self.draining.is_none();
        let mut out = Vec::new();
        self.count_status(response.status);
        response.write(&mut out, keep_alive);
        if head.method == "HEAD" {
            // Rule: RFC 9110 section 9.3.2: the same head, and no body.
            out.truncate(out.len() - response.body.len());
        }
        if matches!(head.body, http::BodyLength::None) {
            self.respond_bytes(key, &out, keep_alive);
        } else {
            self.begin_body(key, head, Then::Answer(out));
        }
    }

    /// The connection cannot be used again: nobody knows where the next request would start. A
    /// page of another origin sees the status only if it is told that it may.
    pub(super) fn refuse_request(
        &mut self,
        key: Key,
        status: u16,
        why: &'static str,
        origin: Option<&str>,
    ) {
        self.log_request(status, why);
        let cors = origin.map(|origin| self.settings.cors.headers(Some(origin)));
        let refusal = Response::empty(status).with_first(cors.unwrap_or_default());
        self.respond(key, &refusal, false);
        self.count_ending(Ending::HttpRule);
    }

    /// The first bytes of a head are here: from now on it has the time of a request, however long
    /// the connection might have stayed idle.
    fn head_begins(&mut self, key: Key) {
        let due = self.millis().plus(self.settings.limits.request_timeout_ms);
        if let Some(conn) = self.conns.get_mut(key)
            && !std::mem::replace(&mut conn.head_begun, true)
        {
            conn.due = Some(conn.due.map_or(due, |idle| idle.min(due)));
            self.arm_conn(key);
        }
    }

    /// A head or a body did not arrive in time.
    pub(super) fn request_is_slow(&mut self, key: Key) {
        self.count_status(408);
        self.log_request(408, "too slow");
        let mut out = Vec::new();
        Response::empty(408).write(&mut out, false);
        self.write_raw(key, &out);
        self.conn_ends(key, Ending::HttpRule);
    }

    /// What a session keeps of the request it came with.
    fn handshake_of(&mut self, key: Key, head: &Head<'_>, raw: &[u8]) -> Handshake {
        let conn = self.conns.get(key).expect("the caller holds it");
        let client = self.settings.proxies.client(conn.peer, head);
        let secure = client.secure.unwrap_or(conn.secure);
        self.counters.forwarded_garbled += u64::from(client.is_garbled);
        self.counters.forwarded_ignored += u64::from(client.is_ignored);
        if client.is_ignored && self.counters.forwarded_ignored == 1 {
            let peer = client.address.ip().to_canonical();
            self.logs.push_back(LogEvent::ForwardedIgnored { peer });
        }
        Handshake::new(raw, client.address, self.unix_ms()).over_tls(secure)
    }

    pub(super) fn begin_body(&mut self, key: Key, head: &Head<'_>, then: Then) {
        let bytes_max = self.settings.limits.message_bytes_max;
        let mut body = Body::new(head.body);
        let mut none = Vec::new();
        if body.feed(&[], &mut none, bytes_max).is_err() {
            self.body_too_large(key, &then);
            return;
        }
        if head.expect_continue {
            self.write_raw(key, http::CONTINUE);
        }
        let keep_alive = head.keep_alive;
        let reading = Reading { body, bytes: Vec::new(), bytes_max, then, keep_alive };
        self.set_phase(key, Phase::Body(Box::new(reading)));
    }

    /// Rule: a body above `maxPayload` is 413 with an empty body and the session lives on.
    pub(super) fn body_too_large(&mut self, key: Key, then: &Then) {
        self.counters.limits_hit += 1;
        if let Then::Post { session, .. } = then
            && let Some(session) = self.sessions.get_mut(*session)
        {
            session.post = None;
        }
        if let Then::Forward { .. } = then {
            let body = "{\"success\":false,\"message\":\"The body is too large\",\
                        \"error\":{\"code\":\"PAYLOAD_TOO_LARGE\"}}";
            self.respond(key, &Response::json(413, body), false);
            return;
        }
        self.refuse_request(key, 413, "body too large", then.origin());
    }

    /// Takes in more of a body. Gives out a request for the admin core once that is complete.
    pub(super) fn read_body(&mut self, key: Key, input: &[u8]) -> (usize, Option<Forwarded>) {
        let Some(conn) = self.conns.get_mut(key) else { return (input.len(), None) };
        let Speaks::Http(Phase::Body(reading)) = &mut conn.speaks else { return (0, None) };
        let Reading { body, bytes, bytes_max, .. } = &mut **reading;
        let (taken, done) = match body.feed(input, bytes, *bytes_max) {
            Ok(fed) => fed,
            Err(error) => {
                self.bad_body(key, error);
                return (input.len(), None);
            }
        };
        if !done {
            return (taken, None);
        }
        let old = std::mem::replace(&mut conn.speaks, Speaks::Http(Phase::Head));
        let Speaks::Http(Phase::Body(reading)) = old else { return (taken, None) };
        let Reading { bytes, then, keep_alive, .. } = *reading;
        match then {
            Then::Answer(out) => self.respond_bytes(key, &out, keep_alive),
            Then::Forward { head } => {
                self.set_phase(key, Phase::Forwarded);
                return (taken, Some(Forwarded { conn: key, head, body: bytes }));
            }
            Then::Post { session, binary, origin } => {
                let body = match (binary, String::from_utf8(bytes)) {
                    (false, Ok(text)) => PostBody::Text(text),
                    (false, Err(_)) => PostBody::Unreadable,
                    (true, Ok(text)) => PostBody::Binary(text.into_bytes()),
                    (true, Err(error)) => PostBody::Binary(error.into_bytes()),
                };
                let payload = Payload { session, body, at: 0, bad: false, keep_alive, origin };
                self.set_phase(key, Phase::Payload(Box::new(payload)));
            }
        }
        (taken, None)
    }

    pub(super) fn bad_body(&mut self, key: Key, error: http::BodyError) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let old = std::mem::replace(&mut conn.speaks, Speaks::Http(Phase::Head));
        let Speaks::Http(Phase::Body(reading)) = old else { return };
        if error == http::BodyError::TooLarge {
            self.body_too_large(key, &reading.then);
            return;
        }
        if let Then::Post { session, .. } = reading.then {
            self.end_session(session, Ending::RequestAborted);
        }
        self.refuse_request(key, error.status(), "malformed body", reading.then.origin());
    }

    /// The admin core's answer to a forwarded request: bytes ready for the wire.
    pub fn respond_forwarded(&mut self, key: Key, bytes: &[u8], keep_alive: bool) {
        let waits = self
            .conns
            .get(key)
            .is_some_and(|conn| matches!(conn.speaks, Speaks::Http(Phase::Forwarded)));
        if waits {
            self.respond_bytes(key, bytes, keep_alive && self.draining.is_none());
        }
    }

    pub(super) fn log_request(&mut self, status: u16, why: &'static str) {
        self.logs.push_back(LogEvent::Request { status, why });
    }
}

enum HeadOutcome {
    More,
    Took(usize),
    Run(usize, Dispatch<'static>),
    Handover(crate::base::CoreId),
}
