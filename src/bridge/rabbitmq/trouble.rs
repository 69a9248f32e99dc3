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
/// refused, or a queue that is missing, is no mistake of the configuration.
pub(super) fn judge(what: &str, error: &lapin::Error, was_up: bool) -> Trouble {
    let code = match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_id(),
        _ => 0,
    };
    let why = format!("{what}: {}", one_line(&error.to_string()));
    // Said of a durable queue while the node that has it still starts.
    let starting = why.contains("is down or inaccessible");
    match code {
        PRECONDITION_FAILED => Trouble::Fatal(why),
        NOT_FOUND | ACCESS_REFUSED | NOT_ALLOWED if !was_up && !starting => Trouble::Fatal(why),
        _ => Trouble::Passing(why),
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

#[cfg(test)]
mod tests {
    use lapin::protocol::{AMQPError, AMQPErrorKind, AMQPSoftError};

    use super::*;

    fn soft(error: AMQPSoftError, text: &str) -> lapin::Error {
        let error = AMQPError::new(AMQPErrorKind::Soft(error), text.into());
        ErrorKind::ProtocolError(error).into()
    }

    #[test]
    fn what_a_restart_may_say_is_no_mistake_of_the_configuration() {
        let is_fatal = |error, text: &str, was_up| {
            matches!(judge("x", &soft(error, text), was_up), Trouble::Fatal(_))
        };
        let down = "NOT_FOUND - home node 'a@b' of durable queue 'q' is down or inaccessible";
        assert!(is_fatal(AMQPSoftError::NOTFOUND, "NOT_FOUND - no queue 'q'", false));
        assert!(!is_fatal(AMQPSoftError::NOTFOUND, "NOT_FOUND - no queue 'q'", true));
        assert!(!is_fatal(AMQPSoftError::NOTFOUND, down, false));
        assert!(is_fatal(AMQPSoftError::ACCESSREFUSED, "", false));
        assert!(!is_fatal(AMQPSoftError::ACCESSREFUSED, "", true));
        assert!(is_fatal(AMQPSoftError::PRECONDITIONFAILED, "", true));
        let lost = std::io::Error::other("a\nb").into();
        assert_eq!(judge("x", &lost, false), Trouble::Passing("x: IO error: a b".into()));
    }
}
