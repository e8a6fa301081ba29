//! Arrival in order: which packets need a place in their flow, and when. All of
//! this is for who holds the lease of the receive queue that the packets came
//! by, until it gives that away.
//!
//! A packet that stays in these hands until its driver takes it needs none,
//! unless one that came before it in its flow has left them. In a burst without
//! such packets nothing is asked of any packet.

use super::Transmit;
use super::sort::{Hands, Sorter};
use super::transmit::Outgoing;
use crate::dpdk::{BURST_MAX, Burst, Mbuf, TicketField};
use crate::engine::{FlowBefore, Flows};
use crate::order::{Bucket, Counting, Full, Number, Order, Ticket};

/// A packet's place in its flow, as far as that has been asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// It needs none so far. It came by this receive queue.
    Unasked(u16),
    /// As above, and its flow is in this bucket.
    Asked(Bucket),
    /// It keeps its place wherever it is.
    Ticket(Ticket),
    /// It is counted by this number, where no order is kept.
    Counted(Number),
}

impl Pass {
    /// As it is written on a packet that has left the hands of who received it.
    #[inline]
    pub(super) fn of(packet: &Mbuf, field: TicketField) -> Self {
        let bits = field.read(packet);
        if field.is_number() {
            Self::Counted(Number::from_bits(bits))
        } else {
            Self::Ticket(Ticket::from_bits(bits))
        }
    }

    #[inline]
    fn write_on(self, packet: &mut Mbuf, field: TicketField) {
        match self {
            Self::Ticket(ticket) => field.write(packet, ticket.to_bits()),
            Self::Counted(number) => field.write(packet, number.to_bits()),
            Self::Unasked(_) | Self::Asked(_) => {
                debug_assert!(false, "a packet that goes away has a place")
            }
        }
    }

    /// Whether it goes along with the packet from now on.
    #[inline(always)]
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::Ticket(_) | Self::Counted(_))
    }

    /// Whether both are counted, and no other number is between theirs.
    #[inline(always)]
    pub(super) fn precedes(self, next: Self) -> bool {
        matches!((self, next), (Self::Counted(a), Self::Counted(b)) if a.precedes(b))
    }

    /// The bucket, of a packet without a ticket. Packets are asked late: an
    /// engine may have changed one meanwhile, but not by what `flows` tells its
    /// flow.
    #[inline]
    fn bucket(&mut self, order: &Order<Outgoing>, flows: Flows, packet: &Mbuf) -> Option<Bucket> {
        match *self {
            Self::Unasked(queue) => {
                let bucket = order.bucket(usize::from(queue), flows.hash(packet));
                *self = Self::Asked(bucket);
                Some(bucket)
            }
            Self::Asked(bucket) => Some(bucket),
            Self::Ticket(_) | Self::Counted(_) => None,
        }
    }

    /// Gives the packet a ticket if it has none.
    #[inline]
    pub(super) fn keep_place(
        &mut self,
        order: &Order<Outgoing>,
        flows: Flows,
        packet: &Mbuf,
    ) -> Result<(), Full> {
        if let Some(bucket) = self.bucket(order, flows, packet) {
            *self = enter(order, bucket)?;
        }
        Ok(())
    }

    /// As `keep_place`, if it is of that bucket.
    #[inline]
    pub(super) fn keep_place_in(
        &mut self,
        order: &Order<Outgoing>,
        flows: Flows,
        packet: &Mbuf,
        bucket: Bucket,
    ) -> Result<(), Full> {
        if self.bucket(order, flows, packet) == Some(bucket) {
            *self = enter(order, bucket)?;
        }
        Ok(())
    }
}

/// A ticket; where no order is kept, a number.
#[inline(always)]
fn enter(order: &Order<Outgoing>, bucket: Bucket) -> Result<Pass, Full> {
    match order {
        Order::Keeping(keeping) => keeping.enter(bucket).map(Pass::Ticket),
        Order::Counting(counting) => Ok(Pass::Counted(counting.number(bucket, 1))),
    }
}

