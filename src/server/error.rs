//! What keeps a server from starting, or from ending.

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Why the server did not start, or not end. Each is shown as one line that says what to do.
#[derive(Debug)]
pub enum StartError {
    /// The configuration is wrong; the line says where and what is allowed.
    Config(crate::config::ConfigError),
    /// A file could not be read.
    File {
        /// Which.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// A file or folder is not what it has to be; the line says which, and what to do.
    Unfit(String),
    /// The certificate or its key cannot be used; the line says which and why.
    Certificate(String),
    /// Somebody else has the port.
    AddressTaken {
        /// The option that named it.
        option: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be had for another reason.
    Address {
        /// The option that named it.
        option: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// Too few descriptors are allowed.
    TooFewFiles {
        /// How many are.
        allowed: u64,
        /// How many are needed at the least.
        needed: u64,
    },
    /// More workers than a core's number can name, or none.
    Workers(usize),
    /// It served and drained, and a thread did not end, which the log names.
    Hangs,
    /// A thread, a bell or a ring could not be had.
    Resource {
        /// What it was for.
        what: &'static str,
        /// Why not.
        error: io::Error,
    },
}

/// What was to be had and could not.
pub(super) fn resource(what: &'static str) -> impl Fn(io::Error) -> StartError {
    move |error| StartError::Resource { what, error }
}

impl fmt::Display for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => write!(out, "{error}"),
            Self::File { path, error } => {
                write!(out, "{path}: cannot be read ({error}); check the path and its permissions")
            }
            Self::Unfit(line) | Self::Certificate(line) => out.write_str(line),
            Self::AddressTaken { option, address } => write!(
                out,
                "{option} = {address}: the port is taken; stop what holds it, choose another one \
                 with --{}, or share it on purpose with --takeover",
                option.replace('_', "-"),
            ),
            Self::Address { option, address, error } => write!(
                out,
                "{option} = {address}: cannot be listened on ({error}); choose an address of this \
                 machine and a port this user may bind",
            ),
            Self::TooFewFiles { allowed, needed } => write!(
                out,
                "only {allowed} file descriptors are allowed and {needed} are needed; raise the \
                 limit (ulimit -n, or LimitNOFILE= of the service)",
            ),
            Self::Workers(count) => {
                write!(out, "workers = {count}: allowed is 1 to 256")
            }
            Self::Hangs => out.write_str(
                "a thread did not end; the log names it: see what its handlers wait for",
            ),
            Self::Resource { what, error } => write!(
                out,
                "{what} could not be had ({error}); with --driver epoll the server runs without \
                 io_uring, with fewer --workers it needs less",
            ),
        }
    }
}

impl std::error::Error for StartError {}

impl From<crate::config::ConfigError> for StartError {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::Config(error)
    }
}
