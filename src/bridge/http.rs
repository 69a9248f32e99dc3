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

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// Answers every connection so, or keeps it waiting. Ends with the test's process.
    fn serve(answer: &'static str) -> Uri {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut waiting = Vec::new();
            for mut stream in listener.incoming().map_while(Result::ok) {
                let _read = stream.read(&mut [0; 4_096]);
                let _written = stream.write_all(answer.as_bytes());
                if answer.is_empty() {
                    waiting.push(stream);
                }
            }
        });
        format!("http://{address}/").parse().unwrap()
    }

    async fn get(url: Uri) -> Result<HttpAnswer, HttpError> {
        let call = HttpCall {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: Duration::from_millis(300),
            answer_bytes_max: 4,
        };
        Http::new().call(call).await
    }

    #[tokio::test]
    async fn an_answer_comes_back_whatever_its_status() {
        let url = serve("HTTP/1.1 500 No\r\nContent-Length: 4\r\nX-A: b\r\n\r\nfour");
        let answer = get(url).await.unwrap();
        assert_eq!((answer.status.as_u16(), &*answer.body), (500, &b"four"[..]));
        assert_eq!(answer.headers["x-a"], "b");
    }

    #[tokio::test]
    async fn no_redirect_is_followed() {
        let elsewhere = serve("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let text = format!("HTTP/1.1 307 Go\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n");
        let answer = get(serve(text.leak())).await.unwrap();
        assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    }

    #[tokio::test]
    async fn what_goes_wrong_is_told_apart() {
        let long = serve("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfives");
        assert_eq!(get(long).await.unwrap_err(), HttpError::TooLarge);
        assert_eq!(get(serve("")).await.unwrap_err(), HttpError::TimedOut);
        let broken = get(serve("SSH-2.0-x\r\n\r\n")).await.unwrap_err();
        assert!(matches!(broken, HttpError::Broken(_)), "{broken:?}");
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for url in [format!("http://{free}/"), String::from("http://no-such-host.invalid/")] {
            let refused = get(url.parse().unwrap()).await.unwrap_err();
            assert!(matches!(refused, HttpError::Unreachable(_)), "{refused:?}");
        }
    }

    #[tokio::test]
    async fn a_server_that_speaks_no_tls_is_not_reached() {
        let url = serve("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let url = url.to_string().replace("http:", "https:").parse().unwrap();
        let refused = get(url).await.unwrap_err();
        assert!(matches!(refused, HttpError::Unreachable(_)), "{refused:?}");
    }
    /// An https server with a certificate that nobody this machine trusts has signed, and what
    /// comes of the one connection it takes: what was read, or why nothing was.
    fn serve_untrusted() -> (Uri, std::thread::JoinHandle<Result<usize, String>>) {
        let made = rcgen::generate_simple_self_signed(vec![String::from("127.0.0.1")]).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let served = std::thread::spawn(move || {
            let (tcp, _) = listener.accept().unwrap();
            let tls = rustls::ServerConnection::new(Arc::new(config)).unwrap();
            let mut stream = rustls::StreamOwned::new(tls, tcp);
            stream.read(&mut [0; 4_096]).map_err(|error| error.to_string())
        });
        (url, served)
    }

    /// CVE-2016-10536: a client that asks anybody who answers.
    #[tokio::test]
    async fn a_server_whose_certificate_nobody_vouches_for_is_told_nothing() {
        let (url, served) = serve_untrusted();
        let refused = get(url).await.unwrap_err();
        let HttpError::Unreachable(why) = &refused else { panic!("{refused:?}") };
        assert!(why.contains("UnknownIssuer"), "{why}");
        let told = served.join().unwrap();
        assert!(told.as_ref().is_err_and(|why| why.contains("alert")), "{told:?}");
    }
}
