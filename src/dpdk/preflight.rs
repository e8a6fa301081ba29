//! Checks before EAL starts that the machine has what EAL needs. A failure is
//! one line with numbers, where EAL prints many or none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{AccessFlags, Pid, eaccess};

use super::eal_args;
use super::hugepages::HugePages;
use super::leftovers;
use mpfwd_common::api::DEFAULT_PREFIX;
use mpfwd_common::error::{Error, Result};
use mpfwd_common::text::ranges;

/// The way without hugepages.
const WITHOUT: &str = "write `--no-huge -m 1024 --no-shconf` before --";

/// Files that EAL opens on small machines, besides its lcores' pipes: mpfwd's
/// own, sockets, hugepages, devices.
const FILES_OF_EAL: u64 = 40;

/// Memory to suggest: enough for runs on a few ports.
const PLENTY_BYTES: u64 = 2 << 30;

/// Whether EAL has this argument, with or without a value.
fn has(args: &[String], name: &str) -> bool {
    args.iter().any(|arg| arg == name || arg.starts_with(&format!("{name}=")))
}

/// Checks what EAL would answer by an abort, or without a reason.
///
/// # Errors
/// When EAL can't start.
pub(super) fn check(args: &[String]) -> Result<()> {
    if ["--help", "-h", "--version", "-v"].into_iter().any(|name| has(args, name)) {
        return Ok(());
    }
    check_process_type(args)?;
    check_cpus(args)?;
    check_files(args)?;
    check_runtime_dir(args)?;
    check_hugepages(args)
}

/// A secondary process maps the primary's memory, and owns no ports.
fn check_process_type(args: &[String]) -> Result<()> {
    match eal_args::values(args, &["--proc-type"]).find(|&kind| kind != "primary") {
        None => Ok(()),
        Some(kind) => Err(Error::Usage(format!(
            "--proc-type {kind}: mpfwd is always a primary process; leave it out, and give each mpfwd a --file-prefix of its own"
        ))),
    }
}

/// The kernel gives a thread the CPUs that it asks for and that the process's
/// cpuset has. It refuses if there are none.
fn check_cpus(args: &[String]) -> Result<()> {
    let (Some(lcores), Some(allowed)) = (eal_args::lcores(args), allowed_cpus()) else {
        return Ok(());
    };
    match lcores.iter().find(|(_, cpus)| cpus.is_disjoint(&allowed)) {
        None => Ok(()),
        Some((id, cpus)) => Err(Error::Usage(outside_cpuset(*id, cpus, &allowed, lcores.len()))),
    }
}

fn outside_cpuset(id: u32, cpus: &BTreeSet<u32>, allowed: &BTreeSet<u32>, lcores: usize) -> String {
    // EAL wants commas.
    let text =
        |cpus: &BTreeSet<u32>| ranges(&cpus.iter().copied().collect::<Vec<_>>()).replace(' ', ",");
    let (cpus, allowed_text) = (text(cpus), text(allowed));
    let instead = if lcores <= allowed.len() {
        format!("-l {}", text(&allowed.iter().copied().take(lcores).collect()))
    } else {
        format!("--lcores '(0-{})@({allowed_text})' and --idle yield", lcores - 1)
    };
    format!(
        "lcore {id} is on CPU {cpus}, which this process may not use: CPUs {allowed_text} are allowed; write {instead}"
    )
}

/// All CPUs that this thread may be moved to. `None` if the kernel does not say.
fn allowed_cpus() -> Option<BTreeSet<u32>> {
    let this_thread = Pid::from_raw(0);
    let before = sched_getaffinity(this_thread).ok()?;
    let mut all = CpuSet::new();
    (0..CpuSet::count()).try_for_each(|cpu| all.set(cpu)).ok()?;
    sched_setaffinity(this_thread, &all).ok()?;
    let widest = sched_getaffinity(this_thread);
    sched_setaffinity(this_thread, &before).ok()?;
    let widest = widest.ok()?;
    let is_set = |&cpu: &usize| widest.is_set(cpu).unwrap_or(false);
    Some((0..CpuSet::count()).filter(is_set).map(|cpu| cpu as u32).collect())
}

