//! Where clients connect, how connections begin there, and the certificate of those with TLS.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::sync::Notify;

use super::StartError;
use super::bind::{self, Sharing};
use super::certificate::{Files, Identity, Stamp};
use super::log::Log;
use super::renewal::{Renewal, now_s};
use crate::config::Options;
use crate::telemetry::Outside;
use crate::worker::Door;

/// Every address that clients connect to: the option that names it, and how connections begin
/// there. Plain ones first.
pub(super) fn of(options: &Options) -> impl Iterator<Item = (&'static str, SocketAddr, Door)> + '_ {
    let plain = options.listen.iter().map(|address| ("listen", *address, false));
    let tls = options.tls_listen.iter().map(|address| ("tls_listen", *address, true));
    plain.chain(tls).map(|(option, address, tls)| {
        let proxy = options.proxy_listen.contains(&address);
        (option, address, Door { proxy, tls })
    })
}

/// The listeners, by address and then in the order they were opened.
pub(super) fn listeners(
    options: &Options,
    rows: usize,
    sharing: Sharing,
) -> Result<Vec<Vec<TcpListener>>, StartError> {
    of(options)
        .map(|(option, address, _)| bind::listeners(option, address, rows, sharing))
        .collect()
}

/// The certificate as the start read it, if anything has TLS.
pub(super) struct Renewable(Option<Loaded>);

struct Loaded {
    files: Files,
    /// What they looked like before they were read.
    seen: Option<Stamp>,
    first: Identity,
}

impl Renewable {
    /// Reads it.
    pub(super) fn of(options: &Options) -> Result<Self, StartError> {
        let Some(files) = Files::of(options) else { return Ok(Self(None)) };
        let seen = files.stamp();
        let first = files.load(None, now_s())?;
        Ok(Self(Some(Loaded { files, seen, first })))
    }

    /// What TLS is begun with.
    pub(super) fn config(&self) -> Option<Arc<ServerConfig>> {
        self.0.as_ref().map(|loaded| Arc::clone(&loaded.first.config))
    }

    /// What an operator should know of it.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.0.as_ref().map(|loaded| loaded.first.warnings.clone()).unwrap_or_default()
    }

    /// What keeps it fresh, and what has that look at once.
    pub(super) fn renewal(
        self,
        options: &Options,
        log: &Log,
        outside: &Arc<Outside>,
    ) -> Option<(Renewal, Arc<Notify>)> {
        let Loaded { files, seen, first } = self.0?;
        let nudge = Arc::new(Notify::new());
        let renewal = Renewal {
            files,
            seen,
            first,
            every: Duration::from_millis(options.tls_watch_ms),
            log: log.clone(),
            outside: Arc::clone(outside),
            nudge: Arc::clone(&nudge),
        };
        Some((renewal, nudge))
    }
}
