//! One lcore's counts of stealing, takeover and rescue: as helper, except for
//! the time that others saved its own packets.

use comfy_table::Table;
use hdrhistogram::Histogram as HdrHistogram;
use serde::Serialize;

use super::{Counter, Histogram};
use mpfwd_common::text::{short, table, time};

/// Only that lcore writes it.
#[derive(Debug, Default)]
pub struct RescueStats {
    /// Successful steals, and the packets.
    pub steals: Counter,
    pub stolen_pkts: Counter,
    /// The time that these took, in ticks: from the decision until the thief
    /// owned the packets.
    pub steal_ticks: Counter,
    /// Takeovers of another lcore's receive queue that found packets, and the
    /// packets.
    pub takeovers: Counter,
    pub takeover_pkts: Counter,
    /// From the time at which an lcore had been stuck for `--rescue-after`
    /// until this lcore had served the first packet that it rescued, in ticks.
    /// Once per incident and rescuer.
    pub latency: Histogram,
    /// How much longer the packets that were rescued from this lcore would have
    /// waited for its return: ticks, summed over packets. Counted by this lcore
    /// when it returns.
    pub saved_ticks: Counter,
}

/// The same in the report.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct RescueRow {
    pub steals: u64,
    pub stolen_pkts: u64,
    /// Mean time of a steal; 0 without any.
    pub steal_ns: u64,
    pub takeovers: u64,
    pub takeover_pkts: u64,
    /// Rescues whose latency was measured.
    pub rescues: u64,
    pub latency_p50_ns: u64,
    pub latency_p99_ns: u64,
    pub latency_max_ns: u64,
    pub saved_ns: u64,
}

impl RescueStats {
    /// The row in the report. `to_ns` converts ticks.
    pub fn row(&self, to_ns: impl Fn(u64) -> u64) -> RescueRow {
        let mut latency = HdrHistogram::<u64>::new_with_bounds(1, 3_600_000_000_000, 3)
            .expect("constant bounds are valid");
        self.latency.add_to(&mut latency, &to_ns);
        let steals = self.steals.get();
        RescueRow {
            steals,
            stolen_pkts: self.stolen_pkts.get(),
            steal_ns: to_ns(self.steal_ticks.get() / steals.max(1)),
            takeovers: self.takeovers.get(),
            takeover_pkts: self.takeover_pkts.get(),
            rescues: latency.len(),
            latency_p50_ns: latency.value_at_quantile(0.5),
            latency_p99_ns: latency.value_at_quantile(0.99),
            latency_max_ns: latency.max(),
            saved_ns: to_ns(self.saved_ticks.get()),
        }
    }
}

/// A row per lcore that helped or was helped. `None` without any.
pub(super) fn rescue_table<'r>(
    lcores: impl IntoIterator<Item = (u32, &'r RescueRow)>,
) -> Option<Table> {
    let mut table = table(&[
        "lcore",
        "steals",
        "stolen",
        "mean",
        "takeovers",
        "polled",
        "rescues",
        "p50",
        "p99",
        "max",
        "saved",
    ]);
    for (lcore, rescue) in lcores {
        if rescue.steals + rescue.takeovers + rescue.saved_ns == 0 {
            continue;
        }
        let mut cells = vec![
            lcore.to_string(),
            short(rescue.steals),
            short(rescue.stolen_pkts),
            time(rescue.steal_ns),
        ];
        cells.extend([rescue.takeovers, rescue.takeover_pkts, rescue.rescues].map(short));
        cells.extend(
            [rescue.latency_p50_ns, rescue.latency_p99_ns, rescue.latency_max_ns, rescue.saved_ns]
                .map(time),
        );
        table.add_row(cells);
    }
    (table.row_count() > 0).then_some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_means_and_percentiles() {
        let stats = RescueStats::default();
        stats.steals.add(4);
        stats.steal_ticks.add(1000);
        stats.saved_ticks.add(50);
        (1..=100).for_each(|ticks| stats.latency.record(ticks * 10, 1));
        let row = stats.row(|ticks| ticks * 2);
        assert_eq!((row.steal_ns, row.saved_ns, row.rescues), (500, 100, 100));
        assert!(
            (1000..=1020).contains(&row.latency_p50_ns) && row.latency_max_ns >= 2000,
            "{row:?}"
        );
        assert_eq!(RescueStats::default().row(|ticks| ticks).steal_ns, 0);
    }
}