/// Raises the limit of open files as far as the process may, and checks that
/// EAL's pipes, of which each lcore has two, fit.
fn check_files(args: &[String]) -> Result<()> {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(()) };
    if soft < hard {
        // The check below uses what is allowed if this fails.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(soft, |(soft, _)| soft);
    let lcores = eal_args::lcores(args).map_or(1, |lcores| lcores.len());
    let wanted = FILES_OF_EAL + 4 * lcores as u64;
    if limit >= wanted {
        return Ok(());
    }
    Err(Error::Setup(format!(
        "at most {limit} open files are allowed, and EAL needs {wanted}: write `ulimit -n 4096`, or LimitNOFILE=4096 in a unit"
    )))
}

/// EAL keeps files and sockets in a folder of the runtime directory.
fn check_runtime_dir(args: &[String]) -> Result<()> {
    let without_files = ["--in-memory", "--no-shconf"].into_iter().any(|name| has(args, name));
    if without_files && has(args, "--no-telemetry") {
        return Ok(());
    }
    let folder = runtime_dir();
    let folder = if folder.join("dpdk").is_dir() { folder.join("dpdk") } else { folder };
    match eaccess(folder.as_path(), AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) => Ok(()),
        Err(error) => Err(Error::Setup(no_runtime_dir(&folder, error, without_files))),
    }
}

fn no_runtime_dir(folder: &Path, error: nix::Error, without_files: bool) -> String {
    let also = match without_files {
        true => "--no-telemetry",
        false => "--in-memory --no-telemetry",
    };
    format!(
        "EAL can't keep its files below {} ({}): write {also} before --, or set RUNTIME_DIRECTORY to a writable folder",
        folder.display(),
        error.desc()
    )
}

/// The folder below which EAL makes its own, as EAL chooses it.
fn runtime_dir() -> PathBuf {
    let of_a_unit = std::env::var_os("RUNTIME_DIRECTORY");
    let of_a_user = || match nix::unistd::getuid().is_root() {
        true => "/var/run".into(),
        false => std::env::var_os("XDG_RUNTIME_DIR").unwrap_or("/tmp".into()),
    };
    PathBuf::from(of_a_unit.unwrap_or_else(of_a_user))
}

fn check_hugepages(args: &[String]) -> Result<()> {
    if has(args, "--no-huge") {
        return Ok(());
    }
    if HugePages::of_all_sizes().iter().all(|pages| pages.free_bytes() == 0)
        && !leftovers::hugepages_of_the_dead()
    {
        return Err(Error::Setup(none_free(HugePages::of_default_size())));
    }
    if has(args, "--huge-dir") || has(args, "--in-memory") {
        return Ok(());
    }
    let folders = where_hugepages_are_files();
    let Some(folder) = folders.first() else {
        return Err(Error::Setup(format!(
            "hugepages are reserved but not mounted: `mkdir -p /dev/hugepages && mount -t hugetlbfs none /dev/hugepages` as root, or write \
             --in-memory before --, or {WITHOUT}"
        )));
    };
    if folders
        .iter()
        .any(|folder| eaccess(folder.as_path(), AccessFlags::W_OK | AccessFlags::X_OK).is_ok())
    {
        return Ok(());
    }
    Err(Error::Setup(no_permission(folder)))
}

fn none_free(pages: HugePages) -> String {
    let (size, total) = (size(pages.bytes), pages.total);
    let enough = total + PLENTY_BYTES.div_ceil(pages.bytes);
    format!(
        "no free hugepages: {total} of {size} are reserved, and none is free; reserve {} more with \
         `echo {enough} > /proc/sys/vm/nr_hugepages` as root, or {WITHOUT}",
        enough - total
    )
}

fn no_permission(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "no permission to make hugepages in {folder}: run it with sudo, or have the folder given to you (`chown $USER {folder}` as root; a NIC \
         by vfio-pci needs /dev/vfio/* too), or write `--no-huge -m 1024 --no-shconf --no-pci` before -- for virtual ports"
    )
}

