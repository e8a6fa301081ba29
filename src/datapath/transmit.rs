//! Sending: per port a list that is filled while a burst is served, and sent at
//! its end. Also where a packet's latency ends.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;

use super::admission::Pass;
use super::arrivals::{Brought, Unseen, book_nic_wait};
use super::sort::Arrival;
use super::{Settings, Shared, Stage};
use crate::config::WAITING_MAX;
use crate::dpdk::{BURST_MAX, Burst, Drain, MAX_PORTS, Mbuf, TxQueue};
use crate::order::{Number, Order};
use crate::stats::{BurstClock, Counter, LcoreStats, PortQueue, StampClocks, StampSpan, Verdict};

/// A packet that the driver has not taken yet, or whose turn in its flow has
/// not come.
pub struct Outgoing {
    pub(super) packet: Mbuf,
    pub(super) port: u16,
    pub(super) pass: Pass,
    pub(super) stamp: u64,
    pub(super) stage: Stage,
    /// When its stage was over, or later its turn came; 0 if that was not
    /// measured.
    pub(super) served_ticks: u64,
    /// How much longer it may have waited, if that was measured.
    pub(super) unseen: Unseen,
}

/// One port's way out.
pub(super) struct Outlet<'a> {
    pub(super) txq: TxQueue,
    /// Counts what the driver accepts.
    pub(super) sent_pkts: &'a Counter,
    pub(super) staged: Burst,
    /// The arrival of each packet in `staged`, and its place in its flow.
    pub(super) stamps: Box<[u64; BURST_MAX]>,
    pub(super) passes: Box<[Pass; BURST_MAX]>,
    pub(super) waiting: VecDeque<Outgoing>,
}

/// Packets that were accepted and arrived together, until the next reading of
/// the clock tells how long they took.
pub(super) struct Accepted {
    pub(super) stamp: u64,
    pub(super) pkts: u64,
    pub(super) stage: Stage,
}

impl Accepted {
    /// Packets of these stamps: those that follow each other and have one stamp
    /// are counted together.
    #[inline]
    fn runs(stamps: &[u64], stage: Stage) -> impl Iterator<Item = Self> {
        stamps.chunk_by(|a, b| a == b).map(move |run| Self {
            stamp: run[0],
            pkts: run.len() as u64,
            stage,
        })
    }

    /// `served_ticks`: when its stage was over, 0 if that was not measured. An
    /// arrival may lie a little ahead, by its clock's error.
    #[inline(always)]
    pub(super) fn book(&self, stats: &LcoreStats, served_ticks: u64, unseen: Unseen, now: u64) {
        let (latency, parts) = match self.stage {
            Stage::Cheap => (&stats.cheap_latency, &stats.cheap_parts),
            Stage::Expensive => (&stats.expensive_latency, &stats.expensive_parts),
        };
        latency.record(now.saturating_sub(self.stamp), self.pkts);
        if served_ticks != 0 {
            parts.transmit.record(now.wrapping_sub(served_ticks), self.pkts);
            if self.stage == Stage::Cheap {
                unseen.book(stats, now.saturating_sub(self.stamp), self.pkts);
            }
        }
    }
}

/// Ages are computed in a few instructions below this, in ticks: a third of a
/// second. Half of what `Ages` has room for.
const AGES_TICKS_MAX: u64 = 1 << 30;

