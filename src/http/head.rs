//! Request heads.

use std::str;

/// Headers a request may have.
const HEADERS_MAX: usize = 64;
/// Bytes the name of a header may have.
const HEADER_NAME_BYTES_MAX: usize = 256;

/// A version of HTTP that we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// How the end of a request's body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is no body.
    None,
    /// `Content-Length`, in bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// The head of one request, borrowed from the bytes it was read from.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// The method: a token, in the case it was sent in.
    pub method: &'a str,
    /// The target as it was sent: visible ASCII.
    pub target: &'a str,
    /// The version.
    pub version: Version,
    /// How long the body is.
    pub body: BodyLength,
    /// Whether the connection lives on after the answer.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    headers: Vec<httparse::Header<'a>>,
}

/// A rule that a request head broke. After any of them the connection cannot be used again:
/// nobody knows where the next request would start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// More bytes than the caller allows.
    TooLong,
    /// More than 64 headers.
    TooManyHeaders,
    /// A header name of more than 256 bytes.
    NameTooLong,
    /// RFC 9112 section 2.2: a line that does not end in CR LF, or a CR that ends none.
    LineEnd,
    /// RFC 9112 sections 3 and 5: not a request line and headers (a folded header, whitespace
    /// before a colon, a control character, ...).
    Malformed,
    /// RFC 9112 section 3.2: a target in none of the forms that fit the method, or with
    /// characters that no target has.
    Target,
    /// RFC 9112 section 3.2: no `Host` in HTTP/1.1, more than one, or one that names no host.
    Host,
    /// RFC 9112 section 6.3: `Content-Length` more than once, even if they agree.
    TwoLengths,
    /// RFC 9110 section 8.6: a `Content-Length` that is no number.
    Length,
    /// RFC 9112 section 6.1: both `Content-Length` and `Transfer-Encoding`, or the latter in
    /// HTTP/1.0.
    LengthAndEncoding,
    /// RFC 9112 section 6.1: a transfer coding other than one single `chunked`.
    Encoding,
    /// RFC 9110 section 15.6.6: a version other than 1.0 and 1.1.
    Version,
    /// RFC 9110 section 10.1.1: an expectation other than `100-continue`.
    Expectation,
}

impl HeadError {
    /// The status that answers it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::TooLong | Self::TooManyHeaders | Self::NameTooLong => 431,
            Self::LineEnd
            | Self::Malformed
            | Self::Target
            | Self::Host
            | Self::TwoLengths
            | Self::Length
            | Self::LengthAndEncoding => 400,
            Self::Encoding => 501,
            Self::Version => 505,
            Self::Expectation => 417,
        }
    }
}

/// Reads a request head from the front of `bytes`: the head and how many bytes it takes, or
/// `Ok(None)` while more are needed.
///
/// Rule: RFC 9112 sections 2 to 6, without the leniencies it allows but for one: up to two empty
/// lines before the request line (section 2.2), which old clients send after a body.
///
/// Cost: two passes over the head, one allocation. An unfinished head is read from its start
/// each time, so the caller's `head_bytes_max` also bounds that.
///
/// # Errors
/// The first rule broken, as soon as the bytes show it.
pub fn parse_head(
    bytes: &[u8],
    head_bytes_max: usize,
) -> Result<Option<(Head<'_>, usize)>, HeadError> {
    let within = &bytes[..bytes.len().min(head_bytes_max)];
    let Some(start) = skip_empty_lines(within) else {
        return unfinished(bytes, head_bytes_max);
    };
    let Some(len) = head_len(&within[start..])? else {
        // Noise (a TLS greeting, say) is refused now and not when the client gives up.
        parse_raw(&within[start..])?;
        return unfinished(bytes, head_bytes_max);
    };
    let raw = &within[start..start + len];
    let (request, headers) = parse_raw(raw)?.ok_or(HeadError::Malformed)?;
    let mut head = Head {
        method: request.method,
        target: request.target,
        version: request.version,
        body: BodyLength::None,
        keep_alive: false,
        expect_continue: false,
        headers,
    };
    check_target(head.method, head.target)?;
    head.read_framing()?;
    Ok(Some((head, start + len)))
}

fn unfinished<'a>(bytes: &[u8], max: usize) -> Result<Option<(Head<'a>, usize)>, HeadError> {
    if bytes.len() >= max { Err(HeadError::TooLong) } else { Ok(None) }
}

