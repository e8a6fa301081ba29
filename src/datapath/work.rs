//! What is done for packets that are expensive, or may be: take, unbox, run.
//! Whoever does it says so first, so that others can come to the rescue of what
//! waits behind it.

use super::admission::Pass;
use super::arrivals::{Unseen, book_nic_wait, book_wait};
use super::sort::{Alone, Arrival};
use super::{LcoreLoop, Settings, Stage, Transmit};
use crate::dpdk::clock::tsc;
use crate::dpdk::{BURST_MAX, Mbuf};
use crate::engine::{Engine, Verdict, flow_hash};
use crate::order::{Number, Order};
use crate::policy::{Deferral, Permit, Policy};
use crate::shed::Pick;
use crate::stats::{Lap, LcoreStats};

impl<'a, E: Engine, P: Policy, const METER: bool> LcoreLoop<'a, E, P, METER> {
    /// Whether others look whether it is away: to help, or to send it nothing
    /// more.
    const IS_SEEN: bool = P::STEALS || P::RESCUES || matches!(P::DEFERRED, Deferral::Inbox);

    /// Takes from the shard that the choice falls on, as many packets as the
    /// time budget allows, and finishes them.
    #[inline]
    pub(super) fn take(&mut self) {
        let Some(at) = self.picker.pick(&self.shards) else { return self.looked_in_vain() };
        let Some(permit) = self.permit() else { return };
        if self.shards.len() > 1 {
            let sample = self.rank.before_dequeue(&self.shards, at);
            sample.into_iter().for_each(|sample| self.stats.rank.add(sample));
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
        let measured =
            if items == 1 { self.tx.is_counting() } else { self.begin_parts().is_some() };
        if measured {
            self.book_waits(start, Stage::Expensive, &self.burst, |packet| {
                Arrival::of(packet, self.settings)
            });
        }
        // Where they are taken one by one, which may take long, nothing is
        // asked for ahead.
        let next = if items > 1 { items } else { 0 };
        self.serve_taken(at, next);
        if measured {
            self.book_service(start, tsc(), Stage::Expensive, taken as u64);
        }
        self.lap(Lap::Engine);
        self.send_taken(at, next);
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

    /// Runs the expensive stage of what was taken. Where packets wait for their
    /// turns each departs then; where not, all are left in the burst.
    ///
    /// A core has about 24 lines on their way at once, and whoever asks for
    /// more waits: the headers of the `next` packets are asked for a third at a
    /// time, here and while these are sent.
    #[inline]
    fn serve_taken(&mut self, shard: usize, next: usize) {
        if let Order::Keeping(_) = self.shared.order {
            self.burst.drain().for_each(|packet| {
                expensive(&mut self.engine, packet, self.settings, &mut self.tx, self.stats)
            });
            return;
        }
        self.shards[shard].ring.ask_ahead(next / 3);
        self.read_taken();
        self.run_taken();
    }

    /// Reads what stands on the packets that were taken.
    #[inline]
    fn read_taken(&mut self) {
        let (settings, served) = (self.settings, &mut self.served);
        let places = served.stamps.iter_mut().zip(&mut *served.numbers).zip(&mut *served.ports);
        for (packet, ((stamp, number), port)) in self.burst.packets().iter().zip(places) {
            *stamp = settings.stamp.read(packet);
            *number = Number::from_bits(settings.ticket.read(packet));
            *port = packet.port();
        }
    }

    /// Runs their expensive stage: of those at once that follow each other and
    /// came by one port.
    #[inline]
    fn run_taken(&mut self) {
        let served = &mut self.served;
        let (mut packets, mut verdicts) = (self.burst.packets_mut(), &mut served.verdicts[..]);
        for run in served.ports[..packets.len()].chunk_by(|a, b| a == b) {
            let (now, later) = packets.split_at_mut(run.len());
            let (become_of, later_verdicts) = verdicts.split_at_mut(run.len());
            self.engine.expensive_all(now, run[0], become_of);
            if self.settings.stamped {
                let sent = now.iter().zip(&*become_of).filter(|(_, verdict)| verdict.forwards());
                sent.for_each(|(packet, _)| {
                    book_nic_wait(
                        &self.stats.expensive_parts,
                        Arrival::of(packet, self.settings),
                        1,
                    )
                });
            }
            (packets, verdicts) = (later, later_verdicts);
        }
    }

    /// Does as the expensive stage said of each that is left in the burst: of
    /// those at once that follow each other and leave by the same port.
    #[inline]
    fn send_taken(&mut self, shard: usize, next: usize) {
        self.shards[shard].ring.ask_ahead(2 * next / 3);
        let (served, taken) = (&self.served, self.burst.len());
        let mut packets = self.burst.drain();
        let mut begin = 0;
        for run in served.verdicts[..taken].chunk_by(|a, b| a == b) {
            let places = begin..begin + run.len();
            begin = places.end;
            let (numbers, stamps) = (&served.numbers[places.clone()], &served.stamps[places]);
            if let Verdict::Forward(port) = run[0] {
                self.stats.expensive_pkts.add(run.len() as u64);
                if run.len() < SENT_AT_ONCE || self.tx.holds_some_of(port) {
                    self.tx.stage_run(port, &mut packets, numbers, stamps);
                } else {
                    self.tx.send_run(port, &mut packets, numbers, stamps);
                }
            } else {
                let each = numbers.iter().zip(stamps).zip(packets.by_ref());
                each.for_each(|((&number, &stamp), packet)| {
                    follow(run[0], packet, Pass::Counted(number), stamp, &mut self.tx, self.stats)
                });
            }
        }
        drop(packets);
        self.shards[shard].ring.ask_ahead(next);
    }

    /// The right to do expensive work: none is needed where the mode sets no
    /// cap, and none is given, which is noted, where too many lcores have one.
    #[inline]
    fn permit(&mut self) -> Option<Option<Permit<'a>>> {
        if !P::CAPPED {
            return Some(None);
        }
        let permit = self.shared.permits.try_acquire(self.pool);
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

    /// Runs one packet of unknown or expensive cost to its end, and says so
    /// meanwhile.
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

/// So many packets are worth a call of the driver. Fewer are staged, to be sent
/// with others.
const SENT_AT_ONCE: usize = 8;

/// What stood on packets that were taken, and what became of them, by their
/// place in the burst.
pub(super) struct Served {
    ports: Box<[u16; BURST_MAX]>,
    numbers: Box<[Number; BURST_MAX]>,
    stamps: Box<[u64; BURST_MAX]>,
    verdicts: Box<[Verdict; BURST_MAX]>,
}

impl Served {
    pub(super) fn new() -> Self {
        Self {
            ports: Box::new([0; BURST_MAX]),
            numbers: Box::new([Number::from_bits(0); BURST_MAX]),
            stamps: Box::new([0; BURST_MAX]),
            verdicts: Box::new([Verdict::Defer; BURST_MAX]),
        }
    }
}

/// Runs the expensive stage of one packet, and notes which port it leaves by.
#[inline(always)]
fn expensive<E: Engine>(
    engine: &mut E,
    mut packet: Mbuf,
    settings: Settings,
    tx: &mut Transmit<'_>,
    stats: &LcoreStats,
) {
    let (arrival, pass) = (Arrival::of(&packet, settings), Pass::of(&packet, settings.ticket));
    let verdict = engine.expensive(&mut packet, arrival.port);
    if settings.stamped && verdict.forwards() {
        book_nic_wait(&stats.expensive_parts, arrival, 1);
    }
    follow(verdict, packet, pass, arrival.ticks, tx, stats);
}

/// Does as the expensive stage said.
#[inline(always)]
fn follow(
    verdict: Verdict,
    packet: Mbuf,
    pass: Pass,
    stamp: u64,
    tx: &mut Transmit<'_>,
    stats: &LcoreStats,
) {
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
