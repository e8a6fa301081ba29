//! `spin`: any forwarding engine made as expensive as asked, to measure
//! schedulers with work of a known cost. Marked packets cost more.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, Geometric};
use xxhash_rust::xxh3::xxh3_64;

use super::{Class, Cutoff, Engine, Turns, Verdict};
use crate::dpdk::clock::busy_wait;
use crate::dpdk::{Burst, Mbuf};
use crate::stats::{DropCause, Gaps};

/// The cost of the two stages, in TSC ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpinTicks {
    pub cheap: u64,
    pub expensive: u64,
    /// Longer pauses of the CPU count as gaps.
    pub gap: u64,
}

/// Which packets are marked: each with the same probability, by its bytes, or
/// at random where all packets of a port are alike.
#[derive(Clone, Debug)]
pub struct Marking {
    /// A packet whose hash is below this is marked, so the same packet always
    /// is or never is.
    below: u128,
    sequence: Sequence,
    /// A bit per incoming port: whether the sequence marks its packets instead
    /// of the hash.
    by_sequence: u64,
}

impl Marking {
    /// Marks packets with probability `p` (0 to 1). `by_sequence` has a bit for
    /// each port whose packets the sequence marks; the same seed marks the same
    /// positions.
    pub fn new(p: f64, seed: u64, by_sequence: u64) -> Self {
        Self { below: (p * 2f64.powi(64)) as u128, sequence: Sequence::new(p, seed), by_sequence }
    }

    #[inline]
    fn is_by_sequence(&self, from: u16) -> bool {
        self.by_sequence >> (from % 64) & 1 == 1
    }

    #[inline]
    fn marks(&mut self, packet: &Mbuf, from: u16) -> bool {
        if self.is_by_sequence(from) {
            self.sequence.next_is_marked()
        } else {
            self.marks_bytes(packet.data())
        }
    }

    #[inline]
    fn marks_bytes(&self, data: &[u8]) -> bool {
        u128::from(hash(data)) < self.below
    }
}

/// Bytes that the hash covers: Ethernet, IPv6 and TCP headers and a little of
/// the payload.
const HASHED_BYTES: usize = 96;

#[inline]
fn hash(data: &[u8]) -> u64 {
    xxh3_64(&data[..data.len().min(HASHED_BYTES)])
}

/// Independent trials of probability `p`, one per packet. Packets between two
/// marked ones cost no draw: the distance to the next one is drawn from the
/// geometric distribution.
#[derive(Clone, Debug)]
struct Sequence {
    random: SmallRng,
    distances: Geometric,
    /// Every packet is marked; nothing is drawn.
    always: bool,
    /// Packets to skip before the next marked one.
    to_skip: u64,
}

impl Sequence {
    fn new(p: f64, seed: u64) -> Self {
        let p = p.clamp(0.0, 1.0);
        let distances = Geometric::new(p).expect("a clamped probability is valid");
        let mut sequence =
            Self { random: SmallRng::seed_from_u64(seed), distances, always: p == 1.0, to_skip: 0 };
        sequence.to_skip = sequence.distance();
        sequence
    }

    #[inline]
    fn next_is_marked(&mut self) -> bool {
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return false;
        }
        self.to_skip = self.distance();
        true
    }

    /// Skips `packets` packets if none of them is marked.
    #[inline]
    fn skip(&mut self, packets: u64) -> bool {
        let all = self.to_skip >= packets;
        if all {
            self.to_skip -= packets;
        }
        all
    }

    #[inline]
    fn distance(&mut self) -> u64 {
        if self.always { 0 } else { self.distances.sample(&mut self.random) }
    }
}

/// A forwarding engine whose packets cost as [`SpinTicks`] says.
#[derive(Clone, Debug)]
pub struct Spin<E> {
    forward: E,
    ticks: SpinTicks,
    marking: Marking,
    /// Whether a packet's cost is known before the work is done.
    known: bool,
    /// When work of unknown cost is given up.
    cutoff: Option<Cutoff>,
    gaps: Gaps,
}

impl<E: Engine> Spin<E> {
    #[inline(always)]
    fn spin(&mut self, ticks: u64) {
        if ticks > 0 {
            busy_wait(ticks, self.ticks.gap, |gap| self.gaps.note(gap));
        }
    }

    /// With `known`, marked packets are deferred. Without, a packet turns out
    /// to be expensive while it is served, and is given up after `cutoff`, if
    /// there is one.
    pub fn new(
        forward: E,
        ticks: SpinTicks,
        marking: Marking,
        known: bool,
        cutoff: Option<Cutoff>,
    ) -> Self {
        Self { forward, ticks, marking, known, cutoff, gaps: Gaps::default() }
    }

    /// The remaining cost of a packet that may have been started, or whose cost
    /// is unknown.
    #[inline(never)]
    fn ticks_left(&mut self, packet: &mut Mbuf, from: u16) -> u64 {
        let started =
            self.cutoff.and_then(|cutoff| Some((cutoff.take_progress(packet)?, cutoff.ticks())));
        match started {
            Some((1, done)) => self.ticks.expensive - done,
            Some((_, done)) => self.ticks.cheap - done,
            None if self.known => self.ticks.expensive,
            None => self.found_ticks(packet, from),
        }
    }

