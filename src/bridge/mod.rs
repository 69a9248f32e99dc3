//! # bridge: the way to back ends
//!
//! One thread with tokio beside the workers and the admin core. Workers hand it what leaves them
//! ([`Switchboard`], which never blocks them); what becomes of it goes back to its core as an
//! errand. A back end that is slow, gone or wrong fills queues here, which have bounds, and
//! nothing else.
//!
//! Owns: the queues from the workers, connections to brokers, webhooks and identity providers.
//! Imports: `auth`, `command` (what back ends ask for), `gateway::backend` (what goes to them), `api`,
//! `config`, `telemetry`, `base`; tokio.
//!
//! Holds at all times:
//! - every queue has a bound, and what does not fit is refused to its sender at once, with a
//!   reason;
//! - every event taken is settled exactly once;
//! - after a drain has begun nothing new is taken from outside, and what was taken is finished.
//!
//! Read first: `switchboard.rs` (how things get here), then `thread.rs`.

mod binary;
mod body;
mod http;
mod identity;
mod rabbitmq;
mod switchboard;
mod thread;
mod webhook;

pub use rabbitmq::{
    STACK_BYTES as RABBITMQ_STACK_BYTES, check_rabbitmq_files, inputs as rabbitmq_inputs,
    rabbitmq_policies,
};
pub use switchboard::{Inlets, Switchboard, switchboard};
pub use thread::{BridgeStart, BridgeThread, CLOSING_MAX, Standing, start};
pub use webhook::{Hooks, reply as webhook_reply, verdict as webhook_verdict};

use std::sync::Arc;

use crate::config::LogLevel;

/// A way to the log.
pub type Logger = Arc<dyn Fn(LogLevel, &'static str, Vec<(&'static str, String)>) + Send + Sync>;
