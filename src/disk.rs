//! Files that the configuration names: read whole, but only what is a file and small.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// Largest file that is read.
const BYTES_MAX: u64 = 1 << 20;

/// Why a file was not read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// It is not there, or this user may not read it.
    Io(io::Error),
    /// A folder, a pipe or a device: reading might never end.
    NotRegular,
    TooLarge,
}

impl fmt::Display for Unread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(out, "{error}"),
            Self::NotRegular => out.write_str("it is no regular file"),
            Self::TooLarge => out.write_str("it is larger than 1 MiB"),
        }
    }
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a file. What stands at the path is looked at first: to open a pipe would wait for its
/// other end.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Unread> {
    if !fs::metadata(path)?.is_file() {
        return Err(Unread::NotRegular);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX { Err(Unread::TooLarge) } else { Ok(bytes) }
}