/// What is asked of the packets of one burst.
pub(super) struct Admission<'a> {
    order: &'a Order<Outgoing>,
    field: TicketField,
    flows: Flows,
    /// The receive queue that the burst came by.
    queue: u16,
    /// Packets of that queue have tickets: each one has to be asked.
    busy: bool,
    /// How many of the burst others may get.
    gone: usize,
    /// Most of the burst before went away: so will most of this one, and to ask
    /// all beforehand would be in vain.
    most_go: bool,
    /// One was found to be expensive by the cheap stage: what comes behind it
    /// has to be asked again.
    deferred_late: bool,
    /// By place in the burst, of those that have been asked.
    buckets: Box<[Bucket; BURST_MAX]>,
    asked: usize,
}

impl<'a> Admission<'a> {
    pub(super) fn new(order: &'a Order<Outgoing>, field: TicketField, flows: Flows) -> Self {
        let buckets = Box::new([order.bucket(0, 0); BURST_MAX]);
        Self {
            order,
            field,
            flows,
            queue: 0,
            busy: false,
            gone: 0,
            most_go: false,
            deferred_late: false,
            buckets,
            asked: 0,
        }
    }

    /// The burst that was received by `queue` does not leave as a whole: its
    /// packets are asked for one by one.
    #[inline]
    pub(super) fn part(&mut self, queue: u16) {
        self.queue = queue;
        self.busy = self.most_go || !self.order.is_idle(usize::from(queue));
        self.deferred_late = false;
        if !self.busy || self.most_go {
            self.asked = 0;
        }
    }

    /// A burst of so many has been parted, and served.
    #[inline]
    pub(super) fn end(&mut self, received: usize) {
        self.most_go = 2 * std::mem::take(&mut self.gone) > received;
    }

    /// Whether none of a burst that was received by `queue` has to keep behind
    /// another packet.
    #[inline(always)]
    pub(super) fn nobody_is_ahead(&mut self, queue: u16, burst: &Burst) -> bool {
        // Those who send write what would be read: where nobody needs to know,
        // the line stays theirs.
        !self.most_go && (self.order.is_idle(usize::from(queue)) || self.ask(queue, burst))
    }

    /// Asks one after the other, up to the first that somebody is ahead of.
    #[inline(never)]
    fn ask(&mut self, queue: u16, burst: &Burst) -> bool {
        self.asked = 0;
        for (place, packet) in self.buckets.iter_mut().zip(burst.packets()) {
            *place = self.order.bucket(usize::from(queue), self.flows.hash(packet));
            self.asked += 1;
            if self.order.in_flight(*place) {
                return false;
            }
        }
        true
    }

    #[inline]
    fn bucket(&self, at: usize, packet: &Mbuf) -> Bucket {
        if at < self.asked {
            self.buckets[at]
        } else {
            self.order.bucket(usize::from(self.queue), self.flows.hash(packet))
        }
    }

    /// The place in its flow of a packet, `at` in its burst: needed and written
    /// on it if others may get the packet.
    ///
    /// # Errors
    /// As `stays`.
    #[inline(always)]
    pub(super) fn admit(
        &mut self,
        at: usize,
        packet: &mut Mbuf,
        hands: Hands,
        here: &mut Sorter,
        tx: &mut Transmit<'_>,
    ) -> Result<Pass, Full> {
        match hands {
            Hands::Ours => self.stays(at, packet),
            Hands::Others => self.goes_away(at, packet, here, tx),
        }
    }

    /// A packet that stays here, `at` in its burst.
    ///
    /// # Errors
    /// When it would need a ticket, and there is none.
    #[inline(always)]
    fn stays(&self, at: usize, packet: &Mbuf) -> Result<Pass, Full> {
        if !self.busy {
            return Ok(Pass::Unasked(self.queue));
        }
        let bucket = self.bucket(at, packet);
        if self.order.in_flight(bucket) {
            enter(self.order, bucket)
        } else {
            Ok(Pass::Asked(bucket))
        }
    }

