//! The order of the packets of a flow, although some of them are deferred,
//! stolen or rescued: each leaves when those have left that arrived before it.
//! Only a flow waits for its own packets; stages run as they like, it is the
//! sending that is in order.
//!
//! Who holds a receive queue's lease defines the order of arrival, by its
//! polls. What it serves and sends itself, before it gives the lease away,
//! needs nothing. A packet that leaves its hands, and each one that comes
//! behind such a packet in its flow, has a [`Ticket`] for a record in a list of
//! the flow's, as waiters have in an MCS lock (Mellor-Crummey, Scott, ACM TOCS
//! 9(1), 1991). Nobody waits there: who finds that a packet may not go yet
//! parks it in its record, and who sends what came before sends it too.
//!
//! Flows are told apart by a hash, in [`BUCKETS`] buckets per receive queue:
//! those that share a bucket wait for each other.
//!
//! There is no lock that anybody waits for, no timer, and no memory but what is
//! allocated at the start: a queue has so many records, and a packet that finds
//! none left is given back to be dropped.
//!
//! Where no order is kept each packet goes when it is ready, and what was late
//! is counted by numbers that go along with the packets.

#![forbid(unsafe_code)]

mod counted;
mod record;
mod table;
#[cfg(all(test, not(loom)))]
mod tests;

use counted::Counted;
pub use counted::Number;
use record::{Next, Record};
use table::{RECORDS_MAX, Table};

/// How many buckets a receive queue's flows are put into, unless told
/// otherwise. So many last records take 32 KiB, which a core's caches hold.
pub const BUCKETS: usize = 4096;

/// A packet's place in its flow; to be left once, when the packet has been sent
/// or dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u32);

impl Ticket {
    /// As a number, to be written on a packet.
    #[inline(always)]
    pub fn to_bits(self) -> u64 {
        self.0.into()
    }

    #[inline(always)]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits as u32)
    }
}

/// A bucket of flows of one receive queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket(u32);

/// All records are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The order of packets `T` of some receive queues.
pub struct Order<T> {
    tables: Box<[Table]>,
    records: Box<[Record<T>]>,
    records_per_queue: u32,
    /// Buckets per queue are two to the power of this.
    bucket_bits: u32,
    /// Instead of tables and records, where no order is kept.
    counted: Option<Counted>,
}

impl<T> Order<T> {
    /// For so many receive queues, each with so many records, at most 65,536.
    /// With `keeps` packets are kept in order; without, only counted.
    ///
    /// # Panics
    /// When all queues together have 2^31 records or buckets, or more.
    pub fn new(queues: usize, records_per_queue: usize, keeps: bool) -> Self {
        Self::with_buckets(queues, records_per_queue, BUCKETS, keeps)
    }

    /// As [`Order::new`], with so many buckets per queue, a power of two.
    ///
    /// # Panics
    /// As [`Order::new`].
    pub fn with_buckets(
        queues: usize,
        records_per_queue: usize,
        buckets: usize,
        keeps: bool,
    ) -> Self {
        let each = records_per_queue.min(RECORDS_MAX);
        assert!(
            buckets.is_power_of_two() && queues * each.max(buckets) < 1 << 31,
            "numbers of 31 bits"
        );
        let with_records = if keeps { queues } else { 0 };
        Self {
            tables: (0..with_records)
                .map(|queue| {
                    Table::new((queue * each) as u32, ((queue + 1) * each) as u32, buckets)
                })
                .collect(),
            records: (0..with_records * each).map(|_| Record::new()).collect(),
            records_per_queue: if keeps { each as u32 } else { 0 },
            bucket_bits: buckets.trailing_zeros(),
            counted: (!keeps).then(|| Counted::new(queues, buckets)),
        }
    }

    /// The bucket of a packet that came in by `queue`, counted from 0.
    #[inline(always)]
    pub fn bucket(&self, queue: usize, flow_hash: u32) -> Bucket {
        Bucket((queue as u32) << self.bucket_bits | self.place_of(flow_hash))
    }

    #[inline(always)]
    fn place_of(&self, hash_or_bucket: u32) -> u32 {
        hash_or_bucket & ((1 << self.bucket_bits) - 1)
    }

    /// The table that a bucket is in, and its place there.
    #[inline(always)]
    fn place(&self, Bucket(bucket): Bucket) -> (&Table, usize) {
        (&self.tables[(bucket >> self.bucket_bits) as usize], self.place_of(bucket) as usize)
    }

    #[inline(always)]
    fn record(&self, Ticket(at): Ticket) -> &Record<T> {
        &self.records[at as usize]
    }

    // ---- For who holds the queue's lease ----

    /// Whether no packet of the queue has a ticket, or a number.
    #[inline(always)]
    pub fn is_idle(&self, queue: usize) -> bool {
        match &self.counted {
            None => self.tables[queue].is_idle(),
            Some(counted) => counted.is_idle(queue),
        }
    }

