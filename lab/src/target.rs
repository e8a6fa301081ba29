//! What is wanted: a quantile of a class's latency, and a limit.

use std::fmt;
use std::str::FromStr;

use super::class::Class;
use mpfwd_common::latency::LatencyRow;
use mpfwd_common::text::time;

/// The quantiles that a report has, by name.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Target {
    pub class: Class,
    name: &'static str,
    pub quantile: f64,
    /// None if only the best is wanted.
    pub limit_ns: Option<u64>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (what, limit) = match text.split_once('<') {
                Some((what, limit)) => (what, Some(limit)),
                None => (text, None),
            };
            let (class, quantile) = what.trim().split_once(' ')?;
            let class = Class::ALL.into_iter().find(|of| of.name() == class)?;
            let &(name, quantile) = QUANTILES.iter().find(|(name, _)| *name == quantile.trim())?;
            let limit = limit.map(|limit| mpfwd_common::args::parse_time(limit.trim()));
            let limit_ns = limit.transpose().ok()?.map(|limit| limit.as_nanos() as u64);
            Some(Self { class, name, quantile, limit_ns })
        };
        read().ok_or_else(|| {
            "write a class, a quantile (p50, p90, p99, p99.9, p99.99) and a limit, for example 'cheap p99 < 50us'"
                .into()
        })
    }
}

impl Target {
    /// The quantile of these latencies, by class.
    pub(super) fn of(&self, latency: &[LatencyRow; 2]) -> u64 {
        let row = &latency[self.class as usize];
        match self.name {
            "p50" => row.p50_ns,
            "p90" => row.p90_ns,
            "p99" => row.p99_ns,
            "p99.9" => row.p999_ns,
            _ => row.p9999_ns,
        }
    }

    /// Whether they are within the limit, if there is one.
    pub(super) fn is_met(&self, latency: &[LatencyRow; 2]) -> bool {
        self.limit_ns.is_none_or(|limit_ns| self.of(latency) < limit_ns)
    }

    /// The quantity that has the limit.
    pub(super) fn what(&self) -> String {
        format!("{} {}", self.class.name(), self.name)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit_ns {
            Some(limit_ns) => write!(f, "{} < {}", self.what(), time(limit_ns)),
            None => write!(f, "least {}", self.what()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_or_said_how_to_write() {
        let target: Target = "cheap p99.9 <50us".parse().unwrap();
        assert_eq!(
            (target.class, target.quantile, target.limit_ns),
            (Class::Cheap, 0.999, Some(50_000))
        );
        assert_eq!(target.to_string(), "cheap p99.9 < 50.0 us");
        let row = LatencyRow { p999_ns: 7, ..LatencyRow::default() };
        assert_eq!(target.of(&[row.clone(), LatencyRow::default()]), 7);
        assert!(target.is_met(&[row.clone(), row]));
        assert_eq!("expensive p99".parse::<Target>().unwrap().to_string(), "least expensive p99");
        for text in ["", "p99 < 1us", "cheap p98 < 1us", "dear p99 < 1us", "cheap p99 < 1"] {
            assert!(text.parse::<Target>().unwrap_err().contains("'cheap p99 < 50us'"));
        }
    }
}
