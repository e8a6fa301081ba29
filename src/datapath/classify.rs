//! The piles that a burst is sorted into.

use super::packet::Pass;
use super::places::Places;
use crate::dpdk::{BURST_MAX, Burst, Mbuf};
use crate::engine::Class;
use crate::order::{Bucket, Full};
use crate::policy::{Deferral, Policy};

/// Where a packet goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pile {
    /// The cheap stage serves it here.
    Cheap,
    /// It goes where the mode runs deferred packets.
    Deferred,
    /// It runs here, and nothing is held in private behind it.
    Alone { unknown: bool },
    /// It waits behind one that runs alone, unclassified.
    LeftOver,
}

impl Pile {
    /// By the packet's class. In modes without thieves and rescuers a packet of
    /// unknown cost is served like a cheap one.
    #[inline(always)]
    pub(super) fn of<P: Policy>(class: Class) -> Self {
        match class {
            Class::Cheap => Self::Cheap,
            Class::Unknown if !(P::STEALS || P::RESCUES) => Self::Cheap,
            Class::Unknown => Self::Alone { unknown: true },
            Class::Defer if P::DEFERRED == Deferral::Here => Self::Alone { unknown: false },
            Class::Defer => Self::Deferred,
        }
    }
}

/// Packets for the cheap stage, each with its place in its flow.
pub(super) struct CheapPile {
    packets: Burst,
    passes: Box<[Pass; BURST_MAX]>,
}

impl CheapPile {
    #[inline(always)]
    pub(super) fn push(&mut self, packet: Mbuf, pass: Pass) {
        let place = self.packets.len();
        self.packets.push(packet);
        self.passes[place] = pass;
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    pub(super) fn packets(&self) -> &Burst {
        &self.packets
    }

    #[inline(always)]
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (Pass, Mbuf)> {
        self.passes.iter().copied().zip(self.packets.drain())
    }

    /// A packet of that bucket is about to leave this lcore: those of the
    /// bucket that are here came before it, and get places before it.
    ///
    /// # Errors
    /// When there is no place left.
    #[inline(always)]
    pub(super) fn keep_places_in(
        &mut self,
        bucket: Bucket,
        places: Places<'_>,
    ) -> Result<(), Full> {
        if self.is_empty() { Ok(()) } else { self.keep_places_here(bucket, places) }
    }

    #[inline(never)]
    fn keep_places_here(&mut self, bucket: Bucket, places: Places<'_>) -> Result<(), Full> {
        let mut pairs = self.passes.iter_mut().zip(self.packets.packets());
        pairs.try_for_each(|(pass, packet)| places.keep_in(bucket, pass, packet))
    }
}

/// A burst's packets that do not go on at once. Plain values of the loop's,
/// empty between two bursts.
pub(super) struct Piles {
    pub cheap: CheapPile,
    /// Each packet carries its arrival and its place.
    pub deferred: Burst,
}

impl Piles {
    pub(super) fn new() -> Self {
        let passes = Box::new([Pass::Unasked(0); BURST_MAX]);
        let cheap = CheapPile { packets: Burst::new(), passes };
        Self { cheap, deferred: Burst::new() }
    }
}
