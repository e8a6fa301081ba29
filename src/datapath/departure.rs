//! Departure in order: packets that have a place in their flow are sent when it
//! is their turn, and when a driver has taken one, the next.

use super::admission::Pass;
use super::sort::Arrival;
use super::transmit::{Outgoing, Transmit};
use super::{Stage, Waiting};
use crate::config::WAITING_MAX;
use crate::dpdk::clock::tsc;
use crate::dpdk::{Burst, Mbuf};
use crate::order::{Bucket, Full, Number, Order, Ticket};
use crate::stats::{DropCause, Parts};

impl Transmit<'_> {
    /// A packet's stage is over, and it leaves by `port`: now, or when all have
    /// gone that came before it in its flow.
    #[inline(always)]
    pub(super) fn depart(&mut self, stage: Stage, port: u16, packet: Mbuf, pass: Pass, stamp: u64) {
        match pass {
            Pass::Ticket(ticket) => self.depart_in_turn(stage, port, packet, ticket, stamp),
            _ => self.stage(port, packet, pass, stamp),
        }
    }

    #[inline(never)]
    fn depart_in_turn(
        &mut self,
        stage: Stage,
        port: u16,
        packet: Mbuf,
        ticket: Ticket,
        stamp: u64,
    ) {
        let pass = Pass::Ticket(ticket);
        // If it has to wait for its turn, that is from now on.
        let served_ticks = if self.measured_from.get() == 0 { 0 } else { tsc() };
        let unseen = self.unseen.get();
        let outgoing = Outgoing { packet, port, pass, stamp, stage, served_ticks, unseen };
        match self.order.keeping().finish(ticket, outgoing) {
            Some(Outgoing { packet, .. }) => self.stage(port, packet, pass, stamp),
            None => self.stats.order.add_parked(),
        }
    }

    /// The driver has taken a packet.
    pub(super) fn taken(&mut self, pass: Pass) {
        if let Pass::Ticket(ticket) = pass {
            self.stats.order.add_sent(self.order.keeping().note_sent(ticket));
            self.leave_place(ticket);
        }
    }

    /// The driver has taken packets, in this order, where no order is kept.
    /// Those that follow each other are counted at once.
    pub(super) fn taken_counted(&self, passes: &[Pass]) {
        for run in passes.chunk_by(|&a, &b| a.precedes(b)) {
            if let Pass::Counted(first) = run[0] {
                self.taken_run(first, run.len());
            }
        }
    }

    /// As `taken_counted`, of packets with these numbers.
    #[inline]
    pub(super) fn taken_numbers(&self, numbers: &[Number]) {
        numbers.chunk_by(|&a, &b| a.precedes(b)).for_each(|run| self.taken_run(run[0], run.len()));
    }

    /// So many packets whose numbers follow each other.
    #[inline]
    fn taken_run(&self, first: Number, pkts: usize) {
        let counts = &self.stats.order;
        let late = |late_by_pkts| counts.add_late(late_by_pkts);
        counts.add_in_order(self.order.counting().note_sent(first, pkts as u32, late));
    }

    /// A packet has been dropped: those that waited for it to go, and are
    /// ready, are offered next.
    #[inline]
    pub(super) fn leave(&mut self, pass: Pass) {
        match pass {
            Pass::Ticket(ticket) => self.leave_place(ticket),
            Pass::Counted(number) => self.order.counting().note_dropped(number, 1),
            Pass::Unasked(_) | Pass::Asked(_) => {}
        }
    }

    fn leave_place(&mut self, ticket: Ticket) {
        let mut next = self.order.keeping().release(ticket);
        while let Some((ticket, waiting)) = next {
            next = self.offer(ticket, waiting);
        }
    }

    /// Puts a packet whose turn has come behind those that wait for its port's
    /// driver, and all that are ready and follow it. If too many wait already
    /// it is dropped, and the next one of its flow returned that is ready.
    fn offer(&mut self, mut ticket: Ticket, mut waiting: Outgoing) -> Option<(Ticket, Outgoing)> {
        let (at, port) = (self.place(waiting.port), waiting.port);
        self.book_order_wait(&mut waiting);
        (self.waiting, self.turn_came) = (self.waiting | 1 << at, true);
        while self.outlets[at].waiting.len() < WAITING_MAX {
            self.outlets[at].waiting.push_back(waiting);
            if self.outlets[at].waiting.len() == WAITING_MAX {
                return None;
            }
            (ticket, waiting) = self.order.keeping().follower(ticket, |next| next.port == port)?;
            self.book_order_wait(&mut waiting);
        }
        self.drop_unsent(waiting.packet, at);
        self.order.keeping().release(ticket)
    }

    /// A packet's turn has come: how long it waited for that is known, if it
    /// was measured, and its way to the driver begins.
    fn book_order_wait(&self, waiting: &mut Outgoing) {
        if waiting.served_ticks != 0 && self.is_counting() {
            let now = tsc();
            // Its stage may have ended on an lcore whose counter is a little
            // ahead.
            self.parts(waiting.stage)
                .order_wait
                .record(now.saturating_sub(waiting.served_ticks), 1);
            waiting.served_ticks = now;
        }
    }

    /// Where the parts of a class are counted.
    #[inline]
    pub(super) fn parts(&self, stage: Stage) -> &Parts {
        match stage {
            Stage::Cheap => &self.stats.cheap_parts,
            Stage::Expensive => &self.stats.expensive_parts,
        }
    }

    fn drop_unsent(&self, packet: Mbuf, at: usize) {
        drop(packet);
        self.stats.drop_pkts(self.cause(at), 1);
    }

    /// Drops a packet that has its place written on it.
    #[cold]
    pub(super) fn drop_placed(&mut self, packet: Mbuf, cause: DropCause) {
        let pass = Pass::of(&packet, self.settings.ticket);
        drop(packet);
        self.stats.drop_pkts(cause, 1);
        self.leave(pass);
    }

    /// As `drop_placed`, all packets of a burst. Numbers that follow each other
    /// are counted at once: whoever sends counts in the same place.
    #[cold]
    pub(super) fn drop_all_placed(&mut self, burst: &mut Burst, cause: DropCause) {
        let Order::Counting(counting) = self.order else {
            burst.drain().for_each(|packet| self.drop_placed(packet, cause));
            return;
        };
        let field = self.settings.ticket;
        for run in burst.packets().chunk_by(|a, b| Pass::of(a, field).precedes(Pass::of(b, field)))
        {
            if let Pass::Counted(first) = Pass::of(&run[0], field) {
                counting.note_dropped(first, run.len() as u32);
            }
        }
        self.stats.drop_pkts(cause, burst.free() as u64);
    }

    /// Drops a packet that would need a place in its flow and got none.
    #[cold]
    pub(super) fn drop_unplaced(&self, packet: Mbuf) {
        drop(packet);
        self.stats.drop_pkts(DropCause::OrderFull, 1);
    }

    /// Leaves a packet that has its place written on it in the run queue, if
    /// there is room.
    #[inline]
    pub(super) fn leave_over(
        &mut self,
        mut packet: Mbuf,
        arrival: Arrival,
        run_queue: &mut Waiting,
    ) {
        arrival.refined(&packet, self.settings).write_on(&mut packet, self.settings);
        match run_queue.push(packet) {
            Ok(()) => self.stats.requeued_pkts.add(1),
            Err(packet) => self.drop_placed(packet, DropCause::RunQueueFull),
        }
    }

    /// Whether packets of bursts before, or of this one, are here.
    #[inline(always)]
    pub(super) fn holds_packets(&self) -> bool {
        self.staged | self.waiting != 0
    }

    /// As `holds_packets`, of those that leave by that port.
    #[inline(always)]
    pub(super) fn holds_some_of(&self, port: u16) -> bool {
        (self.staged | self.waiting) >> self.place(port) & 1 == 1
    }

    /// A packet of that bucket is about to leave the hands of who received it:
    /// those of the bucket that are here, and so came before it, get places
    /// before it.
    #[inline]
    pub(super) fn keep_places_in(&mut self, bucket: Bucket) -> Result<(), Full> {
        if self.holds_packets() { self.keep_places_here(bucket) } else { Ok(()) }
    }

    #[cold]
    fn keep_places_here(&mut self, bucket: Bucket) -> Result<(), Full> {
        let flows = self.settings.flows;
        for (at, outlet) in self.outlets.iter_mut().enumerate() {
            for waiting in &mut outlet.waiting {
                waiting.pass.keep_place_in(self.order, flows, &waiting.packet, bucket)?;
            }
            for (pass, packet) in outlet.passes.iter_mut().zip(outlet.staged.packets()) {
                pass.keep_place_in(self.order, flows, packet, bucket)?;
                self.ticketed |= u64::from(pass.is_final()) << at;
            }
        }
        Ok(())
    }

    /// Leases are about to be given away: what drivers have not taken yet keeps
    /// its places, so that others do not overtake it.
    #[inline]
    pub(super) fn keep_all_places(&mut self) {
        debug_assert_eq!(self.staged, 0);
        if self.waiting != 0 {
            self.keep_waiting_places();
        }
    }

    #[cold]
    fn keep_waiting_places(&mut self) {
        let (order, flows) = (self.order, self.settings.flows);
        for outlet in &mut self.outlets {
            let before = outlet.waiting.len();
            outlet.waiting.retain_mut(|waiting| {
                waiting.pass.keep_place(order, flows, &waiting.packet).is_ok()
            });
            self.stats.drop_pkts(DropCause::OrderFull, (before - outlet.waiting.len()) as u64);
        }
    }

    /// Drops all that drivers have not taken, and what would have followed it.
    pub(super) fn drop_waiting(&mut self) {
        for at in 0..self.outlets.len() {
            while let Some(Outgoing { packet, pass, .. }) = self.outlets[at].waiting.pop_front() {
                self.drop_unsent(packet, at);
                self.leave(pass);
            }
        }
    }
}
