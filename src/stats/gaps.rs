//! Time that the host took from an lcore: gaps in the lcore's time that its work
//! does not explain. On a shared machine a latency tail may consist of them
//! alone, so they are reported beside it.

use super::{Counter, HostGapRow};

/// Shorter gaps look like interrupts and cache misses, in nanoseconds.
pub const GAP_NS_MIN: u64 = 1_000;

/// Gaps, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    pub count: u64,
    pub ticks: u64,
    pub max_ticks: u64,
}

impl Gaps {
    #[cold]
    pub fn note(&mut self, ticks: u64) {
        self.count += 1;
        self.ticks += ticks;
        self.max_ticks = self.max_ticks.max(ticks);
    }
}

/// The gaps that one lcore noticed. One writer.
#[derive(Debug, Default)]
pub struct HostGaps {
    count: Counter,
    ticks: Counter,
    max_ticks: Counter,
}

impl HostGaps {
    #[cold]
    pub fn add(&self, gaps: Gaps) {
        self.count.add(gaps.count);
        self.ticks.add(gaps.ticks);
        self.max_ticks.add(gaps.max_ticks.saturating_sub(self.max_ticks.get()));
    }

    /// The row in the report. `to_ns` converts ticks.
    pub fn row(&self, to_ns: impl Fn(u64) -> u64) -> HostGapRow {
        HostGapRow {
            gaps: self.count.get(),
            gap_ns: to_ns(self.ticks.get()),
            gap_max_ns: to_ns(self.max_ticks.get()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_add_up_and_the_longest_is_kept() {
        let host = HostGaps::default();
        for gap in [5, 9, 2] {
            let mut gaps = Gaps::default();
            gaps.note(gap);
            host.add(gaps);
        }
        let row = host.row(|ticks| ticks * 10);
        assert_eq!((row.gaps, row.gap_ns, row.gap_max_ns), (3, 160, 90));
    }
}
