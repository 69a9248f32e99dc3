//! A client's Socket.IO half: its seats, what it asks for, and whether the answers are right.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::app::NAMESPACES;
use super::ledger::{Aim, Kind, Ledger, ROOMS, SeatId};
use super::wire::{Dialect, Pkt};
use crate::base::{Micros, Rng};
use crate::engineio::Revision;
use crate::socketio::{self, Kind as PacketKind};

/// A client's state in one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    Out,
    /// CONNECT is under way; what still comes is for the seat it had before.
    Asked(SeatId, Option<SeatId>),
    In(SeatId),
    /// It has said that it leaves.
    Left(SeatId),
}

/// What an ack is expected to say.
#[derive(Clone, Debug)]
pub(super) enum Expect {
    Room(usize, bool),
    Said(u64, bool),
    Echo(Value),
    Asked(u64, u64),
    Me(u64, u64),
    Count(u64),
    Mass(u64),
}

#[derive(Clone, Debug)]
struct Waiting {
    namespace: usize,
    seat: SeatId,
    since: Micros,
    expect: Expect,
}

/// Packets with attachments that have not all come.
#[derive(Debug)]
struct Parted {
    text: String,
    missing: usize,
    attachments: Vec<Vec<u8>>,
}

/// The Socket.IO half of a client, for one session.
#[derive(Debug)]
pub(super) struct User {
    pub(super) dialect: Dialect,
    pub(super) seats: [Seat; NAMESPACES.len()],
    waiting: BTreeMap<u64, Waiting>,
    /// Numbers sent to a core and back to us.
    errands: Vec<(u64, usize, SeatId)>,
    next_ack: u64,
    parted: Option<Parted>,
    /// It leaves questions unanswered now and then.
    pub(super) lazy: bool,
    /// The engine's id of the session.
    sid: String,
    /// It is owed nothing: the server may cut it at any time.
    pub(super) excused: bool,
    /// It has asked to be disconnected.
    quits: bool,
    /// It has done what ends a connection.
    pub(super) closes: bool,
    /// What it sends next.
    pub(super) out: Vec<Pkt>,
    /// Answers that came.
    pub(super) answers: u64,
}

/// What a user needs from the world.
pub(super) struct Desk<'a> {
    pub(super) now: Micros,
    pub(super) ledger: &'a mut Ledger,
    pub(super) work: &'a mut Rng,
}

/// Time the server waits for the answer to a question, at most.
pub(super) const ASK_MS_MAX: u64 = 400;

impl User {
    pub(super) fn new(dialect: Dialect, lazy: bool) -> Self {
        Self {
            dialect,
            seats: [Seat::Out; NAMESPACES.len()],
            waiting: BTreeMap::new(),
            errands: Vec::new(),
            next_ack: 0,
            parted: None,
            lazy,
            sid: String::new(),
            excused: false,
            quits: false,
            closes: false,
            out: Vec::new(),
            answers: 0,
        }
    }

