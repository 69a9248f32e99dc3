//! What the admin listener shows beside REST: the document and a page for people.

use std::sync::Arc;

use super::answer::{Failure, Reply};
use super::hooks;
use super::openapi;
use super::route::Call;
use super::state::{Admin, GatewayRoutes};

/// `GET /openapi.json`.
pub(super) async fn document(admin: Arc<Admin>, _call: Call) -> Result<Reply, Failure> {
    let document = openapi::document(&admin.settings);
    let mut document = serde_json::to_value(document).map_err(|_| Failure::internal())?;
    if admin.settings.gateway == GatewayRoutes::On {
        hooks::describe(&mut document);
    }
    let body = document.to_string().into();
    Ok(Reply::Text { status: 200, media_type: "application/json", body })
}

/// `GET /`.
pub(super) async fn index(_admin: Arc<Admin>, _call: Call) -> Result<Reply, Failure> {
    let body = include_str!("index.html").into();
    Ok(Reply::Text { status: 200, media_type: "text/html; charset=utf-8", body })
}