    /// Whether a packet of that bucket has a ticket, or a number: then the next
    /// one needs one too. It may be left at any moment.
    #[inline]
    pub fn is_ahead(&self, bucket: Bucket) -> bool {
        if let Some(counted) = &self.counted {
            return counted.is_ahead(bucket.0);
        }
        let (table, at) = self.place(bucket);
        table.last(&self.records, at).is_some()
    }

    /// A ticket for the packet that arrived last in its bucket. Where order is
    /// kept, as is all that has to do with tickets.
    ///
    /// # Errors
    /// When all of the queue's records are in use.
    #[inline]
    pub fn enter(&self, bucket: Bucket) -> Result<Ticket, Full> {
        let (table, place) = self.place(bucket);
        let at = table.take(&self.records).ok_or(Full)?;
        // Looked for behind that: a record that was given back and taken again
        // is closed until it is begun, and so is nobody's last.
        let last = table.last(&self.records, place);
        let record = &self.records[at as usize];
        record.begin(bucket.0, table.number(place));
        if !last.is_some_and(|last| last.link(at)) {
            record.has_no_predecessor();
        }
        table.set_last(&self.records, place, at);
        Ok(Ticket(at))
    }

    // ---- For who has the packet ----

    /// The packet's stage is over. It comes back if it may be sent now;
    /// otherwise it is parked until another lcore, which sends what is before
    /// it, gets it from [`Order::leave`].
    #[inline]
    pub fn finish(&self, ticket: Ticket, packet: T) -> Option<T> {
        self.record(ticket).finish(packet)
    }

    /// The packet was taken by its driver; to be said before [`Order::leave`].
    /// Returns by how many of its bucket it was late: the difference between
    /// its number and the highest that had gone before it. 0 is in order.
    #[inline]
    pub fn count_sent(&self, ticket: Ticket) -> u64 {
        let record = self.record(ticket);
        let (table, place) = self.place(Bucket(record.bucket()));
        let number = record.sequence();
        table.note_sent(place, number).saturating_sub(number)
    }

    /// The packet was taken by its driver, or dropped, whatever had become of
    /// its stage. Returns the next packet of the flow, if that is ready: it is
    /// the caller's to send, and then to leave.
    #[inline]
    pub fn leave(&self, ticket: Ticket) -> Option<(Ticket, T)> {
        let Ticket(mut at) = ticket;
        loop {
            let record = &self.records[at as usize];
            if !record.give_up() {
                return None;
            }
            let next = record.close();
            self.give_back(at);
            at = next?;
            match self.records[at as usize].let_go() {
                Next::Nothing => return None,
                Next::Send(packet) => return Some((Ticket(at), packet)),
                Next::Gone => {}
            }
        }
    }

    #[inline]
    fn give_back(&self, at: u32) {
        let (table, _) = self.place(Bucket(self.records[at as usize].bucket()));
        table.give_back(&self.records, at);
    }

    /// The next packet of the flow, if it is ready and `fits`: to be sent right
    /// behind the ticket's own, which the caller is about to send, by the same
    /// queue and in one list. Drivers take packets from the front, so that
    /// order is kept although the first has not gone yet.
    #[inline]
    pub fn follower(&self, ticket: Ticket, fits: impl FnOnce(&T) -> bool) -> Option<(Ticket, T)> {
        self.record(ticket).follower(&self.records, fits).map(|(at, packet)| (Ticket(at), packet))
    }

    /// Whether packets are kept in order, and not only counted.
    #[inline(always)]
    pub fn keeps(&self) -> bool {
        self.counted.is_none()
    }

    // ---- Where no order is kept ----

    /// The number of the first of so many packets that arrived last in their
    /// bucket; each precedes the next. For who holds the queue's lease; where
    /// no order is kept, as all of these.
    #[inline]
    pub fn count(&self, Bucket(bucket): Bucket, pkts: u32) -> Number {
        self.counted.as_ref().map_or(Number::from_bits(0), |counted| counted.enter(bucket, pkts))
    }

    /// So many packets, at least one, from this number on, each of which
    /// precedes the next, were taken by their driver in this order. Tells of
    /// each that was late by how many, as [`Order::count_sent`] does, and
    /// returns how many were not.
    #[inline]
    pub fn count_all_sent(&self, first: Number, pkts: u32, late_by: impl FnMut(u64)) -> u64 {
        let Some(counted) = &self.counted else { return 0 };
        let in_order = counted.sent(first, pkts, late_by);
        counted.leave(first.bucket, pkts);
        in_order
    }

    /// So many packets, from this number on, each of which precedes the next,
    /// were dropped.
    pub fn count_dropped(&self, first: Number, pkts: u32) {
        if let Some(counted) = &self.counted {
            counted.leave(first.bucket, pkts);
        }
    }

    /// The most packets that may have tickets at once, per receive queue.
    pub fn records_per_queue(&self) -> usize {
        self.records_per_queue as usize
    }
}