    /// The namespace's prefix in a packet.
    fn prefix(namespace: usize) -> &'static str {
        ["", "/b,"][namespace]
    }

    fn send(&mut self, text: &str, attachments: &[Vec<u8>]) {
        self.out.extend(self.dialect.pack(text, attachments));
    }

    /// A session is asked for.
    pub(super) fn begin(&mut self, ledger: &mut Ledger) {
        if self.dialect.revision == Revision::V3 {
            // Rule: Socket.IO before v3: the server joins `/` by itself.
            self.seats[0] = Seat::Asked(ledger.seat_asked(0, ""), None);
        }
    }

    /// The session is open: the first namespace is joined.
    pub(super) fn open(&mut self, sid: &str, ledger: &mut Ledger) {
        sid.clone_into(&mut self.sid);
        if self.dialect.revision == Revision::V4 {
            self.connect(0, ledger);
        }
    }

    /// Rule: Socket.IO before v3: the id is the engine's, behind the namespace's name.
    fn old_id(&self, namespace: usize) -> Option<String> {
        match (self.dialect.revision, namespace) {
            (Revision::V4, _) => None,
            (Revision::V3, 0) => Some(self.sid.clone()),
            (Revision::V3, _) => Some(format!("{}#{}", NAMESPACES[namespace], self.sid)),
        }
    }

    /// Joins a namespace.
    fn connect(&mut self, namespace: usize, ledger: &mut Ledger) {
        let old = match self.seats[namespace] {
            Seat::Left(old) => Some(old),
            _ => None,
        };
        let id = self.old_id(namespace).unwrap_or_default();
        self.seats[namespace] = Seat::Asked(ledger.seat_asked(namespace, &id), old);
        self.send(&format!("0{}", Self::prefix(namespace)), &[]);
    }

    /// Leaves a namespace and keeps the connection.
    pub(super) fn disconnect(&mut self, namespace: usize, ledger: &mut Ledger) {
        if let Seat::In(seat) = self.seats[namespace] {
            ledger.seat_goes(seat);
            self.seats[namespace] = Seat::Left(seat);
            self.send(&format!("1{}", Self::prefix(namespace)), &[]);
        }
    }

    /// Whatever it was or is: each seat of this session.
    fn all_seats(&self) -> Vec<SeatId> {
        let seats = self.seats.iter().flat_map(|seat| match *seat {
            Seat::Out => [None, None],
            Seat::Asked(seat, old) => [Some(seat), old],
            Seat::In(seat) | Seat::Left(seat) => [Some(seat), None],
        });
        seats.flatten().collect()
    }

    /// The connection is going, by its own doing.
    pub(super) fn goes(&mut self, ledger: &mut Ledger) {
        self.excused = true;
        self.all_seats().into_iter().for_each(|seat| ledger.seat_goes(seat));
    }

    /// The connection goes in a way of which the server learns late.
    pub(super) fn vanishes(&mut self, ledger: &mut Ledger) {
        self.all_seats().into_iter().for_each(|seat| ledger.seat_vanishes(seat));
    }

    /// The server may cut it from now on.
    pub(super) fn doubt(&mut self, ledger: &mut Ledger) {
        self.excused = true;
        self.all_seats().into_iter().for_each(|seat| ledger.seat_doubted(seat));
    }

    /// The connection is gone; nothing is read from it any more.
    pub(super) fn gone(&mut self, ledger: &mut Ledger) {
        self.all_seats().into_iter().for_each(|seat| ledger.seat_dead(seat));
        self.seats = [Seat::Out; NAMESPACES.len()];
        self.waiting.clear();
        self.parted = None;
        self.out.clear();
    }

    /// Whether nothing is under way; if not, what.
    pub(super) fn unsettled(&self) -> Option<String> {
        let asked = self.seats.iter().find(|seat| matches!(seat, Seat::Asked(..)));
        let present = |waiting: &&Waiting| self.seats[waiting.namespace] == Seat::In(waiting.seat);
        let owed = self.waiting.values().find(present);
        let away = self.errands.iter().find(|(.., seat)| self.seats.contains(&Seat::In(*seat)));
        match (asked, owed) {
            _ if self.closes => Some(String::from("it should have been closed")),
            _ if self.excused => None,
            _ if self.quits => Some(String::from("it was not sent away")),
            (Some(seat), _) => Some(format!("{seat:?} was never answered")),
            (_, Some(waiting)) => Some(format!("no answer came: {waiting:?}")),
            _ if away.is_some() => Some(format!("{away:?} did not come back")),
            _ => None,
        }
    }

    /// All is quiet: answers that have not come never will.
    pub(super) fn settle(&mut self) {
        self.waiting.clear();
    }

    /// A binary message arrived.
    pub(super) fn binary(&mut self, data: Vec<u8>, desk: &mut Desk<'_>) -> Result<(), String> {
        if let Some((text, attachments)) = self.dialect.unpack(&data) {
            return self.packet(&text, &attachments, desk);
        }
        let parted = self.parted.as_mut().ok_or("binary that belongs to nothing")?;
        parted.attachments.push(data);
        parted.missing -= 1;
        if parted.missing > 0 {
            return Ok(());
        }
        let Some(parted) = self.parted.take() else { return Ok(()) };
        self.packet(&parted.text, &parted.attachments, desk)
    }

    /// A text message arrived, without the engine's digit.
    pub(super) fn text(&mut self, text: &str, desk: &mut Desk<'_>) -> Result<(), String> {
        if self.parted.is_some() || self.dialect.msgpack {
            return Err(format!("text where binary belongs: {text}"));
        }
        let packet = socketio::parse(text, 100).map_err(|why| format!("{why:?}: {text}"))?;
        if packet.attachments > 0 {
            let missing = packet.attachments as usize;
            let text = text.to_owned();
            self.parted = Some(Parted { text, missing, attachments: Vec::new() });
            return Ok(());
        }
        self.packet(text, &[], desk)
    }

    fn packet(
        &mut self,
        text: &str,
        attachments: &[Vec<u8>],
        desk: &mut Desk<'_>,
    ) -> Result<(), String> {
        let packet = socketio::parse(text, 100).map_err(|why| format!("{why:?}: {text}"))?;
        let known = NAMESPACES.iter().position(|name| *name == packet.namespace);
        let namespace = known.ok_or_else(|| format!("a namespace never asked for: {text}"))?;
        match packet.kind {
            PacketKind::Connect => self.joined(namespace, packet.data, desk),
            PacketKind::Disconnect => self.sent_away(namespace, desk),
            PacketKind::Event | PacketKind::BinaryEvent => {
                let seat = match self.seats[namespace] {
                    Seat::In(seat) | Seat::Left(seat) | Seat::Asked(_, Some(seat)) => seat,
                    other => return Err(format!("{other:?} got {text}")),
                };
                let args = read(packet.data)?;
                self.event(namespace, seat, &args, packet.ack_id, attachments, desk)
            }
            PacketKind::Ack | PacketKind::BinaryAck => {
                let id = packet.ack_id.and_then(|id| id.parse().ok()).ok_or("an ack without id")?;
                self.ack(namespace, id, &read(packet.data)?, desk)
            }
            PacketKind::ConnectError => Err(format!("refused: {text}")),
        }
    }

    fn joined(&mut self, namespace: usize, data: &str, desk: &mut Desk<'_>) -> Result<(), String> {
        let Seat::Asked(seat, old) = self.seats[namespace] else {
            return Err(format!("let in without asking: {:?}", self.seats));
        };
        if let Some(old) = old {
            desk.ledger.seat_dead(old);
        }
        let body: Value = serde_json::from_str(data).unwrap_or_default();
        let id = body["sid"].as_str().map(str::to_owned).or_else(|| self.old_id(namespace));
        desk.ledger.seat_joined(seat, &id.ok_or("let in without an id")?);
        if self.excused {
            desk.ledger.seat_doubted(seat);
        }
        self.seats[namespace] = Seat::In(seat);
        Ok(())
    }

    fn sent_away(&mut self, namespace: usize, desk: &mut Desk<'_>) -> Result<(), String> {
        if !self.quits && !self.excused {
            return Err(String::from("disconnected by the server without a reason"));
        }
        match self.seats[namespace] {
            Seat::In(seat) | Seat::Left(seat) => desk.ledger.seat_dead(seat),
            // It came for the seat before; the new one is still to be answered.
            Seat::Asked(_, Some(_)) => return Ok(()),
            other => return Err(format!("sent away twice: {other:?}")),
        }
        self.seats[namespace] = Seat::Out;
        (self.quits, self.closes) = (false, false);
        Ok(())
    }

    fn event(
        &mut self,
        namespace: usize,
        seat: SeatId,
        args: &[Value],
        ack: Option<&str>,
        attachments: &[Vec<u8>],
        desk: &mut Desk<'_>,
    ) -> Result<(), String> {
        let name = args.first().and_then(Value::as_str).unwrap_or_default();
        let number = args.get(1).and_then(Value::as_u64).ok_or("an event without its number")?;
        let answer = match name {
            "said" => {
                let blob = matches!(args.get(8), Some(Value::Object(_)));
                if args.get(7) != Some(&json!(filler(number))) {
                    return Err(format!("emit {number} arrived with other words"));
                }
                if attachments != blobs(number, blob) {
                    return Err(format!("emit {number} arrived with other attachments"));
                }
                return desk.ledger.receive(seat, number);
            }
            "question" => {
                desk.ledger.receive(seat, number)?;
                seat.0 as u64
            }
            "you" => number + 1,
            "back" => {
                let core = args.get(2).and_then(Value::as_u64).unwrap_or(u64::MAX);
                let same =
                    |errand: &&(u64, usize, SeatId)| errand.1 as u64 == core && errand.2 == seat;
                // From core to core and back nothing overtakes anything.
                let errand = self.errands.iter().find(same).copied();
                self.errands.retain(|errand| errand.0 != number);
                if errand.is_none_or(|(nonce, ..)| nonce != number) {
                    return Err(format!("{errand:?} came back as {args:?}"));
                }
                return Ok(());
            }
            _ => return Err(format!("an event nobody sends: {name}")),
        };
        let ack = ack.ok_or("a question without an ack id")?;
        // Rule: as in Node, a packet for a namespace that the server has just taken the socket out
        // of closes the whole connection; who has asked for that keeps quiet.
        let goes = self.seats[namespace] != Seat::In(seat) || self.quits;
        if goes || (self.lazy && desk.work.below(3) == 0) {
            return Ok(());
        }
        self.send(&format!("3{}{ack}[{answer}]", Self::prefix(namespace)), &[]);
        Ok(())
    }

    fn ack(
        &mut self,
        namespace: usize,
        id: u64,
        args: &[Value],
        desk: &mut Desk<'_>,
    ) -> Result<(), String> {
        let waiting = self.waiting.remove(&id);
        let waiting =
            waiting.ok_or_else(|| format!("ack {id} came twice, or was not asked for"))?;
        if waiting.namespace != namespace {
            return Err(format!("ack {id} came from another namespace"));
        }
        if let Seat::In(seat) = self.seats[namespace]
            && seat != waiting.seat
        {
            return Err(format!("ack {id} came for a seat that is gone"));
        }
        self.answers += 1;
        let number = |at: usize| args.get(at).and_then(Value::as_u64).unwrap_or(u64::MAX);
        let truth = |at: usize| args.get(at).and_then(Value::as_bool).unwrap_or_default();
        let wrong = || Err(format!("{:?} was answered with {args:?}", waiting.expect));
        let ledger = &mut *desk.ledger;
        match waiting.expect {
            Expect::Room(room, member) if truth(1) == member => {
                ledger.room_answered(waiting.seat, room, member);
            }
            Expect::Said(emit, counted) if number(0) == emit => {
                ledger.emit_acked(emit);
                if counted {
                    return ledger.counted(emit, number(1), truth(2));
                }
            }
            Expect::Echo(ref said) if said.as_array().is_some_and(|said| said == args) => {}
            Expect::Asked(emit, wait_ms) if number(0) == emit => {
                let late = self.excused || desk.now + 1_000 >= waiting.since + wait_ms * 1_000;
                return answered(ledger, emit, late, args);
            }
            Expect::Me(nonce, _) if args == [json!("ok"), json!(nonce + 1)] => {}
            Expect::Me(_, wait_ms) if args == [json!("late")] => {
                // Deadlines are counted in whole milliseconds.
                let late = desk.now + 1_000 >= waiting.since + wait_ms * 1_000;
                return if late || self.excused { Ok(()) } else { wrong() };
            }
            Expect::Count(emit) if number(0) == emit => {
                return ledger.counted(emit, number(1), truth(2));
            }
            Expect::Mass(mass) if number(0) != u64::MAX => {
                if !truth(1) {
                    ledger.mass_answered(mass);
                }
            }
            _ => return wrong(),
        }
        Ok(())
    }

    /// Sends an event that is answered.
    fn ask(&mut self, namespace: usize, seat: SeatId, now: Micros, args: &Value, expect: Expect) {
        self.next_ack += 1;
        let id = self.next_ack;
        self.waiting.insert(id, Waiting { namespace, seat, since: now, expect });
        self.send(&format!("2{}{id}{args}", Self::prefix(namespace)), &[]);
    }

    /// Whether it is where it can do something.
    pub(super) fn can_act(&self) -> bool {
        !self.quits && !self.closes && !matches!(self.seats[0], Seat::Asked(..))
    }

    /// Does something, if it is in a namespace.
    pub(super) fn act(&mut self, desk: &mut Desk<'_>, tight: bool, cores: usize) {
        if self.quits || self.closes {
            return;
        }
        let namespace = desk.work.below(NAMESPACES.len());
        let seat = match self.seats[namespace] {
            Seat::In(seat) => seat,
            Seat::Out | Seat::Left(_) => return self.connect(namespace, desk.ledger),
            Seat::Asked(..) => return,
        };
        let now = desk.now;
        match desk.work.below(23) {
            0..=4 => {
                let (room, member) = (desk.work.below(ROOMS), desk.work.below(3) > 0);
                desk.ledger.room_asked(seat, room);
                let args = json!([if member { "join" } else { "leave" }, room_name(room)]);
                self.ask(namespace, seat, now, &args, Expect::Room(room, member));
            }
            5..=12 => self.say(namespace, seat, desk),
            13 | 14 => {
                let words =
                    json!([{"a": [1, null, "é\u{2028}"]}, desk.work.draw() >> 12, -1.5, ""]);
                let mut args = vec![json!("echo")];
                args.extend(words.as_array().into_iter().flatten().cloned());
                self.ask(namespace, seat, now, &json!(args), Expect::Echo(words));
            }
            15 => {
                let wait_ms = 50 + desk.work.below(ASK_MS_MAX as usize - 50) as u64;
                let (aim, to) = aim(namespace, false, desk);
                let emit = desk.ledger.issue(seat, aim, Kind::Sure, false);
                let args = json!(["ask", emit, to, wait_ms]);
                self.ask(namespace, seat, now, &args, Expect::Asked(emit, wait_ms));
            }
            16 => {
                let (nonce, wait_ms) = (desk.work.draw() >> 20, ASK_MS_MAX);
                let args = json!(["me", nonce, wait_ms]);
                self.ask(namespace, seat, now, &args, Expect::Me(nonce, wait_ms));
            }
            17 => {
                let (aim, to) = aim(namespace, false, desk);
                let emit = desk.ledger.issue(seat, aim, Kind::Count, false);
                let args = json!(["count", emit, to, desk.work.below(2) == 0]);
                self.ask(namespace, seat, now, &args, Expect::Count(emit));
            }
            18 => {
                let (from, to) = (desk.work.below(ROOMS), desk.work.below(ROOMS));
                let join = desk.work.below(2) == 0;
                let mass = desk.ledger.mass(namespace, from, to, join);
                let args = json!(["mass", mass, room_name(from), room_name(to), join]);
                self.ask(namespace, seat, now, &args, Expect::Mass(mass));
            }
            19 => self.disconnect(namespace, desk.ledger),
            20 | 21 if tight => {
                let (room, close) = (desk.work.below(ROOMS), desk.work.below(2) == 0);
                let args = json!(["purge", room_name(room), close]);
                self.send(&format!("2{}{args}", Self::prefix(namespace)), &[]);
            }
            20 | 21 => {
                let (nonce, core) = (desk.work.draw() >> 20, desk.work.below(cores));
                self.errands.push((nonce, core, seat));
                let args = json!(["errand", nonce, core]);
                self.send(&format!("2{}{args}", Self::prefix(namespace)), &[]);
            }
            _ => self.quit(namespace, seat, desk),
        }
    }

    /// Asks to be thrown out, in one of several ways.
    fn quit(&mut self, namespace: usize, seat: SeatId, desk: &mut Desk<'_>) {
        self.quits = true;
        let prefix = Self::prefix(namespace);
        let args = [
            "[\"quit\",false]",
            "[\"quit later\"]",
            "[\"quit\",true]",
            "[\"drop\"]",
            "[\"boom\"]",
            "[\"boom later\"]",
        ];
        let way = desk.work.below(args.len());
        if way < 2 {
            desk.ledger.seat_goes(seat);
        } else {
            self.closes = true;
            // Not for sure: it may be thrown out of the namespace before the handler gets there.
            self.doubt(desk.ledger);
        }
        self.send(&format!("2{prefix}{}", args[way]), &[]);
    }

    fn say(&mut self, namespace: usize, seat: SeatId, desk: &mut Desk<'_>) {
        let (mut aim, to) = aim(namespace, true, desk);
        let mut except = Vec::new();
        if desk.work.below(4) == 0 {
            aim.except.push(desk.work.below(ROOMS));
            except.push(room_name(aim.except[0]));
        }
        aim.others = desk.work.below(3) == 0;
        let (others, counted) = (aim.others, desk.work.below(4) == 0);
        let volatile = desk.work.below(8) == 0;
        let kind = if volatile { Kind::Volatile } else { Kind::Sure };
        let emit = desk.ledger.issue(seat, aim, kind, true);
        let blob = desk.work.below(6) == 0;
        let mut args = vec![
            json!("say"),
            json!(emit),
            json!(to),
            json!(except),
            json!(others),
            json!(counted),
        ];
        args.extend([json!(volatile), json!(filler(emit))]);
        if blob {
            args.push(json!({"_placeholder": true, "num": 0}));
        }
        self.next_ack += 1;
        let (id, expect) = (self.next_ack, Expect::Said(emit, counted));
        self.waiting.insert(id, Waiting { namespace, seat, since: desk.now, expect });
        let kind = if blob { "51-" } else { "2" };
        let text = format!("{kind}{}{id}{}", Self::prefix(namespace), json!(args));
        self.send(&text, &blobs(emit, blob));
    }
}

