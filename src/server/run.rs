//! From options to threads.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use super::bind::{self, Sharing};
use super::doors::{self, Renewable};
use super::error::resource;
use super::log::Log;
use super::memory::MemoryLimits;
use super::ports::{Predecessor, listening_an_address};
use super::sibling::Siblings;
use super::wiring::{self, AdminStart};
use super::{Plan, Server, StartError, drain, files};
use crate::base::CoreId;
use crate::bridge::{self, BridgeThread};
use crate::command::{Desk, unix_ms};
use crate::config::{LogLevel, Options};
use crate::mesh::{InterestTable, inbox};
use crate::telemetry::Outside;
use crate::worker::{Door, Item, Standing, WorkerStart, detach_filter};

/// A server that runs.
pub struct Running {
    /// Addresses it listens on without TLS, the ports that were chosen filled in.
    pub addresses: Vec<SocketAddr>,
    /// Those of them where clients connect with TLS.
    pub tls_addresses: Vec<SocketAddr>,
    /// The address of the admin listener.
    pub admin_address: SocketAddr,
    /// What was noticed at the start, for the operator: driver, pinning, limits.
    pub notes: Vec<String>,
    pub(super) drain_ms: u64,
    pub(super) outlets: Vec<crate::mesh::Outlet<Item>>,
    /// Listeners of each address.
    pub(super) rows: usize,
    pub(super) left: Vec<Arc<AtomicUsize>>,
    pub(super) workers: Vec<JoinHandle<()>>,
    pub(super) admin: Option<wiring::AdminThread>,
    pub(super) bridge: Option<BridgeThread>,
    pub(super) listener_fds: Vec<std::net::TcpListener>,
    /// Who listened on our ports when we came.
    pub(super) predecessor: Predecessor,
    /// Has the certificate read again, where there is one.
    renew: Option<Arc<tokio::sync::Notify>>,
    pub(super) log: Log,
}

/// Huge pages would make a small process hold 15 MB and each connection 1.4 KiB more.
fn no_huge_pages() {
    let _kept = rustix::thread::disable_transparent_huge_pages(true);
}

/// What the process has to work with.
struct Means {
    /// Descriptors.
    allowed: u64,
    /// Connections of a worker, as far as those go.
    conns_max: usize,
    memory: MemoryLimits,
}

impl Means {
    fn find(options: &Options, workers: usize) -> Result<Self, StartError> {
        no_huge_pages();
        let doors = doors::of(options).count();
        let allowed = files::raise(workers, doors)?;
        let conns_max = files::conns_max(options.conns_max, allowed, workers, doors);
        Ok(Self { allowed, conns_max, memory: MemoryLimits::new(options) })
    }
}

/// What Rust gives a thread, whatever the process has as its own default.
const WORKER_STACK_BYTES: usize = 2 << 20;

/// Starts all threads and waits until every worker runs.
pub(super) fn start(
    server: &Server,
    plan: &Plan,
    inlets: Option<bridge::Inlets>,
) -> Result<Running, StartError> {
    let (workers, options) = (plan.cpus.len(), &server.options);
    let means = Means::find(options, workers)?;
    let renewable = Renewable::of(options)?;
    let rows = rows(server, workers);
    let listening = listening(server, rows)?;
    let (listener, admin_address) = admin_listener(server)?;
    let log = log(options)?;
    let epoch = (Instant::now(), unix_ms());
    let (outlets, inboxes) = channels(workers, options.mesh_batches_max)?;
    let desk = wiring::desk(&outlets, getrandom::u64().unwrap_or(epoch.1));
    let outside = Arc::new(Outside::default());
    let (tls, warnings) = (renewable.config(), renewable.warnings());
    let (renewal, renew) = renewable.renewal(options, &log, &outside).unzip();
    let siblings = Siblings::of(server, listening.first(), &outlets, epoch.0, &log)?;
    let admin = wiring::start(AdminStart {
        listener,
        outlets: outlets.clone(),
        options: options.clone(),
        tables: server.tables.clone(),
        gateway: server.gateway,
        desk: Arc::clone(&desk),
        hooks: Arc::clone(&server.hooks),
        outside: Arc::clone(&outside),
        renewal,
        siblings,
        memory: means.memory,
        pressure: Arc::clone(&server.pressure),
        log: log.clone(),
        epoch,
    })
    .map_err(resource("a thread for the admin core"))?;

    let bridge = bridge(server, inlets, &desk, &log, outside)?;

    let (started, reports) = mpsc::channel();
    let left: Vec<_> = (0..workers).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    let common = Common {
        server,
        plan,
        outlets: &outlets,
        admin: &admin,
        log: &log,
        doors: doors::of(options).map(|(_, _, door)| door).collect(),
        tls,
        conns_max: means.conns_max,
        interest: InterestTable::new(workers, getrandom::u64().unwrap_or(epoch.1)),
        epoch,
        started,
    };
    let threads =
        common.threads(deal(listening.by_address, &listening.closing, workers), inboxes, &left)?;
    drop(common);
    let rungs = await_workers(&reports, workers)?;
    admin.workers_run(rungs.iter().map(|one| (one.core, one.rung.name(), one.cpu)));
    log.warnings(&warnings);
    Ok(Running {
        addresses: listening.addresses,
        tls_addresses: listening.tls_addresses,
        admin_address,
        notes: [all_notes(server, plan, &rungs, &means, &log), warnings].concat(),
        drain_ms: options.drain_ms,
        outlets,
        rows,
        left,
        workers: threads,
        admin: Some(admin),
        bridge,
        listener_fds: listening.kept,
        predecessor: listening.predecessor,
        renew,
        log,
    })
}

