//! The gateway on one core: a room message by event, and the same by REST on the public listener,
//! the admin core's part included.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use corewire::admin::{self, Admin, AdminSettings, GatewayRoutes, Phase};
use corewire::api::Io;
use corewire::base::{CoreId, Key, Limits};
use corewire::command::{Errand, Full, Workers};
use corewire::config::{ApiKey, Options, Scope, Secret, Tables};
use corewire::gateway::{self, GatewaySettings};
use corewire::shard::{Forwarded, Settings};

use super::node::{Node, nodes, text};
use super::{Case, Input, Live, PAYLOAD, Tally, hosted};

/// The rows of this file.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("gateway/message-1000", "delivery", by_event).times(1_000),
        Case::new("gateway/message-1000-by-rest", "delivery", by_rest).times(1_000),
    ]
}

/// Members of the room.
const MEMBERS: u64 = 1_000;

/// A core with the gateway, its room full, and a client that is not in it.
fn start(tally: &Rc<std::cell::Cell<Tally>>) -> (Node, Key) {
    let gateway = Arc::new(GatewaySettings { rooms_open: true, ..GatewaySettings::default() });
    let settings = Settings {
        limits: Limits { name_bytes_max: gateway::ROOM_BYTES_MAX, ..Limits::DEFAULT },
        forwarded: vec![String::from("/socket/")],
        ..Settings::default()
    };
    let build = |io: &Io| gateway::app(io, Arc::clone(&gateway));
    let node = nodes(1, &settings, tally, &build).remove(0);
    let join = text("420[\"room:join\",{\"roomId\":\"chat\"}]");
    let connect = |at| node.connect(&format!("{{\"userId\":\"u{at}\",\"sessionId\":\"s{at}\"}}"));
    for at in 0..MEMBERS {
        let answer = node.ask(connect(at), &join);
        assert!(String::from_utf8_lossy(&answer).contains("\"success\":true"), "{answer:?}");
    }
    let sender = connect(MEMBERS);
    (node, sender)
}

/// The members' share of what has been sent since.
fn reached(tally: Tally, before: Tally) -> u64 {
    // The sender gets its answer.
    tally.sends - before.sends - 1
}

fn by_event() -> Box<dyn Live> {
    let tally = Rc::default();
    let (node, sender) = start(&tally);
    let event = text(&format!(
        "420[\"room:message\",{{\"roomId\":\"chat\",\"event\":\"msg\",\"data\":\"{PAYLOAD}\"}}]"
    ));
    let before = tally.get();
    node.ask(sender, &event);
    assert_eq!(reached(tally.get(), before), MEMBERS);
    hosted(
        &tally,
        (node, sender, Input::new(event)),
        |(_, _, input)| input.refresh(),
        |(node, sender, input)| {
            node.read(*sender, &mut input.bytes);
            node.flush();
        },
    )
}

/// The worker's inbox as the admin core sees it.
#[derive(Default)]
struct Errands(Mutex<VecDeque<Errand>>);

impl Errands {
    fn take(&self) -> Option<Errand> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl Workers for Errands {
    fn cores(&self) -> usize {
        1
    }

    fn send(&self, _core: CoreId, errand: Errand) -> Result<(), Full> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(errand);
        Ok(())
    }
}

/// The admin core, whose tasks are polled by hand.
struct Desk {
    router: axum::Router,
    errands: Arc<Errands>,
    /// Its clock serves the time limits of calls.
    runtime: tokio::runtime::Runtime,
}

impl Desk {
    fn new() -> Self {
        let errands = Arc::new(Errands::default());
        let scopes = vec![Scope::Emit];
        let key = ApiKey { name: String::from("back end"), key: Secret::new(KEY), scopes };
        let tables = Tables { api_keys: vec![key], ..Tables::default() };
        let options = Options::default();
        let settings = AdminSettings::new(&options, &tables, GatewayRoutes::On, Instant::now());
        let workers = Arc::clone(&errands) as Arc<dyn Workers>;
        let admin = Admin::new(settings, corewire::command::Desk::new(workers, 1));
        admin.set_phase(Phase::Serving);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a thread is there");
        Self { router: admin::router(&admin), errands, runtime }
    }

    /// Answers a request that the worker has read, which does what it is asked to meanwhile.
    fn call(&self, node: &Node, request: Forwarded) {
        let _clock = self.runtime.enter();
        let peer = SocketAddr::from(([127, 0, 0, 1], 4_001));
        let router = self.router.clone();
        let mut answer = pin!(admin::call(&router, &request.head, request.body, peer));
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready((bytes, keep_alive)) = answer.as_mut().poll(&mut context) {
                let conn = request.conn;
                node.core.with(|shard| shard.respond_forwarded(conn, &bytes, keep_alive));
                node.flush();
                return;
            }
            let errand = self.errands.take().expect("a call that waits has asked for something");
            let io = Io::new(Rc::clone(&node.core));
            node.core.errand(|| errand(&io));
            node.flush();
        }
    }
}

/// The key of the back end.
const KEY: &str = "a-long-random-text";

fn by_rest() -> Box<dyn Live> {
    let tally = Rc::default();
    let (node, _) = start(&tally);
    let (desk, caller) = (Desk::new(), node.open());
    let body = format!("{{\"roomId\":\"chat\",\"event\":\"msg\",\"data\":\"{PAYLOAD}\"}}");
    let request = format!(
        "POST /socket/rooms/message HTTP/1.1\r\nHost: 127.0.0.1:3001\r\n\
         Authorization: Bearer {KEY}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut input = Input::new(request.into_bytes());
    let post = move |node: &Node, desk: &Desk, bytes: &mut [u8]| {
        node.read(caller, bytes);
        let request = node.forwarded.borrow_mut().pop().expect("REST is the admin core's");
        desk.call(node, request);
    };
    let before = tally.get();
    post(&node, &desk, &mut input.bytes);
    assert_eq!(reached(tally.get(), before), MEMBERS);
    hosted(
        &tally,
        (node, desk, input),
        |(_, _, input)| input.refresh(),
        move |(node, desk, input)| post(node, desk, &mut input.bytes),
    )
}
