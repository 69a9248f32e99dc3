//! The table of options. A new option is one row here, and nothing anywhere else.

use super::shapes::{
    self, Kind, Secret, Shape, addresses, choice, choices, cpus, loopback_address, more_addresses,
    number, secret, text, texts, yes_no,
};
use super::words::{
    AuthMode, Driver, ForwardedHeader, IdpError, LogFormat, LogLevel, RabbitDeclare, SpoolFull,
    Transport, UnknownEvent,
};
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// What the loader, `--help`, the reference and the tests know of one option.
pub struct Entry {
    /// The field, and the key in the file; its unit stands at its end.
    pub name: &'static str,
    /// Heading under which it is shown.
    pub section: &'static str,
    /// Its meaning, in sentences.
    pub help: &'static str,
    /// Older environment names that keep working, with the same meaning.
    pub also: &'static [&'static str],
    /// What has a change taken into use.
    pub changes: Changes,
    kind: fn() -> Kind,
    allowed: fn() -> String,
    get: fn(&Options) -> Vec<String>,
    set: fn(&mut Options, &[String]) -> bool,
}

/// What has a change of an option taken into use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changes {
    /// The next start.
    Start,
    /// SIGHUP, or the next look: the file that it names is read again. Its value stays.
    Reload,
    /// The next connection to the broker reads the file that it names again. Its value stays.
    Connect,
}

impl Changes {
    /// As the reference has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Reload => "reload",
            Self::Connect => "connect",
        }
    }
}

impl Entry {
    /// The name without its unit, as flags and variables have it.
    fn stem(&self) -> &'static str {
        let stem = self.name.strip_suffix("_ms").or_else(|| self.name.strip_suffix("_bytes"));
        stem.unwrap_or(self.name)
    }

    /// The flag, without its dashes: `ping-interval`.
    #[must_use]
    pub fn flag(&self) -> String {
        self.stem().replace('_', "-")
    }

    /// The variable: `COREWIRE_PING_INTERVAL`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("COREWIRE_{}", self.stem().to_ascii_uppercase())
    }

    /// `ms`, `bytes`, or nothing.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        let has = |unit: &str| self.name.split('_').any(|word| word == unit);
        ["ms", "bytes"].into_iter().find(|unit| has(unit)).unwrap_or_default()
    }

    /// How it is written.
    #[must_use]
    pub fn kind(&self) -> Kind {
        (self.kind)()
    }

    /// Ends the sentence "allowed is …".
    #[must_use]
    pub fn allowed(&self) -> String {
        format!("{} {}", (self.allowed)(), self.unit()).trim_end().into()
    }

    /// Its value as items that could be written; a secret is `***`.
    #[must_use]
    pub fn get(&self, options: &Options) -> Vec<String> {
        (self.get)(options)
    }

    /// Checks and stores; `false` leaves `options` alone.
    #[must_use]
    pub fn set(&self, options: &mut Options, items: &[String]) -> bool {
        (self.set)(options, items)
    }
}

/// The option of that name.
#[must_use]
pub fn entry(name: &str) -> Option<&'static Entry> {
    OPTIONS.iter().find(|entry| entry.name == name)
}

