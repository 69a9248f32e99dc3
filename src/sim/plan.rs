//! What a seed stands for: how many cores, which clients, which limits, which steps are rare.

use super::client::Habits;
use super::fault::Weather;
use super::mutant::Mutant;
use super::wire::Dialect;
use crate::base::{Limits, Rng};
use crate::engineio::Revision;
use crate::shard::Settings;

/// Kinds of steps; a seed prefers some and starves others, so that rare orders come up.
pub(super) const STEPS: usize = 12;

/// One world.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) cores: usize,
    /// Buckets of the interest table.
    pub(super) buckets: usize,
    /// Batches that may be under way from one core to another.
    pub(super) lane_room: usize,
    pub(super) clients: Vec<Habits>,
    pub(super) settings: Settings,
    pub(super) rounds: usize,
    /// Things clients do in a round.
    pub(super) acts: usize,
    pub(super) weights: [usize; STEPS],
    /// The server ends first, with everybody there.
    pub(super) drains: bool,
    /// Limits so low that anybody may be cut.
    pub(super) tight: bool,
    pub(super) weather: Weather,
    /// Bytes the kernel keeps for a client that reads; with few of them nothing is sent at once.
    pub(super) kernel_bytes: usize,
}

impl Plan {
    pub(super) fn new(chance: &mut Rng) -> Self {
        let tight = chance.below(6) == 0;
        let clients = 2 + chance.below(9);
        let rascals = chance.below(3);
        Self {
            cores: 1 + chance.below(4),
            buckets: 1 + chance.below(9),
            lane_room: 1 + chance.below(3),
            clients: (0..clients).map(|_| habits(chance, rascals)).collect(),
            settings: settings(chance, tight),
            rounds: 2 + chance.below(3),
            acts: 30 + chance.below(40 * clients),
            weights: std::array::from_fn(|_| [1, 4, 16][chance.below(3)]),
            drains: chance.below(5) == 0,
            tight,
            weather: Weather::new(chance),
            kernel_bytes: if chance.below(4) == 0 { 60 + chance.below(300) } else { 256 << 10 },
        }
    }
}

/// One client; of three, `rascals` break rules.
fn habits(chance: &mut Rng, rascals: usize) -> Habits {
    let old = chance.below(5) == 0;
    let dialect = Dialect {
        revision: if old { Revision::V3 } else { Revision::V4 },
        msgpack: !old && chance.below(4) == 0,
        b64: old && chance.below(2) == 0,
    };
    let polling = chance.below(3) > 0;
    Habits {
        dialect,
        polling,
        upgrades: polling && chance.below(2) == 0,
        naughty: chance.below(3) < rascals,
        lives: 1 + u32::try_from(chance.below(4)).expect("small"),
    }
}

/// One limit or another becomes so low that it is met.
fn tightened(limits: &Limits, chance: &mut Rng) -> Limits {
    let mut limits = Limits { outbox_bytes_max: 12_000, outbox_soft_bytes: 2_000, ..*limits };
    match chance.below(9) {
        0 => limits.outboxes_bytes_max = 15_000,
        1 => limits.outbox_frames_max = 12,
        2 => limits.partials_bytes_max = 1_500,
        3 => limits.conns_max = 6,
        4 => limits.gathers_max = 1,
        5 => limits.acks_pending_max = 1,
        6 => limits.sessions_max = 3,
        7 => limits.head_bytes_max = 150,
        _ => limits.message_bytes_max = 600,
    }
    limits
}

fn settings(chance: &mut Rng, tight: bool) -> Settings {
    let limits = Limits {
        request_timeout_ms: 2_500,
        keep_alive_ms: 20_000,
        outbox_bytes_max: 2 << 20,
        outbox_soft_bytes: 20_000,
        outbox_age_ms: 1_500,
        gather_timeout_ms: 700,
        handler_tasks_max: if chance.below(2) == 0 { 2 } else { 100 },
        mesh_soft_bytes: if chance.below(2) == 0 { 2_000 } else { 1 << 20 },
        ..Limits::DEFAULT
    };
    let limits = if tight { tightened(&limits, chance) } else { limits };
    Settings {
        limits,
        ping_interval_ms: 2_000,
        ping_timeout_ms: 2_500,
        connect_timeout_ms: 3_000,
        upgrade_timeout_ms: 1_500,
        eio3: true,
        forwarded: vec![String::from("/api/")],
        ask_allow_request: chance.below(4) == 0,
        ..Settings::default()
    }
}

/// What a server that is wrong on purpose makes of its settings.
pub(super) fn spoiled(settings: &Settings, mutant: Option<Mutant>) -> Settings {
    let mut settings = settings.clone();
    match mutant {
        Some(Mutant::DoubledBill) => settings.limits = doubled(&settings.limits),
        Some(Mutant::HastyUpgrade) => settings.upgrade_timeout_ms /= 5,
        Some(Mutant::PatientUpgrade) => settings.upgrade_timeout_ms *= 2,
        _ => {}
    }
    settings
}

/// Limits that a server keeps which does not keep those it was given.
fn doubled(limits: &Limits) -> Limits {
    Limits {
        conns_max: limits.conns_max.saturating_mul(2),
        sessions_max: limits.sessions_max.saturating_mul(2),
        partials_bytes_max: limits.partials_bytes_max.saturating_mul(2),
        outboxes_bytes_max: limits.outboxes_bytes_max.saturating_mul(2),
        gathers_max: limits.gathers_max.saturating_mul(2),
        acks_pending_max: limits.acks_pending_max.saturating_mul(2),
        ..*limits
    }
}
