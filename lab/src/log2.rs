//! Latencies by powers of two, in the layout of the benchmark that first showed
//! micropools: a row of 49 counts, and the bucket's number for some quantiles.

use mpfwd_common::latency::Bucket;

/// Bucket i counts latencies from 2^i to 2^(i+1) nanoseconds. The first bucket
/// begins at 0, the last one has no end.
const BUCKETS: usize = 49;

/// The quantiles with the benchmark's names for them, of which the last lacks
/// its point.
const QUANTILES: [(f64, &str); 4] = [(0.5, ".5"), (0.99, ".99"), (0.999, ".999"), (0.9995, "9995")];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Log2 {
    counts: [u64; BUCKETS],
}

impl Log2 {
    pub(super) fn of(buckets: &[Bucket]) -> Self {
        let mut counts = [0; BUCKETS];
        for &(value_ns, count) in buckets {
            counts[(value_ns.max(1).ilog2() as usize).min(BUCKETS - 1)] += count;
        }
        Self { counts }
    }

    /// The bucket that holds the `quantile`; 0 without packets.
    fn bucket(&self, quantile: f64) -> usize {
        let total: u64 = self.counts.iter().sum();
        let rank = ((quantile * total as f64).ceil() as u64).max(1);
        let below = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        below.take_while(|&sum| sum < rank).count() % BUCKETS
    }
}

impl std::fmt::Display for Log2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts: Vec<String> = self.counts.iter().map(|count| format!("{count:6}")).collect();
        let quantiles =
            QUANTILES.map(|(quantile, name)| format!("{name}: {}", self.bucket(quantile)));
        write!(f, "latency:[{}]\nQuartiles: {}", counts.join(","), quantiles.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Four outputs of the original benchmark.
    const SEED: [&str; 4] = [
        "latency:[     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,    40,    86,   192,   366,436415,4551334, 11068,   417,    81,     1,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0]\nQuartiles: .5: 21, .99: 21, .999: 22, 9995: 22",
        "latency:[     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,    51,   158,   254,225595,4218762,523474, 25067,  6587,    52,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0]\nQuartiles: .5: 20, .99: 21, .999: 23, 9995: 23",
        "latency:[     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,    26,    74,   596,  7986,4722059,268789,     1,   353,   107,     9,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0]\nQuartiles: .5: 20, .99: 21, .999: 21, 9995: 21",
        "latency:[     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,    20,   130,   496, 14769,4367348,587184, 25853,  4130,    70,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0]\nQuartiles: .5: 20, .99: 21, .999: 22, 9995: 23",
    ];

    #[test]
    fn the_layout_and_the_quantiles_are_those_of_the_first_benchmark() {
        for text in SEED {
            let inner = text.split(['[', ']']).nth(1).unwrap();
            let counts: Vec<u64> =
                inner.split(',').map(|count| count.trim().parse().unwrap()).collect();
            let buckets: Vec<Bucket> =
                counts.iter().enumerate().map(|(at, &count)| (1 << at, count)).collect();
            assert_eq!(Log2::of(&buckets).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn every_packet_is_in_the_bucket_of_its_power(values in prop::collection::vec(0..u64::MAX, 0..50)) {
            let log2 = Log2::of(&values.iter().map(|&value| (value, 1)).collect::<Vec<_>>());
            prop_assert_eq!(log2.counts.iter().sum::<u64>(), values.len() as u64);
            for value in values {
                prop_assert!(log2.counts[(63 - value.max(1).leading_zeros() as usize).min(BUCKETS - 1)] > 0);
            }
        }
    }

    #[test]
    fn no_packets_are_in_the_first_bucket() {
        assert!(Log2::of(&[]).to_string().ends_with(".5: 0, .99: 0, .999: 0, 9995: 0"));
    }
}
