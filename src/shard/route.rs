//! What a request asks for. The order of the checks is Node's (protocol page, section 1.2).

use super::Shard;
use super::session::Transport;
use super::settings::Service;
use crate::base::{Id20, Key};
use crate::engineio::Revision;
use crate::http::{self, EngineError, EngineQuery, Head, Response};

use super::polling::OCTETS;

/// What a request asks for, once its head has been read and judged.
pub(super) enum Route {
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
    /// Decides what a request is. The order of the checks is Node's, so that a request which
    /// breaks several rules gets the same code (protocol page, section 1.2).
    pub(super) fn route(&mut self, head: &Head<'_>) -> Route {
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
            if self.is_foreign(head) {
                self.log_request(403, "foreign origin");
                return Route::Answer(Response::text(403, "Origin not allowed"));
            }
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
        if query.j.is_some() && !websocket {
            // Deviation: Node answers with a script to whoever asks for one. No client of today
            // does, and a page of any origin could read it.
            return self.engine_error(head, EngineError::BadRequest);
        }
        if self.is_foreign(head) {
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

    pub(super) fn route_session(
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

    /// Whether a request is of a page that a strict server does not serve.
    fn is_foreign(&self, head: &Head<'_>) -> bool {
        let permits = |origin| self.settings.cors.permits(origin, head.host());
        self.settings.strict_origin && !http::origin_of(head).is_ok_and(permits)
    }

    pub(super) fn engine_error(&mut self, head: &Head<'_>, error: EngineError) -> Route {
        self.log_request(error.status(), error.message());
        let origin = http::origin_of(head).unwrap_or_default();
        let cors = self.settings.cors.headers(origin);
        Route::Answer(Response::engine_error(error).with_first(cors))
    }

    /// The client bundle, if this is a request for one of its files.
    pub(super) fn asset(&self, head: &Head<'_>, path: &str, endpoint: u8) -> Option<Response> {
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
}

pub(super) fn revision_of(query: &EngineQuery<'_>) -> Option<Revision> {
    match query.eio.as_deref() {
        Some("3") => Some(Revision::V3),
        Some("4") => Some(Revision::V4),
        _ => None,
    }
}
