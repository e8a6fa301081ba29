//! The parts of mpfwd's report that are shown, and the difference of two.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use mpfwd_common::latency::{Bucket, LatencyRow};
use mpfwd_common::report::Incident;

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Report {
    pub mode: String,
    pub pools: Option<String>,
    pub forward_mode: String,
    pub elapsed_s: f64,
    pub rx_pkts: u64,
    pub tx_pkts: u64,
    pub shed_pkts: u64,
    pub drops: BTreeMap<String, u64>,
    pub mbufs: u64,
    pub mbufs_free: u64,
    pub latency: Option<Latency>,
    pub lcores: Vec<Lcore>,
    pub queues: Vec<Queue>,
    pub ports: Vec<Port>,
    pub incidents: Vec<Incident>,
    pub live: Live,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Live {
    pub draining: bool,
    pub shard_pkts: Vec<u64>,
    pub links_up: Vec<bool>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Latency {
    pub source: String,
    pub cheap: LatencyRow,
    pub expensive: LatencyRow,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Lcore {
    pub lcore: u32,
    pub cpu: u32,
    pub main: bool,
    pub pool: String,
    pub rx_pkts: u64,
    pub tx_pkts: u64,
    pub shed_pkts: u64,
    pub taken_pkts: u64,
    pub drops: BTreeMap<String, u64>,
    pub activity_ns: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Queue {
    pub port: u16,
    pub direction: String,
    pub queue: u16,
    pub lcores: Vec<u32>,
    pub pkts: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Port {
    pub port: u16,
    pub name: String,
    pub lost: Option<String>,
    pub device: Device,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Device {
    pub imissed: u64,
    pub rx_nombuf: u64,
}

impl Report {
    pub(super) fn dropped(&self) -> u64 {
        self.drops.values().sum()
    }
}

impl Lcore {
    pub(super) fn dropped(&self) -> u64 {
        self.drops.values().sum()
    }
}

/// Latencies of the packets between two reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recent {
    pub pkts: u64,
    pub p50_ns: u64,
    pub p99_ns: u64,
    pub p999_ns: u64,
}

impl Recent {
    /// `None` without packets. Both reports are of one run, whose buckets
    /// always have the same bounds.
    pub(super) fn between(before: &LatencyRow, after: &LatencyRow) -> Option<Self> {
        let earlier: HashMap<u64, u64> = before.buckets.iter().copied().collect();
        let since = |&(ns, count): &Bucket| {
            let count = count.saturating_sub(earlier.get(&ns).copied().unwrap_or(0));
            (count > 0).then_some((ns, count))
        };
        let buckets: Vec<Bucket> = after.buckets.iter().filter_map(since).collect();
        let pkts: u64 = buckets.iter().map(|(_, count)| count).sum();
        let at = |share: f64| {
            let wanted = ((share * pkts as f64).ceil() as u64).max(1);
            let mut seen = 0;
            let found = buckets.iter().find(|(_, count)| {
                seen += count;
                seen >= wanted
            });
            found.map(|(ns, _)| *ns)
        };
        Some(Self { pkts, p50_ns: at(0.5)?, p99_ns: at(0.99)?, p999_ns: at(0.999)? })
    }
}

/// The shares of an lcore's time by activity, between two reports.
pub(super) fn shares(before: &Lcore, after: &Lcore, activities: [&str; 5]) -> [f64; 5] {
    let ns = |of: &Lcore, activity: &str| of.activity_ns.get(activity).copied().unwrap_or(0);
    let spent = activities.map(|name| ns(after, name).saturating_sub(ns(before, name)) as f64);
    let all: f64 = spent.iter().sum();
    spent.map(|ns| if all > 0.0 { ns / all } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_packets_between_two_reports() {
        let row = |buckets: &[Bucket]| LatencyRow { buckets: buckets.into(), ..Default::default() };
        let before = row(&[(1_000, 1_000_000), (9_000, 5)]);
        let after = row(&[(1_000, 1_000_900), (2_000, 99), (9_000, 6)]);
        let recent = Recent::between(&before, &after).expect("packets");
        assert_eq!(recent, Recent { pkts: 1_000, p50_ns: 1_000, p99_ns: 2_000, p999_ns: 2_000 });
        assert_eq!(Recent::between(&after, &after), None);
    }
}
