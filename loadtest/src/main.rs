//! The load test of Socket.IO servers.

mod model;

fn main() {}
