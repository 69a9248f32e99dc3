//! Messages between two processes as bytes. Both may be of different versions: what is changed
//! here gets another [`VERSION`], and processes with different ones leave each other alone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::SiblingMsg;
use crate::base::{CoreId, Id20, Key, Micros};
use crate::shard::frame::Wire;
use crate::shard::history::Offset;
use crate::shard::message::{GatherRef, Target};
use crate::shard::recall::{Claim, Moved};
use crate::shard::recovery::{Lost, Saved, Track};
use crate::shard::strike::Strike;

/// Of what follows, in postcard's encoding.
pub const VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
enum Packed<'a> {
    Begin {
        core: u8,
        seq: u64,
    },
    Event {
        #[serde(borrow)]
        namespace: &'a str,
        rooms: Vec<&'a str>,
        except: Vec<&'a str>,
        packet: PackedPacket<'a>,
        volatile: bool,
        offset: PackedOffset,
        gather: Option<PackedKey>,
    },
    Strike {
        #[serde(borrow)]
        namespace: &'a str,
        rooms: Vec<&'a str>,
        except: Vec<&'a str>,
        taken: Option<Vec<&'a str>>,
        offset: PackedOffset,
        at: Micros,
    },
    Counted {
        gather: PackedKey,
        matched: u64,
        queued: u64,
    },
    Recall {
        claim: PackedClaim,
        namespace: &'a str,
        core: u8,
        socket: u64,
    },
    Recalled {
        claim: PackedClaim,
        core: u8,
        socket: u64,
        #[serde(borrow)]
        found: Result<PackedSession<'a>, PackedLost>,
    },
}

#[derive(Serialize, Deserialize)]
struct PackedPacket<'a> {
    text: &'a str,
    attachments: Vec<&'a [u8]>,
}

/// Epoch, core, number.
type PackedOffset = (u64, u8, u64);
/// Something of a core, by its name there.
type PackedKey = (u8, u64);

#[derive(Serialize, Deserialize)]
struct PackedClaim {
    pid: String,
    offset: Option<PackedOffset>,
    at: Micros,
}

#[derive(Serialize, Deserialize)]
struct PackedSession<'a> {
    id: String,
    pid: String,
    namespace: &'a str,
    who: Option<&'a str>,
    at: Micros,
    rooms: Vec<&'a str>,
    cut: Option<Vec<u64>>,
    seen: Vec<u64>,
    #[serde(borrow)]
    missed: Vec<(PackedOffset, PackedPacket<'a>)>,
}

#[derive(Serialize, Deserialize)]
enum PackedLost {
    Unknown,
    Late,
    Log,
    Identity,
}

impl SiblingMsg {
    /// Appends its bytes; false, and nothing, for a packet that is no event.
    pub fn pack(&self, out: &mut Vec<u8>) -> bool {
        let Some(packed) = Packed::of(self) else { return false };
        match postcard::to_allocvec(&packed) {
            Ok(bytes) => out.extend_from_slice(&bytes),
            Err(_) => return false,
        }
        true
    }

    /// Reads one; `None` for bytes that nobody has packed.
    #[must_use]
    pub fn unpack(bytes: &[u8]) -> Option<Self> {
        let (packed, rest) = postcard::take_from_bytes::<Packed<'_>>(bytes).ok()?;
        if rest.is_empty() { packed.open() } else { None }
    }
}

impl<'a> Packed<'a> {
    fn of(message: &'a SiblingMsg) -> Option<Self> {
        Some(match message {
            SiblingMsg::Begin { core, seq } => Self::Begin { core: core.0, seq: *seq },
            SiblingMsg::Event { namespace, target, wire, volatile, offset, gather } => {
                Self::Event {
                    namespace,
                    rooms: names(&target.rooms),
                    except: names(&target.except),
                    packet: PackedPacket::of(wire)?,
                    volatile: *volatile,
                    offset: pack_offset(*offset),
                    gather: gather.map(pack_gather),
                }
            }
            SiblingMsg::Strike { offset, strike, at } => Self::Strike {
                namespace: &strike.namespace,
                rooms: names(&strike.target.rooms),
                except: names(&strike.target.except),
                taken: strike.rooms.as_deref().map(names),
                offset: pack_offset(*offset),
                at: *at,
            },
            SiblingMsg::Counted { gather, matched, queued } => {
                Self::Counted { gather: pack_gather(*gather), matched: *matched, queued: *queued }
            }
            SiblingMsg::Recall { claim, namespace, asker: (core, socket) } => Self::Recall {
                claim: PackedClaim::of(claim),
                namespace,
                core: core.0,
                socket: socket.to_u64(),
            },
            SiblingMsg::Recalled { asker: (core, socket), claim, found } => Self::Recalled {
                claim: PackedClaim::of(claim),
                core: core.0,
                socket: socket.to_u64(),
                found: match found {
                    Ok(moved) => Ok(PackedSession::of(moved)?),
                    Err(lost) => Err(PackedLost::of(*lost)),
                },
            },
        })
    }

