//! A handler that blocks its core: the core is named, the others serve on, and it comes back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use corewire::api::{App, Io, NamespaceBuilder};
use corewire::base::CoreId;
use corewire::config::Options;
use corewire::server::Server;
use corewire::ws::Kind;
use serde_json::{Value, json};

use crate::fixture::{ended, eventually, metric, options};
use crate::program::outcome;
use crate::wire::{Ws, fetch, frame, get};

/// What health tells of the workers.
fn workers(admin: std::net::SocketAddr) -> Value {
    fetch(admin, &get("/socket/health")).json()["data"]["workers"].clone()
}

/// A handler that ends when the test says so, or is over.
fn block(root: &mut NamespaceBuilder, held: &Arc<Mutex<mpsc::Receiver<()>>>) {
    let held = Arc::clone(held);
    root.on("block", move |_| {
        let held = held.lock().expect("nobody panics with it");
        let _released = held.recv();
    });
}

#[test]
fn a_worker_that_a_handler_blocks_is_named_while_the_others_serve() {
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let app = move |_: &Io| {
        App::new().namespace("/", |root| {
            block(root, &held);
            root.on("echo", |event| event.ack().send_raw(event.raw_args(), event.attachments()));
        })
    };
    let running = Server::new(options(2), app).start().expect("it starts");
    let (address, admin) = (running.addresses[0], running.admin_address);
    let mut victim = Ws::connect_on(address, CoreId(1));
    let mut other = Ws::connect_on(address, CoreId(0));
    eventually("both are heard", || workers(admin)[1]["silentMs"].as_u64() < Some(2_000));
    victim.text(r#"42["block"]"#);
    eventually("it is found", || workers(admin)[1]["healthy"] == json!(false));

    let stuck = workers(admin);
    assert_eq!(stuck[1]["stuckIn"], json!("sleeping"), "{stuck}");
    assert!(stuck[1]["silentMs"].as_u64() > Some(3_000), "{stuck}");
    assert_eq!((&stuck[0]["healthy"], &stuck[0]["stuckIn"]), (&json!(true), &Value::Null));
    assert_eq!(fetch(admin, &get("/healthz")).json()["data"]["status"], json!("degraded"));
    let metrics = fetch(admin, &get("/metrics")).text();
    for line in ["corewire_core_healthy{core=\"0\"} 1", "corewire_core_healthy{core=\"1\"} 0"] {
        assert!(metrics.contains(line), "{line}");
    }
    eventually("it is counted", || metric(admin, "corewire_core_stalls_total") == 1);
    assert_eq!(other.ask(r#"["echo",7]"#), json!([7]), "the other core serves on");

    release.send(()).expect("the handler waits");
    eventually("it is back", || workers(admin)[1]["healthy"] == json!(true));
    assert_eq!(victim.ask(r#"["echo",8]"#), json!([8]));
    assert_eq!(metric(admin, "corewire_core_stalls_total"), 1);
    drop(release);
    running.stop();
}

/// Nothing that is for it is dropped, so the others take on no more, and hear nobody: not even
/// answers to their pings.
#[test]
fn broadcasts_to_a_blocked_worker_stop_the_others_until_it_takes_them() {
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let (begun, began) = mpsc::channel::<()>();
    let app = move |_: &Io| {
        let begun = begun.clone();
        App::new().namespace("/", |root| {
            block(root, &held);
            root.on("echo", |event| event.ack().send_raw(event.raw_args(), event.attachments()));
            root.on("join", |event| event.ack().send(&(event.socket().join("room"),)));
            root.on("begin", move |_| begun.send(()).expect("the test waits"));
            root.on("flood", |event| {
                let megabyte = "x".repeat(1 << 20);
                for _ in 0..20 {
                    event.socket().io().to("room").emit("padded", &(&megabyte,));
                }
                event.ack().send(&());
            });
        })
    };
    let options = Options { ping_interval_ms: 1_000, ping_timeout_ms: 1_000, ..options(2) };
    let running = Server::new(options, app).start().expect("it starts");
    let (address, admin) = (running.addresses[0], running.admin_address);
    let mut victim = Ws::connect_on(address, CoreId(1));
    victim.ask(r#"["join"]"#);
    let mut other = Ws::connect_on(address, CoreId(0));
    victim.text(r#"42["begin"]"#);
    victim.text(r#"42["block"]"#);
    began.recv().expect("the next one blocks");

    // 16 MiB may lie in its inbox, and 16 MiB wait to go there; what is over is kept too.
    other.ask(r#"["flood"]"#);
    assert_eq!(other.ask(r#"["echo",1]"#), json!([1]), "there is room yet");
    other.ask(r#"["flood"]"#);
    other.text(r#"42["echo",2]"#);
    eventually("it is not read", || metric(admin, "corewire_overload_pauses_total") > 0);
    eventually("health tells", || workers(admin)[0]["overloaded"] == json!(true));
    eventually("its pongs are not read either", || {
        let _gone = other.wire.try_send(&frame(Kind::Text, b"3"));
        ended(admin, "ping_timeout") > 0
    });

    release.send(()).expect("the handler waits");
    let mut newcomer = Ws::connect_on(address, CoreId(0));
    assert_eq!(newcomer.ask(r#"["echo",3]"#), json!([3]));
    eventually("it has caught up", || workers(admin)[0]["overloaded"] == json!(false));
    drop(release);
    running.stop();
}

/// Whether a new connection is answered before long.
fn is_answered(address: std::net::SocketAddr) -> bool {
    let asked = || {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(&get("/healthz"))?;
        stream.read(&mut [0; 64])
    };
    asked().is_ok_and(|count| count > 0)
}

/// Its listener closes first, and cannot; the others may not close out of turn, or the kernel would
/// steer new connections to the blocked one.
#[test]
fn new_connections_go_to_the_successor_while_a_worker_of_the_old_one_is_blocked() {
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let app = move |_: &Io| App::new().namespace("/", |root| block(root, &held));
    let old = Options { drain_ms: 20_000, ..options(3) };
    let old = Server::new(old, app).start().expect("it starts");
    let address = old.addresses[0];
    let mut victim = Ws::connect_on(address, CoreId(0));
    let new = Options { listen: vec![address], takeover: true, ..options(1) };
    let new = Server::new(new, |_: &Io| App::new()).start().expect("it shares the port");
    victim.text(r#"42["block"]"#);

    let stopped = std::thread::spawn(move || old.stop());
    // Until it steers, a connection may still come to the blocked worker.
    eventually("new ones are steered", || (0..20).all(|_| is_answered(address)));
    let began = Instant::now();
    let mut answered = 0;
    while began.elapsed() < Duration::from_secs(2) {
        assert!(is_answered(address), "after {answered}, {:?}", began.elapsed());
        answered += 1;
    }
    release.send(()).expect("the handler waits");
    stopped.join().expect("it stops");
    assert!((0..20).all(|_| is_answered(address)), "the successor serves on");
    new.stop();
}

/// Set where this test is a process of its own.
const HANGS: &str = "COREWIRE_TEST_HANGS";

/// What ends with a worker that hangs for good: the whole process, which this test is.
#[expect(clippy::print_stderr, reason = "whoever started it reads how long it took")]
fn end_with_a_worker_that_hangs() -> ! {
    let (enter, entered) = mpsc::channel::<()>();
    let app = move |_: &Io| {
        App::new().namespace("/", |root| {
            let enter = enter.clone();
            root.on("block", move |_| {
                enter.send(()).expect("the test waits for it");
                loop {
                    std::thread::park();
                }
            });
        })
    };
    let running = Server::new(options(2), app).start().expect("it starts");
    let mut victim = Ws::connect_on(running.addresses[0], CoreId(1));
    victim.text(r#"42["block"]"#);
    entered.recv().expect("the handler runs");
    let began = Instant::now();
    let ended = running.stop();
    eprintln!("stopped after {} ms", began.elapsed().as_millis());
    std::process::exit(i32::from(!ended));
}

#[test]
fn a_worker_that_hangs_at_the_end_is_named_and_the_process_ends_without_it() {
    if std::env::var_os(HANGS).is_some() {
        end_with_a_worker_that_hangs();
    }
    let name = "stuck::a_worker_that_hangs_at_the_end_is_named_and_the_process_ends_without_it";
    let mut child = Command::new(std::env::current_exe().expect("it runs"));
    child.args(["--exact", name, "--nocapture"]).env(HANGS, "1").stdin(Stdio::null());
    let (code, said) = outcome(child);
    assert_eq!(code, 1, "{said}");
    let named: Vec<&str> = said.lines().filter(|it| it.contains("does not end")).collect();
    assert_eq!(named.len(), 1, "{said}");
    assert!(named[0].contains("error worker does not end core=1"), "{said}");
    let after = said.lines().find_map(|it| it.strip_prefix("stopped after ")?.strip_suffix(" ms"));
    let after: u64 = after.and_then(|it| it.parse().ok()).expect("it says how long it took");
    // A second of drain and three for the worker; nothing else holds anything up here.
    assert!((3_000..8_000).contains(&after), "{after} ms");
}
