//! How sessions begin and move: handshakes, the application's hook, upgrades.

use std::sync::Arc;

use super::conn::{Asking, Phase, Role, Speaks};
use super::message::Dispatch;
use super::outbox::Outbox;
use super::route::{Route, revision_of};
use super::session::{Parser, Session, Transport, Upgrade};
use super::settings::Service;
use super::{Ending, Handshake, Shard};
use crate::base::{AddressName, Key, Micros, Millis};
use crate::engineio::{self, Heartbeat, Revision};
use crate::http::{self, EngineError, EngineQuery, Head, Response, UpgradeError};
use crate::ws;

impl Shard {
    pub(super) fn begin_upgrade(&mut self, key: Key, session_key: Key, head: &Head<'_>) {
        let until = self.millis().plus(self.settings.upgrade_timeout_ms);
        if !self.become_websocket(key, head, Role::Candidate(session_key)) {
            return;
        }
        if let Some(session) = self.sessions.get_mut(session_key) {
            session.upgrade = Some(Box::new(Upgrade { conn: key, noop_due: None, until }));
        }
        self.arm_session(session_key);
    }

    pub(super) fn become_websocket(&mut self, key: Key, head: &Head<'_>, role: Role) -> bool {
        let origin = http::origin_of(head).unwrap_or_default();
        let deflate = if self.deflates(role) { agree(head) } else { Ok(None) };
        let accepted = deflate.and_then(|deflate| {
            let extension = deflate.map(|agreed| ("Sec-WebSocket-Extensions", agreed.answer()));
            Ok((http::accept(head, extension.as_slice())?, deflate))
        });
        match accepted {
            Ok((bytes, deflate)) => {
                self.write_raw(key, &bytes);
                if let Some(conn) = self.conns.get_mut(key) {
                    let decoder = ws::Decoder::default();
                    conn.speaks = Speaks::WebSocket { decoder, role, deflate };
                    conn.due = None;
                    self.count_partial(key);
                }
                if let Role::Plain { .. } = role {
                    let interval_ms = self.settings.ping_interval_ms;
                    self.set_conn_due(key, interval_ms);
                }
                true
            }
            Err(error) => {
                let cors = self.settings.cors.headers(origin);
                self.log_request(400, "not a WebSocket handshake");
                self.respond(key, &error.response().with_first(cors), false);
                false
            }
        }
    }