/// The arguments of a packet.
fn read(data: &str) -> Result<Vec<Value>, String> {
    serde_json::from_str(data).map_err(|why| format!("{why} in {data}"))
}

/// Acks of a broadcast: from whom it reached, each once, and all of them unless it says so.
fn answered(ledger: &Ledger, emit: u64, late: bool, args: &[Value]) -> Result<(), String> {
    let count = args.get(1).and_then(Value::as_u64).unwrap_or(u64::MAX);
    let partial = args.get(2).and_then(Value::as_bool).unwrap_or_default();
    let texts = args.get(3).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut seats: Vec<u64> = texts.iter().filter_map(|text| text.as_str()?.parse().ok()).collect();
    let all = seats.len();
    let wrong = |what: &str| Err(format!("emit {emit} {what}: {args:?}"));
    let known =
        |seat: &u64| usize::try_from(*seat).is_ok_and(|seat| ledger.may_have(emit, SeatId(seat)));
    if !seats.iter().all(known) {
        return wrong("was answered by somebody it is not for");
    }
    seats.sort_unstable();
    seats.dedup();
    if seats.len() != all || all != texts.len() {
        return wrong("was answered twice by one socket");
    }
    if !partial && all as u64 != count {
        return wrong("is complete without all answers");
    }
    if partial && !late && ledger.is_certain(emit) {
        return wrong("was given up before its time");
    }
    ledger.counted(emit, count, partial)
}

