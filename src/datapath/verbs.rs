//! What is done with a burst: poll, classify, shed, serve, transmit.

use super::admission::Pass;
use super::arrivals::book_nic_wait;
use super::sort::{Alone, Arrival, Hands};
use super::{LcoreLoop, Stage};
use crate::cli::OnFull;
use crate::dpdk::Mbuf;
use crate::dpdk::clock::tsc;
use crate::engine::{Engine, Verdict};
use crate::order::{Counting, Full};
use crate::policy::{Deferral, Policy};
use crate::stats::{DropCause, Gaps, Lap};

impl<'a, E: Engine, P: Policy, const METER: bool> LcoreLoop<'a, E, P, METER> {
    /// Receives a burst of the next queue, and serves it. The stamp is taken
    /// before: no packet is said to have come later than it did, and one
    /// reading of the clock closes the last burst's latency and opens this
    /// one's. Returns whether there was a burst that left as a whole, so that
    /// nothing waits here.
    #[inline]
    pub(super) fn poll(&mut self) -> bool {
        let now = tsc();
        self.start_laps();
        self.tx.close(now);
        self.lap(Lap::Statistics);
        if self.polled_in_vain_at != 0 {
            self.notice_gap(now);
        }
        if P::CAPPED {
            self.refused = false;
        }
        if P::RESCUES
            && now.wrapping_sub(self.adopted_at) > self.adopt_every_ticks
            && self.adopt(now)
        {
            return false;
        }
        let at = if self.next_rx < self.rx.len() { self.next_rx } else { 0 };
        self.next_rx = at + 1;
        let Some(polled) = self.rx.get_mut(at) else { return self.found_none() };
        let Some(lease) = polled.hold(now) else { return self.found_none() };
        let received = lease.poll(&mut self.burst, self.settings.burst);
        let source_asked = lease.source_asked();
        polled.received_pkts.add(received as u64);
        let (port, number) = (polled.rxq.port(), polled.number);
        self.unseen_since = polled.emptied_ticks;
        if received < self.settings.burst.pkts() {
            polled.emptied_ticks = now;
        }
        let asked_at = source_asked.map_or(now, |asked| self.source_asked_at(asked, now));
        if received == 0 {
            self.stats.empty_polls.add(1);
            self.polled_in_vain_at = asked_at;
            return self.found_none();
        }
        if let Some(field) = self.settings.nic {
            self.rx[at].stamped_ticks =
                self.check_stamps(field, port, now, self.rx[at].stamped_ticks);
        }
        self.lap(Lap::Rx);
        self.received(received, port, now, number)
    }

    /// Books a burst that came in by `port`, by the queue of that number, in a
    /// poll that began at `now`, and serves it. Returns as `serve` does.
    #[inline(always)]
    pub(super) fn received(&mut self, received: usize, port: u16, now: u64, number: u16) -> bool {
        debug_assert_eq!(
            self.polled_in_vain_at, 0,
            "a gap before a poll is noticed when that begins"
        );
        self.empty_polls = 0;
        if self.settings.nic.is_none() {
            self.unseen_ticks_max =
                self.unseen_ticks_max.max(now.saturating_sub(self.unseen_since));
        }
        self.stats.rx_bursts.add(1);
        self.shared.run.count_received(received as u64);
        if METER {
            self.stats.steps.add_pkts(received as u64);
        }
        self.lap(Lap::Statistics);
        self.serve(port, now, number)
    }

    /// A source says when it was asked in the poll that began at `now`; `None`
    /// if it has worked since. Notes a gap before that, a longer one where
    /// other queues were looked at in between, which takes time too. Returns
    /// when, or 0.
    #[inline(never)]
    fn source_asked_at(&mut self, asked: Option<u64>, now: u64) -> u64 {
        let asked_at = asked.unwrap_or(0);
        let until_asked = asked_at.saturating_sub(now);
        let looks = if self.adopted_at == now { 2 * self.others.len() as u64 } else { 0 };
        if until_asked > self.settings.gap_ticks.saturating_mul(1 + looks) {
            self.note_gap(until_asked);
        }
        asked_at
    }

    /// Between two polls with nothing in between, only the host can have taken
    /// so long.
    #[cold]
    pub(super) fn notice_gap(&mut self, now: u64) {
        let ticks = now.wrapping_sub(std::mem::take(&mut self.polled_in_vain_at));
        if ticks > self.settings.gap_ticks {
            self.note_gap(ticks);
        }
    }

    #[cold]
    pub(super) fn note_gap(&mut self, ticks: u64) {
        let mut gaps = Gaps::default();
        gaps.note(ticks);
        self.stats.host_gaps.add(gaps);
    }

    /// The shards have nothing for a worker, whose look at them is its poll.
    #[cold]
    pub(super) fn looked_in_vain(&mut self) {
        let now = tsc();
        if self.polled_in_vain_at != 0 {
            self.notice_gap(now);
        }
        self.polled_in_vain_at = now;
        self.found_none();
    }

