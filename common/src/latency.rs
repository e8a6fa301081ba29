//! Latencies in reports: percentiles, the whole histogram, and the file that
//! HdrHistogram's tools read.

use std::fmt::Write;

use hdrhistogram::Histogram as HdrHistogram;
use serde::{Deserialize, Serialize, Serializer};

/// A value in nanoseconds, and the number of packets with it.
pub type Bucket = (u64, u64);

/// Latencies of one class of packets.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LatencyRow {
    pub pkts: u64,
    pub mean_ns: u64,
    pub p50_ns: u64,
    pub p90_ns: u64,
    pub p99_ns: u64,
    pub p999_ns: u64,
    pub p9999_ns: u64,
    pub max_ns: u64,
    /// The histogram by rising value, without empty buckets. Each value is the
    /// highest of its bucket.
    #[serde(serialize_with = "on_one_line")]
    pub buckets: Vec<Bucket>,
}

impl LatencyRow {
    /// `histogram` is in nanoseconds.
    pub fn of(histogram: &HdrHistogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            pkts: histogram.len(),
            mean_ns: histogram.mean().round() as u64,
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            p9999_ns: at(0.9999),
            max_ns: histogram.max(),
            buckets: histogram
                .iter_recorded()
                .map(|step| (step.value_iterated_to(), step.count_at_value()))
                .collect(),
        }
    }
}

/// A histogram of up to an hour in nanoseconds, exact to 0.1 %.
pub fn histogram_ns() -> HdrHistogram<u64> {
    HdrHistogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("constant bounds are valid")
}

/// Restores the histogram from its buckets.
pub fn of_buckets<'b>(buckets: impl IntoIterator<Item = &'b Bucket>) -> HdrHistogram<u64> {
    let mut histogram = histogram_ns();
    buckets
        .into_iter()
        .for_each(|&(value_ns, count)| histogram.saturating_record_n(value_ns, count));
    histogram
}

/// Keeps the pretty-printer from putting each of thousands of numbers on a line
/// of its own.
fn on_one_line<S: Serializer>(buckets: &[Bucket], serializer: S) -> Result<S::Ok, S::Error> {
    let text = serde_json::to_string(buckets).and_then(serde_json::value::RawValue::from_string);
    text.map_err(serde::ser::Error::custom)?.serialize(serializer)
}

/// Steps per halving of the distance to 100 %: the default of HdrHistogram's own
/// tools.
const STEPS_PER_HALF: u32 = 5;

/// The percentile distribution in microseconds, in the format of HdrHistogram's
/// `outputPercentileDistribution`, which its plotter reads. The lines of `about`
/// become comments.
pub fn hgrm(buckets: &[Bucket], about: &[String]) -> String {
    let histogram = of_buckets(buckets);
    let us = |ns: f64| ns / 1e3;
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut total = 0;
    // Writing to a string does not fail.
    for step in histogram.iter_quantiles(STEPS_PER_HALF) {
        total += step.count_since_last_iteration();
        let (value, quantile) = (us(step.value_iterated_to() as f64), step.quantile_iterated_to());
        let _ = match quantile < 1.0 {
            true => writeln!(
                text,
                "{value:12.3} {quantile:2.12} {total:10} {:14.2}",
                1.0 / (1.0 - quantile)
            ),
            false => writeln!(text, "{value:12.3} {quantile:2.12} {total:10}"),
        };
    }
    let (mean, deviation, max) =
        (us(histogram.mean()), us(histogram.stdev()), us(histogram.max() as f64));
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.len());
    // Each bucket except the first shares its lower half with its predecessor.
    let buckets = usize::from(histogram.buckets());
    let _ = writeln!(
        text,
        "#[Buckets = {buckets:12}, SubBuckets     = {:12}]",
        2 * histogram.distinct_values() / (buckets + 1)
    );
    let _ = writeln!(text, "# values in microseconds");
    about.iter().for_each(|line| text += &format!("# {}\n", line.replace('\n', " ")));
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn buckets_make_the_same_histogram_again(values in prop::collection::vec(1..1_000_000_000u64, 0..300)) {
            let mut histogram = histogram_ns();
            values.iter().for_each(|&value| histogram.saturating_record(value));
            let row = LatencyRow::of(&histogram);
            prop_assert_eq!(row.buckets.iter().map(|&(_, count)| count).sum::<u64>(), values.len() as u64);
            prop_assert!(row.buckets.is_sorted());
            let again = LatencyRow::of(&of_buckets(&row.buckets));
            prop_assert_eq!((again.p50_ns, again.p9999_ns, again.mean_ns, again.max_ns), (row.p50_ns, row.p9999_ns, row.mean_ns, row.max_ns));
            prop_assert_eq!(again.buckets, row.buckets);
        }
    }

    #[test]
    fn a_histogram_is_one_line_of_json() {
        let row = LatencyRow::of(&of_buckets(&[(1_000, 3), (5_000, 1)]));
        let text = serde_json::to_string_pretty(&row).unwrap();
        assert!(text.contains("\"buckets\": [[1000,3],[5003,1]]"), "{text}");
        assert_eq!(serde_json::from_str::<LatencyRow>(&text).unwrap().buckets, row.buckets);
    }

    /// Does what HdrHistogram's plotter does: splits lines at blanks, skips
    /// comments, the heading and lines without a fourth column, and draws the
    /// first column over the fourth.
    fn plotted(text: &str) -> Vec<(f64, f64)> {
        let rows = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.filter_map(|row| Some((row.get(3)?.parse().ok()?, row[0].parse().ok()?))).collect()
    }

    #[test]
    fn a_percentile_file_suits_plotters() {
        let about = ["open-loop\nclock".to_owned(), "3 packets lost".to_owned()];
        let text = hgrm(&[(1_000, 900), (2_000, 90), (1_000_000, 10)], &about);
        let points = plotted(&text);
        assert!(points.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{text}");
        assert_eq!(points[0], (1.0, 1.0), "from the least value on: {text}");
        let at = |quantile: f64| {
            points.iter().find(|point| point.0 >= 1.0 / (1.0 - quantile)).unwrap().1
        };
        assert!(
            (at(0.8) - 1.0).abs() < 0.01
                && (at(0.95) - 2.0).abs() < 0.01
                && points.last().unwrap().1 > 1_000.0,
            "{text}"
        );
        assert!(
            text.contains("1.000000000000       1000\n#[Mean    ="),
            "the last line has no fourth column: {text}"
        );
        assert!(
            text.contains("Total count    =         1000]")
                && text
                    .ends_with("# values in microseconds\n# open-loop clock\n# 3 packets lost\n"),
            "{text}"
        );
        assert!(plotted(&hgrm(&[], &[])).len() <= 1, "no packets, no curve");
    }
}
