//! WebSocket handshakes.

use std::str;

use super::head::{BodyLength, Head, Version};
use super::is_token;
use super::respond::{EngineError, Response, write_header, write_status_line};

/// Why a handshake was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeError {
    /// RFC 6455 section 4.1, items 2 and 3: not a GET of HTTP/1.1.
    Method,
    /// RFC 6455 section 4.2.1, items 3 and 4: `Upgrade` and `Connection` do not ask for it.
    NotAsked,
    /// RFC 6455 section 4.2.1, item 6: not version 13.
    Version,
    /// RFC 6455 section 4.2.1, item 5: not one key of 16 bytes in base64.
    Key,
    /// RFC 6455 section 9.1: a list of extensions that is none.
    Extensions,
    /// A body: its bytes could be taken for frames, and frames for it.
    Body,
}

impl UpgradeError {
    /// The answer. The reference server has a bare text here; ours is JSON, as for any other
    /// request that is refused.
    #[must_use]
    pub fn response(self) -> Response {
        let response = Response::engine_error(EngineError::BadRequest);
        match self {
            // Rule: RFC 6455 section 4.4: say which versions are spoken.
            Self::Version => response.with("Sec-WebSocket-Version", "13"),
            Self::Method | Self::NotAsked | Self::Key | Self::Extensions | Self::Body => response,
        }
    }
}

/// Whether the client wants to speak WebSocket; whether it may is for [`accept`] to find out.
#[must_use]
pub fn is_websocket_upgrade(head: &Head<'_>) -> bool {
    head.lists("connection", "upgrade") && head.lists("upgrade", "websocket")
}

/// Writes the answer that turns the connection into a WebSocket: after it, frames.
///
/// Of the subprotocols offered the first is chosen, as the reference server does; none is, if
/// that is no token. Headers of `extra` that are not legal are left out.
///
/// # Errors
/// The first rule of the handshake that the request breaks.
pub fn accept(head: &Head<'_>, extra: &[(&str, String)]) -> Result<Vec<u8>, UpgradeError> {
    if head.method != "GET" || head.version != Version::Http11 {
        return Err(UpgradeError::Method);
    }
    if !is_websocket_upgrade(head) {
        return Err(UpgradeError::NotAsked);
    }
    if only(head, "sec-websocket-version") != Some(b"13") {
        return Err(UpgradeError::Version);
    }
    let key = only(head, "sec-websocket-key").filter(|key| is_key(key)).ok_or(UpgradeError::Key)?;
    if !matches!(head.body, BodyLength::None | BodyLength::Length(0)) {
        return Err(UpgradeError::Body);
    }
    let mut out = Vec::with_capacity(256);
    write_status_line(&mut out, 101);
    write_header(&mut out, "Upgrade", "websocket");
    write_header(&mut out, "Connection", "Upgrade");
    let answer = tungstenite::handshake::derive_accept_key(key);
    write_header(&mut out, "Sec-WebSocket-Accept", &answer);
    if let Some(protocol) = first_protocol(head) {
        write_header(&mut out, "Sec-WebSocket-Protocol", protocol);
    }
    for (name, value) in extra {
        write_header(&mut out, name, value);
    }
    out.extend_from_slice(b"\r\n");
    Ok(out)
}

/// The value of a header that may come once only.
fn only<'a>(head: &Head<'a>, name: &str) -> Option<&'a [u8]> {
    let mut values = head.all(name);
    let first = values.next();
    if values.next().is_some() { None } else { first }
}

/// 16 bytes of base64: 22 characters and two of padding.
fn is_key(key: &[u8]) -> bool {
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    match key.split_last_chunk::<2>() {
        Some((digits, b"==")) => digits.len() == 22 && digits.iter().all(legal),
        _ => false,
    }
}

