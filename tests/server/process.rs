//! Start, stop and succession of the built program.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::fixture::{StopAtEnd, metric};
use crate::program::{Program, command, command_after, outcome};
use crate::scratch::Folder;
use crate::wire::{Heard, PATIENCE, POLLING, Polling, Wire, Ws, fetch, get};

/// A start that fails says so in one line, which holds all of `words`.
fn assert_refused(command: Command, words: &[&str]) {
    let shown = format!("{command:?}");
    let (code, said) = outcome(command);
    assert!(code > 0, "exit code {code} of {shown}");
    assert_eq!(said.lines().count(), 1, "{shown} says {said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is missing: {said}");
    }
}

#[test]
fn what_keeps_it_from_starting_is_said_in_one_line() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let taken = holder.local_addr().expect("it is bound").to_string();
    let free = ["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"];
    let with = |arg: &str| command(&[free[0], free[1], arg]);
    let on_taken = command(&["--listen", &taken, free[1]]);
    assert_refused(on_taken, &[&taken, "is taken", "--takeover"]);
    let admin_taken = command(&[free[0], "--admin-listen", &taken]);
    assert_refused(admin_taken, &[&taken, "is taken", "--admin-listen"]);
    assert_refused(with("--config=/does/not/exist.toml"), &["/does/not/exist.toml", "read"]);
    assert_refused(with("--config=/proc"), &["/proc", "read"]);
    assert_refused(with("--workrs=2"), &["--workrs", "--workers"]);
    assert_refused(with("--workers=many"), &["--workers", "allowed is"]);
    let few = "ulimit -n 50; exec \"$0\" \"$@\"";
    assert_refused(command_after(few, &free), &["50", "ulimit -n"]);
    let outside = command(&[free[0], "--admin-listen=0.0.0.0:0"]);
    assert_refused(outside, &["API key"]);
}

#[test]
fn an_unknown_variable_is_only_warned_of() {
    let mut check = command(&["check-config"]);
    check.env("COREWIRE_WORKRS", "2");
    let (code, said) = outcome(check);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("COREWIRE_WORKRS") && said.contains("COREWIRE_WORKERS"), "{said}");
}

#[test]
fn an_unknown_key_of_the_file_stops_the_start() {
    let folder = Folder::new();
    let path = folder.write("corewire.toml", "listen = [\"127.0.0.1:0\"]\nworkrs = 2\n");
    assert_refused(command(&["--config", &path]), &["workrs", "workers"]);
}

#[test]
fn a_configuration_that_is_no_small_file_of_text_is_refused_at_once() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let folder = Folder::new();
    let pipe = folder.path("pipe.toml");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).expect("pipes can be made");
    let large = folder.write("large.toml", "#".repeat((1 << 20) + 1));
    let latin = folder.write("latin.toml", b"# one\n# caf\xe9\n");
    let unfit = ["regular file", "1 MiB"];
    for (path, words) in [
        (pipe.as_str(), unfit),
        ("/dev/zero", unfit),
        ("/tmp", unfit),
        (&large, ["larger than 1 MiB", "name a"]),
        (&latin, ["line 2", "UTF-8"]),
    ] {
        for verb in [&[] as &[&str], &["check-config"]] {
            let args = [verb, &["--config", path]].concat();
            assert_refused(command(&args), &[&[path], words.as_slice()].concat());
        }
    }
}

#[test]
fn files_of_the_broker_are_looked_at_before_the_start() {
    let folder = Folder::new();
    let (empty, missing) = (folder.write("empty.pem", b""), folder.path("missing.pem"));
    let inside = format!("{empty}/spool");
    for (option, path, advice) in [
        ("rabbitmq_ca_file", &missing, "PEM"),
        ("rabbitmq_ca_file", &empty, "PEM"),
        ("rabbitmq_spool_file", &inside, "name a folder"),
        ("rabbitmq_spool_file", &empty, "name a folder"),
    ] {
        let flag = format!("--{}={path}", option.replace('_', "-"));
        let mut start = command(&["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", &flag]);
        start.env("COREWIRE_RABBITMQ_URL", "amqps://guest:guest@127.0.0.1:1");
        assert_refused(start, &[option, path, advice]);
        if option == "rabbitmq_ca_file" {
            let mut check = command(&["check-config", &flag]);
            check.env("COREWIRE_RABBITMQ_URL", "amqps://guest:guest@127.0.0.1:1");
            let said = check.output().expect("it runs");
            assert!(!said.status.success() && said.stdout.is_empty(), "it does not say it is fine");
        }
    }
}

