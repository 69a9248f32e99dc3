//! Files that the configuration names: read whole, but only what is a file and small.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};

use super::StartError;

/// Largest file that is read.
const BYTES_MAX: u64 = 1 << 20;

/// Why a file was not read.
#[derive(Debug)]
pub(super) enum Unread {
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
pub(super) fn read(path: &str) -> Result<Vec<u8>, Unread> {
    if !fs::metadata(path)?.is_file() {
        return Err(Unread::NotRegular);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX { Err(Unread::TooLarge) } else { Ok(bytes) }
}

/// Reads a file that an operator wrote: the configuration, or a key in PEM form.
///
/// # Errors
/// It is no such file; the line says what to do.
pub fn read_text(path: &str) -> Result<String, StartError> {
    let bytes = read(path).map_err(|unread| match unread {
        Unread::Io(error) => StartError::File { path: path.to_owned(), error },
        other => StartError::Unfit(format!(
            "{path}: cannot be read ({other}); name a regular file of at most 1 MiB"
        )),
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        StartError::Unfit(format!("{path}: line {line} is not UTF-8; save the file as UTF-8"))
    })
}
