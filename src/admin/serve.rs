//! The admin listener.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
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
use super::router::router;
use super::state::Admin;

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
        match next(&listeners, &mut connections, shutdown.as_mut()).await {
            Next::Close => break,
            Next::Peer(stream, peer) => {
                let (router, server) = (router.clone(), server.clone());
                connections.spawn(connection(server, stream, peer, router, closing.clone()));
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
    listeners: &[TcpListener],
    connections: &mut JoinSet<()>,
    mut shutdown: std::pin::Pin<&mut impl Future<Output = ()>>,
) -> Next {
    poll_fn(|context| {
        if shutdown.as_mut().poll(context).is_ready() {
            return Poll::Ready(Next::Close);
        }
        while let Poll::Ready(Some(_)) = connections.poll_join_next(context) {}
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

/// Serves one connection until it ends, or until its request is answered once all is to close.
async fn connection(
    server: http1::Builder,
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    mut closing: watch::Receiver<bool>,
) {
    // Answers are small and whole; a failure costs time, nothing else.
    let _ignored = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(router.clone(), request, peer));
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
    let mut closed = pin!(closing.wait_for(|closing| *closing));
    let mut told = false;
    poll_fn(|context| {
        if !told && closed.as_mut().poll(context).is_ready() {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        // How a connection of somebody else ends is not worth a line.
        connection.as_mut().poll(context).map(|_ended| ())
    })
    .await;
}

async fn answer(
    mut router: Router,
    mut request: Request<Incoming>,
    peer: SocketAddr,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(Origin::Admin);
    request.extensions_mut().insert(Peer(peer));
    router.call(request.map(Body::new)).await
}
