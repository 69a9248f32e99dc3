//! A server in this process, and the application most cases use.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use corewire::api::{App, Io, NamespaceBuilder, Refusal};
use corewire::config::{LogLevel, Options};
use corewire::server::{Running, Server};
use corewire::shard::Ending;
use corewire::ws::Kind;
use serde_json::{Value, json};

use crate::wire::{PATIENCE, Ws, fetch, frame, get};

/// A socket that is gone.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) id: String,
    pub(crate) reason: &'static str,
    pub(crate) ending: Ending,
}

/// A server that ends with the test.
pub(crate) struct Fixture {
    pub(crate) address: SocketAddr,
    /// Where TLS is spoken; the same as `address` if nowhere.
    pub(crate) tls: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) notes: Vec<String>,
    /// Sockets of `/` that are gone, in that order on each core.
    pub(crate) gone: Receiver<Gone>,
    running: Option<Running>,
}

/// Options of a server for a test.
pub(crate) fn options(workers: u16) -> Options {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    Options {
        listen: vec![any],
        admin_listen: any,
        workers,
        pin: false,
        drain_ms: 1_000,
        log_level: LogLevel::Error,
        ..Options::default()
    }
}

pub(crate) fn start(workers: u16) -> Fixture {
    start_with(options(workers))
}

pub(crate) fn start_with(options: Options) -> Fixture {
    start_server(options, |server| server)
}

pub(crate) fn start_server(options: Options, also: impl FnOnce(Server) -> Server) -> Fixture {
    let (sender, gone) = mpsc::channel();
    let server = Server::new(options, move |_io: &Io| app(&sender));
    let running = also(server).start().expect("the server starts");
    Fixture {
        address: running.addresses[0],
        tls: running.tls_addresses.first().copied().unwrap_or(running.addresses[0]),
        admin: running.admin_address,
        notes: running.notes.clone(),
        gone,
        running: Some(running),
    }
}

fn go_on(io: &Io, is_long: &Arc<AtomicBool>) {
    if is_long.load(Ordering::Relaxed) {
        let is_long = Arc::clone(is_long);
        io.go_on(io.core(), move |io| go_on(io, &is_long));
    }
}

impl Fixture {
    /// The next socket of `/` that is gone.
    pub(crate) fn next_gone(&self) -> Gone {
        self.gone.recv_timeout(PATIENCE).expect("a socket goes")
    }

    /// How often connections, sessions and sockets have ended so.
    pub(crate) fn ended(&self, label: &str) -> u64 {
        ended(self.admin, label)
    }

    /// The sum of a metric over all cores.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        metric(self.admin, name)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }
}

/// How many ended like that, over all cores.
pub(crate) fn ended(admin: SocketAddr, label: &str) -> u64 {
    let text = fetch(admin, &get("/metrics")).text();
    let wanted = format!("ending=\"{label}\"");
    let lines = text.lines().filter(|line| line.contains(&wanted));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// The sum of a metric over all cores.
pub(crate) fn metric(admin: SocketAddr, name: &str) -> u64 {
    let reply = fetch(admin, &get("/metrics"));
    assert_eq!(reply.status, 200);
    let text = reply.text();
    let samples = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        if !rest.starts_with(['{', ' ']) {
            return None;
        }
        rest.rsplit(' ').next()?.parse::<u64>().ok()
    });
    let samples: Vec<u64> = samples.collect();
    assert!(!samples.is_empty(), "{name} is not a metric");
    samples.into_iter().sum()
}

/// Asks again until it is so; the answer must come over the wire, so this does not spin.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}");
    }
}

