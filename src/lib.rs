//! Corewire.

#[cfg(feature = "runtime")]
pub mod admin;
pub mod api;
pub mod assets;
pub mod base;
pub mod config;
pub mod engineio;
pub mod gateway;
pub mod http;
#[cfg(feature = "runtime")]
pub mod mesh;
#[cfg(feature = "runtime")]
pub mod server;
pub mod shard;
pub mod socketio;
pub mod telemetry;
#[cfg(feature = "runtime")]
pub mod worker;
pub mod ws;
