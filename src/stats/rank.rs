//! Rank errors: the distance of a worker's dequeues from the order of arrival.
//! `shed::RankMeter` defines the counts.

use serde::Serialize;

use super::Counter;
use crate::shed::RankSample;
use mpfwd_common::text::grouped;

/// Sums over samples. One writer.
#[derive(Debug, Default)]
pub struct RankCounts {
    samples: Counter,
    at_least: Counter,
    at_most: Counter,
    overtakes: Counter,
}

impl RankCounts {
    /// Adds one sampled dequeue.
    #[inline]
    pub fn add(&self, sample: RankSample) {
        self.samples.add(1);
        self.at_least.add(sample.at_least);
        self.at_most.add(sample.at_most);
        self.overtakes.add(sample.overtakes);
    }

    /// Sampled dequeues.
    pub fn samples(&self) -> u64 {
        self.samples.get()
    }

    /// Samples; then over all of them the bounds of the rank error, and overtakes.
    pub fn sums(&self) -> [u64; 4] {
        [&self.samples, &self.at_least, &self.at_most, &self.overtakes].map(Counter::get)
    }

    /// Lower bound of the mean rank error; 0 without samples.
    pub fn mean_at_least(&self) -> f64 {
        self.mean(&self.at_least)
    }

    /// Upper bound of the mean rank error.
    pub fn mean_at_most(&self) -> f64 {
        self.mean(&self.at_most)
    }

    /// Lower bound of the mean number of overtakes.
    pub fn mean_overtakes(&self) -> f64 {
        self.mean(&self.overtakes)
    }

    fn mean(&self, sum: &Counter) -> f64 {
        sum.get() as f64 / self.samples.get().max(1) as f64
    }

    /// The sum of all workers' counts.
    pub fn sum<'a>(all: impl Iterator<Item = &'a Self>) -> Self {
        let sum = Self::default();
        for one in all {
            sum.samples.add(one.samples.get());
            sum.at_least.add(one.at_least.get());
            sum.at_most.add(one.at_most.get());
            sum.overtakes.add(one.overtakes.get());
        }
        sum
    }
}

/// The same in the report, over all workers.
#[derive(Clone, Debug, Serialize)]
pub struct RankRow {
    /// How shards were picked.
    pub shard_pick: String,
    pub shards: usize,
    /// Sampled dequeues.
    pub samples: u64,
    /// Mean number of older packets in other shards at a dequeue: a lower and
    /// an upper bound.
    pub rank_error_at_least: f64,
    pub rank_error_at_most: f64,
    /// Mean number of times that a packet was overtaken: a lower bound.
    pub overtakes_at_least: f64,
    /// Expected mean rank error. None where it grows without bound.
    pub rank_error_theory: Option<f64>,
}

impl RankRow {
    /// `counts`: the sum over all workers.
    pub fn new(
        shard_pick: String,
        shards: usize,
        counts: &RankCounts,
        rank_error_theory: Option<f64>,
    ) -> Self {
        Self {
            shard_pick,
            shards,
            samples: counts.samples(),
            rank_error_at_least: counts.mean_at_least(),
            rank_error_at_most: counts.mean_at_most(),
            overtakes_at_least: counts.mean_overtakes(),
            rank_error_theory,
        }
    }
}

impl std::fmt::Display for RankRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let theory =
            self.rank_error_theory.map_or("unbounded".to_owned(), |theory| format!("{theory:.2}"));
        write!(
            f,
            "shards: {}, pick {}, rank error {:.2} to {:.2} (theory {theory}), overtakes >= {:.2}\n  {} samples",
            self.shards,
            self.shard_pick,
            self.rank_error_at_least,
            self.rank_error_at_most,
            self.overtakes_at_least,
            grouped(self.samples)
        )
    }
}