/// Ends loops that look at the flag, however the test ends.
pub(crate) struct StopAtEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A client that floods a server with frames nobody answers, until the flag is set.
pub(crate) fn flood(address: SocketAddr, stop: &AtomicBool) {
    let batch = frame(Kind::Text, br#"42["nobody listens to this"]"#).repeat(2_000);
    let mut client = Ws::connect(address);
    while !stop.load(Ordering::Relaxed) {
        client.wire.send(&batch);
    }
}

fn app(gone: &Sender<Gone>) -> App {
    let gone = gone.clone();
    App::new()
        .allow_request(|handshake| async move {
            monoio::time::sleep(Duration::from_millis(5)).await;
            match handshake.header("x-guest").as_deref() {
                Some("no") => Err(String::from("not today")),
                _ => Ok(()),
            }
        })
        .namespace("/", |root| {
            talk(root);
            groups(root);
            questions(root);
            root.on_disconnect(move |left| {
                let (id, reason) = (left.id().to_owned(), left.reason());
                // The test may have ended.
                let _unheard = gone.send(Gone { id, reason, ending: left.ending() });
            });
        })
        .namespace("/vault", vault)
        .dynamic(|name, _auth| name.starts_with("/tenant-"), talk)
}

fn talk(namespace: &mut NamespaceBuilder) {
    namespace.filter(|event| match event.name() {
        "forbidden" => Err(Refusal::new("not here")),
        _ => Ok(()),
    });
    namespace.on_refused(|socket, refusal| {
        socket.emit("refused", &(&refusal.message,));
    });
    namespace.on("forbidden", |event| event.ack().send(&("it got through",)));
    namespace.on("echo", |event| event.ack().send_raw(event.raw_args(), event.attachments()));
    namespace.on("relay", |event| {
        event.socket().broadcast().emit_raw("relayed", event.raw_args(), event.attachments());
        event.ack().send(&());
    });
    namespace.on("whoami", |event| {
        let socket = event.socket();
        event.ack().send(&(socket.id(), socket.namespace().to_string(), socket.transport()));
    });
    namespace.on("is-secure", |event| {
        let handshake = event.socket().handshake();
        event.ack().send(&(handshake.is_some_and(|handshake| handshake.secure),));
    });
    namespace.on("address", |event| {
        let handshake = event.socket().handshake();
        event.ack().send(&(handshake.map(|handshake| handshake.address()),));
    });
    namespace.on("panic", |_event| panic!("on purpose"));
    namespace.on_async("panic-later", |_event| async {
        monoio::time::sleep(Duration::from_millis(1)).await;
        panic!("on purpose, later");
    });
}

fn groups(root: &mut NamespaceBuilder) {
    root.on_args("join", |socket, (room,): (String,), ack| ack.send(&(socket.join(&room),)));
    root.on_args("leave", |socket, (room,): (String,), ack| ack.send(&(socket.leave(&room),)));
    root.on_args("say", |socket, (room, from, number): (String, u32, u64), ack| {
        socket.io().to(&room).emit("said", &(from, number));
        ack.send(&(number,));
    });
    root.on_args("pad", |socket, (room, number, bytes): (String, u64, usize), ack| {
        socket.io().to(&room).emit("padded", &(number, "x".repeat(bytes)));
        ack.send(&());
    });
    // Work that has no end until a client says so.
    let is_long = Arc::new(AtomicBool::new(false));
    let goes_on = Arc::clone(&is_long);
    root.on("go-on", move |event| {
        goes_on.store(true, Ordering::Relaxed);
        go_on(&event.socket().io(), &goes_on);
        event.ack().send(&());
    });
    root.on("go-on-no-more", move |event| {
        is_long.store(false, Ordering::Relaxed);
        event.ack().send(&());
    });
    root.on_async("nap", |event| async move {
        monoio::time::sleep(Duration::from_millis(2)).await;
        event.ack().send(&());
    });
    root.on_async("who", |event| async move {
        let Ok((room,)) = event.args::<(String,)>() else { return };
        let found = event.socket.io().to(&room).fetch_sockets().await;
        let mut ids: Vec<String> = found.into_iter().map(|socket| socket.id).collect();
        ids.sort();
        event.ack().send(&(ids,));
    });
    root.on_args("all-join", |socket, (room, to): (String, String), ack| {
        socket.io().to(&room).sockets_join(&to);
        ack.send(&());
    });
    root.on_args("all-leave", |socket, (room, from): (String, String), ack| {
        socket.io().to(&room).sockets_leave(&from);
        ack.send(&());
    });
    root.on_args("all-out", |socket, (room, close): (String, bool), ack| {
        socket.io().to(&room).disconnect_sockets(close);
        ack.send(&());
    });
}

fn questions(root: &mut NamespaceBuilder) {
    root.on_async("ask-all", |event| async move {
        let Ok((room, ms)) = event.args::<(String, u64)>() else { return };
        let room = event.socket.io().to(&room).timeout(ms);
        let found = room.emit_with_ack("question", &("why",)).await;
        let answers: Vec<Value> = found
            .acks
            .iter()
            .map(|ack| serde_json::from_str(&ack.ack.args).unwrap_or(Value::Null))
            .collect();
        event.ack().send(&(found.count, answers, found.partial));
    });
    root.on_async("ask-me", |event| async move {
        let answer = event.socket.emit_with_ack("question", &("why",), 200).await;
        let answer = match answer {
            Ok(answer) => json!(answer.args),
            Err(error) => json!(format!("{error:?}")),
        };
        event.ack().send(&(answer,));
    });
}

/// Gates of both kinds, in order: the first leaves a mark that the second looks for.
fn vault(vault: &mut NamespaceBuilder) {
    vault.gate(|socket| {
        socket.set_data(std::rc::Rc::new(String::from("seen")));
        Ok(())
    });
    vault.gate_async(|socket| async move {
        monoio::time::sleep(Duration::from_millis(20)).await;
        let marked = socket.data::<String>().is_some_and(|mark| *mark == "seen");
        let token = socket.auth::<Value>().and_then(|auth| auth.get("token").cloned());
        if marked && token == Some(json!("open sesame")) {
            return Ok(());
        }
        Err(Refusal::new("not authorized").with_data(&json!({ "code": 401 })))
    });
    vault.on("echo", |event| event.ack().send_raw(event.raw_args(), event.attachments()));
}
