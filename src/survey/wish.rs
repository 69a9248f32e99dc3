//! What the configuration asks of the machine.

use crate::config::{Loaded, open_settings};
use crate::doctor::Wanted;
use crate::server::{self, BACKLOG, Server, StartError};

/// Plans as the start would.
pub(super) fn wanted(loaded: &Loaded) -> Result<Wanted, StartError> {
    let options = &loaded.options;
    let plan = server::plan(options.workers, &options.worker_cores, options.pin)?;
    let workers = plan.cpus.len();
    let listen = [options.listen.as_slice(), &options.tls_listen].concat();
    let server = Server::gateway(options.clone(), loaded.tables.clone());
    let limits = server.limits();
    let worst = server.core_bytes_max(workers).saturating_mul(workers) + server.shared_bytes_max();
    Ok(Wanted {
        workers,
        worker_cpus: plan.cpus.iter().flatten().copied().collect(),
        unpinned: plan.unpinned.filter(|_| options.pin),
        conns_max: limits.conns_max as u64,
        descriptors_own: server::descriptors_own(workers, listen.len()),
        backlog: u64::from(BACKLOG.unsigned_abs()),
        worst_bytes: worst as u64,
        memory_hard_bytes: options.memory_hard_bytes,
        driver: options.driver,
        listen,
        admin_listen: Some(options.admin_listen),
        open_settings: open_settings(options, &loaded.tables)
            .map(|setting| setting.option)
            .collect(),
    })
}
