//! The latency of a burst of the cheap stage that was sent unstaged: until the
//! next reading of the clock closes it. Its packets are the driver's by then,
//! so it needs one arrival for all, or a copy of each packet's stamp.

use crate::dpdk::{BURST_MAX, Burst, Mbuf, RxStampField, StampField};
use crate::stats::{BurstClock, Histogram, StampSpan, Unit};

/// Younger packets' ages are computed in a few instructions, in ticks: a third
/// of a second. Half of what `Ages` has room for.
const AGES_TICKS_MAX: u64 = 1 << 30;

/// The stamps of a burst that its packets brought.
#[derive(Clone, Copy)]
pub(super) enum Brought {
    /// Written by a driver, in the units of its clock.
    Driver(RxStampField, Unit),
    /// Written by a source, in ticks.
    Ticks(StampField),
}

impl Brought {
    /// Copies the packets' stamps, as their clock has them: one loop per kind,
    /// so that the kind is not asked per packet. Returns whether all packets
    /// had one.
    #[inline(always)]
    pub(super) fn copy(self, packets: &[Mbuf], to: &mut [u64]) -> bool {
        let pairs = to.iter_mut().zip(packets);
        match self {
            Self::Driver(field, Unit::SecondsNanoseconds) => {
                field.copy(pairs, |stamp| Unit::SecondsNanoseconds.even(stamp))
            }
            Self::Driver(field, Unit::Ticks | Unit::Nanoseconds | Unit::Microseconds) => {
                field.copy(pairs, |stamp| stamp)
            }
            Self::Ticks(field) => {
                pairs.for_each(|(to, packet)| *to = field.read(packet));
                true
            }
        }
    }
}

pub(super) struct WholeBurst {
    /// How many a driver accepted since the last burst was closed.
    pkts: u64,
    /// The arrival of the first.
    stamp: u64,
    /// Where packets bring stamps of their own, the first `pkts` of these count
    /// instead.
    stamps: Box<[u64; BURST_MAX]>,
    /// Converts their stamps: the clock of the burst that is served, once the
    /// one before it is closed.
    clock: BurstClock,
    /// How many stamps of the next burst are copied already.
    copied_pkts: usize,
}

impl WholeBurst {
    pub(super) fn new() -> Self {
        Self {
            pkts: 0,
            stamp: 0,
            stamps: Box::new([0; BURST_MAX]),
            clock: BurstClock::TICKS,
            copied_pkts: 0,
        }
    }

    #[inline(always)]
    pub(super) fn clock(&self) -> BurstClock {
        self.clock
    }

    /// The clock of the next burst's stamps. The burst before is closed.
    #[inline(always)]
    pub(super) fn use_clock(&mut self, clock: BurstClock) {
        self.clock = clock;
    }

    /// So many packets were accepted that arrived at `stamp`.
    #[inline(always)]
    pub(super) fn accept(&mut self, pkts: usize, stamp: u64) {
        (self.pkts, self.stamp) = (pkts as u64, stamp);
    }

    /// Copies the stamps of the burst that is sent next. Returns whether all
    /// packets had one.
    #[inline(always)]
    pub(super) fn copy_stamps(&mut self, brought: Brought, burst: &Burst) -> bool {
        self.copied_pkts = burst.len();
        let all_have = brought.copy(burst.packets(), &mut *self.stamps);
        self.stamp = self.clock.ticks(self.stamps[0]);
        all_have
    }

    /// Where the stamps that were copied last lie, in ticks.
    #[inline(always)]
    pub(super) fn span(&self) -> StampSpan {
        self.clock.span(&self.stamps[..self.copied_pkts.min(BURST_MAX)])
    }

    /// As `copy_stamps`, unless they are there already: packets may have been
    /// dropped since. Returns when the first packet arrived.
    #[inline(always)]
    pub(super) fn prepare(&mut self, brought: Brought, burst: &Burst) -> u64 {
        if self.copied_pkts != burst.len() {
            self.copy_stamps(brought, burst);
        }
        self.copied_pkts = 0;
        self.stamp
    }

    /// So many packets were accepted of those whose stamps are copied.
    #[inline(always)]
    pub(super) fn accept_stamped(&mut self, pkts: usize) {
        self.pkts = pkts as u64;
    }

    /// When those arrived that were copied but not accepted, from `first` on.
    pub(super) fn arrivals_from(&self, first: usize) -> impl Iterator<Item = u64> {
        self.stamps[first..].iter().map(|&stamp| self.clock.ticks(stamp))
    }

    /// Books the latency up to `now` if there is any. Returns how many packets
    /// it was of, and the arrival of the first.
    #[inline(always)]
    pub(super) fn close(&mut self, now: u64, stamped: bool, latency: &Histogram) -> (u64, u64) {
        let pkts = self.pkts;
        if pkts > 0 {
            match stamped {
                false => latency.record(now.wrapping_sub(self.stamp), pkts),
                true => self.close_stamped(now, latency),
            }
            self.pkts = 0;
        }
        (pkts, self.stamp)
    }

    #[inline]
    fn close_stamped(&self, now: u64, latency: &Histogram) {
        // The packets of a burst are of about one age.
        if now.wrapping_sub(self.stamp) < AGES_TICKS_MAX {
            latency.record_ages(&self.stamps[..self.pkts as usize], self.clock.ages(now));
        } else {
            self.close_aged(now, latency);
        }
    }

    /// Of packets that are old, or whose stamp is a little ahead of the time.
    #[cold]
    fn close_aged(&self, now: u64, latency: &Histogram) {
        let stamps = &self.stamps[..self.pkts as usize];
        stamps
            .iter()
            .for_each(|&stamp| latency.record(now.saturating_sub(self.clock.ticks(stamp)), 1));
    }
}
