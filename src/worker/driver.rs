//! What a worker's runtime runs on: a ladder from the best ring down to epoll.

use std::future::Future;
use std::io;

use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

/// Entries of the submission ring; the completion ring has four times as many, so that the
/// kernel's overflow list stays out of use.
const ENTRIES: u32 = 4_096;

/// What the operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The best there is.
    Auto,
    /// `io_uring` or nothing.
    Uring,
    /// Epoll, even where there is a ring.
    Epoll,
}

/// A rung of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// `COOP_TASKRUN` and `SINGLE_ISSUER`: Linux 6.0 and later.
    UringSingle,
    /// `COOP_TASKRUN`: Linux 5.19.
    UringCoop,
    /// A ring without flags: Linux 5.6.
    UringPlain,
    /// No ring.
    Epoll,
}

impl Rung {
    /// Its name in the start line and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UringSingle => "io_uring (coop, single issuer)",
            Self::UringCoop => "io_uring (coop)",
            Self::UringPlain => "io_uring (plain)",
            Self::Epoll => "epoll",
        }
    }
}

fn builder(rung: Rung) -> io_uring::Builder {
    let mut builder = io_uring::IoUring::builder();
    builder.setup_cqsize(ENTRIES * 4);
    match rung {
        Rung::UringSingle => {
            builder.setup_coop_taskrun().setup_single_issuer();
        }
        Rung::UringCoop => {
            builder.setup_coop_taskrun();
        }
        Rung::UringPlain | Rung::Epoll => {}
    }
    builder
}

/// Runs `task` on this thread, on the best rung that holds. `chosen` hears which one, and why
/// the ring above it was refused.
///
/// # Errors
/// No rung holds, or the one asked for does not.
pub(super) fn block_on<F: Future<Output = ()>>(
    wanted: Wanted,
    task: impl FnOnce(Rung, Option<io::Error>) -> F,
) -> io::Result<()> {
    let mut refused = None;
    if wanted != Wanted::Epoll {
        for rung in [Rung::UringSingle, Rung::UringCoop, Rung::UringPlain] {
            let runtime = RuntimeBuilder::<IoUringDriver>::new()
                .with_entries(ENTRIES)
                .uring_builder(builder(rung))
                .enable_timer()
                .build();
            match runtime {
                Ok(mut runtime) => {
                    runtime.block_on(task(rung, refused));
                    return Ok(());
                }
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        if wanted == Wanted::Uring {
            return Err(refused.unwrap_or_else(|| io::Error::other("no ring")));
        }
    }
    let mut runtime = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?;
    runtime.block_on(task(Rung::Epoll, refused));
    Ok(())
}

/// Tries the ladder and gives the ring back: the rung a worker would stand on now, and why not on
/// a better one.
///
/// # Errors
/// As for a worker: no rung holds, or the one asked for does not.
pub fn probe(wanted: Wanted) -> io::Result<(Rung, Option<io::Error>)> {
    let found = std::cell::Cell::new(None);
    block_on(wanted, |rung, refused| {
        found.set(Some((rung, refused)));
        std::future::ready(())
    })?;
    found.take().ok_or_else(|| io::Error::other("the ladder chose nothing"))
}