    /// Nothing came of this poll, which says so.
    #[cold]
    pub(super) fn found_none(&mut self) -> bool {
        self.empty_polls += 1;
        self.rest();
        false
    }

    /// Serves packets that were left over, up to the first that must be run
    /// alone.
    pub(super) fn serve_run_queue(&mut self) {
        self.polled_in_vain_at = 0;
        self.start_laps();
        self.tx.close(tsc());
        let settings = self.settings;
        let mut alone = None;
        for _ in 0..self.settings.burst.pkts() {
            let Some(packet) = self.run_queue.pop() else { break };
            let arrival = Arrival::of(&packet, settings);
            let admit = |_: &mut _, packet: &mut Mbuf, _| Ok(Pass::of(packet, settings.ticket));
            alone = self
                .sorter
                .sort::<E, P>(&mut self.engine, packet, arrival, settings, admit)
                .unwrap_or(None);
            if alone.is_some() {
                break;
            }
        }
        if P::STEALS {
            self.show_waiting();
        }
        self.lap(Lap::Classify);
        let measured = self.begin_parts().is_some();
        self.finish(|packet| Arrival::of(packet, settings), alone, measured);
    }

    /// Serves and transmits the burst: all at once, if nobody is ahead of any
    /// packet and all are cheap. Returns whether all have left so, and nothing
    /// waits.
    #[inline(always)]
    fn serve(&mut self, from: u16, now: u64, number: u16) -> bool {
        let stats = self.stats;
        let drop_one = |packet: Mbuf, cause| {
            drop(packet);
            stats.drop_pkts(cause, 1);
        };
        let measured = self.begin_parts();
        if measured.is_some() {
            self.book_unseen(now);
        }
        if !self.admission.nobody_is_ahead(number, &self.burst) {
            return self.part(from, now, number, measured.is_some());
        }
        let Some(port) = self.engine.cheap_burst(&mut self.burst, from, drop_one) else {
            return self.part(from, now, number, measured.is_some());
        };
        self.lap(Lap::Engine);
        self.stats.cheap_pkts.add(self.burst.len() as u64);
        if let Some(start) = measured {
            self.book_whole_burst(start, now);
        }
        self.lap(Lap::Statistics);
        if self.settings.stamped {
            let brought = self.brought();
            self.tx.send_stamped(
                port,
                &mut self.burst,
                number,
                Arrival::polled(from, now),
                brought,
            );
        } else {
            self.tx.send_burst(port, &mut self.burst, number, now);
        }
        self.lap(Lap::Tx);
        self.tx.waiting == 0
    }

    /// Classifies the packets of the burst, sheds what is expensive, serves
    /// what is cheap, and transmits. Not all of it leaves as a whole.
    #[inline(never)]
    fn part(&mut self, from: u16, now: u64, number: u16, measured: bool) -> bool {
        let arrival = Arrival::polled(from, now);
        if let Some(field) = self.settings.nic {
            self.write_arrivals(field);
        }
        self.burst.prefetch_data();
        self.engine.prepare_burst(&mut self.burst, from);
        let received = self.burst.len();
        self.admission.part(number);
        // As many as went to other lcores come back from there.
        self.shared.buffers.claim_next(std::mem::take(&mut self.shed_before));
        let alone = match self.goes_whole(from) {
            Some(counting) => self.defer_all(arrival, counting),
            None => self.classify(arrival),
        };
        self.lap(Lap::Classify);
        let settings = self.settings;
        self.finish(|packet| arrival.refined(packet, settings), alone, measured);
        self.admission.end(received);
        false
    }

    /// Parts the burst into cheap and deferred packets. One that must be run
    /// here alone goes ahead of all that came after it: those wait in the run
    /// queue, unclassified, where others can take them.
    #[inline]
    fn classify(&mut self, arrival: Arrival) -> Option<Alone> {
        let (admission, tx, settings) = (&mut self.admission, &mut self.tx, self.settings);
        let mut packets = self.burst.drain().enumerate();
        while let Some((at, packet)) = packets.next() {
            let admit = |sorter: &mut _, packet: &mut _, hands| {
                admission.admit(at, packet, hands, sorter, tx)
            };
            match self.sorter.sort::<E, P>(&mut self.engine, packet, arrival, settings, admit) {
                Ok(None) => {}
                Ok(alone) => {
                    for (at, mut packet) in packets {
                        match admission.admit(at, &mut packet, Hands::Others, &mut self.sorter, tx)
                        {
                            Ok(_) => tx.leave_over(packet, arrival, &mut self.run_queue),
                            Err(Full) => tx.drop_unplaced(packet),
                        }
                    }
                    return alone;
                }
                Err(Full) => self.stats.drop_pkts(DropCause::OrderFull, 1),
            }
        }
        None
    }

