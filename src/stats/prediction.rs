//! How often `--predict` deferred a packet by its flow's history, and was
//! wrong.

use std::fmt;

use serde::Serialize;

use super::Counter;
use mpfwd_common::text::grouped;

/// One lcore's counts. One writer.
#[derive(Debug, Default)]
pub struct PredictionCounts {
    /// Packets of unknown cost that this lcore deferred without trying them.
    pub predicted_pkts: Counter,
    /// Predicted packets that this lcore ran and that cost less than the
    /// cutoff.
    pub wrong_pkts: Counter,
}

/// The same in the report, over all lcores.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PredictionRow {
    pub predicted_pkts: u64,
    pub wrong_pkts: u64,
    /// Flows that were known as expensive at the end of the run.
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
            "prediction: deferred {}, wrongly {}; expensive flows at the end {}",
            grouped(self.predicted_pkts),
            grouped(self.wrong_pkts),
            grouped(self.live_flows as u64)
        )
    }
}