/// Bytes of a page.
fn size(bytes: u64) -> String {
    if bytes >= 1 << 30 { format!("{} GiB", bytes >> 30) } else { format!("{} MiB", bytes >> 20) }
}

fn where_hugepages_are_files() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    mounts
        .filter(|mount| mount.get(2) == Some(&"hugetlbfs"))
        .map(|mount| PathBuf::from(mount[1]))
        .collect()
}

/// The memory that EAL is told to allocate when it starts, and what was free
/// before.
pub(super) struct Memory {
    /// The argument that says so.
    argument: &'static str,
    mib: u64,
    /// Hugepages of the default size, and free bytes of all sizes. `None` if no
    /// hugepages are used.
    pages: Option<(HugePages, u64)>,
}

impl Memory {
    /// `None` if the arguments name no amount.
    pub(super) fn asked_for(args: &[String]) -> Option<Self> {
        let (argument, mib) = asked(args)?;
        let free = || {
            HugePages::of_all_sizes().iter().map(HugePages::free_bytes).fold(0, u64::saturating_add)
        };
        let huge = !args.iter().any(|arg| arg == "--no-huge");
        Some(Self { argument, mib, pages: huge.then(|| (HugePages::of_default_size(), free())) })
    }

    /// After a start that failed: the shortfall in words, if memory was short.
    pub(super) fn lacks(&self) -> Option<String> {
        let Self { argument, mib, pages } = self;
        let Some((pages, free_bytes)) = *pages else {
            return Some(format!(
                "{argument} asks for {mib} MiB, which the kernel does not give: write less"
            ));
        };
        let free_mib = free_bytes >> 20;
        let wanted = (pages.total - pages.free)
            .saturating_add(mib.saturating_mul(1 << 20).div_ceil(pages.bytes));
        (*mib > free_mib).then(|| {
            format!(
                "{argument} asks for {mib} MiB, but only {free_mib} MiB of hugepages are free ({} of {}): write less, or reserve more with \
                 `echo {wanted} > /proc/sys/vm/nr_hugepages` as root, or {WITHOUT}",
                pages.free,
                size(pages.bytes)
            )
        })
    }
}

/// The argument that requests memory, and the MiB over all sockets.
fn asked(args: &[String]) -> Option<(&'static str, u64)> {
    let (argument, mib) = asked_by_socket(args)?;
    let sum = mib.iter().try_fold(0u64, |sum, &mib| sum.checked_add(mib))?;
    Some((argument, sum))
}

/// The MiB of `--socket-mem`, by socket.
pub(super) fn socket_mem(args: &[String]) -> Option<Vec<u64>> {
    asked_by_socket(args).filter(|&(argument, _)| argument == "--socket-mem").map(|(_, mib)| mib)
}

/// As `asked`, with each number of the list.
fn asked_by_socket(args: &[String]) -> Option<(&'static str, Vec<u64>)> {
    let numbers =
        |list: &str| -> Option<Vec<u64>> { list.split(',').map(|mib| mib.parse().ok()).collect() };
    let next = args.iter().skip(1).map(Some).chain([None]);
    args.iter().zip(next).find_map(|(arg, next)| {
        for argument in ["--socket-mem", "-m"] {
            let Some(rest) = arg.strip_prefix(argument) else { continue };
            let value = if rest.is_empty() {
                next?.as_str()
            } else {
                rest.strip_prefix('=').unwrap_or(rest)
            };
            return Some((argument, numbers(value)?));
        }
        None
    })
}

