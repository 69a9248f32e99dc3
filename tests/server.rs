//! The whole server: real workers on loopback, plain sockets for clients.
//!
//! Most cases start a server in this process on a port of the kernel's choice; what ends a process
//! or counts its descriptors runs the built program. No case waits for time to pass where it can
//! wait for an event, and no read waits for ever.
#![expect(clippy::disallowed_methods, reason = "tests measure time and drive real sockets")]

#[path = "server/deflate.rs"]
mod deflate;
#[path = "server/doctor.rs"]
mod doctor;
#[path = "server/fixture.rs"]
mod fixture;
#[path = "server/golden.rs"]
mod golden;
#[path = "server/holes.rs"]
mod holes;
#[path = "server/input.rs"]
mod input;
#[path = "server/library.rs"]
mod library;
#[path = "server/load.rs"]
mod load;
#[path = "server/memory.rs"]
mod memory;
#[path = "server/once.rs"]
mod once;
#[path = "server/pki.rs"]
mod pki;
#[path = "server/polling.rs"]
mod polling;
#[path = "server/process.rs"]
mod process;
#[path = "server/program.rs"]
mod program;
#[path = "server/proxies.rs"]
mod proxies;
#[path = "server/rounds.rs"]
mod rounds;
#[path = "../src/scratch.rs"]
mod scratch;
#[path = "server/stuck.rs"]
mod stuck;
#[path = "server/tls.rs"]
mod tls;
#[path = "server/transports.rs"]
mod transports;
#[path = "server/wire.rs"]
mod wire;