fn admin_listener(server: &Server) -> Result<(std::net::TcpListener, SocketAddr), StartError> {
    let listener = bind::admin(server.options.admin_listen, Sharing::of(&server.options))?;
    let address = listener.local_addr().map_err(resource("the admin address"))?;
    Ok((listener, address))
}

fn log(options: &Options) -> Result<Log, StartError> {
    let log = Log::start(options.log_level, options.log_format);
    log.map_err(resource("a thread for the log"))
}

/// What listens for clients.
struct Listening {
    /// Each address with its rows.
    by_address: Vec<Vec<std::net::TcpListener>>,
    addresses: Vec<SocketAddr>,
    tls_addresses: Vec<SocketAddr>,
    /// Listeners of each address that a predecessor has.
    before: usize,
    /// In which order the rows close.
    closing: Vec<usize>,
    /// One of each address that is open until the last connection was taken.
    kept: Vec<std::net::TcpListener>,
    predecessor: Predecessor,
}

impl Listening {
    /// The first address, and whether another process listens there.
    fn first(&self) -> (Option<SocketAddr>, bool) {
        let first = self.addresses.iter().chain(&self.tls_addresses).next();
        (first.copied(), self.before > 0)
    }
}

fn listening(server: &Server, rows: usize) -> Result<Listening, StartError> {
    let options = &server.options;
    let wanted: Vec<_> = doors::of(options).map(|(_, address, _)| address).collect();
    let taken = if options.takeover { wanted.as_slice() } else { &[] };
    let predecessor = Predecessor::at(taken);
    // All its addresses have as many.
    let before = taken.first().map_or(0, |first| listening_an_address(taken, first.port()));
    let by_address = doors::listeners(options, rows, Sharing::of(options))?;
    let mut addresses: Vec<SocketAddr> =
        by_address.iter().filter_map(|all| all[0].local_addr().ok()).collect();
    let tls_addresses = addresses.split_off(options.listen.len().min(addresses.len()));
    if options.takeover {
        // One that took over before us and was taken back has left its own.
        by_address.iter().flat_map(|all| all.first()).for_each(|one| detach_filter(one.as_fd()));
    }
    let closing = drain::closing_order(before, rows);
    let last = closing.last().copied().unwrap_or_default();
    let kept = by_address.iter().filter_map(|all| all[last].try_clone().ok()).collect();
    Ok(Listening { by_address, addresses, tls_addresses, before, closing, kept, predecessor })
}

/// Starts the bridges, if the application has any use for them.
fn bridge(
    server: &Server,
    inlets: Option<bridge::Inlets>,
    desk: &Arc<Desk>,
    log: &Log,
    outside: Arc<Outside>,
) -> Result<Option<BridgeThread>, StartError> {
    let started = inlets.map(|inlets| wiring::bridge(server, inlets, desk, log, outside));
    started.transpose().map_err(resource("a thread for the bridges"))
}

type Channels = (Vec<crate::mesh::Outlet<Item>>, Vec<crate::mesh::Inbox<Item>>);

/// One way into each worker.
fn channels(workers: usize, batches_max: usize) -> Result<Channels, StartError> {
    let one = |_| inbox(batches_max).map_err(resource("a descriptor for an inbox"));
    (0..workers).map(one).collect()
}