    fn open(self) -> Option<SiblingMsg> {
        Some(match self {
            Self::Begin { core, seq } => SiblingMsg::Begin { core: CoreId(core), seq },
            Self::Event { namespace, rooms, except, packet, volatile, offset, gather } => {
                let target = Target { rooms: boxed(rooms), except: boxed(except) };
                SiblingMsg::Event {
                    namespace: namespace.into(),
                    target: Arc::new(target),
                    wire: packet.open(),
                    volatile,
                    offset: open_offset(offset),
                    gather: gather.map(open_gather),
                }
            }
            Self::Strike { namespace, rooms, except, taken, offset, at } => {
                let target = Arc::new(Target { rooms: boxed(rooms), except: boxed(except) });
                let rooms = taken.map(boxed);
                let strike = Arc::new(Strike { namespace: namespace.into(), target, rooms });
                SiblingMsg::Strike { offset: open_offset(offset), strike, at }
            }
            Self::Counted { gather, matched, queued } => {
                SiblingMsg::Counted { gather: open_gather(gather), matched, queued }
            }
            Self::Recall { claim, namespace, core, socket } => SiblingMsg::Recall {
                claim: claim.open()?,
                namespace: namespace.into(),
                asker: (CoreId(core), Key::from_u64(socket)),
            },
            Self::Recalled { claim, core, socket, found } => SiblingMsg::Recalled {
                claim: claim.open()?,
                asker: (CoreId(core), Key::from_u64(socket)),
                found: match found {
                    Ok(session) => Ok(Box::new(session.open()?)),
                    Err(lost) => Err(lost.open()),
                },
            },
        })
    }
}

fn names(names: &[Box<str>]) -> Vec<&str> {
    names.iter().map(|name| &**name).collect()
}

fn boxed(names: Vec<&str>) -> Vec<Box<str>> {
    names.into_iter().map(Box::from).collect()
}

fn pack_offset(offset: Offset) -> PackedOffset {
    (offset.epoch, offset.origin.0, offset.seq)
}

fn pack_gather(gather: GatherRef) -> PackedKey {
    (gather.core.0, gather.key.to_u64())
}

fn open_gather((core, key): PackedKey) -> GatherRef {
    GatherRef { core: CoreId(core), key: Key::from_u64(key) }
}

fn open_offset((epoch, origin, seq): PackedOffset) -> Offset {
    Offset { epoch, origin: CoreId(origin), seq }
}

impl<'a> PackedPacket<'a> {
    fn of(wire: &'a Wire) -> Option<Self> {
        Some(Self { text: wire.packet_text()?, attachments: wire.attachments().collect() })
    }

    fn open(self) -> Arc<Wire> {
        Arc::new(Wire::packet(self.text.as_bytes(), &self.attachments))
    }
}

impl PackedClaim {
    fn of(claim: &Claim) -> Self {
        Self { pid: claim.pid.to_string(), offset: claim.offset.map(pack_offset), at: claim.at }
    }

    fn open(self) -> Option<Claim> {
        let offset = self.offset.map(open_offset);
        Some(Claim { pid: Id20::parse(&self.pid)?, offset, at: self.at })
    }
}

impl<'a> PackedSession<'a> {
    fn of(moved: &'a Moved) -> Option<Self> {
        let Saved { id, namespace, who, track, at, .. } = &moved.saved;
        let missed = moved.missed.iter().map(|(offset, wire)| {
            PackedPacket::of(wire).map(|packet| (pack_offset(*offset), packet))
        });
        Some(Self {
            id: id.to_string(),
            pid: track.pid.to_string(),
            namespace,
            who: who.as_deref(),
            at: *at,
            rooms: track.rooms.iter().map(|(room, _)| &**room).collect(),
            cut: track.cut.as_deref().map(<[u64]>::to_vec),
            seen: moved.seen.to_vec(),
            missed: missed.collect::<Option<_>>()?,
        })
    }

    /// Places in a log say nothing here: whoever takes a session in gives it new ones.
    fn open(self) -> Option<Moved> {
        let mut track = Track {
            pid: Id20::parse(&self.pid)?,
            since: 0,
            brought: None,
            last: None,
            last_place: 0,
            cut: self.cut.map(Vec::into_boxed_slice),
            rooms: Vec::new(),
            recovered: false,
            is_over: false,
        };
        self.rooms.into_iter().for_each(|room| track.join(room, 0));
        let saved = Saved {
            id: Id20::parse(&self.id)?,
            namespace: self.namespace.into(),
            who: self.who.map(Arc::from),
            track,
            at: self.at,
            at_place: 0,
        };
        let missed = self.missed.into_iter();
        let missed = missed.map(|(offset, packet)| (open_offset(offset), packet.open()));
        Some(Moved { saved, missed: missed.collect(), seen: self.seen.into_boxed_slice() })
    }
}

impl PackedLost {
    const fn of(lost: Lost) -> Self {
        match lost {
            Lost::Unknown => Self::Unknown,
            Lost::Late => Self::Late,
            Lost::Log => Self::Log,
            Lost::Identity => Self::Identity,
        }
    }

    const fn open(self) -> Lost {
        match self {
            Self::Unknown => Lost::Unknown,
            Self::Late => Lost::Late,
            Self::Log => Lost::Log,
            Self::Identity => Lost::Identity,
        }
    }
}
