//! The sequence of one queue's packets: due time, flow and cost of each.

use rand::Rng;

use super::arrivals::ArrivalClock;
use super::draws::CostDraws;
use super::{Arrivals, Cost, Costs, random};

/// A packet and its due time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The due time, on a clock that starts at 0. `u64::MAX` for never.
    pub at_ticks: u64,
    /// Its number in its queue, from 0.
    pub number: u64,
    pub cost: Cost,
    /// Its flow, counted over all queues.
    pub flow: u32,
}

/// The parameters of one queue's packets.
#[derive(Clone, Copy, Debug)]
pub struct Stream<'a> {
    pub arrivals: Arrivals,
    /// Packets per second of this queue; may be 0.
    pub pps: f64,
    /// Flows over all queues.
    pub flows: u32,
    /// Service times. `None` if packets cost nothing.
    pub costs: Option<&'a Costs>,
    /// The seed of arrivals and flows.
    pub seed: u64,
    /// The seed of costs. Separate, so that costs do not change with arrivals,
    /// nor arrivals with costs.
    pub cost_seed: u64,
    /// The queue's index among all queues.
    pub queue: usize,
    pub queues: usize,
    pub ticks_per_second: u64,
}

/// Draws packets. The sequence depends on nothing but the [`Stream`].
#[derive(Clone, Debug)]
pub struct Generator {
    clock: ArrivalClock,
    costs: CostDraws,
    flow_seed: u64,
    /// Flows of this queue. The i-th has the number i * queues + queue.
    own_flows: u32,
    queue: u32,
    queues: u32,
    number: u64,
    next_ticks: u64,
}

impl Generator {
    pub fn new(stream: &Stream<'_>) -> Self {
        let &Stream { queue, queues, seed, .. } = stream;
        let ticks_per_ns = stream.ticks_per_second as f64 / 1e9;
        let gap_ticks = stream.ticks_per_second as f64 / stream.pps;
        let mut clock =
            ArrivalClock::new(stream.arrivals, gap_ticks, ticks_per_ns, random(seed, queue, 0));
        Self {
            next_ticks: clock.next_ticks(),
            clock,
            costs: CostDraws::new(
                stream.costs,
                ticks_per_ns,
                random(stream.cost_seed, queue, 1),
                queue,
                queues,
            ),
            flow_seed: random(seed, queue, 2).random(),
            own_flows: (stream.flows + queues as u32 - 1)
                .saturating_sub(queue as u32)
                .checked_div(queues as u32)
                .unwrap_or(1)
                .max(1),
            queue: queue as u32,
            queues: queues as u32,
            number: 0,
        }
    }

    /// When the next packet is due.
    #[inline]
    pub fn next_ticks(&self) -> u64 {
        self.next_ticks
    }

    /// The next packet.
    #[inline]
    pub fn draw(&mut self) -> Due {
        let own_flow = ((mixed(self.flow_seed.wrapping_add(self.number)) >> 32)
            * u64::from(self.own_flows))
            >> 32;
        let due = Due {
            at_ticks: self.next_ticks,
            number: self.number,
            cost: self.costs.next_cost(),
            flow: own_flow as u32 * self.queues + self.queue,
        };
        self.next_ticks = self.clock.next_ticks();
        self.number += 1;
        due
    }
}

/// SplitMix64's output function (Steele, Lea, Flood, OOPSLA 2014): a random
/// number from the counter `at`, without a state that would chain one packet to
/// the next.
#[inline]
fn mixed(at: u64) -> u64 {
    let at = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let at = (at ^ at >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let at = (at ^ at >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    at ^ at >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::Service;

    fn stream(costs: Option<&Costs>) -> Stream<'_> {
        Stream {
            arrivals: Arrivals::Poisson,
            pps: 1e6,
            flows: 100,
            costs,
            seed: 1,
            cost_seed: 1,
            queue: 0,
            queues: 3,
            ticks_per_second: 2_600_000_000,
        }
    }

    fn drawn(stream: &Stream<'_>) -> Vec<Due> {
        let mut generator = Generator::new(stream);
        (0..10_000).map(|_| generator.draw()).collect()
    }

    #[test]
    fn the_same_seed_brings_the_same_packets() {
        let costs =
            Costs { service: Service::Exponential { mean_ns: 1e3 }, expensive_from_ns: 1e4 };
        let base = stream(Some(&costs));
        assert_eq!(drawn(&base), drawn(&base));
        assert_ne!(drawn(&base), drawn(&Stream { seed: 2, ..base }));
        assert_ne!(drawn(&base), drawn(&Stream { queue: 1, ..base }));
    }

    #[test]
    fn costs_and_arrivals_have_seeds_of_their_own() {
        let costs =
            Costs { service: Service::Exponential { mean_ns: 1e3 }, expensive_from_ns: 1e4 };
        let base = stream(Some(&costs));
        let (first, other) = (drawn(&base), drawn(&Stream { cost_seed: 2, ..base }));
        let arrivals =
            |list: &[Due]| list.iter().map(|due| (due.at_ticks, due.flow)).collect::<Vec<_>>();
        assert_eq!(arrivals(&first), arrivals(&other));
        let faster = drawn(&Stream { pps: 2e6, arrivals: Arrivals::Fixed, ..base });
        assert!(first.iter().zip(&faster).all(|(a, b)| a.cost == b.cost));
    }

    #[test]
    fn every_flow_belongs_to_one_queue() {
        let mut seen = vec![Vec::new(); 100];
        for queue in 0..3 {
            for due in drawn(&Stream { queue, ..stream(None) }) {
                seen[due.flow as usize].push(queue);
            }
        }
        for (flow, queues) in seen.iter().enumerate() {
            assert!(
                queues.len() > 150 && queues.iter().all(|&queue| queue == flow % 3),
                "flow {flow}: {} packets",
                queues.len()
            );
        }
        let few = drawn(&Stream { flows: 1, queue: 2, ..stream(None) });
        assert!(
            few.iter().all(|due| due.flow == 2),
            "a queue without a flow of its own has one all the same"
        );
    }

    #[test]
    fn a_queue_without_packets_never_has_one() {
        for arrivals in
            [Arrivals::Poisson, Arrivals::Fixed, Arrivals::OnOff { on_ns: 1_000, off_ns: 1_000 }]
        {
            let generator = Generator::new(&Stream { pps: 0.0, arrivals, ..stream(None) });
            assert_eq!(generator.next_ticks(), u64::MAX, "{arrivals:?}");
        }
    }
}
