//! Arrival in order: which packets of a burst need a place in their flow, and
//! when. Only for the holder of the lease of the receive queue by which the
//! burst came, until it gives that away.
//!
//! A packet that stays with this lcore until its driver accepts it needs no
//! place, unless one that came before it in its flow has left. In a burst
//! without such packets no packet is looked up.

use super::packet::{Arrival, Marks, Pass};
use super::places::Places;
use crate::dpdk::{BURST_MAX, Burst, Mbuf, TicketField};
use crate::engine::FlowBefore;
use crate::order::{Bucket, Counting, Full, Order};

/// Gives the packets of one burst their places.
pub(super) struct Admission<'a> {
    places: Places<'a>,
    field: TicketField,
    /// The receive queue by which the burst came.
    queue: u16,
    /// Packets of that queue have tickets: each one has to be looked up.
    busy: bool,
    /// How many of the burst others may get.
    gone: usize,
    /// Most of the burst before went away. So will most of this one: to look
    /// all up beforehand would be in vain.
    most_go: bool,
    /// The cheap stage deferred one: what comes behind it has to be looked up
    /// again.
    deferred_late: bool,
    /// By place in the burst, of the first `looked_up`.
    buckets: Box<[Bucket; BURST_MAX]>,
    looked_up: usize,
}

impl<'a> Admission<'a> {
    pub(super) fn new(places: Places<'a>, field: TicketField) -> Self {
        Self {
            places,
            field,
            queue: 0,
            busy: false,
            gone: 0,
            most_go: false,
            deferred_late: false,
            buckets: Box::new([places.order.bucket(0, 0); BURST_MAX]),
            looked_up: 0,
        }
    }

