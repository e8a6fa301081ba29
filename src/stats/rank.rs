//! What a worker counted of the order in which it took from the shards: `shed::RankMeter` says what each count means.

use super::Counter;

/// Sums over samples. One writer.
#[derive(Debug, Default)]
pub struct RankCounts {
    samples: Counter,
    at_least: Counter,
    at_most: Counter,
    overtakes: Counter,
}

impl RankCounts {
    /// One take: between `at_least` and `at_most` older items were still queued, and `overtakes` younger ones had been taken before.
    #[inline]
    pub fn add_sample(&self, at_least: u64, at_most: u64, overtakes: u64) {
        self.samples.add(1);
        self.at_least.add(at_least);
        self.at_most.add(at_most);
        self.overtakes.add(overtakes);
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