macro_rules! options {
    ($( $section:literal { $(
        $(#[doc = $help:literal])+
        $name:ident: $ty:ty = $default:expr, $shape:expr $(, also [$($also:literal),+])? $(, changes $changes:ident)?;
    )+ } )+) => {
        /// Every option, at its value. The fields' documentation is the operator's reference.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Options { $( $( $(#[doc = $help])+ pub $name: $ty, )+ )+ }

        impl Default for Options {
            /// What a library's user and the examples get: Node's own defaults, where it has one.
            fn default() -> Self {
                Self { $( $( $name: $default, )+ )+ }
            }
        }

        /// The table, in the order of its declaration.
        pub const OPTIONS: &[Entry] = &[ $( $( Entry {
            name: stringify!($name),
            section: $section,
            help: concat!($($help),+).trim_ascii(),
            also: &[ $($($also),+)? ],
            changes: [$(Changes::$changes,)? Changes::Start][0],
            kind: || { let shape: Shape<$ty> = $shape; shape.kind },
            allowed: || { let shape: Shape<$ty> = $shape; shape.allowed },
            get: |options| { let shape: Shape<$ty> = $shape; (shape.write)(&options.$name) },
            set: |options, items| {
                let shape: Shape<$ty> = $shape;
                let Some(value) = (shape.read)(items) else { return false };
                options.$name = value;
                true
            },
        }, )+ )+ ];
    };
}

impl Options {
    /// What the `corewire` binary starts from: the defaults of the gateway it replaces.
    #[must_use]
    pub fn gateway() -> Self {
        Self {
            ping_timeout_ms: 60_000,
            cors_origin: vec!["http://localhost:3000".into()],
            ..Self::default()
        }
    }
}

const DAY_MS: u64 = 86_400_000;
const GIB: usize = 1 << 30;
const ORIGINS: &str = "* or origins such as https://example.org, without a path";
const PROVIDERS: &str = "an https address, or an http address of this machine";
const NETWORKS: &str = "addresses such as 127.0.0.1, or networks such as 10.0.0.0/8";
const CLAIMS: &str = "texts of 1 to 256 bytes without control characters";
const ROOMS: &str = "names of 1 to 256 bytes without control characters";

options! {
    "Listeners and cores" {
        /// Where clients connect. A bare port means every interface. The default falls back to
        /// 0.0.0.0 where there is no IPv6.
        listen: Vec<SocketAddr> = vec![(Ipv6Addr::UNSPECIFIED, 3001).into()], addresses();
        /// Where REST, metrics and the dashboard are served. A bare port means this machine only;
        /// any other than a loopback address demands an API key.
        admin_listen: SocketAddr = (Ipv4Addr::LOCALHOST, 3002).into(), loopback_address();
        /// Worker threads. 0 means one for each available CPU but one, at least one.
        workers: u16 = 0, number(0..=256);
        /// CPUs the workers run on, one worker each. Empty means chosen at the start.
        worker_cores: Vec<u16> = vec![], cpus();
        /// Whether each worker stays on its CPU.
        pin: bool = true, yes_no();
        /// How workers wait for the kernel. auto takes io_uring where it is permitted.
        driver: Driver = Driver::Auto, choice();
        /// Whether to share the addresses with a server that is already running, for a rolling
        /// restart.
        takeover: bool = false, yes_no();
        /// Time within which all sessions are closed after SIGTERM.
        drain_ms: u64 = 10_000, number(0..=3_600_000);
    }
    "TLS and proxies" {
        /// Where clients connect with TLS, as https and wss. Empty means nowhere.
        tls_listen: Vec<SocketAddr> = vec![], more_addresses();
        /// PEM file with the certificate and those between it and its authority, in that order.
        tls_cert_file: String = String::new(), text(shapes::any_path, "empty, or a file"),
            changes Reload;
        /// PEM file with its private key, which nobody else should be able to read.
        tls_key_file: String = String::new(), text(shapes::any_path, "empty, or a file"),
            changes Reload;
        /// How often both files are looked at; SIGHUP has them read at once.
        tls_watch_ms: u64 = 10_000, number(100..=DAY_MS);
        /// Most connections of one worker whose TLS handshake, or PROXY header, is not complete. The
        /// next one waits in the kernel until one of them is through, or is late and makes room.
        tls_handshakes_max: usize = 1_000, number(1..=1_000_000);
        /// Those addresses of listen and tls_listen at which every connection begins with a PROXY
        /// header, version 2, and comes from one of trusted_proxies.
        proxy_listen: Vec<SocketAddr> = vec![], more_addresses();
        /// Addresses and networks of proxies in front, such as 10.0.0.0/8, that are believed when
        /// they say who the client is.
        trusted_proxies: Vec<String> = vec![], texts(shapes::network, NETWORKS);
        /// Header in which they say it. What they pass on unseen in another header is not believed.
        forwarded_header: ForwardedHeader = ForwardedHeader::XForwardedFor, choice();
    }
    "Protocol" {
        /// Path of the Socket.IO endpoint. Slashes at its ends are added.
        path: String = "/socket.io/".into(),
            text(shapes::url_path, "a path such as /socket.io/ that REST does not use");
        /// Transports that clients may use.
        transports: Vec<Transport> = vec![Transport::Polling, Transport::Websocket], choices();
        /// Whether a polling session may go over to WebSocket.
        allow_upgrades: bool = true, yes_no();
        /// Time between two server pings. Lower finds dead clients sooner and costs a frame each.
        ping_interval_ms: u64 = 25_000, number(10..=DAY_MS), also ["SOCKET_PING_INTERVAL"];
        /// How long a pong may take before the session ends with "ping timeout". The corewire
        /// binary has 60000, library and examples have 20000.
        ping_timeout_ms: u64 = 20_000, number(10..=DAY_MS), also ["SOCKET_PING_TIMEOUT"];
        /// How long a session may be without having joined a namespace.
        connect_timeout_ms: u64 = 45_000, number(10..=DAY_MS);
        /// How long the change from polling to WebSocket may take.
        upgrade_timeout_ms: u64 = 10_000, number(10..=DAY_MS);
        /// Largest message or polling body that is taken from a client.
        max_payload_bytes: usize = 1_000_000, number(64..=GIB / 4);
        /// Most binary attachments of one packet.
        attachments_max: usize = 10, number(1..=1000);
        /// Whether clients of protocol revision 3 (Socket.IO 1 and 2) are served too.
        eio3: bool = false, yes_no();
        /// Whether a client that comes back soon gets its rooms and missed packets again.
        recovery: bool = false, yes_no();
        /// Time in which a client may come back and take its session up again.
        recovery_window_ms: u64 = 120_000, number(1_000..=DAY_MS);
        /// Bytes of events that one worker keeps for clients that come back, and as many of what
        /// is kept of the clients; the oldest go first.
        recovery_bytes_max: usize = 67_108_864, number(65_536..=GIB);
        /// Events that one worker keeps, and commands that take something, which clients that are
        /// away must hear of; a client that missed more begins anew.
        recovery_entries_max: usize = 16_384, number(1..=1_000_000);
        /// Clients of one worker that may be away at a time; those longest away go first.
        recovery_sessions_max: usize = 50_000, number(1..=10_000_000);
        /// Whether WebSocket clients that offer permessage-deflate may use it. Messages stand
        /// alone, so that a connection costs no memory for it.
        deflate: bool = false, yes_no();
        /// WebSocket messages of so many bytes or more are compressed.
        deflate_threshold_bytes: usize = 1_024, number(0..=GIB);
        /// How many times its compressed length a client's message may have, from 64 KiB on; more
        /// ends the connection. 1032 is all that deflate can do.
        deflate_ratio_max: usize = 100, number(2..=1_032);
        /// Compressed messages that one worker keeps for further receivers. Beyond, they leave as
        /// they are.
        deflate_memory_bytes: usize = 16_777_216, number(0..=GIB);
        /// Whether answers to polls are compressed for clients that ask for it.
        http_compression: bool = true, yes_no();
        /// Answers to polls of so many bytes or more are compressed.
        http_compression_threshold_bytes: usize = 1_024, number(0..=GIB);
        /// Whether the browser client's files are served below the path.
        serve_client: bool = true, yes_no();
    }
    "Origins and cookies" {
        /// Origins whose pages may connect; * is any, empty switches CORS off. The corewire
        /// binary has `http://localhost:3000`, library and examples have none.
        cors_origin: Vec<String> = vec![], texts(shapes::origin, ORIGINS),
            also ["SOCKET_CORS_ORIGIN"];
        /// Whether pages of those origins may send cookies.
        cors_credentials: bool = false, yes_no();
        /// Whether a WebSocket handshake from another origin is refused, which CORS alone never
        /// does.
        strict_origin: bool = false, yes_no();
        /// Whether the handshake sets a cookie with the session id, for load balancers that need
        /// one.
        cookie: bool = false, yes_no();
        /// Name of that cookie.
        cookie_name: String = "io".into(),
            text(shapes::cookie_name, "1 to 64 letters, digits and !#$%&'*+-.^_`|~");
    }
    "Gateway" {
        /// Namespaces the gateway serves besides /.
        namespaces: Vec<String> = vec![],
            texts(shapes::namespace, "names that start with / and hold no comma");
        /// Whether every client may join and publish to every room, but for user:*, session:* and
        /// socket ids.
        rooms_open: bool = false, yes_no();
        /// How long a room made by REST stays while it is empty.
        room_idle_ttl_ms: u64 = 3_600_000, number(1_000..=30 * DAY_MS);
        /// Whether a user's first and last socket are announced to the presence rooms.
        presence_events: bool = false, yes_no();
        /// Rooms to which presence is announced.
        presence_rooms: Vec<String> = vec![], texts(shapes::room, ROOMS);
        /// What becomes of a client event that the gateway does not know.
        unknown_event: UnknownEvent = UnknownEvent::Drop, choice();
    }
    "Tokens" {
        /// What says whose a connection is. trusted believes what the client says of itself and is
        /// for development; jwt wants a signed token, introspection one that an identity provider
        /// is asked about, webhook leaves it to a row of `[[hooks]]`.
        auth_mode: AuthMode = AuthMode::Trusted, choice();
        /// A key for tokens signed with HS256. More keys, and public ones, stand in the file, under
        /// `[[jwt_keys]]`.
        jwt_secret: Option<Secret> = None, secret();
        /// Audiences of which a token must name one. Empty checks none.
        jwt_audience: Vec<String> = vec![], texts(shapes::room, CLAIMS);
        /// Issuers of which a token must name one. Empty checks none.
        jwt_issuer: Vec<String> = vec![], texts(shapes::room, CLAIMS);
        /// How far the clocks of issuer and server may be apart.
        jwt_leeway_ms: u64 = 30_000, number(0..=600_000);
        /// Where the issuer publishes its public keys.
        jwks_url: String = String::new(), text(shapes::provider, PROVIDERS);
        /// An OpenID Connect issuer, which says where its keys are; its name is demanded of tokens.
        oidc_issuer: String = String::new(), text(shapes::provider, PROVIDERS);
        /// How often published keys are fetched again.
        jwks_refresh_ms: u64 = 300_000, number(1_000..=DAY_MS);
        /// Where an identity provider is asked about tokens.
        introspection_url: String = String::new(), text(shapes::provider, PROVIDERS);
        /// Who asks there.
        introspection_client_id: String = String::new(),
            text(shapes::claim_or_none, "up to 256 bytes without control characters");
        /// What proves it.
        introspection_client_secret: Option<Secret> = None, secret();
        /// How long a token is taken for good without asking about it again. A token that was
        /// revoked at the provider gets in for as long.
        introspection_fresh_ms: u64 = 60_000, number(0..=3_600_000);
        /// How long an identity provider may take to answer.
        idp_timeout_ms: u64 = 1_000, number(10..=60_000);
        /// What becomes of tokens while the identity provider cannot be reached.
        on_idp_error: IdpError = IdpError::Reject, choice();
        /// Whether a token may stand in the query, as `access_token`. Addresses end up in the logs
        /// of proxies.
        token_in_query: bool = false, yes_no();
    }
    "Fair use" {
        /// Events a second that one socket may send in the long run. 0 is as many as it likes.
        socket_events_per_s: u32 = 0, number(0..=1_000_000);
        /// Events that one socket may send at once. 0 is those of two seconds.
        socket_events_burst: u32 = 0, number(0..=10_000_000);
        /// Events a second of all sockets of one user, on all cores. 0 is as many as they like.
        user_events_per_s: u32 = 0, number(0..=1_000_000);
        /// Events that one user's sockets may send at once. 0 is those of two seconds.
        user_events_burst: u32 = 0, number(0..=10_000_000);
        /// Events a second from one address (IPv6: its /64 network). 0 is as many as may be. Behind
        /// a proxy every client has the proxy's address, unless trusted_proxies names it.
        address_events_per_s: u32 = 0, number(0..=1_000_000);
        /// Events at once from one address. 0 is those of two seconds.
        address_events_burst: u32 = 0, number(0..=10_000_000);
        /// Sockets a second that one user may connect. 0 is as many as may be.
        user_connects_per_s: u32 = 0, number(0..=1_000_000);
        /// Sockets that one user may connect at once. 0 is those of two seconds.
        user_connects_burst: u32 = 0, number(0..=10_000_000);
        /// Sockets that one user may have. 0 is as many as may be.
        user_sockets_max: u32 = 0, number(0..=1_000_000);
        /// Sessions a second that one address may begin. 0 is as many as may be.
        address_handshakes_per_s: u32 = 0, number(0..=1_000_000);
        /// Sessions that one address may begin at once. 0 is those of two seconds.
        address_handshakes_burst: u32 = 0, number(0..=10_000_000);
        /// Connections that one address may have. 0 is as many as may be.
        address_conns_max: u32 = 0, number(0..=10_000_000);
        /// Refusals a minute, for too many events or too large ones, after which a socket is
        /// disconnected for good. 0 never does.
        abuse_refusals_per_min: u32 = 60, number(0..=1_000_000);
    }
    "REST and dashboard" {
        /// One API key with every scope. Prefer the variable: arguments can be seen by every user
        /// of the machine. Several keys stand in the file, under `[[api_keys]]`.
        api_key: Option<Secret> = None, secret();
        /// Origins whose pages may call REST. Empty sends no CORS headers.
        admin_cors_origin: Vec<String> = vec![], texts(shapes::origin, ORIGINS);
    }
    "RabbitMQ" {
        /// The broker, such as amqps://user:password@host:5671/vhost; empty path and %2f are two
        /// different vhosts. Without it there is no broker. Prefer the variable: arguments can be
        /// seen by every user of the machine.
        rabbitmq_url: Option<Secret> = None, shapes::amqp_url();
        /// Certificates (PEM) that amqps:// trusts besides those of the machine. Empty means none.
        rabbitmq_ca_file: String = String::new(), text(shapes::any_path, "empty, or a file"),
            changes Connect;
        /// What is done about exchanges and queues: made, looked for, or left alone.
        rabbitmq_declare: RabbitDeclare = RabbitDeclare::Active, choice();
        /// Whether the server is ready only while the broker is reached.
        rabbitmq_required: bool = false, yes_no();
        /// How names at the broker begin: `sio.commands`, `sio.events`.
        rabbitmq_prefix: String = "sio".into(),
            text(shapes::broker_name, "1 to 64 letters, digits, dots, - and _");
        /// Name of this process at the broker; every process needs its own. Empty means the
        /// machine's name and a random word.
        rabbitmq_node: String = String::new(),
            text(shapes::broker_name_or_none, "empty, or 1 to 64 letters, digits, dots, - and _");
        /// Whether commands are taken from the command queue.
        rabbitmq_commands: bool = true, yes_no();
        /// Whether a command must have a message_id, by which a repeated one is known.
        rabbitmq_require_message_id: bool = true, yes_no();
        /// Whether clients that come and go, join and leave are published.
        rabbitmq_facts: bool = false, yes_no();
        /// Fanout exchange of python-socketio managers that are understood too, usually
        /// socketio. Empty means none.
        rabbitmq_python_channel: String = String::new(),
            text(shapes::broker_name_or_none, "empty, or 1 to 64 letters, digits, dots, - and _");
        /// Commands fetched ahead.
        rabbitmq_prefetch: u16 = 256, number(1..=2_000);
        /// Commands fetched ahead while a core is behind.
        rabbitmq_prefetch_low: u16 = 32, number(1..=2_000);
        /// How long the broker may take to confirm before the client hears that its event is
        /// queued or unconfirmed.
        rabbitmq_confirm_timeout_ms: u64 = 5_000, number(100..=600_000);
        /// Most events that wait in memory for a broker that is away. 0 switches the spool off.
        rabbitmq_spool_messages_max: usize = 10_000, number(0..=10_000_000);
        /// Most bytes of them.
        rabbitmq_spool_bytes_max: usize = 16_777_216, number(65_536..=GIB);
        /// Folder where they wait instead, and outlive the process. Empty means memory.
        rabbitmq_spool_file: String = String::new(), text(shapes::any_path, "empty, or a folder");
        /// Most bytes of that folder.
        rabbitmq_spool_file_bytes_max: usize = 268_435_456, number(1_048_576..=64 * GIB);
        /// What becomes of an event when the spool is full.
        rabbitmq_spool_full: SpoolFull = SpoolFull::Reject, choice();
    }
    "Limits" {
        /// Most connections of one worker.
        conns_max: usize = 50_000, number(1..=10_000_000);
        /// Most rooms of one namespace that REST or joins may create.
        rooms_max: usize = 100_000, number(1..=100_000_000);
        /// Most rooms of one socket.
        rooms_per_socket_max: usize = 1_000, number(1..=1_000_000);
        /// Most namespaces of one connection.
        namespaces_per_conn_max: usize = 32, number(1..=1_000);
        /// Most acknowledgements that one socket may owe.
        acks_pending_max: usize = 1_000, number(1..=1_000_000);
        /// Most async handlers of one socket that run at once.
        handler_tasks_max: usize = 100, number(1..=100_000);
        /// Largest request line with headers.
        http_head_bytes_max: usize = 16_384, number(1_024..=1_048_576);
        /// How long a request's head or body may take to arrive.
        request_timeout_ms: u64 = 10_000, number(10..=DAY_MS);
        /// How long an HTTP connection may stay without a request.
        keep_alive_timeout_ms: u64 = 65_000, number(10..=DAY_MS);
        /// Bytes that may wait for one slow client before it ends.
        outbox_bytes_max: usize = 4_194_304, number(4_096..=GIB);
        /// Bytes from which volatile messages to a slow client are dropped.
        outbox_soft_bytes: usize = 262_144, number(1_024..=GIB);
        /// Frames that may wait for one slow client before it ends.
        outbox_frames_max: usize = 65_536, number(16..=16_777_216);
        /// How long a client may take nothing while something waits for it.
        outbox_age_ms: u64 = 10_000, number(100..=DAY_MS);
        /// Memory of the process, kernel buffers left out, from which new clients are refused. 0 is
        /// 80 % of what the machine or the control group has.
        memory_soft_bytes: u64 = 0, number(0..=1_048_576 * GIB as u64);
        /// Memory from which no connections are taken and the largest queues are let go. 0 is 90 %
        /// of what there is.
        memory_hard_bytes: u64 = 0, number(0..=1_048_576 * GIB as u64);
        /// Most batches that may wait for one core before others are slowed down.
        mesh_batches_max: usize = 4_096, number(16..=1_048_576);
    }
    "Logging" {
        /// Least important lines that are still written.
        log_level: LogLevel = LogLevel::Info, choice();
        /// Form of the lines.
        log_format: LogFormat = LogFormat::Text, choice();
        /// Most lines of one kind a second; what is left out is counted.
        log_sample_per_s: u32 = 100, number(1..=1_000_000);
    }
}
