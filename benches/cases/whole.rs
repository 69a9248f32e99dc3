//! A whole shard, from bytes in to bytes out, with the application of the bench contract.

use std::cell::Cell;
use std::rc::Rc;

use corewire::api::{App, Io};
use corewire::base::Key;
use corewire::shard::Settings;
use serde::Deserialize;

use super::node::{Node, UPGRADE, nodes, text};
use super::{Case, Live, Tally, hosted};

/// The rows of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("shard/handshake", "client", handshake),
        Case::new("shard/echo", "round trip", || echo(1)),
        Case::new("shard/echo-8", "round trip", || echo(8)).times(8),
        Case::new("shard/pub-1000", "delivery", || publish(1, 1_000, 1)).times(1_000),
        Case::new("shard/pub-1000-joined-16", "delivery", || publish(1, 1_000, 16)).times(16_000),
        Case::new("mesh/pub-1000-over-2", "delivery", || publish(2, 1_000, 1)).times(1_000),
    ]
}

/// What `pub` looks at; the whole object goes on as it came.
#[derive(Deserialize)]
struct Publish {
    room: String,
}

/// The handlers of `examples/bench_server.rs`.
fn app(_io: &Io) -> App {
    App::new().namespace("/", |root| {
        root.on_args("join", |socket, (room,): (String,), ack| {
            socket.join(&room);
            ack.send(&());
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
fn start(cores: usize, tally: &Rc<Cell<Tally>>) -> Vec<Node> {
    nodes(cores, &Settings::default(), tally, &app)
}

/// 64 bytes.
const PAYLOAD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Bytes that are handed in, and what they are before they are unmasked where they lie.
struct Input {
    fresh: Vec<u8>,
    bytes: Vec<u8>,
}

impl Input {
    fn new(fresh: Vec<u8>) -> Self {
        Self { bytes: fresh.clone(), fresh }
    }

    fn refresh(&mut self) {
        self.bytes.copy_from_slice(&self.fresh);
    }
}

/// `count` events with an ack in one read, their answers in one write.
fn echo(count: usize) -> Box<dyn Live> {
    let tally = Rc::default();
    let node = start(1, &tally).remove(0);
    let client = node.connect("");
    let one = text(&format!("421[\"echo\",\"{PAYLOAD}\"]"));
    let answer = node.ask(client, &one);
    assert!(answer.ends_with(format!("431[\"{PAYLOAD}\"]").as_bytes()), "{answer:?}");
    let input = Input::new(one.repeat(count));
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

/// `count` events in one read, each to a room of `members`, spread over the cores.
fn publish(cores: usize, members: usize, count: usize) -> Box<dyn Live> {
    let tally = Rc::default();
    let nodes = start(cores, &tally);
    let join = text("420[\"join\",\"room\"]");
    for at in 0..members {
        let node = &nodes[at % cores];
        let client = node.connect("");
        node.ask(client, &join);
    }
    let client = nodes[0].connect("");
    let one = text(&format!("42[\"pub\",{{\"room\":\"room\",\"data\":\"{PAYLOAD}\"}}]"));
    let sends = tally.get().sends;
    let sample = nodes[0].ask(client, &one);
    let event = format!("42[\"msg\",{{\"room\":\"room\",\"data\":\"{PAYLOAD}\"}}]");
    assert!(sample.ends_with(event.as_bytes()), "{sample:?}");
    settle(&nodes);
    assert_eq!(tally.get().sends - sends, members as u64, "each member gets one");
    let input = Input::new(one.repeat(count));
    hosted(
        &tally,
        (nodes, client, input),
        |(_, _, input)| input.refresh(),
        |(nodes, client, input)| {
            nodes[0].read(*client, &mut input.bytes);
            settle(nodes);
        },
    )
}

/// One flush of each core, and what the first had for the others.
fn settle(nodes: &[Node]) {
    nodes[0].flush();
    for node in &nodes[1..] {
        node.receive();
        node.flush();
    }
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
    let node = start(1, &tally).remove(0);
    node.connect("");
    let (upgrade, join) = (Input::new(UPGRADE.to_vec()), Input::new(text("40")));
    hosted(
        &tally,
        State { node, client: None, upgrade, join },
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
