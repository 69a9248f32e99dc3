//! How many workers, and on which CPUs.

use super::StartError;

/// Workers and their CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// One entry a worker: the CPU it is pinned to, if it is.
    pub cpus: Vec<Option<usize>>,
    /// Why they are not pinned, for the start line.
    pub unpinned: Option<&'static str>,
}

/// Plans the workers: `workers` of them (0 for all CPUs but one, at least one) on `worker_cores`
/// if those are given.
///
/// A CPU quota without a CPU set of its own means a container that shares all CPUs: every such
/// container would pin its first worker to the same CPU, so none is pinned.
///
/// # Errors
/// More than 256.
pub fn plan(workers: u16, worker_cores: &[u16], pin: bool) -> Result<Plan, StartError> {
    let allowed: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    let online = std::thread::available_parallelism().map_or(1, usize::from);
    let quota = online < allowed.len();
    let wanted = match (workers, worker_cores.len()) {
        (0, 0) => online.saturating_sub(1).max(1),
        (0, given) => given,
        (workers, _) => usize::from(workers),
    };
    if !(1..=256).contains(&wanted) {
        return Err(StartError::Workers(wanted));
    }
    let unpinned = if !pin {
        Some("pin = false")
    } else if worker_cores.is_empty() && quota {
        Some("a CPU quota without a CPU set of its own")
    } else if worker_cores.is_empty() && wanted > allowed.len() {
        Some("more workers than CPUs")
    } else {
        None
    };
    let cpus: Vec<usize> = if worker_cores.is_empty() {
        // The first CPU is left to the admin core where there is more than one to choose from.
        let spare = usize::from(allowed.len() > wanted);
        allowed.iter().copied().skip(spare).collect()
    } else {
        worker_cores.iter().map(|cpu| usize::from(*cpu)).collect()
    };
    let cpu = |worker: usize| cpus.get(worker % cpus.len().max(1)).copied();
    let cpus = (0..wanted).map(|worker| if unpinned.is_some() { None } else { cpu(worker) });
    Ok(Plan { cpus: cpus.collect(), unpinned })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_cores_are_used_in_order_and_zero_means_all_but_one() {
        let given = plan(0, &[3, 5], true).expect("two workers");
        assert_eq!(given.cpus, [Some(3), Some(5)]);
        let own = plan(0, &[], true).expect("at least one");
        let online = std::thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(own.cpus.len(), online.saturating_sub(1).max(1));
        assert_eq!(plan(2, &[], false).expect("two").cpus, [None, None]);
        assert!(plan(300, &[], true).is_err());
    }
}
