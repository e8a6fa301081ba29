//! All that is measured: when packets came, how long their stages took, what
//! latency that makes, and time that the host took. The only owner of a clock:
//! no other file of the datapath reads one.
//!
//! Packets that were polled together share one reading, and that reading closes
//! the latency of what was sent before. The parts of latency are measured for
//! one burst in `PARTS_EVERY_BURSTS`.

mod gaps;
mod laps;
mod sampler;
mod stamps;
mod whole_burst;

use gaps::GapWatch;
pub(super) use laps::Laps;
use stamps::DriverStamps;
use whole_burst::{Brought, WholeBurst};

use self::sampler::Sampler;
use super::packet::{Accepted, Arrival, Marks, Origin, Stage, Times, Unseen};
use super::setup::{Settings, Shared};
use crate::dpdk::clock::tsc;
use crate::dpdk::{Burst, RxStampField};
use crate::stats::{Gaps, LcoreStats, PARTS_EVERY_BURSTS, Parts, Verdict};

pub(super) struct Timing<'a> {
    stats: &'a LcoreStats,
    marks: Marks,
    /// Whether latency is counted.
    stamping: bool,
    /// Where drivers write their stamps, if these count.
    nic: Option<RxStampField>,
    drivers: DriverStamps<'a>,
    whole_burst: WholeBurst,
    gaps: GapWatch<'a>,
    sampler: Sampler,
    /// When the stage began in which packets are now, if its parts are
    /// measured; else 0.
    measured_from: u64,
    /// When the stage of what is sent next ended; 0 if that was not measured.
    served_ticks: u64,
    /// How much longer than their stamps say the packets of that burst may have
    /// waited.
    unseen: Unseen,
    /// Since when the packets of the last poll may have waited, in ticks, if
    /// polls are stamps. And the longest that any may have waited longer than
    /// their stamps say, so far.
    unseen_since: u64,
    unseen_ticks_max: u64,
}

impl<'a> Timing<'a> {
    pub(super) fn new(settings: &Settings, shared: Shared<'a>, stats: &'a LcoreStats) -> Self {
        let &Settings { stamp, polled, ticket, stamped, .. } = settings;
        Self {
            stats,
            marks: Marks { stamp, polled, ticket, stamped },
            stamping: settings.stamping,
            nic: settings.nic,
            drivers: DriverStamps::new(shared.clocks),
            whole_burst: WholeBurst::new(),
            gaps: GapWatch::new(&stats.host_gaps, settings.gap_ticks),
            sampler: Sampler::new(PARTS_EVERY_BURSTS, tsc()),
            measured_from: 0,
            served_ticks: 0,
            unseen: Unseen::UNKNOWN,
            unseen_since: 0,
            unseen_ticks_max: 0,
        }
    }

    #[inline(always)]
    pub(super) fn now(&self) -> u64 {
        tsc()
    }

    /// Where packets carry their arrival. Changes when drivers' stamps turn out
    /// not to be believed.
    #[inline(always)]
    pub(super) fn marks(&self) -> Marks {
        self.marks
    }

    /// Whether latency is counted; drivers' stamps may have turned out to be
    /// wrong meanwhile.
    #[inline(always)]
    pub(super) fn is_counting(&self) -> bool {
        self.stamping && (self.nic.is_none() || self.drivers.count())
    }

