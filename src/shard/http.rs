//! HTTP requests of a connection: polling, handshakes, upgrades, and what goes elsewhere.

use std::sync::Arc;

use super::conn::{Asking, Payload, Phase, PostBody, Reading, Role, Speaks, Then};
use super::emit::OCTETS;
use super::message::{Dispatch, Forwarded, Step, Text};
use super::outbox::Outbox;
use super::session::{Parser, Session, Transport, Upgrade};
use super::settings::Service;
use super::{Ending, Handshake, LogEvent, Shard};
use crate::base::{Id20, Key, Micros, Millis};
use crate::engineio::{self, Heartbeat, Piece, Revision};
use crate::http::{self, Body, EngineError, EngineQuery, Head, Response};
use crate::ws;

/// What a request asks for, once its head has been read and judged.
enum Route {
    /// The answer is known.
    Answer(Response),
    Handover(crate::base::CoreId),
    Poll(Key),
    Post {
        session: Key,
        binary: bool,
    },
    /// A handshake, by polling or WebSocket; `endpoint`.
    Open(u8),
    /// A WebSocket for a polling session.
    Upgrade(Key),
    /// A WebSocket for a session that has one, or is getting one.
    Spare,
    Plain(u8),
    Forward,
}

impl Shard {
    pub(super) fn next_http(&mut self, key: Key, bytes: &mut [u8]) -> Step {
        let mut consumed = 0;
        loop {
            let Some(conn) = self.conns.get_mut(key) else { return Step::Wait { consumed } };
            if conn.closing {
                return Step::Wait { consumed: bytes.len() };
            }
            let Speaks::Http(phase) = &mut conn.speaks else {
                return match self.next_frames(key, &mut bytes[consumed..]) {
                    Step::Wait { consumed: more } => Step::Wait { consumed: consumed + more },
                    // In-place text is a place in the bytes the host handed in.
                    Step::Run { consumed: more, dispatch } => Step::Run {
                        consumed: consumed + more,
                        dispatch: shifted(dispatch, consumed),
                    },
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
    fn hand_over(&mut self, key: Key, consumed: usize, core: crate::base::CoreId) -> Step {
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
            Ok(None) => return HeadOutcome::More,
            Err(error) => {
                self.refuse_request(key, error.status(), "malformed head");
                return HeadOutcome::Took(bytes.len());
            }
        };
        self.counters.http_requests += 1;
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
            self.refuse_request(key, 400, "a body where none belongs");
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
                    self.close_conn(key, Ending::UpgradeFailed);
                }
            }
            Route::Plain(endpoint) => {
                self.become_websocket(key, &head, Role::Plain { endpoint });
            }
            Route::Open(endpoint) => {
                let (peer, issued) = (self.peer(key), self.unix_ms());
                let handshake = Arc::new(Handshake::new(raw, peer, issued));
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

    /// Decides what a request is. The order of the checks is Node's, so that a request which
    /// breaks several rules gets the same code (protocol page, section 1.2).
    fn route(&mut self, head: &Head<'_>) -> Route {
        let path = head.path();
        let settings = std::rc::Rc::clone(&self.settings);
        if settings.forwarded.iter().any(|prefix| path.starts_with(prefix.as_str())) {
            return Route::Forward;
        }
        let endpoint = settings.endpoints.iter().position(|e| match e.service {
            Service::PlainWebSocket => path == e.path,
            _ => path.starts_with(e.path.as_str()),
        });
        let Some(endpoint) = endpoint else {
            return Route::Answer(Response::text(404, "Not found"));
        };
        let service = settings.endpoints[endpoint].service;
        let endpoint = u8::try_from(endpoint).expect("a handful of endpoints");
        if service == Service::PlainWebSocket {
            return Route::Plain(endpoint);
        }
        if service == Service::SocketIo
            && let Some(response) = self.asset(head, path, endpoint)
        {
            return Route::Answer(response);
        }
        let origin = match http::origin_of(head) {
            Ok(origin) => origin,
            Err(error) => return self.engine_error(head, error),
        };
        if head.method == "OPTIONS"
            && let Some(preflight) =
                settings.cors.preflight(origin, head.header("access-control-request-headers"))
        {
            return Route::Answer(preflight);
        }
        let query = EngineQuery::parse(head.query().unwrap_or_default());
        let upgrade = http::is_websocket_upgrade(head);
        let websocket = match query.transport.as_deref() {
            Some("polling") if settings.polling => false,
            Some("websocket") if settings.websocket => true,
            _ => return self.engine_error(head, EngineError::TransportUnknown),
        };
        if settings.strict_origin && !settings.cors.permits(origin, head.host()) {
            self.log_request(403, "foreign origin");
            return Route::Answer(
                Response::engine_error_with(EngineError::Forbidden, "Origin not allowed")
                    .with_first(settings.cors.headers(origin)),
            );
        }
        match query.sid.as_deref() {
            Some(sid) => self.route_session(head, &query, sid, websocket, upgrade, endpoint),
            None => {
                if head.method != "GET" {
                    return self.engine_error(head, EngineError::BadHandshakeMethod);
                }
                // Deviation: an upgrade that names polling is refused before it happens.
                if websocket != upgrade {
                    return self.engine_error(head, EngineError::BadRequest);
                }
                Route::Open(endpoint)
            }
        }
    }

    fn route_session(
        &mut self,
        head: &Head<'_>,
        query: &EngineQuery<'_>,
        sid: &str,
        websocket: bool,
        upgrade: bool,
        endpoint: u8,
    ) -> Route {
        let unknown = EngineError::SidUnknown;
        let Some(id) = Id20::parse(sid) else { return self.engine_error(head, unknown) };
        let home = id.core();
        if home != self.core {
            if home.index() < self.cores {
                return Route::Handover(home);
            }
            return self.engine_error(head, unknown);
        }
        let found = self.sids.get(&id).copied();
        if let Some(key) = found {
            // A deadline holds as the peer sees it, not as the timer gets round to it.
            self.session_due(key);
        }
        let session = found.and_then(|key| Some((key, self.sessions.get(key)?)));
        let Some((key, session)) = session.filter(|(_, s)| s.endpoint == endpoint) else {
            return self.engine_error(head, unknown);
        };
        let bad = EngineError::BadRequest;
        let polling = matches!(session.transport, Transport::Polling { .. });
        let last_words = matches!(session.transport, Transport::LastWords { .. });
        if revision_of(query) != Some(session.revision) {
            return self.engine_error(head, bad);
        }
        if last_words {
            // One poll still gets the close packet; anything else meets a session that is gone.
            if head.method == "GET" && !websocket {
                return Route::Poll(key);
            }
            return self.engine_error(head, unknown);
        }
        if upgrade {
            if !websocket || !self.settings.allow_upgrades {
                return self.engine_error(head, bad);
            }
            let wanted = polling && session.upgrade.is_none();
            return if wanted { Route::Upgrade(key) } else { Route::Spare };
        }
        if websocket || !polling {
            return self.engine_error(head, bad);
        }
        match head.method {
            "GET" => Route::Poll(key),
            "POST" => {
                let media = head.header("content-type").unwrap_or_default();
                Route::Post { session: key, binary: media.starts_with(OCTETS) }
            }
            _ => {
                let cors = self.settings.cors.headers(http::origin_of(head).unwrap_or_default());
                let allow = Response::empty(405).with("Allow", "GET, POST, OPTIONS");
                Route::Answer(allow.with_first(cors))
            }
        }
    }

    fn engine_error(&mut self, head: &Head<'_>, error: EngineError) -> Route {
        self.counters.http_errors += 1;
        self.log_request(error.status(), error.message());
        let origin = http::origin_of(head).unwrap_or_default();
        let cors = self.settings.cors.headers(origin);
        Route::Answer(Response::engine_error(error).with_first(cors))
    }

    fn log_request(&mut self, status: u16, why: &'static str) {
        self.logs.push_back(LogEvent::Request { status, why });
    }

    /// The client bundle, if this is a request for one of its files.
    fn asset(&self, head: &Head<'_>, path: &str, endpoint: u8) -> Option<Response> {
        let assets = self.settings.assets?;
        let name =
            path.strip_prefix(self.settings.endpoints[usize::from(endpoint)].path.as_str())?;
        let (media, bytes) = assets(name)?;
        if head.method != "GET" && head.method != "HEAD" {
            return None;
        }
        let tag = format!("\"{}\"", self.settings.assets_version);
        let fresh =
            head.header("if-none-match").is_some_and(|seen| seen.trim_start_matches("W/") == tag);
        let origin = http::origin_of(head).unwrap_or_default();
        let response = if fresh { Response::empty(304) } else { Response::new(200, media, bytes) };
        let cors = self.settings.cors.headers(origin);
        Some(response.with("Cache-Control", "public, max-age=0").with("ETag", tag).with_first(cors))
    }

    fn peer(&self, key: Key) -> std::net::SocketAddr {
        self.conns.get(key).expect("the caller holds it").peer
    }

    fn set_phase(&mut self, key: Key, phase: Phase) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.speaks = Speaks::Http(phase);
        }
    }

    /// Writes an answer and waits for the next request.
    pub(super) fn respond(&mut self, key: Key, response: &Response, keep_alive: bool) {
        let keep_alive = keep_alive && !self.draining;
        let mut out = Vec::new();
        response.write(&mut out, keep_alive);
        self.respond_bytes(key, &out, keep_alive);
    }

    fn respond_bytes(&mut self, key: Key, bytes: &[u8], keep_alive: bool) {
        self.set_phase(key, Phase::Head);
        self.write_raw(key, bytes);
        let keep_ms = self.settings.limits.keep_alive_ms;
        if keep_alive {
            self.set_conn_due(key, keep_ms);
            self.resumed.push(key);
        } else {
            self.close_conn(key, Ending::HttpDone);
        }
    }

    /// Answers a poll with packets.
    pub(super) fn respond_payload(
        &mut self,
        key: Key,
        origin: Option<&str>,
        media: &str,
        body: &[u8],
        keep_alive: bool,
    ) {
        let response = if media == OCTETS {
            Response::payload_binary(body.to_vec())
        } else {
            Response::payload(body.to_vec())
        };
        let cors = self.settings.cors.headers(origin);
        self.respond(key, &response.with_first(cors), keep_alive);
    }

    /// Answers a request whose head says already what it gets; its body is read past.
    fn answer_request(&mut self, key: Key, head: &Head<'_>, response: &Response) {
        let keep_alive = head.keep_alive && !self.draining;
        let mut out = Vec::new();
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

    /// The connection cannot be used again: nobody knows where the next request would start.
    pub(super) fn refuse_request(&mut self, key: Key, status: u16, why: &'static str) {
        self.counters.http_errors += 1;
        self.log_request(status, why);
        self.respond(key, &Response::empty(status), false);
        self.count_ending(Ending::HttpRule);
    }

    fn begin_body(&mut self, key: Key, head: &Head<'_>, then: Then) {
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
    fn body_too_large(&mut self, key: Key, then: &Then) {
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
        self.refuse_request(key, 413, "body too large");
    }

    /// Takes in more of a body. Gives out a request for the admin core once that is complete.
    fn read_body(&mut self, key: Key, input: &[u8]) -> (usize, Option<Forwarded>) {
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

    fn bad_body(&mut self, key: Key, error: http::BodyError) {
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
        self.refuse_request(key, error.status(), "malformed body");
    }

    /// Rule: engine.io-protocol v4: one poll at a time; a second one ends the session, the first
    /// getting a close packet.
    fn begin_poll(&mut self, key: Key, session_key: Key, head: &Head<'_>) {
        let origin: Option<Box<str>> = http::origin_of(head).unwrap_or_default().map(Box::from);
        let Some(session) = self.sessions.get_mut(session_key) else { return };
        let phase = Phase::Poll { session: session_key, keep_alive: head.keep_alive, origin };
        match session.transport {
            Transport::Polling { poll: Some(_) } => {
                self.counters.polls_duplicate += 1;
                let cors = self.settings.cors.headers(http::origin_of(head).unwrap_or_default());
                self.respond(key, &Response::empty(400).with_first(cors), head.keep_alive);
                self.end_session(session_key, Ending::RequestDuplicated);
            }
            Transport::LastWords { packet, .. } => {
                // What waits comes first; the close packet has an answer of its own.
                let says_something = !session.outbox.is_empty();
                self.set_phase(key, phase);
                self.answer_poll(session_key, key, (!says_something).then_some(packet));
                if !says_something {
                    self.forget_session(session_key);
                }
            }
            _ => {
                session.transport = Transport::Polling { poll: Some(key) };
                self.set_phase(key, phase);
                let waiting = self.sessions.get(session_key).is_some_and(|s| !s.outbox.is_empty());
                if waiting {
                    self.answer_poll(session_key, key, None);
                }
            }
        }
    }

    fn begin_post(&mut self, key: Key, session_key: Key, head: &Head<'_>, binary: bool) {
        let origin: Option<Box<str>> = http::origin_of(head).unwrap_or_default().map(Box::from);
        let Some(session) = self.sessions.get_mut(session_key) else { return };
        let v4 = session.revision == Revision::V4;
        if let Some(first) = session.post {
            // Rule: a second post while one is being received: 400, the first is destroyed.
            let cors = self.settings.cors.headers(origin.as_deref());
            self.respond(key, &Response::empty(400).with_first(cors), false);
            self.end_session(session_key, Ending::RequestDuplicated);
            self.conn_ends(first, Ending::RequestDuplicated);
            return;
        }
        if binary && v4 {
            // Rule: CVE-2026-59725: an octet-stream post of EIO 4 is answered, and ends the session.
            self.end_session(session_key, Ending::EngineRule);
            let cors = self.settings.cors.headers(origin.as_deref());
            self.respond(key, &Response::empty(400).with_first(cors), false);
            return;
        }
        session.post = Some(key);
        self.begin_body(key, head, Then::Post { session: session_key, binary, origin });
    }

    /// Gives out the next packet of a post; answers the post when there is none left.
    fn next_packet(&mut self, key: Key) -> Option<Dispatch> {
        loop {
            let conn = self.conns.get_mut(key)?;
            let Speaks::Http(Phase::Payload(payload)) = &mut conn.speaks else { return None };
            let session_key = payload.session;
            let session = self.sessions.get(session_key);
            let session = session.filter(|_| payload.at <= payload.body.len() && !payload.bad);
            let Some(session) = session else {
                self.finish_post(key);
                return None;
            };
            let Some((piece, used)) = split_packet(&payload.body, payload.at, session.revision)
            else {
                payload.bad = true;
                self.counters.parse_errors += 1;
                self.end_session(session_key, Ending::EnginePacket);
                continue;
            };
            payload.at += used;
            let dispatch = match piece {
                Owned::Text(text) => self.engine_text(session_key, Text::Owned(text), &[]),
                Owned::Binary(data) => self.engine_binary(session_key, data),
            };
            if dispatch.is_some() {
                return dispatch;
            }
        }
    }

    /// Answers a post: 400 if a packet could not be read (Node says `ok` even then), else `ok`.
    fn finish_post(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let old = std::mem::replace(&mut conn.speaks, Speaks::Http(Phase::Head));
        let Speaks::Http(Phase::Payload(payload)) = old else { return };
        if let Some(session) = self.sessions.get_mut(payload.session) {
            session.post = None;
        }
        let response = if payload.bad { Response::empty(400) } else { Response::posted() };
        let cors = self.settings.cors.headers(payload.origin.as_deref());
        self.respond(key, &response.with_first(cors), payload.keep_alive);
    }

    /// Whether a post must wait because its session has as many async handlers as it may.
    fn post_waits(&self, key: Key) -> bool {
        let Some(Speaks::Http(Phase::Payload(payload))) = self.conns.get(key).map(|c| &c.speaks)
        else {
            return false;
        };
        let tasks_max = self.settings.limits.handler_tasks_max;
        self.sessions.get(payload.session).is_some_and(|session| session.tasks >= tasks_max)
    }

    fn begin_upgrade(&mut self, key: Key, session_key: Key, head: &Head<'_>) {
        let until = self.millis().plus(self.settings.upgrade_timeout_ms);
        if !self.become_websocket(key, head, Role::Candidate(session_key)) {
            return;
        }
        if let Some(session) = self.sessions.get_mut(session_key) {
            session.upgrade = Some(Box::new(Upgrade { conn: key, noop_due: None, until }));
        }
        self.arm_session(session_key);
    }

    fn become_websocket(&mut self, key: Key, head: &Head<'_>, role: Role) -> bool {
        let origin = http::origin_of(head).unwrap_or_default();
        match http::accept(head, &[]) {
            Ok(bytes) => {
                self.write_raw(key, &bytes);
                if let Some(conn) = self.conns.get_mut(key) {
                    conn.speaks = Speaks::WebSocket { decoder: ws::Decoder::default(), role };
                    conn.due = None;
                }
                true
            }
            Err(error) => {
                let cors = self.settings.cors.headers(origin);
                self.counters.http_errors += 1;
                self.log_request(400, "not a WebSocket handshake");
                self.respond(key, &error.response().with_first(cors), false);
                false
            }
        }
    }

    /// Whether the host must call `next` although no bytes arrived: a hook has spoken.
    #[must_use]
    pub fn needs_step(&self, key: Key) -> bool {
        self.conns.get(key).is_some_and(|conn| match &conn.speaks {
            Speaks::Http(Phase::Asking(asking)) => asking.verdict.is_some(),
            Speaks::Http(Phase::Payload(_)) => !self.post_waits(key),
            _ => false,
        })
    }

    /// The application's hook has spoken; the host calls `next` again.
    pub fn allow(&mut self, key: Key, verdict: Result<(), String>) {
        if let Some(conn) = self.conns.get_mut(key)
            && let Speaks::Http(Phase::Asking(asking)) = &mut conn.speaks
        {
            asking.verdict = Some(verdict);
            self.resumed.push(key);
        }
    }

    fn answer_asking(&mut self, key: Key) -> Option<Dispatch> {
        let conn = self.conns.get_mut(key)?;
        let old = std::mem::replace(&mut conn.speaks, Speaks::Http(Phase::Head));
        let Speaks::Http(Phase::Asking(asking)) = old else { return None };
        let Asking { handshake, endpoint, head, asked_at, verdict } = *asking;
        let Ok(Some((head, _))) = http::parse_head(&head, usize::MAX) else { return None };
        if let Some(Err(message)) = verdict {
            let origin = http::origin_of(&head).unwrap_or_default();
            let cors = self.settings.cors.headers(origin);
            self.counters.http_errors += 1;
            self.log_request(403, "refused by the application");
            let refusal = Response::engine_error_with(EngineError::Forbidden, &message);
            self.respond(key, &refusal.with_first(cors), head.keep_alive);
            return None;
        }
        self.open_session(key, &head, handshake, endpoint, asked_at)
    }

    /// Rule: engine.io-protocol v4, "Handshake".
    fn open_session(
        &mut self,
        key: Key,
        head: &Head<'_>,
        handshake: Arc<Handshake>,
        endpoint: u8,
        arrived_at: Micros,
    ) -> Option<Dispatch> {
        let query = EngineQuery::parse(head.query().unwrap_or_default());
        let revision = match revision_of(&query) {
            Some(Revision::V3) if !self.settings.eio3 => None,
            found => found,
        };
        let Some(revision) = revision else {
            if let Route::Answer(response) =
                self.engine_error(head, EngineError::UnsupportedProtocolVersion)
            {
                self.respond(key, &response, head.keep_alive);
            }
            return None;
        };
        if self.sessions.len() >= self.settings.limits.sessions_max {
            self.counters.limits_hit += 1;
            self.count_ending(Ending::SessionsFull);
            let full = Response::text(503, "Too many sessions").with("Retry-After", "5");
            self.respond(key, &full, false);
            return None;
        }
        let websocket = query.transport.as_deref() == Some("websocket");
        let session = self.new_session(handshake, endpoint, revision, !query.b64);
        if websocket && !self.become_websocket(key, head, Role::Session(session)) {
            self.forget_session(session);
            return None;
        }
        let opened = self.sessions.get_mut(session)?;
        opened.opened_at = arrived_at;
        let sid = opened.sid.text();
        let settings = std::rc::Rc::clone(&self.settings);
        let open = engineio::open_packet(
            sid.as_str(),
            !websocket && settings.allow_upgrades && settings.websocket,
            settings.ping_interval_ms,
            settings.ping_timeout_ms,
            settings.limits.message_bytes_max,
        );
        if websocket {
            let hush = self.millis().plus(HUSH_MS);
            if let Some(session) = self.sessions.get_mut(session) {
                session.transport = Transport::WebSocket { conn: key };
                session.hushed_until = (revision == Revision::V3).then_some(hush);
            }
            self.send_engine(session, open.as_bytes());
        } else {
            self.answer_handshake(key, head, revision, &open, sid.as_str());
        }
        self.arm_session(session);
        self.counters.sessions_opened += 1;
        let service = settings.endpoints[usize::from(endpoint)].service;
        if revision == Revision::V3 && service == Service::SocketIo {
            // Rule: Socket.IO before v3: the server joins `/` by itself.
            return self.ask_to_join(session, "/", "");
        }
        None
    }

    fn new_session(
        &mut self,
        handshake: Arc<Handshake>,
        endpoint: u8,
        revision: Revision,
        polls_binary: bool,
    ) -> Key {
        let now = self.millis();
        let settings = std::rc::Rc::clone(&self.settings);
        let sid = self.new_id();
        let socketio = settings.endpoints[usize::from(endpoint)].service == Service::SocketIo;
        let heartbeat =
            Heartbeat::new(now, revision, settings.ping_interval_ms, settings.ping_timeout_ms);
        let connect_due =
            (socketio && revision == Revision::V4).then(|| now.plus(settings.connect_timeout_ms));
        let key = self.sessions.insert(Session {
            sid,
            endpoint,
            revision,
            parser: Parser::Unknown,
            polls_binary,
            transport: Transport::Polling { poll: None },
            upgrade: None,
            heartbeat,
            connect_due,
            hushed_until: None,
            post: None,
            outbox: Outbox::default(),
            queued_at: self.now,
            sockets: Vec::new(),
            partial: None,
            handshake,
            timer_at: Millis(u64::MAX),
            opened_at: self.now,
            tasks: 0,
        });
        self.sids.insert(sid, key);
        key
    }

    fn answer_handshake(
        &mut self,
        key: Key,
        head: &Head<'_>,
        revision: Revision,
        open: &str,
        sid: &str,
    ) {
        let mut body = Vec::new();
        match revision {
            Revision::V4 => body.extend_from_slice(open.as_bytes()),
            Revision::V3 => engineio::encode_v3_text(&mut body, open),
        }
        let mut response = Response::payload(body);
        if let Some(name) = &self.settings.cookie {
            let cookie = format!("{name}={sid}; Path=/; HttpOnly; SameSite=Lax");
            response = response.with("Set-Cookie", cookie);
        }
        let origin = http::origin_of(head).unwrap_or_default();
        let cors = self.settings.cors.headers(origin);
        self.respond(key, &response.with_first(cors), head.keep_alive);
    }

    /// The admin core's answer to a forwarded request: bytes ready for the wire.
    pub fn respond_forwarded(&mut self, key: Key, bytes: &[u8], keep_alive: bool) {
        let waits = self
            .conns
            .get(key)
            .is_some_and(|conn| matches!(conn.speaks, Speaks::Http(Phase::Forwarded)));
        if waits {
            self.respond_bytes(key, bytes, keep_alive && !self.draining);
        }
    }
}

/// Old clients, and the official EIO 3 suite, begin to listen a moment after their WebSocket
/// opened: an open packet that arrives together with the 101 is lost on them. Node writes the two
/// apart; this is how long we wait to be sure of it.
const HUSH_MS: u64 = 3;

enum HeadOutcome {
    More,
    Took(usize),
    Run(usize, Dispatch),
    Handover(crate::base::CoreId),
}

enum Owned {
    Text(String),
    Binary(Vec<u8>),
}

/// Takes the packet of a body that begins at `at` and how many bytes it took; one more than there
/// are if it was the last one. Cost: one copy of the packet.
fn split_packet(body: &PostBody, at: usize, revision: Revision) -> Option<(Owned, usize)> {
    let own = |piece: Piece<'_>| match piece {
        Piece::Text(text) => Owned::Text(text.to_owned()),
        Piece::Binary(data) => Owned::Binary(data),
    };
    let used = |rest: usize, after: Option<usize>| after.map_or(rest + 1, |after| rest - after);
    match body {
        PostBody::Unreadable => None,
        PostBody::Binary(bytes) => {
            let rest = bytes.get(at..)?;
            let (piece, after) = engineio::next_v3_binary(rest).ok()?;
            Some((own(piece), used(rest.len(), after.map(<[u8]>::len))))
        }
        PostBody::Text(text) => {
            let rest = text.get(at..)?;
            let (piece, after) = match revision {
                Revision::V4 => engineio::next_v4(rest).ok()?,
                Revision::V3 => engineio::next_v3(rest).ok()?,
            };
            Some((own(piece), used(rest.len(), after.map(str::len))))
        }
    }
}

fn revision_of(query: &EngineQuery<'_>) -> Option<Revision> {
    match query.eio.as_deref() {
        Some("3") => Some(Revision::V3),
        Some("4") => Some(Revision::V4),
        _ => None,
    }
}

/// The same dispatch for bytes that begin `by` earlier.
fn shifted(dispatch: Dispatch, by: usize) -> Dispatch {
    let shift = |text: Text| match text {
        Text::InPlace(range) => Text::InPlace(range.start + by..range.end + by),
        owned => owned,
    };
    match dispatch {
        Dispatch::Event { socket, text, name, args, ack, attachments } => {
            Dispatch::Event { socket, text: shift(text), name, args, ack, attachments }
        }
        Dispatch::EngineMessage { session, message: super::RawMessage::Text(text) } => {
            let message = super::RawMessage::Text(shift(text));
            Dispatch::EngineMessage { session, message }
        }
        Dispatch::PlainMessage { conn, message: super::RawMessage::Text(text) } => {
            let message = super::RawMessage::Text(shift(text));
            Dispatch::PlainMessage { conn, message }
        }
        other => other,
    }
}
