//! The one table of counters and gauges, and the counts of endings.

use serde::Serialize;

/// Whether a number only grows or follows a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; counted from the start of the core.
    Counter,
    /// A level, as it stood when the snapshot was taken.
    Gauge,
}

/// One line of [`Counters::TABLE`].
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The field of [`Counters`], `snake_case`.
    pub name: &'static str,
    /// The name in Prometheus text: `corewire_<name>_total` for a counter, `corewire_<name>`
    /// for a gauge.
    pub metric: &'static str,
    /// One sentence for whoever reads the metric.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// Reads the field.
    pub read: fn(&Counters) -> u64,
}

macro_rules! metric {
    (Counter, $name:ident) => {
        concat!("corewire_", stringify!($name), "_total")
    };
    (Gauge, $name:ident) => {
        concat!("corewire_", stringify!($name))
    };
}

macro_rules! table {
    ($($kind:ident $name:ident: $help:literal;)+) => {
        /// What one core counts. Plain numbers: the core that owns them is their only writer.
        ///
        /// In JSON the names are camelCase, as everything the gateway writes.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "camelCase")]
        pub struct Counters {
            $(#[doc = $help] pub $name: u64,)+
        }

        impl Counters {
            /// Every field with its kind and its help, in the order of the struct.
            pub const TABLE: &'static [Row] = &[$(Row {
                name: stringify!($name),
                metric: metric!($kind, $name),
                help: $help,
                kind: Kind::$kind,
                read: |counters| counters.$name,
            },)+];

            /// Adds another core's numbers. Gauges add up too: a level of the machine is the sum
            /// of the levels of its cores.
            pub fn merge(&mut self, other: &Self) {
                $(self.$name = self.$name.saturating_add(other.$name);)+
            }
        }
    };
}

