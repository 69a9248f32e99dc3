//! Which other sites may use us: the semantics of the npm package `cors`, which the reference
//! server has, and the strict check that it lacks.

use super::head::Head;
use super::respond::{EngineError, Response};

/// The origins that are told they may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// No header is ever sent.
    #[default]
    Off,
    /// Everybody.
    Any,
    /// This one; it is named whoever asks.
    One(String),
    /// These; the one that asks is named.
    List(Vec<String>),
}

impl Origins {
    /// From a list of options: an empty one is off, `*` is everybody, one entry is [`Self::One`].
    #[must_use]
    pub fn from_list(mut list: Vec<String>) -> Self {
        if list.iter().any(|origin| origin == "*") {
            return Self::Any;
        }
        match (list.pop(), list.is_empty()) {
            (None, _) => Self::Off,
            (Some(one), true) => Self::One(one),
            (Some(last), false) => {
                list.push(last);
                Self::List(list)
            }
        }
    }

    fn allow(&self, origin: &str) -> bool {
        match self {
            Self::Off => false,
            Self::Any => true,
            Self::One(one) => one == origin,
            Self::List(list) => list.iter().any(|one| one == origin),
        }
    }
}

/// What is said about cross-origin requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// Who may.
    pub origins: Origins,
    /// Whether cookies may come along.
    pub credentials: bool,
    /// Headers of an answer that scripts may see.
    pub exposed: Vec<String>,
    /// Methods; `None` for the six of the `cors` package.
    pub methods: Option<Vec<String>>,
    /// Headers of a request; `None` for whatever is asked for.
    pub allowed_headers: Option<Vec<String>>,
    /// How long a preflight's answer holds, in seconds.
    pub max_age_s: Option<u32>,
}

const DEFAULT_METHODS: &str = "GET,HEAD,PUT,PATCH,POST,DELETE";

