//! Every ceiling of a core, and the bill they add up to.
//!
//! Nothing in `shard/` grows past these. A limit of one client has a sibling for the whole core:
//! alone it would bound nothing, since 50,000 outboxes of 4 MiB are 200 GB.

/// The ceilings. One value a process, shared by all cores; most come from the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections of one core; the next one is closed at once.
    pub conns_max: usize,
    /// Engine.IO sessions of one core; a handshake beyond is answered 503. A polling session
    /// outlives its connections, so connections alone do not bound them.
    pub sessions_max: usize,
    /// Bytes of one message, in either direction of a polling body or in one WebSocket message.
    pub message_bytes_max: usize,
    /// Fragments of one WebSocket message, empty ones counted.
    pub fragments_max: u32,
    /// Bytes of one packet with all its attachments.
    pub packet_bytes_max: usize,
    /// Bytes of all messages that have arrived in part, on one core.
    pub partials_bytes_max: usize,
    /// Binary attachments of one packet.
    pub attachments_max: u32,
    /// Connections whose TLS handshake or PROXY header is not complete; beyond, the one that is late
    /// for longest ends, and while none is late nobody is accepted.
    pub half_open_max: usize,
    /// Connections that have not sent a whole request yet; beyond, the one that has been so for
    /// longest ends, and a newcomer has its chance.
    pub opening_max: usize,
    /// Sessions that have joined no namespace yet; likewise.
    pub unjoined_max: usize,
    /// Bytes of request heads and auth payloads that sessions and sockets of one core keep.
    pub kept_bytes_max: usize,
    /// Bytes of one HTTP request head.
    pub head_bytes_max: usize,
    /// Time a request's head and body may take to arrive.
    pub request_timeout_ms: u64,
    /// Time a connection without a request is kept.
    pub keep_alive_ms: u64,
    /// Bytes that may wait for one client; one message of any size may always wait alone.
    pub outbox_bytes_max: usize,
    /// Bytes waiting for one client above which volatile frames are dropped and reading pauses.
    pub outbox_soft_bytes: usize,
    /// Frames that may wait for one client.
    pub outbox_frames_max: usize,
    /// Time since the last byte went out to a client that has something waiting.
    pub outbox_age_ms: u64,
    /// Bytes waiting for all clients of one core, in outboxes, as answers and in what the kernel
    /// did not take; above it the largest end first.
    pub outboxes_bytes_max: usize,
    /// Namespaces of one connection.
    pub namespaces_per_conn_max: usize,
    /// Distinct namespaces of one core (dynamic ones count while they have a socket).
    pub namespaces_max: usize,
    /// Sockets of one core, over all namespaces.
    pub sockets_max: usize,
    /// Rooms of one socket, its own id not counted.
    pub rooms_per_socket_max: usize,
    /// Bytes of all rooms and memberships of one core, by [`ROOM_BYTES`] and
    /// [`MEMBERSHIP_BYTES`].
    pub rooms_bytes_max: usize,
    /// Bytes of the name of a room or namespace: an id of 256 with room for a prefix.
    pub name_bytes_max: usize,
    /// Acks the server waits for from one socket.
    pub acks_pending_max: usize,
    /// Acks the server waits for from all sockets of one core.
    pub acks_max: usize,
    /// Async handlers of one socket that run at once; its next event waits in the kernel.
    pub handler_tasks_max: u32,
    /// Async handlers of one core that run at once; events of all its sockets wait in the kernel.
    pub tasks_max: usize,
    /// Bytes of the events that those handlers have.
    pub tasks_bytes_max: usize,
    /// Gathers (questions to other cores) of one core under way.
    pub gathers_max: usize,
    /// Bytes of what all gathers of one core have collected; what comes beyond is left out.
    pub gathered_bytes_max: usize,
    /// Time other cores have to answer a gather.
    pub gather_timeout_ms: u64,
    /// Bytes waiting to go to one other core, above which this core stops reading its clients.
    /// As many may lie in that core's inbox.
    pub mesh_soft_bytes: usize,
    /// Bytes of REST requests of one core's connections that the admin core has.
    pub forwarded_bytes_max: usize,
    /// Bytes of events that one core keeps for clients that come back, and as many of sessions
    /// that broke off; the oldest go first.
    pub recovery_bytes_max: usize,
    /// Events that one core keeps.
    pub recovery_entries_max: usize,
    /// Sessions that broke off that one core keeps.
    pub recovery_sessions_max: usize,
    /// Batches an inbox holds.
    pub inbox_batches_max: usize,
}

