//! What can be wrong with a payload.

use std::fmt;

/// What is wrong with a member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// The payload is no JSON object.
    NotAnObject,
    /// It is required and not there.
    Missing,
    /// It is there more than once, so that two readers may see two values.
    Twice,
    /// Not a string.
    NotText,
    /// A string without a character, or longer than so many bytes.
    Length(usize),
    /// A control character.
    Control,
    /// None of the words.
    NotOneOf(&'static [&'static str]),
    /// Not a number between the two.
    NotNumber(f64, f64),
    /// Neither `true` nor `false`.
    NotFlag,
    /// A name that Socket.IO itself uses.
    ReservedEvent,
    /// A room whose members the gateway alone chooses.
    AutomaticRoom,
    /// Not a cursor that a page ended with.
    Cursor,
    /// Two of which one is meant at a time.
    NotBoth,
    /// The shape has no such member.
    Unknown,
    /// Not a whole number between the two.
    NotCount(u64, u64),
    /// Neither a word for a quorum nor a number up to so many.
    NotQuorum(u64),
    /// Not a list.
    NotList,
    /// More entries than so many.
    TooMany(usize),
    /// Nobody is meant; everybody must be said.
    NoTarget,
    /// What stands there for binary data is none.
    NotBinary,
    /// More pieces of binary data than so many.
    TooMuchBinary(usize),
    /// No verb, or none that a batch may hold.
    NotVerb,
}

impl Eq for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject => out.write_str("must be a JSON object"),
            Self::Missing => out.write_str("is required"),
            Self::Twice => out.write_str("must stand there only once"),
            Self::NotText => out.write_str("must be a string"),
            Self::Length(max) => write!(out, "must be 1 to {max} bytes"),
            Self::Control => out.write_str("must not hold control characters"),
            Self::NotOneOf(words) => write!(out, "must be one of {}", words.join(", ")),
            Self::NotNumber(min, f64::MAX) => write!(out, "must be a number from {min}"),
            Self::NotNumber(min, max) => write!(out, "must be a number from {min} to {max}"),
            Self::NotFlag => out.write_str("must be true or false"),
            Self::ReservedEvent => out.write_str("must not be a reserved event name"),
            Self::AutomaticRoom => out.write_str("must not start with user: or session:"),
            Self::Cursor => out.write_str("must be the nextCursor of an earlier page"),
            Self::NotBoth => out.write_str("must not stand beside another that says which"),
            Self::Unknown => out.write_str("is not known here"),
            Self::NotCount(min, max) => write!(out, "must be a whole number from {min} to {max}"),
            Self::NotQuorum(max) => write!(out, "must be any, majority, all or 1 to {max}"),
            Self::NotList => out.write_str("must be a list"),
            Self::TooMany(max) => write!(out, "must have at most {max} entries"),
            Self::NoTarget => out.write_str("names nobody; all: true is everybody"),
            Self::NotBinary => out.write_str("must hold base64 under $b64, and no placeholders"),
            Self::TooMuchBinary(max) => write!(out, "must hold at most {max} pieces of binary"),
            Self::NotVerb => out.write_str("must be a verb that a batch may hold"),
        }
    }
}
