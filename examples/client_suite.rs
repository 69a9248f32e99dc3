//! Serves what the official client's own tests expect of their support server.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks to its terminal")]

mod shared;

use std::cell::Cell;
use std::rc::Rc;

use corewire::api::{App, Event, Handshake, Io, NamespaceBuilder, Refusal, Socket};
use corewire::base::rfc3339;
use corewire::config::Options;
use corewire::server::Server;
use serde_json::{Map, Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The tests that give up after a millisecond need a server that takes longer.
const ALLOW_MS: u64 = 10;
/// Time a client has to answer `ack`.
const ACK_MS: u64 = 10_000;

const BIN: &str = "{\"_placeholder\":true,\"num\":0}";
const UTF8: [&str; 5] = ["てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string"];

fn main() {
    // As the suite's own server has it.
    let base = Options { ping_interval_ms: 2_000, recovery: true, ..Options::default() };
    let loaded = shared::options("client_suite", base);
    shared::serve(Server::new(loaded.options, app).ask_allow_request());
}

fn app(_io: &Io) -> App {
    App::new()
        .allow_request(|_handshake| async {
            monoio::time::sleep(std::time::Duration::from_millis(ALLOW_MS)).await;
            Ok(())
        })
        .namespace("/", |root| {
            root.gate(|socket| {
                let fails = socket.handshake().is_some_and(|handshake| {
                    handshake.query().get("fail").is_some_and(|fail| !fail.is_empty())
                });
                if fails { Err(Refusal::new("Auth failed (main namespace)")) } else { Ok(()) }
            });
            answers(root);
            emits(root);
            binaries(root);
        })
        .namespace("/foo", |ids| {
            ids.on("getId", |event| event.ack().send(&(event.socket().id(),)));
        })
        .namespace("/timeout_socket", |_| ())
        .namespace("/valid", |_| ())
        .namespace("/asd", |_| ())
        .namespace("/abc", |abc| {
            abc.on_connect(|socket| {
                socket.emit("handshake", &(handshake(socket),));
            });
        })
        .namespace("/no", |no| {
            no.gate(|_| Err(Refusal::new("Auth failed (custom namespace)")));
        })
}

fn answers(root: &mut NamespaceBuilder) {
    root.on("echo", |event| event.ack().send_raw(event.raw_args(), event.attachments()));
    root.on("getId", |event| event.ack().send(&(event.socket().id(),)));
    root.on("getHandshake", |event| event.ack().send(&(handshake(event.socket()),)));
    root.on("getAckDate", |event| event.ack().send(&(now(event.socket()),)));
    root.on("ack", |event| {
        let socket = event.socket().clone();
        event.socket().emit_then("ack", "", &[], ACK_MS, move |outcome| {
            let corewire::api::AckOutcome::Acked(answer) = outcome else { return };
            let read = corewire::socketio::from_args::<(Value, Value)>(&answer.args);
            if let Ok((Value::Number(five), object)) = read
                && five.as_i64() == Some(5)
                && object.get("test").is_some()
            {
                socket.emit("got it", &());
            }
        });
    });
}

fn emits(root: &mut NamespaceBuilder) {
    root.on("hi", |event| {
        event.socket().emit("hi", &());
    });
    root.on("getDate", |event| {
        event.socket().emit("takeDate", &(now(event.socket()),));
    });
    root.on("getDateObj", |event| {
        event.socket().emit("takeDateObj", &(json!({"date": now(event.socket())}),));
    });
    root.on("getUtf8", |event| {
        for text in UTF8 {
            event.socket().emit("takeUtf8", &(text,));
        }
    });
    root.on("false", |event| {
        event.socket().emit("false", &(false,));
    });
}

/// What a socket has sent of the tests that come in parts.
#[derive(Default)]
struct Seen {
    first: Cell<bool>,
}

fn binaries(root: &mut NamespaceBuilder) {
    for (name, answer) in [("doge", "doge"), ("getbin", "takebin")] {
        root.on(name, move |event| {
            event.socket().emit_raw(answer, BIN, &[b"asdfasdf".to_vec()]);
        });
    }
    for (name, answer) in [("buffa", "buffack"), ("blob", "back")] {
        root.on(name, move |event| {
            if !event.attachments().is_empty() {
                event.socket().emit(answer, &());
            }
        });
    }
    for (name, answer) in [("jsonbuff", "jsonbuff-ack"), ("jsonblob", "jsonblob-ack")] {
        root.on(name, move |event| {
            let fits = event.args::<(Value,)>().is_ok_and(|(object,)| {
                object["hello"] == "lol"
                    && object["message"]["_placeholder"] == true
                    && object["goodbye"] == "gotcha"
            });
            if fits {
                event.socket().emit(answer, &());
            }
        });
    }
    for name in ["abuff1", "blob1"] {
        root.on(name, |event| {
            let seen = Seen::default();
            seen.first.set(!event.attachments().is_empty());
            event.socket().set_data(Rc::new(seen));
        });
    }
    for (name, answer) in [("abuff2", "abuff2-ack"), ("blob3", "blob3-ack")] {
        root.on(name, move |event: &Event<'_>| {
            if event.socket().data::<Seen>().is_some_and(|seen| seen.first.get()) {
                event.socket().emit(answer, &());
            }
        });
    }
}

fn now(socket: &Socket) -> String {
    rfc3339(socket.io().unix_ms())
}

/// The handshake object as a Node server would write it.
fn handshake(socket: &Socket) -> Value {
    let Some(handshake) = socket.handshake() else { return Value::Null };
    let handshake: &Handshake = &handshake;
    let headers = handshake.headers().into_iter().map(|(name, value)| (name, json!(value)));
    let query = handshake.query();
    let query = query.iter().map(|(key, value)| (key.to_owned(), json!(value)));
    json!({
        "headers": headers.collect::<Map<_, _>>(),
        "time": rfc3339(handshake.issued_unix_ms),
        "address": handshake.address(),
        "xdomain": handshake.header("origin").is_some(),
        "secure": false,
        "issued": handshake.issued_unix_ms,
        "url": handshake.url(),
        "query": query.collect::<Map<_, _>>(),
        "auth": socket.auth::<Value>().unwrap_or_else(|| json!({})),
    })
}
