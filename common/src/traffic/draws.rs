//! Draws the cost of each packet of one queue.

use std::sync::Arc;

use rand::Rng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, Exp1, Geometric};

use super::{Cost, Costs, Service};

/// An endless sequence of costs.
#[derive(Clone, Debug)]
pub(super) struct CostDraws {
    random: SmallRng,
    kind: Kind,
    expensive_from_ticks: u64,
}

#[derive(Clone, Debug)]
enum Kind {
    Nothing,
    Fixed(u64),
    Bimodal {
        cheap: Cost,
        expensive: Cost,
        distances: Distances,
    },
    Exponential {
        mean_ticks: f64,
    },
    Pareto {
        min_ticks: f64,
        /// 1 - (L/H)^a
        covered: f64,
        /// -1/a
        exponent: f64,
    },
    Trace {
        values_ticks: Arc<[u64]>,
        next: usize,
    },
    Measured {
        /// By class: how many values are not above each, and the value in ticks.
        classes: [Vec<(u64, u64)>; 2],
        distances: Distances,
    },
}

/// Draws the number of cheap packets between two expensive ones: one draw per
/// expensive packet instead of a trial per packet.
#[derive(Clone, Debug)]
struct Distances {
    geometric: Geometric,
    always: bool,
    to_pass: u64,
}

impl Distances {
    /// Each packet is expensive with probability `p`.
    fn new(p: f64, random: &mut SmallRng) -> Self {
        let geometric = Geometric::new(p.clamp(0.0, 1.0)).expect("a clamped probability is valid");
        let mut distances = Self { geometric, always: p >= 1.0, to_pass: 0 };
        distances.to_pass = distances.draw(random);
        distances
    }

    /// Whether the next packet is expensive.
    fn is_over(&mut self, random: &mut SmallRng) -> bool {
        if self.to_pass > 0 {
            self.to_pass -= 1;
            return false;
        }
        self.to_pass = self.draw(random);
        true
    }

    fn draw(&self, random: &mut SmallRng) -> u64 {
        if self.always { 0 } else { self.geometric.sample(random) }
    }
}

impl CostDraws {
    /// For the queue `queue` of `queues`. Without `costs` packets cost nothing.
    pub(super) fn new(
        costs: Option<&Costs>,
        ticks_per_ns: f64,
        mut random: SmallRng,
        queue: usize,
        queues: usize,
    ) -> Self {
        let ticks = |ns: f64| (ns * ticks_per_ns) as u64;
        let Some(costs) = costs else {
            return Self { random, kind: Kind::Nothing, expensive_from_ticks: u64::MAX };
        };
        let kind = match &costs.service {
            Service::Fixed { ns } => Kind::Fixed(ticks(*ns)),
            Service::Bimodal { cheap_ns, expensive_ns, p } => {
                let distances = Distances::new(*p, &mut random);
                let cheap = Cost { ticks: ticks(*cheap_ns), expensive: false };
                Kind::Bimodal {
                    cheap,
                    expensive: Cost { ticks: ticks(*expensive_ns), expensive: true },
                    distances,
                }
            }
            Service::Exponential { mean_ns } => {
                Kind::Exponential { mean_ticks: mean_ns * ticks_per_ns }
            }
            Service::Pareto { min_ns, max_ns, shape } => Kind::Pareto {
                min_ticks: min_ns * ticks_per_ns,
                covered: 1.0 - (min_ns / max_ns).powf(*shape),
                exponent: -1.0 / shape,
            },
            Service::Trace { values_ns, .. } => Kind::Trace {
                values_ticks: values_ns.iter().map(|&ns| ticks(ns as f64)).collect(),
                next: values_ns.len() * queue / queues,
            },
            Service::Measured { cheap, expensive, p } => Kind::Measured {
                classes: [cheap, expensive].map(|buckets| {
                    let values = buckets.iter().scan(0, |sum, &(ns, count)| {
                        *sum += count;
                        Some((*sum, ticks(ns as f64)))
                    });
                    values.collect()
                }),
                distances: Distances::new(*p, &mut random),
            },
        };
        Self { random, kind, expensive_from_ticks: ticks(costs.expensive_from_ns) }
    }

    /// The next packet's cost.
    #[inline]
    pub(super) fn next_cost(&mut self) -> Cost {
        let random = &mut self.random;
        let ticks = match &mut self.kind {
            Kind::Nothing => return Cost::default(),
            Kind::Fixed(ticks) => *ticks,
            Kind::Bimodal { cheap, expensive, distances } => {
                return if distances.is_over(random) { *expensive } else { *cheap };
            }
            Kind::Exponential { mean_ticks } => {
                let times: f64 = Exp1.sample(random);
                (times * *mean_ticks) as u64
            }
            // Inverts the distribution function.
            Kind::Pareto { min_ticks, covered, exponent } => {
                (*min_ticks * (1.0 - random.random::<f64>() * *covered).powf(*exponent)) as u64
            }
            Kind::Trace { values_ticks, next } => {
                let ticks = values_ticks[*next];
                *next = if *next + 1 == values_ticks.len() { 0 } else { *next + 1 };
                ticks
            }
            Kind::Measured { classes, distances } => {
                let expensive = distances.is_over(random);
                let values = &classes[usize::from(expensive)];
                let Some(&(all, _)) = values.last() else { return Cost { ticks: 0, expensive } };
                let rank = random.random_range(0..all);
                let (_, ticks) = values[values.partition_point(|&(upto, _)| upto <= rank)];
                return Cost { ticks, expensive };
            }
        };
        Cost { ticks, expensive: ticks >= self.expensive_from_ticks }
    }
}