impl Limits {
    /// The ceilings of a server nobody configured.
    pub const DEFAULT: Self = Self {
        conns_max: 50_000,
        sessions_max: 50_000,
        message_bytes_max: 1_000_000,
        fragments_max: 16_384,
        packet_bytes_max: 4_000_000,
        partials_bytes_max: 256 << 20,
        attachments_max: 10,
        half_open_max: 1_000,
        opening_max: 12_500,
        unjoined_max: 25_000,
        kept_bytes_max: 256 << 20,
        head_bytes_max: 16 << 10,
        request_timeout_ms: 10_000,
        keep_alive_ms: 65_000,
        outbox_bytes_max: 4 << 20,
        outbox_soft_bytes: 256 << 10,
        outbox_frames_max: 65_536,
        outbox_age_ms: 10_000,
        outboxes_bytes_max: 512 << 20,
        namespaces_per_conn_max: 32,
        namespaces_max: 10_000,
        sockets_max: 100_000,
        rooms_per_socket_max: 1_000,
        rooms_bytes_max: 256 << 20,
        name_bytes_max: 512,
        acks_pending_max: 1_000,
        acks_max: 500_000,
        handler_tasks_max: 100,
        tasks_max: 100_000,
        tasks_bytes_max: 256 << 20,
        gathers_max: 100_000,
        gathered_bytes_max: 64 << 20,
        gather_timeout_ms: 1_000,
        mesh_soft_bytes: 16 << 20,
        forwarded_bytes_max: 16 << 20,
        recovery_bytes_max: 64 << 20,
        recovery_entries_max: 16_384,
        recovery_sessions_max: 50_000,
        inbox_batches_max: 4_096,
    };

    /// The memory bill: bytes of one core at its very worst. Kernel buffers are left out, and
    /// what an application keeps of its own; the manual's page on limits has the table.
    #[must_use]
    pub const fn core_bytes_max(&self, cores: usize) -> usize {
        let slots = self.conns_max * CONN_BYTES
            + self.sessions_max * SESSION_BYTES
            + self.sockets_max * SOCKET_BYTES
            + self.namespaces_max * (NAMESPACE_BYTES + self.name_bytes_max);
        let arriving = self.partials_bytes_max + self.half_open_max * HALF_OPEN_BYTES;
        let kept = self.kept_bytes_max + self.rooms_bytes_max;
        let asked = self.acks_max * ACK_BYTES
            + self.gathers_max * GATHER_BYTES
            + self.gathered_bytes_max
            + self.tasks_max * TASK_BYTES
            + self.tasks_bytes_max;
        // What waits for a core, and what lies in its inbox.
        let away = cores.saturating_sub(1) * 2 * self.mesh_soft_bytes + self.forwarded_bytes_max;
        // A claim may find both full, and bring over what another core had kept.
        let recovery = 2 * self.recovery_bytes_max;
        slots + arriving + kept + asked + self.outboxes_bytes_max + away + recovery + CORE_BYTES
    }
}

/// Bytes that are read and dropped of a connection that is ending, so that a peer that still sends
/// gets to read why. A body that was refused for its size is mostly not many times too large.
pub const LINGER_BYTES_MAX: usize = 4 << 20;

/// Fixed bookkeeping of a connection, in the shard and in the worker, with its deadlines.
const CONN_BYTES: usize = 1_024;
/// Fixed bookkeeping of a session, with its deadlines and its entry by id.
const SESSION_BYTES: usize = 1_024;
/// Fixed bookkeeping of a socket, with its entry by id and what the gateway knows of its user.
const SOCKET_BYTES: usize = 2_048;
/// Fixed bookkeeping of a namespace.
const NAMESPACE_BYTES: usize = 512;
/// What a TLS handshake may hold that is not complete.
pub const HALF_OPEN_BYTES: usize = 32 << 10;
/// Fixed bookkeeping of a gather.
const GATHER_BYTES: usize = 512;
/// An ack that is owed, in a list that grows by doubling, and who waits for it.
const ACK_BYTES: usize = 256;
/// An async handler, its event left out.
const TASK_BYTES: usize = 1_024;
/// A room: its slot, its entry by name, its keeper's account of it. Its name counts twice.
pub const ROOM_BYTES: usize = 512;
/// A membership: a place in the room's list, one in the socket's, the keeper's account of it.
pub const MEMBERSHIP_BYTES: usize = 96;
/// What a core has once: its buffers, histograms, ring and stack.
const CORE_BYTES: usize = 8 << 20;

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

const _: () = {
    let limits = Limits::DEFAULT;
    // One client must not be able to spend the budget of all.
    assert!(limits.outbox_bytes_max * 16 <= limits.outboxes_bytes_max);
    assert!(limits.message_bytes_max * 16 <= limits.partials_bytes_max);
    // Those that only begin cannot take the place of those that are there.
    assert!(limits.opening_max * 2 <= limits.conns_max);
    assert!(limits.unjoined_max * 2 <= limits.sessions_max);
    // Volatile frames go before anybody is cut.
    assert!(limits.outbox_soft_bytes < limits.outbox_bytes_max);
};
