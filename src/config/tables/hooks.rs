//! `[[hooks]]`: HTTP servers that are asked and told.

use core::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::ConfigError;
use super::super::shapes::{self, Secret, is_name};
use super::row::Row;

/// One webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// How routes, the log and REST call it.
    pub name: String,
    /// Where it is: `https`, or `http` on this machine or in a private network.
    pub url: String,
    /// What it wants to hear.
    pub events: Vec<HookEvent>,
    /// Namespaces it hears of; all of them if none is named.
    pub namespaces: Vec<String>,
    /// Keys that calls are signed with, one or two; see [`Self::keys`].
    pub secrets: Vec<Secret>,
    /// Time one call has, connecting included.
    pub timeout_ms: u64,
    /// Calls under way at one time.
    pub concurrency_max: usize,
    /// Clients and events that may wait for a call; and, apart from those, facts.
    pub queue_max: usize,
    /// Bytes of facts that may wait.
    pub queue_bytes_max: usize,
    /// How often a call is made again at the most.
    pub retries: u32,
    /// What becomes of a client if the hook cannot be asked whether it may come in.
    pub on_error: OnError,
    /// Facts in one call.
    pub batch_max: usize,
    /// How long a fact waits for others.
    pub batch_wait_ms: u64,
    /// So many failures in a row, and no call is made for a while.
    pub breaker_failures: u32,
    /// How long that is; then one call is tried.
    pub breaker_open_ms: u64,
    /// Headers of a client's handshake, in lower case, that it is shown when a client wants in.
    pub headers: Vec<String>,
}

/// What a hook can hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookEvent {
    /// A client wants in, and the hook says whether it may.
    Connect,
    /// An event that a route sends.
    Event,
    /// A client came in.
    Connected,
    /// A client joined a room.
    Join,
    /// A client left a room.
    Leave,
    /// A client is gone.
    Disconnect,
}

/// What becomes of a client if nobody can be asked about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// It is refused, and may try again.
    Refuse,
    /// It comes in as whoever it says it is.
    Allow,
}

const EVENTS: &[(&str, HookEvent)] = &[
    ("connect", HookEvent::Connect),
    ("event", HookEvent::Event),
    ("connected", HookEvent::Connected),
    ("join", HookEvent::Join),
    ("leave", HookEvent::Leave),
    ("disconnect", HookEvent::Disconnect),
];
const MEMBERS: &[&str] = &[
    "name",
    "url",
    "events",
    "namespaces",
    "secrets",
    "timeout_ms",
    "concurrency_max",
    "queue_max",
    "queue_bytes_max",
    "retries",
    "on_error",
    "batch_max",
    "batch_wait_ms",
    "breaker_failures",
    "breaker_open_ms",
    "headers",
];
const URLS: &str = "an https address, or an http address of this machine or a private network";
const SECRETS: &str = "one or two of whsec_ and 24 to 64 bytes in base64";
const HEADERS: &str = "a list of names of headers";
const NAMESPACES: &str = "a list of names that start with /";
/// Time that somebody who waits to be let in can spare.
const CONNECT_TIMEOUT_MS: u64 = 1_000;
const TIMEOUT_MS: u64 = 5_000;

impl Hook {
    pub(super) fn read(row: &Row<'_>) -> Result<Self, ConfigError> {
        row.only(MEMBERS)?;
        let events = row.words("events", EVENTS)?;
        let asks = events.contains(&HookEvent::Connect);
        let timeout_ms = if asks { CONNECT_TIMEOUT_MS } else { TIMEOUT_MS };
        let small = |member, default, max| row.number_or(member, default, 1..=max);
        let has = |member: &str| row.members.contains_key(member);
        let is_namespace = |text: &str| shapes::namespace(text).is_some();
        let on_error = [("refuse", OnError::Refuse), ("allow", OnError::Allow)];
        Ok(Self {
            name: row.text("name", "1 to 256 bytes without control characters", is_name)?,
            url: row.text("url", URLS, is_url)?,
            namespaces: match has("namespaces") {
                true => row.list("namespaces", NAMESPACES, is_namespace)?,
                false => Vec::new(),
            },
            secrets: row.secrets("secrets", 2, SECRETS, |text| key_of(text).is_some())?,
            timeout_ms: row.number_or("timeout_ms", timeout_ms, 10..=60_000)?,
            concurrency_max: as_usize(small("concurrency_max", 16, 1_024)?),
            queue_max: as_usize(small("queue_max", 10_000, 1_000_000)?),
            queue_bytes_max: as_usize(row.number_or(
                "queue_bytes_max",
                16 << 20,
                65_536..=1 << 32,
            )?),
            retries: as_u32(row.number_or("retries", 8, 0..=100)?),
            on_error: row.word_or("on_error", OnError::Refuse, &on_error)?,
            batch_max: as_usize(small("batch_max", 50, 1_000)?),
            batch_wait_ms: row.number_or("batch_wait_ms", 100, 0..=60_000)?,
            breaker_failures: as_u32(small("breaker_failures", 5, 1_000)?),
            breaker_open_ms: row.number_or("breaker_open_ms", 5_000, 10..=600_000)?,
            headers: match has("headers") {
                true => row.list("headers", HEADERS, is_header)?,
                false => Vec::new(),
            }
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .collect(),
            events,
        })
    }

