//! What comes in over Socket.IO, and whether it may.

use serde_json::{Value, json};

use super::acts::{blobs, filler};
use super::app::NAMESPACES;
use super::ledger::{Ledger, SeatId};
use super::user::{Desk, Expect, Parted, Seat, User};
use crate::socketio::{self, Kind as PacketKind};

impl User {
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
