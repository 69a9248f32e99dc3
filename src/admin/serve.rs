//! The admin listener.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Version, header};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower_service::Service;

use super::access::{Origin, Peer};
use super::answer::Failure;
use super::reader::Reader;
use super::router::{named, router};
use super::state::Admin;
use crate::http::host_is_legal;

/// Connections at one time; the next ones wait in the kernel.
const CONNECTIONS_MAX: usize = 256;
/// Headers of a request, as on the public listener.
const HEADERS_MAX: usize = 64;
/// Time that requests under way have once the listener is closed.
const LAST_CALLS: Duration = Duration::from_secs(2);
/// Pause after an accept that failed: out of descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the admin listener until `shutdown`, then lets requests under way end, for two seconds
/// at most. Run it on the admin core's runtime.
///
/// # Errors
/// The listeners cannot be used.
pub async fn serve(
    listeners: Vec<std::net::TcpListener>,
    admin: Arc<Admin>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listeners = listeners.into_iter().map(|listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    });
    let listeners = listeners.collect::<io::Result<Vec<_>>>()?;
    let router = router(&admin);
    let server = server(&admin);
    let (close, closing) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        match next(&admin, &listeners, &mut connections, shutdown.as_mut()).await {
            Next::Close => break,
            Next::Peer(stream, peer) => {
                admin.book().own.admin_connections_opened += 1;
                let served = Served { admin: Arc::clone(&admin), router: router.clone(), peer };
                connections.spawn(served.connection(server.clone(), stream, closing.clone()));
            }
            Next::Failed => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    drop(listeners);
    close.send_replace(true);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    // Whoever is still there is dropped with the set.
    let _in_time = tokio::time::timeout(LAST_CALLS, all_ended).await;
    Ok(())
}

fn server(admin: &Admin) -> http1::Builder {
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(admin.settings.request_timeout)
        .max_header_size(admin.settings.head_bytes_max)
        .max_headers(HEADERS_MAX);
    server
}

enum Next {
    Close,
    Peer(TcpStream, SocketAddr),
    Failed,
}

/// Waits for whatever comes first.
async fn next(
    admin: &Admin,
    listeners: &[TcpListener],
    connections: &mut JoinSet<()>,
    mut shutdown: std::pin::Pin<&mut impl Future<Output = ()>>,
) -> Next {
    poll_fn(|context| {
        if shutdown.as_mut().poll(context).is_ready() {
            return Poll::Ready(Next::Close);
        }
        while let Poll::Ready(Some(_)) = connections.poll_join_next(context) {
            admin.book().own.admin_connections_closed += 1;
        }
        if connections.len() >= CONNECTIONS_MAX {
            return Poll::Pending;
        }
        for listener in listeners {
            match listener.poll_accept(context) {
                Poll::Ready(Ok((stream, peer))) => return Poll::Ready(Next::Peer(stream, peer)),
                Poll::Ready(Err(_)) => return Poll::Ready(Next::Failed),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    })
    .await
}

/// What one connection is served with.
#[derive(Clone)]
struct Served {
    admin: Arc<Admin>,
    router: Router,
    peer: SocketAddr,
}

impl Served {
    /// Serves one connection until it ends, or until its request is answered once all is to close.
    async fn connection(
        self,
        server: http1::Builder,
        stream: TcpStream,
        mut closing: watch::Receiver<bool>,
    ) {
        // Answers are small and whole; a failure costs time, nothing else.
        let _ignored = stream.set_nodelay(true);
        let admin = Arc::clone(&self.admin);
        let reader = Reader::new(TokioIo::new(stream), Arc::clone(&admin));
        let service = service_fn(move |request| self.clone().answer(request));
        let mut connection = pin!(server.serve_connection(reader, service));
        let mut closed = pin!(closing.wait_for(|closing| *closing));
        let mut told = false;
        let ended = poll_fn(|context: &mut Context<'_>| {
            if !told && closed.as_mut().poll(context).is_ready() {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
            connection.as_mut().poll(context)
        })
        .await;
        // How else a connection of somebody else ends is not worth a word.
        if ended.is_err_and(|error| error.is_parse()) {
            admin.book().own.admin_refused += 1;
        }
    }

    async fn answer(mut self, mut request: Request<Incoming>) -> Result<Response, Infallible> {
        if !names_its_host(&request) {
            self.admin.book().own.admin_refused += 1;
            let refusal = Failure::new(400, "BAD_REQUEST", "A request needs one Host");
            let mut response = named(&self.admin, refusal);
            // What stands behind it may be meant for somebody else.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return Ok(response);
        }
        request.extensions_mut().insert(Origin::Admin);
        request.extensions_mut().insert(Peer(self.peer));
        self.router.call(request.map(Body::new)).await
    }
}

/// Whether a request has one `Host` that may be one; HTTP/1.0 may do without.
///
/// Rule: RFC 9112 section 3.2. A second one would be read by somebody in front of us.
fn names_its_host<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host_is_legal(host.as_bytes()),
        (None, None) => request.version() < Version::HTTP_11,
        _ => false,
    }
}
