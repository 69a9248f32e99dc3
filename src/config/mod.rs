//! # config: every option, declared once
//!
//! What the operator may set, and how it is read: built-in defaults, then a TOML file, then the
//! environment, then flags. One row of one table gives an option its field, file key, flag,
//! variable, help, reference line and check.
//!
//! Owns: nothing at run time; [`load()`] gives back a value.
//! Imports: nothing of ours. The environment, the file's text and the arguments are handed in.
//!
//! Holds at all times: an [`Options`] that [`load()`] gave passed every check of its own and every
//! rule between options; a mistake is one line that names the key as it was written, the value
//! and what is allowed; a secret is in no such line.
//!
//! Read first: `options.rs` (the table), then `load.rs`.

mod checks;
mod exposure;
mod flags;
mod load;
#[cfg(test)]
mod mistakes;
mod options;
mod render;
mod shapes;
mod tables;
#[cfg(test)]
mod tests;
mod words;

pub use checks::check;
pub use exposure::{
    OPEN_SETTINGS, OpenSetting, Reach, open_markdown, open_settings, open_warnings,
};
pub use flags::{Command, config_path, parse_command, shown_flags, take_format};
pub use load::{Loaded, load};
pub use options::{Changes, Entry, OPTIONS, Options, entry};
pub use render::{default_toml, help, reference_markdown};
pub use shapes::{Kind, Secret};
pub use tables::{
    ApiKey, Destination, EventRule, Hook, HookEvent, JwtAlg, JwtFamily, JwtKey, JwtMaterial,
    KeyTemplate, MEMBERS_MAX, MemberKind, MemberRule, OnError, Route, RouteAck, Rule, Scope, Slot,
    Tables, Verb, glob_match, is_reserved_room,
};
pub use words::{
    AuthMode, Driver, ForwardedHeader, IdpError, LogFormat, LogLevel, RabbitDeclare, SpoolFull,
    Transport, UnknownEvent,
};

use std::fmt;

/// Why the start stops: one line for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The key as it was written, the value, what is allowed. Never holds a line break.
    pub line: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.line)
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// `text` is our own; what the operator wrote inside it is quoted or escaped by the caller.
    fn new(text: impl Into<String>) -> Self {
        let line: String = text.into();
        Self { line: line.replace(['\n', '\r'], " ") }
    }

    /// The common form of a refusal.
    fn refused(key: &str, value: &str, allowed: &str) -> Self {
        Self::new(format!("{key} = {value}: allowed is {allowed}"))
    }
}

/// A value as the operator wrote it: escaped, so that it stays on one line, and cut, so that a
/// file pasted into a variable does not fill the screen.
fn quoted(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 120;
    if text.chars().count() <= SHOWN_CHARS_MAX {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{start:?}…")
}

/// `; did you mean X?` for the known name nearest to what was written, or nothing.
fn suggestion<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known.map(|name| (distance(written, name), name)).min();
    match near {
        Some((steps, name)) if steps <= 1 + written.len() / 5 => {
            format!("; did you mean {name}?")
        }
        _ => String::new(),
    }
}

/// Levenshtein's distance in bytes; names are short and this runs once, on the way out.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (done, here) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = done + 1;
        for (column, there) in right.bytes().enumerate() {
            let change = diagonal + usize::from(here != there);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}
