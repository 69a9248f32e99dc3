//! Answers.

use std::borrow::Cow;

/// A header of an answer.
pub type Header = (&'static str, Cow<'static, str>);

/// The refusals of an engine.
///
/// Rule: the table of the reference server (engine.io, `Server.errors`); clients and dashboards
/// match on number and text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineError {
    /// A transport that is unknown or off.
    TransportUnknown,
    /// No such session.
    SidUnknown,
    /// A handshake that is no GET.
    BadHandshakeMethod,
    /// Anything else that is wrong with the request.
    BadRequest,
    /// The application refused.
    Forbidden,
    /// A revision of the protocol that is unknown or off.
    UnsupportedProtocolVersion,
}

impl EngineError {
    /// The number in the body.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::TransportUnknown => 0,
            Self::SidUnknown => 1,
            Self::BadHandshakeMethod => 2,
            Self::BadRequest => 3,
            Self::Forbidden => 4,
            Self::UnsupportedProtocolVersion => 5,
        }
    }

    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Forbidden => 403,
            _ => 400,
        }
    }

    /// The text in the body.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::TransportUnknown => "Transport unknown",
            Self::SidUnknown => "Session ID unknown",
            Self::BadHandshakeMethod => "Bad handshake method",
            Self::BadRequest => "Bad request",
            Self::Forbidden => "Forbidden",
            Self::UnsupportedProtocolVersion => "Unsupported protocol version",
        }
    }
}

/// One answer. Its headers go out in the order they stand in; `Content-Length` comes of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers, but for `Content-Length` and `Connection`.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Cow<'static, [u8]>,
}

/// What a client waits for that sent `Expect: 100-continue` (RFC 9110 section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

const NO_STORE: Header = ("cache-control", Cow::Borrowed("no-store"));

impl Response {
    /// An answer without a body.
    #[must_use]
    pub const fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Cow::Borrowed(&[]) }
    }

    /// An answer with a body of that type.
    #[must_use]
    pub fn new(
        status: u16,
        content_type: &'static str,
        body: impl Into<Cow<'static, [u8]>>,
    ) -> Self {
        let headers = vec![("Content-Type", Cow::Borrowed(content_type))];
        Self { status, headers, body: body.into() }
    }

    /// An answer a person can read.
    #[must_use]
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self::new(status, "text/plain; charset=UTF-8", body.into().into_bytes())
    }

    /// An answer a program can read; `body` is JSON already.
    #[must_use]
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, "application/json", body.into())
    }

    /// What a poll gets: packets as text.
    #[must_use]
    pub fn payload(body: impl Into<Cow<'static, [u8]>>) -> Self {
        let mut response = Self::new(200, "text/plain; charset=UTF-8", body);
        response.headers.push(NO_STORE);
        response
    }

    /// What a poll of revision 3 gets if there are binary packets.
    #[must_use]
    pub fn payload_binary(body: impl Into<Cow<'static, [u8]>>) -> Self {
        let mut response = Self::new(200, "application/octet-stream", body);
        response.headers.push(NO_STORE);
        response
    }

    /// What packets that were posted get.
    #[must_use]
    pub fn posted() -> Self {
        let mut response = Self::new(200, "text/html", b"ok".as_slice());
        response.headers.push(NO_STORE);
        response
    }

    /// A refusal of the engine.
    #[must_use]
    pub fn engine_error(error: EngineError) -> Self {
        Self::engine_error_with(error, error.message())
    }

    /// A refusal of the engine in the application's words; they may come from anywhere.
    #[must_use]
    pub fn engine_error_with(error: EngineError, message: &str) -> Self {
        let mut body = format!("{{\"code\":{},\"message\":", error.code());
        write_json_string(&mut body, message);
        body.push('}');
        Self::json(error.status(), body)
    }

    /// Adds a header behind those there are.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Puts headers in front of those there are; the reference server writes those of CORS first.
    #[must_use]
    pub fn with_first(mut self, headers: Vec<(&'static str, String)>) -> Self {
        let headers = headers.into_iter().map(|(name, value)| (name, Cow::Owned(value)));
        self.headers.splice(0..0, headers);
        self
    }

    /// Writes the answer. `Content-Length` goes behind `Content-Type`, or last.
    ///
    /// A header whose value could end its line is left out, whoever put it there: values may
    /// echo a request.
    ///
    /// Cost: the body is copied once.
    pub fn write(&self, out: &mut Vec<u8>, keep_alive: bool) {
        out.reserve(self.body.len() + 256);
        write_status_line(out, self.status);
        // Rule: RFC 9110 section 8.6: a 304 has the length of what it does not send.
        let mut length_due = self.status != 304;
        for (name, value) in &self.headers {
            write_header(out, name, value);
            if length_due && name.eq_ignore_ascii_case("content-type") {
                length_due = false;
                self.write_length(out);
            }
        }
        if length_due {
            self.write_length(out);
        }
        write_header(out, "Connection", if keep_alive { "keep-alive" } else { "close" });
        out.extend_from_slice(b"\r\n");
        if self.status != 304 {
            out.extend_from_slice(&self.body);
        }
    }

    fn write_length(&self, out: &mut Vec<u8>) {
        write_header(out, "Content-Length", &self.body.len().to_string());
    }
}