pub(super) struct Transmit<'a> {
    pub(super) outlets: Vec<Outlet<'a>>,
    /// By port: its place in `outlets`.
    places: [u8; MAX_PORTS],
    /// A bit per outlet that has something staged, and one per outlet where
    /// packets wait.
    pub(super) staged: u64,
    pub(super) waiting: u64,
    /// A bit per outlet where something staged has a place in its flow to
    /// leave.
    pub(super) ticketed: u64,
    /// Packets wait that have not been offered yet, because their turn has just
    /// come.
    pub(super) turn_came: bool,
    pub(super) order: &'a Order<Outgoing>,
    /// The last burst of the cheap stage that was sent unstaged: how many went,
    /// and when the first of them arrived. Needs no list.
    burst_pkts: u64,
    burst_stamp: u64,
    /// Where packets bring stamps of their own, the first `burst_pkts` of these
    /// instead of the one.
    burst_stamps: Box<[u64; BURST_MAX]>,
    /// What they are of: of the burst that is served, once the one before it is
    /// closed.
    pub(super) burst_clock: BurstClock,
    /// How many stamps of the next burst are there already.
    copied_pkts: usize,
    accepted: Vec<Accepted>,
    /// When the stage of all these was over; 0 if that was not measured.
    pub(super) served_ticks: u64,
    /// When the stage began that packets are in now, if its parts are measured;
    /// else 0.
    pub(super) measured_from: Cell<u64>,
    /// How much longer than their stamp says the packets of that burst may have
    /// waited.
    pub(super) unseen: Cell<Unseen>,
    pub(super) settings: Settings,
    pub(super) links: &'a [AtomicBool; MAX_PORTS],
    clocks: &'a StampClocks,
    pub(super) stats: &'a LcoreStats,
}

impl<'a> Transmit<'a> {
    pub(super) fn new(
        queues: Vec<TxQueue>,
        settings: Settings,
        shared: Shared<'a>,
        stats: &'a LcoreStats,
    ) -> Self {
        let mut places = [u8::MAX; MAX_PORTS];
        for (at, txq) in queues.iter().enumerate() {
            places[usize::from(txq.port())] = at as u8;
        }
        let outlet = |(txq, sent): (TxQueue, &'a PortQueue)| Outlet {
            txq,
            sent_pkts: &sent.pkts,
            staged: Burst::new(),
            stamps: Box::new([0; BURST_MAX]),
            passes: Box::new([Pass::Unasked(0); BURST_MAX]),
            waiting: VecDeque::with_capacity(WAITING_MAX),
        };
        Self {
            outlets: queues.into_iter().zip(&stats.tx).map(outlet).collect(),
            places,
            staged: 0,
            waiting: 0,
            ticketed: 0,
            turn_came: false,
            order: shared.order,
            burst_pkts: 0,
            burst_stamp: 0,
            burst_stamps: Box::new([0; BURST_MAX]),
            burst_clock: BurstClock::TICKS,
            copied_pkts: 0,
            accepted: Vec::with_capacity(2 * BURST_MAX),
            served_ticks: 0,
            measured_from: Cell::new(0),
            unseen: Cell::new(Unseen::UNKNOWN),
            settings,
            links: shared.links,
            clocks: shared.clocks,
            stats,
        }
    }

    /// Whether latency is counted; drivers' stamps may have turned out to be
    /// wrong meanwhile.
    #[inline(always)]
    pub(super) fn is_counting(&self) -> bool {
        self.settings.stamping
            && (self.settings.nic.is_none() || self.clocks.verdict() != Verdict::Off)
    }

    /// From now on latency is counted like this. Everything before has been
    /// closed.
    #[cold]
    pub(super) fn follow(&mut self, settings: Settings) {
        debug_assert!(self.burst_pkts == 0 && self.accepted.is_empty());
        self.settings = settings;
    }

    /// What is sent next has had its stage by `now`: the rest of its time is
    /// measured too.
    #[inline]
    pub(super) fn served(&mut self, now: u64) {
        self.served_ticks = now;
        self.measured_from.set(0);
    }

    #[inline(always)]
    pub(super) fn place(&self, port: u16) -> usize {
        usize::from(self.places[usize::from(port) % MAX_PORTS])
    }

    /// Sends a burst of the cheap stage that arrived together, by receive queue
    /// `number`, and leaves by one port, without staging it.
    #[inline(always)]
    pub(super) fn send_burst(&mut self, port: u16, burst: &mut Burst, number: u16, stamp: u64) {
        let at = self.place(port);
        if self.waiting & 1 << at == 0 {
            let (outlet, offered) = (&mut self.outlets[at], burst.len());
            let sent = outlet.txq.send(burst);
            outlet.sent_pkts.add(sent as u64);
            if self.settings.stamping {
                (self.burst_pkts, self.burst_stamp) = (sent as u64, stamp);
            }
            if sent == offered {
                return;
            }
        }
        self.wait(at, burst, number, |_, _| stamp);
    }