/// Where the request line starts; `None` while that is open. A third empty line is left in
/// place, to be refused as a request line.
fn skip_empty_lines(bytes: &[u8]) -> Option<usize> {
    let mut start = 0;
    while start < 4 && bytes[start..].starts_with(b"\r\n") {
        start += 2;
    }
    let rest = &bytes[start..];
    (!rest.is_empty() && (start == 4 || rest != b"\r")).then_some(start)
}

/// How long the head is, its empty line included; `None` while that is missing.
///
/// Checks the line ends on the way, because the parser behind would take a bare LF for one:
/// a proxy in front that does not would then see another request than we do.
fn head_len(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
    let mut line_start = 0;
    let mut ends = memchr::memchr2_iter(b'\r', b'\n', bytes);
    while let Some(at) = ends.next() {
        if bytes[at] == b'\n' {
            return Err(HeadError::LineEnd);
        }
        match bytes.get(at + 1) {
            None => return Ok(None),
            Some(b'\n') => {}
            Some(_) => return Err(HeadError::LineEnd),
        }
        if at == line_start {
            // An empty line: the end, unless nothing came before it.
            return if at == 0 { Err(HeadError::LineEnd) } else { Ok(Some(at + 2)) };
        }
        line_start = at + 2;
        ends.next();
    }
    Ok(None)
}

struct RequestLine<'a> {
    method: &'a str,
    target: &'a str,
    version: Version,
}

type Raw<'a> = (RequestLine<'a>, Vec<httparse::Header<'a>>);

/// Runs `httparse`; `Ok(None)` if the head ends early, without fault so far.
fn parse_raw(bytes: &[u8]) -> Result<Option<Raw<'_>>, HeadError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let status = request.parse(bytes).map_err(|error| match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyHeaders,
        httparse::Error::Version => version_error(bytes),
        httparse::Error::NewLine => HeadError::LineEnd,
        _ => HeadError::Malformed,
    })?;
    match status {
        httparse::Status::Partial => return Ok(None),
        // An empty line inside of what has only one at its end: cannot be, once the line ends
        // are checked, and must not be guessed about.
        httparse::Status::Complete(len) if len != bytes.len() => return Err(HeadError::Malformed),
        httparse::Status::Complete(_) => {}
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(HeadError::Malformed);
    };
    if request.headers.iter().any(|header| header.name.len() > HEADER_NAME_BYTES_MAX) {
        return Err(HeadError::NameTooLong);
    }
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    Ok(Some((RequestLine { method, target, version }, request.headers.to_vec())))
}

/// Tells a version we do not speak (505) from what is no version at all (400).
fn version_error(bytes: &[u8]) -> HeadError {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ').skip(2);
    let version = words.next().and_then(|word| word.strip_prefix(b"HTTP/"));
    match (version, words.next()) {
        (Some([major]), None) if major.is_ascii_digit() => HeadError::Version,
        (Some([major, b'.', minor]), None) if major.is_ascii_digit() && minor.is_ascii_digit() => {
            HeadError::Version
        }
        _ => HeadError::Malformed,
    }
}

/// Rule: RFC 9112 section 3.2. Authority-form is for `CONNECT`, which we are no proxy for.
fn check_target(method: &str, target: &str) -> Result<(), HeadError> {
    let visible = target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    let form = match target {
        "*" => method == "OPTIONS",
        _ => target.starts_with('/') || absolute_form(target).is_some(),
    };
    if visible && form { Ok(()) } else { Err(HeadError::Target) }
}

/// Splits `http://host/path` into host and path; the path is empty if there is none.
fn absolute_form(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    (!host.is_empty() && host_is_legal(host.as_bytes())).then_some((host, path))
}

/// Whether a value of `Host` has only characters that a host and port may have.
///
/// Rule: RFC 3986 section 3.2, without user names (RFC 9110 section 4.2.4) and without the comma,
/// by which a proxy might have joined two values.
#[must_use]
pub fn host_is_legal(value: &[u8]) -> bool {
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+;=".contains(byte);
    value.iter().all(legal)
}

