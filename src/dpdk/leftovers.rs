//! Removes the files that EAL leaves after a run: hugepage files, which keep
//! their hugepages allocated, and the files of the runtime directory.
//!
//! EAL's `--huge-unlink=always` removes hugepage files at the start. But
//! secondary processes (dpdk-pdump, dpdk-proc-info) map the primary's memory by
//! them, so here they stay until the end of the run. A killed process leaves
//! both kinds. The next EAL that starts frees the hugepages, whatever its
//! prefix.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use dpdk_sys as sys;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{HUGETLBFS_MAGIC, statfs};

/// Names of EAL's hugepage files, behind the prefix.
const HUGEPAGE_MARK: &str = "map_";

/// Names of the sockets of secondary processes.
const SECONDARY_MARK: &str = "mp_socket_";

/// The files of this primary process. A secondary process has none: it maps the
/// primary's.
pub(super) struct Leftovers {
    hugepages: Vec<PathBuf>,
    /// The runtime directory, if this process keeps its files there: with
    /// `--no-shconf` the directory may be someone else's.
    runtime_dir: Option<PathBuf>,
}

impl Leftovers {
    /// Must be called while EAL is up, because this process's files are
    /// recognised by being mapped.
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

    /// Removes the files that no secondary process uses, by the same rule as
    /// EAL at its start. Must be called after EAL's clean-up, which releases
    /// its locks.
    pub(super) fn remove_unless_shared(self) {
        let kept = self.hugepages.iter().filter(|path| !remove_unlocked(path)).count();
        if kept == 0 {
            self.remove_runtime_dir();
        }
    }

    /// Removes all files after a failed start. No secondary process can have
    /// attached, and EAL still holds its own locks.
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
        // Fails if there is anything else in it.
        let _ = std::fs::remove_dir(folder);
    }
}

/// Whether a killed process has left hugepages, which EAL frees when it starts.
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

/// The files that this process maps, without deleted ones.
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

/// Symbolic links (such as /var/run) are resolved, as the kernel does in the
/// list of mappings.
fn runtime_dir() -> Option<PathBuf> {
    // SAFETY: EAL's own buffer, empty before it has chosen the directory; it is
    // written by EAL's start only.
    let path = unsafe { CStr::from_ptr(sys::rte_eal_get_runtime_dir()) };
    std::fs::canonicalize(path.to_string_lossy().as_ref()).ok()
}

/// Locks the file exclusively. Every process that uses a hugepage file holds a
/// shared lock on it.
fn lock(path: &Path) -> Option<Flock<File>> {
    Flock::lock(File::open(path).ok()?, FlockArg::LockExclusiveNonblock).ok()
}

/// Removes the file if no process has locked it. Returns whether it is gone.
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