    /// A packet that others may get. Those of its flow that came before it and
    /// are still here get tickets before it does: the driver may refuse them.
    ///
    /// # Errors
    /// As `stays`.
    #[inline(always)]
    fn goes_away(
        &mut self,
        at: usize,
        packet: &mut Mbuf,
        here: &mut Sorter,
        tx: &mut Transmit<'_>,
    ) -> Result<Pass, Full> {
        let bucket = self.bucket(at, packet);
        if tx.holds_packets() || !here.cheap.is_empty() {
            self.keep_places_in(bucket, here, tx)?;
        }
        self.go_away(bucket, packet)
    }

    #[inline(never)]
    fn keep_places_in(
        &self,
        bucket: Bucket,
        here: &mut Sorter,
        tx: &mut Transmit<'_>,
    ) -> Result<(), Full> {
        // In the order of their arrival: what waits for its driver is of
        // earlier bursts.
        tx.keep_places_in(bucket)?;
        for (pass, packet) in here.passes.iter_mut().zip(here.cheap.packets()) {
            pass.keep_place_in(self.order, self.flows, packet, bucket)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn go_away(&mut self, bucket: Bucket, packet: &mut Mbuf) -> Result<Pass, Full> {
        let pass = enter(self.order, bucket)?;
        pass.write_on(packet, self.field);
        self.busy = true;
        self.gone += 1;
        Ok(pass)
    }

    /// What numbers a burst that can go away as a whole: nothing that came
    /// before it is here, and nobody needs a ticket.
    #[inline]
    pub(super) fn may_go_whole(&self, here: &Sorter, tx: &Transmit<'_>) -> Option<&'a Counting> {
        match self.order {
            Order::Counting(counting) if !tx.holds_packets() && here.cheap.is_empty() => {
                Some(counting)
            }
            _ => None,
        }
    }

    /// As `goes_away`, for all packets of a burst that may go as a whole;
    /// `write` writes on each what else it has to say. Those of one bucket that
    /// follow each other get their numbers at once.
    #[inline]
    pub(super) fn all_go_away(
        &mut self,
        counting: &Counting,
        packets: &mut [Mbuf],
        write: impl Fn(&mut Mbuf),
    ) {
        let mut before = FlowBefore::default();
        for (bucket, packet) in self.buckets.iter_mut().zip(&*packets) {
            *bucket =
                counting.bucket(usize::from(self.queue), self.flows.hash_next(packet, &mut before));
        }
        (self.asked, self.busy, self.gone) = (packets.len(), true, self.gone + packets.len());
        let (field, mut packets) = (self.field, packets);
        for run in self.buckets[..self.asked].chunk_by(|a, b| a == b) {
            let mut number = counting.number(run[0], run.len() as u32);
            let (those, later) = packets.split_at_mut(run.len());
            for packet in those {
                field.write(packet, number.to_bits());
                write(packet);
                number = number.next();
            }
            packets = later;
        }
    }

    /// The cheap stage says of a packet that stayed here that others must get
    /// it. Those of its flow that came before it are in `tx`.
    ///
    /// # Errors
    /// As `stays`.
    #[cold]
    pub(super) fn goes_away_late(
        &mut self,
        mut pass: Pass,
        packet: &mut Mbuf,
        tx: &mut Transmit<'_>,
    ) -> Result<(), Full> {
        match pass.bucket(self.order, self.flows, packet) {
            Some(bucket) => {
                self.deferred_late = true;
                tx.keep_places_in(bucket)?;
                self.go_away(bucket, packet).map(drop)
            }
            None => {
                pass.write_on(packet, self.field);
                Ok(())
            }
        }
    }

    /// What became of a packet's place since it was sorted, when it is about to
    /// be served.
    ///
    /// # Errors
    /// As `stays`.
    #[inline(always)]
    pub(super) fn still_stays(&self, pass: Pass, packet: &Mbuf) -> Result<Pass, Full> {
        if self.deferred_late { self.ask_again(pass, packet) } else { Ok(pass) }
    }

    #[cold]
    fn ask_again(&self, mut pass: Pass, packet: &Mbuf) -> Result<Pass, Full> {
        match pass.bucket(self.order, self.flows, packet) {
            Some(bucket) if self.order.in_flight(bucket) => enter(self.order, bucket),
            _ => Ok(pass),
        }
    }
}
