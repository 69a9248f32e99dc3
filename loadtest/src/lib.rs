//! Load tests for Socket.IO servers.
//!
//! Read first: `scenario/mod.rs` says what can be asked for, `engine/mod.rs` how it is run,
//! `model.rs` what comes out, `report/mod.rs` how it is told.

pub mod budget;
pub mod check;
pub mod cli;
pub mod clock;
pub mod cores;
pub mod engine;
pub mod floor;
pub mod load;
pub mod model;
pub mod peers;
pub mod report;
pub mod scenario;
pub mod server;
pub mod wire;