    /// The cost that a packet of unknown cost turns out to have.
    #[inline]
    fn found_ticks(&mut self, packet: &Mbuf, from: u16) -> u64 {
        if self.marking.marks(packet, from) { self.ticks.expensive } else { self.ticks.cheap }
    }
}

impl<E: Engine> Engine for Spin<E> {
    #[inline]
    fn classify(&mut self, packet: &Mbuf, from: u16) -> Class {
        match self.known {
            false => Class::Unknown,
            true if self.marking.marks(packet, from) => Class::Defer,
            true => Class::Cheap,
        }
    }

    #[inline]
    fn cheap(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        let ticks = if self.known { self.ticks.cheap } else { self.found_ticks(packet, from) };
        if let Some(cutoff) = self.cutoff.filter(|cutoff| cutoff.ticks() < ticks) {
            self.spin(cutoff.ticks());
            cutoff.leave_progress(packet, u32::from(ticks == self.ticks.expensive));
            return Verdict::Defer;
        }
        self.spin(ticks);
        self.forward.cheap(packet, from)
    }

    #[inline]
    fn expensive(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        let ticks = if self.known && self.cutoff.is_none() {
            self.ticks.expensive
        } else {
            self.ticks_left(packet, from)
        };
        self.spin(ticks);
        self.forward.cheap(packet, from)
    }

    #[inline]
    fn prepare_burst(&mut self, burst: &mut Burst, from: u16) {
        self.forward.prepare_burst(burst, from);
    }

    #[inline]
    fn defers_burst(&mut self, _: &Burst, from: u16) -> bool {
        self.known && self.marking.is_by_sequence(from) && self.marking.sequence.always
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

    #[inline]
    fn cheap_burst(
        &mut self,
        burst: &mut Burst,
        from: u16,
        dropped: impl FnMut(Mbuf, DropCause),
    ) -> Option<u16> {
        if self.ticks.cheap > 0
            || !self.known
            || !self.marking.is_by_sequence(from)
            || !self.marking.sequence.skip(burst.len() as u64)
        {
            return None;
        }
        self.forward.cheap_burst(burst, from, dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(p: f64, packets: u32) -> f64 {
        let mut sequence = Sequence::new(p, 7);
        let marked = (0..packets).filter(|_| sequence.next_is_marked()).count();
        marked as f64 / f64::from(packets)
    }

    #[test]
    fn marks_the_requested_share() {
        assert_eq!(share(0.0, 100_000), 0.0);
        assert_eq!(share(1.0, 100_000), 1.0);
        for p in [0.5, 0.1, 0.001] {
            let packets = 4_000_000;
            let deviation = (p * (1.0 - p) / f64::from(packets)).sqrt();
            assert!((share(p, packets) - p).abs() < 5.0 * deviation, "p = {p}");
        }
    }

    #[test]
    fn a_skipped_burst_counts_like_its_packets() {
        let (mut by_one, mut by_burst) = (Sequence::new(0.01, 3), Sequence::new(0.01, 3));
        for _ in 0..10_000 {
            let marks: Vec<bool> = (0..32).map(|_| by_one.next_is_marked()).collect();
            if !by_burst.skip(32) {
                assert_eq!(marks, (0..32).map(|_| by_burst.next_is_marked()).collect::<Vec<_>>());
            } else {
                assert!(!marks.contains(&true));
            }
        }
    }

    #[test]
    fn the_hash_marks_the_requested_share() {
        let packets = 200_000;
        for p in [0.0, 0.001, 0.1, 0.5, 0.9, 1.0] {
            let marking = Marking::new(p, 1, 0);
            let marks =
                |n: &u32| marking.marks_bytes(&[[0u8; 60].as_slice(), &n.to_be_bytes()].concat());
            let marked: Vec<u32> = (0..packets).filter(marks).collect();
            let deviation = (p * (1.0 - p) / f64::from(packets)).sqrt();
            assert!(
                (marked.len() as f64 / f64::from(packets) - p).abs() <= 5.0 * deviation,
                "p = {p}: {}",
                marked.len()
            );
            assert!(marked.iter().all(marks), "the same packets again");
        }
    }

    #[test]
    fn the_hash_covers_headers_only() {
        let marking = Marking::new(0.5, 1, 0);
        let mut packet = [0u8; 1500];
        for n in 0..100u8 {
            packet[HASHED_BYTES - 1] = n;
            packet[HASHED_BYTES] = 0;
            let marked = marking.marks_bytes(&packet);
            packet[HASHED_BYTES] = 1;
            assert_eq!(marking.marks_bytes(&packet), marked);
        }
    }

    #[test]
    fn the_hash_spreads_and_repeats() {
        let below = (0..100_000u32)
            .filter(|n| hash(&[[0u8; 60].as_slice(), &n.to_be_bytes()].concat()) < u64::MAX / 10)
            .count();
        assert!((9_500..10_500).contains(&below), "{below}");
        assert_eq!(hash(b"same"), hash(b"same"));
        assert_ne!(hash(&[0; 8]), hash(&[0; 16]));
    }
}