impl<'a> Head<'a> {
    /// All headers in their order, names in the case they were sent in.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + '_ {
        self.headers.iter().map(|header| (header.name, header.value.trim_ascii()))
    }

    /// The values of all headers of that name, whatever the case.
    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a [u8]> + 's {
        let named = move |(found, _): &(&str, &[u8])| found.eq_ignore_ascii_case(name);
        self.headers().filter(named).map(|(_, value)| value)
    }

    /// The value of the first header of that name, whatever the case; `None` also if it is not
    /// UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.all(name).next().and_then(|value| str::from_utf8(value).ok())
    }

    /// Whether there is a header of that name, whatever the case.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// Whether a header that is a list of tokens has `token`, whatever the case.
    ///
    /// Rule: RFC 9110 section 5.6.1; several headers of one name are one list.
    #[must_use]
    pub fn lists(&self, name: &str, token: &str) -> bool {
        let mut entries = self.all(name).flat_map(|value| value.split(|byte| *byte == b','));
        entries.any(|entry| entry.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// The target's path, without the query and, of an absolute target, without the host.
    #[must_use]
    pub fn path(&self) -> &'a str {
        let local = self.local();
        match local.split_once('?').map_or(local, |(path, _)| path) {
            "" => "/",
            path => path,
        }
    }

    /// What follows the first `?` of the target.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        self.local().split_once('?').map(|(_, query)| query)
    }

    /// The host that is asked for, with its port if it was sent.
    ///
    /// Rule: RFC 9112 section 3.2.2: an absolute target wins over `Host`.
    #[must_use]
    pub fn host(&self) -> Option<&'a str> {
        match absolute_form(self.target) {
            Some((host, _)) if !self.target.starts_with('/') => Some(host),
            _ => self.header("host"),
        }
    }

    fn local(&self) -> &'a str {
        if self.target.starts_with('/') {
            return self.target;
        }
        absolute_form(self.target).map_or(self.target, |(_, path)| path)
    }

    /// Reads the headers that say where this request ends and whether another may follow.
    fn read_framing(&mut self) -> Result<(), HeadError> {
        let http11 = self.version == Version::Http11;
        let mut length = None;
        let (mut hosts, mut encodings, mut chunked) = (0, 0, false);
        let (mut expected, mut close, mut keep) = (false, false, false);
        for header in &self.headers {
            let value = header.value.trim_ascii();
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            match header.name.len() {
                4 if is("host") => {
                    hosts += 1;
                    if !host_is_legal(value) {
                        return Err(HeadError::Host);
                    }
                }
                6 if is("expect") => {
                    expected = true;
                    if !value.eq_ignore_ascii_case(b"100-continue") {
                        return Err(HeadError::Expectation);
                    }
                }
                10 if is("connection") => {
                    for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                        close |= option.eq_ignore_ascii_case(b"close");
                        keep |= option.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                14 if is("content-length") => {
                    if length.is_some() {
                        return Err(HeadError::TwoLengths);
                    }
                    length = Some(parse_length(value)?);
                }
                17 if is("transfer-encoding") => {
                    encodings += 1;
                    chunked = value.eq_ignore_ascii_case(b"chunked");
                }
                _ => {}
            }
        }
        if hosts > 1 || (http11 && hosts == 0) {
            return Err(HeadError::Host);
        }
        self.body = match (length, encodings) {
            (None, 0) => BodyLength::None,
            (Some(length), 0) => BodyLength::Length(length),
            (Some(_), _) => return Err(HeadError::LengthAndEncoding),
            (None, _) if !http11 => return Err(HeadError::LengthAndEncoding),
            (None, 1) if chunked => BodyLength::Chunked,
            (None, _) => return Err(HeadError::Encoding),
        };
        self.keep_alive = !close && (http11 || keep);
        // Rule: RFC 9110 section 10.1.1: not in HTTP/1.0, and nothing to wait for without a body.
        let has_body = !matches!(self.body, BodyLength::None | BodyLength::Length(0));
        self.expect_continue = expected && http11 && has_body;
        Ok(())
    }
}

/// Rule: RFC 9110 section 8.6: digits and nothing else.
fn parse_length(value: &[u8]) -> Result<u64, HeadError> {
    // A sign would parse below.
    if !value.iter().all(u8::is_ascii_digit) {
        return Err(HeadError::Length);
    }
    let digits = str::from_utf8(value).map_err(|_| HeadError::Length)?;
    digits.parse().map_err(|_| HeadError::Length)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