#[test]
fn without_a_ring_the_start_line_says_epoll() {
    let program = Program::start(&["--driver=epoll", "--workers=2"]);
    let line = program.logged("worker(s) on");
    assert!(line.contains("2 worker(s) on epoll"), "{line}");
    let mut client = Ws::open(program.address);
    assert!(client.join("/", r#"{"userId":"u"}"#).starts_with("40{"));
}

#[test]
fn who_says_where_it_listens_is_ready() {
    let program = Program::start(&["--workers=2"]);
    for address in [program.address, program.admin] {
        for target in ["/healthz", "/readyz"] {
            let reply = fetch(address, &get(target));
            assert_eq!(reply.status, 200, "{target} {}", reply.text());
        }
    }
}

#[test]
fn the_first_sigterm_drains_and_ends_well() {
    let mut program = Program::start(&["--workers=2", "--drain=8000"]);
    let mut clients: Vec<Ws> = (0..20).map(|_| Ws::open(program.address)).collect();
    for client in &mut clients {
        assert!(client.join("/", r#"{"userId":"u"}"#).starts_with("40{"));
    }
    let polling = Polling::open(program.address);
    let mut waiting = Wire::connect(program.address);
    waiting.send(&get(&polling.target()));
    // A request that is half here keeps the drain from being over before anybody looked.
    let mut half = Wire::connect(program.address);
    let target = Polling::open(program.address).target();
    let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n4");
    half.send(head.as_bytes());
    assert_eq!(fetch(program.admin, &get("/readyz")).status, 200);
    let began = Instant::now();
    program.signal(Signal::TERM);
    await_draining(&program, began);
    assert_eq!(fetch(program.admin, &get("/healthz")).status, 200);
    for client in &mut clients {
        assert_eq!(client.ending(), Some(1012), "a client is told why");
    }
    assert_eq!(waiting.reply().text(), "1");
    let refused = Wire::try_connect(program.address);
    assert!(refused.is_err(), "it takes new connections");
    half.send(b"0");
    half.reply();
    assert_eq!(program.exit_code(), 0);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

/// Waits until it says that it is about to end.
fn await_draining(program: &Program, signalled: Instant) {
    while !fetch(program.admin, &get("/readyz")).text().contains("DRAINING") {
        assert!(signalled.elapsed() < Duration::from_secs(2), "it still says that it is ready");
    }
}

#[test]
fn sigterm_ends_within_its_bound_whatever_clients_do() {
    let mut program = Program::start(&["--workers=1", "--drain=1000"]);
    let target = Polling::open(program.address).target();
    let mut half = Wire::connect(program.address);
    let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n4");
    half.send(head.as_bytes());
    // What came before this answer has been read.
    assert_eq!(fetch(program.address, &get("/nothing")).status, 404);
    let began = Instant::now();
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code(), 0);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[test]
fn the_second_sigterm_ends_at_once() {
    let mut program = Program::start(&["--workers=1", "--drain=60000", "--request-timeout=60000"]);
    let target = Polling::open(program.address).target();
    let mut half = Wire::connect(program.address);
    let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n4");
    half.send(head.as_bytes());
    assert_eq!(fetch(program.address, &get("/nothing")).status, 404);
    program.signal(Signal::TERM);
    let began = Instant::now();
    await_draining(&program, began);
    let began = Instant::now();
    program.signal(Signal::TERM);
    assert_ne!(program.exit_code(), 0);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn a_successor_takes_the_port_over_without_losing_a_connection() {
    take_over(old("--workers=2"), "--workers=2");
}

#[test]
fn a_successor_may_have_more_workers_or_fewer() {
    let three = take_over(old("--workers=1"), "--workers=3");
    let one = take_over(three, "--workers=1");
    // A worker of a successor may have several listeners, and is itself succeeded to.
    take_over(one, "--workers=1");
}

fn old(workers: &str) -> Program {
    Program::start(&[workers, "--drain=3000"])
}

/// Clients that connect and ask all the time; none is refused or reset.
struct Traffic<'a> {
    stop: &'a AtomicBool,
    answered: &'a AtomicU64,
}

impl Traffic<'_> {
    fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many more have been answered.
    fn more(&self, count: u64) {
        let (wanted, began) = (self.answered() + count, Instant::now());
        while self.answered() < wanted && !self.stop.load(Ordering::Relaxed) {
            assert!(began.elapsed() < Duration::from_secs(20), "nothing is answered");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn client(&self, address: SocketAddr, mut number: u64) {
        while !self.stop.load(Ordering::Relaxed) {
            let target = if number.is_multiple_of(10) { POLLING } else { "/nothing" };
            number += 1;
            let reply = Wire::try_connect(address).and_then(|mut wire| {
                wire.try_send(&get(target))?;
                wire.try_reply()
            });
            match reply {
                Ok(reply) => assert!([200, 404].contains(&reply.status), "{reply:?}"),
                Err(error) => {
                    self.stop.store(true, Ordering::Relaxed);
                    panic!("after {} answers: {error}", self.answered());
                }
            }
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Does something under traffic.
fn under_traffic<T>(address: SocketAddr, act: impl FnOnce(&Traffic<'_>) -> T) -> T {
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let traffic = Traffic { stop: &stop, answered: &answered };
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let traffic = &traffic;
            scope.spawn(move || traffic.client(address, thread));
        }
        // However this ends, the loops above must end too.
        let _stop = StopAtEnd(&stop);
        act(&traffic)
    })
}

/// A successor that serves beside the one it is to replace.
fn successor(old: &Program, theirs: &str, traffic: &Traffic<'_>) -> Program {
    let address = old.address.to_string();
    let new = Program::start_on(&address, &[theirs, "--takeover", "--drain=3000"]);
    assert_eq!(new.address, old.address);
    let began = Instant::now();
    while opened(&new) == 0 {
        assert!(began.elapsed() < PATIENCE, "no new connection comes to it");
        traffic.more(20);
    }
    new
}

/// Connections that a process has taken.
fn opened(program: &Program) -> u64 {
    metric(program.admin, "corewire_connections_opened_total")
}

/// Replaces a process under traffic and returns its successor.
fn take_over(mut old: Program, theirs: &str) -> Program {
    let address = old.address;
    let mut session = Ws::open(address);
    assert!(session.join("/", r#"{"userId":"u"}"#).starts_with("40{"));
    // The successor outlives the loops.
    under_traffic(address, |traffic| {
        traffic.more(200);
        let new = successor(&old, theirs, traffic);
        traffic.more(200);
        old.signal(Signal::TERM);
        assert_eq!(session.heard(), Heard::Closed(Some(1012)));
        assert_eq!(old.exit_code(), 0);
        traffic.more(200);
        let mut session = Ws::open(address);
        assert!(session.join("/", r#"{"userId":"u"}"#).starts_with("40{"));
        assert_eq!(fetch(new.admin, &get("/readyz")).status, 200);
        traffic.more(200);
        new
    })
}

#[test]
fn a_successor_that_ends_first_gives_the_port_back_without_losing_a_connection() {
    for (workers, theirs) in [(1, 1), (1, 3), (3, 1)] {
        let old = old(&format!("--workers={workers}"));
        take_back(&old, &format!("--workers={theirs}"));
        // Nothing is left of it that keeps connections from the next one.
        take_over(old, "--workers=2");
    }
}

/// Ends a successor under traffic while its predecessor serves.
fn take_back(old: &Program, theirs: &str) {
    let address = old.address;
    let mut session = Ws::open(address);
    assert!(session.join("/", r#"{"userId":"u"}"#).starts_with("40{"));
    under_traffic(address, |traffic| {
        let mut new = successor(old, theirs, traffic);
        new.signal(Signal::TERM);
        let before = (traffic.answered(), opened(old));
        assert_eq!(new.exit_code(), 0);
        let (answered, by_old) = (traffic.answered() - before.0, opened(old) - before.1);
        assert!(by_old * 6 > answered * 5, "{by_old} of {answered} went to the one that stays");
        traffic.more(200);
    });
    session.text(r#"42["ping"]"#);
    assert_eq!(session.event("pong").len(), 1, "nothing has happened to the one that stays");
    assert_eq!(fetch(old.admin, &get("/readyz")).status, 200);
}
