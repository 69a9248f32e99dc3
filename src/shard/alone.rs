//! What tests of a single core have in common.

use super::{CoreMask, Interest};
use crate::base::CoreId;

/// One core needs no table.
pub(super) struct Alone;

impl Interest for Alone {
    fn bucket(&self, _: &str, _: &str) -> u32 {
        0
    }

    fn set(&self, _: u32, _: CoreId) {}

    fn clear(&self, _: u32, _: CoreId) {}

    fn mask(&self, _: u32) -> CoreMask {
        CoreMask::default()
    }
}
