//! Why two processes do not speak with each other.

use std::fmt;
use std::io;

/// Why two processes do not speak with each other, or not any more.
#[derive(Debug)]
pub(super) enum Parting {
    Io(io::Error),
    /// It belongs to another user.
    Stranger,
    /// It is of another version, or no server at all.
    Foreign,
    /// It takes nothing, or says nothing.
    Silent,
    /// A worker of this process is busy with a handler.
    Busy,
    /// Something could not be handed over: too much waits.
    Behind,
    /// This process ends, and has said everything.
    Done,
    /// It sent what nobody can read.
    Garbled,
    /// A message is larger than any may be.
    TooLarge,
}

impl Parting {
    /// Whether the other one has simply ended, with or without words of ours that it has not read.
    pub(super) fn is_end(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        matches!(self, Self::Io(error)
            if matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof))
    }
}

impl fmt::Display for Parting {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                "it has no recovery, or another first address"
            }
            Self::Io(error) => return write!(out, "{error}"),
            Self::Stranger => "it belongs to another user",
            Self::Foreign => "it is of another version",
            Self::Silent => "it does not answer",
            Self::Busy => "a worker here is held up",
            Self::Behind => "it does not keep up",
            Self::Done => "this process ends",
            Self::Garbled => "it sent what cannot be read",
            Self::TooLarge => "a message is too large",
        })
    }
}

impl From<io::Error> for Parting {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
