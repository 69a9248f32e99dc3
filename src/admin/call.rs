//! Requests that came in on the public listener: bytes in, bytes out.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request, Version, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Collected};
use tower_service::Service;

use super::access::{Origin, Peer};
use super::answer::Failure;
use crate::http::{self, Head};

/// Answers a request that a worker has read: its head as received, its body without framing.
/// Gives back the whole response, ready for the wire, and whether the connection lives on.
///
/// Rule: RFC 9112 section 6.3: every response has a `Content-Length`, so the next one can follow.
pub async fn call(
    router: &Router,
    head: &[u8],
    body: Vec<u8>,
    peer: SocketAddr,
) -> (Vec<u8>, bool) {
    let Ok(Some((head, _))) = http::parse_head(head, usize::MAX) else {
        // The worker has read this head before, so it is ours that is wrong.
        let refusal = Failure::new(400, "BAD_REQUEST", "The request cannot be read");
        return (write(refusal.into_response(), false, false).await, false);
    };
    let is_head = head.method == "HEAD";
    let Some(request) = request(&head, body, peer) else {
        let refusal = Failure::new(400, "BAD_REQUEST", "The request cannot be read");
        return (write(refusal.into_response(), is_head, false).await, false);
    };
    // A router is always ready, and its error type has no values.
    let response = match router.clone().call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    (write(response, is_head, head.keep_alive).await, head.keep_alive)
}

fn request(head: &Head<'_>, body: Vec<u8>, peer: SocketAddr) -> Option<Request<Body>> {
    let version =
        if head.version == http::Version::Http10 { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut request = Request::builder()
        .method(Method::from_bytes(head.method.as_bytes()).ok()?)
        .uri(head.target)
        .version(version)
        .body(Body::from(body))
        .ok()?;
    for (name, value) in head.headers() {
        // The body has been taken out of its coding.
        if name.eq_ignore_ascii_case("transfer-encoding") {
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(value).ok()?);
    }
    request.extensions_mut().insert(Origin::Public);
    request.extensions_mut().insert(Peer(peer));
    Some(request)
}

async fn write(response: Response, is_head: bool, keep_alive: bool) -> Vec<u8> {
    let (parts, body) = response.into_parts();
    // Our bodies are in memory, so that collecting them can neither wait nor fail.
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let reason = parts.status.canonical_reason().unwrap_or("");
    let mut out = format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_u16()).into_bytes();
    let mut put = |name: &str, value: &[u8]| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    };
    // Rule: RFC 9110 section 8.6: no length in a 204; the answer to HEAD has the one of GET.
    let lengthless = parts.status == 204;
    for (name, value) in &parts.headers {
        if name != header::CONNECTION && !(lengthless && name == header::CONTENT_LENGTH) {
            put(name.as_str(), value.as_bytes());
        }
    }
    if !parts.headers.contains_key(header::CONTENT_LENGTH) && !lengthless && !is_head {
        put("content-length", body.len().to_string().as_bytes());
    }
    put("connection", if keep_alive { b"keep-alive" } else { b"close" });
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&body);
    out
}
