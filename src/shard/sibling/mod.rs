//! The other process, while one replaces the other on the same ports: what each sends to rooms
//! reaches the members of both, and a session goes where its client comes back to.
//!
//! To the log the other process's cores are more [sources](super::history), so what is exact
//! between cores is exact between processes. There is one sibling at a time: it is told everything
//! from [`Shard::open_sibling`] on, in order, and whatever breaks that order ends it. A process that
//! takes over hears where each core of the other one begins before it hears anything else of it.

mod packed;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use packed::VERSION as SIBLING_VERSION;

use super::Shard;
use super::emit::{Delivery, Reached};
use super::frame::{Frame, Wire};
use super::history::Offset;
use super::message::{GatherRef, MeshMsg, Part, Target};
use super::recall::{Claim, Moved};
use super::recovery::{Here, Lost};
use super::strike::Strike;
use crate::base::{CoreId, Key, Micros};

/// What is known of the other process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiblingTerms {
    /// The epoch of its offsets.
    pub epoch: u64,
    /// Its cores.
    pub cores: usize,
    /// What is added to its times, in microseconds, to have ours.
    pub ahead_us: i64,
}

/// A message between the cores of two processes.
#[derive(Debug)]
pub enum SiblingMsg {
    /// The first one of each core: its events behind this number follow.
    Begin {
        /// The core.
        core: CoreId,
        /// Its last number.
        seq: u64,
    },
    /// An event for the members of a target.
    Event {
        /// The namespace.
        namespace: Arc<str>,
        /// Whom it is for.
        target: Arc<Target>,
        /// The packet.
        wire: Arc<Wire>,
        /// Whether clients that are behind may miss it.
        volatile: bool,
        /// Its offset.
        offset: Offset,
        /// Set if somebody counts.
        gather: Option<GatherRef>,
    },
    /// What a core has done with such an event, for the core that asked alone.
    Counted {
        /// Who counts.
        gather: GatherRef,
        /// Sockets that matched.
        matched: u64,
        /// Those whose queue took the frame.
        queued: u64,
    },
    /// A command takes something away, also from clients that are not there.
    Strike {
        /// Its offset.
        offset: Offset,
        /// What it takes, and from whom.
        strike: Arc<Strike>,
        /// When it was given.
        at: Micros,
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
    /// The answer, for one core alone.
    Recalled {
        /// Who asked.
        asker: (CoreId, Key),
        /// What its client said.
        claim: Claim,
        /// The session, or why there is none.
        found: Result<Box<Moved>, Lost>,
    },
}

impl SiblingMsg {
    /// An event that this process shares.
    pub(super) fn event(
        (namespace, target, wire): (&Arc<str>, &Arc<Target>, &Arc<Wire>),
        volatile: bool,
        offset: Offset,
        gather: Option<GatherRef>,
    ) -> Self {
        let (namespace, target) = (Arc::clone(namespace), Arc::clone(target));
        Self::Event { namespace, target, wire: Arc::clone(wire), volatile, offset, gather }
    }

    /// The core it is for; all of them if it says none.
    #[must_use]
    pub const fn core(&self) -> Option<CoreId> {
        match self {
            Self::Recalled { asker, .. } => Some(asker.0),
            Self::Counted { gather, .. } => Some(gather.core),
            Self::Begin { .. } | Self::Event { .. } | Self::Strike { .. } | Self::Recall { .. } => {
                None
            }
        }
    }

    /// Bytes it keeps alive while it waits, roughly.
    #[must_use]
    pub fn cost(&self) -> usize {
        match self {
            Self::Event { wire, target, .. } => 256 + wire.len() + target.bytes(),
            Self::Strike { strike, .. } => strike.cost(),
            Self::Recalled { found: Ok(moved), .. } => 256 + moved.bytes(),
            _ => 256,
        }
    }

    /// The same message for one more core.
    ///
    /// # Panics
    /// For an answer, which is for one.
    #[must_use]
    pub fn again(&self) -> Self {
        match self {
            Self::Begin { core, seq } => Self::Begin { core: *core, seq: *seq },
            Self::Event { namespace, target, wire, volatile, offset, gather } => {
                Self::event((namespace, target, wire), *volatile, *offset, *gather)
            }
            Self::Strike { offset, strike, at } => {
                Self::Strike { offset: *offset, strike: Arc::clone(strike), at: *at }
            }
            Self::Recall { claim, namespace, asker } => {
                Self::Recall { claim: *claim, namespace: Arc::clone(namespace), asker: *asker }
            }
            Self::Counted { .. } | Self::Recalled { .. } => {
                unreachable!("an answer is for one core")
            }
        }
    }
}

/// Time in which most clients that break off come back, if they do.
const RETURN_US: Micros = 10_000_000;
/// Bytes a session may have with what its client missed, to be given to another process. The
/// client of one that has more begins anew.
const MOVED_BYTES_MAX: usize = 16 << 20;

/// The other process, as one core sees it.
#[derive(Debug)]
pub(crate) struct Sibling {
    terms: SiblingTerms,
    /// What waits to go there.
    words: Vec<SiblingMsg>,
    /// Their bytes.
    bytes: usize,
}

impl Sibling {
    /// Their time in ours.
    const fn ours(&self, theirs: Micros) -> Micros {
        theirs.saturating_add_signed(self.terms.ahead_us)
    }
}

impl Shard {
    /// Another process is there from now on. Does nothing where nothing can be recovered.
    pub fn open_sibling(&mut self, terms: SiblingTerms) {
        let Some(recovery) = &mut self.recovery else { return };
        recovery.log.add_sources(terms.epoch, terms.cores);
        let begin = SiblingMsg::Begin { core: self.core, seq: recovery.seq };
        let bytes = begin.cost();
        self.sibling = Some(Box::new(Sibling { terms, words: vec![begin], bytes }));
        self.sibling_unaware += i64::try_from(self.cores - 1).expect("few cores");
        for core in self.other_cores().iter() {
            self.send_mesh(core, MeshMsg::KnowsSibling);
        }
    }

