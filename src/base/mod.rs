//! # base: words everybody may use
//!
//! Names of cores and connections, time as a value, seeded chance, slots with generations, the
//! limits. A shard is built from these and nothing here knows what a protocol is.
//!
//! Owns: nothing at run time; it is a folder of types.
//! Imports: nothing of ours.
//!
//! Holds at all times: no clock is read here (time is handed in), no chance is drawn that a seed
//! does not replay, no identifier is guessable unless its type says so.
//!
//! Read first: `ids.rs`, then `limits.rs`.

mod ids;
pub mod limits;
mod load;
mod pressure;
mod rate;
mod rng;
mod slab;
mod time;

pub use ids::{CoreId, ID20_LEN, Id20, IdText};
pub use limits::{HALF_OPEN_BYTES, LINGER_BYTES_MAX, Limits, MEMBERSHIP_BYTES, ROOM_BYTES};
pub use load::{Load, Loaded};
pub use pressure::{Pressure, Strain};
pub use rate::{AddressName, Bucket, Counted, Full, Rate, SharedBuckets, SharedCounts};
pub use rng::Rng;
pub use slab::{Key, Slab};
pub use time::{Micros, Millis, TimerQueue, rfc3339};

/// A map whose hasher is seeded by us: unguessable in production, replayable in the simulator.
pub type Map<K, V> = hashbrown::HashMap<K, V, ahash::RandomState>;

/// A set with the hasher of [`Map`].
pub type Set<K> = hashbrown::HashSet<K, ahash::RandomState>;

/// The hasher of one core, from one number drawn at its start.
#[must_use]
pub fn hasher(seed: u64) -> ahash::RandomState {
    let mut rng = Rng::new(seed, 0x4A54);
    ahash::RandomState::with_seeds(rng.draw(), rng.draw(), rng.draw(), rng.draw())
}
