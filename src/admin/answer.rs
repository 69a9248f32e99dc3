//! What a call is answered with: the two shapes of the contract, and their headers.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use crate::command::AskError;

/// A call that went well.
pub(super) enum Reply {
    /// `{"success":true,…}`, written already.
    Json { status: u16, body: Vec<u8> },
    /// Anything else.
    Text { status: u16, media_type: &'static str, body: Cow<'static, str> },
}

#[derive(Serialize)]
struct Success<'a, T: ?Sized> {
    success: bool,
    message: &'a str,
    data: &'a T,
    #[serde(rename = "nextCursor", skip_serializing_if = "Option::is_none")]
    next_cursor: Option<Option<&'a str>>,
}

impl Reply {
    /// A success with data.
    pub(super) fn data(message: &str, data: &(impl Serialize + ?Sized)) -> Result<Self, Failure> {
        Self::json(200, &Success { success: true, message, data, next_cursor: None })
    }

    /// Something was made that was not there before.
    pub(super) fn created(
        message: &str,
        data: &(impl Serialize + ?Sized),
    ) -> Result<Self, Failure> {
        Self::json(201, &Success { success: true, message, data, next_cursor: None })
    }

    /// A page of a list. The cursor stands there even if it is null: then this was the last page.
    pub(super) fn page(
        message: &str,
        data: &(impl Serialize + ?Sized),
        next_cursor: Option<&str>,
    ) -> Result<Self, Failure> {
        let next_cursor = Some(next_cursor);
        Self::json(200, &Success { success: true, message, data, next_cursor })
    }

    fn json(status: u16, content: &impl Serialize) -> Result<Self, Failure> {
        let body = serde_json::to_vec(content).map_err(|_| Failure::internal())?;
        Ok(Self::Json { status, body })
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self {
            Self::Json { status, body } => respond(status, "application/json", Body::from(body)),
            Self::Text { status, media_type, body } => {
                respond(status, media_type, Body::from(body))
            }
        }
    }
}

fn respond(status: u16, media_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let media_type = HeaderValue::from_static(media_type);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

/// A call that went wrong, in the contract's shape.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// The HTTP status.
    pub(super) status: u16,
    /// For a program.
    pub(super) code: Cow<'static, str>,
    /// For a person.
    pub(super) message: String,
    /// For a program that wants to know exactly.
    pub(super) details: Option<Value>,
    /// What is known although the answer is an error; only health has this.
    pub(super) data: Option<Value>,
}

impl Failure {
    pub(super) fn new(
        status: u16,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { status, code: code.into(), message: message.into(), details: None, data: None }
    }

    pub(super) fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    pub(super) fn with_data(mut self, data: &impl Serialize) -> Self {
        self.data = serde_json::to_value(data).ok();
        self
    }

    pub(super) fn unauthorized(message: &str) -> Self {
        Self::new(401, "UNAUTHORIZED", message)
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, "FORBIDDEN", message)
    }

    pub(super) fn not_found() -> Self {
        Self::new(404, "NOT_FOUND", "There is nothing at this path")
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(405, "METHOD_NOT_ALLOWED", "This path does not take that method")
    }

    pub(super) fn too_large(bytes_max: usize) -> Self {
        let message = format!("The body is larger than {bytes_max} bytes");
        Self::new(413, "PAYLOAD_TOO_LARGE", message)
    }

    pub(super) fn unsupported_media_type() -> Self {
        let message = "The Content-Type must be application/json";
        Self::new(415, "UNSUPPORTED_MEDIA_TYPE", message)
    }

    /// One member that does not fit; the shape is that of the verbs' own checks.
    pub(super) fn invalid(member: &str, message: &str) -> Self {
        let details = json!([{ "member": member, "message": message }]);
        Self::new(422, "VALIDATION_FAILED", format!("{member}: {message}")).with_details(details)
    }

    pub(super) fn invalid_json(error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let message = format!("The body is not JSON: line {line}, column {column}");
        Self::new(400, "INVALID_JSON", message)
            .with_details(json!({ "line": line, "column": column }))
    }

    pub(super) fn overloaded(message: &str) -> Self {
        Self::new(503, "OVERLOADED", message)
    }

    pub(super) fn internal() -> Self {
        Self::new(500, "INTERNAL_ERROR", "Something went wrong here; it is in the log")
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

#[derive(Serialize)]
struct Failed<'a> {
    success: bool,
    message: &'a str,
    error: Why<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
}

#[derive(Serialize)]
struct Why<'a> {
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Value>,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let shape = Failed {
            success: false,
            message: &self.message,
            error: Why { code: &self.code, details: self.details.as_ref() },
            data: self.data.as_ref(),
        };
        // Strings and values are always written; an empty body would be no lie.
        let body = serde_json::to_vec(&shape).unwrap_or_default();
        let mut response = respond(self.status, "application/json", Body::from(body));
        let (name, value) = match self.status {
            // Rule: RFC 9110 section 15.5.2: a 401 names a scheme.
            401 => (header::WWW_AUTHENTICATE, "Bearer realm=\"corewire\""),
            // Rule: RFC 9110 sections 10.2.3 and 15.6.4, RFC 6585 section 4.
            429 | 503 => (header::RETRY_AFTER, "1"),
            _ => return response,
        };
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        response
    }
}
