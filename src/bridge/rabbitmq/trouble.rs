//! What an error of the broker means to us.

use lapin::ErrorKind;

/// Why something at the broker did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It will not work until somebody changes something: never tried again.
    Fatal(String),
    /// It may work later.
    Passing(String),
}

impl Trouble {
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Fatal(why) | Self::Passing(why) => why,
        }
    }
}

/// Rule: AMQP 0-9-1 section 1.5.2.5, "reply codes".
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;

/// `what` was being done. A broker that was reached before may be starting: then a login that is
/// refused is no mistake of the configuration.
pub(super) fn judge(what: &str, error: &lapin::Error, was_up: bool) -> Trouble {
    let code = match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_id(),
        _ => 0,
    };
    let why = format!("{what}: {}", one_line(&error.to_string()));
    match code {
        PRECONDITION_FAILED | NOT_FOUND => Trouble::Fatal(why),
        ACCESS_REFUSED | NOT_ALLOWED if !was_up => Trouble::Fatal(why),
        _ => Trouble::Passing(why),
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}
