//! How packets end: sent in the order of their flows, or dropped.

use super::Sent;
use super::agenda::START_TICKS;
use super::costs::CostTicks;
use super::queues::Packet;
use crate::order::{Keeping, Ticket};

pub(super) struct Transmit<'a, S> {
    order: &'a Keeping<Packet>,
    sent: S,
    clock_ticks: u64,
    /// The cost of a parked packet, for the lcore that sends it.
    release_ticks: u64,
    pub sent_pkts: u64,
    pub dropped_pkts: u64,
    pub reordered_pkts: u64,
    /// When the last packet was sent, from the start.
    pub ended_ticks: u64,
}

impl<'a, S: FnMut(Sent)> Transmit<'a, S> {
    pub(super) fn new(order: &'a Keeping<Packet>, costs: &CostTicks, sent: S) -> Self {
        Self {
            order,
            sent,
            clock_ticks: costs.clock_ns,
            release_ticks: costs.send_pkt_ns + costs.release_pkt_ns,
            sent_pkts: 0,
            dropped_pkts: 0,
            reordered_pkts: 0,
            ended_ticks: 0,
        }
    }

    /// Sends the packet when it is its turn, and with it those that waited for
    /// it. Returns how long these take.
    pub(super) fn send(&mut self, me: usize, now: u64, packet: Packet) -> u64 {
        let Some(ticket) = packet.ticket else {
            self.emit(me, now, packet);
            return 0;
        };
        match self.order.finish(ticket, packet) {
            Some(packet) => self.send_placed(me, now, ticket, packet),
            None => 0,
        }
    }

    /// Drops the packet, and sends those that waited for it. Returns how long
    /// these take.
    pub(super) fn drop(&mut self, me: usize, now: u64, packet: Packet) -> u64 {
        self.dropped_pkts += 1;
        match packet.ticket.and_then(|ticket| self.order.release(ticket)) {
            Some((ticket, packet)) => self.send_placed(me, now, ticket, packet),
            None => 0,
        }
    }

    fn send_placed(&mut self, me: usize, now: u64, mut ticket: Ticket, mut packet: Packet) -> u64 {
        let mut ticks = 0;
        loop {
            self.reordered_pkts += u64::from(self.order.note_sent(ticket) > 0);
            self.emit(me, now, packet);
            let Some(next) = self.order.release(ticket) else { return ticks };
            (ticket, packet) = next;
            ticks += self.release_ticks;
        }
    }

    /// The driver has accepted the packet. The next reading of the clock tells
    /// when.
    fn emit(&mut self, me: usize, now: u64, packet: Packet) {
        let sent_ticks = now + self.clock_ticks - START_TICKS;
        self.sent_pkts += 1;
        self.ended_ticks = self.ended_ticks.max(sent_ticks);
        (self.sent)(Sent {
            due_ticks: packet.due_ticks - START_TICKS,
            sent_ticks,
            cost_ticks: packet.cost_ticks,
            expensive: packet.expensive,
            queue: usize::from(packet.queue),
            lcore: me,
        });
    }
}
