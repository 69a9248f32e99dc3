//! Who may call what.
//!
//! Without a key only this machine may, on the admin listener, and only as long as no key is
//! configured; the checks of host, origin and proxy headers keep pages of other sites out that a
//! browser on this machine has open (DNS rebinding, cross-site requests) and proxies that would
//! lend their own loopback address to strangers.

use std::net::{IpAddr, SocketAddr};

use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use super::answer::Failure;
use crate::config::{ApiKey, Scope};

/// The listener that a request came in by; an extension of the request. One without it is
/// treated as public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The listener of clients.
    Public,
    /// The admin listener.
    Admin,
}

/// The address of the peer; an extension of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody.
    Open,
    /// Whoever has this scope.
    Needs(Scope),
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller<'a> {
    /// This machine, where no key is configured.
    Keyless,
    /// The holder of a key.
    Key(&'a ApiKey),
}

impl Caller<'_> {
    pub(super) fn may(self, scope: Scope) -> bool {
        match self {
            Self::Keyless => true,
            Self::Key(key) => key.scopes.contains(&scope) || key.scopes.contains(&Scope::Admin),
        }
    }
}

const PROXY_HEADERS: [&str; 3] = ["forwarded", "via", "x-real-ip"];

/// Finds out who calls.
///
/// # Errors
/// Nobody who is known here; the answer says what is missing.
pub(super) fn identify<'a>(
    keys: &'a [ApiKey],
    own_pages: &[String],
    request: &Parts,
) -> Result<Caller<'a>, Failure> {
    if !keys.is_empty() {
        let mut shown = false;
        for candidate in candidates(&request.headers) {
            shown = true;
            // Every key is compared, so that the time tells nothing of which one came near.
            let found =
                keys.iter().fold(
                    None,
                    |found, key| {
                        if key.key.matches(candidate) { Some(key) } else { found }
                    },
                );
            if let Some(key) = found {
                return Ok(Caller::Key(key));
            }
        }
        return Err(Failure::unauthorized(if shown {
            "This API key is not known"
        } else {
            "An API key is needed: Authorization: Bearer <key>, or X-API-Key"
        }));
    }
    if request.extensions.get::<Origin>() != Some(&Origin::Admin) {
        let message = "No API key is configured, so REST is served on the admin listener only";
        return Err(Failure::unauthorized(message));
    }
    let peer = request.extensions.get::<Peer>();
    if !peer.is_some_and(|Peer(peer)| peer.ip().to_canonical().is_loopback()) {
        return Err(Failure::unauthorized("Without an API key only this machine may call"));
    }
    if !asks_for_loopback(request) {
        return Err(Failure::unauthorized("Without an API key the Host must be a loopback name"));
    }
    let forwarded = |name: &str| PROXY_HEADERS.contains(&name) || name.starts_with("x-forwarded-");
    if request.headers.keys().any(|name| forwarded(name.as_str())) {
        return Err(Failure::unauthorized("Through a proxy an API key is needed"));
    }
    if is_foreign(request, own_pages) {
        let message = "A page of another origin needs an API key, or admin_cors_origin";
        return Err(Failure::unauthorized(message));
    }
    Ok(Caller::Keyless)
}

/// The keys that a request shows, in either header.
fn candidates(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let bearer = headers.get_all(header::AUTHORIZATION).iter().filter_map(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim_matches(' '))
    });
    let plain = headers.get_all("x-api-key").iter().filter_map(|value| value.to_str().ok());
    bearer.chain(plain)
}

/// Whether a request names this machine as its host: in `Host`, and in the target if it is
/// absolute.
fn asks_for_loopback(request: &Parts) -> bool {
    let authority = request.uri.authority().map(axum::http::uri::Authority::as_str);
    let hosts: Vec<_> = request.headers.get_all(header::HOST).iter().collect();
    let [host] = hosts[..] else { return false };
    host.to_str().is_ok_and(is_loopback_host) && authority.is_none_or(is_loopback_host)
}

fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(name, _)| name),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let address: Result<IpAddr, _> = name.parse();
    name.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether a page of somebody else asks. Ours are those of the very host that is asked for, and
/// those that the operator lists; `*` lists nobody.
fn is_foreign(request: &Parts, own_pages: &[String]) -> bool {
    let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let own = |origin: &str| {
        let page = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        own_pages.iter().any(|listed| listed != "*" && listed == origin)
            || page.is_some_and(|page| host.is_some_and(|host| page.eq_ignore_ascii_case(host)))
    };
    let mut origins = request.headers.get_all(header::ORIGIN).iter();
    origins.any(|origin| !origin.to_str().is_ok_and(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_and_no_look_alikes() {
        for host in ["localhost", "LOCALHOST:3002", "127.0.0.1", "127.1.2.3:80", "[::1]:3002"] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in [
            "",
            "example.org",
            "localhost.example.org",
            "127.0.0.1.example.org",
            "[::2]:1",
            "[::1",
            "0.0.0.0",
            "10.0.0.1:3002",
            "localhost@example.org",
            "127.0.0.1:80:80",
            ":3002",
        ] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }
}
