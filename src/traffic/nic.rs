//! A virtual NIC queue: packets arrive when they are due and wait in a finite ring of descriptors until they are polled. Nobody's
//! slowness delays an arrival: what finds the ring full is missed, as at a NIC.

use std::collections::VecDeque;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::frame::Frame;
use super::{Arrivals, Spec};
use crate::dpdk::clock::tsc;
use crate::dpdk::{Burst, Mempool, RxSource, StampField};
use crate::stats::Counter;

/// What a queue counted. One writer at a time: whoever holds the queue's lease.
#[derive(Debug, Default)]
pub struct NicStats {
    /// Packets that were due.
    pub offered_pkts: Counter,
    /// Those of them that were received.
    pub received_pkts: Counter,
    /// Those that found the ring full.
    pub missed_pkts: Counter,
    /// Those for which there was no buffer.
    pub nombuf_pkts: Counter,
    /// What making the received ones took, in ticks, of the polls that were measured; and how many these brought.
    pub cost_ticks: Counter,
    pub costed_pkts: Counter,
}

/// The times at which packets arrived that have not been polled, as a ring of descriptors holds them.
#[derive(Debug)]
struct Descriptors {
    arrivals: Arrivals,
    /// The next arrival, in ticks from the start.
    next_due: u64,
    waiting: VecDeque<u64>,
    size: usize,
}

impl Descriptors {
    fn new(mut arrivals: Arrivals, size: usize) -> Self {
        let next_due = arrivals.next().unwrap_or(u64::MAX);
        Self { arrivals, next_due, waiting: VecDeque::with_capacity(size), size }
    }

    /// Lets everything arrive that is due at `now`. Returns how many arrived, and how many of them were missed.
    ///
    /// Nothing leaves the ring between two calls, so that who finds it full is the same as if each had been looked at when it came.
    fn arrive(&mut self, now: u64) -> (u64, u64) {
        let (mut due, mut missed) = (0, 0);
        while self.next_due <= now {
            due += 1;
            if self.waiting.len() < self.size {
                self.waiting.push_back(self.next_due);
            } else {
                missed += 1;
            }
            self.next_due = self.arrivals.next().unwrap_or(u64::MAX);
        }
        (due, missed)
    }
}

/// One receive queue. Its clock starts with the first poll.
pub struct NicQueue {
    descriptors: Descriptors,
    start: Option<u64>,
    random: SmallRng,
    flows: u16,
    frame: Frame,
    pool: Mempool,
    stamp: StampField,
    stats: Arc<NicStats>,
    polls: u64,
}

/// One poll in so many is measured: it takes two more readings of the clock.
const COST_EVERY: u64 = 64;

impl NicQueue {
    /// `per_s`: arrivals a second at this queue, of ticks of `hz` a second. `descriptors`: how many packets it holds.
    pub fn new(spec: &Spec, (port, queue): (u16, u16), per_s: f64, hz: u64, descriptors: usize, pool: Mempool, stamp: StampField) -> Self {
        let seed = spec.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(port) << 16 ^ u64::from(queue);
        Self {
            descriptors: Descriptors::new(Arrivals::new(spec.shape, per_s, hz, seed), descriptors),
            start: None,
            random: SmallRng::seed_from_u64(!seed),
            flows: spec.flows,
            frame: Frame::new(spec.size, port, queue),
            pool,
            stamp,
            stats: Arc::default(),
            polls: 0,
        }
    }

    /// What it counts.
    pub fn stats(&self) -> Arc<NicStats> {
        self.stats.clone()
    }
}

impl RxSource for NicQueue {
    /// The packets that wait now, at most `want`, each stamped with the time at which it was due.
    fn receive(&mut self, want: usize, into: &mut Burst) {
        let now = tsc();
        let start = *self.start.get_or_insert(now);
        let (due, missed) = self.descriptors.arrive(now - start);
        if due > 0 {
            self.stats.offered_pkts.add(due);
            self.stats.missed_pkts.add(missed);
        }
        let want = want.min(self.descriptors.waiting.len());
        if want == 0 {
            return;
        }
        let got = self.pool.alloc(into, want);
        if got < want {
            self.descriptors.waiting.drain(..want);
            self.stats.nombuf_pkts.add(want as u64);
            return;
        }
        for (packet, due) in into.packets_mut().iter_mut().zip(self.descriptors.waiting.drain(..want)) {
            let flow = self.random.random_range(0..self.flows);
            packet.fill(self.frame.of_flow(flow)).expect("a frame fits into a buffer");
            self.stamp.write(packet, start + due);
        }
        self.stats.received_pkts.add(want as u64);
        self.polls += 1;
        if self.polls.is_multiple_of(COST_EVERY) {
            self.stats.cost_ticks.add(tsc() - now);
            self.stats.costed_pkts.add(want as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Shape;
    use super::*;

    const HZ: u64 = 1_000_000_000;

    fn descriptors(shape: Shape, per_s: f64, size: usize) -> Descriptors {
        Descriptors::new(Arrivals::new(shape, per_s, HZ, 1), size)
    }

    #[test]
    fn a_stall_makes_packets_late_and_then_missed_but_none_unsaid() {
        // A hundred milliseconds without a poll at 10,000 a second: 1,000 packets arrive, of which 512 fit.
        let mut queue = descriptors(Shape::Fixed, 1e4, 512);
        assert_eq!(queue.arrive(100_000_000), (1000, 488));
        let waits: Vec<u64> = queue.waiting.iter().map(|due| 100_000_000 - due).collect();
        assert_eq!((waits.len(), waits[0], waits[511]), (512, 99_900_000, 48_800_000));
        assert_eq!(queue.arrive(100_099_999), (0, 0));
    }

    /// A server in virtual time: the mean wait of M/D/1 is rho / (2 (1 - rho)) service times (Pollaczek and Khinchine).
    #[test]
    fn waits_are_those_of_m_d_1() {
        for rho in [0.3, 0.5, 0.8] {
            let (service, customers) = (1000u64, 1_500_000);
            let mut queue = descriptors(Shape::Poisson, rho * 1e6, usize::MAX >> 48);
            let (mut free_at, mut waited, mut served) = (0u64, 0u64, 0u64);
            while served < customers {
                let now = free_at.max(queue.next_due);
                queue.arrive(now);
                for due in queue.waiting.drain(..) {
                    let begin = free_at.max(due);
                    waited += begin - due;
                    free_at = begin + service;
                    served += 1;
                }
            }
            let (mean, theory) = (waited as f64 / served as f64, rho / (2.0 * (1.0 - rho)) * service as f64);
            assert!((mean / theory - 1.0).abs() < 0.05, "load {rho}: {mean} instead of {theory}");
        }
    }
}
