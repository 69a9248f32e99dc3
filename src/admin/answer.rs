//! What a call is answered with: an answer of a command, or text, and the headers of both.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::command::Answer;
pub(super) use crate::command::Failure;

/// A call that went well, or a command that said why it did not.
pub(super) enum Reply {
    /// `{"success":…}`, written already.
    Json(Answer),
    /// Anything else.
    Text { status: u16, media_type: &'static str, body: Cow<'static, str> },
}

impl Reply {
    /// A success with data.
    pub(super) fn data(message: &str, data: &(impl Serialize + ?Sized)) -> Result<Self, Failure> {
        Ok(Self::Json(Answer::data(message, data)))
    }

    /// A page of a list. The cursor stands there even if it is null: then this was the last page.
    pub(super) fn page(
        message: &str,
        data: &(impl Serialize + ?Sized),
        next_cursor: Option<&str>,
    ) -> Result<Self, Failure> {
        Ok(Self::Json(Answer::page(message, data, next_cursor)))
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self {
            Self::Json(answer) => written(answer),
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

/// Names a call: what its body has as `id`, if it has one.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Set on an answer that an earlier command with the same key was given.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

fn written(answer: Answer) -> Response {
    let Answer { id, status, body, retry_after_ms, replayed, .. } = answer;
    let mut response = respond(status, "application/json", Body::from(body));
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::try_from(id)
        && !id.is_empty()
    {
        headers.insert(REQUEST_ID, id);
    }
    if replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    if status == 401 {
        // Rule: RFC 9110 section 15.5.2: a 401 names a scheme.
        let scheme = HeaderValue::from_static("Bearer realm=\"corewire\"");
        headers.insert(header::WWW_AUTHENTICATE, scheme);
    }
    if let Some(after_ms) = retry_after_ms {
        // Rule: RFC 9110 section 10.2.3: whole seconds.
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after_ms.div_ceil(1_000)));
    }
    response
}

impl Failure {
    pub(super) fn with_data(mut self, data: &impl Serialize) -> Self {
        self.data = serde_json::to_value(data).ok().map(Box::new);
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
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        written(self.into())
    }
}