/// How many listeners each address has: one a worker. While a process is being replaced its
/// successor needs two at least, or there is a moment in which the kernel would have nobody to
/// steer a connection to, see `drain`.
fn rows(server: &Server, workers: usize) -> usize {
    if server.options.takeover { workers.max(2) } else { workers }
}

/// The rows of listeners of each worker, in the order they close.
fn deal(
    mut by_address: Vec<Vec<std::net::TcpListener>>,
    closing: &[usize],
    workers: usize,
) -> Vec<Vec<Vec<std::net::TcpListener>>> {
    let mut by_worker: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
    let mut all: Vec<Vec<Option<_>>> =
        by_address.drain(..).map(|of| of.into_iter().map(Some).collect()).collect();
    for (row, opened) in closing.iter().enumerate() {
        by_worker[row % workers].push(all.iter_mut().filter_map(|of| of[*opened].take()).collect());
    }
    by_worker
}

/// What all workers are given alike.
struct Common<'a> {
    server: &'a Server,
    plan: &'a Plan,
    outlets: &'a [crate::mesh::Outlet<Item>],
    admin: &'a wiring::AdminThread,
    log: &'a Log,
    doors: Vec<Door>,
    tls: Option<Arc<rustls::ServerConfig>>,
    /// Connections of a worker, as far as descriptors go.
    conns_max: usize,
    interest: Arc<InterestTable>,
    epoch: (Instant, u64),
    started: mpsc::Sender<std::io::Result<Standing>>,
}

impl Common<'_> {
    /// Starts the workers' threads.
    fn threads(
        &self,
        listeners: Vec<Vec<Vec<std::net::TcpListener>>>,
        inboxes: Vec<crate::mesh::Inbox<Item>>,
        left: &[Arc<AtomicUsize>],
    ) -> Result<Vec<JoinHandle<()>>, StartError> {
        let own = listeners.into_iter().zip(inboxes).zip(left).enumerate();
        own.map(|(worker, ((listeners, inbox), left))| {
            let start = self.worker(worker, listeners, inbox, Arc::clone(left));
            std::thread::Builder::new()
                .name(format!("worker-{worker}"))
                .stack_size(WORKER_STACK_BYTES)
                .spawn(move || crate::worker::run(start))
                .map_err(resource("a thread for a worker"))
        })
        .collect()
    }

    fn worker(
        &self,
        worker: usize,
        listeners: Vec<Vec<std::net::TcpListener>>,
        inbox: crate::mesh::Inbox<Item>,
        left: Arc<AtomicUsize>,
    ) -> WorkerStart {
        let log = self.log.clone();
        let mut settings = self.server.settings();
        settings.limits.conns_max = self.conns_max;
        WorkerStart {
            core: CoreId::from_index(worker),
            cpu: self.plan.cpus[worker],
            wanted: self.server.wanted(),
            settings,
            build: Arc::clone(&self.server.build),
            listeners,
            doors: self.doors.clone(),
            tls: self.tls.clone(),
            inbox,
            outlets: self.outlets.to_vec(),
            to_admin: self.admin.calls.clone(),
            log: Arc::new(move |core, event, suppressed| log.event(core, event, suppressed)),
            log_per_second: self.server.options.log_sample_per_s,
            interest: Arc::clone(&self.interest),
            epoch: self.epoch,
            hash_seed: getrandom::u64().unwrap_or(self.epoch.1),
            started: self.started.clone(),
            left,
        }
    }
}

/// What the operator is to know of the start; it is logged.
fn all_notes(
    server: &Server,
    plan: &Plan,
    rungs: &[Standing],
    means: &Means,
    log: &Log,
) -> Vec<String> {
    let notes = [notes(plan, rungs), memory_notes(server, rungs.len(), means)].concat();
    log.notes(&notes);
    notes
}

fn memory_notes(server: &Server, workers: usize, means: &Means) -> Vec<String> {
    let Means { allowed, conns_max: fit, memory } = *means;
    let wanted = server.options.conns_max;
    let bill = server.core_bytes_max(workers) >> 20;
    let shared = server.shared_bytes_max() >> 20;
    let mut notes = vec![format!(
        "memory at the very worst {bill} MiB a worker and {shared} MiB beside them; \
         {allowed} descriptors"
    )];
    if fit < wanted {
        notes.push(format!(
            "descriptors suffice for {fit} of conns_max ({wanted} a worker), more are refused: raise \
             ulimit -n or lower it",
        ));
    }
    notes.push(memory.note());
    notes
}

