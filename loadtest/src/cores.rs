//! Pinning threads, and the processes they start, to a CPU.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Pins the calling thread to one CPU. What it starts from now on, threads and processes,
/// is pinned to it as well.
///
/// # Errors
/// There is no such CPU, or this process may not use it.
pub fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    if core >= CpuSet::MAX_CPU {
        return Err(io::Error::other(format!("there is no CPU {core}")));
    }
    set.set(core);
    sched_setaffinity(None, &set).map_err(|error| {
        io::Error::new(io::Error::from(error).kind(), format!("CPU {core} cannot be had: {error}"))
    })
}

/// Does something with the calling thread pinned to a CPU, and then lets it run where it did before.
///
/// # Errors
/// As [`pin`].
pub fn pinned<T>(core: usize, work: impl FnOnce() -> T) -> io::Result<T> {
    let before = sched_getaffinity(None)?;
    pin(core)?;
    let done = work();
    sched_setaffinity(None, &before)?;
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_pinned_only_while_it_works() {
        let before = sched_getaffinity(None).unwrap();
        let inside = pinned(0, || sched_getaffinity(None).unwrap()).unwrap();
        assert_eq!((inside.count(), inside.is_set(0)), (1, true));
        assert_eq!(sched_getaffinity(None).unwrap(), before);
        assert!(pin(CpuSet::MAX_CPU).is_err());
    }
}
