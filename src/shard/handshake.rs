//! The request a session came with, kept small and read when somebody asks.

use std::net::SocketAddr;

use crate::http::{self, Query};

/// The handshake of a session: its request head as received, and what the head does not say.
///
/// Cost: one allocation a session, of the head's size; everything else is parsed on demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    head: Box<[u8]>,
    /// The client: the peer of the TCP connection, or whom a trusted proxy names. Its port is 0
    /// where the proxy names none.
    pub peer: SocketAddr,
    /// Whether the client came over TLS: to this server, or to a trusted proxy that says so.
    pub secure: bool,
    /// When it arrived, milliseconds since the epoch.
    pub issued_unix_ms: u64,
}

impl Handshake {
    /// Keeps a head that has been parsed once.
    #[must_use]
    pub fn new(head: &[u8], peer: SocketAddr, issued_unix_ms: u64) -> Self {
        Self { head: head.into(), peer, secure: false, issued_unix_ms }
    }

    /// The same, of a client that came over TLS or not.
    #[must_use]
    pub fn over_tls(self, secure: bool) -> Self {
        Self { secure, ..self }
    }

    /// Bytes that it keeps.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.head.len()
    }

    fn parsed<T>(&self, read: impl FnOnce(&http::Head<'_>) -> T) -> Option<T> {
        match http::parse_head(&self.head, usize::MAX) {
            Ok(Some((head, _))) => Some(read(&head)),
            Ok(None) | Err(_) => None,
        }
    }

    /// The request target, path and query.
    #[must_use]
    pub fn url(&self) -> String {
        self.parsed(|head| head.target.to_owned()).unwrap_or_default()
    }

    /// The query, decoded.
    #[must_use]
    pub fn query(&self) -> Query {
        self.parsed(|head| Query::parse(head.query().unwrap_or_default())).unwrap_or_default()
    }

    /// One header; invalid UTF-8 is replaced.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.parsed(|head| head.header(name).map(ToOwned::to_owned)).flatten()
    }

    /// All headers, names in lower case, repeated ones joined by `, ` as Node does.
    #[must_use]
    pub fn headers(&self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = Vec::new();
        self.parsed(|head| {
            for (name, value) in head.headers() {
                let name = name.to_ascii_lowercase();
                let value = String::from_utf8_lossy(value);
                match all.iter_mut().find(|(seen, _)| *seen == name) {
                    Some((_, joined)) => {
                        joined.push_str(", ");
                        joined.push_str(&value);
                    }
                    None => all.push((name, value.into_owned())),
                }
            }
        });
        all
    }

    /// The peer's address without its port, IPv4 in its own form.
    #[must_use]
    pub fn address(&self) -> String {
        self.peer.ip().to_canonical().to_string()
    }
}