    #[inline(always)]
    pub(super) fn places(&self) -> Places<'a> {
        self.places
    }

    /// Whether no packet of a burst that was received by `queue` has to stay
    /// behind another packet.
    #[inline(always)]
    pub(super) fn nobody_is_ahead(&mut self, queue: u16, burst: &Burst) -> bool {
        // The lcores that send write the line that would be read here. Where
        // the answer does not matter, the line stays theirs.
        !self.most_go
            && (self.places.order.is_idle(usize::from(queue)) || self.look_up(queue, burst))
    }

    /// Looks packets' buckets up, to the first that has a packet in flight.
    #[inline(never)]
    fn look_up(&mut self, queue: u16, burst: &Burst) -> bool {
        self.looked_up = 0;
        for (place, packet) in self.buckets.iter_mut().zip(burst.packets()) {
            *place = self.places.bucket_of(queue, packet);
            self.looked_up += 1;
            if self.places.order.in_flight(*place) {
                return false;
            }
        }
        true
    }

    /// Each packet of this burst gets a place in any case, also where no packet
    /// is ahead of it.
    #[inline]
    pub(super) fn place_all(&mut self) {
        self.looked_up = 0;
    }

    /// The burst that was received by `queue` does not leave as a whole: its
    /// packets are looked up one by one.
    #[inline]
    pub(super) fn begin(&mut self, queue: u16) {
        self.queue = queue;
        self.busy = self.most_go || !self.places.order.is_idle(usize::from(queue));
        self.deferred_late = false;
        if !self.busy || self.most_go {
            self.looked_up = 0;
        }
    }

    /// A burst of so many packets has been taken apart, and served.
    #[inline]
    pub(super) fn end(&mut self, received: usize) {
        self.most_go = 2 * std::mem::take(&mut self.gone) > received;
    }

    /// The bucket of the packet `at` in its burst.
    #[inline(always)]
    pub(super) fn bucket(&self, at: usize, packet: &Mbuf) -> Bucket {
        if at < self.looked_up {
            self.buckets[at]
        } else {
            self.places.bucket_of(self.queue, packet)
        }
    }

    /// The place of a packet that stays here, `at` in its burst.
    ///
    /// # Errors
    /// When it needs a ticket, and there is none.
    #[inline(always)]
    pub(super) fn stay(&self, at: usize, packet: &Mbuf) -> Result<Pass, Full> {
        if !self.busy {
            return Ok(Pass::Unasked(self.queue));
        }
        let bucket = self.bucket(at, packet);
        if self.places.order.in_flight(bucket) {
            self.places.enter(bucket)
        } else {
            Ok(Pass::Asked(bucket))
        }
    }

    /// The place of the packet `at` in its burst, where all have one before the
    /// lease is released.
    ///
    /// # Errors
    /// As `stay`.
    #[inline]
    pub(super) fn enter(&self, at: usize, packet: &Mbuf) -> Result<Pass, Full> {
        self.places.enter(self.bucket(at, packet))
    }

    /// The place of a packet that others may get, which carries it from now on.
    /// Those of its bucket that came before it and are still here must have
    /// theirs: drivers may refuse them.
    ///
    /// # Errors
    /// As `stay`.
    #[inline(always)]
    pub(super) fn go_away(&mut self, bucket: Bucket, packet: &mut Mbuf) -> Result<Pass, Full> {
        let pass = self.places.enter(bucket)?;
        pass.write_on(packet, self.field);
        self.busy = true;
        self.gone += 1;
        Ok(pass)
    }

    /// Where places are numbers: what gives them, a whole burst its own at
    /// once.
    #[inline(always)]
    pub(super) fn counting(&self) -> Option<&'a Counting> {
        match self.places.order {
            Order::Keeping(_) => None,
            Order::Counting(counting) => Some(counting),
        }
    }

    /// As `go_away`, for all packets of a burst, where places are numbers and
    /// nothing is here that came before it. They carry this arrival, too. Those
    /// of one bucket that follow each other get their numbers at once.
    #[inline]
    pub(super) fn all_go_away(
        &mut self,
        counting: &Counting,
        packets: &mut [Mbuf],
        arrival: Arrival,
        marks: Marks,
    ) {
        let flows = self.places.flows;
        let mut before = FlowBefore::default();
        for (bucket, packet) in self.buckets.iter_mut().zip(&*packets) {
            *bucket =
                counting.bucket(usize::from(self.queue), flows.hash_next(packet, &mut before));
        }
        (self.looked_up, self.busy, self.gone) = (packets.len(), true, self.gone + packets.len());
        let (field, mut packets) = (self.field, packets);
        for run in self.buckets[..self.looked_up].chunk_by(|a, b| a == b) {
            let mut number = counting.number(run[0], run.len() as u32);
            let (those, later) = packets.split_at_mut(run.len());
            for packet in those {
                field.write(packet, number.to_bits());
                marks.detach(arrival, packet);
                number = number.next();
            }
            packets = later;
        }
    }

    /// The cheap stage deferred a packet that stayed here. Returns its bucket
    /// if it has to `go_away`; if it has a place already it carries that from
    /// now on.
    #[cold]
    pub(super) fn defer_late(&mut self, mut pass: Pass, packet: &mut Mbuf) -> Option<Bucket> {
        let bucket = self.places.bucket(&mut pass, packet);
        match bucket {
            Some(_) => self.deferred_late = true,
            None => pass.write_on(packet, self.field),
        }
        bucket
    }

    /// Updates the pass of a packet that is about to be served: its place may
    /// have changed since it was classified.
    ///
    /// # Errors
    /// As `stay`.
    #[inline(always)]
    pub(super) fn still_stays(&self, pass: Pass, packet: &Mbuf) -> Result<Pass, Full> {
        if self.deferred_late { self.look_up_again(pass, packet) } else { Ok(pass) }
    }

    #[cold]
    fn look_up_again(&self, mut pass: Pass, packet: &Mbuf) -> Result<Pass, Full> {
        match self.places.bucket(&mut pass, packet) {
            Some(bucket) if self.places.order.in_flight(bucket) => self.places.enter(bucket),
            _ => Ok(pass),
        }
    }
}
