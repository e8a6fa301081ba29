//! Which packets get a place in their flow, and what that takes.

use super::costs::CostTicks;
use super::queues::Packet;
use crate::order::{Bucket, Keeping};

pub(super) struct Admission<'a> {
    order: &'a Keeping<Packet>,
    enter_pkt_ticks: u64,
}

impl<'a> Admission<'a> {
    pub(super) fn new(order: &'a Keeping<Packet>, costs: &CostTicks) -> Self {
        Self { order, enter_pkt_ticks: costs.enter_pkt_ns }
    }

    fn bucket(&self, packet: &Packet) -> Bucket {
        self.order.bucket(usize::from(packet.queue), packet.flow_hash())
    }

    /// Whether `want` packets of the queue can get places.
    pub(super) fn has_room(&self, queue: usize, want: usize) -> bool {
        self.order.is_idle(queue) || self.order.room(queue) >= want
    }

    /// Whether a packet before this one of its bucket is in flight.
    pub(super) fn is_behind(&self, packet: &Packet) -> bool {
        !self.order.is_idle(usize::from(packet.queue)) && self.order.in_flight(self.bucket(packet))
    }

    /// Gives the packet a place in its flow. False if there is none.
    pub(super) fn enter(&self, packet: &mut Packet) -> bool {
        packet.ticket = self.order.enter(self.bucket(packet)).ok();
        packet.ticket.is_some()
    }

    /// The packet stays on its lcore: it needs a place only behind another one.
    pub(super) fn stay(&self, packet: &mut Packet, ticks: &mut u64) -> bool {
        if !self.is_behind(packet) {
            return true;
        }
        *ticks += self.enter_pkt_ticks;
        self.enter(packet)
    }

    /// Others may get the packet. Those of its bucket that came before it and
    /// are still in `cheap` get their places before it. `is_counted`: the time
    /// of its own place is in `ticks` already.
    pub(super) fn go_away(
        &self,
        packet: &mut Packet,
        cheap: &mut [Packet],
        ticks: &mut u64,
        is_counted: bool,
    ) -> bool {
        let own = self.bucket(packet);
        for before in cheap {
            if before.ticket.is_none() && self.bucket(before) == own {
                *ticks += self.enter_pkt_ticks;
                if !self.enter(before) {
                    return false;
                }
            }
        }
        if !is_counted {
            *ticks += self.enter_pkt_ticks;
        }
        self.enter(packet)
    }
}
