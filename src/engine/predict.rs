//! Predicts a packet's cost from the cost of earlier packets of its flow. Work
//! whose cost shows only while it is done need not be started where it came in
//! if its flow was expensive before.

use std::sync::Arc;

use super::flow_id::FlowIds;
use super::{Class, Cutoff, Engine, Turns, Verdict, headers_of, one_by_one};
use crate::dpdk::clock::tsc;
use crate::dpdk::{Burst, Mbuf};
use crate::stats::{DropCause, Gaps, PredictionCounts};
use micropools::flow_table::{FlowTable, VALUE_MAX};

/// How the estimate follows from past costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Estimate {
    /// The cost of the flow's last packet.
    Last,
    /// The exponentially weighted moving average of its packets' costs; the
    /// newest has a weight of 1/8 (Jacobson, SIGCOMM'88).
    Ewma,
}

impl Estimate {
    /// `ticks`: the cost of the newest packet.
    fn next(self, old_ticks: Option<u64>, ticks: u64) -> u64 {
        match (self, old_ticks) {
            (Self::Ewma, Some(old)) => old - old / 8 + ticks / 8,
            (Self::Ewma, None) | (Self::Last, _) => ticks,
        }
        .min(VALUE_MAX)
    }
}

/// All lcores' knowledge of flows' costs, and the threshold for expensive.
#[derive(Clone)]
pub struct Prediction {
    pub estimate: Estimate,
    /// A flow whose packets take this long goes to the expensive stage at once.
    pub cutoff: Cutoff,
    /// Costs in ticks, of the flows that had a packet worth noting.
    pub flows: Arc<FlowTable>,
    pub ids: FlowIds,
    pub counts: Arc<PredictionCounts>,
}

/// A packet below this fraction of the cutoff is not worth an entry for an
/// unknown flow.
const WORTH_NOTING_DIVISOR: u64 = 8;

impl Prediction {
    fn flow_id(&self, packet: &Mbuf) -> u64 {
        self.ids.of(headers_of(packet).key)
    }

    /// Whether the packet's flow has been expensive.
    fn expects_expensive(&self, packet: &Mbuf) -> bool {
        let known_ticks = self.flows.get(self.flow_id(packet), tsc());
        let expensive = known_ticks.is_some_and(|ticks| ticks >= self.cutoff.ticks());
        self.counts.predicted_pkts.add(u64::from(expensive));
        expensive
    }

    fn learn(&self, flow_id: u64, now: u64, ticks: u64) {
        self.flows.update(flow_id, now, |old| self.estimate.next(old, ticks));
    }
}

/// Any engine, with a prediction for its [`Class::Unknown`] packets.
pub struct Predicting<E> {
    engine: E,
    prediction: Option<Prediction>,
}

impl<E: Engine> Predicting<E> {
    /// Without a prediction it behaves as the engine itself.
    pub fn new(engine: E, prediction: Option<Prediction>) -> Self {
        Self { engine, prediction }
    }
}

impl<E: Engine> Engine for Predicting<E> {
    #[inline]
    fn classify(&mut self, packet: &Mbuf, from: u16) -> Class {
        let class = self.engine.classify(packet, from);
        match &self.prediction {
            Some(prediction) if class == Class::Unknown && prediction.expects_expensive(packet) => {
                Class::Defer
            }
            _ => class,
        }
    }

    #[inline]
    fn cheap(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        let Some(prediction) = &self.prediction else { return self.engine.cheap(packet, from) };
        let start = tsc();
        let verdict = self.engine.cheap(packet, from);
        let end = tsc();
        let ticks = end.wrapping_sub(start);
        if verdict == Verdict::Defer || ticks >= prediction.cutoff.ticks() / WORTH_NOTING_DIVISOR {
            prediction.learn(prediction.flow_id(packet), end, ticks);
        }
        verdict
    }

    #[inline]
    fn expensive(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        // A packet that was given up half-way is known to be expensive; the
        // cost of the rest alone would say otherwise.
        let Some(prediction) =
            self.prediction.as_ref().filter(|prediction| !prediction.cutoff.has_progress(packet))
        else {
            return self.engine.expensive(packet, from);
        };
        let flow_id = prediction.flow_id(packet);
        let start = tsc();
        let verdict = self.engine.expensive(packet, from);
        let end = tsc();
        let ticks = end.wrapping_sub(start);
        prediction.learn(flow_id, end, ticks);
        prediction.counts.wrong_pkts.add(u64::from(ticks < prediction.cutoff.ticks()));
        verdict
    }

    #[inline]
    fn expensive_all(&mut self, packets: &mut [Mbuf], from: u16, verdicts: &mut [Verdict]) {
        match self.prediction {
            None => self.engine.expensive_all(packets, from, verdicts),
            Some(_) => one_by_one(self, packets, from, verdicts),
        }
    }

    #[inline]
    fn prepare_burst(&mut self, burst: &mut Burst, from: u16) {
        self.engine.prepare_burst(burst, from);
    }

    #[inline]
    fn defers_burst(&mut self, burst: &Burst, from: u16) -> bool {
        self.engine.defers_burst(burst, from)
    }

    #[inline]
    fn rest(&mut self) {
        self.engine.rest();
    }

    fn turns(&self) -> Option<Box<dyn Turns>> {
        self.engine.turns()
    }

    fn host_gaps(&mut self) -> Gaps {
        self.engine.host_gaps()
    }

    #[inline]
    fn cheap_burst(
        &mut self,
        burst: &mut Burst,
        from: u16,
        dropped: impl FnMut(Mbuf, DropCause),
    ) -> Option<u16> {
        self.engine.cheap_burst(burst, from, dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ewma_follows_slowly_and_last_follows_at_once() {
        assert_eq!(Estimate::Last.next(Some(1_000), 80), 80);
        assert_eq!(Estimate::Ewma.next(None, 80), 80);
        let fallen = (0..20).fold(1_000, |old, _| Estimate::Ewma.next(Some(old), 80));
        assert!((80..250).contains(&fallen), "{fallen}");
        assert_eq!(Estimate::Ewma.next(Some(VALUE_MAX), u64::MAX), VALUE_MAX);
    }
}
