//! What is under way from a core to the keepers.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use super::backend::{Awaited, Verdict};
use super::identity::Identity;
use super::tokens::TokenVerdict;
use super::waiting::Waiting;
use crate::api::{Ack, Resolver, Socket};
use crate::auth::Revoked;
use crate::base::{Key, Load, Map, hasher};

/// A client's question that the keeper of a room is answering.
pub(super) struct Pending {
    pub(super) socket: Socket,
    pub(super) who: Rc<Identity>,
    /// Taken once the client has been answered.
    pub(super) ack: Option<Ack>,
    pub(super) room: Arc<str>,
    pub(super) space: u16,
}

/// Rooms of one namespace whose activity one core may hold back for a second; more are not noted.
const TOUCHED_MAX: usize = 10_000;

/// Tokens and users that may be taken back at one time.
const REVOCATIONS_MAX: usize = 100_000;

/// The state of one core.
pub(super) struct Local {
    /// Bounded by what clients may have under way: a core that is behind is not read from.
    pub(super) pending: Waiting<Pending>,
    /// Events whose back end has not said yet what became of them.
    pub(super) awaited: Waiting<Awaited>,
    /// Bytes of those events.
    pub(super) routed: Load,
    /// Clients whose back end has not said yet whether they may come in.
    pub(super) admissions: Waiting<Resolver<Verdict>>,
    /// Tokens of which nobody has said yet what they say.
    pub(super) tokens: Waiting<Resolver<TokenVerdict>>,
    /// When which socket's token is to be looked at, milliseconds since the epoch.
    pub(super) expiries: BTreeSet<(u64, Key)>,
    /// Tokens that were taken back.
    pub(super) revoked: Revoked,
    touched: Vec<Map<Box<str>, u64>>,
}

impl Local {
    pub(super) fn new(hash_seed: u64, spaces: usize) -> Self {
        Self {
            pending: Waiting::default(),
            awaited: Waiting::default(),
            routed: Load::default(),
            admissions: Waiting::default(),
            tokens: Waiting::default(),
            expiries: BTreeSet::new(),
            revoked: Revoked::new(REVOCATIONS_MAX),
            touched: (0..spaces).map(|_| Map::with_hasher(hasher(hash_seed))).collect(),
        }
    }

    /// Something was said in a room; its keeper hears of it within a second.
    pub(super) fn touch(&mut self, space: u16, room: &str, now_ms: u64) {
        let Some(touched) = self.touched.get_mut(usize::from(space)) else {
            return;
        };
        if let Some(last) = touched.get_mut(room) {
            *last = now_ms;
        } else if touched.len() < TOUCHED_MAX {
            touched.insert(room.into(), now_ms);
        }
    }

    /// What was said where since the last time.
    pub(super) fn take_touched(&mut self) -> Vec<(u16, Box<str>, u64)> {
        let spaces = (0..).zip(&mut self.touched);
        spaces
            .flat_map(|(space, rooms)| rooms.drain().map(move |(room, at)| (space, room, at)))
            .collect()
    }
}