/// Whether a value may stand in a header: no control characters but the tab.
///
/// Rule: RFC 9110 section 5.5.
#[must_use]
pub fn header_value_is_legal(value: &str) -> bool {
    value.bytes().all(|byte| byte == b'\t' || !byte.is_ascii_control())
}

/// Writes `HTTP/1.1 <status> <reason>` and the end of the line.
pub(super) fn write_status_line(out: &mut Vec<u8>, status: u16) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes one header, or nothing if that would not be one header.
pub(super) fn write_header(out: &mut Vec<u8>, name: &str, value: &str) {
    if super::is_token(name.as_bytes()) && header_value_is_legal(value) {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Rule: RFC 9110 section 15 (and RFC 6585); a client must not care.
const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Payload Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

/// Rule: RFC 8259 section 7.
fn write_json_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\x1F' => {
                let digit = |nibble| char::from_digit(nibble, 16).unwrap_or('0');
                let code = u32::from(character);
                out.extend(['\\', 'u', '0', '0', digit(code >> 4), digit(code & 15)]);
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(response: &Response) -> String {
        let mut out = Vec::new();
        response.write(&mut out, true);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_error_table_of_the_reference_server() {
        use EngineError as E;
        let table = [
            (E::TransportUnknown, 400, r#"{"code":0,"message":"Transport unknown"}"#),
            (E::SidUnknown, 400, r#"{"code":1,"message":"Session ID unknown"}"#),
            (E::BadHandshakeMethod, 400, r#"{"code":2,"message":"Bad handshake method"}"#),
            (E::BadRequest, 400, r#"{"code":3,"message":"Bad request"}"#),
            (E::Forbidden, 403, r#"{"code":4,"message":"Forbidden"}"#),
            (
                E::UnsupportedProtocolVersion,
                400,
                r#"{"code":5,"message":"Unsupported protocol version"}"#,
            ),
        ];
        for (error, status, body) in table {
            let response = Response::engine_error(error);
            assert_eq!((response.status, response.body.as_ref()), (status, body.as_bytes()));
            assert_eq!(response.headers, [("Content-Type", Cow::Borrowed("application/json"))]);
        }
    }

    #[test]
    fn the_words_of_an_application_stay_inside_their_string() {
        let response = Response::engine_error_with(EngineError::Forbidden, "go away");
        assert_eq!(response.body.as_ref(), br#"{"code":4,"message":"go away"}"#);
        let odd = "a\"},\\\r\n\t\0\x1f\u{7f}ä";
        let response = Response::engine_error_with(EngineError::Forbidden, odd);
        let want = "{\"code\":4,\"message\":\"a\\\"},\\\\\\r\\n\\t\\u0000\\u001f\u{7f}ä\"}";
        assert_eq!(std::str::from_utf8(&response.body), Ok(want));
        assert!(!wire(&response).contains("\r\na"));
    }

    #[test]
    fn a_poll_is_answered_in_the_order_of_the_reference_server() {
        let cors = vec![
            ("Access-Control-Allow-Origin", "http://a.example".to_owned()),
            ("Vary", "Origin".to_owned()),
        ];
        let cookie = "io=x; Path=/; HttpOnly; SameSite=Lax";
        let response = Response::payload(b"0{}".as_slice()).with("Set-Cookie", cookie);
        let want = "HTTP/1.1 200 OK\r\n\
            Access-Control-Allow-Origin: http://a.example\r\n\
            Vary: Origin\r\n\
            Content-Type: text/plain; charset=UTF-8\r\n\
            Content-Length: 3\r\n\
            cache-control: no-store\r\n\
            Set-Cookie: io=x; Path=/; HttpOnly; SameSite=Lax\r\n\
            Connection: keep-alive\r\n\r\n0{}";
        assert_eq!(wire(&response.with_first(cors)), want);
    }

    #[test]
    fn other_answers_on_the_wire() {
        let posted = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\
            cache-control: no-store\r\nConnection: keep-alive\r\n\r\nok";
        assert_eq!(wire(&Response::posted()), posted);
        let mut out = Vec::new();
        Response::empty(413).write(&mut out, false);
        let too_large = "HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\n\
            Connection: close\r\n\r\n";
        assert_eq!(out, too_large.as_bytes());
        let not_modified = Response::new(304, "text/plain", b"x".as_slice());
        assert!(
            !wire(&not_modified).contains("Length") && wire(&not_modified).ends_with("\r\n\r\n")
        );
    }

    #[test]
    fn no_value_ends_its_line() {
        for evil in ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b", "a\x7fb", "\x1b[2J"] {
            let response = Response::empty(200)
                .with("X-First", evil.to_owned())
                .with_first(vec![("X-Second", evil.to_owned())])
                .with("X-Good", "tab\tand ä");
            let want = "HTTP/1.1 200 OK\r\nX-Good: tab\tand ä\r\nContent-Length: 0\r\n\
                Connection: keep-alive\r\n\r\n";
            assert_eq!(wire(&response), want);
        }
        let mut out = Vec::new();
        write_header(&mut out, "X: y\r\nZ", "v");
        write_header(&mut out, "", "v");
        assert_eq!(out, b"");
    }
}
