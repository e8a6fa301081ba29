//! Due times of one queue's packets, on a clock that starts at 0.

use rand::Rng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, Exp1};

/// The arrival process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// Independent of each other: exponential gaps.
    Poisson,
    /// Equal gaps. Each queue starts at a random position in its first gap.
    Fixed,
    /// Poisson for `on_ns`, then nothing for `off_ns`, in step on all queues.
    /// The mean over both is the requested rate.
    OnOff { on_ns: u64, off_ns: u64 },
}

/// Draws due times, endless and non-decreasing.
#[derive(Clone, Debug)]
pub(super) struct ArrivalClock {
    random: SmallRng,
    gaps: Gaps,
    /// Mean gap between two packets, on a clock that stops during
    /// interruptions.
    gap_ticks: f64,
    at_ticks: f64,
}

#[derive(Clone, Copy, Debug)]
enum Gaps {
    Exponential,
    Equal,
    /// Exponential, with an interruption after each `on_ticks`.
    Interrupted {
        on_ticks: f64,
        off_ticks: f64,
    },
}

impl ArrivalClock {
    /// `mean_gap_ticks`: time per packet in the long run; infinite for a queue
    /// without packets.
    pub(super) fn new(
        arrivals: Arrivals,
        mean_gap_ticks: f64,
        ticks_per_ns: f64,
        mut random: SmallRng,
    ) -> Self {
        let (gaps, gap_ticks, at_ticks) = match arrivals {
            Arrivals::Poisson => (Gaps::Exponential, mean_gap_ticks, 0.0),
            Arrivals::Fixed => {
                (Gaps::Equal, mean_gap_ticks, (random.random::<f64>() - 1.0) * mean_gap_ticks)
            }
            Arrivals::OnOff { on_ns, off_ns } => {
                let (on_ticks, off_ticks) =
                    (on_ns as f64 * ticks_per_ns, off_ns as f64 * ticks_per_ns);
                (
                    Gaps::Interrupted { on_ticks, off_ticks },
                    mean_gap_ticks * on_ticks / (on_ticks + off_ticks),
                    0.0,
                )
            }
        };
        // For a queue without packets, infinity minus infinity would be NaN.
        let at_ticks = if gap_ticks.is_finite() { at_ticks } else { 0.0 };
        Self { random, gaps, gap_ticks, at_ticks }
    }

    /// When the next packet is due, in ticks, rounded down; `u64::MAX` if
    /// never.
    #[inline]
    pub(super) fn next_ticks(&mut self) -> u64 {
        let gap = match self.gaps {
            Gaps::Equal => self.gap_ticks,
            Gaps::Exponential | Gaps::Interrupted { .. } => {
                let gap: f64 = Exp1.sample(&mut self.random);
                gap * self.gap_ticks
            }
        };
        // A double holds hours of ticks with a precision of a thousandth.
        self.at_ticks += gap;
        match self.gaps {
            Gaps::Interrupted { on_ticks, off_ticks } => {
                (self.at_ticks + (self.at_ticks / on_ticks).floor() * off_ticks) as u64
            }
            _ => self.at_ticks as u64,
        }
    }
}