    /// Whether this connection may agree on permessage-deflate.
    fn deflates(&self, role: Role) -> bool {
        let endpoint = match role {
            Role::Plain { endpoint } => Some(endpoint),
            Role::Session(session) | Role::Candidate(session) => {
                self.sessions.get(session).map(|session| session.endpoint)
            }
            Role::Spent => None,
        };
        let settings = &self.settings;
        endpoint.is_some_and(|endpoint| {
            settings.compression.websocket || settings.endpoints[usize::from(endpoint)].deflate
        })
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

    /// Whether this WebSocket is to take over a session, and has neither done so nor failed yet.
    #[must_use]
    pub fn is_candidate(&self, key: Key) -> bool {
        self.conns.get(key).is_some_and(|conn| {
            matches!(conn.speaks, Speaks::WebSocket { role: Role::Candidate(_), .. })
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

    pub(super) fn answer_asking(&mut self, key: Key) -> Option<Dispatch<'static>> {
        let conn = self.conns.get_mut(key)?;
        let old = std::mem::replace(&mut conn.speaks, Speaks::Http(Phase::Head));
        let Speaks::Http(Phase::Asking(asking)) = old else { return None };
        let Asking { handshake, endpoint, head, asked_at, verdict } = *asking;
        let Ok(Some((head, _))) = http::parse_head(&head, usize::MAX) else { return None };
        if let Some(Err(message)) = verdict {
            let origin = http::origin_of(&head).unwrap_or_default();
            let cors = self.settings.cors.headers(origin);
            self.log_request(403, "refused by the application");
            let refusal = Response::engine_error_with(EngineError::Forbidden, &message);
            self.respond(key, &refusal.with_first(cors), head.keep_alive);
            return None;
        }
        self.open_session(key, &head, handshake, endpoint, asked_at)
    }

    /// Rule: engine.io-protocol v4, "Handshake".
    pub(super) fn open_session(
        &mut self,
        key: Key,
        head: &Head<'_>,
        handshake: Arc<Handshake>,
        endpoint: u8,
        arrived_at: Micros,
    ) -> Option<Dispatch<'static>> {
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
        if !self.may_open(key, head, &handshake) {
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

    /// Whether there is room for one more session from there; else it has been answered.
    fn may_open(&mut self, key: Key, head: &Head<'_>, handshake: &Handshake) -> bool {
        if !self.has_memory() {
            self.refuse_for_memory(key, head);
            return false;
        }
        let kept_bytes = self.held.kept_bytes + handshake.bytes();
        let limits = &self.settings.limits;
        if self.sessions.len() >= limits.sessions_max || kept_bytes > limits.kept_bytes_max {
            self.counters.limits_hit += 1;
            self.count_ending(Ending::SessionsFull);
            let full = Response::text(503, "Too many sessions").with("Retry-After", "5");
            self.respond(key, &full, false);
            return false;
        }
        if let Some(addresses) = &self.settings.address_handshakes
            && let Err(wait_us) = addresses.take(&AddressName::of(handshake.peer.ip()), self.now)
        {
            self.counters.handshakes_limited += 1;
            self.count_ending(Ending::AddressFast);
            let origin = http::origin_of(head).unwrap_or_default();
            let wait_s = wait_us.div_ceil(1_000_000).to_string();
            let busy = Response::text(429, "Too many handshakes from this address");
            let cors = self.settings.cors.headers(origin);
            self.respond(key, &busy.with("Retry-After", wait_s).with_first(cors), false);
            return false;
        }
        true
    }

    pub(super) fn new_session(
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
        self.held.kept_bytes += handshake.bytes();
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
            said: false,
            sockets: Vec::new(),
            partial: None,
            handshake,
            timer_at: Millis(u64::MAX),
            opened_at: self.now,
            tasks: 0,
            task_bytes: 0,
        });
        self.wait_to_join(key);
        self.sids.insert(sid, key);
        key
    }

    /// A new session waits in line for its first namespace. If the line is too long, who has
    /// waited longest ends.
    fn wait_to_join(&mut self, key: Key) {
        let sessions = &self.sessions;
        let is_waiting = |key: Key| sessions.get(key).is_some_and(|s| s.connect_due.is_some());
        if !is_waiting(key) {
            return;
        }
        self.held.unjoined.enter(key, is_waiting);
        if self.held.unjoined.len() > self.settings.limits.unjoined_max
            && let Some(oldest) = self.held.unjoined.oldest(is_waiting)
        {
            self.counters.limits_hit += 1;
            self.end_session(oldest, Ending::UnjoinedFull);
        }
    }

    /// Whoever comes while memory is short is told when to come again.
    pub(super) fn refuse_for_memory(&mut self, key: Key, head: &Head<'_>) {
        let origin = http::origin_of(head).unwrap_or_default();
        let cors = self.settings.cors.headers(origin);
        let short = Response::text(503, "Short of memory").with("Retry-After", "10");
        self.respond(key, &short.with_first(cors), false);
    }

    pub(super) fn answer_handshake(
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
}

fn agree(head: &Head<'_>) -> Result<Option<ws::Agreed>, UpgradeError> {
    let offers = head.all("sec-websocket-extensions");
    ws::negotiate(offers).map_err(|ws::BadExtensions| UpgradeError::Extensions)
}

/// Old clients, and the official EIO 3 suite, begin to listen a moment after their WebSocket
/// opened: an open packet that arrives together with the 101 is lost on them. Node writes the two
/// apart; this is how long we wait to be sure of it.
const HUSH_MS: u64 = 3;
