//! Checks before EAL starts that the machine has what EAL needs. A failure is
//! one line with numbers, where EAL prints many or none.

use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, eaccess};

use super::hugepages::HugePages;
use super::leftovers;
use mpfwd_common::api::DEFAULT_PREFIX;
use mpfwd_common::error::{Error, Result};

/// The way without hugepages.
const WITHOUT: &str = "write `--no-huge -m 1024 --no-shconf` before --";

/// Memory to suggest: enough for runs on a few ports.
const PLENTY_BYTES: u64 = 2 << 30;

/// Checks that EAL can use hugepages at all.
///
/// # Errors
/// When it can't.
pub(super) fn check(args: &[String]) -> Result<()> {
    let has =
        |name: &str| args.iter().any(|arg| arg == name || arg.starts_with(&format!("{name}=")));
    if ["--no-huge", "--help", "-h", "--version", "-v"].into_iter().any(has) {
        return Ok(());
    }
    if HugePages::of_all_sizes().iter().all(|pages| pages.free_bytes() == 0)
        && !leftovers::hugepages_of_the_dead()
    {
        return Err(Error::Setup(none_free(HugePages::of_default_size())));
    }
    if has("--huge-dir") || has("--in-memory") {
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
