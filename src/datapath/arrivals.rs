//! When packets came: the stamps that they bring, turned into ticks, and the
//! parts of the time since.

use super::sort::Arrival;
use super::{LcoreLoop, Stage, Transmit};
use crate::dpdk::clock::tsc;
use crate::dpdk::{Burst, Mbuf, RxStampField, StampField};
use crate::engine::Engine;
use crate::policy::Policy;
use crate::stats::{Distrust, LcoreStats, PARTS_EVERY_BURSTS, Parts, Stamps, Unit, Verdict};

impl<E: Engine, P: Policy, const METER: bool> LcoreLoop<'_, E, P, METER> {
    /// Looks whether the drivers' stamps on the burst, which a poll that began
    /// at `now` brought from `port`, are to be believed, and what clock they
    /// are of. `before`: the last stamp of the burst before it in the same
    /// queue, in ticks, 0 where that is not known; its successor is returned.
    /// Where stamps are not believed, polls take their place.
    #[inline(never)]
    pub(super) fn check_stamps(
        &mut self,
        field: RxStampField,
        port: u16,
        now: u64,
        before: u64,
    ) -> u64 {
        let arrival = Arrival::polled(port, now);
        let stamps = self.stamps.iter_mut().find(|stamps| stamps.port() == port);
        let Some(stamps) = stamps else { return 0 };
        match check(stamps, field, &self.burst, &mut self.tx, arrival, before) {
            Ok(last) => last,
            Err(verdict) => {
                self.without_stamps(verdict, arrival);
                0
            }
        }
    }

    /// Where the stamps of the burst stand.
    #[inline(always)]
    pub(super) fn brought(&self) -> Brought {
        self.settings.nic.map_or(Brought::Ticks(self.settings.stamp), |field| {
            Brought::Driver(field, self.tx.burst_clock.unit)
        })
    }

    /// Writes on each packet when it arrived: it may leave its burst, and with
    /// that the clock of its stamp.
    #[inline]
    pub(super) fn write_arrivals(&mut self, field: RxStampField) {
        let (to, clock) = (self.settings.stamp, self.tx.burst_clock);
        self.burst
            .packets_mut()
            .iter_mut()
            .for_each(|packet| to.write(packet, clock.ticks(clock.unit.even(field.read(packet)))));
    }

    /// From now on arrivals are polls, and latency is counted from these or not
    /// at all.
    #[cold]
    fn without_stamps(&mut self, verdict: Verdict, arrival: Arrival) {
        let counts = self.settings.stamping && verdict == Verdict::Software;
        (self.settings.nic, self.settings.stamped, self.settings.stamping) = (None, false, counts);
        self.tx.follow(self.settings);
        self.burst
            .packets_mut()
            .iter_mut()
            .for_each(|packet| arrival.write_on(packet, self.settings));
    }

    /// When the stage of this burst begins, if its parts are to be measured.
    #[inline(always)]
    pub(super) fn begin_parts(&mut self) -> Option<u64> {
        self.parts_in -= 1;
        if self.parts_in > 0 { None } else { self.begin_measured() }
    }

    #[cold]
    fn begin_measured(&mut self) -> Option<u64> {
        self.parts_in = PARTS_EVERY_BURSTS;
        self.tx.unseen.set(Unseen::UNKNOWN);
        self.tx.is_counting().then(tsc)
    }

    /// By how much longer the packets of the last poll may have waited than
    /// their stamps say.
    #[cold]
    pub(super) fn book_unseen(&self, now: u64) {
        let unseen_ticks = now.saturating_sub(self.unseen_since);
        if self.polls_are_stamps() && unseen_ticks > 0 {
            self.stats.unseen_wait.record(unseen_ticks, 1);
            self.tx.unseen.set(Unseen::of(unseen_ticks));
        }
    }

    /// At the end of the run: the longest that may have been unseen counts,
    /// whether or not its burst was measured.
    pub(super) fn book_longest_unseen(&self) {
        if self.polls_are_stamps() && self.unseen_ticks_max > 0 {
            self.stats.unseen_wait.record(self.unseen_ticks_max, 1);
        }
    }

    fn polls_are_stamps(&self) -> bool {
        self.settings.stamping && !self.settings.stamped && self.settings.nic.is_none()
    }

    /// The stage of these packets, which began at `start`, is over: books how
    /// long they waited before it, and how long it took. What they still wait
    /// to be sent is booked when they are.
    #[cold]
    pub(super) fn book_whole_burst(&mut self, start: u64, polled_ticks: u64) {
        let parts = &self.stats.cheap_parts;
        parts.queue_wait.record(start.saturating_sub(polled_ticks), self.burst.len() as u64);
        let end = tsc();
        parts.service.record(end.wrapping_sub(start), self.burst.len() as u64);
        self.tx.served(end);
    }

    /// Books how long packets have waited for their stage, which begins at
    /// `start`.
    #[cold]
    pub(super) fn book_waits(
        &self,
        start: u64,
        stage: Stage,
        packets: &Burst,
        arrival: impl Fn(&Mbuf) -> Arrival,
    ) {
        let parts = self.tx.parts(stage);
        self.tx.measured_from.set(start);
        packets.packets().iter().for_each(|packet| book_wait(parts, start, arrival(packet)));
    }

    /// Their stage ended at `end`; `pkts` were served.
    #[inline]
    pub(super) fn book_service(&mut self, start: u64, end: u64, stage: Stage, pkts: u64) {
        self.tx.parts(stage).service.record(end.wrapping_sub(start), pkts);
        self.tx.served(end);
    }
}

