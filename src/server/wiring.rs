//! The admin core's thread, and how workers and it reach each other.

use std::time::Instant;

use crate::base::CoreId;
use crate::config::{Options, Tables};
use crate::mesh::Outlet;
use crate::worker::{AdminCall, Item};

/// What the admin core is given at its start.
pub(super) struct AdminStart {
    pub(super) listener: std::net::TcpListener,
    pub(super) outlets: Vec<Outlet<Item>>,
    pub(super) options: Options,
    pub(super) tables: Tables,
    pub(super) gateway: bool,
    pub(super) epoch: (Instant, u64),
}

/// The admin core, from outside.
pub(super) struct AdminThread {
    pub(super) calls: tokio::sync::mpsc::Sender<AdminCall>,
}

pub(super) fn start(start: AdminStart) -> std::io::Result<AdminThread> {
    let (calls, _) = tokio::sync::mpsc::channel(10);
    let _ = (start.listener, start.outlets, start.options, start.tables, start.gateway, start.epoch);
    Ok(AdminThread { calls })
}

impl AdminThread {
    pub(super) fn workers_run(&self, _: impl Iterator<Item = (CoreId, &'static str, Option<usize>)>) {}
    pub(super) fn set_draining(&self) {}
    pub(super) fn end(self) {}
}
