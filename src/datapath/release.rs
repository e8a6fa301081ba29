//! Sending in ticket order. A packet with a ticket is sent when it is its turn;
//! when its driver has accepted it, or it was dropped, the next one's turn
//! comes. Where no order is kept, what was sent is counted by its number.

use super::packet::{Outgoing, Pass};
use crate::dpdk::Mbuf;
use crate::order::{Number, Order, Ticket};
use crate::stats::OrderCounts;

/// A packet whose turn has come. It is the lcore's that let go of the packet
/// before it.
pub(super) type Turn = (Ticket, Outgoing);

pub(super) struct Release<'a> {
    order: &'a Order<Outgoing>,
    counts: &'a OrderCounts,
}

impl<'a> Release<'a> {
    pub(super) fn new(order: &'a Order<Outgoing>, counts: &'a OrderCounts) -> Self {
        Self { order, counts }
    }

    /// The packet's stage is over. It comes back if it is its turn, else it is
    /// parked in its record until the lcore that lets go of the one before it
    /// gets it.
    #[inline]
    pub(super) fn finish(&self, ticket: Ticket, packet: Outgoing) -> Option<Outgoing> {
        let now = self.order.keeping().finish(ticket, packet);
        if now.is_none() {
            self.counts.add_parked();
        }
        now
    }

    /// A driver accepted the packet. Returns the next one of its flow, if that
    /// is ready.
    pub(super) fn sent(&self, pass: Pass) -> Option<Turn> {
        let Pass::Ticket(ticket) = pass else { return None };
        let keeping = self.order.keeping();
        self.counts.add_sent(keeping.note_sent(ticket));
        keeping.release(ticket)
    }

    /// A driver accepted packets in this order, where no order is kept. Runs of
    /// consecutive numbers are counted at once.
    pub(super) fn sent_counted(&self, passes: &[Pass]) {
        for run in passes.chunk_by(|&a, &b| a.precedes(b)) {
            if let Pass::Counted(first) = run[0] {
                self.sent_run(first, run.len());
            }
        }
    }

    /// As `sent_counted`, of packets with these numbers.
    #[inline]
    pub(super) fn sent_numbers(&self, numbers: &[Number]) {
        numbers.chunk_by(|&a, &b| a.precedes(b)).for_each(|run| self.sent_run(run[0], run.len()));
    }

    #[inline]
    fn sent_run(&self, first: Number, pkts: usize) {
        let late = |late_by_pkts| self.counts.add_late(late_by_pkts);
        self.counts.add_in_order(self.order.counting().note_sent(first, pkts as u32, late));
    }

    /// The packet was dropped. Returns the next one of its flow, if that is
    /// ready.
    #[inline]
    pub(super) fn dropped(&self, pass: Pass) -> Option<Turn> {
        match pass {
            Pass::Ticket(ticket) => self.order.keeping().release(ticket),
            Pass::Counted(number) => {
                self.order.counting().note_dropped(number, 1);
                None
            }
            Pass::Unasked(_) | Pass::Asked(_) => None,
        }
    }

    /// So many packets with consecutive numbers were dropped.
    pub(super) fn dropped_run(&self, first: Number, pkts: usize) {
        self.order.counting().note_dropped(first, pkts as u32);
    }

    /// The packet after that ticket's, if it is ready, leaves by `port` and
    /// still `goes`: it may wait for the driver right behind it.
    pub(super) fn follower(
        &self,
        ticket: Ticket,
        port: u16,
        goes: impl FnOnce(&mut Mbuf) -> bool,
    ) -> Option<Turn> {
        self.order.keeping().follower(ticket, |next| next.port == port && goes(&mut next.packet))
    }

    /// Whether packets are sent in order, and not only counted.
    #[inline(always)]
    pub(super) fn keeps(&self) -> bool {
        matches!(self.order, Order::Keeping(_))
    }
}
