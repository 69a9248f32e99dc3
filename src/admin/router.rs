//! From the table to a router: every call goes through the same gates in the same order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method as HttpMethod, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::access::{Access, Caller, Origin, identify};
use super::answer::{Failure, REQUEST_ID, Reply};
use super::route::{Call, Method, Place, ROUTES, Route};
use super::state::{Admin, GatewayRoutes};
use crate::config::Scope;
use crate::http::Query;

/// Paths of REST, which pages of other origins may be allowed to call.
const REST_PREFIXES: [&str; 2] = ["/socket/", "/api/"];

/// The routes that are served with these settings.
pub(super) fn served(gateway: GatewayRoutes) -> impl Iterator<Item = &'static Route> {
    let wanted =
        move |route: &&Route| route.place != Place::Gateway || gateway == GatewayRoutes::On;
    ROUTES.iter().filter(wanted)
}

/// The router of both listeners. Requests carry the extensions [`Origin`] and
/// [`super::Peer`].
pub fn router(admin: &Arc<Admin>) -> Router {
    let mut router = Router::new();
    for route in served(admin.settings.gateway) {
        let method = match route.method {
            Method::Get => MethodFilter::GET,
            Method::Post => MethodFilter::POST,
        };
        let handler = move |State(admin): State<Arc<Admin>>, request: Request| async move {
            match answer(Arc::clone(&admin), route, request).await {
                Ok(reply) => reply.into_response(),
                Err(failure) => named(&admin, failure),
            }
        };
        router = router.route(route.path, on(method, handler));
    }
    router
        .fallback(
            |State(admin): State<Arc<Admin>>| async move { named(&admin, Failure::not_found()) },
        )
        .method_not_allowed_fallback(|State(admin): State<Arc<Admin>>| async move {
            named(&admin, Failure::method_not_allowed())
        })
        .layer(middleware::from_fn_with_state(Arc::clone(admin), guard))
        .with_state(Arc::clone(admin))
}

/// A failure that happened before there was a command, under the name of the call.
pub(super) fn named(admin: &Admin, failure: Failure) -> Response {
    failure.named(admin.desk.next_id()).into_response()
}

/// Around every request: cross-origin rules, headers of every answer, panics, the count.
async fn guard(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let path = request.uri().path();
    let is_rest = REST_PREFIXES.iter().any(|prefix| path.starts_with(prefix));
    let origin = text_of(&request, "origin").map(str::to_owned);
    if is_rest && let Some(response) = preflight(&admin, &request) {
        return response;
    }
    let mut response = unwound(next.run(request)).await;
    let headers = response.headers_mut();
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if is_rest {
        if !headers.contains_key(REQUEST_ID)
            && let Ok(id) = HeaderValue::try_from(admin.desk.next_id())
        {
            headers.insert(REQUEST_ID, id);
        }
        let cors = admin.cors.headers(origin.as_deref());
        extend(&mut response, cors.iter().map(|(name, value)| (*name, value.as_str())));
        admin.count_call(began.elapsed(), response.status().as_u16());
    }
    response
}

fn text_of<'a>(request: &'a Request, header: &str) -> Option<&'a str> {
    request.headers().get(header).and_then(|value| value.to_str().ok())
}

/// The answer to a browser that asks whether its page may call; nobody if no page may.
fn preflight(admin: &Admin, request: &Request) -> Option<Response> {
    if request.method() != HttpMethod::OPTIONS {
        return None;
    }
    let asked = text_of(request, "access-control-request-headers");
    let answer = admin.cors.preflight(text_of(request, "origin"), asked)?;
    let mut response = StatusCode::from_u16(answer.status).ok()?.into_response();
    extend(&mut response, answer.headers.iter().map(|(name, value)| (*name, value.as_ref())));
    Some(response)
}

fn extend<'a>(response: &mut Response, headers: impl Iterator<Item = (&'a str, &'a str)>) {
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            response.headers_mut().append(name, value);
        }
    }
}

/// The response, or a 500 if a handler panicked: one bad call must not end the admin core.
pub(super) async fn unwound(response: impl Future<Output = Response>) -> Response {
    let mut response = pin!(response);
    std::future::poll_fn(|context| {
        // What the handler left half done is its own; the book holds numbers only.
        let poll = AssertUnwindSafe(|| response.as_mut().poll(context));
        match catch_unwind(poll) {
            Ok(poll) => poll,
            Err(_) => Poll::Ready(Failure::internal().into_response()),
        }
    })
    .await
}

/// One call of one route, gate by gate: listener, key, media type, size; then its handler.
async fn answer(
    admin: Arc<Admin>,
    route: &'static Route,
    request: Request,
) -> Result<Reply, Failure> {
    let (mut parts, body) = request.into_parts();
    let on_admin = parts.extensions.get::<Origin>() == Some(&Origin::Admin);
    if route.place == Place::AdminListener && !on_admin {
        return Err(Failure::not_found());
    }
    let (caller, scopes) = admit(&admin, route, &parts)?;
    let idempotency_key = if route.idempotent { key_of(&parts)? } else { None };
    let body = match route.method {
        Method::Get => Vec::new(),
        Method::Post => read_body(&admin, &parts, body).await?,
    };
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let params = RawPathParams::from_request_parts(&mut parts, &())
        .await
        .map_err(|_| Failure::invalid("path", "must be UTF-8 when it is decoded"))?;
    let params = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let call = Call { params, query, body, scopes, caller, idempotency_key };
    match tokio::time::timeout(route.within, (route.handler)(admin, call)).await {
        Ok(answered) => answered,
        Err(_) => Err(Failure::overloaded("The workers did not answer in time")),
    }
}