/// Cost: one look at the first entry, however much white space it is padded with.
fn first_protocol<'a>(head: &Head<'a>) -> Option<&'a str> {
    let offered = head.all("sec-websocket-protocol").next()?;
    let first = offered.split(|byte| *byte == b',').next()?.trim_ascii();
    if !is_token(first) {
        return None;
    }
    str::from_utf8(first).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use crate::http::parse_head;

    const LINES: [&str; 5] = [
        "Host: h",
        "Connection: keep-alive, Upgrade",
        "Upgrade: WebSocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];

    fn request(first: &str, lines: &[&str]) -> String {
        format!("{first}\r\n{}\r\n\r\n", lines.join("\r\n"))
    }

    fn answer(text: &str) -> Result<String, UpgradeError> {
        let (head, _) = parse_head(text.as_bytes(), 100_000).unwrap().unwrap();
        let extra = [("X-Extra", "1".to_owned()), ("X-Evil", "a\r\nb".to_owned())];
        accept(&head, &extra).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    /// The handshake with the line of that index replaced.
    fn changed(index: usize, line: &str) -> Result<String, UpgradeError> {
        let mut lines = LINES;
        lines[index] = line;
        answer(&request("GET /x HTTP/1.1", &lines))
    }

    #[test]
    fn the_handshake_of_rfc_6455_section_1_3() {
        let want = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
            X-Extra: 1\r\n\r\n";
        assert_eq!(answer(&request("GET /x HTTP/1.1", &LINES)).as_deref(), Ok(want));
    }

    #[test]
    fn each_broken_rule_has_its_error() {
        use UpgradeError as E;
        let first = |line: &str| answer(&request(line, &LINES));
        assert_eq!(first("POST /x HTTP/1.1"), Err(E::Method));
        assert_eq!(first("get /x HTTP/1.1"), Err(E::Method));
        assert_eq!(first("GET /x HTTP/1.0"), Err(E::Method));
        let table = [
            (1, "Connection: keep-alive", E::NotAsked),
            (1, "Connection: upgraded", E::NotAsked),
            (2, "Upgrade: h2c", E::NotAsked),
            (2, "Upgrade: websocketx", E::NotAsked),
            (3, "X: y", E::Version),
            (3, "Sec-WebSocket-Version: 8", E::Version),
            (3, "Sec-WebSocket-Version: 13, 8", E::Version),
            (3, "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 8", E::Version),
            (4, "X: y", E::Key),
            (4, "Sec-WebSocket-Key:", E::Key),
            (4, "Sec-WebSocket-Key: AdGhlIHNhbXBsZSBub25jZQ==", E::Key),
            (4, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=", E::Key),
            (4, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ===", E::Key),
            (4, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ-==", E::Key),
            (4, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA", E::Key),
        ];
        for (index, line, error) in table {
            assert_eq!(changed(index, line), Err(error), "{line}");
        }
        assert_eq!(changed(0, "Host: h\r\nContent-Length: 4"), Err(E::Body));
        assert_eq!(changed(0, "Host: h\r\nTransfer-Encoding: chunked"), Err(E::Body));
        assert!(changed(0, "Host: h\r\nContent-Length: 0").is_ok());
        let twice = format!("{}\r\n{}", LINES[4], LINES[4]);
        assert_eq!(changed(4, &twice), Err(E::Key));
    }

    #[test]
    fn a_refusal_names_the_version_only_if_that_was_it() {
        let mut out = Vec::new();
        UpgradeError::Version.response().write(&mut out, false);
        let want = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n\
            Content-Length: 34\r\nSec-WebSocket-Version: 13\r\nConnection: close\r\n\r\n\
            {\"code\":3,\"message\":\"Bad request\"}";
        assert_eq!(String::from_utf8(out).as_deref(), Ok(want));
        let key = UpgradeError::Key.response();
        assert_eq!((key.status, key.headers.len()), (400, 1));
    }

    #[test]
    fn the_first_subprotocol_is_echoed_if_it_is_a_token() {
        let echo = |value: &str| {
            let text = changed(0, &format!("Host: h\r\nSec-WebSocket-Protocol: {value}")).unwrap();
            let line = text.lines().find(|line| line.starts_with("Sec-WebSocket-Protocol"));
            line.map(|line| line["Sec-WebSocket-Protocol: ".len()..].to_owned())
        };
        assert_eq!(echo("chat, superchat").as_deref(), Some("chat"));
        assert_eq!(echo("v1.json ").as_deref(), Some("v1.json"));
        for odd in ["", ",chat", "a b", "a\"b", "caf\u{e9}", "a/b"] {
            assert_eq!(echo(odd), None, "{odd}");
        }
        assert_eq!(echo(&format!("a{}b", " ".repeat(30_000))), None);
        assert_eq!(echo("a\r\nSec-WebSocket-Protocol: b").as_deref(), Some("a"));
    }

    #[test]
    fn an_extension_is_never_agreed_on() {
        let line = "Host: h\r\nSec-WebSocket-Extensions: constructor, permessage-deflate";
        assert!(changed(0, line).is_ok_and(|answer| !answer.contains("Extensions")));
    }

    #[test]
    fn noise_in_a_handshake_never_panics_and_never_splits_the_answer() {
        let text = request("GET /x HTTP/1.1", &LINES).into_bytes();
        let mut accepted = 0;
        for seed in 0..20_000 {
            let mut rng = Rng::new(seed, 0x0B6);
            let mut bytes = text.clone();
            for _ in 0..=rng.below(3) {
                let at = rng.below(bytes.len());
                bytes[at] = rng.bytes(1)[0];
            }
            let Ok(Some((head, _))) = parse_head(&bytes, 1000) else {
                continue;
            };
            if let Ok(answer) = accept(&head, &[]) {
                accepted += 1;
                assert_eq!(answer.split(|byte| *byte == b'\n').count(), 6, "seed {seed}");
            }
        }
        assert!(accepted > 100, "{accepted}");
    }
}
