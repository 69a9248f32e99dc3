//! Who gets in, and what a request must be.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Request};

use super::super::{GatewayRoutes, Origin, Peer};
use super::fake::World;
use super::{Answer, documented, get, key, post, request, send};
use crate::config::Scope;

const BODY: &str = r#"{"roomId":"r","name":"R"}"#;

fn with(world: &World, headers: &[(&'static str, &str)]) -> Answer {
    let mut request = request("GET", "/socket/stats", "");
    if headers.iter().any(|(name, _)| *name == "host") {
        request.headers_mut().remove("host");
    }
    for (name, value) in headers {
        request.headers_mut().append(*name, HeaderValue::from_str(value).unwrap());
    }
    send(world, request)
}

#[test]
fn without_a_key_only_this_machine_may_and_only_on_the_admin_listener() {
    let world = World::new(1, |admin| {
        admin.cors_origins = vec!["http://localhost:3000".into(), "*".into()];
    });
    assert_eq!(get(&world, "/socket/stats").status, 200);
    for own in [
        &[("origin", "http://localhost:3002")][..],
        &[("origin", "http://localhost:3000")],
        &[("host", "[::1]:3002")],
        &[("host", "127.0.0.1")],
        &[("authorization", "Bearer whatever")],
    ] {
        assert_eq!(with(&world, own).status, 200, "{own:?}");
    }
    for foreign in [
        &[("host", "example.org")][..],
        &[("host", "localhost"), ("host", "localhost")],
        &[("host", "rebound.example.org:3002")],
        &[("forwarded", "for=1.2.3.4")],
        &[("x-forwarded-for", "127.0.0.1")],
        &[("x-forwarded-host", "localhost")],
        &[("x-forwarded-anything", "")],
        &[("via", "1.1 proxy")],
        &[("origin", "https://example.org")],
        &[("origin", "http://localhost:3001")],
        &[("origin", "null")],
        &[("origin", "http://localhost:3002"), ("origin", "https://example.org")],
    ] {
        let answer = with(&world, foreign);
        assert_eq!((answer.status, answer.code().as_str()), (401, "UNAUTHORIZED"), "{foreign:?}");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"corewire\"");
    }
    for peer in ["10.0.0.7:1", "[::ffff:10.0.0.7]:1", "[2001:db8::1]:1"] {
        let mut request = request("GET", "/socket/stats", "");
        request.extensions_mut().insert(Peer(peer.parse().unwrap()));
        assert_eq!(send(&world, request).status, 401, "{peer}");
    }
    for change in [
        |request: &mut Request<Body>| assert!(request.extensions_mut().remove::<Peer>().is_some()),
        |request: &mut Request<Body>| {
            assert!(request.extensions_mut().remove::<Origin>().is_some())
        },
        |request: &mut Request<Body>| {
            request.extensions_mut().insert(Origin::Public);
        },
        |request: &mut Request<Body>| assert!(request.headers_mut().remove("host").is_some()),
        |request: &mut Request<Body>| {
            *request.uri_mut() = "http://example.org/socket/stats".parse().unwrap();
        },
    ] {
        let mut request = request("GET", "/socket/stats", "");
        change(&mut request);
        assert_eq!(send(&world, request).status, 401);
    }
}

#[test]
fn keys_open_what_their_scopes_say_on_both_listeners() {
    let world = World::new(1, |admin| {
        admin.keys = vec![
            key("emitter", "emit-secret", &[Scope::Emit]),
            key("reader", "read-secret", &[Scope::Read]),
            key("owner", "admin-secret", &[Scope::Admin]),
        ];
    });
    let calls = [
        ("GET", "/socket/stats", ""),
        (
            "POST",
            "/socket/notifications",
            r#"{"userId":"u","type":"info","title":"t","message":"m"}"#,
        ),
        ("POST", "/socket/rooms/message", r#"{"roomId":"r","event":"e"}"#),
        ("POST", "/socket/rooms", BODY),
        ("POST", "/socket/rooms/leave", r#"{"roomId":"r","userId":"u"}"#),
    ];
    let expected = [
        ("emit-secret", [403, 200, 200, 200, 200]),
        ("read-secret", [200, 403, 403, 403, 403]),
        ("admin-secret", [200; 5]),
        ("wrong-secret", [401; 5]),
        ("emit-secre", [401; 5]),
        ("", [401; 5]),
    ];
    for origin in [Origin::Public, Origin::Admin] {
        for (secret, statuses) in expected {
            for (status, (method, path, body)) in statuses.into_iter().zip(calls) {
                for (header, scheme) in [("authorization", "bearer "), ("x-api-key", "")] {
                    let mut request = request(method, path, body);
                    request.extensions_mut().insert(origin);
                    let value = HeaderValue::from_str(&format!("{scheme}{secret}")).unwrap();
                    request.headers_mut().insert(header, value);
                    let answer = send(&world, request);
                    let what = format!("{origin:?} {header} {secret} {path} {answer:?}");
                    match status {
                        401 => assert_eq!(answer.code(), "UNAUTHORIZED", "{what}"),
                        403 => assert_eq!(answer.code(), "FORBIDDEN", "{what}"),
                        _ => assert_eq!(answer.at("/success"), true, "{what}"),
                    }
                    let answered = if answer.status == 201 { 200 } else { answer.status };
                    assert_eq!(answered, status, "{what}");
                }
            }
        }
        let mut request = request("GET", "/socket/stats", "");
        request.extensions_mut().insert(origin);
        assert_eq!(
            send(&world, request).status,
            401,
            "a key is configured, so loopback is not enough"
        );
    }
}

#[test]
fn what_is_for_the_admin_listener_is_not_found_on_the_public_one() {
    let world = World::new(1, |admin| {
        admin.keys = vec![key("owner", "admin-secret", &[Scope::Admin])];
    });
    for (path, admin) in [("/metrics", 200), ("/openapi.json", 200), ("/", 200)] {
        for (origin, status) in [(Origin::Admin, admin), (Origin::Public, 404)] {
            let mut request = request("GET", path, "");
            request.headers_mut().insert("x-api-key", HeaderValue::from_static("admin-secret"));
            request.extensions_mut().insert(origin);
            assert_eq!(send(&world, request).status, status, "{origin:?} {path}");
        }
    }
    assert_eq!(get(&world, "/metrics").status, 401, "metrics are not for everybody");
    assert_eq!(get(&world, "/").status, 200, "the page asks for a key itself");
}

#[test]
fn a_write_must_say_that_it_is_json() {
    let world = World::new(1, |_| {});
    let path = "/socket/rooms";
    for media_type in ["text/plain", "application/jsonp", "", "application/x-www-form-urlencoded"] {
        let mut request = request("POST", path, BODY);
        request.headers_mut().insert("content-type", HeaderValue::from_str(media_type).unwrap());
        let answer = send(&world, request);
        assert_eq!((answer.status, answer.code().as_str()), (415, "UNSUPPORTED_MEDIA_TYPE"));
    }
    let mut without = request("POST", path, BODY);
    without.headers_mut().remove("content-type");
    assert_eq!(send(&world, without).status, 415);
    let mut charset = request("POST", path, BODY);
    let media_type = HeaderValue::from_static("Application/JSON; charset=utf-8");
    charset.headers_mut().insert("content-type", media_type);
    assert_eq!(send(&world, charset).status, 201);
}

#[test]
fn a_body_that_is_no_json_too_long_or_of_another_shape_says_where() {
    let world = World::new(1, |admin| admin.body_bytes_max = 1_000);
    let path = "/socket/rooms";
    for (body, line, column) in [
        ("", 1, 0),
        ("{", 1, 1),
        ("{\n  \"roomId\": oops}", 2, 13),
        ("[1,]", 1, 4),
        ("\"\\ud800\"", 1, 8),
    ] {
        let answer = post(&world, path, body);
        assert_eq!((answer.status, answer.code().as_str()), (400, "INVALID_JSON"), "{body}");
        assert_eq!(
            answer.at("/error/details"),
            serde_json::json!({"line": line, "column": column})
        );
    }
    let deep = format!("{}{}", "[".repeat(400), "]".repeat(400));
    assert_eq!(post(&world, path, &deep).code(), "INVALID_JSON");

    let long = format!(r#"{{"roomId":"r","name":"{}"}}"#, "x".repeat(1_000));
    let answer = post(&world, path, &long);
    assert_eq!((answer.status, answer.code().as_str()), (413, "PAYLOAD_TOO_LARGE"));
    let mut announced = request("POST", path, "");
    announced.headers_mut().insert("content-length", HeaderValue::from_static("1001"));
    assert_eq!(send(&world, announced).status, 413);

    for (body, members) in [
        ("[]", &["payload"][..]),
        ("{}", &["roomId", "name"]),
        (r#"{"roomId":"","name":7}"#, &["roomId", "name"]),
        (r#"{"roomId":"user:x","name":"n"}"#, &["roomId"]),
        (r#"{"roomId":"a","roomId":"b","name":"n"}"#, &["payload"]),
    ] {
        let answer = post(&world, path, body);
        assert_eq!((answer.status, answer.code().as_str()), (422, "VALIDATION_FAILED"), "{body}");
        let details = answer.at("/error/details");
        let named: Vec<_> =
            details.as_array().unwrap().iter().map(|one| one["member"].as_str().unwrap()).collect();
        assert_eq!(named, members, "{body}");
    }
    for name in ["connect", "disconnecting", "newListener"] {
        let body = format!(r#"{{"roomId":"r","event":"{name}"}}"#);
        assert_eq!(post(&world, "/socket/rooms/message", &body).status, 422, "{name}");
    }
}

#[test]
fn unknown_paths_and_methods_are_answered_in_the_same_shape() {
    let world = World::new(1, |_| {});
    for path in ["/nothing", "/socket/", "/socket/users/", "/socket/users/u/x", "/api/v1", "/docs"]
    {
        let answer = get(&world, path);
        assert_eq!((answer.status, answer.code().as_str()), (404, "NOT_FOUND"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    for (method, path, allow) in [
        ("DELETE", "/socket/rooms", "GET,HEAD,POST"),
        ("GET", "/socket/rooms/join", "POST"),
        ("POST", "/socket/stats", "GET,HEAD"),
        ("OPTIONS", "/socket/stats", "GET,HEAD"),
        ("PUT", "/healthz", "GET,HEAD"),
    ] {
        let answer = send(&world, request(method, path, ""));
        assert_eq!((answer.status, answer.code().as_str()), (405, "METHOD_NOT_ALLOWED"), "{path}");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
    let head = send(&world, request("HEAD", "/openapi.json", ""));
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let undecodable = get(&world, "/socket/users/%ff/connected");
    assert_eq!((undecodable.status, undecodable.code().as_str()), (422, "VALIDATION_FAILED"));
}

#[test]
fn cross_origin_headers_are_sent_for_rest_and_only_if_configured() {
    let asks = |path: &str, origin: &str| {
        let mut request = request("OPTIONS", path, "");
        request.headers_mut().insert("origin", HeaderValue::from_str(origin).unwrap());
        let method = HeaderValue::from_static("POST");
        request.headers_mut().insert("access-control-request-method", method);
        request
    };
    let off = World::new(1, |_| {});
    let answer = send(&off, asks("/socket/rooms", "https://a.example"));
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (405, ""));

    let on = World::new(1, |admin| {
        admin.cors_origins = vec!["https://a.example".into(), "https://b.example".into()];
        admin.keys = vec![key("owner", "admin-secret", &[Scope::Admin])];
    });
    for path in ["/socket/rooms", "/api/v1/anything"] {
        let answer = send(&on, asks(path, "https://b.example"));
        assert_eq!(answer.status, 204, "a preflight has no key");
        assert_eq!(answer.header("access-control-allow-origin"), "https://b.example");
        assert!(answer.header("access-control-allow-headers").contains("X-API-Key"));
        assert_eq!(answer.header("access-control-allow-methods"), "GET,HEAD,POST");
    }
    let stranger = send(&on, asks("/socket/rooms", "https://c.example"));
    assert_eq!((stranger.status, stranger.header("access-control-allow-origin")), (204, ""));
    assert_eq!(send(&on, asks("/healthz", "https://b.example")).status, 405);
    let mut refused = request("GET", "/socket/stats", "");
    refused.headers_mut().insert("origin", HeaderValue::from_static("https://a.example"));
    let answer = send(&on, refused);
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("access-control-allow-origin"), "https://a.example");
    assert_eq!(answer.header("vary"), "Origin");
}

#[test]
fn a_panic_is_answered_and_ends_nothing() {
    let world = World::new(1, |_| {});
    let response = world.run(super::super::router::unwound(async { panic!("a mistake") }));
    assert_eq!(response.status(), 500);
    assert_eq!(get(&world, "/socket/stats").status, 200);
}

#[test]
fn workers_that_take_nothing_or_say_nothing_are_not_waited_for_for_ever() {
    use std::sync::atomic::Ordering::Relaxed;
    let world = World::new(2, |_| {});
    world.queue.full.store(true, Relaxed);
    let answer = post(&world, "/socket/rooms", BODY);
    assert_eq!((answer.status, answer.code().as_str()), (503, "OVERLOADED"));
    assert_eq!(answer.header("retry-after"), "1");
    world.queue.full.store(false, Relaxed);
    world.queue.silent.store(0b11, Relaxed);
    let began = std::time::Instant::now();
    let answer = post(&world, "/socket/rooms", BODY);
    assert_eq!((answer.status, answer.code().as_str()), (503, "OVERLOADED"));
    assert!(began.elapsed() >= Duration::from_millis(1_900));
    world.queue.silent.store(0, Relaxed);
    let answer = post(&world, "/socket/rooms", BODY);
    assert_eq!(answer.status, 200, "the call that was given up on was done nonetheless");
}

#[test]
fn the_document_describes_what_is_served_and_nothing_else() {
    let on = World::new(1, |_| {});
    let mut table: Vec<_> = super::super::route::ROUTES
        .iter()
        .map(|route| format!("{:?} {}", route.method, route.path).to_ascii_lowercase())
        .collect();
    table.sort();
    let found: Vec<_> = documented(&on.admin).iter().map(|row| row.to_ascii_lowercase()).collect();
    assert_eq!(found, table);
    assert_eq!(table.len(), 28);

    let off = World::new(1, |admin| admin.gateway = GatewayRoutes::Off);
    for row in documented(&on.admin) {
        let (method, path) = row.split_once(' ').unwrap();
        let path = path.replace("{userId}", "u");
        let answer = send(&on, request(&method.to_ascii_uppercase(), &path, "{}"));
        assert!(![404, 405].contains(&answer.status), "{row}: {answer:?}");
        let served = documented(&off.admin).contains(&row);
        let status = send(&off, request(&method.to_ascii_uppercase(), &path, "{}")).status;
        assert_eq!(status != 404, served, "{row}: {status}");
    }

    let document = get(&on, "/openapi.json").json();
    assert_eq!(document["openapi"].as_str().unwrap().split('.').next(), Some("3"));
    let text = document.to_string();
    for name in text.split("#/components/schemas/").skip(1) {
        let name = name.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name} is described");
    }
    let create = &document["paths"]["/socket/rooms"]["post"];
    for status in ["200", "201", "400", "401", "403", "413", "415", "422", "429", "503"] {
        assert!(create["responses"][status].is_object(), "{status}");
    }
    assert_eq!(create["security"].as_array().unwrap().len(), 2, "either header will do");
    let shape = &document["components"]["schemas"]["NotificationRequest"];
    assert_eq!(shape["required"], serde_json::json!(["userId", "type", "title", "message"]));
    assert_eq!(shape["properties"]["type"]["enum"][0], "success");
    let connected = &document["paths"]["/socket/users/{userId}/connected"]["get"];
    assert_eq!(connected["parameters"][0]["in"], "path");
}
