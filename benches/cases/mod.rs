//! # cases: what is measured, declared once for both harnesses
//!
//! `wall.rs` measures the time of each case, `instructions.rs` counts its instructions. A case is
//! a row of [`all`]: its name, what one unit of it is, and how it is set up. Only [`Live::run`]
//! is measured.
//!
//! Owns: the cases; cores without sockets or a clock (`node.rs`) and clients that are bytes.
//! Imports: the library, as its users see it.
//!
//! Holds at all times: a case does the same work each time it runs, and the same in every
//! process: seeds, ids and the clock are fixed, nothing reads the environment.
//!
//! Read first: this file, then `whole.rs` with `node.rs` behind it.

mod codecs;
mod mesh;
mod node;
mod product;
mod rooms;
mod tokens;
mod whole;

use std::cell::Cell;
use std::rc::Rc;

/// Something set up, to be run again and again.
pub(crate) trait Live {
    /// Makes it ready for one run; not measured.
    fn prepare(&mut self);
    /// The measured part.
    fn run(&mut self);
    /// What was asked of the host so far; nothing if there is none.
    fn tally(&self) -> Tally;
}

/// What a core asks of the world around it. Both cost time that no instruction here shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Buffers handed over to be sent, a system call each.
    pub(crate) sends: u64,
    /// Readings of the clock.
    pub(crate) clock_reads: u64,
}

/// One row of the table.
pub(crate) struct Case {
    /// Folder and name, as the baseline has it.
    pub(crate) name: &'static str,
    /// What is counted: figures are for one of these.
    pub(crate) unit: &'static str,
    /// How many of them a run holds.
    pub(crate) units: u32,
    /// Its set-up takes so long that a smoke test leaves it out.
    pub(crate) heavy: bool,
    /// Sets it up.
    pub(crate) build: fn() -> Box<dyn Live>,
}

impl Case {
    /// A case whose run is one unit.
    const fn new(name: &'static str, unit: &'static str, build: fn() -> Box<dyn Live>) -> Self {
        Self { name, unit, units: 1, heavy: false, build }
    }

    /// One whose set-up takes long.
    const fn heavy(mut self) -> Self {
        self.heavy = true;
        self
    }

    /// A run holds so many units.
    const fn times(mut self, units: u32) -> Self {
        self.units = units;
        self
    }
}

/// Every case, in the order in which they are printed.
pub(crate) fn all() -> Vec<Case> {
    let files =
        [codecs::cases, rooms::cases, whole::cases, product::cases, mesh::cases, tokens::cases];
    files.iter().flat_map(|cases| cases()).collect()
}

/// 64 bytes.
const PAYLOAD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Bytes that are handed in, and what they are before they are unmasked where they lie.
struct Input {
    fresh: Vec<u8>,
    bytes: Vec<u8>,
}

impl Input {
    fn new(fresh: Vec<u8>) -> Self {
        Self { bytes: fresh.clone(), fresh }
    }

    fn refresh(&mut self) {
        self.bytes.copy_from_slice(&self.fresh);
    }
}

/// A case out of a state and two functions on it.
fn live<S: 'static>(
    state: S,
    prepare: impl FnMut(&mut S) + 'static,
    run: impl FnMut(&mut S) + 'static,
) -> Box<dyn Live> {
    hosted(&Rc::default(), state, prepare, run)
}

/// A case that needs nothing made ready.
fn steady<S: 'static>(state: S, run: impl FnMut(&mut S) + 'static) -> Box<dyn Live> {
    live(state, |_| {}, run)
}

/// A case with cores in it, whose hosts keep `tally`.
fn hosted<S: 'static>(
    tally: &Rc<Cell<Tally>>,
    state: S,
    prepare: impl FnMut(&mut S) + 'static,
    run: impl FnMut(&mut S) + 'static,
) -> Box<dyn Live> {
    Box::new(Parts { state, prepare, run, tally: Rc::clone(tally) })
}

struct Parts<S, P, R> {
    state: S,
    prepare: P,
    run: R,
    tally: Rc<Cell<Tally>>,
}

impl<S, P: FnMut(&mut S), R: FnMut(&mut S)> Live for Parts<S, P, R> {
    fn prepare(&mut self) {
        (self.prepare)(&mut self.state);
    }

    fn run(&mut self) {
        (self.run)(&mut self.state);
    }

    fn tally(&self) -> Tally {
        self.tally.get()
    }
}
