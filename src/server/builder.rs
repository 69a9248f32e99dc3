//! What an embedder says of a server before it starts.

use std::sync::Arc;

use super::run::{self, Running};
use super::{StartError, cores, tokens};
use crate::api::{App, Io};
use crate::auth::KeySet;
use crate::base::{Limits, Pressure, SharedBuckets, SharedCounts};
use crate::bridge;
use crate::config::{Driver, ForwardedHeader, Hook, Options, Tables, Transport};
use crate::gateway::fair::{self, FairUse};
use crate::http::{self, Cors, Origins, Proxies};
use crate::shard::{Assets, Compression, Endpoint, RecoveryTerms, Service, Settings};
use crate::worker::Wanted;

/// A server that is about to start: options, an application, and what it serves beside
/// Socket.IO.
///
/// ```no_run
/// use corewire::api::App;
/// use corewire::config::Options;
/// use corewire::server::Server;
///
/// let echo = |_io: &corewire::api::Io| {
///     App::new().namespace("/", |root| {
///         root.on("echo", |event| event.ack().send_raw(event.raw_args(), event.attachments()));
///     })
/// };
/// Server::new(Options::default(), echo).run().expect("the port is free");
/// ```
pub struct Server {
    pub(super) options: Options,
    pub(super) tables: Tables,
    pub(super) build: Arc<dyn Fn(&Io) -> App + Send + Sync>,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) gateway: bool,
    /// What the workers hand to back ends, until the bridges take it.
    pub(super) inlets: Option<bridge::Inlets>,
    pub(super) hooks: Arc<bridge::Hooks>,
    /// Keys that tokens may be signed with, or why there are none.
    pub(super) token_keys: Result<KeySet, StartError>,
    pub(super) ask_allow_request: bool,
    /// Which process offsets of events are of.
    recovery_epoch: u64,
    pub(super) pressure: Arc<Pressure>,
    address_conns: Option<Arc<SharedCounts>>,
    address_handshakes: Option<Arc<SharedBuckets>>,
    pub(super) assets: Option<(Assets, &'static str)>,
}

impl Server {
    /// A server with these options; `build` makes the application, once on every worker core.
    #[must_use]
    pub fn new(options: Options, build: impl Fn(&Io) -> App + Send + Sync + 'static) -> Self {
        let path = options.path.clone();
        let socketio =
            Endpoint { path, service: Service::SocketIo, message_bytes_max: None, deflate: false };
        let seed = getrandom::u64().unwrap_or_default();
        let per_s = options.address_handshakes_per_s;
        Self {
            pressure: Arc::default(),
            address_conns: fair::counts(options.address_conns_max, seed).map(Arc::new),
            address_handshakes: fair::shared(per_s, options.address_handshakes_burst, seed)
                .map(Arc::new),
            options,
            tables: Tables::default(),
            build: Arc::new(build),
            endpoints: vec![socketio],
            gateway: false,
            inlets: None,
            hooks: bridge::Hooks::new(&Tables::default()),
            token_keys: Ok(KeySet::default()),
            ask_allow_request: false,
            recovery_epoch: getrandom::u64().unwrap_or(seed),
            assets: crate::assets::bundle(),
        }
    }

    /// The gateway as the application: REST on the public listener too, keys, rules.
    #[must_use]
    pub fn gateway(options: Options, tables: Tables) -> Self {
        let mut settings = crate::gateway::GatewaySettings::from(&options, &tables);
        // Names of users and rooms come from clients: the maps need a seed nobody can guess.
        settings.hash_seed = getrandom::u64().unwrap_or(settings.hash_seed);
        let hooks_are_told = tables.hooks.iter().any(Hook::is_told);
        let wants_facts = [options.rabbitmq_facts, hooks_are_told];
        settings.facts = wants_facts.contains(&true);
        let hooks = bridge::Hooks::new(&tables);
        settings.fair = FairUse::new(&options, &tables, settings.hash_seed).map(Arc::new);
        let token_keys = tokens::token_keys(&tables);
        if let Ok(keys) = &token_keys {
            settings.tokens = tokens::gate(&options, keys).map(Arc::new);
        }
        let (switchboard, inlets) = bridge::switchboard(&tables, wants_facts);
        settings.backends = Some(Arc::new(switchboard));
        let settings = Arc::new(settings);
        let build = move |io: &Io| crate::gateway::app(io, Arc::clone(&settings));
        Self {
            tables,
            gateway: true,
            inlets: Some(inlets),
            token_keys,
            hooks,
            ..Self::new(options, build)
        }
    }

