//! What pool A does with a burst: poll, classify, shed, serve, transmit.

use super::{LcoreLoop, Polled, Stage};
use crate::cli::OnFull;
use crate::dpdk::Mbuf;
use crate::dpdk::clock::tsc;
use crate::engine::{Class, Engine, Verdict};
use crate::policy::{Place, Policy};
use crate::stats::{DropCause, Lap};

/// What the packets of a burst have in common: the port they came in by, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Arrival {
    port: u16,
    ticks: u64,
}

impl<E: Engine, P: Policy, const METER: bool> LcoreLoop<'_, E, P, METER> {
    /// Receives a burst of the next queue, and serves it. The stamp is taken before: no packet is said to have come later than
    /// it did, and one reading of the clock closes the last burst's latency and opens this one's.
    #[inline]
    pub(super) fn poll(&mut self) {
        let now = tsc();
        self.start_laps();
        self.tx.close(now);
        self.lap(Lap::Statistics);
        let at = self.next_rx;
        let Some(Polled { lease, received_pkts }) = self.rx.get_mut(at) else { return self.rest() };
        let received = lease.poll(&mut self.burst, self.settings.burst);
        received_pkts.add(received as u64);
        let arrival = Arrival { port: lease.port(), ticks: now };
        self.next_rx = if at + 1 == self.rx.len() { 0 } else { at + 1 };
        self.stats.polls.add(1);
        if received == 0 {
            return self.rest();
        }
        self.lap(Lap::Rx);
        self.stats.rx_bursts.add(1);
        self.shared.run.count_received(received as u64);
        if METER {
            self.stats.steps.add_pkts(received as u64);
        }
        self.lap(Lap::Statistics);
        self.serve(arrival);
    }

    /// Serves packets that were left over, as many as arrived together.
    pub(super) fn serve_run_queue(&mut self) {
        self.start_laps();
        self.tx.close(tsc());
        let stamp = self.settings.stamp;
        let arrival = |packet: &Mbuf| Arrival { port: packet.port(), ticks: stamp.read(packet) };
        let Some(first) = self.pop_waiting() else { return };
        let together = arrival(&first);
        self.burst.push(first);
        while self.burst.len() < self.settings.burst
            && let Some(next) = self.run_queue.pop()
        {
            if arrival(&next) != together {
                self.next_waiting = Some(next);
                break;
            }
            self.burst.push(next);
        }
        self.serve(together);
    }

    /// Classifies the burst, sheds what is expensive, serves what is cheap, and transmits.
    #[inline]
    fn serve(&mut self, arrival: Arrival) {
        let stats = self.stats;
        let drop_one = |packet: Mbuf, cause| {
            drop(packet);
            stats.drop_pkts(cause, 1);
        };
        if let Some(port) = self.engine.cheap_burst(&mut self.burst, arrival.port, drop_one) {
            self.lap(Lap::Engine);
            self.stats.cheap_pkts.add(self.burst.len() as u64);
            self.lap(Lap::Statistics);
            self.tx.send_burst(port, &mut self.burst, arrival.ticks, Stage::Cheap);
            self.lap(Lap::Tx);
            return;
        }
        self.classify(arrival);
        self.lap(Lap::Classify);
        self.shed();
        self.serve_cheap(arrival);
        self.lap(Lap::Engine);
        self.tx.flush(Stage::Cheap);
        self.shed();
        self.lap(Lap::Tx);
    }

    /// Parts the burst into cheap and deferred packets. Where a deferred packet is to run here, it goes ahead of all that came
    /// after it: those wait in the run queue, unclassified, not in private.
    #[inline]
    fn classify(&mut self, arrival: Arrival) {
        let mut packets = self.burst.drain();
        while let Some(mut packet) = packets.next() {
            match self.engine.classify(&packet, arrival.port) {
                Class::Cheap => self.cheap.push(packet),
                Class::Defer => {
                    label(&mut packet, arrival, self.settings.stamp);
                    match P::DEFERRED {
                        Place::Shed => self.deferred.push(packet),
                        Place::Here => {
                            self.kept.push_back(packet);
                            let mut left_over = 0;
                            for mut packet in packets {
                                label(&mut packet, arrival, self.settings.stamp);
                                assert!(self.run_queue.push(packet).is_ok(), "the run queue has no bound");
                                left_over += 1;
                            }
                            self.stats.requeued_pkts.add(left_over);
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Runs the cheap stage, and notes who leaves by which port.
    #[inline]
    fn serve_cheap(&mut self, arrival: Arrival) {
        let mut served = 0;
        for mut packet in self.cheap.drain() {
            match self.engine.cheap(&mut packet, arrival.port) {
                Verdict::Forward(port) => {
                    served += 1;
                    self.tx.stage(port, packet, arrival.ticks);
                }
                Verdict::Drop(cause) => {
                    drop(packet);
                    self.stats.drop_pkts(cause, 1);
                }
                Verdict::Defer => {
                    label(&mut packet, arrival, self.settings.stamp);
                    match P::DEFERRED {
                        Place::Shed => self.deferred.push(packet),
                        Place::Here => self.kept.push_back(packet),
                    }
                }
            }
        }
        self.stats.cheap_pkts.add(served);
    }

    /// Puts the deferred packets into this lcore's shard.
    #[inline]
    fn shed(&mut self) {
        if self.deferred.is_empty() {
            return;
        }
        let put = self.shard.as_mut().map_or(0, |shard| shard.put(&mut self.deferred));
        self.stats.shed_pkts.add(put as u64);
        if !self.deferred.is_empty() {
            self.shard_is_full();
        }
    }

    #[cold]
    fn shard_is_full(&mut self) {
        match self.settings.on_full {
            OnFull::Drop => self.stats.drop_pkts(DropCause::ShardFull, self.deferred.free() as u64),
            OnFull::Run => self.deferred.drain().for_each(|packet| self.kept.push_back(packet)),
        }
    }
}

/// Writes on the packet what its burst knew of it.
#[inline(always)]
fn label(packet: &mut Mbuf, arrival: Arrival, stamp: crate::dpdk::StampField) {
    packet.set_port(arrival.port);
    stamp.write(packet, arrival.ticks);
}
