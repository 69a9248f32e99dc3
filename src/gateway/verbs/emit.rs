//! Sending events to sets of sockets, with and without asking for answers.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::super::error::{Done, VerbError};
use super::super::views::ReplyView;
use super::super::{Gateway, schema};
use super::target::{Aim, To};
use super::{binary, unless_overloaded};
use crate::api::{Answered, Gathered, Io, Quorum, Terms};

/// The command `emit`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EmitRequest {
    to: To,
    event: String,
    #[serde(default)]
    args: Option<Box<RawValue>>,
    #[serde(default)]
    volatile: bool,
}

/// The command `ask`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AskRequest {
    to: To,
    event: String,
    #[serde(default)]
    args: Option<Box<RawValue>>,
    #[serde(default = "timeout_default_ms", deserialize_with = "super::count")]
    timeout_ms: u64,
    #[serde(default, deserialize_with = "quorum")]
    quorum: Quorum,
    #[serde(default = "collect_default", deserialize_with = "super::count")]
    collect: u64,
}

/// Time clients have to answer, unless said otherwise.
const fn timeout_default_ms() -> u64 {
    5_000
}

/// Answers that are handed on, unless said otherwise.
const fn collect_default() -> u64 {
    100
}

/// Bytes of answers that are handed on; further ones are only counted.
const COLLECT_BYTES_MAX: usize = 4 << 20;

fn quorum<'de, D: Deserializer<'de>>(from: D) -> Result<Quorum, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Wish {
        Count(f64),
        Word(String),
    }
    Ok(match Wish::deserialize(from)? {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it was judged as a small whole number"
        )]
        #[expect(clippy::cast_sign_loss, reason = "it was judged to be 1 at least")]
        Wish::Count(count) => Quorum::Count(count as u64),
        Wish::Word(word) if word == "any" => Quorum::Any,
        Wish::Word(word) if word == "majority" => Quorum::Majority,
        Wish::Word(_) => Quorum::All,
    })
}

/// An event on its way: read, judged, ready for the workers.
#[derive(Clone, Debug)]
pub struct Emission {
    /// Whom it is for.
    pub aim: Aim,
    event: String,
    args: String,
    attachments: Vec<Vec<u8>>,
    volatile: bool,
}

/// A question to clients.
#[derive(Clone, Debug)]
pub struct Question {
    /// What is sent, and to whom.
    pub emission: Emission,
    /// When enough was heard.
    pub terms: Terms,
}

impl EmitRequest {
    /// What is to be sent.
    ///
    /// # Errors
    /// [`VerbError::Invalid`]: nobody is meant, or what stands there for binary is none.
    pub fn emission(self) -> Result<Emission, VerbError> {
        let Self { to, event, args, volatile } = self;
        Emission::new(to, event, args.as_deref(), volatile)
    }
}

impl AskRequest {
    /// What is to be asked.
    ///
    /// # Errors
    /// As [`EmitRequest::emission`].
    pub fn question(self) -> Result<Question, VerbError> {
        let Self { to, event, args, timeout_ms, quorum, collect } = self;
        let emission = Emission::new(to, event, args.as_deref(), false)?;
        let collect = usize::try_from(collect).unwrap_or(usize::MAX);
        let terms = Terms { timeout_ms, quorum, collect, collect_bytes: COLLECT_BYTES_MAX };
        Ok(Question { emission, terms })
    }
}

impl Emission {
    fn new(
        to: To,
        event: String,
        args: Option<&RawValue>,
        volatile: bool,
    ) -> Result<Self, VerbError> {
        let args = args.map_or("[]", RawValue::get);
        let (args, attachments) =
            binary::take(args).map_err(|fault| VerbError::member("args", fault))?;
        Ok(Self { aim: to.aim()?, event, args: args.into_owned(), attachments, volatile })
    }

    /// An event with one argument or none, to one room of `/`.
    pub(super) fn to_room(room: &str, event: String, arg: &str) -> Self {
        let (aim, args) = (Aim::room(room), arg.to_owned());
        Self { aim, event, args, attachments: Vec::new(), volatile: false }
    }
}