    /// Whether it wants to hear of this in a namespace.
    #[must_use]
    pub fn hears(&self, event: HookEvent, namespace: &str) -> bool {
        let here = self.namespaces.is_empty() || self.namespaces.iter().any(|own| own == namespace);
        here && self.events.contains(&event)
    }

    /// Whether it is told of what happens, and not only asked.
    #[must_use]
    pub fn is_told(&self) -> bool {
        let told = |event: &HookEvent| !matches!(event, HookEvent::Connect | HookEvent::Event);
        self.events.iter().any(told)
    }

    /// Whether calls to it travel in the clear, and further than this machine.
    pub(in super::super) fn is_exposed(&self) -> bool {
        host_of(&self.url, "http://").is_some_and(|host| !is_loopback(host))
    }

    /// The bytes of its keys, in the order of the file.
    #[must_use]
    pub fn keys(&self) -> Vec<Vec<u8>> {
        self.secrets.iter().filter_map(|secret| key_of(secret.expose())).collect()
    }
}

/// Bounds of the file are far below.
fn as_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn as_u32(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Rule: Standard Webhooks, "Signature scheme": a secret is `whsec_` and 24 to 64 bytes.
fn key_of(text: &str) -> Option<Vec<u8>> {
    let key = STANDARD.decode(text.strip_prefix("whsec_")?).ok()?;
    (24..=64).contains(&key.len()).then_some(key)
}

fn is_header(name: &str) -> bool {
    let in_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(in_token)
}

fn is_url(text: &str) -> bool {
    let plain = text.len() <= 2_048 && text.bytes().all(|byte| byte.is_ascii_graphic());
    let near = |host: &str| is_loopback(host) || is_private(host);
    plain && (host_of(text, "https://").is_some() || host_of(text, "http://").is_some_and(near))
}

/// The host of an address that may stand in a configuration: no user, no fragment.
fn host_of<'a>(url: &'a str, scheme: &str) -> Option<&'a str> {
    let rest = url.strip_prefix(scheme)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let authority = &rest[..end];
    if authority.contains('@') || url.contains(['#', '\\', '"']) {
        return None;
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(inner) => {
            let (host, after) = inner.split_once(']')?;
            host.parse::<core::net::Ipv6Addr>().ok()?;
            (host, after.strip_prefix(':').or(if after.is_empty() { Some("1") } else { None })?)
        }
        None => authority.split_once(':').unwrap_or((authority, "1")),
    };
    let in_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    (!host.is_empty() && host.bytes().all(in_host) && is_port).then_some(host)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Names without a dot, and those that no public server answers for, are a network's own.
fn is_private(host: &str) -> bool {
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => address.is_private(),
        Ok(IpAddr::V6(address)) => address.is_unique_local(),
        Err(_) => {
            let own = [".internal", ".local", ".localhost", ".test"];
            !host.contains(['.', ':']) || own.iter().any(|end| host.ends_with(end))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_near() {
        for (url, fits) in [
            ("https://hooks.example/a?b=c", true),
            ("https://hooks.example:8443", true),
            ("https://[2001:db8::1]:8443/x", true),
            ("http://127.0.0.1:8080/x", true),
            ("http://localhost", true),
            ("http://[::1]:1/", true),
            ("http://10.1.2.3/", true),
            ("http://192.168.0.1:80", true),
            ("http://backend:8080/hooks", true),
            ("http://backend.prod.svc.cluster.local/", true),
            ("http://hooks.example/", false),
            ("http://8.8.8.8/", false),
            // Where clouds keep their machines' keys.
            ("http://169.254.169.254/", false),
            ("http://[::ffff:8.8.8.8]/", false),
            ("https://user@hooks.example/", false),
            ("https://hooks.example/#x", false),
            ("https://hooks.example:0/", false),
            ("https://hooks.example:x/", false),
            ("https://", false),
            ("https:///x", false),
            ("ftp://hooks.example/", false),
            ("https://hooks.example/a b", false),
            ("https://[::1/", false),
        ] {
            assert_eq!(is_url(url), fits, "{url}");
        }
    }

    #[test]
    fn a_secret_is_long_enough() {
        let secret = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        for (bytes, fits) in [(23, false), (24, true), (64, true), (65, false)] {
            assert_eq!(key_of(&secret(bytes)).is_some(), fits, "{bytes}");
        }
        assert_eq!(key_of(&STANDARD.encode([7; 32])), None, "without its prefix");
        assert_eq!(key_of("whsec_????????????????????????????????"), None);
    }
}