    /// Copies the stamps of the burst that is sent next: by the time they count
    /// its packets are the driver's. Returns whether all packets had one.
    #[inline(always)]
    pub(super) fn copy_stamps(&mut self, brought: Brought, burst: &Burst) -> bool {
        self.copied_pkts = burst.len();
        let all_have = brought.copy(burst.packets(), &mut *self.burst_stamps);
        self.burst_stamp = self.burst_clock.ticks(self.burst_stamps[0]);
        all_have
    }

    /// Where the stamps that were copied last lie, in ticks.
    #[inline(always)]
    pub(super) fn stamp_span(&self) -> StampSpan {
        self.burst_clock.span(&self.burst_stamps[..self.copied_pkts.min(BURST_MAX)])
    }

    /// As `send_burst`, where each packet brought a stamp of its own. The first
    /// one's wait for the poll, which is the longest, is booked for all: one by
    /// one it would cost as much again as their latency.
    #[inline]
    pub(super) fn send_stamped(
        &mut self,
        port: u16,
        burst: &mut Burst,
        number: u16,
        arrival: Arrival,
        brought: Brought,
    ) {
        let (at, offered) = (self.place(port), burst.len());
        if self.copied_pkts != offered {
            self.copy_stamps(brought, burst);
        }
        self.copied_pkts = 0;
        if offered > 0 {
            book_nic_wait(
                &self.stats.cheap_parts,
                Arrival { ticks: self.burst_stamp, ..arrival },
                offered as u64,
            );
        }
        if self.waiting & 1 << at == 0 {
            let outlet = &mut self.outlets[at];
            let sent = outlet.txq.send(burst);
            outlet.sent_pkts.add(sent as u64);
            if self.is_counting() {
                self.burst_pkts = sent as u64;
            }
            if sent == offered {
                return;
            }
        }
        let sent = offered - burst.len();
        let (stamps, field, clock) =
            (&self.burst_stamps[sent..offered], self.settings.stamp, self.burst_clock);
        burst
            .packets_mut()
            .iter_mut()
            .zip(stamps)
            .for_each(|(packet, &stamp)| field.write(packet, clock.ticks(stamp)));
        self.wait(at, burst, number, |packet, field| field.read(packet));
    }

    /// Notes that a packet leaves by `port`.
    #[inline(always)]
    pub(super) fn stage(&mut self, port: u16, packet: Mbuf, pass: Pass, stamp: u64) {
        let at = self.place(port);
        let outlet = &mut self.outlets[at];
        let place = outlet.staged.len();
        outlet.staged.push(packet);
        outlet.stamps[place] = stamp;
        outlet.passes[place] = pass;
        self.staged |= 1 << at;
        self.ticketed |= u64::from(pass.is_final()) << at;
    }

    /// As `stage`, for the next of `packets`: all leave by `port`, and have
    /// these numbers and stamps, as many as they are.
    #[inline]
    pub(super) fn stage_run(
        &mut self,
        port: u16,
        packets: &mut Drain<'_>,
        numbers: &[Number],
        stamps: &[u64],
    ) {
        let at = self.place(port);
        let outlet = &mut self.outlets[at];
        let places = outlet.staged.len()..outlet.staged.len() + stamps.len();
        packets.move_to(&mut outlet.staged, stamps.len());
        outlet.stamps[places.clone()].copy_from_slice(stamps);
        outlet.passes[places]
            .iter_mut()
            .zip(numbers)
            .for_each(|(pass, &number)| *pass = Pass::Counted(number));
        self.staged |= 1 << at;
        self.ticketed |= 1 << at;
    }

