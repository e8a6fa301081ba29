//! The memory that mpfwd uses: hugepages if enough are free and usable, else
//! regular memory.

use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// Bytes of a packet buffer, with headers and its entry in the pool.
const MBUF_BYTES: u64 = 2_560;
/// Bytes for EAL, rings and queues.
const OTHER_BYTES: u64 = 64 << 20;

/// Bytes of memory for a run with `mbufs` packet buffers.
pub(super) fn needed_bytes(mbufs: u32) -> u64 {
    u64::from(mbufs) * MBUF_BYTES + OTHER_BYTES
}

/// EAL's arguments for that much memory. None for hugepages.
pub(super) fn eal_args(needed_bytes: u64) -> Vec<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let usable =
        mounted(&read("/proc/mounts")).is_some_and(|path| access(&path, AccessFlags::W_OK).is_ok());
    match usable && free_bytes(&read("/proc/meminfo")) >= needed_bytes {
        true => Vec::new(),
        false => plain(needed_bytes),
    }
}

/// EAL's arguments for regular memory.
fn plain(needed_bytes: u64) -> Vec<String> {
    let mib = (needed_bytes >> 20).next_multiple_of(64);
    ["--no-huge".into(), "-m".into(), mib.to_string(), "--no-shconf".into()].to_vec()
}

/// The mount point of hugetlbfs.
fn mounted(mounts: &str) -> Option<PathBuf> {
    let mut rows = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    rows.find(|row| row.get(2) == Some(&"hugetlbfs")).map(|row| Path::new(row[1]).to_owned())
}

/// Bytes in free, unreserved hugepages of the default size.
fn free_bytes(meminfo: &str) -> u64 {
    let number = |name: &str| {
        meminfo.lines().find_map(|line| {
            line.strip_prefix(name)?.split_whitespace().next()?.parse::<u64>().ok()
        })
    };
    let pages = number("HugePages_Free:")
        .unwrap_or(0)
        .saturating_sub(number("HugePages_Rsvd:").unwrap_or(0));
    pages * number("Hugepagesize:").unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_understood() {
        let meminfo = "MemTotal: 1 kB\nHugePages_Total:    1024\nHugePages_Free:     100\nHugePages_Rsvd:       10\nHugepagesize:       2048 kB\n";
        assert_eq!(free_bytes(meminfo), 90 << 21);
        assert_eq!(free_bytes(""), 0);
        let mounts = "proc /proc proc rw 0 0\nnone /mnt/huge hugetlbfs rw,pagesize=2M 0 0\n";
        assert_eq!(mounted(mounts), Some(PathBuf::from("/mnt/huge")));
        assert_eq!(mounted("proc /proc proc rw 0 0"), None);
        assert_eq!(plain(needed_bytes(65_535)), ["--no-huge", "-m", "256", "--no-shconf"]);
        assert_eq!(eal_args(u64::MAX), plain(u64::MAX));
    }
}
