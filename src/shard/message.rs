//! What cores say to each other, and what a shard asks of its host.

use std::any::Any;
use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::Handshake;
use super::frame::Wire;
use super::history::Offset;
use super::recall::{Claim, Moved};
use super::recovery::Lost;
use super::strike::Strike;
use crate::base::{CoreId, Key};

/// Whom a broadcast or a command is for.
///
/// Rule: Socket.IO rooms are a union (a socket in two of them gets one copy); `except` takes
/// members of any of its rooms out. No room at all means the whole namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Rooms; a socket id is a room of its own.
    pub rooms: Vec<Box<str>>,
    /// Rooms whose members are left out.
    pub except: Vec<Box<str>>,
}

impl Target {
    /// Bytes of its names.
    pub(crate) fn bytes(&self) -> usize {
        let names = self.rooms.iter().chain(&self.except);
        names.map(|name| name.len() + size_of::<Box<str>>()).sum()
    }
}

/// What to do with all sockets of a target.
#[derive(Clone, Debug)]
pub enum Verb {
    /// Put them into rooms.
    Join(Vec<Box<str>>),
    /// Take them out of rooms.
    Leave(Vec<Box<str>>),
    /// Disconnect them, of the namespace or of the whole connection.
    Disconnect {
        /// Whether the transport is closed too.
        close: bool,
    },
    /// Close their connections without a word to the namespace, so that clients come back.
    CloseTransport,
    /// Count them.
    Count,
    /// Describe them.
    Fetch,
}

/// One socket as another core or REST sees it.
#[derive(Clone, Debug)]
pub struct SocketInfo {
    /// Its public id.
    pub id: String,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its rooms, its own id first.
    pub rooms: Vec<String>,
    /// The request it came with.
    pub handshake: Arc<Handshake>,
    /// The auth payload of its CONNECT, raw JSON, empty if there was none.
    pub auth: Arc<str>,
    /// When it connected, milliseconds since the epoch.
    pub connected_at_unix_ms: u64,
    /// When it last sent something, milliseconds since the epoch.
    pub last_activity_unix_ms: u64,
    /// What the application said of it with `Socket::set_public`, raw JSON or empty.
    pub public: Arc<str>,
}

/// A question under way, and the core that waits for it.
#[derive(Clone, Copy, Debug)]
pub struct GatherRef {
    /// The core that asked.
    pub core: CoreId,
    /// Its name there.
    pub key: Key,
}

/// One answer to a question.
#[derive(Debug)]
pub enum Part {
    /// This core has done its part: how many sockets matched, and what they are if asked for.
    Done {
        /// How many sockets matched.
        count: u64,
        /// For how many of them the frame was queued; 0 if nothing was sent.
        queued: u64,
        /// Their descriptions, for [`Verb::Fetch`].
        sockets: Vec<SocketInfo>,
    },
    /// One client answered a broadcast that wanted acks.
    Ack(Box<Answered>),
    /// One client will not answer any more.
    AckLost {
        /// Its socket is gone; else its time is over.
        gone: bool,
        /// The frame had left its queue by then.
        written: bool,
    },
}

/// An answer to a broadcast that wanted acks, and whose it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// The socket's public id.
    pub socket: String,
    /// Whose socket it is, where the application says so; see `App::named`.
    pub who: Option<Arc<str>>,
    /// What it answered.
    pub ack: AckArgs,
}

/// How many of the sockets asked must answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quorum {
    /// One.
    Any,
    /// More than half.
    Majority,
    /// So many.
    Count(u64),
    /// Every one.
    #[default]
    All,
}

impl Quorum {
    /// How many answers are enough, of so many sockets.
    #[must_use]
    pub const fn needed(self, matched: u64) -> u64 {
        match self {
            Self::Any => 1,
            Self::Majority => matched / 2 + 1,
            Self::Count(count) => count,
            Self::All => matched,
        }
    }
}

/// On what terms a broadcast asks for acks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Milliseconds clients have.
    pub timeout_ms: u64,
    /// When the asker has heard enough.
    pub quorum: Quorum,
    /// Answers that are kept; the others are counted.
    pub collect: usize,
    /// Bytes of answers that are kept.
    pub collect_bytes: usize,
}

impl Terms {
    /// Everybody's answer, all of them kept, as in Node.
    #[must_use]
    pub const fn all(timeout_ms: u64) -> Self {
        let collect = usize::MAX;
        Self { timeout_ms, quorum: Quorum::All, collect, collect_bytes: usize::MAX }
    }
}