type Headers = Vec<(&'static str, String)>;

impl Cors {
    /// The headers of any answer but a preflight's, to stand before all others.
    ///
    /// An origin that may not is not refused here: it is not told that it may.
    #[must_use]
    pub fn headers(&self, origin: Option<&str>) -> Headers {
        let mut headers = self.common(origin);
        if self.origins != Origins::Off {
            self.push_exposed(&mut headers);
        }
        headers
    }

    /// The answer to an `OPTIONS` request; `None` with CORS off: then it is a request like any
    /// other. `request_headers` is the value of `Access-Control-Request-Headers`.
    #[must_use]
    pub fn preflight(
        &self,
        origin: Option<&str>,
        request_headers: Option<&str>,
    ) -> Option<Response> {
        if self.origins == Origins::Off {
            return None;
        }
        let mut headers = self.common(origin);
        let methods = self.methods.as_ref().map(|methods| methods.join(","));
        let methods = methods.unwrap_or_else(|| DEFAULT_METHODS.to_owned());
        headers.push(("Access-Control-Allow-Methods", methods));
        let allowed = if let Some(list) = &self.allowed_headers {
            list.join(",")
        } else {
            vary(&mut headers, "Access-Control-Request-Headers");
            request_headers.unwrap_or_default().to_owned()
        };
        if !allowed.is_empty() {
            headers.push(("Access-Control-Allow-Headers", allowed));
        }
        if let Some(seconds) = self.max_age_s {
            headers.push(("Access-Control-Max-Age", seconds.to_string()));
        }
        self.push_exposed(&mut headers);
        Some(Response::empty(204).with_first(headers))
    }

    /// Whether a strict server serves this origin at all: against sites that open sockets
    /// with a visitor's cookies, which CORS does not prevent.
    ///
    /// `host` is the host that was asked for: its own pages always may, over whatever scheme (a
    /// proxy in front may have taken TLS off). Without an origin it is no browser.
    #[must_use]
    pub fn permits(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        let Some(origin) = origin else {
            return true;
        };
        self.origins.allow(origin) || host.is_some_and(|host| is_same_host(origin, host))
    }

    fn common(&self, origin: Option<&str>) -> Headers {
        let mut headers = Vec::new();
        let allowed = match &self.origins {
            Origins::Off => return headers,
            Origins::Any => Some("*"),
            Origins::One(one) => Some(one.as_str()),
            Origins::List(_) => origin.filter(|origin| self.origins.allow(origin)),
        };
        if let Some(allowed) = allowed {
            headers.push(("Access-Control-Allow-Origin", allowed.to_owned()));
        }
        if self.origins != Origins::Any {
            vary(&mut headers, "Origin");
        }
        if self.credentials {
            headers.push(("Access-Control-Allow-Credentials", "true".to_owned()));
        }
        headers
    }

    fn push_exposed(&self, headers: &mut Headers) {
        if !self.exposed.is_empty() {
            headers.push(("Access-Control-Expose-Headers", self.exposed.join(",")));
        }
    }
}

fn vary(headers: &mut Headers, token: &str) {
    match headers.iter_mut().find(|(name, _)| *name == "Vary") {
        Some((_, value)) => {
            value.push_str(", ");
            value.push_str(token);
        }
        None => headers.push(("Vary", token.to_owned())),
    }
}

fn is_same_host(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let strip = |host: &str| host.strip_suffix(default_port).unwrap_or(host).to_ascii_lowercase();
    !authority.is_empty() && strip(authority) == strip(host)
}

/// Whether an `Origin` has only characters that one can have. Stricter than the reference
/// server, which lets bytes above 127 pass: an origin is written in ASCII (RFC 6454 section 6.2).
#[must_use]
pub fn origin_is_legal(origin: &[u8]) -> bool {
    origin.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
}

/// The origin of a request.
///
/// # Errors
/// [`EngineError::BadRequest`] if it is no legal one, or if there are several.
pub fn origin_of<'a>(head: &Head<'a>) -> Result<Option<&'a str>, EngineError> {
    let mut origins = head.all("origin");
    let Some(origin) = origins.next() else {
        return Ok(None);
    };
    if origins.next().is_some() || !origin_is_legal(origin) {
        return Err(EngineError::BadRequest);
    }
    std::str::from_utf8(origin).map(Some).map_err(|_| EngineError::BadRequest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::parse_head;

    const A: &str = "http://a.example";

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    fn fixed() -> Cors {
        Cors { origins: Origins::One(A.into()), credentials: true, ..Cors::default() }
    }

    fn listed() -> Cors {
        Cors {
            origins: Origins::List(strings(&[A, "http://b.example"])),
            methods: Some(strings(&["GET", "POST"])),
            allowed_headers: Some(strings(&["x-h"])),
            exposed: strings(&["x-e"]),
            max_age_s: Some(600),
            ..Cors::default()
        }
    }

    fn shown(headers: &Headers) -> String {
        let lines: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        lines.join(" | ")
    }

    fn preflight(cors: &Cors, origin: Option<&str>, request_headers: Option<&str>) -> String {
        let mut out = Vec::new();
        cors.preflight(origin, request_headers).unwrap().write(&mut out, true);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.trim_end().split("\r\n").collect();
        lines.join(" | ")
    }

    #[test]
    fn simple_answers_captured_from_the_reference_server() {
        let any = Cors { origins: Origins::Any, ..Cors::default() };
        let table: &[(&Cors, Option<&str>, &str)] = &[
            (&Cors::default(), Some(A), ""),
            (&any, Some(A), "Access-Control-Allow-Origin: *"),
            (&any, None, "Access-Control-Allow-Origin: *"),
            (
                &fixed(),
                Some("http://evil.example"),
                "Access-Control-Allow-Origin: http://a.example | Vary: Origin \
                 | Access-Control-Allow-Credentials: true",
            ),
            (
                &listed(),
                Some(A),
                "Access-Control-Allow-Origin: http://a.example | Vary: Origin \
                 | Access-Control-Expose-Headers: x-e",
            ),
            (&listed(), None, "Vary: Origin | Access-Control-Expose-Headers: x-e"),
            (&listed(), Some("null"), "Vary: Origin | Access-Control-Expose-Headers: x-e"),
        ];
        for (cors, origin, want) in table {
            assert_eq!(shown(&cors.headers(*origin)), *want);
        }
    }

    #[test]
    fn preflights_captured_from_the_reference_server() {
        assert_eq!(
            preflight(&fixed(), Some(A), Some("x-foo,content-type")),
            "HTTP/1.1 204 No Content | Access-Control-Allow-Origin: http://a.example \
             | Vary: Origin, Access-Control-Request-Headers \
             | Access-Control-Allow-Credentials: true \
             | Access-Control-Allow-Methods: GET,HEAD,PUT,PATCH,POST,DELETE \
             | Access-Control-Allow-Headers: x-foo,content-type | Content-Length: 0 \
             | Connection: keep-alive"
        );
        assert_eq!(
            preflight(&listed(), Some(A), Some("x-foo")),
            "HTTP/1.1 204 No Content | Access-Control-Allow-Origin: http://a.example \
             | Vary: Origin | Access-Control-Allow-Methods: GET,POST \
             | Access-Control-Allow-Headers: x-h | Access-Control-Max-Age: 600 \
             | Access-Control-Expose-Headers: x-e | Content-Length: 0 | Connection: keep-alive"
        );
        let any = Cors { origins: Origins::Any, ..Cors::default() };
        assert_eq!(
            preflight(&any, None, None),
            "HTTP/1.1 204 No Content | Access-Control-Allow-Origin: * \
             | Access-Control-Allow-Methods: GET,HEAD,PUT,PATCH,POST,DELETE \
             | Vary: Access-Control-Request-Headers | Content-Length: 0 | Connection: keep-alive"
        );
        assert_eq!(Cors::default().preflight(Some(A), None), None);
    }

    #[test]
    fn an_echoed_value_cannot_end_its_line() {
        let answer = preflight(&fixed(), Some(A), Some("x\r\nSet-Cookie: a=b"));
        assert!(!answer.contains("Set-Cookie"), "{answer}");
    }

    #[test]
    fn lists_of_options() {
        let from = |list: &[&str]| Origins::from_list(strings(list));
        assert_eq!(from(&[]), Origins::Off);
        assert_eq!(from(&[A, "*"]), Origins::Any);
        assert_eq!(from(&[A]), Origins::One(A.into()));
        assert_eq!(from(&[A, "null"]), Origins::List(strings(&[A, "null"])));
    }

    #[test]
    fn a_strict_server_serves_its_own_pages_and_those_listed() {
        let table: &[(Cors, Option<&str>, Option<&str>, bool)] = &[
            (Cors::default(), None, Some("h"), true),
            (Cors::default(), Some("http://h"), Some("h"), true),
            (Cors::default(), Some("https://H:443"), Some("h"), true),
            (Cors::default(), Some("http://h:3001"), Some("h:3001"), true),
            (Cors::default(), Some("http://h:3001"), Some("h"), false),
            (Cors::default(), Some("http://h:443"), Some("h"), false),
            (Cors::default(), Some("http://h.evil"), Some("h"), false),
            (Cors::default(), Some("http://x@h"), Some("h"), false),
            (Cors::default(), Some("null"), Some("h"), false),
            (Cors::default(), Some("http://"), Some(""), false),
            (Cors::default(), Some("http://h"), None, false),
            (listed(), Some(A), Some("h"), true),
            (listed(), Some("http://a.example.evil"), Some("h"), false),
            (fixed(), Some("https://a.example"), Some("h"), false),
            (Cors { origins: Origins::Any, ..Cors::default() }, Some("null"), None, true),
        ];
        for (cors, origin, host, want) in table {
            assert_eq!(cors.permits(*origin, *host), *want, "{origin:?} at {host:?}");
        }
    }

    #[test]
    fn an_origin_is_one_and_legal_or_the_request_is_bad() {
        let read = |lines: &[u8]| {
            let text = [b"GET / HTTP/1.1\r\nHost: h\r\n", lines, b"\r\n"].concat();
            let (head, _) = parse_head(&text, 1000).unwrap().unwrap();
            origin_of(&head).map(|origin| origin.map(str::to_owned))
        };
        assert_eq!(read(b""), Ok(None));
        assert_eq!(read(b"ORIGIN:  http://a \r\n"), Ok(Some("http://a".to_owned())));
        assert_eq!(read(b"Origin: http://\xff\r\n"), Err(EngineError::BadRequest));
        assert_eq!(read(b"Origin: http://\xc3\xa4\r\n"), Err(EngineError::BadRequest));
        assert_eq!(read(b"Origin: a\r\nOrigin: a\r\n"), Err(EngineError::BadRequest));
        assert!(!origin_is_legal(b"a\r\nb") && !origin_is_legal(b"\0"));
    }
}
