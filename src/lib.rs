//! A Socket.IO server for Linux: one pinned thread a core, on `io_uring` where the kernel permits
//! it, and no lock between the cores. Unmodified Socket.IO clients connect to it.
//!
//! This crate is a library for applications of your own, and the `corewire` binary, a gateway
//! that is an application on it: REST, rooms with rules, latency percentiles. The `README.md` of
//! the repository starts it; [`manual`] explains it.
//!
//! # An application
//!
//! Handlers are built once on every worker core. They need not be `Send`, and a handler may wait.
//!
//! ```no_run
//! use corewire::api::{App, Io, Refusal};
//! use corewire::config::Options;
//! use corewire::server::{Server, StartError};
//!
//! fn main() -> Result<(), StartError> {
//!     let app = |_io: &Io| {
//!         App::new().namespace("/", |chat| {
//!             // Middleware: who may come in.
//!             chat.gate(|socket| match socket.handshake().and_then(|h| h.header("x-team")) {
//!                 Some(team) if team == "red" => Ok(()),
//!                 _ => Err(Refusal::new("not your team")),
//!             });
//!             // Typed arguments, and an acknowledgement.
//!             chat.on_args("enter", |socket, (room,): (String,), ack| {
//!                 socket.join(&room);
//!                 ack.send(&("ok",));
//!             });
//!             // To all others in a room, on whichever core they are; encoded once.
//!             chat.on_args("say", |socket, (room, text): (String, String), _ack| {
//!                 socket.to(&room).emit("said", &(socket.id(), text));
//!             });
//!         })
//!     };
//!     Server::new(Options::default(), app).run()
//! }
//! ```
//!
//! # The house
//!
//! Imports point down. Pure modules know no socket, clock, thread or environment: time and bytes
//! are handed in. They compile without the feature `runtime`, which is on by default.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`base`] | ids, time, slabs, limits |
//! | [`http`], [`ws`], [`engineio`], [`socketio`] | the codecs |
//! | [`deflate`] | compressed bytes, in and out |
//! | [`telemetry`], [`config`] | numbers, options |
//! | [`shard`] | one core's brain: bytes in, bytes out |
//! | [`api`] | what an application is written against |
//! | [`auth`] | tokens, keys, what they permit |
//! | [`gateway`] | the product, an application on `api` |
//! | [`assets`] | the browser client, embedded |
//! | [`doctor`] | what an operator should change on a machine |
//! | `disk` | files that the configuration names |
//! | `sim` | many cores and their clients under one seed |
//! | `mesh` | channels between cores |
//! | `worker` | one thread a core: sockets and the clock |
//! | `command` | the verbs of back ends, one implementation |
//! | `bridge` | RabbitMQ, webhooks, identity providers |
//! | `admin` | REST, metrics, health |
//! | `server` | start, signals, drain |
//! | `survey` | reads the machine for the doctor |
//! | [`manual`] | pages about more than one module |

#[cfg(feature = "runtime")]
pub mod admin;
pub mod api;
pub mod assets;
pub mod auth;
pub mod base;
#[cfg(feature = "runtime")]
pub mod bridge;
#[cfg(feature = "runtime")]
pub mod command;
pub mod config;
pub mod deflate;
#[cfg(feature = "runtime")]
mod disk;
pub mod doctor;
pub mod engineio;
pub mod gateway;
pub mod http;
pub mod manual;
#[cfg(feature = "runtime")]
pub mod mesh;
#[cfg(all(test, feature = "runtime"))]
mod scratch;
#[cfg(test)]
mod seeds;
#[cfg(feature = "runtime")]
pub mod server;
pub mod shard;

pub mod sim;
pub mod socketio;
#[cfg(feature = "runtime")]
pub mod survey;
pub mod telemetry;
#[cfg(feature = "runtime")]
pub mod worker;
pub mod ws;

/// The examples of the README compile.
#[cfg(all(doctest, feature = "runtime"))]
#[doc = include_str!("../README.md")]
pub struct Readme;