/// What an ack carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AckArgs {
    /// The arguments, raw JSON without the brackets.
    pub args: String,
    /// Their binary attachments.
    pub attachments: Vec<Vec<u8>>,
}

impl AckArgs {
    /// Bytes of all it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.args.len() + self.attachments.iter().map(Vec::len).sum::<usize>()
    }
}

/// A message from one core to another.
pub enum MeshMsg {
    /// Deliver to the target's members here.
    Broadcast {
        /// The namespace.
        namespace: Arc<str>,
        /// Whom it is for.
        target: Arc<Target>,
        /// The packet, encoded once by the sender.
        wire: Arc<Wire>,
        /// Whether clients that are behind may miss it.
        volatile: bool,
        /// Set if every member's ack is wanted: its id on the wire and its deadline.
        ask: Option<Ask>,
        /// Set if somebody counts.
        gather: Option<GatherRef>,
        /// Its offset, where events have one and this one may be recovered.
        offset: Option<Offset>,
    },
    /// Do something to the target's members here.
    Apply {
        /// The namespace.
        namespace: Arc<str>,
        /// Which sockets.
        target: Arc<Target>,
        /// What to do.
        verb: Verb,
        /// Set if somebody counts.
        gather: Option<GatherRef>,
    },
    /// Part of the answer to a question asked here.
    Answer {
        /// Which question.
        gather: Key,
        /// The part.
        part: Part,
    },
    /// A client has come back: who has its session?
    Recall {
        /// What it says.
        claim: Claim,
        /// The namespace it asks to join.
        namespace: Arc<str>,
        /// Who asks: the core and the socket there.
        asker: (CoreId, Key),
    },
    /// The answer.
    Recalled {
        /// The socket that asked.
        socket: Key,
        /// What it said.
        claim: Claim,
        /// The session, or why there is none here.
        found: Result<Box<Moved>, Lost>,
    },
    /// A command takes something away, also from clients that are not there.
    Strike {
        /// Its number among what its core has sent.
        offset: Offset,
        /// What it takes, and from whom.
        strike: Arc<Strike>,
    },
    /// This core knows of the process that takes over, or that is replaced.
    KnowsSibling,
    /// Something between two instances of the application; the layer above knows what.
    App(Box<dyn Any + Send>),
}

impl MeshMsg {
    /// Bytes it keeps alive while it waits, roughly; bounds what may wait for a core.
    #[must_use]
    pub fn cost(&self) -> usize {
        match self {
            Self::Broadcast { wire, .. } => 128 + wire.len(),
            Self::Apply { .. } | Self::App(_) | Self::Recall { .. } => 256,
            Self::Recalled { found: Ok(moved), .. } => 256 + moved.bytes(),
            Self::Strike { strike, .. } => strike.cost(),
            Self::Recalled { .. } | Self::KnowsSibling => 128,
            Self::Answer { part: Part::Done { sockets, .. }, .. } => 64 + sockets.len() * 512,
            Self::Answer { part: Part::Ack(answered), .. } => 128 + answered.ack.bytes(),
            Self::Answer { part: Part::AckLost { .. }, .. } => 64,
        }
    }
}

/// A broadcast that wants acks.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// The ack id, the same for all recipients.
    pub id: u64,
    /// Milliseconds the recipients have.
    pub timeout_ms: u64,
}

/// Where an event's name is.
#[derive(Debug)]
pub enum Name {
    /// In the text, at this place.
    InText(Range<usize>),
    /// Apart, because it was written with escapes.
    Owned(String),
}

/// The ack id of a client, kept as the digits it sent: a number would lose precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckId {
    len: u8,
    digits: [u8; 20],
}

impl AckId {
    /// Keeps up to 20 digits, which is all the parser lets through.
    #[must_use]
    pub fn new(digits: &str) -> Self {
        let mut kept = [b'0'; 20];
        let len = digits.len().min(20);
        kept[..len].copy_from_slice(&digits.as_bytes()[..len]);
        Self { len: u8::try_from(len).expect("at most 20"), digits: kept }
    }

    /// The digits.
    #[must_use]
    pub fn digits(&self) -> &[u8] {
        &self.digits[..usize::from(self.len)]
    }
}

