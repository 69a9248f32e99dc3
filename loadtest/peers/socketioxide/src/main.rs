//! The bench contract on socketioxide, on axum and tokio's current-thread runtime.
//!
//! `corewire-peer-socketioxide [--listen 127.0.0.1:0]` prints `listening on ADDRESS:PORT`. Each
//! connection: `join` (room) is acknowledged, `echo` (x) is acknowledged with x, `pub` ({room, ...})
//! goes as `msg` to the room. `POST /pub` does what `pub` does.

use std::error::Error;

use axum::extract::{Json, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::serve::ListenerExt;
use serde_json::Value;
use socketioxide::extract::{AckSender, Data, SocketRef};
use socketioxide::{SocketIo, TransportType};
use tokio::net::TcpSocket;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Storms of connections must wait in the kernel, not be refused.
const BACKLOG: u32 = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let address = listen_address(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(&address))
}

/// Reads `--listen ADDRESS:PORT` or `--listen=ADDRESS:PORT`.
fn listen_address(mut args: impl Iterator<Item = String>) -> Result<String, String> {
    let mut address = String::from("127.0.0.1:0");
    while let Some(arg) = args.next() {
        address = match arg.strip_prefix("--listen=") {
            Some(value) => value.to_owned(),
            None if arg == "--listen" => args.next().ok_or("--listen wants ADDRESS:PORT")?,
            None => return Err(format!("{arg}: only --listen ADDRESS:PORT is known")),
        };
    }
    Ok(address)
}

async fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    let (layer, io) = SocketIo::builder().transports([TransportType::Websocket]).build_layer();
    io.ns("/", async |socket: SocketRef| {
        socket.on("join", async |socket: SocketRef, Data::<String>(room), ack: AckSender| {
            socket.join(room);
            let _ = ack.send(&());
        });
        socket.on("echo", async |Data::<Value>(x), ack: AckSender| {
            let _ = ack.send(&x);
        });
        socket.on("pub", async |io: SocketIo, Data::<Value>(message), ack: AckSender| {
            publish(&io, &message).await;
            let _ = ack.send(&());
        });
    });

    let app = axum::Router::new().route("/pub", post(post_publish)).with_state(io).layer(layer);
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address.parse()?)?;
    let listener = socket.listen(BACKLOG)?;
    println!("listening on {}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, app).await?;
    Ok(())
}

async fn post_publish(State(io): State<SocketIo>, Json(message): Json<Value>) -> StatusCode {
    publish(&io, &message).await;
    StatusCode::OK
}

async fn publish(io: &SocketIo, message: &Value) {
    if let Some(room) = message.get("room").and_then(Value::as_str) {
        let _ = io.to(room.to_owned()).emit("msg", message).await;
    }
}
