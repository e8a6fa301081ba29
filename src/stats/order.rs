//! Reordering within flows, in the terms of RFC 4737. `micropools::order` says
//! which packets are numbered, docs/report.md what the figures miss.

use std::fmt;

use serde::Serialize;

use super::{Counter, Histogram, histogram_ns};
use mpfwd_common::text::grouped;

/// The packets that one lcore sent. One writer.
#[derive(Debug, Default)]
pub struct OrderCounts {
    checked_pkts: Counter,
    reordered_pkts: Counter,
    parked_pkts: Counter,
    /// Reordering extents of reordered packets, in packets.
    extents: Histogram,
}

impl OrderCounts {
    /// Counts a numbered packet that was sent. `late_by_pkts`: the newest number
    /// sent before it less its own, 0 if it is the newest itself.
    #[inline]
    pub fn add_sent(&self, late_by_pkts: u64) {
        if late_by_pkts > 0 { self.add_late(late_by_pkts) } else { self.add_in_order(1) }
    }

    /// Counts numbered packets that were sent in order.
    #[inline]
    pub fn add_in_order(&self, pkts: u64) {
        self.checked_pkts.add(pkts);
    }

    /// Counts one that was sent `by_pkts` behind the newest.
    pub fn add_late(&self, by_pkts: u64) {
        self.checked_pkts.add(1);
        self.reordered_pkts.add(1);
        self.extents.record(by_pkts, 1);
    }

    /// Numbered packets that were sent.
    pub fn checked_pkts(&self) -> u64 {
        self.checked_pkts.get()
    }

    /// Those that were sent after a later one.
    pub fn reordered_pkts(&self) -> u64 {
        self.reordered_pkts.get()
    }

    /// Packets that waited for their predecessors.
    pub fn parked_pkts(&self) -> u64 {
        self.parked_pkts.get()
    }

    /// Counts a packet that was ready before its predecessors in its flow were
    /// sent.
    #[inline]
    pub fn add_parked(&self) {
        self.parked_pkts.add(1);
    }
}

/// The same in the report, over all lcores.
#[derive(Clone, Debug, Serialize)]
pub struct OrderRow {
    /// flow or none.
    pub kept: String,
    /// Packets whose number was checked when they were sent.
    pub checked_pkts: u64,
    /// Checked packets that were sent after a later arrival of their bucket (RFC
    /// 4737, section 3.3).
    pub reordered_pkts: u64,
    /// Their share of all packets sent.
    pub reordered_ratio: f64,
    /// How late they were, in packets of their bucket.
    pub extent_p50_pkts: u64,
    pub extent_p99_pkts: u64,
    pub extent_max_pkts: u64,
    /// Packets that were ready and were held until their predecessors in the
    /// flow had been sent.
    pub parked_pkts: u64,
    /// Packets of a receive queue that may hold a place at the same time.
    pub records_per_queue: usize,
}

impl OrderRow {
    /// Sums up all lcores' `counts`. `tx_pkts`: the packets that they sent.
    pub fn new<'c>(
        kept: String,
        records_per_queue: usize,
        tx_pkts: u64,
        counts: impl Iterator<Item = &'c OrderCounts> + Clone,
    ) -> Self {
        let sum = |count: fn(&OrderCounts) -> &Counter| {
            counts.clone().map(|counts| count(counts).get()).sum::<u64>()
        };
        let mut extents = histogram_ns();
        counts.clone().for_each(|counts| counts.extents.add_to(&mut extents, |pkts| pkts));
        let reordered_pkts = sum(|counts| &counts.reordered_pkts);
        Self {
            kept,
            checked_pkts: sum(|counts| &counts.checked_pkts),
            reordered_pkts,
            reordered_ratio: reordered_pkts as f64 / tx_pkts.max(1) as f64,
            extent_p50_pkts: extents.value_at_quantile(0.5),
            extent_p99_pkts: extents.value_at_quantile(0.99),
            extent_max_pkts: extents.max(),
            parked_pkts: sum(|counts| &counts.parked_pkts),
            records_per_queue,
        }
    }
}

impl fmt::Display for OrderRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [reordered, checked] = [self.reordered_pkts, self.checked_pkts].map(grouped);
        let parked = grouped(self.parked_pkts);
        write!(
            f,
            "order {}: checked {checked}, parked {parked}, reordered {reordered}",
            self.kept
        )?;
        if self.reordered_pkts > 0 {
            let [p50, p99, max] =
                [self.extent_p50_pkts, self.extent_p99_pkts, self.extent_max_pkts].map(grouped);
            let ratio = self.reordered_ratio;
            write!(f, " ({ratio:.6} of sent)\n  extent: p50 {p50}, p99 {p99}, max {max} packets")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_packets_count_with_their_extent() {
        let lcores = [OrderCounts::default(), OrderCounts::default()];
        [0, 0, 3].into_iter().for_each(|late| lcores[0].add_sent(late));
        lcores[1].add_sent(5);
        lcores[1].add_parked();
        let row = OrderRow::new("none".into(), 8192, 40, lcores.iter());
        assert_eq!(
            (row.checked_pkts, row.reordered_pkts, row.reordered_ratio, row.parked_pkts),
            (4, 2, 0.05, 1)
        );
        assert_eq!((row.extent_p50_pkts, row.extent_max_pkts), (3, 5));
        let text = row.to_string();
        assert_eq!(
            text,
            "order none: checked 4, parked 1, reordered 2 (0.050000 of sent)\n  extent: p50 3, p99 5, max 5 packets"
        );
    }
}