table! {
    Counter connections_opened: "Connections accepted.";
    Counter connections_closed: "Connections that ended, whoever ended them.";
    Counter connections_refused: "Connections turned away at the door: full, draining or banned.";
    Counter entrance_pauses:
        "Times a listener accepted nobody for a while: tls_handshakes_max were there, none of them late.";
    Counter tls_handshakes: "TLS handshakes completed.";
    Counter tls_resumed: "TLS handshakes that went on from an earlier connection.";
    Counter tls_failures: "Connections ended for what they did with TLS, or without it.";
    Counter tls_panics: "Times rustls panicked over what a peer sent; each broke its connection alone.";
    Counter tls_reloads: "Times a new certificate was taken into use.";
    Counter tls_reload_failures: "Times a certificate's files were changed and could not be used.";
    Counter proxy_headers: "PROXY headers read.";
    Counter forwarded_garbled: "Addresses of clients that a trusted proxy sent and nobody can read.";
    Counter forwarded_ignored:
        "Handshakes with X-Forwarded-For or Forwarded of a peer that is no trusted proxy: ignored.";
    Counter http_requests: "HTTP requests read to their end.";
    Counter http_errors: "HTTP requests answered with a status of 400 or above.";
    Counter polls_duplicate: "Polling requests that met another one in flight for their session.";
    Counter sessions_opened: "Engine.IO sessions opened.";
    Counter sessions_closed: "Engine.IO sessions closed.";
    Counter upgrades_completed: "Sessions that moved from polling to WebSocket.";
    Counter upgrades_failed: "Upgrades that were begun and not completed.";
    Counter handovers_out: "Connections given to the core that owns their session.";
    Counter handovers_in: "Connections received because their session lives on this core.";
    Counter packets_in: "Engine.IO packets received.";
    Counter packets_out: "Engine.IO packets queued to be sent.";
    Counter bytes_in: "Bytes received from clients.";
    Counter bytes_out: "Bytes written to clients.";
    Counter writes: "Writes to the kernel; fewer than packets when frames leave together.";
    Counter events_in: "Socket.IO events received.";
    Counter events_unknown: "Events received that nobody handles.";
    Counter events_routed: "Events handed to a back end.";
    Counter events_limited: "Events refused because there were too many, or they were too large.";
    Counter abusers_expelled: "Sockets disconnected because they went on after many refusals.";
    Counter handshakes_limited: "Sessions refused because their address began too many.";
    Counter connects_limited: "Sockets refused because their user had or began too many.";
    Counter tokens_taken: "Tokens that let their bearer in.";
    Counter tokens_refused: "Tokens refused, of clients that wanted in and of those that were.";
    Counter tokens_refreshed: "Tokens that took the place of an older one on a connection.";
    Counter tokens_expired: "Sockets closed because their token had ended.";
    Counter tokens_revoked: "Sockets closed because their token was revoked.";
    Counter events_bad_args: "Events received whose arguments do not fit their handler.";
    Counter acks_in: "Acknowledgements received for a question that was pending.";
    Counter acks_unknown: "Acknowledgements received that nobody waited for.";
    Counter acks_timed_out: "Questions whose acknowledgement did not come in time.";
    Counter broadcasts: "Broadcasts begun on this core.";
    Counter deliveries: "Messages queued for one receiver each.";
    Counter volatile_dropped: "Volatile messages dropped because their receiver was not ready.";
    Counter attachments_undeliverable:
        "Messages not delivered because they have more attachments than the receiver takes.";
    Counter deflated: "Messages compressed, for WebSocket clients that agreed to it or for polls.";
    Counter deflated_bytes: "Bytes of those messages before they were compressed.";
    Counter deflated_bytes_out: "Bytes of those messages when they were compressed.";
    Counter deflate_skipped:
        "Messages sent uncompressed because the core's memory for compressed ones was used up.";
    Counter inflated: "Compressed messages received.";
    Counter slow_consumers: "Connections ended because they did not read fast enough.";
    Counter handler_panics: "Handlers that panicked; each ended its socket.";
    Counter parse_errors: "Messages that broke the protocol; each ended its connection.";
    Counter mesh_batches_out: "Batches sent to other cores.";
    Counter mesh_messages_out: "Messages sent to other cores.";
    Counter mesh_messages_in: "Messages received from other cores.";
    Counter recoveries: "Sessions that were taken up again by their clients.";
    Counter recovered_packets: "Events that such clients had missed and were sent.";
    Counter recovery_unknown: "Claims to sessions that nobody knows.";
    Counter recovery_late: "Claims to sessions that broke off too long ago.";
    Counter recovery_gaps: "Claims to sessions of which something missed is not in the log any more.";
    Counter recovery_strangers: "Claims to sessions of somebody else.";
    Counter sibling_messages_out: "Messages sent to the process that replaces this one, or that it replaces.";
    Counter sibling_messages_in: "Messages of that process, counted once on every core that takes them.";
    Counter mesh_useless: "Messages from other cores for a room without a member here.";
    Counter mesh_full: "Times another core's inbox was full when a batch was ready for it.";
    Counter overload_pauses: "Times reading from clients was stopped because a core was behind.";
    Counter rest_calls: "REST calls answered.";
    Counter rest_errors: "REST calls answered with a status of 400 or above.";
    Counter admin_connections_opened: "Connections that the admin listener accepted.";
    Counter admin_connections_closed: "Connections of the admin listener that ended.";
    Counter admin_refused:
        "Requests refused by the admin listener before they were calls: a bad or too large head, no Host.";
    Counter admin_unread: "Connections of the admin listener ended because their answer was not read.";
    Counter hook_calls: "Calls made to webhooks, every attempt.";
    Counter hook_failures: "Calls to webhooks without an answer, or with a status of failure.";
    Counter hook_retries: "Calls to webhooks that were made again.";
    Counter hook_skipped: "Calls to webhooks not made because their breaker was open.";
    Counter hook_turned_away: "Clients and events not taken to a webhook because too many waited.";
    Counter hook_dropped: "Facts lost because a webhook's queue was full.";
    Counter hook_dead_letters: "Batches given up by webhooks after all their attempts.";
    Counter hook_dead_dropped: "Dead letters lost because there were too many.";
    Counter amqp_published: "Messages that the broker has confirmed.";
    Counter amqp_unroutable: "Events for which the broker knows no queue.";
    Counter amqp_nacked: "Messages that the broker has refused.";
    Counter amqp_unconfirmed: "Events whose confirm did not come in time.";
    Counter amqp_republished: "Messages sent again because a connection was lost before a confirm.";
    Counter amqp_spooled: "Messages that had to wait for the broker.";
    Counter amqp_spool_refused: "Events refused because the spool was full or off.";
    Counter amqp_spool_dropped: "Messages dropped from the spool: no room, or not to be read.";
    Counter amqp_spool_unwritten:
        "Messages refused because the spool's folder did not take them: its disk is full.";
    Counter amqp_spool_expired: "Messages of the spool that nobody wanted any more.";
    Counter amqp_connects: "Connections to the broker that were made.";
    Counter amqp_commands: "Commands received from the broker.";
    Counter amqp_duplicates: "Commands that had been carried out before.";
    Counter amqp_expired: "Commands that came after their deadline.";
    Counter amqp_dead_lettered: "Commands given to the dead letters, with a reason.";
    Counter amqp_retried: "Commands put off because a core was behind.";
    Counter amqp_replies: "Answers of back ends received.";
    Counter amqp_python: "Messages of python-socketio managers received.";
    Counter amqp_python_full: "Times that as many of them were under way as may be: the next waited.";
    Counter amqp_python_refused: "Messages of such managers that were not carried out: not understood, or refused.";
    Counter amqp_dead_full: "Times that as many dead answers as may be waited for the broker.";
    Counter sheds: "Times a core looked for its largest queues, to let them go.";
    Counter memory_refusals: "Clients turned away because the process is short of memory.";
    Counter limits_hit: "Times a limit turned something away.";
    Counter log_suppressed: "Log lines left out by sampling.";
    Gauge connections: "Connections open now.";
    Gauge handshakes_open: "Connections whose TLS handshake or PROXY header is not complete.";
    Gauge tls_certificate_ends_seconds:
        "When the certificate ends, seconds since the epoch; 0 where nothing has TLS.";
    Gauge sessions: "Engine.IO sessions open now.";
    Gauge sockets: "Sockets connected to a namespace now.";
    Gauge rooms: "Rooms with a member on this core; a room on two cores counts on both.";
    Gauge room_memberships: "Memberships: sockets counted once for each room they are in.";
    Gauge outbox_bytes: "Bytes queued for clients and not written yet.";
    Gauge deflate_held_bytes: "Bytes of compressed messages kept for further receivers.";
    Gauge recovery_saved: "Sessions that broke off and wait for their clients.";
    Gauge recovery_log_bytes: "Bytes of events that are kept for clients that come back.";
    Gauge answer_bytes: "Bytes of answers, and of what the kernel did not take yet.";
    Gauge partial_bytes: "Bytes of messages, bodies and heads that have arrived in part or wait.";
    Gauge kept_bytes: "Bytes of request heads and auth payloads that are kept.";
    Gauge rooms_bytes: "Bytes that rooms and memberships are reckoned at.";
    Gauge opening: "Connections that have not sent a whole request yet.";
    Gauge unjoined: "Sessions that have joined no namespace yet.";
    Gauge acks_pending: "Questions to clients whose acknowledgement is awaited.";
    Gauge timers: "Deadlines in the timer queue.";
    Gauge amqp_spool_messages: "Messages that wait for the broker.";
    Gauge amqp_spool_bytes: "Bytes of the messages that wait for the broker.";
    Gauge amqp_spool_age_ms: "Age of the oldest message that waits for the broker.";
    Gauge amqp_in_flight: "Messages published and not confirmed yet.";
    Gauge amqp_commands_held: "Commands received and not acknowledged yet.";
    Gauge namespaces: "Namespaces open on this core.";
    Gauge hook_waiting: "Facts that wait for webhooks or are under way to them.";
    Gauge hook_dead: "Dead letters kept.";
    Gauge async_handlers_running: "Asynchronous handlers running now.";
}

