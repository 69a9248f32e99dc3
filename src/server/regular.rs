//! Files of text that an operator wrote.

use std::path::Path;

use super::StartError;
use crate::disk::{self, Unread};

/// Reads a file that an operator wrote: the configuration, or a key in PEM form.
///
/// # Errors
/// It is no such file; the line says what to do.
pub fn read_text(path: &str) -> Result<String, StartError> {
    let bytes = disk::read(Path::new(path)).map_err(|unread| match unread {
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
