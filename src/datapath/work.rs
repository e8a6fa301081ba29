//! What is done for packets that are expensive, or may be: take, unbox, run. Whoever does it says so first, so that others can come
//! to the rescue of what waits behind it.

use super::admission::Pass;
use super::arrivals::{Unseen, book_nic_wait, book_wait};
use super::sort::{Alone, Arrival};
use super::{LcoreLoop, Settings, Stage, Transmit};
use crate::dpdk::clock::tsc;
use crate::dpdk::{BURST_MAX, Mbuf};
use crate::engine::{Engine, Verdict, flow_hash};
use crate::policy::{Permit, Place, Policy};
use crate::shed::Pick;
use crate::stats::{Lap, LcoreStats};

impl<'a, E: Engine, P: Policy, const METER: bool> LcoreLoop<'a, E, P, METER> {
    /// Whether others look whether it is away: to help, or to send it nothing more.
    const IS_SEEN: bool = P::STEALS || P::RESCUES || matches!(P::DEFERRED, Place::Inbox);

    /// Takes from the shard that the choice falls on, as many packets as the time budget allows, and finishes them.
    #[inline]
    pub(super) fn take(&mut self) {
        let Some(at) = self.picker.pick(&self.shards) else { return self.looked_in_vain() };
        let Some(permit) = self.permit() else { return };
        if self.shards.len() > 1 {
            self.rank.before_take(&self.shards, at, &self.stats.rank);
        }
        let start = tsc();
        if self.polled_in_vain_at != 0 {
            self.notice_gap(start);
        }
        self.tx.close(start);
        self.start_laps();
        let items = self.budget.items();
        let taken = self.shards[at].ring.take_to_read(&mut self.burst, items);
        self.lap(Lap::Rx);
        let may_be_long = Self::IS_SEEN && items == 1;
        if may_be_long && let Some(packet) = self.burst.packets().first() {
            let flow = flow_hash(packet);
            self.leave(start, flow, Stage::Expensive);
        }
        let measured = if items == 1 { self.tx.is_counting() } else { self.begin_parts().is_some() };
        if measured {
            self.book_waits(start, Stage::Expensive, &self.burst, |packet| Arrival::of(packet, self.settings));
        }
        self.serve_taken(at, items);
        if measured {
            self.book_service(start, tsc(), Stage::Expensive, taken as u64);
        }
        self.lap(Lap::Engine);
        self.tx.flush(Stage::Expensive);
        self.lap(Lap::Tx);
        drop(permit);
        let end = tsc();
        if may_be_long {
            self.come_back(end);
        }
        self.empty_polls = 0;
        self.budget.observe(taken, end.wrapping_sub(start));
        self.stats.taken_pkts.add(taken as u64);
        self.tx.close(end);
        self.lap(Lap::Statistics);
        if METER {
            self.stats.steps.add_pkts(taken as u64);
        }
    }

    /// Runs the expensive stage of what was taken, and notes by which port each packet leaves; where nobody waits for a turn, of those at once
    /// that follow each other and leave by the same one. Meanwhile asks for the headers of those that are next in the shard.
    #[inline]
    fn serve_taken(&mut self, shard: usize, items: usize) {
        if self.shared.order.keeps() {
            self.burst.drain().for_each(|packet| expensive(&mut self.engine, packet, self.settings, &mut self.tx, self.stats));
            return;
        }
        let (settings, taken) = (self.settings, self.burst.len());
        let served = &mut self.served;
        let mut ahead = self.shards[shard].ring.ahead(if items > 1 { items } else { 0 });
        let places = served.stamps.iter_mut().zip(&mut *served.passes).zip(&mut *served.verdicts);
        for (packet, ((stamp, pass), verdict)) in self.burst.packets_mut().iter_mut().zip(places) {
            let arrival = Arrival::of(packet, settings);
            ahead.prefetch();
            (*stamp, *pass) = (arrival.ticks, Pass::of(packet, settings.ticket));
            *verdict = self.engine.expensive(packet, arrival.port);
            if settings.stamped && verdict.forwards() {
                book_nic_wait(&self.stats.expensive_parts, arrival, 1);
            }
        }
        let mut packets = self.burst.drain();
        let mut begin = 0;
        for run in served.verdicts[..taken].chunk_by(|a, b| a == b) {
            let places = begin..begin + run.len();
            begin = places.end;
            let (stamps, passes) = (&served.stamps[places.clone()], &served.passes[places]);
            if let Verdict::Forward(port) = run[0] {
                self.stats.expensive_pkts.add(run.len() as u64);
                self.tx.stage_run(port, &mut packets, passes, stamps);
            } else {
                let each = stamps.iter().zip(passes).zip(packets.by_ref());
                each.for_each(|((&stamp, &pass), packet)| follow(run[0], packet, pass, stamp, &mut self.tx, self.stats));
            }
        }
    }

