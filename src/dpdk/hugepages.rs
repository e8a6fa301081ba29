//! Numbers of hugepages in total and free, as the kernel counts them for all
//! processes. Another process may allocate some at any time.

use std::path::Path;

const BY_SIZE: &str = "/sys/kernel/mm/hugepages";

/// Hugepages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HugePages {
    /// Bytes of one page.
    pub bytes: u64,
    /// Number reserved for the system.
    pub total: u64,
    /// Number of these that are free.
    pub free: u64,
    /// Number that the kernel may allocate on demand beyond the reserved ones.
    pub on_demand: u64,
}

impl HugePages {
    /// Hugepages of the size that `/proc/sys/vm/nr_hugepages` counts.
    pub(super) fn of_default_size() -> Self {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib = text.lines().find_map(|line| {
            line.strip_prefix("Hugepagesize:")?.split_whitespace().next()?.parse().ok()
        });
        Self::in_folder(&Path::new(BY_SIZE).join(format!("hugepages-{}kB", kib.unwrap_or(2048))))
            .unwrap_or(HugePages::NONE)
    }

    const NONE: Self = Self { bytes: 2 << 20, total: 0, free: 0, on_demand: 0 };

    /// Hugepages by size, for each size that the kernel has.
    pub(super) fn of_all_sizes() -> Vec<Self> {
        let sizes = std::fs::read_dir(BY_SIZE).into_iter().flatten().flatten();
        sizes.filter_map(|size| Self::in_folder(&size.path())).collect()
    }

    fn in_folder(folder: &Path) -> Option<Self> {
        let kib: u64 = folder
            .file_name()?
            .to_str()?
            .strip_prefix("hugepages-")?
            .strip_suffix("kB")?
            .parse()
            .ok()?;
        let number = |name: &str| {
            std::fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok()
        };
        let free = number("free_hugepages")?;
        let beyond = number("nr_overcommit_hugepages")
            .unwrap_or(0)
            .saturating_sub(number("surplus_hugepages").unwrap_or(0));
        Some(Self {
            bytes: kib << 10,
            total: number("nr_hugepages").unwrap_or(free).max(free),
            free,
            on_demand: beyond,
        })
    }

    /// Bytes that can still be allocated.
    pub(super) fn free_bytes(&self) -> u64 {
        self.free.saturating_add(self.on_demand).saturating_mul(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_the_kernel_writes_them() {
        let folder = tempfile::tempdir().unwrap();
        let pages = folder.path().join("hugepages-2048kB");
        std::fs::create_dir(&pages).unwrap();
        assert_eq!(HugePages::in_folder(&pages), None);
        for (name, number) in [
            ("nr_hugepages", 10),
            ("free_hugepages", 4),
            ("nr_overcommit_hugepages", 5),
            ("surplus_hugepages", 2),
        ] {
            std::fs::write(pages.join(name), format!("{number}\n")).unwrap();
        }
        let read = HugePages::in_folder(&pages).unwrap();
        assert_eq!(read, HugePages { bytes: 2 << 20, total: 10, free: 4, on_demand: 3 });
        assert_eq!(read.free_bytes(), 14 << 20);
    }
}
