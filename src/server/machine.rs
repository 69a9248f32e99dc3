//! What the kernel's files say of the machine's memory and of the control group, in both versions.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

/// A tree of the kernel's files; in tests a folder that looks like one.
pub(crate) struct Files {
    root: PathBuf,
    unread: RefCell<Vec<String>>,
}

impl Files {
    /// Those under a folder, `/` on the machine itself.
    pub(crate) fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), unread: RefCell::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name.trim_start_matches('/'))
    }

    /// A file that not every machine has.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path(name)).ok()
    }

    /// A file that every Linux has: if it cannot be read, that is noted.
    pub(crate) fn sure(&self, name: &str) -> Option<String> {
        let text = self.text(name);
        if text.is_none() {
            self.unread.borrow_mut().push(name.to_owned());
        }
        text
    }

    /// Those that were missed.
    pub(crate) fn unread(self) -> Vec<String> {
        self.unread.into_inner()
    }

    /// Names in a folder, in order.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }

    /// Whether it is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }
}

/// A number alone in its file.
pub(crate) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A line of `/proc/meminfo`.
pub(crate) fn meminfo_bytes(meminfo: &str, key: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

/// Rule: cgroups(7), `/proc/self/cgroup`: lines of hierarchy, controllers and path. In version 2
/// there is one line, with no controllers.
pub(crate) struct Groups {
    /// Folders of version 2, the group's own first, then those it lies in.
    pub(crate) unified: Vec<String>,
    /// The same of version 1, of the controllers `memory` and `cpu`.
    memory: Vec<String>,
    pub(crate) cpu: Vec<String>,
}

impl Groups {
    /// Those of this process.
    pub(crate) fn of(files: &Files) -> Self {
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

    /// The least of what memory they allow.
    pub(crate) fn memory_bytes(&self, files: &Files) -> Option<u64> {
        let unified = Self::least(&self.unified, files, "memory.max");
        unified.or_else(|| Self::least(&self.memory, files, "memory.limit_in_bytes"))
    }

    /// The same of swap.
    pub(crate) fn swap_bytes(&self, files: &Files) -> Option<u64> {
        Self::least(&self.unified, files, "memory.swap.max")
    }

    /// How long the process's own control group stood still for want of memory, in hundredths of a
    /// percent of the last ten seconds; `None` where it has none or nothing says. The root is not
    /// asked: its trouble may be somebody else's.
    ///
    /// Rule: the kernel's page on PSI: `full avg10=0.00 …`.
    pub(crate) fn stalled(&self, files: &Files) -> Option<u64> {
        let (_root, own) = self.unified.split_last()?;
        let text = files.text(&format!("{}/memory.pressure", own.first()?))?;
        let line = text.lines().find_map(|line| line.strip_prefix("full avg10="))?;
        let (whole, hundredths) = line.split_ascii_whitespace().next()?.split_once('.')?;
        Some(whole.parse::<u64>().ok()? * 100 + hundredths.parse::<u64>().ok()?)
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
