//! Time that the host took from an lcore: gaps in its own time that its work
//! does not explain. On a shared machine a tail may be made of nothing else, so
//! they are shown beside it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Counter;
use super::report::{grouped, time};

/// A shorter gap is not told from interrupts and cache misses, in nanoseconds.
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

/// What one lcore noticed. One writer.
#[derive(Debug, Default)]
pub struct HostGaps {
    count: Counter,
    ticks: Counter,
    max_ticks: Counter,
}

/// The same in the report. Only time in which the lcore would notice counts:
/// while it polls in vain, and in work of a known length.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct HostGapRow {
    pub gaps: u64,
    pub gap_ns: u64,
    pub gap_max_ns: u64,
}

impl fmt::Display for HostGapRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (gaps, all, longest) = (grouped(self.gaps), time(self.gap_ns), time(self.gap_max_ns));
        write!(
            f,
            "the host took {all} from the lcores that they noticed, in {gaps} gaps of up to {longest}"
        )
    }
}

impl HostGaps {
    #[cold]
    pub fn add(&self, gaps: Gaps) {
        self.count.add(gaps.count);
        self.ticks.add(gaps.ticks);
        self.max_ticks.add(gaps.max_ticks.saturating_sub(self.max_ticks.get()));
    }

    /// With times in nanoseconds by `to_ns`.
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
