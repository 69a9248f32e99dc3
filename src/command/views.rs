//! The `data` of answers to commands.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::gateway::ReplyView;
use crate::gateway::verbs::{Heard, Reached};

/// Whom an event reached.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EmittedView {
    /// This command's.
    pub id: String,
    /// Sockets that the target meant.
    pub matched: u64,
    /// Those whose queue took it; a volatile event is not queued for a client that is behind.
    pub queued: u64,
    /// Set if a core did not say in time how many it has.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

impl EmittedView {
    pub(super) const fn new(id: String, reached: Reached) -> Self {
        let Reached { matched, queued, partial } = reached;
        Self { id, matched, queued, partial }
    }
}

/// What clients answered.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AskedView {
    /// This command's.
    pub id: String,
    /// Sockets that were asked.
    pub matched: u64,
    /// Those known to have been sent the question: they answered, or it had left their queue when
    /// their time was over. Whoever need not be waited for any more is not counted.
    pub written: u64,
    /// Those that answered.
    pub acked: u64,
    /// Those that did not in time.
    pub timed_out: u64,
    /// Those that went first.
    pub gone: u64,
    /// What they answered, as many as were to be collected, in the order they came.
    pub replies: Vec<ReplyView>,
}

impl AskedView {
    pub(super) fn new(id: String, heard: Heard) -> Self {
        let Heard { matched, written, acked, timed_out, gone, replies, .. } = heard;
        Self { id, matched, written, acked, timed_out, gone, replies }
    }
}

/// Sockets that were put into rooms or taken out of them.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ChangedView {
    /// This command's.
    pub id: String,
    /// Sockets that the target meant.
    pub matched: u64,
    /// Each room.
    pub rooms: Vec<ChangedRoomView>,
}

/// A room that sockets were put into or taken out of.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangedRoomView {
    /// The room.
    pub room_id: String,
    /// Sockets of the target that are in it now, or that left it.
    pub sockets: u64,
    /// Why not: `LIMIT_REACHED`, for instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Clients that were sent away.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DisconnectedView {
    /// This command's.
    pub id: String,
    /// Sockets that the target meant.
    pub matched: u64,
    /// Set if a core did not say in time how many it had.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// What became of the commands of a batch.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BatchView {
    /// This command's.
    pub id: String,
    /// Commands that were done.
    pub succeeded: usize,
    /// Those that were not.
    pub failed: usize,
    /// One a command, in their order.
    pub results: Vec<BatchResultView>,
}

/// What became of one command of a batch.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BatchResultView {
    /// The status it would have had alone; 424 if it was not begun because an earlier one failed.
    pub status: u16,
    /// The body it would have had alone.
    #[schema(value_type = Object)]
    pub body: Box<RawValue>,
}
