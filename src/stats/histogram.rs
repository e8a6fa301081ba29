//! A log-linear histogram that its lcore updates in a few cycles. It only holds
//! counts; percentiles, merging and files are hdrhistogram's.

use hdrhistogram::Histogram as HdrHistogram;
use multiversion::multiversion;

use super::Counter;
use super::stamps::Ages;

/// Each power of two is split into `2^PRECISION_BITS` buckets of equal width: a
/// value is known to 1.6 %.
const PRECISION_BITS: u32 = 6;
const SPLIT: usize = 1 << PRECISION_BITS;
/// Values up to 2^40 ticks (minutes) have buckets. Longer ones count in the last
/// bucket.
const VALUE_BITS: u32 = 40;
const BUCKETS: usize = SPLIT * VALUE_BITS as usize;
/// The buckets that ages use: ages have 31 bits.
const FINE_BUCKETS: usize = 32 * SPLIT;
/// Ages that are sorted into buckets at once.
const AT_ONCE: usize = 64;

/// Counts of values in ticks. One writer, any number of readers.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[Counter; BUCKETS]>,
}

impl Histogram {
    pub fn new() -> Self {
        Self { buckets: Box::new([const { Counter::new() }; BUCKETS]) }
    }

    /// Counts `count` packets of `ticks` each. Only the owner may call this.
    #[inline(always)]
    pub fn record(&self, ticks: u64, count: u64) {
        self.buckets[bucket(ticks)].add(count);
    }

    /// Undoes a `record`. Only the owner may call this.
    pub fn take_back(&self, ticks: u64, count: u64) {
        self.buckets[bucket(ticks)].add(count.wrapping_neg());
    }

    /// Counts stamped packets, each with its age. Ages below one tick count as
    /// one tick. Ages must be below 2^31 ticks.
    #[inline]
    pub fn record_ages(&self, stamps: &[u64], ages: Ages) {
        let mut at = [0; AT_ONCE];
        for stamps in stamps.chunks(AT_ONCE) {
            age_buckets(stamps, ages, &mut at);
            at[..stamps.len()]
                .iter()
                .for_each(|&at| self.buckets[usize::from(at) % FINE_BUCKETS].add(1));
        }
    }

    /// Adds all counts to `into`, in nanoseconds by `to_ns`. Each bucket counts
    /// as its highest value, so that no percentile is reported too low.
    pub fn add_to(&self, into: &mut HdrHistogram<u64>, to_ns: impl Fn(u64) -> u64) {
        for (at, counter) in self.buckets.iter().enumerate() {
            let count = counter.get();
            if count > 0 {
                into.saturating_record_n(to_ns(highest(at)), count);
            }
        }
    }
}

/// The summed counts of some histograms at one moment.
#[derive(Clone, Debug)]
pub struct HistogramCounts(Box<[u64; BUCKETS]>);

impl HistogramCounts {
    /// Reads each count once, while the owners may go on counting.
    pub fn of<'h>(histograms: impl IntoIterator<Item = &'h Histogram>) -> Self {
        let mut sums = Self::default();
        for histogram in histograms {
            sums.0
                .iter_mut()
                .zip(histogram.buckets.iter())
                .for_each(|(sum, counter)| *sum += counter.get());
        }
        sums
    }

    /// The same counts in few buckets: as many values as are not above each of
    /// the rising `bounds_ns` and above the one before, then the rest. Each value
    /// counts as the highest of its bucket, as in reports.
    pub fn coarse(&self, bounds_ns: &[u64], to_ns: impl Fn(u64) -> u64) -> CoarseCounts {
        let mut coarse = CoarseCounts { counts: vec![0; bounds_ns.len() + 1], sum_ns: 0 };
        for (at, &count) in self.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            let ns = to_ns(highest(at));
            coarse.counts[bounds_ns.partition_point(|&bound| bound < ns)] += count;
            coarse.sum_ns += u128::from(ns) * u128::from(count);
        }
        coarse
    }

    /// The quantile `share`, from 0 to 1, of the values counted since `before`,
    /// in ticks. Rounded up to the end of the bucket. `None` without values.
    pub fn quantile_since(&self, before: &Self, share: f64) -> Option<u64> {
        let since = |at: usize| self.0[at] - before.0[at];
        let total: u64 = (0..BUCKETS).map(since).sum();
        let wanted = ((share * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        (0..BUCKETS)
            .find(|&at| {
                seen += since(at);
                seen >= wanted
            })
            .map(highest)
    }
}

/// See [`HistogramCounts::coarse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoarseCounts {
    pub counts: Vec<u64>,
    pub sum_ns: u128,
}