impl Transmit<'_> {
    /// The cheap stage hands this packet over: its wait is one for the
    /// expensive stage, and is booked again when that begins.
    #[cold]
    pub(super) fn take_wait_back(&self, arrival: Arrival) {
        let start = self.measured_from.get();
        if start != 0 {
            self.stats
                .cheap_parts
                .queue_wait
                .take_back(start.saturating_sub(arrival.polled_ticks), 1);
        }
    }
}

/// By how much longer than its stamp says a packet may have waited, if that is
/// known. In some hundred nanoseconds, rounded up: it takes no room then where
/// packets wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Unseen(u32);

impl Unseen {
    pub(super) const UNKNOWN: Self = Self(0);
    const TICKS: u64 = 256;

    fn of(ticks: u64) -> Self {
        Self(u32::try_from(ticks.div_ceil(Self::TICKS)).unwrap_or(u32::MAX))
    }

    /// Books both bounds of what packets took that took `ticks` since their
    /// stamp.
    #[cold]
    pub(super) fn book(self, stats: &LcoreStats, ticks: u64, pkts: u64) {
        if self != Self::UNKNOWN {
            stats.at_least.record(ticks, pkts);
            stats.at_most.record(ticks + u64::from(self.0) * Self::TICKS, pkts);
        }
    }
}

/// How long a packet waited for its stage. It may be run by an lcore whose
/// counter is a little behind.
#[inline]
pub(super) fn book_wait(parts: &Parts, start: u64, arrival: Arrival) {
    parts.queue_wait.record(start.saturating_sub(arrival.polled_ticks), 1);
}

/// How long packets that brought a stamp waited for their poll; they may have
/// arrived while that was under way.
#[inline(always)]
pub(super) fn book_nic_wait(parts: &Parts, arrival: Arrival, pkts: u64) {
    parts.nic_wait.record(arrival.polled_ticks.saturating_sub(arrival.ticks), pkts);
}

/// Sees to the clock of a burst's stamps. Returns the last of them in ticks.
#[inline(always)]
fn check(
    stamps: &mut Stamps<'_>,
    field: RxStampField,
    burst: &Burst,
    tx: &mut Transmit<'_>,
    arrival: Arrival,
    before: u64,
) -> Result<u64, Verdict> {
    let Some(first) = burst.packets().first() else { return Ok(before) };
    if !field.is_set(first) {
        return Err(stamps.distrust(Distrust::Missing));
    }
    stamps.look(field.read(first), tsc)?;
    tx.burst_clock = stamps.clock();
    if !tx.copy_stamps(Brought::Driver(field, tx.burst_clock.unit), burst) {
        return Err(stamps.distrust(Distrust::Missing));
    }
    let span = tx.stamp_span();
    match stamps.check(before, span, arrival.polled_ticks, tsc) {
        Ok(()) => Ok(span.last),
        Err(why) => Err(stamps.distrust(why)),
    }
}

/// Where the stamps of a burst stand that its packets brought.
#[derive(Clone, Copy)]
pub(super) enum Brought {
    /// Put there by a driver, in the units of its clock.
    Driver(RxStampField, Unit),
    /// Put there by a source, in ticks.
    Ticks(StampField),
}

impl Brought {
    /// Copies the packets' stamps, as their clock has them: one loop for each
    /// kind, which is not asked for per packet. Returns whether all packets had
    /// one.
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
