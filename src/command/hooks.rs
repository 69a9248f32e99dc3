//! What may be asked of webhooks: how they are, and what became of calls that were given up.

use std::fmt::Debug;

use serde::Serialize;
use utoipa::ToSchema;

use crate::telemetry::Counters;

/// The schemas of what hooks are sent and answer: `webhooks`, `parameters` and `schemas` of an
/// OpenAPI 3.1 document.
pub const WEBHOOKS: &str = include_str!("webhooks.json");

/// The messages to and from the broker, for the OpenAPI document: `x-rabbitmq` says which go where.
pub const RABBITMQ: &str = include_str!("rabbitmq.json");

/// How a webhook is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookHealth {
    /// Its name in the configuration.
    pub name: String,
    /// `closed`: calls are made. `open`: it failed too often and is left alone. `half_open`: one
    /// call is tried.
    pub breaker: &'static str,
    /// Facts that wait for it or are under way.
    pub waiting: u64,
    /// Why a call failed last; null if none has.
    pub last_error: Option<String>,
}

/// A call that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterView {
    /// Its `webhook-id`.
    pub id: String,
    /// The name of its hook.
    pub hook: String,
    /// How many events it tells.
    pub events: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub error: String,
    /// When it was given up, RFC 3339.
    pub died_at: String,
}

/// What became of dead letters that were to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplayView {
    /// So many wait to be sent again.
    pub replayed: u64,
    /// So many stay dead letters because their hook's queue has no room.
    pub kept: u64,
}

/// The webhooks, as doors see them. Called on any thread; never blocks for long.
pub trait HookDesk: Debug + Send + Sync {
    /// Every hook, in the order of the configuration.
    fn health(&self) -> Vec<HookHealth>;

    /// Dead letters behind a number, oldest first, and where the next page begins. `hook` picks
    /// those of one.
    fn dead_letters(
        &self,
        hook: Option<&str>,
        after: u64,
        limit: usize,
    ) -> (Vec<DeadLetterView>, Option<u64>);

    /// Sends dead letters again: one by its id, those of one hook, or all.
    fn replay(&self, hook: Option<&str>, id: Option<&str>) -> ReplayView;

    /// Fills in what hooks count.
    fn count(&self, counters: &mut Counters);
}