    /// Another core knows of it, and what that core sent before is here now.
    pub(super) fn knows_sibling(&mut self) {
        self.sibling_unaware -= 1;
    }

    /// Whether anything is to be sent to it. Until every core knows of it, events from before may
    /// be on their way here, and this core could not say what a client of its own has missed.
    pub(super) fn has_words(&self) -> bool {
        self.sibling_unaware <= 0 && self.sibling.as_ref().is_some_and(|it| !it.words.is_empty())
    }

    /// Bytes that wait to be sent to it.
    #[must_use]
    pub fn sibling_held(&self) -> usize {
        self.sibling.as_ref().map_or(0, |sibling| sibling.bytes)
    }

    /// It is gone, or does not keep up.
    pub fn close_sibling(&mut self) {
        if self.sibling.take().is_some() {
            self.forget_claims_beyond();
            self.forget_gathers_beyond();
        }
    }

    /// What is to be sent to it, in order.
    pub fn take_sibling(&mut self) -> Vec<SiblingMsg> {
        let is_ready = self.has_words();
        let Some(sibling) = self.sibling.as_mut().filter(|_| is_ready) else { return Vec::new() };
        sibling.bytes = 0;
        let words = std::mem::take(&mut sibling.words);
        self.counters.sibling_messages_out += words.len() as u64;
        words
    }

    /// Its cores: so many answer what it is asked or told.
    pub(super) fn sibling_cores(&self) -> usize {
        self.sibling.as_ref().map_or(0, |sibling| sibling.terms.cores)
    }

    pub(super) fn tell_sibling(&mut self, message: SiblingMsg) {
        if let Some(sibling) = &mut self.sibling {
            sibling.bytes += message.cost();
            sibling.words.push(message);
        }
    }

    pub(super) fn ask_sibling(&mut self, socket: Key, claim: Claim, namespace: &Arc<str>) {
        let (namespace, asker) = (Arc::clone(namespace), (self.core, socket));
        self.tell_sibling(SiblingMsg::Recall { claim, namespace, asker });
    }

    /// A message of the other process. Those that came before it was here, or come when it is
    /// gone, are for nobody.
    pub fn handle_sibling(&mut self, message: SiblingMsg) {
        let (Some(sibling), Some(recovery)) = (&mut self.sibling, &mut self.recovery) else {
            return;
        };
        let epoch = sibling.terms.epoch;
        self.counters.sibling_messages_in += 1;
        match message {
            SiblingMsg::Begin { core, seq } => {
                recovery.log.begin(epoch, core, seq);
            }
            // Its offsets are its own.
            SiblingMsg::Event { offset, .. } | SiblingMsg::Strike { offset, .. }
                if offset.epoch != epoch => {}
            SiblingMsg::Event { namespace, target, wire, volatile, offset, gather } => {
                let mark = self.log_broadcast(offset, (&namespace, &target, &wire), volatile);
                let to = Delivery { volatile, ask: None, mark };
                let reached = self.deliver_here(&namespace, &target, &Frame::from(wire), to);
                if let Some(gather) = gather {
                    let Reached { matched, queued } = reached;
                    self.tell_sibling(SiblingMsg::Counted { gather, matched, queued });
                }
            }
            SiblingMsg::Strike { offset, strike, at } => {
                let at = sibling.ours(at);
                self.struck(offset, &strike, Some(at));
            }
            SiblingMsg::Counted { gather, matched: count, queued } => {
                let part = Part::Done { count, queued, sockets: Vec::new() };
                self.gather_beyond(gather.key, part);
            }
            SiblingMsg::Recall { claim, namespace, asker } => {
                let at = sibling.ours(claim.at);
                let found = self.give_out(Claim { at, ..claim }, &namespace);
                let found = found.and_then(|moved| self.outward(moved, epoch));
                self.tell_sibling(SiblingMsg::Recalled { asker, claim, found });
            }
            SiblingMsg::Recalled { asker, claim, found } => {
                let found = found.map(|mut moved| {
                    moved.saved.at = sibling.ours(moved.saved.at).min(self.now);
                    moved.seen = recovery.log.inward(&moved.seen, epoch);
                    let cut = &mut moved.saved.track.cut;
                    *cut = cut.take().map(|cut| recovery.log.inward(&cut, epoch));
                    moved
                });
                self.recalled(asker.1, claim, found, true);
            }
        }
    }

    /// A session as the other process reads it.
    fn outward(&self, mut moved: Box<Moved>, epoch: u64) -> Result<Box<Moved>, Lost> {
        let log = &self.recovery.as_ref().ok_or(Lost::Unknown)?.log;
        if moved.bytes() > MOVED_BYTES_MAX {
            return Err(Lost::Log);
        }
        moved.seen = log.outward(&moved.seen, epoch);
        let cut = &mut moved.saved.track.cut;
        *cut = cut.take().map(|cut| log.outward(&cut, epoch));
        Ok(moved)
    }

    /// Sessions that this drain has ended, or that broke off shortly before, and whose clients may
    /// still ask the other process for them.
    ///
    /// Cost: O(n).
    #[must_use]
    pub fn awaited(&self) -> usize {
        let (Some(recovery), Some(since), Some(_)) = (&self.recovery, self.draining, &self.sibling)
        else {
            return 0;
        };
        let waits =
            |here: &&Here| matches!(here, Here::Saved(saved) if saved.at + RETURN_US >= since);
        recovery.here.values().filter(waits).count()
    }
}
