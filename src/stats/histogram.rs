//! A log-linear histogram that its lcore writes in a few cycles. Percentiles, merging and files are hdrhistogram's: this only
//! holds the counts until then.

use hdrhistogram::Histogram as HdrHistogram;

use super::Counter;

/// Each power of two is split into `2^PRECISION_BITS` buckets of equal width: a value is known to 1.6 %.
const PRECISION_BITS: u32 = 6;
const SPLIT: usize = 1 << PRECISION_BITS;
/// Values up to 2^40 ticks (minutes) have buckets; longer ones count in the last.
const VALUE_BITS: u32 = 40;
const BUCKETS: usize = SPLIT * (VALUE_BITS - PRECISION_BITS + 1) as usize;

/// Counts of values in ticks. One writer, any number of readers.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[Counter]>,
}

impl Histogram {
    pub fn new() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| Counter::default()).collect() }
    }

    /// Counts `count` packets that all took `ticks`. Only the owner may call this.
    #[inline(always)]
    pub fn record(&self, ticks: u64, count: u64) {
        self.buckets[bucket(ticks)].add(count);
    }

    /// Adds all that was recorded to `into`, as nanoseconds by `to_ns`; each bucket counts as its highest value, so that no
    /// percentile is reported lower than it was.
    pub fn add_to(&self, into: &mut HdrHistogram<u64>, to_ns: impl Fn(u64) -> u64) {
        for (at, counter) in self.buckets.iter().enumerate() {
            let count = counter.get();
            if count > 0 {
                into.saturating_record_n(to_ns(highest(at)), count);
            }
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

/// The lowest `SPLIT` values have a bucket each; above, the bits behind the leading one choose the bucket.
#[inline(always)]
fn bucket(value: u64) -> usize {
    let value = value.min((1 << VALUE_BITS) - 1);
    let magnitude = (value | (SPLIT as u64 - 1)).ilog2() + 1 - PRECISION_BITS;
    let shift = magnitude.saturating_sub(1);
    ((value >> shift) as usize) + (shift as usize) * SPLIT
}

/// The highest value that `bucket` puts there.
fn highest(at: usize) -> u64 {
    if at < 2 * SPLIT {
        return at as u64;
    }
    let shift = at / SPLIT - 1;
    let within = (at - shift * SPLIT) as u64;
    ((within + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_holds_its_value_to_its_precision(value in 0..1u64 << VALUE_BITS) {
            let top = highest(bucket(value));
            prop_assert!(top >= value);
            prop_assert!(top - value <= value >> (PRECISION_BITS));
            prop_assert_eq!(bucket(top), bucket(value));
            prop_assert!(bucket(top + 1) == bucket(value) + 1 || top + 1 == 1 << VALUE_BITS);
        }

        #[test]
        fn percentiles_match_a_sorted_list(mut values in prop::collection::vec(1..1_000_000_000u64, 1..500), quantile in 0.0..1.0f64) {
            let histogram = Histogram::new();
            values.iter().for_each(|&value| histogram.record(value, 1));
            let mut hdr = HdrHistogram::new_with_bounds(1, 1 << 42, 3).unwrap();
            histogram.add_to(&mut hdr, |ticks| ticks);
            values.sort_unstable();
            let rank = ((quantile * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let (exact, seen) = (values[rank - 1] as f64, hdr.value_at_quantile(quantile) as f64);
            prop_assert!((exact * 0.998..=exact * 1.02).contains(&seen), "{} instead of {}", seen, exact);
        }
    }

    #[test]
    fn counts_whole_bursts_and_endless_times() {
        let histogram = Histogram::new();
        histogram.record(100, 32);
        histogram.record(u64::MAX, 2);
        let total: u64 = histogram.buckets.iter().map(Counter::get).sum();
        assert_eq!(total, 34);
        assert_eq!(histogram.buckets[BUCKETS - 1].get(), 2);
    }
}
