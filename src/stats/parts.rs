//! The parts of latency, from a packet's stamp until the driver accepted it.

use comfy_table::Table;
use hdrhistogram::Histogram as HdrHistogram;
use serde::Serialize;

use super::Histogram;
use mpfwd_common::latency::{LatencyRow, histogram_ns};
use mpfwd_common::text::{grouped, table, time};

/// Parts are measured in one of so many bursts of the cheap stage, because that
/// takes two readings of the clock. The wait in the NIC takes none and is
/// measured in all bursts. So are expensive packets that are run one by one.
pub const PARTS_EVERY_BURSTS: u32 = 64;

/// Longer times are recorded as this one: an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Parts of one lcore's latencies for one class of packets, in ticks. One
/// writer.
#[derive(Debug, Default)]
pub struct Parts {
    /// From the packet's own stamp to the poll that received it, of every
    /// packet that has one. In a burst that is cheap as a whole, the first
    /// packet's wait counts for all.
    pub nic_wait: Histogram,
    /// From that poll to the start of the stage: classification, run queue,
    /// shard or inbox.
    pub queue_wait: Histogram,
    /// The stage, including the packets that were served together with this
    /// one.
    pub service: Histogram,
    /// The same for each of these packets: that time divided by their number.
    pub own_service: Histogram,
    /// From the end of the stage until the packet's turn in its flow, of
    /// packets that had to wait for it.
    pub order_wait: Histogram,
    /// From the end of the stage, or from its turn, until the driver accepted
    /// the packet.
    pub transmit: Histogram,
}

/// Percentiles of a time, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Percentiles {
    pub p50_ns: u64,
    pub p99_ns: u64,
    pub p999_ns: u64,
    pub max_ns: u64,
}

impl Percentiles {
    /// Merges several lcores' histograms. `to_ns` converts ticks. Returns also
    /// how many times they hold.
    fn of<'h>(
        histograms: impl IntoIterator<Item = &'h Histogram>,
        to_ns: impl Fn(u64) -> u64,
    ) -> (u64, Self) {
        let mut hdr = HdrHistogram::<u64>::new_with_bounds(1, LONGEST_NS, 3)
            .expect("constant bounds are valid");
        histograms.into_iter().for_each(|histogram| histogram.add_to(&mut hdr, &to_ns));
        let at = |quantile| hdr.value_at_quantile(quantile);
        let time =
            Self { p50_ns: at(0.5), p99_ns: at(0.99), p999_ns: at(0.999), max_ns: hdr.max() };
        (hdr.len(), time)
    }

    /// The cells of a table.
    pub(super) fn cells(&self) -> [String; 4] {
        [self.p50_ns, self.p99_ns, self.p999_ns, self.max_ns].map(time)
    }
}

/// A time of packets.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct TimeRow {
    pub pkts: u64,
    #[serde(flatten)]
    pub time: Percentiles,
}

impl TimeRow {
    /// Merges several lcores' histograms. `to_ns` converts ticks.
    pub fn of<'h>(
        histograms: impl IntoIterator<Item = &'h Histogram>,
        to_ns: impl Fn(u64) -> u64,
    ) -> Self {
        let (pkts, time) = Percentiles::of(histograms, to_ns);
        Self { pkts, time }
    }
}

/// A time that all packets of a burst share.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct BurstTimeRow {
    pub bursts: u64,
    #[serde(flatten)]
    pub time: Percentiles,
}

impl BurstTimeRow {
    /// As [`TimeRow::of`].
    pub fn of<'h>(
        histograms: impl IntoIterator<Item = &'h Histogram>,
        to_ns: impl Fn(u64) -> u64,
    ) -> Self {
        let (bursts, time) = Percentiles::of(histograms, to_ns);
        Self { bursts, time }
    }
}

/// The parts of one class.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PartRows {
    /// None where packets have no stamp of their own.
    pub nic_wait: Option<TimeRow>,
    pub queue_wait: TimeRow,
    pub service: TimeRow,
    /// The time of the stage divided by the packets that were served together.
    pub own_service: LatencyRow,
    pub order_wait: TimeRow,
    pub transmit: TimeRow,
}

impl PartRows {
    /// Merges all lcores' parts of one class. `stamped`: whether packets have
    /// stamps of their own.
    pub fn of(parts: &[&Parts], stamped: bool, to_ns: impl Fn(u64) -> u64) -> Self {
        let row = |pick: fn(&Parts) -> &Histogram| {
            TimeRow::of(parts.iter().map(|parts| pick(parts)), &to_ns)
        };
        let mut own_service = histogram_ns();
        parts.iter().for_each(|parts| parts.own_service.add_to(&mut own_service, &to_ns));
        Self {
            own_service: LatencyRow::of(&own_service),
            nic_wait: stamped.then(|| row(|parts| &parts.nic_wait)),
            queue_wait: row(|parts| &parts.queue_wait),
            service: row(|parts| &parts.service),
            order_wait: row(|parts| &parts.order_wait),
            transmit: row(|parts| &parts.transmit),
        }
    }
}

/// The parts of both classes.
#[derive(Clone, Debug, Serialize)]
pub struct LatencyParts {
    /// One of so many bursts of the cheap stage was measured.
    pub every_bursts: u32,
    pub cheap: PartRows,
    pub expensive: PartRows,
}

/// A row per class and part; `None` if nothing was measured.
pub(super) fn parts_table(parts: &LatencyParts) -> Option<Table> {
    let mut table = table(&["part", "sampled", "p50", "p99", "p99.9", "max"]);
    for (class, rows) in [("cheap", &parts.cheap), ("expensive", &parts.expensive)] {
        let parts = [
            ("NIC wait", rows.nic_wait),
            ("queue wait", Some(rows.queue_wait)),
            ("service", Some(rows.service)),
            ("order wait", Some(rows.order_wait)),
            ("transmit", Some(rows.transmit)),
        ];
        for (name, row) in parts
            .into_iter()
            .filter_map(|(name, row)| Some((name, row?)))
            .filter(|(_, row)| row.pkts > 0)
        {
            let mut cells = vec![format!("{class} {name}"), grouped(row.pkts)];
            cells.extend(row.time.cells());
            table.add_row(cells);
        }
    }
    (table.row_count() > 0).then_some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_of_all_lcores_and_unknown_parts_are_none() {
        let lcores = [Parts::default(), Parts::default()];
        lcores[0].service.record(100, 3);
        lcores[1].service.record(1000, 1);
        let rows = PartRows::of(&[&lcores[0], &lcores[1]], false, |ticks| ticks * 2);
        assert!(rows.nic_wait.is_none());
        assert_eq!(rows.service.pkts, 4);
        assert!(
            (200..=206).contains(&rows.service.time.p50_ns)
                && (2000..=2060).contains(&rows.service.time.max_ns),
            "{rows:?}"
        );
        let parts = LatencyParts { every_bursts: 16, cheap: rows, expensive: PartRows::default() };
        let printed = parts_table(&parts).unwrap().to_string();
        assert!(
            printed.contains("cheap service")
                && !printed.contains("NIC wait")
                && !printed.contains("expensive"),
            "{printed}"
        );
    }
}
