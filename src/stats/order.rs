//! What was sent out of order within flows, in the terms of RFC 4737. `order`
//! says which packets have numbers, and docs/report.md what that does not see.

use std::fmt;

use serde::Serialize;

use super::{Counter, Histogram, histogram_ns};
use mpfwd_common::text::grouped;

/// What one lcore sent. One writer.
#[derive(Debug, Default)]
pub struct OrderCounts {
    checked_pkts: Counter,
    reordered_pkts: Counter,
    parked_pkts: Counter,
    /// Of reordered packets, in packets.
    extents: Histogram,
}

impl OrderCounts {
    /// A packet with a number was sent: so many before the newest that had
    /// gone, 0 if it was the newest itself.
    #[inline]
    pub fn add_sent(&self, late_by_pkts: u64) {
        if late_by_pkts > 0 { self.add_late(late_by_pkts) } else { self.add_in_order(1) }
    }

    /// So many were sent, each the newest itself.
    #[inline]
    pub fn add_in_order(&self, pkts: u64) {
        self.checked_pkts.add(pkts);
    }

    /// One was sent so many behind the newest.
    pub fn add_late(&self, by_pkts: u64) {
        self.checked_pkts.add(1);
        self.reordered_pkts.add(1);
        self.extents.record(by_pkts, 1);
    }

    /// A packet was ready before those that had come before it in its flow.
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
    /// Packets whose place was looked at when they were sent.
    pub checked_pkts: u64,
    /// Those of them that were sent behind one of their bucket that had arrived
    /// later (RFC 4737, section 3.3).
    pub reordered_pkts: u64,
    /// The share of all packets sent that these are.
    pub reordered_ratio: f64,
    /// By how many packets of their bucket they were late.
    pub extent_p50_pkts: u64,
    pub extent_p99_pkts: u64,
    pub extent_max_pkts: u64,
    /// Packets that were ready, and were held back until others of their flow
    /// had gone.
    pub parked_pkts: u64,
    /// The most packets that may have a place in a flow at a time, per receive
    /// queue.
    pub records_per_queue: usize,
}

impl OrderRow {
    /// Of all lcores' `counts` together; `tx_pkts`: all that they sent.
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
        write!(
            f,
            "order {}: {reordered} packets reordered ({:.6} of those sent; {checked} checked)",
            self.kept, self.reordered_ratio
        )?;
        if self.reordered_pkts > 0 {
            let [p50, p99, max] =
                [self.extent_p50_pkts, self.extent_p99_pkts, self.extent_max_pkts].map(grouped);
            write!(f, ", late by p50 {p50}, p99 {p99}, max {max} packets")?;
        }
        if self.parked_pkts > 0 {
            write!(f, "; {} waited for others of their flow", grouped(self.parked_pkts))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_counts_with_its_extent() {
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
            "order none: 2 packets reordered (0.050000 of those sent; 4 checked), late by p50 3, p99 5, max 5 packets; 1 waited for others of their flow"
        );
    }
}
