//! The engine's stages: cheap, expensive, and what stands on dequeued packets
//! while they go through theirs. Knows no ports' ways out: verdicts are the
//! loop's to follow.

use super::packet::{Marks, Run, Stage};
use super::timing::Timing;
use crate::dpdk::{BURST_MAX, Burst, Mbuf};
use crate::engine::{Class, Engine, Verdict};
use crate::order::Number;
use crate::stats::{Gaps, LcoreStats};

pub(super) struct Serve<'a, E> {
    engine: E,
    /// Of dequeued packets, by place in the burst: what stands on them, and
    /// their verdicts.
    ports: Box<[u16; BURST_MAX]>,
    numbers: Box<[Number; BURST_MAX]>,
    stamps: Box<[u64; BURST_MAX]>,
    verdicts: Box<[Verdict; BURST_MAX]>,
    stats: &'a LcoreStats,
}

impl<'a, E: Engine> Serve<'a, E> {
    pub(super) fn new(engine: E, stats: &'a LcoreStats) -> Self {
        Self {
            engine,
            ports: Box::new([0; BURST_MAX]),
            numbers: Box::new([Number::from_bits(0); BURST_MAX]),
            stamps: Box::new([0; BURST_MAX]),
            verdicts: Box::new([Verdict::Defer; BURST_MAX]),
            stats,
        }
    }

    /// The cheap stage of a whole burst, if all of it is cheap and leaves by
    /// one port, which is returned.
    #[inline(always)]
    pub(super) fn whole_burst(&mut self, burst: &mut Burst, from: u16) -> Option<u16> {
        let stats = self.stats;
        let dropped = |packet: Mbuf, cause| {
            drop(packet);
            stats.drop_pkts(cause, 1);
        };
        let port = self.engine.cheap_burst(burst, from, dropped)?;
        self.count_cheap(burst.len() as u64);
        Some(port)
    }

    /// The packets of the burst are about to be classified one by one.
    #[inline]
    pub(super) fn prepare_burst(&mut self, burst: &mut Burst, from: u16) {
        burst.prefetch_data();
        self.engine.prepare_burst(burst, from);
    }

    #[inline]
    pub(super) fn defers_burst(&mut self, burst: &Burst, from: u16) -> bool {
        self.engine.defers_burst(burst, from)
    }

    #[inline(always)]
    pub(super) fn classify(&mut self, packet: &Mbuf, from: u16) -> Class {
        self.engine.classify(packet, from)
    }

    #[inline(always)]
    pub(super) fn cheap(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        let verdict = self.engine.cheap(packet, from);
        if verdict == Verdict::Defer {
            self.stats.yielded_pkts.add(1);
        }
        verdict
    }

    #[inline(always)]
    pub(super) fn expensive(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        let verdict = self.engine.expensive(packet, from);
        if verdict.forwards() {
            self.stats.expensive_pkts.add(1);
        }
        verdict
    }

    /// So many packets of the cheap stage are forwarded.
    #[inline(always)]
    pub(super) fn count_cheap(&self, pkts: u64) {
        self.stats.cheap_pkts.add(pkts);
    }

    /// A packet of unknown cost runs alone.
    #[inline(always)]
    pub(super) fn count_unknown(&self) {
        self.stats.unknown_pkts.add(1);
    }

    /// Packets that were forwarded since the run began.
    #[inline]
    pub(super) fn done_pkts(&self) -> u64 {
        self.stats.cheap_pkts.get() + self.stats.expensive_pkts.get()
    }

    /// The expensive stage of a burst that was dequeued, where no order is
    /// kept: of packets that follow each other and came by one port at once.
    /// `runs` has the verdicts.
    #[inline]
    pub(super) fn expensive_burst(&mut self, burst: &mut Burst, timing: &Timing<'_>) {
        self.read(burst, timing.marks());
        self.run(burst, timing);
    }

    /// Reads what stands on the packets.
    #[inline]
    fn read(&mut self, burst: &Burst, marks: Marks) {
        let places = self.stamps.iter_mut().zip(&mut *self.numbers).zip(&mut *self.ports);
        for (packet, ((stamp, number), port)) in burst.packets().iter().zip(places) {
            *stamp = marks.stamp.read(packet);
            *number = Number::from_bits(marks.ticket.read(packet));
            *port = packet.port();
        }
    }

    #[inline]
    fn run(&mut self, burst: &mut Burst, timing: &Timing<'_>) {
        let marks = timing.marks();
        let (mut packets, mut verdicts) = (burst.packets_mut(), &mut self.verdicts[..]);
        for run in self.ports[..packets.len()].chunk_by(|a, b| a == b) {
            let (now, later) = packets.split_at_mut(run.len());
            let (verdicts_now, verdicts_later) = verdicts.split_at_mut(run.len());
            self.engine.expensive_all(now, run[0], verdicts_now);
            if marks.stamped {
                let sent = now.iter().zip(&*verdicts_now).filter(|(_, verdict)| verdict.forwards());
                sent.for_each(|(packet, _)| {
                    timing.book_nic_wait(Stage::Expensive, marks.arrival(packet))
                });
            }
            (packets, verdicts) = (later, verdicts_later);
        }
    }

    /// The first `pkts` packets of `expensive_burst`, by verdict.
    #[inline]
    pub(super) fn runs(&self, pkts: usize) -> impl Iterator<Item = Run<'_>> {
        let mut begin = 0;
        self.verdicts[..pkts].chunk_by(|a, b| a == b).map(move |run| {
            let places = begin..begin + run.len();
            begin = places.end;
            if run[0].forwards() {
                self.stats.expensive_pkts.add(run.len() as u64);
            }
            Run {
                verdict: run[0],
                numbers: &self.numbers[places.clone()],
                stamps: &self.stamps[places],
            }
        })
    }

    /// There is nothing to do.
    #[inline]
    pub(super) fn rest(&mut self) {
        self.engine.rest();
    }

    /// The time that the host took while the engine worked, as far as it knows.
    pub(super) fn host_gaps(&mut self) -> Gaps {
        self.engine.host_gaps()
    }
}