/// The key that makes a write idempotent. Two of them are none.
fn key_of(parts: &Parts) -> Result<Option<String>, Failure> {
    let mut keys = parts.headers.get_all("idempotency-key").iter();
    let Some(key) = keys.next() else { return Ok(None) };
    match (key.to_str(), keys.next()) {
        (Ok(key), None) => Ok(Some(key.to_owned())),
        _ => Err(Failure::invalid("Idempotency-Key", "must be one header of ASCII characters")),
    }
}

/// Who calls and what it may do, if that is enough for this route.
fn admit(admin: &Admin, route: &Route, parts: &Parts) -> Result<(String, Vec<Scope>), Failure> {
    let caller = identify(&admin.settings.keys, &admin.settings.cors_origins, parts);
    let scopes = |caller: Caller<'_>| {
        let all = [Scope::Emit, Scope::Read, Scope::Admin];
        let scopes = all.into_iter().filter(|scope| caller.may(*scope)).collect();
        let name = match caller {
            Caller::Keyless => String::new(),
            Caller::Key(key) => key.name.clone(),
        };
        (name, scopes)
    };
    match (route.access, caller) {
        (Access::Open, caller) => Ok(caller.map_or_else(|_| Default::default(), scopes)),
        (Access::Needs(scope), Ok(caller)) if caller.may(scope) => Ok(scopes(caller)),
        (Access::Needs(scope), Ok(_)) => {
            let scope = format!("{scope:?}").to_ascii_lowercase();
            Err(Failure::forbidden(format!("This API key lacks the scope {scope}")))
        }
        (Access::Needs(_), Err(failure)) => Err(failure),
    }
}

async fn read_body(admin: &Admin, parts: &Parts, body: Body) -> Result<Vec<u8>, Failure> {
    if !is_json(parts) {
        return Err(Failure::unsupported_media_type());
    }
    let bytes_max = admin.settings.body_bytes_max;
    let announced = parts.headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let mut body = body;
    if announced.is_some_and(|length| length > bytes_max) {
        read_past(&mut body, READ_PAST_TIME).await;
        return Err(Failure::too_large(bytes_max));
    }
    let whole = Limited::new(&mut body, bytes_max).collect();
    match tokio::time::timeout(admin.settings.request_timeout, whole).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes().to_vec()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            read_past(&mut body, READ_PAST_TIME).await;
            Err(Failure::too_large(bytes_max))
        }
        Ok(Err(_)) => Err(Failure::new(400, "BAD_REQUEST", "The body did not arrive whole")),
        Err(_) => Err(Failure::new(408, "REQUEST_TIMEOUT", "The body did not arrive in time")),
    }
}

/// Time for all of a body that is read past, as on the public listener.
const READ_PAST_TIME: Duration = Duration::from_secs(2);
/// Time between two parts of it.
const READ_PAST_PAUSE: Duration = Duration::from_millis(200);
/// Bytes of it at the most.
const READ_PAST_BYTES: usize = 64 << 20;

/// Reads what is on its way of a body that is refused: closing a connection with bytes unread
/// resets it, and the answer would be lost on the client. Who sends a byte now and then is not
/// waited for.
async fn read_past(body: &mut Body, within: Duration) {
    let parts = async {
        let mut read = 0;
        while read < READ_PAST_BYTES {
            match tokio::time::timeout(READ_PAST_PAUSE, body.frame()).await {
                Ok(Some(Ok(frame))) => read += frame.data_ref().map_or(0, |data| data.len()),
                Ok(Some(Err(_)) | None) | Err(_) => return,
            }
        }
    };
    let _whole_or_not = tokio::time::timeout(within, parts).await;
}

/// Whether the body says it is JSON. Forms and plain text are what a page of another origin can
/// send without asking; JSON is not.
fn is_json(parts: &Parts) -> bool {
    let mut types = parts.headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(media_type), None) = (types.next(), types.next()) else {
        return false;
    };
    let essence = media_type.to_str().ok().and_then(|text| text.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::Context;

    use axum::body::{Bytes, HttpBody};
    use hyper::body::Frame;

    use super::*;

    /// A body that never ends, of which a little comes with every other look.
    struct Endless {
        comes: bool,
    }

    impl HttpBody for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.comes = !self.comes;
            if self.comes {
                return Poll::Ready(Some(Ok(Frame::data(Bytes::new()))));
            }
            context.waker().wake_by_ref();
            Poll::Pending
        }
    }

    #[test]
    fn a_body_that_comes_in_drops_is_not_read_past_for_ever() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut body = Body::new(Endless { comes: false });
            let reading = read_past(&mut body, Duration::from_millis(50));
            let ended = tokio::time::timeout(Duration::from_secs(10), reading).await;
            assert!(ended.is_ok(), "it is read for as long as it comes");
        });
    }
}
