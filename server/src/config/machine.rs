//! What the machine, or the container around the process, allows.

use std::{fs, path::Path};

/// Assumed when nothing says how much memory there is.
const MEMORY_UNKNOWN: u64 = 4 << 30;

/// The limits that defaults are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Bytes that this process may use: the smallest limit of its control groups, or the memory of
    /// the machine.
    pub memory: u64,
    /// Processors that this process may use; at least 1.
    pub cores: usize,
}

impl Machine {
    /// Asks the operating system.
    #[must_use]
    pub fn detect() -> Self {
        let total = read(Path::new("/proc/meminfo")).and_then(|text| memory_total(&text));
        let group = group_memory();
        let memory = total.into_iter().chain(group).min().unwrap_or(MEMORY_UNKNOWN);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { memory, cores }
    }
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
pub(super) fn memory_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

/// A limit as control groups write it; none for `max` and for the huge number that means none.
pub(super) fn group_limit(text: &str) -> Option<u64> {
    let limit: u64 = text.trim().parse().ok()?;
    (limit < 1 << 60).then_some(limit)
}

/// The folders of version 2 groups that hold the process, from its own up to the root.
pub(super) fn group_folders(cgroup: &str) -> Vec<String> {
    let own = cgroup.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let mut folders = Vec::new();
    let mut path = own.trim_end_matches('/');
    while !path.is_empty() {
        folders.push(format!("/sys/fs/cgroup{path}"));
        path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    folders.push("/sys/fs/cgroup".to_owned());
    folders
}

fn group_memory() -> Option<u64> {
    let own = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let version_2 = group_folders(&own).into_iter().map(|folder| format!("{folder}/memory.max"));
    let version_1 = "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned();
    version_2.chain([version_1]).filter_map(|file| group_limit(&read(Path::new(&file))?)).min()
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}
