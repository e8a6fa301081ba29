//! `spin` for a traffic source that has drawn the cost of each packet: any
//! forwarding engine, made as expensive as the packet says.

use super::{Class, Cutoff, Engine, Turns, Verdict};
use crate::dpdk::clock::busy_wait;
use crate::dpdk::{Burst, CostField, Mbuf};
use crate::stats::Gaps;

/// A forwarding engine whose packets cost what the source wrote on them.
#[derive(Clone, Debug)]
pub struct Carried<E> {
    forward: E,
    field: CostField,
    /// Whether a packet's cost is known before the work is done.
    known: bool,
    /// When work of unknown cost is given up.
    cutoff: Option<Cutoff>,
    gap_ticks: u64,
    gaps: Gaps,
}

impl<E: Engine> Carried<E> {
    /// `field`: where the source has written the cost of every packet. With
    /// `known`, expensive packets are deferred; without, they are given up
    /// after `cutoff`, if there is one. `gap_ticks`: a longer pause was made by
    /// the host.
    pub fn new(
        forward: E,
        field: CostField,
        known: bool,
        cutoff: Option<Cutoff>,
        gap_ticks: u64,
    ) -> Self {
        Self { forward, field, known, cutoff, gap_ticks, gaps: Gaps::default() }
    }

    #[inline]
    fn spin(&mut self, ticks: u64) {
        if ticks > 0 {
            busy_wait(ticks, self.gap_ticks, |gap| self.gaps.note(gap));
        }
    }
}

impl<E: Engine> Engine for Carried<E> {
    #[inline]
    fn classify(&mut self, packet: &Mbuf, _: u16) -> Class {
        match self.field.read(packet) {
            _ if !self.known => Class::Unknown,
            (_, true) => Class::Defer,
            (_, false) => Class::Cheap,
        }
    }

    #[inline]
    fn cheap(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        let (ticks, _) = self.field.read(packet);
        if let Some(cutoff) = self.cutoff.filter(|cutoff| cutoff.ticks() < ticks) {
            self.spin(cutoff.ticks());
            cutoff.leave_progress(packet, 0);
            return Verdict::Defer;
        }
        self.spin(ticks);
        self.forward.cheap(packet, from)
    }

    #[inline]
    fn expensive(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        let (ticks, _) = self.field.read(packet);
        let started = self.cutoff.filter(|cutoff| cutoff.take_progress(packet).is_some());
        self.spin(ticks.saturating_sub(started.map_or(0, Cutoff::ticks)));
        self.forward.cheap(packet, from)
    }

    #[inline]
    fn prepare_burst(&mut self, burst: &mut Burst, from: u16) {
        self.forward.prepare_burst(burst, from);
    }

    #[inline]
    fn rest(&mut self) {
        self.forward.rest();
    }

    fn turns(&self) -> Option<Box<dyn Turns>> {
        self.forward.turns()
    }

    fn host_gaps(&mut self) -> Gaps {
        std::mem::take(&mut self.gaps)
    }
}
