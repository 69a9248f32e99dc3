//! A whole shard, from bytes in to bytes out, with the application of the bench contract.

use std::cell::Cell;
use std::rc::Rc;

use corewire::api::{App, Io};
use corewire::base::Key;
use corewire::shard::Settings;
use serde::Deserialize;

use super::node::{Node, UPGRADE, nodes, text};
use super::{Case, Input, Live, PAYLOAD, Tally, hosted};

/// The rows of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("shard/handshake", "client", handshake),
        Case::new("shard/echo", "round trip", || echo(1)),
        Case::new("shard/echo-8", "round trip", || echo(8)).times(8),
        Case::new("shard/poll", "round trip", poll),
        Case::new("shard/heartbeat", "ping and pong", heartbeat).times(1_000),
        Case::new("shard/join", "join", || join(1_000)),
        Case::new("shard/pub-10", "delivery", || publish(10, 1)).times(10),
        Case::new("shard/pub-1000", "delivery", || publish(1_000, 1)).times(1_000),
        Case::new("shard/pub-1000-joined-16", "delivery", || publish(1_000, 16)).times(16_000),
        Case::new("shard/pub-100000", "delivery", || publish(100_000, 1)).times(100_000).heavy(),
    ]
}

/// What `pub` looks at; the whole object goes on as it came.
#[derive(Deserialize)]
struct Publish {
    room: String,
}

/// The handlers of `examples/bench_server.rs`, and `leave`.
fn app(_io: &Io) -> App {
    App::new().namespace("/", |root| {
        root.on_args("join", |socket, (room,): (String,), ack| {
            socket.join(&room);
            ack.send(&());
        });
        root.on_args("leave", |socket, (room,): (String,), _ack| {
            socket.leave(&room);
        });
        root.on("echo", |event| event.ack().send_raw(event.raw_args(), event.attachments()));
        root.on("pub", |event| {
            let Ok((publish,)) = event.args::<(Publish,)>() else { return };
            let io = event.socket().io();
            io.to(&publish.room).emit_raw("msg", event.raw_args(), event.attachments());
            event.ack().send(&());
        });
    })
}

/// Cores with that application.
pub(super) fn start(cores: usize, tally: &Rc<Cell<Tally>>) -> Vec<Node> {
    nodes(cores, &Settings::default(), tally, &app)
}

fn one(tally: &Rc<Cell<Tally>>) -> Node {
    start(1, tally).remove(0)
}

/// `count` events with an ack in one read, their answers in one write.
fn echo(count: usize) -> Box<dyn Live> {
    let tally = Rc::default();
    let node = one(&tally);
    let client = node.connect("");
    let event = text(&format!("421[\"echo\",\"{PAYLOAD}\"]"));
    let answer = node.ask(client, &event);
    assert!(answer.ends_with(format!("431[\"{PAYLOAD}\"]").as_bytes()), "{answer:?}");
    let input = Input::new(event.repeat(count));
    hosted(
        &tally,
        (node, client, input),
        |(_, _, input)| input.refresh(),
        |(node, client, input)| {
            node.read(*client, &mut input.bytes);
            node.flush();
        },
    )
}

/// An event by which `pub` sends to a room.
pub(super) fn event_to(room: &str) -> Vec<u8> {
    text(&format!("42[\"pub\",{{\"room\":\"{room}\",\"data\":\"{PAYLOAD}\"}}]"))
}

/// An event by which a client joins a room.
pub(super) fn join_of(room: &str) -> Vec<u8> {
    text(&format!("420[\"join\",\"{room}\"]"))
}

/// `count` events in one read, each to a room of `members`, of which the sender is none.
fn publish(members: u64, count: usize) -> Box<dyn Live> {
    let tally = Rc::default();
    let node = one(&tally);
    let join = join_of("room");
    for _ in 0..members {
        let client = node.connect("");
        node.ask(client, &join);
    }
    let client = node.connect("");
    let sends = tally.get().sends;
    let sample = node.ask(client, &event_to("room"));
    let event = format!("42[\"msg\",{{\"room\":\"room\",\"data\":\"{PAYLOAD}\"}}]");
    assert!(sample.ends_with(event.as_bytes()), "{sample:?}");
    assert_eq!(tally.get().sends - sends, members, "each member gets one");
    let input = Input::new(event_to("room").repeat(count));
    hosted(
        &tally,
        (node, client, input),
        |(_, _, input)| input.refresh(),
        |(node, client, input)| {
            node.read(*client, &mut input.bytes);
            node.flush();
        },
    )
}

