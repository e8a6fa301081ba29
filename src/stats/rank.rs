//! What a worker counted of the order in which it took from the shards:
//! `shed::RankMeter` says what each count means.

use serde::Serialize;

use super::Counter;
use crate::shed::RankSample;

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

    /// Takes that were looked at.
    pub fn samples(&self) -> u64 {
        self.samples.get()
    }

    /// The mean rank error is not less than this; 0 without samples.
    pub fn mean_at_least(&self) -> f64 {
        self.mean(&self.at_least)
    }

    /// The mean rank error is not more than this.
    pub fn mean_at_most(&self) -> f64 {
        self.mean(&self.at_most)
    }

    /// An item is overtaken not less often than this, in the mean.
    pub fn mean_overtakes(&self) -> f64 {
        self.mean(&self.overtakes)
    }

    fn mean(&self, sum: &Counter) -> f64 {
        sum.get() as f64 / self.samples.get().max(1) as f64
    }

    /// All workers' counts together.
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
    /// Takes that were looked at.
    pub samples: u64,
    /// Older packets that were still queued when one was taken, in the mean:
    /// between these two.
    pub rank_error_at_least: f64,
    pub rank_error_at_most: f64,
    /// How often a packet was overtaken, in the mean: not less than this.
    pub overtakes_at_least: f64,
    /// What theory says of the mean rank error; null where it grows without
    /// bound.
    pub rank_error_theory: Option<f64>,
}

impl RankRow {
    /// Of all workers' `counts` together.
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
            self.rank_error_theory.map_or("no bound".to_owned(), |theory| format!("{theory:.2}"));
        write!(
            f,
            "shard pick {}, {} shards: rank error {:.2} to {:.2} (theory: {theory}), overtakes {:.2} or more; {} samples",
            self.shard_pick,
            self.shards,
            self.rank_error_at_least,
            self.rank_error_at_most,
            self.overtakes_at_least,
            self.samples
        )
    }
}
