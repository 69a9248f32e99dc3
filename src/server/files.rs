//! File descriptors: as many as the system gives.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::StartError;

/// Descriptors of the process itself: rings, bells, listeners, logs, the admin core's sockets.
const OWN: u64 = 128;
/// Descriptors a worker needs before its first connection.
const PER_WORKER: u64 = 16;

/// Descriptors needed before the first connection, with that many workers and addresses.
#[must_use]
pub const fn descriptors_own(workers: usize, listeners: usize) -> u64 {
    OWN + workers as u64 * (PER_WORKER + listeners as u64)
}

/// Connections that a worker may have: as many as the configuration says, but no more than there
/// are descriptors for. Those of the process itself stay free: where clients take all, health can
/// no longer be asked about, and who is too many waits instead of being refused.
pub(super) fn conns_max(wanted: usize, allowed: u64, workers: usize, listeners: usize) -> usize {
    let free = allowed.saturating_sub(descriptors_own(workers, listeners));
    let fit = usize::try_from(free).unwrap_or(usize::MAX) / workers.max(1);
    wanted.min(fit.max(1))
}

/// Raises the limit as far as it goes and returns it.
///
/// # Errors
/// Not even the server itself fits.
pub(super) fn raise(workers: usize, listeners: usize) -> Result<u64, StartError> {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(1 << 20);
    let now = limit.current.unwrap_or(most);
    if now < most {
        // If it cannot be raised the present one counts.
        let raised = Rlimit { current: Some(most), maximum: limit.maximum };
        let _stays = setrlimit(Resource::Nofile, raised);
    }
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(most);
    let needed = descriptors_own(workers, listeners);
    if allowed < needed {
        return Err(StartError::TooFewFiles { allowed, needed });
    }
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_the_process_its_own_descriptors() {
        let own = descriptors_own(4, 2);
        assert_eq!(conns_max(50_000, 200_000 + own, 4, 2), 50_000);
        assert_eq!(conns_max(50_000, 199_999 + own, 4, 2), 49_999);
        assert_eq!(conns_max(100, 1 << 20, 4, 2), 100);
        assert_eq!(conns_max(100, own, 4, 2), 1, "it started, so it serves");
    }
}