/// A client joins a room that has `members` already, and is told so.
fn join(members: usize) -> Box<dyn Live> {
    let tally = Rc::default();
    let node = one(&tally);
    for _ in 0..members {
        let client = node.connect("");
        node.ask(client, &join_of("room"));
    }
    let client = node.connect("");
    let leave = text("42[\"leave\",\"room\"]");
    let input = Input::new(join_of("room"));
    assert!(node.ask(client, &join_of("room")).ends_with(b"430[]"));
    hosted(
        &tally,
        (node, client, input),
        move |(node, client, input)| {
            node.ask(*client, &leave);
            input.refresh();
        },
        |(node, client, input)| {
            node.read(*client, &mut input.bytes);
            node.flush();
        },
    )
}

/// A connection, its handshake, and the namespace joined.
fn handshake() -> Box<dyn Live> {
    struct State {
        node: Node,
        client: Option<Key>,
        upgrade: Input,
        join: Input,
    }
    let tally = Rc::default();
    let node = one(&tally);
    node.connect("");
    let join = Input::new(text("40"));
    hosted(
        &tally,
        State { node, client: None, upgrade: Input::new(UPGRADE.to_vec()), join },
        |state| {
            state.upgrade.refresh();
            state.join.refresh();
            if let Some(client) = state.client.take() {
                state.node.close(client);
                state.node.flush();
            }
        },
        |state| {
            let client = state.node.open();
            state.node.read(client, &mut state.upgrade.bytes);
            state.node.flush();
            state.node.read(client, &mut state.join.bytes);
            state.node.flush();
            state.client = Some(client);
        },
    )
}

/// A poll that waits, an event with an ack in a post, and its answer in the poll's.
fn poll() -> Box<dyn Live> {
    let tally = Rc::default();
    let node = one(&tally);
    let (polls, posts) = (node.open(), node.open());
    let open = node.ask(polls, &request("GET", "", ""));
    let open = String::from_utf8(open).expect("text");
    let (_, sid) = open.split_once("\"sid\":\"").expect("an open packet");
    let sid = format!("&sid={}", &sid[..20]);
    node.ask(posts, &request("POST", &sid, "40"));
    node.ask(polls, &request("GET", &sid, ""));
    let get = request("GET", &sid, "");
    let post = request("POST", &sid, &format!("421[\"echo\",\"{PAYLOAD}\"]"));
    assert!(node.ask(polls, &get).is_empty(), "the poll waits");
    let sends = tally.get().sends;
    node.ask(posts, &post);
    assert_eq!(tally.get().sends - sends, 2, "the post is answered, and the poll");
    hosted(
        &tally,
        (node, Input::new(get), Input::new(post)),
        |(_, get, post)| {
            get.refresh();
            post.refresh();
        },
        move |(node, get, post)| {
            node.read(polls, &mut get.bytes);
            node.flush();
            node.read(posts, &mut post.bytes);
            node.flush();
        },
    )
}

fn request(method: &str, sid: &str, body: &str) -> Vec<u8> {
    let length = if body.is_empty() {
        String::new()
    } else {
        let len = body.len();
        format!("Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {len}\r\n")
    };
    format!(
        "{method} /socket.io/?EIO=4&transport=polling&t=abc123{sid} HTTP/1.1\r\n\
         Host: 127.0.0.1:3001\r\nConnection: keep-alive\r\nAccept: */*\r\n{length}\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n\
         Origin: http://localhost:3000\r\nAccept-Encoding: gzip, deflate, br\r\n\r\n{body}"
    )
    .into_bytes()
}

/// 1,000 idle clients are pinged, and answer.
fn heartbeat() -> Box<dyn Live> {
    const CLIENTS: usize = 1_000;
    let tally = Rc::default();
    let node = one(&tally);
    let clients: Vec<Key> = (0..CLIENTS).map(|_| node.connect("")).collect();
    let pong = text("3");
    let input = Input::new(pong.repeat(CLIENTS));
    let settings = Settings::default();
    let between_ms = settings.ping_interval_ms + settings.slot_ms();
    let beat = move |(node, clients, input): &mut (Node, Vec<Key>, Input)| {
        node.run_due();
        node.flush();
        for (client, pong) in clients.iter().zip(input.bytes.chunks_exact_mut(pong.len())) {
            node.read(*client, pong);
        }
        node.flush();
    };
    let mut state = (node, clients, input);
    let ready = move |(node, _, input): &mut (Node, Vec<Key>, Input)| {
        node.pass(between_ms);
        input.refresh();
    };
    let before = tally.get().sends;
    ready(&mut state);
    beat(&mut state);
    assert_eq!(tally.get().sends - before, CLIENTS as u64, "each is pinged once");
    hosted(&tally, state, ready, beat)
}
