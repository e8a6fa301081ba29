//! What is done for deferred packets: take, run the expensive stage, transmit. Pool B's job, and pool A's where a packet must be
//! run where it is.

use super::{LcoreLoop, Stage, Transmit};
use crate::dpdk::clock::tsc;
use crate::dpdk::{Mbuf, StampField};
use crate::engine::{Engine, Verdict};
use crate::policy::Policy;
use crate::shed::oldest;
use crate::stats::{Lap, LcoreStats};

impl<E: Engine, P: Policy, const METER: bool> LcoreLoop<'_, E, P, METER> {
    /// Takes from the shard whose head has waited longest, as many packets as the time budget allows, and finishes them.
    #[inline]
    pub(super) fn take(&mut self) {
        let Some(at) = oldest(&self.shards) else { return self.rest() };
        let start = tsc();
        self.start_laps();
        let taken = self.shards[at].ring.take(&mut self.burst, self.budget.items());
        self.burst.prefetch_headers();
        self.lap(Lap::Rx);
        for packet in self.burst.drain() {
            expensive(&mut self.engine, packet, self.settings.stamp, &mut self.tx, self.stats);
        }
        self.lap(Lap::Engine);
        self.tx.flush(Stage::Expensive);
        self.lap(Lap::Tx);
        let end = tsc();
        self.budget.observe(taken, end.wrapping_sub(start));
        self.stats.taken_pkts.add(taken as u64);
        self.tx.close(end);
        self.lap(Lap::Statistics);
        if METER {
            self.stats.steps.add_pkts(taken as u64);
        }
    }

    /// Runs one deferred packet of this lcore's own to its end.
    pub(super) fn run_kept(&mut self) {
        self.start_laps();
        self.tx.close(tsc());
        if let Some(packet) = self.kept.pop_front() {
            expensive(&mut self.engine, packet, self.settings.stamp, &mut self.tx, self.stats);
            self.lap(Lap::Engine);
            self.tx.flush(Stage::Expensive);
            self.lap(Lap::Tx);
        }
    }
}

/// Runs the expensive stage of one packet, and notes which port it leaves by.
#[inline(always)]
fn expensive<E: Engine>(engine: &mut E, mut packet: Mbuf, stamp: StampField, tx: &mut Transmit<'_>, stats: &LcoreStats) {
    let ticks = stamp.read(&packet);
    let from = packet.port();
    match engine.expensive(&mut packet, from) {
        Verdict::Forward(port) => {
            stats.expensive_pkts.add(1);
            tx.stage(port, packet, ticks);
        }
        Verdict::Drop(cause) => {
            drop(packet);
            stats.drop_pkts(cause, 1);
        }
        Verdict::Defer => unreachable!("the expensive stage is the last one"),
    }
}
