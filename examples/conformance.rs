//! The application that public protocol suites and real clients are pointed at.
//!
//! An echo on `/` and `/custom`, a guarded namespace, rooms, acks both ways, every way of
//! disconnecting; raw Engine.IO at `/engine.io/`, a plain WebSocket echo at `/ws-echo`. It takes
//! every server option as flag or variable.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks to its terminal")]

mod shared;

use std::rc::Rc;

use corewire::api::{App, Event, Io, NamespaceBuilder, PlainMessage, Refusal, Socket};
use corewire::config::Options;
use corewire::server::Server;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Limit of `/ws-echo`.
const PLAIN_BYTES_MAX: usize = 16 << 20;
/// What one `burst` may ask for: the application, too, has limits.
const BURST_MAX: u32 = 100_000;
const BURST_PAD_MAX: usize = 1 << 20;
/// Time clients have to answer `question`.
const ASK_MS: u64 = 10_000;

fn main() {
    // Suites send what no client does: megabytes of one byte are an echo here and not a bomb.
    let base = Options { deflate_ratio_max: 1_032, ..Options::default() };
    let loaded = shared::options("conformance", base);
    let server = Server::new(loaded.options, app)
        .tables(loaded.tables)
        .engine_endpoint("/engine.io/")
        .plain_endpoint("/ws-echo", PLAIN_BYTES_MAX)
        .deflate_endpoint("/ws-echo");
    shared::serve(server);
}

fn app(_io: &Io) -> App {
    App::new()
        .namespace("/", |root| {
            echo(root);
            verbs(root);
        })
        .namespace("/custom", echo)
        .namespace("/guarded", |guarded| {
            guarded.gate(|socket| {
                let token = socket.auth::<Value>().and_then(|auth| auth.get("token").cloned());
                if token == Some(json!("secret")) {
                    return Ok(());
                }
                let data = json!({"code": "E_AUTH", "retry": false});
                Err(Refusal::new("not authorized").with_data(&data))
            });
        })
        .on_engine_message(|message| message.reply(message.message))
        .on_plain_message(|message: PlainMessage<'_>| message.reply(message.message))
}

/// What the official suites expect of `/` and `/custom`.
fn echo(namespace: &mut NamespaceBuilder) {
    namespace.on_connect(|socket| {
        let auth = socket.raw_auth();
        socket.emit_raw("auth", if auth.is_empty() { "{}" } else { &auth }, &[]);
    });
    namespace.on("message", |event| {
        event.socket().emit_raw("message-back", event.raw_args(), event.attachments());
    });
    namespace.on("message-with-ack", |event| {
        event.ack().send_raw(event.raw_args(), event.attachments());
    });
}

fn verbs(root: &mut NamespaceBuilder) {
    root.on("whoami", |event| {
        let socket = event.socket();
        let secure = socket.handshake().is_some_and(|handshake| handshake.secure);
        let query = socket.handshake().map(|handshake| {
            let query = handshake.query();
            let pairs = query.iter().map(|(key, value)| (key.to_owned(), json!(value)));
            Value::Object(pairs.collect())
        });
        event.ack().send(&(json!({
            "sid": socket.id(),
            "recovered": socket.recovered(),
            "rooms": socket.rooms(),
            "transport": socket.transport(),
            "query": query,
            "secure": secure,
        }),));
    });
    root.on_args("join", |socket, (room,): (String,), ack| {
        socket.join(&room);
        ack.send(&(room,));
    });
    root.on_args("leave", |socket, (room,): (String,), ack| {
        socket.leave(&room);
        ack.send(&(room,));
    });
    root.on_async("room-size", |event| async move {
        let Ok((room,)) = event.args::<(String,)>() else { return };
        let size = event.socket.io().of(&event.socket.namespace()).to(&room).count().await;
        event.ack().send(&(size,));
    });
    root.on("room-emit", room_emit);
    root.on("broadcast", |event| {
        let Some((name, rest)) = name_and_rest(event.raw_args()) else { return };
        event.socket().broadcast().emit_raw(&name, rest, event.attachments());
        event.ack().send(&());
    });
    root.on("ask", |event| {
        let socket = event.socket().clone();
        let (args, attachments) = (event.raw_args(), event.attachments());
        event.socket().emit_then("question", args, attachments, ASK_MS, move |outcome| {
            if let corewire::api::AckOutcome::Acked(answer) = outcome {
                socket.emit_raw("answer", &answer.args, &answer.attachments);
            }
        });
    });
    root.on_args("burst", |socket, (count, pad): (u32, usize), _ack| {
        let pad = "x".repeat(pad.min(BURST_PAD_MAX));
        for index in 0..count.min(BURST_MAX) {
            if !socket.emit("seq", &(index, &pad)) {
                break;
            }
        }
    });
    root.on_args("bytes", |_socket, (count,): (usize,), ack| {
        let placeholder = "{\"_placeholder\":true,\"num\":0}";
        ack.send_raw(placeholder, &[vec![7; count.min(PLAIN_BYTES_MAX)]]);
    });
    root.on("never-ack", |_event| {});
    root.on("disconnect-me", |event| {
        let (close,): (Option<bool>,) = event.args().unwrap_or_default();
        event.socket().disconnect(close.unwrap_or(false));
    });
    root.on("kill-transport", |event| event.socket().close_transport());
}

fn room_emit(event: &Event<'_>) {
    let mut args = corewire::socketio::split_args(event.raw_args());
    let room = args.next().and_then(|room| serde_json::from_str::<String>(room).ok());
    let Some(room) = room else { return };
    let Some((name, rest)) = args.next().and_then(|name| {
        let name = serde_json::from_str::<String>(name).ok()?;
        Some((name, args.collect::<Vec<_>>().join(",")))
    }) else {
        return;
    };
    let socket: &Socket = event.socket();
    socket.io().of(&socket.namespace()).to(&room).emit_raw(&name, &rest, event.attachments());
    event.ack().send(&());
}

/// Splits `"event",1,2` into the event's name and its raw arguments.
fn name_and_rest(args: &str) -> Option<(Rc<str>, &str)> {
    let first = corewire::socketio::split_args(args).next()?;
    let name: String = serde_json::from_str(first).ok()?;
    let rest = args[first.len()..].trim_start().trim_start_matches(',');
    Some((Rc::from(name), rest))
}
