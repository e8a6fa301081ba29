//! What EAL leaves in file systems when a run has ended, and taking it away:
//! the hugepages, which stay reserved as long as their files are there, and the
//! files of the runtime directory.
//!
//! EAL has `--huge-unlink=always` against the former, but that takes the files
//! away at the start, and a secondary process (dpdk-pdump, dpdk-proc-info) maps
//! the primary's memory by them. Here they stay while the run lasts. Of a
//! process that was killed both stay; the next EAL that starts, of whatever
//! prefix, takes back the hugepages.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use dpdk_sys as sys;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{HUGETLBFS_MAGIC, statfs};

/// What EAL names its hugepage files, behind the prefix.
const HUGEPAGE_MARK: &str = "map_";

/// What EAL names the sockets of secondary processes.
const SECONDARY_MARK: &str = "mp_socket_";

/// The files that are this primary process's own. None where it is a secondary
/// process: all that one maps is the primary's.
pub(super) struct Leftovers {
    hugepages: Vec<PathBuf>,
    /// The runtime directory, if this process keeps its files there: with
    /// `--no-shconf` the directory may be someone else's.
    runtime_dir: Option<PathBuf>,
}

impl Leftovers {
    /// To be asked while EAL is still up: that a file is this process's own is
    /// known by its being mapped.
    pub(super) fn of_this_process() -> Self {
        // SAFETY: reads EAL's configuration, which is there from the start of
        // the program to its end.
        if unsafe { sys::rte_eal_process_type() } != sys::MPFWD_PROC_PRIMARY {
            return Self { hugepages: Vec::new(), runtime_dir: None };
        }
        let mapped = mapped_files();
        let runtime_dir = runtime_dir().filter(|folder| mapped.contains(&folder.join("config")));
        Self {
            hugepages: mapped.into_iter().filter(|path| is_hugepage(path)).collect(),
            runtime_dir,
        }
    }

    /// After EAL's clean-up, which gives up its locks: takes away what no
    /// secondary process uses, by the rule that EAL has for the files of others
    /// when it starts.
    pub(super) fn remove_unless_shared(self) {
        let kept = self.hugepages.iter().filter(|path| !remove_unlocked(path)).count();
        if kept == 0 {
            self.remove_runtime_dir();
        }
    }

    /// After a start that failed: no secondary process can have joined, and EAL
    /// still has its own locks.
    pub(super) fn remove(self) {
        for path in &self.hugepages {
            let _ = std::fs::remove_file(path);
        }
        self.remove_runtime_dir();
    }

    /// EAL holds its lock on `config` until the process is gone, so that no
    /// other primary process has begun to use the directory.
    fn remove_runtime_dir(self) {
        let Some(folder) = self.runtime_dir else { return };
        let Ok(files) = std::fs::read_dir(&folder) else { return };
        let names: Vec<String> =
            files.flatten().map(|file| file.file_name().to_string_lossy().into_owned()).collect();
        if names.iter().any(|name| name.starts_with(SECONDARY_MARK)) {
            return;
        }
        let is_eals = |name: &&String| {
            ["config", "hugepage_data", "hugepage_info", "mp_socket"].contains(&name.as_str())
                || ["fbarray_", "dpdk_telemetry."].iter().any(|start| name.starts_with(start))
        };
        for name in names.iter().filter(is_eals) {
            let _ = std::fs::remove_file(folder.join(name));
        }
        // Not if there is anything else in it.
        let _ = std::fs::remove_dir(folder);
    }
}

/// Whether there are hugepages that a killed process has left, which EAL takes
/// back when it starts.
pub(super) fn hugepages_of_the_dead() -> bool {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let folders = mounts
        .lines()
        .filter(|line| line.split(' ').nth(2) == Some("hugetlbfs"))
        .filter_map(|line| line.split(' ').nth(1));
    let mut files = folders
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .flatten()
        .map(|file| file.path());
    files.any(|path| is_hugepage(&path) && lock(&path).is_some())
}

/// The files that this process maps; not those that are deleted already.
fn mapped_files() -> BTreeSet<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let paths = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..]));
    paths.filter(|path| !path.ends_with(" (deleted)")).map(PathBuf::from).collect()
}

fn is_hugepage(path: &Path) -> bool {
    let is_eals =
        path.file_name().is_some_and(|name| name.to_string_lossy().contains(HUGEPAGE_MARK));
    is_eals && statfs(path).is_ok_and(|fs| fs.filesystem_type() == HUGETLBFS_MAGIC)
}

/// Without the symbolic links that the kernel resolves in a list of what is
/// mapped (/var/run is one).
fn runtime_dir() -> Option<PathBuf> {
    // SAFETY: EAL's own buffer, empty before it has chosen the directory; it is
    // written by EAL's start only.
    let path = unsafe { CStr::from_ptr(sys::rte_eal_get_runtime_dir()) };
    std::fs::canonicalize(path.to_string_lossy().as_ref()).ok()
}

/// The file with its exclusive lock; every process that uses a hugepage file
/// shares a lock on it.
fn lock(path: &Path) -> Option<Flock<File>> {
    Flock::lock(File::open(path).ok()?, FlockArg::LockExclusiveNonblock).ok()
}

/// Whether the file is gone now.
fn remove_unlocked(path: &Path) -> bool {
    let Some(_lock) = lock(path) else { return !path.exists() };
    std::fs::remove_file(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_process_has_locked_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rtemap_0");
        std::fs::write(&path, "").unwrap();
        let shared = Flock::lock(File::open(&path).unwrap(), FlockArg::LockSharedNonblock).unwrap();
        assert!(!remove_unlocked(&path) && path.exists());
        drop(shared);
        assert!(remove_unlocked(&path) && !path.exists());
        assert!(remove_unlocked(&path), "somebody else was faster");
    }

    #[test]
    fn a_runtime_directory_with_a_secondary_process_stays() {
        let folder = tempfile::tempdir().unwrap();
        let runtime_dir = folder.path().join("rte");
        let leftovers =
            || Leftovers { hugepages: Vec::new(), runtime_dir: Some(runtime_dir.clone()) };
        let add = |name: &str| std::fs::write(runtime_dir.join(name), "").unwrap();
        std::fs::create_dir(&runtime_dir).unwrap();
        ["config", "fbarray_memzone", "mp_socket_12_ab"].into_iter().for_each(add);
        leftovers().remove_unless_shared();
        assert!(runtime_dir.join("config").exists());

        std::fs::remove_file(runtime_dir.join("mp_socket_12_ab")).unwrap();
        ["dpdk_telemetry.v2", "notes"].into_iter().for_each(add);
        leftovers().remove_unless_shared();
        assert!(
            !runtime_dir.join("config").exists() && !runtime_dir.join("fbarray_memzone").exists()
        );
        assert!(runtime_dir.join("notes").exists(), "not EAL's");

        std::fs::remove_file(runtime_dir.join("notes")).unwrap();
        leftovers().remove_unless_shared();
        assert!(!runtime_dir.exists());
    }

    #[test]
    fn only_files_on_hugepages_are_hugepages() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rtemap_0");
        std::fs::write(&path, "").unwrap();
        assert!(!is_hugepage(&path));
    }
}