    /// What numbers the burst's packets, if all of them go to other lcores, and
    /// at once.
    #[inline]
    fn goes_whole(&mut self, port: u16) -> Option<&'a Counting> {
        if P::DEFERRED == Deferral::Here {
            return None;
        }
        let counting = self.admission.may_go_whole(&self.sorter, &self.tx)?;
        self.engine.defers_burst(&self.burst, port).then_some(counting)
    }

    /// Puts all of the burst on the pile of what goes to other lcores: nothing
    /// of it must be run alone.
    #[inline]
    fn defer_all(&mut self, arrival: Arrival, counting: &Counting) -> Option<Alone> {
        let settings = self.settings;
        let write =
            |packet: &mut Mbuf| arrival.refined(packet, settings).write_on(packet, settings);
        self.admission.all_go_away(counting, self.burst.packets_mut(), write);
        let count = self.burst.len();
        self.burst.drain().move_to(&mut self.sorter.deferred, count);
        None
    }

    /// Sheds, serves and transmits what was sorted; then runs what must be run
    /// alone, with nothing left in private. `measured`: the parts of these
    /// packets' latency are.
    #[inline]
    fn finish(&mut self, arrival: impl Fn(&Mbuf) -> Arrival, alone: Option<Alone>, measured: bool) {
        self.shed();
        let start = if measured { tsc() } else { 0 };
        if measured {
            self.book_waits(start, Stage::Cheap, &self.sorter.cheap, &arrival);
        }
        let served = self.serve_cheap(arrival);
        if measured {
            self.book_service(start, tsc(), Stage::Cheap, served);
        }
        self.lap(Lap::Engine);
        self.tx.flush(Stage::Cheap);
        self.shed();
        self.lap(Lap::Tx);
        if let Some(alone) = alone {
            self.run_alone(alone);
        }
    }

    /// Runs the cheap stage, and notes who leaves by which port. Returns how
    /// many do.
    #[inline]
    pub(super) fn serve_cheap(&mut self, arrival: impl Fn(&Mbuf) -> Arrival) -> u64 {
        let mut served = 0;
        for (&pass, mut packet) in self.sorter.passes.iter().zip(self.sorter.cheap.drain()) {
            let Ok(pass) = self.admission.still_stays(pass, &packet) else {
                self.tx.drop_unplaced(packet);
                continue;
            };
            let arrival = arrival(&packet);
            match self.engine.cheap(&mut packet, arrival.port) {
                Verdict::Forward(port) => {
                    served += 1;
                    if self.settings.stamped {
                        book_nic_wait(&self.stats.cheap_parts, arrival, 1);
                    }
                    self.tx.depart(Stage::Cheap, port, packet, pass, arrival.ticks);
                }
                Verdict::Drop(cause) => {
                    drop(packet);
                    self.stats.drop_pkts(cause, 1);
                    self.tx.leave(pass);
                }
                Verdict::Defer => {
                    self.stats.yielded_pkts.add(1);
                    self.tx.take_wait_back(arrival);
                    arrival.write_on(&mut packet, self.settings);
                    match self.admission.goes_away_late(pass, &mut packet, &mut self.tx) {
                        Ok(()) => self.sorter.deferred.push(packet),
                        Err(Full) => self.tx.drop_unplaced(packet),
                    }
                }
            }
        }
        self.stats.cheap_pkts.add(served);
        served
    }

    /// Puts the deferred packets where the mode wants them: into this lcore's
    /// shard, or into others' inboxes. Those that are to be run here are kept.
    #[inline]
    pub(super) fn shed(&mut self) {
        if self.sorter.deferred.is_empty() {
            return;
        }
        let put = match P::DEFERRED {
            Deferral::Shard if !self.announced => {
                self.shard.as_mut().map_or(0, |shard| shard.put(&mut self.sorter.deferred))
            }
            Deferral::Inbox if !self.announced => self.put_into_inboxes(),
            _ => return self.keep_deferred(),
        };
        self.stats.shed_pkts.add(put as u64);
        self.shed_before = put;
        if !self.sorter.deferred.is_empty() {
            match self.settings.on_full {
                OnFull::Drop => {
                    self.tx.drop_all_placed(&mut self.sorter.deferred, DropCause::ShardFull)
                }
                OnFull::Run => self.keep_deferred(),
            }
        }
    }

    /// Oldest first. One that finds no room goes along with the next one, to
    /// where that goes.
    fn put_into_inboxes(&mut self) -> usize {
        let (boards, inboxes) = (self.shared.boards, &mut self.inboxes);
        let mut put = 0;
        for packet in self.sorter.deferred.drain() {
            let at = self
                .policy
                .inbox(inboxes.len(), |at| inboxes[at].len() + usize::from(boards[at].is_away()));
            self.burst.push(packet);
            put += inboxes[at].put(&mut self.burst);
        }
        self.burst.drain().for_each(|packet| self.sorter.deferred.push(packet));
        put
    }

    /// Keeps deferred packets to be run here, as many as may wait; the others
    /// are dropped.
    #[cold]
    fn keep_deferred(&mut self) {
        for packet in self.sorter.deferred.drain().filter_map(|packet| self.kept.push(packet).err())
        {
            self.tx.drop_placed(packet, DropCause::RunQueueFull);
        }
    }
}