/// A handler to run. The shard is not on its stack: it is told the outcome by verbs.
#[derive(Debug)]
pub enum Dispatch<'b> {
    /// A client asks to join a namespace; answer with `accept` or `refuse`.
    Connect {
        /// The socket, which exists but has not joined.
        socket: Key,
    },
    /// A client sent an event.
    Event {
        /// The socket.
        socket: Key,
        /// The packet's text: in the bytes the host handed in, or apart, where it came in
        /// fragments, by polling, or in another encoding.
        text: Cow<'b, str>,
        /// Its name.
        name: Name,
        /// Its arguments, raw, without the brackets: a place in the text.
        args: Range<usize>,
        /// Set if the client wants an ack.
        ack: Option<AckId>,
        /// Its binary attachments.
        attachments: Vec<Vec<u8>>,
    },
    /// A message of a raw Engine.IO session.
    EngineMessage {
        /// The session.
        session: Key,
        /// The message; binary ones come apart.
        message: RawMessage<'b>,
    },
    /// A message of a plain WebSocket.
    PlainMessage {
        /// The connection.
        conn: Key,
        /// The message.
        message: RawMessage<'b>,
    },
    /// A handshake waits for the application's hook; answer with `allow`.
    AllowRequest {
        /// The connection that waits.
        conn: Key,
        /// The request.
        handshake: Arc<Handshake>,
    },
}

/// A message without a packet inside.
#[derive(Debug)]
pub enum RawMessage<'b> {
    /// Text.
    Text(Cow<'b, str>),
    /// Binary.
    Binary(Vec<u8>),
}

/// A REST request that came in on the public port; the host sends it to the admin core.
#[derive(Debug)]
pub struct Forwarded {
    /// The connection that waits for `respond`.
    pub conn: Key,
    /// The request head, as received.
    pub head: Vec<u8>,
    /// The body, complete.
    pub body: Vec<u8>,
}

/// What the host must do next with a connection's bytes.
#[derive(Debug)]
pub enum Step<'b> {
    /// Nothing more until bytes arrive; `consumed` may be dropped from the front.
    Wait {
        /// Bytes done with.
        consumed: usize,
    },
    /// Run a handler, then call `next` again with the rest.
    Run {
        /// Bytes done with, counted from the front, the dispatch's text included.
        consumed: usize,
        /// What to run.
        dispatch: Dispatch<'b>,
    },
    /// Give the descriptor and all bytes to this core.
    Handover {
        /// The session's home.
        core: CoreId,
    },
    /// Send a request to the admin core, then call `next` again.
    Forward {
        /// Bytes done with.
        consumed: usize,
        /// The request.
        request: Forwarded,
    },
}

/// How an emit that wanted an ack ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AckOutcome {
    /// The client answered.
    Acked(AckArgs),
    /// It did not within its time.
    TimedOut,
    /// It disconnected first, or was not there.
    Gone,
}

/// What a question brought together.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Sockets that matched.
    pub count: u64,
    /// Those whose queue took the frame, if one was sent.
    pub queued: u64,
    /// Their descriptions, if asked for.
    pub sockets: Vec<SocketInfo>,
    /// Their acks, if asked for, in the order they came, as many as were to be kept.
    pub acks: Vec<Answered>,
    /// Sockets that answered.
    pub acked: u64,
    /// Sockets that did not in time.
    pub timed_out: u64,
    /// Sockets that went before they did.
    pub gone: u64,
    /// Of those that did not answer, how many the frame had left for nonetheless.
    pub written_unanswered: u64,
    /// Nobody was asked: as many questions are under way as may be.
    pub refused: bool,
    /// Whether a core or a client did not answer in time.
    pub partial: bool,
}

/// A socket that is gone, as disconnect handlers see it.
#[derive(Debug)]
pub struct Gone {
    /// Its former key, to end what the application keeps by it.
    pub socket: Key,
    /// Its public id.
    pub id: String,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// The rooms it was in, its own id not among them.
    pub rooms: Vec<Rc<str>>,
    /// Why.
    pub ending: super::Ending,
    /// The application's state of it.
    pub data: Option<Rc<dyn Any>>,
    /// The request it came with.
    pub handshake: Arc<Handshake>,
}

/// Something the application waits for, to be run by the host outside the shard.
pub enum Completion {
    /// An ack arrived, or never will.
    Ack(Box<dyn FnOnce(AckOutcome)>, AckOutcome),
    /// A question is answered.
    Gather(Box<dyn FnOnce(Gathered)>, Gathered),
    /// A client asks to join, and what it claimed was looked for: as [`Dispatch::Connect`].
    Connect {
        /// The socket.
        socket: Key,
    },
    /// A joined socket is gone.
    Gone(Gone),
    /// A message between instances of the application.
    App {
        /// The message.
        message: Box<dyn Any + Send>,
    },
}