impl Default for HistogramCounts {
    fn default() -> Self {
        Self(Box::new([0; BUCKETS]))
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

/// A double already holds the bucket: the magnitude of the value, then the bits
/// behind its leading one. Converting and truncating takes a third of the
/// instructions of counting zeros. Zero counts as one. Small values leave some
/// buckets empty.
#[inline(always)]
fn bucket(value: u64) -> usize {
    buckets_behind(1.0, value.max(1) as i64 as f64).min(BUCKETS - 1)
}

/// As `bucket`, for fixed-point values with 32 fractional bits, which the
/// double's exponent absorbs. With at most 31 integer bits, rounded up, no value
/// lies beyond `FINE_BUCKETS`. A loop of its own, because some CPUs vectorise
/// it.
#[multiversion(targets("x86_64+avx512f"))]
fn age_buckets(stamps: &[u64], ages: Ages, at: &mut [u16; AT_ONCE]) {
    for (at, &stamp) in at.iter_mut().zip(stamps) {
        *at = fine_bucket(ages.of(stamp)) as u16;
    }
}

#[inline(always)]
fn fine_bucket(value: i64) -> usize {
    const TICK: f64 = (1u64 << 32) as f64;
    buckets_behind(TICK, (value as f64).max(TICK))
}

/// The distance in buckets from the first bucket of `one`, a power of two that
/// is not greater than `value`.
#[inline(always)]
fn buckets_behind(one: f64, value: f64) -> usize {
    const CUT_OFF: u32 = f64::MANTISSA_DIGITS - 1 - PRECISION_BITS;
    (value.to_bits() >> CUT_OFF).wrapping_sub(one.to_bits() >> CUT_OFF) as usize
}

/// The highest value in a bucket.
fn highest(at: usize) -> u64 {
    let (magnitude, within) = (at / SPLIT, at % SPLIT);
    (((SPLIT + within + 1) as u64) << magnitude).div_ceil(SPLIT as u64) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn coarse_counts_are_of_the_same_values() {
        let histograms = [Histogram::new(), Histogram::new()];
        for (at, &(ticks, count)) in
            [(1, 3), (100, 5), (130, 7), (5_000, 2), (1 << 38, 1)].iter().enumerate()
        {
            histograms[at % 2].record(ticks, count);
        }
        let counts = HistogramCounts::of(&histograms);
        let coarse = counts.coarse(&[100, 200, 20_000], |ticks| ticks * 2);
        assert_eq!(coarse.counts, [3, 5, 9, 1], "a bound is in the bucket below it");
        let mut hdr = super::super::histogram_ns();
        histograms.iter().for_each(|histogram| histogram.add_to(&mut hdr, |ticks| ticks * 2));
        let mean_ns = coarse.sum_ns as f64 / hdr.len() as f64;
        assert!((mean_ns / hdr.mean() - 1.0).abs() < 0.001, "{mean_ns} {}", hdr.mean());
    }

    proptest! {
        #[test]
        fn fine_values_share_the_bucket_of_their_ticks(bits in 1..=31u32, value in 1..1i64 << 31, fraction in 0..1i64 << 32) {
            let value = (value >> (31 - bits)).max(1);
            // A fraction of a tick, or rounding up, may add one.
            let top = highest(fine_bucket(value << 32 | fraction)) as i64;
            prop_assert!(top >= value && top <= highest(bucket(value as u64 + 1)) as i64, "{} in {}", value, top);
            prop_assert_eq!(fine_bucket(value << 32), bucket(value as u64));
            prop_assert_eq!(fine_bucket(-value), bucket(1));
        }

        /// With this CPU's version of `age_buckets`, and any remainder of its
        /// vector width.
        #[test]
        fn ages_of_a_burst_share_the_buckets_of_single_ages(ages in prop::collection::vec(0..1u64 << 30, 0..200), ticks_per_unit in 1..1u64 << 34) {
            use crate::stats::stamps::Conversion;
            let conversion = Conversion { clock: 1 << 60, ticks: 1 << 59, ticks_per_unit };
            let stamps: Vec<_> = ages.iter().map(|age| (1 << 60) - ((u128::from(*age) << 32) / u128::from(ticks_per_unit)) as u64).collect();
            let (at_once, one_by_one) = (Histogram::new(), Histogram::new());
            at_once.record_ages(&stamps, conversion.ages(1 << 59));
            let age = |stamp| conversion.ages(1 << 59).of(stamp);
            stamps.iter().for_each(|&stamp| one_by_one.buckets[fine_bucket(age(stamp))].add(1));
            prop_assert!(at_once.buckets.iter().zip(one_by_one.buckets.iter()).all(|(a, b)| a.get() == b.get()));
        }

        #[test]
        fn a_bucket_holds_its_value_to_its_precision(bits in 1..=VALUE_BITS, value in 1..1u64 << VALUE_BITS) {
            let value = (value >> (VALUE_BITS - bits)).max(1);
            let top = highest(bucket(value));
            prop_assert!(top >= value);
            prop_assert!(top - value <= value >> (PRECISION_BITS));
            prop_assert_eq!(bucket(top), bucket(value));
            prop_assert!(bucket(top + 1) > bucket(value) || top + 1 == 1 << VALUE_BITS);
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
    fn percentiles_since_a_moment_ignore_earlier_values() {
        let histogram = Histogram::new();
        histogram.record(1_000_000, 1000);
        let before = HistogramCounts::of([&histogram]);
        assert_eq!(before.quantile_since(&before, 0.5), None);
        (1..=100).for_each(|value| histogram.record(value * 100, 1));
        let now = HistogramCounts::of([&histogram]);
        let (p50, p99) =
            (now.quantile_since(&before, 0.5).unwrap(), now.quantile_since(&before, 0.99).unwrap());
        assert!((5_000..=5_100).contains(&p50) && (9_900..=10_100).contains(&p99), "{p50} {p99}");
        assert!(now.quantile_since(&HistogramCounts::default(), 0.5).unwrap() >= 1_000_000);
    }

    #[test]
    fn whole_bursts_and_endless_times_count() {
        let histogram = Histogram::new();
        histogram.record(100, 32);
        histogram.record(u64::MAX, 2);
        let total: u64 = histogram.buckets.iter().map(Counter::get).sum();
        assert_eq!(total, 34);
        assert_eq!(histogram.buckets[BUCKETS - 1].get(), 2);
        histogram.take_back(100, 31);
        assert_eq!(histogram.buckets[bucket(100)].get(), 1);
    }
}