fn room_name(room: usize) -> String {
    format!("room {room}")
}

/// Whom something is for: everybody, some rooms, some single sockets.
fn aim(namespace: usize, single: bool, desk: &mut Desk<'_>) -> (Aim, Vec<String>) {
    let mut aim = Aim { namespace, ..Aim::default() };
    let mut to = Vec::new();
    for _ in 0..desk.work.below(4) {
        let room = desk.work.below(ROOMS);
        aim.rooms.push(room);
        to.push(room_name(room));
    }
    if single && desk.work.below(4) == 0 {
        let present = desk.ledger.present(namespace);
        if !present.is_empty() {
            let seat = present[desk.work.below(present.len())];
            if let Some(id) = desk.ledger.id_of(seat).filter(|id| !id.is_empty()) {
                aim.seats.push(seat);
                to.push(id.to_owned());
            }
        }
    }
    (aim, to)
}

/// What an emit says; the number alone tells. A few are long.
fn filler(emit: u64) -> String {
    let len = match emit % 16 {
        0 => 3_000,
        1..=4 => 200,
        _ => 10,
    };
    format!("{emit} \"\u{e9}").repeat(len / 10)
}

/// The attachments of an emit.
fn blobs(emit: u64, wanted: bool) -> Vec<Vec<u8>> {
    let len = usize::try_from(emit % 70).expect("small");
    let byte = u8::try_from(emit % 256).expect("small");
    if wanted { vec![vec![byte; len]] } else { Vec::new() }
}
