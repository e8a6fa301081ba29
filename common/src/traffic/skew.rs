//! The distribution of packets over receive queues.

use std::fmt;
use std::str::FromStr;

/// Each queue's share of the packets. Queues are counted through all ports:
/// those of the first port, then those of the next.
#[derive(Clone, Debug, PartialEq)]
pub enum Skew {
    /// Zipf's law: the i-th queue, from 1, has the weight 1 / i^s. 0 is even.
    Zipf(f64),
    /// Weights, one per queue.
    Weights(Vec<f64>),
}

impl Skew {
    /// The share of each queue. The sum is 1.
    ///
    /// # Errors
    /// The number of weights is not that of the queues.
    pub fn shares(&self, queues: usize) -> Result<Vec<f64>, String> {
        let weights: Vec<f64> = match self {
            Self::Zipf(s) => (1..=queues).map(|rank| (rank as f64).powf(-s)).collect(),
            Self::Weights(weights) if weights.len() == queues => weights.clone(),
            Self::Weights(weights) => {
                return Err(format!(
                    "skew={self} has {} weights for {queues} receive queues: write one per queue",
                    weights.len()
                ));
            }
        };
        let sum: f64 = weights.iter().sum();
        Ok(weights.iter().map(|weight| weight / sum).collect())
    }
}

impl FromStr for Skew {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let what = || {
            format!(
                "skew={text}: write 0 for even queues, Zipf's exponent up to 10, or one weight per queue as 4:2:1"
            )
        };
        let number = |text: &str| {
            text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)
        };
        if !text.contains(':') {
            return number(text).filter(|s| *s <= 10.0).map(Self::Zipf).ok_or_else(what);
        }
        let weights = text.split(':').map(number).collect::<Option<Vec<f64>>>().ok_or_else(what)?;
        // The sum must not overflow, and no share may round to zero.
        let fine = weights.iter().any(|&weight| weight > 0.0)
            && weights.iter().all(|&weight| weight <= 1e9);
        if fine { Ok(Self::Weights(weights)) } else { Err(what()) }
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zipf(s) => write!(f, "{s}"),
            Self::Weights(weights) => {
                f.write_str(&weights.iter().map(f64::to_string).collect::<Vec<_>>().join(":"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_as_written() {
        assert_eq!(Skew::Zipf(0.0).shares(4).unwrap(), [0.25; 4]);
        assert_eq!("6:3:1".parse::<Skew>().unwrap().shares(3).unwrap(), [0.6, 0.3, 0.1]);
        assert_eq!("1:0".parse::<Skew>().unwrap().shares(2).unwrap(), [1.0, 0.0]);
        let zipf = "1".parse::<Skew>().unwrap().shares(3).unwrap();
        assert!(
            (zipf[0] - 6.0 / 11.0).abs() < 1e-12 && (zipf[2] - 2.0 / 11.0).abs() < 1e-12,
            "{zipf:?}"
        );
        assert!("6:3:1".parse::<Skew>().unwrap().shares(2).unwrap_err().contains("one per queue"));
    }
}