    /// API keys for the admin listener's REST.
    #[must_use]
    pub fn tables(mut self, tables: Tables) -> Self {
        self.tables = tables;
        self
    }

    /// Serves raw Engine.IO at a path; the application takes its messages.
    #[must_use]
    pub fn engine_endpoint(mut self, path: &str) -> Self {
        let path = path.to_owned();
        self.endpoints.push(Endpoint {
            path,
            service: Service::Engine,
            message_bytes_max: None,
            deflate: false,
        });
        self
    }

    /// Serves plain WebSocket at a path, with a limit of its own on messages. A client is pinged by
    /// frames as sessions are by packets, and ends if nothing comes of it (`ping_timeout`).
    #[must_use]
    pub fn plain_endpoint(mut self, path: &str, message_bytes_max: usize) -> Self {
        self.endpoints.push(Endpoint {
            path: path.to_owned(),
            service: Service::PlainWebSocket,
            message_bytes_max: Some(message_bytes_max),
            deflate: false,
        });
        self
    }

    /// Lets clients of a path agree on permessage-deflate, whatever the option `deflate` says.
    #[must_use]
    pub fn deflate_endpoint(mut self, path: &str) -> Self {
        for endpoint in self.endpoints.iter_mut().filter(|endpoint| endpoint.path == path) {
            endpoint.deflate = true;
        }
        self
    }

    /// Handshakes wait for the application's `allow_request` hook.
    #[must_use]
    pub fn ask_allow_request(mut self) -> Self {
        self.ask_allow_request = true;
        self
    }

    /// Starts, serves until a signal ends it, drains.
    ///
    /// # Errors
    /// It could not start, or a thread did not end; shown as one line.
    pub fn run(self) -> Result<(), StartError> {
        if self.start()?.wait_for_signal() { Ok(()) } else { Err(StartError::Hangs) }
    }

    /// Starts and returns; for tests and for embedders with a main loop of their own.
    ///
    /// # Errors
    /// It could not start; shown as one line.
    pub fn start(mut self) -> Result<Running, StartError> {
        crate::config::check(&self.options, &self.tables)?;
        let options = &self.options;
        let plan = cores::plan(options.workers, &options.worker_cores, options.pin)?;
        let inlets = self.inlets.take();
        if inlets.is_some() {
            bridge::check_rabbitmq_files(options, true).map_err(StartError::Unfit)?;
        }
        self.token_keys = Ok(std::mem::replace(&mut self.token_keys, Ok(KeySet::default()))?);
        run::start(&self, &plan, inlets)
    }

    pub(super) fn wanted(&self) -> Wanted {
        match self.options.driver {
            Driver::Auto => Wanted::Auto,
            Driver::Uring => Wanted::Uring,
            Driver::Epoll => Wanted::Epoll,
        }
    }