fn await_workers(
    reports: &mpsc::Receiver<std::io::Result<Standing>>,
    workers: usize,
) -> Result<Vec<Standing>, StartError> {
    let mut rungs = Vec::new();
    while rungs.len() < workers {
        let report = reports.recv().map_err(|_| StartError::Resource {
            what: "a worker",
            error: std::io::Error::other("it ended at its start"),
        })?;
        rungs.push(report.map_err(resource("a ring for a worker"))?);
    }
    rungs.sort_by_key(|one: &Standing| one.core.index());
    Ok(rungs)
}

fn notes(plan: &Plan, rungs: &[Standing]) -> Vec<String> {
    let Some(Standing { rung, why, .. }) = rungs.first() else { return Vec::new() };
    let why = why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    let pinning = pinning(plan, rungs);
    vec![format!("{} worker(s) on {}{why}, {pinning}", rungs.len(), rung.name())]
}

/// Where the workers run. A CPU that is not there, or not ours, is said: its worker floats.
fn pinning(plan: &Plan, rungs: &[Standing]) -> String {
    if let Some(why) = plan.unpinned {
        return format!("not pinned: {why}");
    }
    let list = |cpus: &mut dyn Iterator<Item = usize>| {
        cpus.map(|cpu| cpu.to_string()).collect::<Vec<_>>().join(", ")
    };
    let pinned = list(&mut rungs.iter().filter_map(|one| one.cpu));
    let refused = rungs.iter().filter(|one| one.cpu.is_none());
    let refused = list(&mut refused.filter_map(|one| plan.cpus[one.core.index()]));
    match (pinned.is_empty(), refused.is_empty()) {
        (_, true) => format!("pinned to CPU {pinned}"),
        (true, false) => format!("not pinned: no CPU {refused} for this process"),
        (false, false) => {
            format!("pinned to CPU {pinned}; not pinned: no CPU {refused} for this process")
        }
    }
}

impl Running {
    /// Serves until SIGTERM or SIGINT, then drains. A second signal ends the process at once.
    /// Returns what [`stop`](Self::stop) does.
    pub fn wait_for_signal(self) -> bool {
        self.greet_and_wait(|_| ())
    }

    /// The same; `greet` says that the server serves, once a signal would end it properly.
    pub fn greet_and_wait(self, greet: impl FnOnce(&Self)) -> bool {
        let reread = || {
            if self.renew.is_none() {
                let why = "nothing is read again: only certificates are, and nothing has TLS";
                self.log.line(LogLevel::Info, "SIGHUP", vec![("note", why.into())]);
            }
            self.renew_certificate();
        };
        drain::wait_for_signals(|| greet(&self), &reread);
        self.stop()
    }

    /// Has the files of the certificate read again, as SIGHUP has while a signal is waited for.
    /// Nothing happens where nothing has TLS.
    pub fn renew_certificate(&self) {
        if let Some(renew) = &self.renew {
            renew.notify_one();
        }
    }

    /// Every address that clients connect to.
    pub(super) fn all_addresses(&self) -> Vec<SocketAddr> {
        [self.addresses.as_slice(), &self.tls_addresses].concat()
    }

    /// The way to the worker that has a row of listeners. Rows close in their order.
    pub(super) fn outlet_of(&self, row: usize) -> &crate::mesh::Outlet<Item> {
        &self.outlets[row % self.outlets.len()]
    }

    pub(super) fn left(&self) -> usize {
        self.left.iter().map(|left| left.load(Ordering::Acquire)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::Rung;

    /// The start line for workers that were to run on CPUs and got some of them.
    fn line(wanted: &[usize], got: &[Option<usize>]) -> String {
        let cpus = wanted.iter().copied().map(Some).collect();
        let plan = Plan { cpus, unpinned: None };
        let standing = |(index, cpu): (usize, &Option<usize>)| Standing {
            core: CoreId(u8::try_from(index).expect("few workers")),
            rung: Rung::Epoll,
            why: None,
            cpu: *cpu,
        };
        let rungs: Vec<Standing> = got.iter().enumerate().map(standing).collect();
        notes(&plan, &rungs).concat()
    }

    #[test]
    fn the_start_line_tells_cpus_that_were_had_from_those_that_were_not() {
        assert_eq!(line(&[2, 3], &[Some(2), Some(3)]), "2 worker(s) on epoll, pinned to CPU 2, 3");
        assert_eq!(
            line(&[0, 7, 9], &[Some(0), None, None]),
            "3 worker(s) on epoll, pinned to CPU 0; not pinned: no CPU 7, 9 for this process"
        );
        assert_eq!(
            line(&[9], &[None]),
            "1 worker(s) on epoll, not pinned: no CPU 9 for this process"
        );
    }
}