    fn parts(&self, stage: Stage) -> &'a Parts {
        match stage {
            Stage::Cheap => &self.stats.cheap_parts,
            Stage::Expensive => &self.stats.expensive_parts,
        }
    }

    // ---- Latency: what was accepted, until it is closed ----

    /// A driver accepted so many packets of a burst that was sent unstaged, and
    /// that a poll brought at `polled_ticks`.
    #[inline(always)]
    pub(super) fn accept_burst(&mut self, pkts: usize, polled_ticks: u64) {
        if self.stamping {
            self.whole_burst.accept(pkts, polled_ticks);
        }
    }

    /// A burst is sent next unstaged whose packets brought stamps of their own:
    /// these are copied, as its packets will be the driver's when they count.
    /// The wait of the first one for the poll, which is the longest, is booked
    /// for all: one by one it would cost as much again as their latency.
    #[inline]
    pub(super) fn prepare_stamped(&mut self, burst: &Burst, polled_ticks: u64) {
        let ticks = self.whole_burst.prepare(self.brought(), burst);
        if !burst.is_empty() {
            let arrival = Arrival { port: 0, ticks, polled_ticks };
            self.record_nic_wait(Stage::Cheap, arrival, burst.len() as u64);
        }
    }

    /// As `accept_burst`, of the burst that was prepared.
    #[inline]
    pub(super) fn accept_stamped(&mut self, pkts: usize) {
        if self.is_counting() {
            self.whole_burst.accept_stamped(pkts);
        }
    }

    /// The driver refused the packets behind the first `sent`: they leave their
    /// burst, and each carries its arrival from now on.
    #[cold]
    pub(super) fn detach_refused(&self, burst: &mut Burst, sent: usize, arrival: Arrival) {
        let packets = burst.packets_mut().iter_mut();
        if self.marks.stamped {
            for (packet, ticks) in packets.zip(self.whole_burst.arrivals_from(sent)) {
                self.marks.stamp.write(packet, ticks);
            }
        } else {
            packets.for_each(|packet| self.marks.stamp.write(packet, arrival.ticks));
        }
    }

    /// Books the latency of all that was accepted since the last reading of the
    /// clock, up to `now`.
    #[inline(always)]
    pub(super) fn close(&mut self, now: u64, accepted: &mut Vec<Accepted>) {
        let latency = &self.stats.cheap_latency;
        let (pkts, stamp) = self.whole_burst.close(now, self.marks.stamped, latency);
        if self.served_ticks != 0 {
            self.close_parts(now, pkts, stamp);
        }
        if !accepted.is_empty() {
            self.close_accepted(now, accepted);
        }
    }

    #[cold]
    fn close_parts(&mut self, now: u64, pkts: u64, stamp: u64) {
        if pkts > 0 {
            let transmit = &self.stats.cheap_parts.transmit;
            transmit.record(now.wrapping_sub(self.served_ticks), pkts);
            self.book_bounds(self.unseen, now.wrapping_sub(stamp), pkts);
        }
        self.served_ticks = 0;
    }

    fn close_accepted(&mut self, now: u64, accepted: &mut Vec<Accepted>) {
        accepted.iter().for_each(|accepted| self.book(accepted, now));
        accepted.clear();
    }

    /// An arrival may lie a little ahead, by its clock's error.
    #[inline(always)]
    fn book(&self, &Accepted { times, pkts }: &Accepted, now: u64) {
        let Times { stamp, served_ticks, stage, unseen } = times;
        let latency = match stage {
            Stage::Cheap => &self.stats.cheap_latency,
            Stage::Expensive => &self.stats.expensive_latency,
        };
        latency.record(now.saturating_sub(stamp), pkts);
        if served_ticks != 0 {
            self.parts(stage).transmit.record(now.wrapping_sub(served_ticks), pkts);
            if stage == Stage::Cheap {
                self.book_bounds(unseen, now.saturating_sub(stamp), pkts);
            }
        }
    }

    /// Books both bounds of what packets took that took `ticks` since their
    /// stamp, if they are known.
    #[cold]
    fn book_bounds(&self, unseen: Unseen, ticks: u64, pkts: u64) {
        if let Some(unseen_ticks) = unseen.ticks() {
            self.stats.at_least.record(ticks, pkts);
            self.stats.at_most.record(ticks + unseen_ticks, pkts);
        }
    }

    // ---- Parts: of which packets, and what each part took ----

    /// The times of packets that end in `stage` now, except their stamps.
    #[inline]
    pub(super) fn times(&self, stage: Stage) -> Times {
        Times { stamp: 0, served_ticks: self.served_ticks, stage, unseen: self.unseen }
    }

    /// As `times`, of one whose stage ends at this moment, amid others'.
    pub(super) fn times_now(&self, stage: Stage) -> Times {
        let served_ticks = if self.measured_from == 0 { 0 } else { tsc() };
        Times { stamp: 0, served_ticks, stage, unseen: self.unseen }
    }

    /// A packet's turn has come: how long it waited for that is known, if it
    /// was measured, and its way to the driver begins.
    pub(super) fn turn_came(&self, times: &mut Times) {
        if times.served_ticks != 0 && self.is_counting() {
            let now = tsc();
            // Its stage may have ended on an lcore whose counter is a little
            // ahead.
            let ticks = now.saturating_sub(times.served_ticks);
            self.parts(times.stage).order_wait.record(ticks, 1);
            times.served_ticks = now;
        }
    }

    /// Another burst's stage begins: when, if its parts are to be measured.
    #[inline(always)]
    pub(super) fn begin_burst(&mut self) -> Option<u64> {
        if self.sampler.picks() { self.begin_measured() } else { None }
    }

    #[cold]
    fn begin_measured(&mut self) -> Option<u64> {
        self.unseen = Unseen::UNKNOWN;
        self.is_counting().then(tsc)
    }

    /// The whole burst was served at once, from `start` on.
    #[cold]
    pub(super) fn served_burst(&mut self, start: u64, polled_ticks: u64, pkts: usize) {
        let queue_wait = &self.stats.cheap_parts.queue_wait;
        queue_wait.record(start.saturating_sub(polled_ticks), pkts as u64);
        self.end_stage(start, Stage::Cheap, pkts as u64);
    }

    /// The stage of these packets begins at `start`: books how long each has
    /// waited for it.
    #[cold]
    pub(super) fn begin_stage(&mut self, start: u64, stage: Stage, packets: &Burst, by: Origin) {
        self.measured_from = start;
        for packet in packets.packets() {
            self.book_wait(start, stage, self.marks.arrival_by(by, packet));
        }
    }

    /// As `begin_stage`, of one packet that runs alone.
    pub(super) fn begin_alone(&mut self, start: u64, stage: Stage, arrival: Arrival) {
        self.book_wait(start, stage, arrival);
        self.measured_from = start;
        self.unseen = Unseen::UNKNOWN;
    }

    /// The stage of so many packets, which began at `start`, is over.
    #[inline]
    pub(super) fn end_stage(&mut self, start: u64, stage: Stage, pkts: u64) {
        self.end_stage_at(tsc(), start, stage, pkts);
    }

    /// As `end_stage`, at `end`.
    #[inline]
    pub(super) fn end_stage_at(&mut self, end: u64, start: u64, stage: Stage, pkts: u64) {
        let (parts, ticks) = (self.parts(stage), end.wrapping_sub(start));
        parts.service.record(ticks, pkts);
        parts.own_service.record(ticks / pkts.max(1), pkts);
        (self.served_ticks, self.measured_from) = (end, 0);
    }

    /// It may run on an lcore whose counter is a little behind.
    #[inline]
    fn book_wait(&self, start: u64, stage: Stage, arrival: Arrival) {
        let ticks = start.saturating_sub(arrival.polled_ticks);
        self.parts(stage).queue_wait.record(ticks, 1);
    }

    /// The cheap stage deferred this packet: its wait is one for the expensive
    /// stage, and is booked again when that begins.
    #[cold]
    pub(super) fn unbook_wait(&self, arrival: Arrival) {
        if self.measured_from != 0 {
            let ticks = self.measured_from.saturating_sub(arrival.polled_ticks);
            self.stats.cheap_parts.queue_wait.take_back(ticks, 1);
        }
    }

    /// A packet is forwarded: if it brought a stamp, books how long it waited
    /// for its poll.
    #[inline(always)]
    pub(super) fn book_nic_wait(&self, stage: Stage, arrival: Arrival) {
        if self.marks.stamped {
            self.record_nic_wait(stage, arrival, 1);
        }
    }

    /// Packets may have arrived while their poll was under way.
    #[inline(always)]
    fn record_nic_wait(&self, stage: Stage, arrival: Arrival, pkts: u64) {
        let ticks = arrival.polled_ticks.saturating_sub(arrival.ticks);
        self.parts(stage).nic_wait.record(ticks, pkts);
    }

    // ---- Waits that no stamp shows ----

    /// A poll that began at `now` brought packets, which may have waited since
    /// `emptied_ticks`.
    #[inline(always)]
    pub(super) fn received(&mut self, emptied_ticks: u64, now: u64) {
        debug_assert!(self.gaps.has_resumed(), "a gap before a poll is noticed when that begins");
        self.unseen_since = emptied_ticks;
        if self.nic.is_none() {
            let unseen_ticks = now.saturating_sub(emptied_ticks);
            self.unseen_ticks_max = self.unseen_ticks_max.max(unseen_ticks);
        }
    }

    /// The parts of the burst are measured that a poll brought at `now`: books
    /// by how much longer its packets may have waited than their stamps say.
    #[cold]
    pub(super) fn book_unseen(&mut self, now: u64) {
        let unseen_ticks = now.saturating_sub(self.unseen_since);
        if self.polls_are_stamps() && unseen_ticks > 0 {
            self.stats.unseen_wait.record(unseen_ticks, 1);
            self.unseen = Unseen::of(unseen_ticks);
        }
    }

    fn polls_are_stamps(&self) -> bool {
        self.stamping && !self.marks.stamped && self.nic.is_none()
    }

    /// At the end of the run, with the gaps that the engine noticed: the
    /// longest wait that no stamp showed counts, whether or not its burst was
    /// measured.
    pub(super) fn wind_up(&self, engine_gaps: Gaps) {
        self.stats.host_gaps.add(engine_gaps);
        if self.polls_are_stamps() && self.unseen_ticks_max > 0 {
            self.stats.unseen_wait.record(self.unseen_ticks_max, 1);
        }
    }

    // ---- Stamps that packets bring ----

    /// Where drivers write the stamps that count.
    #[inline(always)]
    pub(super) fn driver_stamps(&self) -> Option<RxStampField> {
        self.nic
    }

    /// Looks whether the drivers' stamps on the burst, which a poll brought,
    /// are to be believed, and what clock they are of. `before`: the last stamp
    /// of the burst before it in the same queue, in ticks, 0 if that is not
    /// known; its successor is returned. Where stamps are not believed, polls
    /// take their place.
    #[inline(never)]
    pub(super) fn check_stamps(
        &mut self,
        field: RxStampField,
        burst: &mut Burst,
        polled: Arrival,
        before: u64,
    ) -> u64 {
        let whole = &mut self.whole_burst;
        match self.drivers.check(field, polled.port, burst, polled.polled_ticks, before, whole) {
            Ok(last) => last,
            Err(verdict) => {
                self.disbelieve_stamps(verdict, burst, polled);
                0
            }
        }
    }

    /// From now on arrivals are polls, and latency is counted from these or not
    /// at all. All of the time before is closed.
    #[cold]
    fn disbelieve_stamps(&mut self, verdict: Verdict, burst: &mut Burst, polled: Arrival) {
        self.stamping &= verdict == Verdict::Software;
        (self.nic, self.marks.stamped) = (None, false);
        for packet in burst.packets_mut() {
            self.marks.write_arrival(polled, packet);
        }
    }

    #[inline(always)]
    fn brought(&self) -> Brought {
        self.nic.map_or(Brought::Ticks(self.marks.stamp), |field| {
            Brought::Driver(field, self.whole_burst.clock().unit)
        })
    }

    /// When the first packet of a burst arrived: by its stamp, if it brings one,
    /// else by the poll.
    pub(super) fn first_arrival(&self, burst: &Burst, polled: Arrival) -> u64 {
        let Some(first) = burst.packets().first() else { return polled.ticks };
        match self.nic {
            Some(field) => {
                let clock = self.whole_burst.clock();
                clock.ticks(clock.unit.even(field.read(first)))
            }
            None => self.marks.refine(polled, first).ticks,
        }
    }

    /// The burst is taken apart: each packet carries its stamp in ticks from
    /// here on, whatever clock the driver's is of.
    #[inline]
    pub(super) fn detach_stamps(&self, burst: &mut Burst) {
        if let Some(field) = self.nic {
            self.write_ticks(field, burst);
        }
    }

    #[inline]
    fn write_ticks(&self, field: RxStampField, burst: &mut Burst) {
        let (to, clock) = (self.marks.stamp, self.whole_burst.clock());
        for packet in burst.packets_mut() {
            to.write(packet, clock.ticks(clock.unit.even(field.read(packet))));
        }
    }

    // ---- Gaps that the host made ----

    /// The lcore looks for something to do, at `now`.
    #[inline(always)]
    pub(super) fn resume(&mut self, now: u64) {
        self.gaps.resume(now);
    }

    /// It starts on something that was there already.
    #[inline(always)]
    pub(super) fn begin_work(&mut self) {
        self.gaps.forget();
    }

    /// A poll that began at `now` brought nothing. Where a source was asked in
    /// it, that was at `asked_at`, 0 if it has worked since.
    #[inline(always)]
    pub(super) fn polled_in_vain(&mut self, now: u64, source_asked: Option<Option<u64>>) {
        self.gaps.in_vain(source_asked.map_or(now, |asked| asked.unwrap_or(0)));
    }

    /// A source was asked in the poll that began at `now`, unless it has worked
    /// since, and after so many looks at other queues, which take time too.
    #[inline]
    pub(super) fn source_asked(&mut self, asked: Option<u64>, now: u64, looks: u64) {
        let until_asked = asked.unwrap_or(0).saturating_sub(now);
        self.gaps.took(until_asked, 1 + looks);
    }

    /// So many looks, since `since`, found nothing: one may take as long as
    /// other gaps do before they count, what they took beyond that was the
    /// host's.
    #[cold]
    pub(super) fn looked_in_vain(&mut self, since: u64, looks: u64) {
        let now = tsc();
        self.gaps.took(now.wrapping_sub(since), looks);
        self.gaps.in_vain(now);
    }
}