    /// The right to do expensive work: none is needed where the mode sets no cap, and none is given, which is noted, where too many
    /// lcores have one.
    #[inline]
    fn permit(&mut self) -> Option<Option<Permit<'a>>> {
        if !P::CAPPED {
            return Some(None);
        }
        let permit = self.shared.permits.try_take(self.pool);
        self.refused = permit.is_none();
        permit.map(Some)
    }

    /// Runs one kept packet to its end.
    pub(super) fn run_kept(&mut self) {
        let Some(permit) = self.permit() else { return };
        if let Some(packet) = self.kept.pop() {
            self.run_alone(Alone { packet, unknown: false });
        }
        drop(permit);
    }

    /// Runs one packet of the inbox to its end.
    pub(super) fn unbox(&mut self) {
        let Some(inbox) = &mut self.inbox else { return };
        inbox.take(&mut self.burst, 1);
        if let Some(packet) = self.burst.pop() {
            self.stats.taken_pkts.add(1);
            self.run_alone(Alone { packet, unknown: false });
        }
    }

    /// Puts kept packets into the own shard again.
    pub(super) fn shed_kept(&mut self) {
        while self.sorter.deferred.len() < self.settings.burst.pkts()
            && let Some(packet) = self.kept.pop()
        {
            self.sorter.deferred.push(packet);
        }
        self.refused = false;
        self.shed();
    }

    /// Runs one packet of unknown or expensive cost to its end, and says so meanwhile.
    pub(super) fn run_alone(&mut self, Alone { packet, unknown }: Alone) {
        let start = tsc();
        self.polled_in_vain_at = 0;
        self.start_laps();
        self.tx.close(start);
        let stage = if unknown { Stage::Cheap } else { Stage::Expensive };
        if Self::IS_SEEN {
            self.leave(start, flow_hash(&packet), stage);
        }
        let (arrival, counts) = (Arrival::of(&packet, self.settings), self.tx.is_counting());
        if counts {
            book_wait(self.tx.parts(stage), start, arrival);
            self.tx.measured_from.set(start);
            self.tx.unseen.set(Unseen::UNKNOWN);
        }
        let mut served = 1;
        if unknown {
            let pass = Pass::of(&packet, self.settings.ticket);
            self.sorter.push_cheap(packet, pass);
            served = self.serve_cheap(|_| arrival);
        } else {
            expensive(&mut self.engine, packet, self.settings, &mut self.tx, self.stats);
        }
        let end = if Self::IS_SEEN || counts { tsc() } else { 0 };
        if Self::IS_SEEN {
            self.come_back(end);
        }
        if counts {
            self.book_service(start, end, stage, served);
        }
        self.lap(Lap::Engine);
        self.tx.flush(stage);
        self.shed();
        self.lap(Lap::Tx);
    }
}

/// What became of packets that were taken, by their place in the burst.
pub(super) struct Served {
    stamps: Box<[u64; BURST_MAX]>,
    passes: Box<[Pass; BURST_MAX]>,
    verdicts: Box<[Verdict; BURST_MAX]>,
}

impl Served {
    pub(super) fn new() -> Self {
        Self {
            stamps: Box::new([0; BURST_MAX]),
            passes: Box::new([Pass::Unasked(0); BURST_MAX]),
            verdicts: Box::new([Verdict::Defer; BURST_MAX]),
        }
    }
}

/// Runs the expensive stage of one packet, and notes which port it leaves by.
#[inline(always)]
fn expensive<E: Engine>(engine: &mut E, mut packet: Mbuf, settings: Settings, tx: &mut Transmit<'_>, stats: &LcoreStats) {
    let (arrival, pass) = (Arrival::of(&packet, settings), Pass::of(&packet, settings.ticket));
    let verdict = engine.expensive(&mut packet, arrival.port);
    if settings.stamped && verdict.forwards() {
        book_nic_wait(&stats.expensive_parts, arrival, 1);
    }
    follow(verdict, packet, pass, arrival.ticks, tx, stats);
}

/// Does as the expensive stage said.
#[inline(always)]
fn follow(verdict: Verdict, packet: Mbuf, pass: Pass, stamp: u64, tx: &mut Transmit<'_>, stats: &LcoreStats) {
    match verdict {
        Verdict::Forward(port) => {
            stats.expensive_pkts.add(1);
            tx.depart(Stage::Expensive, port, packet, pass, stamp);
        }
        Verdict::Drop(cause) => {
            drop(packet);
            stats.drop_pkts(cause, 1);
            tx.leave(pass);
        }
        Verdict::Defer => unreachable!("the expensive stage is the last one"),
    }
}
