//! The admin core against real cores: request in, answer out.

mod asks;
mod batches;
mod commands;
mod document;
mod fake;
mod gates;
mod gateway;
mod health;
mod wire;

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use serde_json::Value;
use tower_service::Service;

use self::fake::World;
use super::{Admin, Origin, Peer, collect, router};
use crate::config::{ApiKey, Scope, Secret};

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What stands at a JSON pointer.
    fn at(&self, pointer: &str) -> Value {
        self.json().pointer(pointer).cloned().unwrap_or_else(|| panic!("{pointer}: {self:?}"))
    }

    fn code(&self) -> String {
        let json = self.json();
        assert_eq!(json["success"], false, "{self:?}");
        assert!(json["message"].as_str().is_some_and(|text| text.len() > 3), "{self:?}");
        let id = json["error"]["id"].as_str().unwrap_or_default();
        assert!(!id.is_empty() && id == self.header("x-request-id"), "{self:?}");
        json["error"]["code"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A request as it comes from this machine to the admin listener.
fn request(method: &str, path: &str, body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost:3002");
    if method == "POST" {
        request = request.header("content-type", "application/json");
    }
    let mut request = request.body(Body::from(body.to_owned())).unwrap();
    request.extensions_mut().insert(Origin::Admin);
    request.extensions_mut().insert(Peer(([127, 0, 0, 1], 40_000).into()));
    request
}

fn send(world: &World, request: Request<Body>) -> Answer {
    world.run(answer(world, request))
}

async fn answer(world: &World, request: Request<Body>) -> Answer {
    let response = router(&world.admin).call(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: String::from_utf8(body).unwrap(),
    }
}

fn get(world: &World, path: &str) -> Answer {
    send(world, request("GET", path, ""))
}

fn post(world: &World, path: &str, body: &str) -> Answer {
    send(world, request("POST", path, body))
}

fn key(name: &str, key: &str, scopes: &[Scope]) -> ApiKey {
    ApiKey { name: name.into(), key: Secret::new(key), scopes: scopes.to_vec() }
}

/// The paths of a document with their methods, sorted.
fn documented(admin: &Arc<Admin>) -> Vec<String> {
    let document = super::openapi::document(&admin.settings).to_json().unwrap();
    let document: Value = serde_json::from_str(&document).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            found.push(format!("{method} {path}"));
        }
    }
    found.sort();
    found
}