    /// As `stage_run`, but sends them at once: nothing is staged, or waits, for
    /// that port. What the driver does not take is staged.
    #[inline]
    pub(super) fn send_run(
        &mut self,
        port: u16,
        packets: &mut Drain<'_>,
        numbers: &[Number],
        stamps: &[u64],
    ) {
        let at = self.place(port);
        let outlet = &mut self.outlets[at];
        let sent = outlet.txq.send_next(packets, stamps.len());
        outlet.sent_pkts.add(sent as u64);
        if self.is_counting() {
            self.accepted.extend(Accepted::runs(&stamps[..sent], Stage::Expensive));
        }
        self.taken_numbers(&numbers[..sent]);
        if sent < stamps.len() {
            self.stage_run(port, packets, &numbers[sent..], &stamps[sent..]);
        }
    }

    /// Sends all that is staged; all of it ended in `stage`.
    #[inline]
    pub(super) fn flush(&mut self, stage: Stage) {
        while self.staged != 0 {
            let at = self.staged.trailing_zeros() as usize;
            self.staged &= self.staged - 1;
            let mut sent = 0;
            if self.waiting & 1 << at == 0 {
                let outlet = &mut self.outlets[at];
                sent = outlet.txq.send(&mut outlet.staged);
                outlet.sent_pkts.add(sent as u64);
                if self.is_counting() {
                    self.accepted.extend(Accepted::runs(&self.outlets[at].stamps[..sent], stage));
                }
            }
            if !self.outlets[at].staged.is_empty() {
                self.wait_staged(at, sent, stage);
            }
            if self.ticketed >> at & 1 == 1 {
                self.taken_staged(at, sent);
            }
        }
        if self.turn_came {
            self.retry_all();
        }
    }

    /// The first `sent` staged packets went, and leave their places.
    #[inline(never)]
    pub(super) fn taken_staged(&mut self, at: usize, sent: usize) {
        self.ticketed &= !(1 << at);
        match self.order {
            Order::Keeping(_) => {
                (0..sent).for_each(|place| self.taken(self.outlets[at].passes[place]));
            }
            Order::Counting(_) => self.taken_counted(&self.outlets[at].passes[..sent]),
        }
    }

    /// Books the latency of all that was accepted since the last reading of the
    /// clock, up to `now`.
    #[inline(always)]
    pub(super) fn close(&mut self, now: u64) {
        if self.burst_pkts > 0 {
            match self.settings.stamped {
                false => self
                    .stats
                    .cheap_latency
                    .record(now.wrapping_sub(self.burst_stamp), self.burst_pkts),
                true => self.close_stamped(now),
            }
            if self.served_ticks != 0 {
                self.stats
                    .cheap_parts
                    .transmit
                    .record(now.wrapping_sub(self.served_ticks), self.burst_pkts);
                self.unseen.get().book(
                    self.stats,
                    now.wrapping_sub(self.burst_stamp),
                    self.burst_pkts,
                );
            }
            self.burst_pkts = 0;
        }
        if !self.accepted.is_empty() {
            self.close_accepted(now);
        }
        self.served_ticks = 0;
    }

    #[inline]
    fn close_stamped(&self, now: u64) {
        // The packets of a burst are of about one age.
        if now.wrapping_sub(self.burst_stamp) < AGES_TICKS_MAX {
            self.stats.cheap_latency.record_ages(
                &self.burst_stamps[..self.burst_pkts as usize],
                self.burst_clock.ages(now),
            );
        } else {
            self.close_aged(now);
        }
    }

    /// Of packets that are old, or seem to come a little ahead of their time.
    #[cold]
    fn close_aged(&self, now: u64) {
        let stamps = &self.burst_stamps[..self.burst_pkts as usize];
        stamps.iter().for_each(|&stamp| {
            self.stats.cheap_latency.record(now.saturating_sub(self.burst_clock.ticks(stamp)), 1)
        });
    }

    fn close_accepted(&mut self, now: u64) {
        let unseen = self.unseen.get();
        self.accepted
            .iter()
            .for_each(|accepted| accepted.book(self.stats, self.served_ticks, unseen, now));
        self.accepted.clear();
    }
}
