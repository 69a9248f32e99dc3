//! Limits of the control group, in both versions.

use super::read::{Files, number};
use crate::doctor::parse;

/// Rule: cgroups(7), `/proc/self/cgroup`: lines of hierarchy, controllers and path. In version 2
/// there is one line, with no controllers.
pub(super) struct Groups {
    /// Folders of version 2, the group's own first, then those it lies in.
    unified: Vec<String>,
    /// The same of version 1, of the controllers `memory` and `cpu`.
    memory: Vec<String>,
    cpu: Vec<String>,
}

impl Groups {
    pub(super) fn of(files: &Files) -> Self {
        let text = files.text("/proc/self/cgroup").unwrap_or_default();
        let path = |controller: &str| {
            text.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let (controllers, path) = (parts.next()?, parts.next()?);
                controllers.split(',').any(|name| name == controller).then_some(path)
            })
        };
        let below = |root: &str, path: Option<&str>| {
            path.map(|path| upwards(root, path)).unwrap_or_default()
        };
        Self {
            unified: below("/sys/fs/cgroup", path("")),
            memory: below("/sys/fs/cgroup/memory", path("memory")),
            cpu: below("/sys/fs/cgroup/cpu", path("cpu")),
        }
    }

    /// The least of a limit over the group and those it lies in. A file with a word has none.
    fn least(folders: &[String], files: &Files, name: &str) -> Option<u64> {
        let limits = folders.iter().filter_map(|folder| files.text(&format!("{folder}/{name}")));
        limits.filter_map(|text| number(&text)).min()
    }

    pub(super) fn memory_bytes(&self, files: &Files) -> Option<u64> {
        let unified = Self::least(&self.unified, files, "memory.max");
        unified.or_else(|| Self::least(&self.memory, files, "memory.limit_in_bytes"))
    }

    pub(super) fn swap_bytes(&self, files: &Files) -> Option<u64> {
        Self::least(&self.unified, files, "memory.swap.max")
    }

    pub(super) fn quota_milli(&self, files: &Files) -> Option<u64> {
        let unified = self.unified.iter().filter_map(|folder| {
            let text = files.text(&format!("{folder}/cpu.max"))?;
            let (quota, period) = text.trim().split_once(' ')?;
            parse::quota_milli(quota, period)
        });
        let first = self.cpu.iter().filter_map(|folder| {
            let quota = files.text(&format!("{folder}/cpu.cfs_quota_us"))?;
            let period = files.text(&format!("{folder}/cpu.cfs_period_us"))?;
            parse::quota_milli(&quota, &period)
        });
        unified.chain(first).min()
    }
}

/// A folder and those it lies in, down to the root.
fn upwards(root: &str, path: &str) -> Vec<String> {
    let mut folders = Vec::new();
    let mut path = path.trim_end_matches('/');
    while !path.is_empty() {
        folders.push(format!("{root}{path}"));
        path = path.rsplit_once('/').map_or("", |(before, _)| before);
    }
    folders.push(root.to_owned());
    folders
}
