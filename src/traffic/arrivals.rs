//! When packets are due at one queue: a sequence of times, without end, that depends on nothing but its seed.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, Exp1};

use super::Shape;

/// Times in ticks from a start at 0, never falling.
#[derive(Clone, Debug)]
pub struct Arrivals {
    random: SmallRng,
    shape: Ticks,
    /// Mean gap, during `on` where there is an `on`.
    gap_ticks: f64,
    /// The last time given out, in the time that passes only during `on`. A double is exact to a tick for a month.
    at: f64,
}

/// The shape, in ticks.
#[derive(Clone, Copy, Debug)]
enum Ticks {
    Poisson,
    Fixed,
    OnOff { on: f64, off: f64 },
}

impl Arrivals {
    /// `per_s` arrivals a second in the mean, above 0, where a second has `hz` ticks.
    pub fn new(shape: Shape, per_s: f64, hz: u64, seed: u64) -> Self {
        let hz = hz as f64;
        let (shape, gap_ticks) = match shape {
            Shape::Poisson => (Ticks::Poisson, hz / per_s),
            Shape::Fixed => (Ticks::Fixed, hz / per_s),
            Shape::OnOff { on, off } => {
                let (on, off) = (on.as_secs_f64() * hz, off.as_secs_f64() * hz);
                (Ticks::OnOff { on, off }, hz / per_s * on / (on + off))
            }
        };
        Self { random: SmallRng::seed_from_u64(seed), shape, gap_ticks, at: 0.0 }
    }
}

impl Iterator for Arrivals {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        self.at += match self.shape {
            Ticks::Fixed => self.gap_ticks,
            Ticks::Poisson | Ticks::OnOff { .. } => {
                let gap: f64 = Exp1.sample(&mut self.random);
                gap * self.gap_ticks
            }
        };
        Some(match self.shape {
            Ticks::Poisson | Ticks::Fixed => self.at as u64,
            Ticks::OnOff { on, off } => (self.at + (self.at / on).floor() * off) as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HZ: u64 = 1_000_000_000;

    fn gaps(shape: Shape, per_s: f64, count: usize) -> Vec<f64> {
        let times: Vec<u64> = Arrivals::new(shape, per_s, HZ, 7).take(count + 1).collect();
        times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect()
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    #[test]
    fn poisson_has_the_mean_and_the_variance_of_an_exponential() {
        let gaps = gaps(Shape::Poisson, 1e6, 400_000);
        let mean_ns = mean(&gaps);
        let variance = mean(&gaps.iter().map(|gap| (gap - mean_ns).powi(2)).collect::<Vec<_>>());
        // The standard error of the mean is 1000 / sqrt(400,000) = 1.6, of the variance 1e6 sqrt(8 / 400,000) = 4,500.
        assert!((mean_ns - 1000.0).abs() < 8.0, "{mean_ns}");
        assert!((variance - 1e6).abs() < 25_000.0, "{variance}");
    }

    #[test]
    fn fixed_gaps_are_equal_to_a_tick() {
        assert!(gaps(Shape::Fixed, 3e6, 10_000).iter().all(|gap| (333.0..=334.0).contains(gap)));
    }

    #[test]
    fn on_off_keeps_the_mean_and_the_silence() {
        let (on, off) = (Duration::from_millis(1), Duration::from_millis(3));
        let times: Vec<u64> = Arrivals::new(Shape::OnOff { on, off }, 1e6, HZ, 3).take_while(|&at| at < HZ).collect();
        assert!((times.len() as f64 - 1e6).abs() < 10_000.0, "{}", times.len());
        assert!(times.iter().all(|at| at % 4_000_000 <= 1_000_000));
    }

    #[test]
    fn the_same_seed_makes_the_same_times() {
        let times = |seed| Arrivals::new(Shape::Poisson, 1e6, HZ, seed).take(100).collect::<Vec<_>>();
        assert_eq!(times(5), times(5));
        assert_ne!(times(5), times(6));
    }
}
