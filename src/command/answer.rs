//! What a command is answered with: the two shapes of the contract, by whichever door.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, json};

use super::AskError;
use crate::gateway::VerbError;

/// An answer, ready for the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The command's, which log lines and its body name too; empty if it came to none.
    pub id: String,
    /// The HTTP status.
    pub status: u16,
    /// `{"success":…}` as JSON.
    pub body: Vec<u8>,
    /// What went wrong, for a program; nothing if nothing did.
    pub code: Option<Cow<'static, str>>,
    /// Whether the same command may succeed later.
    pub retryable: bool,
    /// How long to wait before that, if it can be said.
    pub retry_after_ms: Option<u64>,
    /// It is the answer to an earlier command with the same key.
    pub replayed: bool,
}

/// A command that was done, as its door shows it.
#[derive(Serialize)]
struct Success<'a, T: ?Sized> {
    success: bool,
    message: &'a str,
    data: &'a T,
    #[serde(rename = "nextCursor", skip_serializing_if = "Option::is_none")]
    next_cursor: Option<Option<&'a str>>,
}

impl Answer {
    /// A success with data.
    pub(crate) fn data(message: &str, data: &(impl Serialize + ?Sized)) -> Self {
        Self::success(200, &Success { success: true, message, data, next_cursor: None })
    }

    /// Something was made that was not there before.
    pub(crate) fn created(message: &str, data: &(impl Serialize + ?Sized)) -> Self {
        Self::success(201, &Success { success: true, message, data, next_cursor: None })
    }

    /// A page of a list. The cursor stands there even if it is null: then this was the last page.
    pub(crate) fn page(
        message: &str,
        data: &(impl Serialize + ?Sized),
        next_cursor: Option<&str>,
    ) -> Self {
        let next_cursor = Some(next_cursor);
        Self::success(200, &Success { success: true, message, data, next_cursor })
    }

    fn success(status: u16, content: &impl Serialize) -> Self {
        let Ok(body) = serde_json::to_vec(content) else {
            return Failure::internal().into();
        };
        let (retryable, retry_after_ms) = (false, None);
        let id = String::new();
        Self { id, status, body, code: None, retryable, retry_after_ms, replayed: false }
    }

    /// The same, as the answer to this command.
    pub(super) fn named(mut self, id: String) -> Self {
        self.id = id;
        self
    }
}

/// A command that was not done, in the contract's shape.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The command's or call's; empty until it is told whose failure it is.
    pub id: String,
    /// The HTTP status.
    pub status: u16,
    /// For a program.
    pub code: Cow<'static, str>,
    /// For a person.
    pub message: String,
    /// For a program that wants to know exactly.
    pub details: Option<Box<Value>>,
    /// What is known although the answer is an error; only health has this.
    pub data: Option<Box<Value>>,
    /// Whether the same command may succeed later.
    pub retryable: bool,
    /// How long to wait before that, if it can be said.
    pub retry_after_ms: Option<u64>,
}

/// Wait before a command that met an overload or a limit is tried again.
const RETRY_AFTER_MS: u64 = 1_000;

impl Failure {
    /// A failure of this status; that says whether trying again may help, and when.
    pub(crate) fn new(
        status: u16,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        let retry_after_ms = matches!(status, 409 | 429 | 503).then_some(RETRY_AFTER_MS);
        Self {
            id: String::new(),
            status,
            code: code.into(),
            message: message.into(),
            details: None,
            data: None,
            retryable: matches!(status, 408 | 409 | 429 | 503 | 504),
            retry_after_ms,
        }
    }

    /// The same, as that of this command or call.
    pub(crate) fn named(mut self, id: String) -> Self {
        self.id = id;
        self
    }

    pub(crate) fn with_details(mut self, details: Value) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// One member that does not fit; the shape is that of the verbs' own checks.
    pub(crate) fn invalid(member: &str, message: &str) -> Self {
        let details = json!([{ "member": member, "message": message }]);
        Self::new(422, "VALIDATION_FAILED", format!("{member}: {message}")).with_details(details)
    }

    pub(crate) fn invalid_json(error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let message = format!("The body is not JSON: line {line}, column {column}");
        Self::new(400, "INVALID_JSON", message)
            .with_details(json!({ "line": line, "column": column }))
    }

    pub(crate) fn overloaded(message: &str) -> Self {
        Self::new(503, "OVERLOADED", message)
    }

    pub(crate) fn internal() -> Self {
        Self::new(500, "INTERNAL_ERROR", "Something went wrong here; it is in the log")
    }

    /// `{"success":false,…}` as JSON.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let shape = Failed {
            success: false,
            message: &self.message,
            error: Why {
                id: &self.id,
                code: &self.code,
                details: self.details.as_deref(),
                retryable: self.retryable,
                retry_after_ms: self.retry_after_ms,
            },
            data: self.data.as_deref(),
        };
        // Strings and values are always written; an empty body would be no lie.
        serde_json::to_vec(&shape).unwrap_or_default()
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Overloaded => Self::overloaded("A worker takes no more; nothing was done"),
            AskError::TimedOut => {
                Self::overloaded("A worker did not answer in time; it may be done nonetheless")
            }
            AskError::Gone => Self::overloaded("A worker gave no answer"),
        }
    }
}

impl From<VerbError> for Failure {
    fn from(error: VerbError) -> Self {
        let mut failure =
            Self::new(error.status(), error.code().to_owned(), sentence(&error.message()));
        failure.retryable = error.retryable();
        failure.retry_after_ms = error.retry_after_ms().or(failure.retry_after_ms);
        match error.details() {
            [] => failure,
            details => failure.with_details(json!(details)),
        }
    }
}

/// The same words with a capital.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        Self {
            status: failure.status,
            body: failure.body(),
            retryable: failure.retryable,
            retry_after_ms: failure.retry_after_ms,
            code: Some(failure.code),
            id: failure.id,
            replayed: false,
        }
    }
}

#[derive(Serialize)]
struct Failed<'a> {
    success: bool,
    message: &'a str,
    error: Why<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Why<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Value>,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}