/// Whom an event reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Sockets that the target meant.
    pub matched: u64,
    /// Those whose queue took it.
    pub queued: u64,
    /// A core did not say in time how many it has.
    pub partial: bool,
}

/// Sends an event.
///
/// Only cores that may have members are asked for their counts.
pub fn emit(io: &Io, emission: &Emission, done: Done<Reached>) {
    let Some(done) = unless_overloaded(io, done) else {
        return;
    };
    let Some((gateway, space)) = Gateway::space_of(io, &emission.aim.namespace) else {
        return done(Err(VerbError::NamespaceNotFound));
    };
    let now_ms = io.unix_ms();
    // A user's room has no keeper: its members are the user's sockets.
    for room in &emission.aim.target.rooms {
        if room.starts_with("user:") {
            continue;
        }
        gateway.local.borrow_mut().touch(space, room, now_ms);
    }
    let mut broadcast = io.of(&emission.aim.namespace).target(emission.aim.target.clone());
    if emission.volatile {
        broadcast = broadcast.volatile();
    }
    broadcast.emit_counted(&emission.event, &emission.args, &emission.attachments, |found| {
        let Gathered { count: matched, queued, partial, .. } = found;
        done(Ok(Reached { matched, queued, partial }));
    });
}

/// Sends events one after the other until `until_us`, at least one: a worker with clients to
/// serve is not kept longer. Gives back how many were sent; `done` hears of each by its number.
pub fn emit_some(
    io: &Io,
    emissions: &[Emission],
    until_us: u64,
    done: impl Fn(usize, Result<Reached, VerbError>) + Clone + Send + 'static,
) -> usize {
    for (at, emission) in emissions.iter().enumerate() {
        if at > 0 && io.now_us() >= until_us {
            return at;
        }
        let done = done.clone();
        emit(io, emission, Box::new(move |told| done(at, told)));
    }
    emissions.len()
}

/// What clients answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Sockets that were asked.
    pub matched: u64,
    /// Those that are known to have been sent the question.
    pub written: u64,
    /// Those that answered.
    pub acked: u64,
    /// Those that did not in time.
    pub timed_out: u64,
    /// Those that went first.
    pub gone: u64,
    /// The answers that are handed on.
    pub replies: Vec<ReplyView>,
    /// Whether as many answered as were wanted.
    pub has_quorum: bool,
}

/// Asks clients, and answers as soon as enough of them have.
pub fn ask(io: &Io, question: &Question, done: Done<Heard>) {
    let Some(done) = unless_overloaded(io, done) else {
        return;
    };
    let Question { emission, terms } = question;
    if Gateway::space_of(io, &emission.aim.namespace).is_none() {
        return done(Err(VerbError::NamespaceNotFound));
    }
    let broadcast = io.of(&emission.aim.namespace).target(emission.aim.target.clone());
    let quorum = terms.quorum;
    let heard = move |found: Gathered| {
        if found.refused {
            return done(Err(VerbError::TooManyPending));
        }
        done(Ok(Heard {
            matched: found.count,
            written: found.acked + found.written_unanswered,
            acked: found.acked,
            timed_out: found.timed_out,
            gone: found.gone,
            has_quorum: found.acked >= quorum.needed(found.count),
            replies: found.acks.into_iter().map(reply).collect(),
        }));
    };
    let Emission { event, args, attachments, .. } = emission;
    broadcast.ask(event, args, attachments, *terms, heard);
}

fn reply(answered: Answered) -> ReplyView {
    let Answered { socket, who, ack } = answered;
    let args = RawValue::from_string(binary::give(&ack.args, &ack.attachments));
    ReplyView {
        socket_id: socket,
        user_id: who.map(|who| who.to_string()),
        // What JavaScript calls JSON and this reader does not is half a character.
        args: args.unwrap_or_else(|_| RawValue::NULL.to_owned()),
    }
}

/// The longest time clients may be given to answer.
pub const ASK_TIMEOUT_MAX_MS: u64 = schema::ASK_TIMEOUT_MAX_MS;
