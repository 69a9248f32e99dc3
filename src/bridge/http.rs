//! Calls to other people's HTTP servers: one client for webhooks and identity providers.
//!
//! It follows no redirect and asks no proxy, whatever the environment says: a call goes where the
//! configuration sends it or nowhere. Every call has an end, and an answer that is longer than
//! its caller wants is not read.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// Idle connections are closed before servers do it: Node closes them after five seconds.
const IDLE_MAX: Duration = Duration::from_secs(4);
/// Idle connections kept for one server.
const IDLE_CONNECTIONS_MAX: usize = 32;

/// The client. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// One call.
#[derive(Clone, Debug)]
pub(super) struct HttpCall {
    pub(super) method: Method,
    /// An absolute address, `http` or `https`.
    pub(super) url: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// From the first byte sent to the last one received, connecting included.
    pub(super) timeout: Duration,
    /// Bytes of the answer's body.
    pub(super) answer_bytes_max: usize,
}

/// What came back, whatever its status.
#[derive(Clone, Debug)]
pub(super) struct HttpAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why nothing came back that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HttpError {
    /// There was no connection: the server has seen nothing of it.
    Unreachable(String),
    /// It took too long; the server may have seen it.
    TimedOut,
    /// The answer is longer than its caller wants.
    TooLarge,
    /// The connection broke, or what came is no HTTP; the server may have seen it.
    Broken(String),
}

impl std::fmt::Display for HttpError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(why) => write!(out, "cannot be reached: {why}"),
            Self::TimedOut => out.write_str("did not answer in time"),
            Self::TooLarge => out.write_str("answered too much"),
            Self::Broken(why) => write!(out, "broke off: {why}"),
        }
    }
}

impl Http {
    /// A client that trusts what this machine trusts. Reads its certificates from disk.
    pub(super) fn new() -> Self {
        let mut roots = rustls::RootCertStore::empty();
        // Without any, calls by https fail and say so; calls by http do not need them.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let https =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(https.wrap_connector(tcp));
        Self { client }
    }

    /// Makes a call.
    ///
    /// # Errors
    /// No whole answer came back; an answer with a status of failure is no error.
    pub(super) async fn call(&self, call: HttpCall) -> Result<HttpAnswer, HttpError> {
        let timeout = call.timeout;
        match tokio::time::timeout(timeout, self.exchange(call)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(HttpError::TimedOut),
        }
    }

    async fn exchange(&self, call: HttpCall) -> Result<HttpAnswer, HttpError> {
        let HttpCall { method, url, headers, body, answer_bytes_max, .. } = call;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = url;
        *request.headers_mut() = headers;
        let answer = self.client.request(request).await.map_err(|error| {
            let why = innermost(&error);
            if error.is_connect() { HttpError::Unreachable(why) } else { HttpError::Broken(why) }
        })?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, answer_bytes_max).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return HttpError::TooLarge;
            }
            HttpError::Broken(innermost(&*error))
        })?;
        Ok(HttpAnswer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }
}

/// What is at the bottom of an error: the kernel's or TLS's own words.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
