//! The shapes of commands of back ends.

use super::{Member, Want, may, needs};

/// Names in one list of a target.
pub(super) const TARGETS_MAX: usize = 1_000;
/// Rooms that one command joins or leaves.
const ROOMS_MAX: usize = 100;
/// Users that one command asks after.
const USERS_MAX: usize = 1_000;
/// Commands of one batch.
const COMMANDS_MAX: usize = 1_000;
/// The longest time that clients may have to answer.
pub(in super::super) const ASK_TIMEOUT_MAX_MS: u64 = 60_000;
/// Answers of clients that one command may keep.
const COLLECT_MAX: u64 = 1_000;
/// Entries of the longest page.
const PAGE_MAX: u64 = 10_000;

const NAMES: Want = Want::Each(&Want::Name, TARGETS_MAX);

const EXCEPT: &[Member] =
    &[may("rooms", NAMES), may("users", NAMES), may("sessions", NAMES), may("sockets", NAMES)];

/// The one target object.
const TO: &[Member] = &[
    may("rooms", NAMES),
    may("users", NAMES),
    may("sessions", NAMES),
    may("sockets", NAMES),
    may("all", Want::Flag),
    may("except", Want::Shape(EXCEPT)),
    may("namespace", Want::Name),
];

pub(super) const EMIT: &[Member] = &[
    needs("to", Want::Shape(TO)),
    needs("event", Want::Event),
    may("args", Want::List),
    may("volatile", Want::Flag),
];

pub(super) const ASK: &[Member] = &[
    needs("to", Want::Shape(TO)),
    needs("event", Want::Event),
    may("args", Want::List),
    may("timeoutMs", Want::Count(1, ASK_TIMEOUT_MAX_MS)),
    may("quorum", Want::Quorum(1_000_000)),
    may("collect", Want::Count(0, COLLECT_MAX)),
];

pub(super) const BATCH: &[Member] = &[
    needs("commands", Want::Each(&Want::Object, COMMANDS_MAX)),
    may("mode", Want::Word(&["sequential", "parallel"])),
    may("stopOnError", Want::Flag),
];

pub(super) const ROOMS: &[Member] =
    &[needs("to", Want::Shape(TO)), needs("rooms", Want::Each(&Want::Room, ROOMS_MAX))];

/// Tokens stay revoked for thirty days at the most.
const REVOKED_MAX_MS: u64 = 30 * 86_400_000;
/// The last second of the year 9999.
const SECONDS_MAX: u64 = 253_402_300_799;

pub(super) const REVOKE: &[Member] = &[
    may("tokenId", Want::Name),
    may("userId", Want::Name),
    may("issuedBefore", Want::Count(0, SECONDS_MAX)),
    may("ttlMs", Want::Count(1, REVOKED_MAX_MS)),
    may("disconnect", Want::Flag),
];

pub(super) const DISCONNECT: &[Member] = &[
    needs("to", Want::Shape(TO)),
    needs("mode", Want::Word(&["reconnect", "terminal"])),
    may("reason", Want::Text(1_024)),
];

pub(super) const USERS_QUERY: &[Member] =
    &[needs("userIds", Want::Each(&Want::Name, USERS_MAX)), may("namespace", Want::Name)];

pub(super) const ROOM_LIST: &[Member] = &[
    may("limit", Want::Count(1, PAGE_MAX)),
    may("cursor", Want::Name),
    may("prefix", Want::Name),
    may("namespace", Want::Name),
    may("auto", Want::Flag),
];

pub(super) const SOCKET_LIST: &[Member] = &[
    may("limit", Want::Count(1, PAGE_MAX)),
    may("cursor", Want::Name),
    may("prefix", Want::Name),
    may("namespace", Want::Name),
    may("userId", Want::Name),
];

/// Which dead letters of webhooks are sent again.
pub(super) const REPLAY_DEAD_LETTERS: &[Member] = &[may("hook", Want::Name), may("id", Want::Name)];
