//! What a client does over Socket.IO.

use serde_json::{Value, json};

use super::app::NAMESPACES;
use super::ledger::{Aim, Kind, ROOMS, SeatId};
use super::user::{ASK_MS_MAX, Desk, Expect, Seat, User, Waiting};
use crate::base::Micros;

impl User {
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

    /// Does something, if it is in a namespace. Says what.
    pub(super) fn act(&mut self, desk: &mut Desk<'_>, tight: bool, cores: usize) -> &'static str {
        if self.quits || self.closes {
            return "nothing";
        }
        let namespace = desk.work.below(NAMESPACES.len());
        let seat = match self.seats[namespace] {
            Seat::In(seat) => seat,
            Seat::Out | Seat::Left(_) => {
                self.connect(namespace, desk.ledger);
                return "connects";
            }
            Seat::Asked(..) => return "nothing",
        };
        let now = desk.now;
        match desk.work.below(23) {
            0..=4 => {
                let (room, member) = (desk.work.below(ROOMS), desk.work.below(3) > 0);
                desk.ledger.room_asked(seat, room);
                let args = json!([if member { "join" } else { "leave" }, room_name(room)]);
                self.ask(namespace, seat, now, &args, Expect::Room(room, member));
                "asks for a room"
            }
            5..=12 => {
                self.say(namespace, seat, desk);
                "says something"
            }
            13 | 14 => {
                let words =
                    json!([{"a": [1, null, "é\u{2028}"]}, desk.work.draw() >> 12, -1.5, ""]);
                let mut args = vec![json!("echo")];
                args.extend(words.as_array().into_iter().flatten().cloned());
                self.ask(namespace, seat, now, &json!(args), Expect::Echo(words));
                "wants an echo"
            }
            15 => {
                let wait_ms = 50 + desk.work.below(ASK_MS_MAX as usize - 50) as u64;
                let (aim, to) = aim(namespace, false, desk);
                let emit = desk.ledger.issue(seat, aim, Kind::Sure, false);
                let args = json!(["ask", emit, to, wait_ms]);
                self.ask(namespace, seat, now, &args, Expect::Asked(emit, wait_ms));
                "asks everybody"
            }
            16 => {
                let (nonce, wait_ms) = (desk.work.draw() >> 20, ASK_MS_MAX);
                let args = json!(["me", nonce, wait_ms]);
                self.ask(namespace, seat, now, &args, Expect::Me(nonce, wait_ms));
                "wants to be asked"
            }
            17 => {
                let (aim, to) = aim(namespace, false, desk);
                let emit = desk.ledger.issue(seat, aim, Kind::Count, false);
                let args = json!(["count", emit, to, desk.work.below(2) == 0]);
                self.ask(namespace, seat, now, &args, Expect::Count(emit));
                "counts"
            }
            which => self.act_on_others(which, (namespace, seat), desk, tight, cores),
        }
    }

    /// What concerns others too, or ends the client's own stay.
    fn act_on_others(
        &mut self,
        which: usize,
        (namespace, seat): (usize, SeatId),
        desk: &mut Desk<'_>,
        tight: bool,
        cores: usize,
    ) -> &'static str {
        let now = desk.now;
        match which {
            18 => {
                let (from, to) = (desk.work.below(ROOMS), desk.work.below(ROOMS));
                let join = desk.work.below(2) == 0;
                let mass = desk.ledger.mass(namespace, from, to, join);
                let args = json!(["mass", mass, room_name(from), room_name(to), join]);
                self.ask(namespace, seat, now, &args, Expect::Mass(mass));
                "moves a room"
            }
            19 => {
                self.disconnect(namespace, desk.ledger);
                "disconnects"
            }
            20 | 21 if tight => {
                let (room, close) = (desk.work.below(ROOMS), desk.work.below(2) == 0);
                let args = json!(["purge", room_name(room), close]);
                self.send(&format!("2{}{args}", Self::prefix(namespace)), &[]);
                "throws out a room"
            }
            20 | 21 => {
                let (nonce, core) = (desk.work.draw() >> 20, desk.work.below(cores));
                self.errands.push((nonce, core, seat));
                let args = json!(["errand", nonce, core]);
                self.send(&format!("2{}{args}", Self::prefix(namespace)), &[]);
                "sends an errand"
            }
            _ => {
                self.quit(namespace, seat, desk);
                "wants to be thrown out"
            }
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
pub(super) fn filler(emit: u64) -> String {
    let len = match emit % 16 {
        0 => 3_000,
        1..=4 => 200,
        _ => 10,
    };
    format!("{emit} \"\u{e9}").repeat(len / 10)
}

/// The attachments of an emit.
pub(super) fn blobs(emit: u64, wanted: bool) -> Vec<Vec<u8>> {
    let len = usize::try_from(emit % 70).expect("small");
    let byte = u8::try_from(emit % 256).expect("small");
    if wanted { vec![vec![byte; len]] } else { Vec::new() }
}
