//! Distributions of service times: their means, and their syntax in `--work`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::latency::Bucket;

/// Service times, in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub enum Service {
    Fixed {
        ns: f64,
    },
    /// `cheap_ns`, or with probability `p` `expensive_ns`.
    Bimodal {
        cheap_ns: f64,
        expensive_ns: f64,
        p: f64,
    },
    Exponential {
        mean_ns: f64,
    },
    /// Bounded Pareto: density a L^a x^(-a-1) / (1 - (L/H)^a) for x from L =
    /// `min_ns` to H = `max_ns`, with a = `shape`.
    Pareto {
        min_ns: f64,
        max_ns: f64,
        shape: f64,
    },
    /// The values of a file in order, repeated. Each queue starts at another
    /// position in it.
    Trace {
        file: PathBuf,
        values_ns: Arc<[u64]>,
    },
    /// Drawn from histograms of cheap and expensive packets, the latter with
    /// probability `p`. Not in `--work`'s syntax.
    Measured {
        cheap: Arc<[Bucket]>,
        expensive: Arc<[Bucket]>,
        p: f64,
    },
}

/// The mean of a histogram's values; 0 without any.
pub fn mean_ns(buckets: &[Bucket]) -> f64 {
    let sum = |of: fn(&Bucket) -> f64| buckets.iter().map(of).sum::<f64>();
    sum(|&(ns, count)| ns as f64 * count as f64) / sum(|&(_, count)| count as f64).max(1.0)
}

impl Service {
    /// The mean, in nanoseconds. Bounded Pareto: Harchol-Balter, "Performance
    /// Modeling and Design of Computer Systems", 20.3.
    pub fn mean_ns(&self) -> f64 {
        match self {
            Self::Fixed { ns } => *ns,
            Self::Bimodal { cheap_ns, expensive_ns, p } => cheap_ns * (1.0 - p) + expensive_ns * p,
            Self::Exponential { mean_ns } => *mean_ns,
            &Self::Pareto { min_ns: l, max_ns: h, shape: a } => {
                if l == h {
                    l
                } else if (a - 1.0).abs() < 1e-9 {
                    l * h / (h - l) * (h / l).ln()
                } else {
                    let r = l / h;
                    l * a / (a - 1.0) * (1.0 - r.powf(a - 1.0)) / (1.0 - r.powf(a))
                }
            }
            Self::Trace { values_ns, .. } => {
                values_ns.iter().map(|&ns| ns as f64).sum::<f64>() / values_ns.len() as f64
            }
            Self::Measured { cheap, expensive, p } => {
                mean_ns(cheap) * (1.0 - p) + mean_ns(expensive) * p
            }
        }
    }
}

/// Service times, and the threshold for expensive.
#[derive(Clone, Debug, PartialEq)]
pub struct Costs {
    pub service: Service,
    /// A packet is expensive from this cost on. Unused with
    /// [`Service::Bimodal`] and [`Service::Measured`], which mark packets
    /// themselves.
    pub expensive_from_ns: f64,
}

/// Default threshold for expensive, as a multiple of the distribution's mean.
const EXPENSIVE_MEANS: f64 = 10.0;

/// The longest service time, so that no sum of a few of them overflows: an
/// hour.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// The keys of a distribution, collected one by one: `dist` and, as it needs
/// them, `mean`, `min`, `max`, `shape`, `file`; `threshold`.
#[derive(Clone, Debug, Default)]
pub struct CostKeys {
    dist: Option<String>,
    times_ns: [Option<f64>; 4],
    shape: Option<f64>,
    file: Option<PathBuf>,
}

/// The keys of `CostKeys::times_ns`, in its order.
const TIMES: [&str; 4] = ["mean", "min", "max", "threshold"];

impl CostKeys {
    pub const NAMES: &str = "dist, mean, min, max, shape, file and threshold";