/// The prefix of EAL's files, by its arguments. EAL accepts shortened names.
pub fn file_prefix(args: &[String]) -> String {
    let is_it = |name: &str| name.len() >= "--fi".len() && "--file-prefix".starts_with(name);
    let next = args.iter().skip(1).map(Some).chain([None]);
    let given = args.iter().zip(next).filter_map(|(arg, next)| match arg.split_once('=') {
        Some((name, value)) => is_it(name).then_some(value),
        None => next.filter(|_| is_it(arg)).map(String::as_str),
    });
    given.last().unwrap_or(DEFAULT_PREFIX).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_1_GIB: HugePages = HugePages { bytes: 1 << 30, total: 4, free: 1, on_demand: 0 };

    #[test]
    fn numbers_go_by_the_size_of_a_page() {
        let text = none_free(HugePages { bytes: 2 << 20, total: 0, free: 0, on_demand: 0 });
        assert!(
            text.contains("0 of 2 MiB are reserved")
                && text.contains("`echo 1024 > /proc/sys/vm/nr_hugepages`"),
            "{text}"
        );
        let text = none_free(HugePages { free: 0, ..OF_1_GIB });
        assert!(
            text.contains("4 of 1 GiB are reserved")
                && text.contains("reserve 2 more with `echo 6 >"),
            "{text}"
        );
        assert!(text.contains("--no-huge") && !text.contains('\n'), "{text}");
    }

    #[test]
    fn an_lcore_outside_the_cpuset_is_named_with_the_cpus_that_may_be_used() {
        let (outside, allowed) = (BTreeSet::from([4]), BTreeSet::from([0, 1, 2, 6]));
        assert_eq!(
            outside_cpuset(3, &outside, &allowed, 3),
            "lcore 3 is on CPU 4, which this process may not use: CPUs 0-2,6 are allowed; write -l 0-2"
        );
        let text = outside_cpuset(3, &outside, &allowed, 10);
        assert!(text.ends_with("write --lcores '(0-9)@(0-2,6)' and --idle yield"), "{text}");
    }

    #[test]
    fn what_is_asked_for_is_read_as_eal_does() {
        for (line, wanted) in [
            ("mpfwd -m 64", Some(("-m", 64))),
            ("mpfwd -l 0 -m64", Some(("-m", 64))),
            ("mpfwd --socket-mem 512,1024", Some(("--socket-mem", 1536))),
            ("mpfwd --socket-mem=512", Some(("--socket-mem", 512))),
            ("mpfwd -m", None),
            ("mpfwd -m 18446744073709551616", None),
            ("mpfwd --match-allocations", None),
        ] {
            let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(asked(&args), wanted, "{line}");
        }
    }

    #[test]
    fn the_last_file_prefix_counts() {
        for (line, prefix) in [
            ("mpfwd -l 0", "rte"),
            ("mpfwd --file-prefix a -l 0", "a"),
            ("mpfwd --file-prefix=a --file-pre b", "b"),
            ("mpfwd --file-prefix", "rte"),
            ("mpfwd --force-max-simd-bitwidth=256", "rte"),
        ] {
            let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(file_prefix(&args), prefix, "{line}");
        }
    }

    #[test]
    fn what_lacks_is_said_in_numbers() {
        let memory = |mib| Memory { argument: "-m", mib, pages: Some((OF_1_GIB, 1 << 30)) };
        assert_eq!(memory(1024).lacks(), None, "there was enough");
        let text = memory(4096).lacks().expect("there was not");
        assert!(
            text.starts_with(
                "-m asks for 4096 MiB, but only 1024 MiB of hugepages are free (1 of 1 GiB)"
            ),
            "{text}"
        );
        assert!(
            text.contains("`echo 7 > /proc/sys/vm/nr_hugepages`") && text.contains("--no-huge"),
            "{text}"
        );
        let text = Memory { pages: None, ..memory(1 << 40) }.lacks().expect("the kernel refused");
        assert!(text.contains("1099511627776 MiB"), "{text}");
        assert!(memory(u64::MAX).lacks().is_some());
    }

    #[test]
    fn who_may_not_write_is_told_what_lets_him() {
        let text = no_permission(Path::new("/dev/hugepages"));
        for says in
            ["no permission", "sudo", "chown $USER /dev/hugepages", "/dev/vfio", "--no-huge"]
        {
            assert!(text.contains(says), "{says}: {text}");
        }
    }
}