/// More ways to end than any table has; what lies beyond is a mistake of ours.
pub const ENDINGS_MAX: usize = 256;

/// How often connections, sessions and sockets ended, by the row of the endings table.
///
/// The labels belong to that table and are given when the text is rendered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endings {
    counts: Vec<u64>,
}

impl Endings {
    /// Room for `kinds` endings at once, so that counting allocates nothing.
    #[must_use]
    pub fn new(kinds: usize) -> Self {
        Self { counts: vec![0; kinds.min(ENDINGS_MAX)] }
    }

    /// Counts one ending by its index in the endings table.
    ///
    /// Grows to an index beyond what was announced, up to [`ENDINGS_MAX`]; further ones are
    /// counted under the last index rather than lost.
    pub fn count(&mut self, index: usize) {
        debug_assert!(index < ENDINGS_MAX, "no endings table is this long");
        let index = index.min(ENDINGS_MAX - 1);
        if index >= self.counts.len() {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] = self.counts[index].saturating_add(1);
    }

    /// How often the ending at `index` happened.
    #[must_use]
    pub fn get(&self, index: usize) -> u64 {
        self.counts.get(index).copied().unwrap_or(0)
    }

    /// The counts by index; an ending beyond the end never happened.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Adds another core's counts.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine = mine.saturating_add(*theirs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_is_sound() {
        let mut names = BTreeSet::new();
        let mut metrics = BTreeSet::new();
        for row in Counters::TABLE {
            assert!(names.insert(row.name), "{} stands twice", row.name);
            assert!(metrics.insert(row.metric), "{} stands twice", row.metric);
            assert!(
                row.help.ends_with('.') && row.help.len() > 10,
                "{}: help is a sentence",
                row.name
            );
            let expected = match row.kind {
                Kind::Counter => format!("corewire_{}_total", row.name),
                Kind::Gauge => format!("corewire_{}", row.name),
            };
            assert_eq!(row.metric, expected);
        }
        let is_gauge = |row: &Row| row.kind == Kind::Gauge;
        assert!(Counters::TABLE.iter().any(is_gauge), "there are levels too");
        assert!(
            Counters::TABLE.iter().skip_while(|row| !is_gauge(row)).all(is_gauge),
            "levels come last"
        );
    }

    #[test]
    fn each_row_reads_its_own_field() {
        let json = serde_json::to_value(Counters::default()).expect("numbers serialize");
        let fields = json.as_object().expect("a struct is an object");
        assert_eq!(fields.len(), Counters::TABLE.len());
        assert_eq!(fields["connectionsOpened"], 0, "JSON names are camelCase");
        let counters = Counters {
            connections_opened: 3,
            log_suppressed: 5,
            async_handlers_running: 7,
            ..Counters::default()
        };
        let seen: Vec<(&str, u64)> = Counters::TABLE
            .iter()
            .map(|row| (row.name, (row.read)(&counters)))
            .filter(|(_, value)| *value != 0)
            .collect();
        assert_eq!(
            seen,
            [("connections_opened", 3), ("log_suppressed", 5), ("async_handlers_running", 7)]
        );
    }

    #[test]
    fn merging_adds_every_field_and_never_wraps() {
        let mut sum = Counters {
            events_in: 2,
            connections: 1,
            bytes_in: u64::MAX - 1,
            ..Counters::default()
        };
        let other = Counters {
            events_in: 40,
            connections: 4,
            bytes_in: 10,
            rooms: 9,
            ..Counters::default()
        };
        sum.merge(&other);
        assert_eq!((sum.events_in, sum.connections, sum.rooms), (42, 5, 9));
        assert_eq!(sum.bytes_in, u64::MAX);
    }

    #[test]
    fn endings_count_by_index_and_merge_by_index() {
        let mut few = Endings::new(2);
        few.count(1);
        let mut more = Endings::default();
        more.count(3);
        more.count(1);
        few.merge(&more);
        assert_eq!(few.counts(), [0, 2, 0, 1]);
        more.merge(&few);
        assert_eq!(more.counts(), [0, 3, 0, 2]);
        assert_eq!((few.get(1), few.get(99)), (2, 0));
        assert_eq!(Endings::new(usize::MAX).counts().len(), ENDINGS_MAX);
    }
}
