//! What came of guessing what a packet will cost from what its flow's packets
//! have.

use std::fmt;

use serde::Serialize;

use super::Counter;
use mpfwd_common::text::grouped;

/// What one lcore counts. One writer.
#[derive(Debug, Default)]
pub struct PredictionCounts {
    /// Packets of unknown cost that were deferred at once.
    pub predicted_pkts: Counter,
    /// Those of them, among what this lcore then ran, that were cheaper than
    /// the cutoff.
    pub wrong_pkts: Counter,
}

/// The same in the report, over all lcores.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PredictionRow {
    pub predicted_pkts: u64,
    pub wrong_pkts: u64,
    /// Flows that have been expensive lately, at the end of the run.
    pub live_flows: usize,
}

impl PredictionRow {
    pub fn of(lcores: &[&PredictionCounts], live_flows: usize) -> Self {
        let sum = |count: fn(&PredictionCounts) -> &Counter| {
            lcores.iter().map(|lcore| count(lcore).get()).sum()
        };
        Self {
            predicted_pkts: sum(|lcore| &lcore.predicted_pkts),
            wrong_pkts: sum(|lcore| &lcore.wrong_pkts),
            live_flows,
        }
    }
}

impl fmt::Display for PredictionRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} packets were deferred because of what their flows cost before, {} of them without need; {} such flows at the end",
            grouped(self.predicted_pkts),
            grouped(self.wrong_pkts),
            grouped(self.live_flows as u64)
        )
    }
}
