//! Corewire.

pub mod api;
pub mod base;
pub mod config;
pub mod engineio;
pub mod http;
pub mod shard;
pub mod socketio;
pub mod telemetry;
pub mod ws;