    /// What the shards are told of all this.
    pub(super) fn settings(&self) -> Settings {
        let options = &self.options;
        let cors = Cors {
            origins: Origins::from_list(options.cors_origin.clone()),
            credentials: options.cors_credentials,
            ..Cors::default()
        };
        let forwarded: &[&str] = if self.gateway {
            &["/socket/", "/api/", "/healthz", "/readyz"]
        } else {
            &["/healthz", "/readyz"]
        };
        let assets = self.assets.filter(|_| options.serve_client);
        Settings {
            limits: self.limits(),
            endpoints: self.endpoints.clone(),
            forwarded: forwarded.iter().map(|prefix| (*prefix).to_owned()).collect(),
            ping_interval_ms: options.ping_interval_ms,
            ping_timeout_ms: options.ping_timeout_ms,
            connect_timeout_ms: options.connect_timeout_ms,
            upgrade_timeout_ms: options.upgrade_timeout_ms,
            polling: options.transports.contains(&Transport::Polling),
            websocket: options.transports.contains(&Transport::Websocket),
            allow_upgrades: options.allow_upgrades,
            eio3: options.eio3,
            cors,
            strict_origin: options.strict_origin,
            compression: self.compression(),
            recovery: self
                .recovery_epoch()
                .map(|epoch| RecoveryTerms { epoch, window_ms: options.recovery_window_ms }),
            cookie: options.cookie.then(|| options.cookie_name.clone()),
            ask_allow_request: self.ask_allow_request,
            assets: assets.map(|(assets, _)| assets),
            assets_version: assets.map_or("", |(_, version)| version),
            address_conns: self.address_conns.clone(),
            pressure: Arc::clone(&self.pressure),
            proxies: Proxies::new(&options.trusted_proxies, header_of(options.forwarded_header)),
            address_handshakes: self.address_handshakes.clone(),
        }
    }

    /// What its offsets begin with, where sessions are recovered.
    pub(super) fn recovery_epoch(&self) -> Option<u64> {
        self.options.recovery.then_some(self.recovery_epoch)
    }

    fn compression(&self) -> Compression {
        let options = &self.options;
        Compression {
            websocket: options.deflate,
            polling: options.http_compression,
            threshold_bytes: options.deflate_threshold_bytes,
            polling_threshold_bytes: options.http_compression_threshold_bytes,
            ratio_max: options.deflate_ratio_max,
            memory_bytes_max: options.deflate_memory_bytes,
        }
    }

    /// The ceilings of each core.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let options = &self.options;
        Limits {
            conns_max: options.conns_max,
            sessions_max: options.conns_max,
            message_bytes_max: options.max_payload_bytes,
            packet_bytes_max: options.max_payload_bytes.saturating_mul(4),
            attachments_max: u32::try_from(options.attachments_max).unwrap_or(u32::MAX),
            half_open_max: options.tls_handshakes_max,
            // A crowd that comes back must not be taken for one that stands in the door.
            opening_max: options.conns_max.div_ceil(4).max(options.conns_max.min(1_024)),
            unjoined_max: options.conns_max.div_ceil(2).max(options.conns_max.min(1_024)),
            sockets_max: options.conns_max.saturating_mul(2),
            head_bytes_max: options.http_head_bytes_max,
            request_timeout_ms: options.request_timeout_ms,
            keep_alive_ms: options.keep_alive_timeout_ms,
            outbox_bytes_max: options.outbox_bytes_max,
            outbox_soft_bytes: options.outbox_soft_bytes,
            outbox_frames_max: options.outbox_frames_max,
            outbox_age_ms: options.outbox_age_ms,
            namespaces_per_conn_max: options.namespaces_per_conn_max,
            rooms_per_socket_max: options.rooms_per_socket_max,
            acks_pending_max: options.acks_pending_max,
            handler_tasks_max: u32::try_from(options.handler_tasks_max).unwrap_or(u32::MAX),
            inbox_batches_max: options.mesh_batches_max,
            recovery_bytes_max: if options.recovery { options.recovery_bytes_max } else { 0 },
            recovery_entries_max: options.recovery_entries_max,
            recovery_sessions_max: options.recovery_sessions_max,
            ..Limits::DEFAULT
        }
    }
}

const fn header_of(option: ForwardedHeader) -> http::ForwardedHeader {
    match option {
        ForwardedHeader::XForwardedFor => http::ForwardedHeader::XForwardedFor,
        ForwardedHeader::Forwarded => http::ForwardedHeader::Forwarded,
    }
}