    /// Records a pair. Returns whether the key belongs to a distribution.
    ///
    /// # Errors
    /// The value is not valid for the key.
    pub fn note(&mut self, key: &str, value: &str) -> Result<bool, String> {
        if let Some(at) = TIMES.iter().position(|&name| name == key) {
            let time = humantime::parse_duration(value)
                .ok()
                .and_then(|time| u64::try_from(time.as_nanos()).ok());
            let time = time.filter(|&ns| (1..=LONGEST_NS).contains(&ns));
            self.times_ns[at] = Some(time.ok_or_else(|| {
                format!("{key}={value}: write a time from 1ns to 1h with its unit, for example 2us")
            })? as f64);
            return Ok(true);
        }
        match key {
            "dist" => self.dist = Some(value.to_owned()),
            "file" => self.file = Some(value.into()),
            "shape" => {
                let shape =
                    value.parse::<f64>().ok().filter(|shape| (0.01..=100.0).contains(shape));
                self.shape = Some(shape.ok_or_else(|| {
                    format!("shape={value}: write a number from 0.01 to 100, for example 1.1")
                })?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The distribution. `None` if there was no key of one. Reads the file of a
    /// trace.
    ///
    /// # Errors
    /// A key is missing or does not belong to the distribution, or the file has
    /// mistakes.
    pub fn finish(self) -> Result<Option<Costs>, String> {
        let Self { dist, times_ns: [mean, min, max, threshold], shape, file } = self;
        let keys = [mean.is_some(), min.is_some(), max.is_some(), shape.is_some(), file.is_some()];
        let Some(dist) = dist else {
            let stray = keys.contains(&true) || threshold.is_some();
            return if stray {
                Err(format!(
                    "{} belong to a distribution: add dist=exponential or another one",
                    Self::NAMES
                ))
            } else {
                Ok(None)
            };
        };
        let needs = |names: &str, example: &str| {
            Err(format!(
                "dist={dist} needs {names} and nothing else but threshold: for example {example}"
            ))
        };
        let service = match (dist.as_str(), mean, min, max, shape, file) {
            ("fixed", Some(ns), None, None, None, None) => Service::Fixed { ns },
            ("fixed", ..) => return needs("mean", "dist=fixed,mean=1us"),
            ("exponential", Some(mean_ns), None, None, None, None) => {
                Service::Exponential { mean_ns }
            }
            ("exponential", ..) => return needs("mean", "dist=exponential,mean=1us"),
            ("pareto", None, Some(min_ns), Some(max_ns), Some(shape), None) if min_ns <= max_ns => {
                Service::Pareto { min_ns, max_ns, shape }
            }
            ("pareto", None, Some(_), Some(_), Some(_), None) => {
                return Err("dist=pareto: min is more than max: swap them".into());
            }
            ("pareto", ..) => {
                return needs("min, max and shape", "dist=pareto,min=200ns,max=1ms,shape=1.1");
            }
            ("trace", None, None, None, None, Some(file)) => {
                Service::Trace { values_ns: read_trace(&file)?.into(), file }
            }
            ("trace", ..) => return needs("file", "dist=trace,file=service_ns.txt"),
            _ => {
                return Err(format!(
                    "dist={dist}: write fixed, exponential, pareto or trace; cheap, expensive and p need no dist"
                ));
            }
        };
        let expensive_from_ns = threshold.unwrap_or(EXPENSIVE_MEANS * service.mean_ns());
        Ok(Some(Costs { service, expensive_from_ns }))
    }
}

/// Reads service times from a file: one whole number of nanoseconds per line,
/// from 0 to an hour.
///
/// # Errors
/// The file can't be read or is empty, or a line is no such number. The message
/// names the file and the line.
pub fn read_trace(file: &Path) -> Result<Vec<u64>, String> {
    let name = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| {
        format!("{name}: {error}; write the name of a file with one time per line")
    })?;
    let value = |(at, line): (usize, &str)| {
        let place = format!("{name}:{}", at + 1);
        match line.trim().parse::<u64>() {
            Ok(ns) if ns <= LONGEST_NS => Ok(ns),
            Ok(ns) => Err(format!("{place}: {ns} ns is more than an hour")),
            Err(_) if line.trim().is_empty() => Err(format!(
                "{place}: an empty line; write a time in nanoseconds, or take the line out"
            )),
            Err(_) => Err(format!(
                "{place}: {:?} is not a whole number of nanoseconds",
                line.chars().take(40).collect::<String>()
            )),
        }
    };
    let values = text.lines().enumerate().map(value).collect::<Result<Vec<_>, _>>()?;
    if values.is_empty() {
        Err(format!("{name} is empty: write one time in nanoseconds per line"))
    } else {
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(keys: &str) -> Result<Option<Costs>, String> {
        let mut all = CostKeys::default();
        for (key, value) in keys.split(',').filter_map(|pair| pair.split_once('=')) {
            assert!(all.note(key, value)?, "{key}");
        }
        all.finish()
    }

    #[test]
    fn distributions_are_read_with_their_keys() {
        let costs = read("dist=pareto,min=1us,max=1ms,shape=1.5").unwrap().unwrap();
        assert_eq!(costs.service, Service::Pareto { min_ns: 1e3, max_ns: 1e6, shape: 1.5 });
        assert_eq!(costs.expensive_from_ns, 10.0 * costs.service.mean_ns());
        let costs = read("dist=exponential,mean=2us,threshold=5us").unwrap().unwrap();
        assert_eq!(
            (costs.service, costs.expensive_from_ns),
            (Service::Exponential { mean_ns: 2e3 }, 5e3)
        );
        assert_eq!(read(""), Ok(None));
        assert_eq!(CostKeys::default().note("cheap", "1us"), Ok(false));
    }

    #[test]
    fn bad_distributions_say_what_to_write() {
        for (keys, says) in [
            ("mean=1us", "dist="),
            ("threshold=1us", "dist="),
            ("dist=fixed", "mean"),
            ("dist=fixed,mean=1us,shape=2", "nothing else"),
            ("dist=exponential,mean=0ns", "from 1ns"),
            ("dist=exponential,mean=2h", "to 1h"),
            ("dist=pareto,min=1us,max=1ms", "shape"),
            ("dist=pareto,min=1ms,max=1us,shape=1", "swap"),
            ("dist=pareto,min=1us,max=1ms,shape=0", "0.01"),
            ("dist=trace", "file"),
            ("dist=trace,file=/does/not/exist", "/does/not/exist"),
            ("dist=normal,mean=1us", "fixed, exponential"),
        ] {
            let message = read(keys).unwrap_err();
            assert!(message.contains(says) && !message.contains('\n'), "{keys}: {message}");
        }
    }

    #[test]
    fn a_trace_with_a_hole_names_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("service_ns.txt");
        for (text, says) in [
            ("100\n200\n\n300\n", ":3: an empty line"),
            ("100\n1.5\n", ":2: \"1.5\""),
            ("-1\n", ":1: \"-1\""),
            ("100\n3600000000001\n", ":2: 3600000000001 ns"),
            ("", "is empty"),
        ] {
            std::fs::write(&file, text).unwrap();
            let message = read_trace(&file).unwrap_err();
            assert!(
                message.contains(says) && message.contains("service_ns.txt"),
                "{text:?}: {message}"
            );
        }
        std::fs::write(&file, "100\n200\r\n0").unwrap();
        assert_eq!(read_trace(&file), Ok(vec![100, 200, 0]));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,20}", key in "(dist|mean|min|max|shape|threshold)") {
            let mut keys = CostKeys::default();
            if keys.note(&key, &text).is_ok() {
                let _ = keys.finish();
            }
        }
    }
}
