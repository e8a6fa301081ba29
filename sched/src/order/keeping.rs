//! Packets are sent in order: each in flight has a ticket for a record.

use super::bucket::{BUCKETS, Bucket, BucketMap};
use super::record::{Next, Record};
use super::table::{RECORDS_MAX, Table};

/// A packet's place in its flow. Its holder must [release](Keeping::release) it
/// exactly once, when the packet was sent or dropped: all later packets of the
/// flow depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u32);

impl Ticket {
    /// As a word, to be written on a packet.
    #[inline(always)]
    pub fn to_bits(self) -> u64 {
        self.0.into()
    }

    /// From the word that `to_bits` made.
    #[inline(always)]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits as u32)
    }
}

/// All records of the queue are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("all records of the receive queue are in use")
    }
}

impl std::error::Error for Full {}

/// Keeps the packets `T` of some receive queues in order.
///
/// Three callers: the holder of a queue's lease (`is_idle`, `in_flight`,
/// `enter`); the lcore that ran a packet's stage (`finish`); the lcore that
/// sent or dropped the packet (`note_sent`, `release`, `follower`). They may be
/// different ones.
pub struct Keeping<T> {
    tables: Box<[Table]>,
    records: Box<[Record<T>]>,
    map: BucketMap,
}

impl<T> Keeping<T> {
    /// For `queues` receive queues with `records_per_queue` records each, at
    /// most 65,536. A record takes a cache line or more.
    ///
    /// # Panics
    /// When all queues together have 2^31 records or buckets, or more.
    pub fn new(queues: usize, records_per_queue: usize) -> Self {
        Self::placed(queues, records_per_queue, |_| ())
    }

    /// As [`Keeping::new`]. `place` is called with a queue's number before the
    /// queue's memory is written for the first time: with first-touch placement
    /// a caller can have that memory on the NUMA node of the queue's owner.
    ///
    /// # Panics
    /// As [`Keeping::new`].
    pub fn placed(queues: usize, records_per_queue: usize, place: impl FnMut(usize)) -> Self {
        Self::build(queues, records_per_queue, BUCKETS, place)
    }

    /// As [`Keeping::new`], with so many buckets per queue.
    ///
    /// # Panics
    /// As [`Keeping::new`], and when `buckets_per_queue` is no power of two.
    pub fn with_buckets(queues: usize, records_per_queue: usize, buckets_per_queue: usize) -> Self {
        Self::build(queues, records_per_queue, buckets_per_queue, |_| ())
    }

    fn build(
        queues: usize,
        records_per_queue: usize,
        buckets_per_queue: usize,
        mut place: impl FnMut(usize),
    ) -> Self {
        let each = records_per_queue.min(RECORDS_MAX);
        let map = BucketMap::new(queues, buckets_per_queue, each);
        let table = |queue: usize| {
            place(queue);
            Table::new((queue * each) as u32, ((queue + 1) * each) as u32, buckets_per_queue)
        };
        let tables = (0..queues).map(table).collect();
        let record = |at: usize| {
            if at.is_multiple_of(each) {
                place(at / each);
            }
            Record::new()
        };
        Self { tables, records: (0..queues * each).map(record).collect(), map }
    }

    /// The bucket of a packet that came in by `queue`, counted from 0.
    #[inline(always)]
    pub fn bucket(&self, queue: usize, flow_hash: u32) -> Bucket {
        self.map.bucket(queue, flow_hash)
    }

    #[inline(always)]
    fn table(&self, bucket: Bucket) -> (&Table, usize) {
        (&self.tables[self.map.queue(bucket)], self.map.index_in_queue(bucket))
    }

    #[inline(always)]
    fn record(&self, Ticket(at): Ticket) -> &Record<T> {
        &self.records[at as usize]
    }

    /// Whether no packet of the queue has a ticket. Caller must hold the queue's
    /// lease.
    #[inline(always)]
    pub fn is_idle(&self, queue: usize) -> bool {
        self.tables[queue].is_idle()
    }

    /// How many more packets of the queue can get tickets. For the
    /// holder of the queue's lease; for others a hint. Tickets may be released
    /// meanwhile.
    #[inline]
    pub fn room(&self, queue: usize) -> usize {
        self.tables[queue].room()
    }

    /// Whether some queue has records for fewer than `pkts` more packets, or an
    /// eighth of its records at most. Any lcore may call this; it is a hint.
    pub fn is_short(&self, pkts: usize) -> bool {
        let each = self.records.len() / self.tables.len().max(1);
        let least = pkts.max(each / 8);
        self.tables.iter().any(|table| table.room() < least)
    }

    /// Whether a packet of the bucket has a ticket: then the next one needs one
    /// too. True may become false at any moment. Caller must hold the queue's
    /// lease.
    #[inline]
    pub fn in_flight(&self, bucket: Bucket) -> bool {
        let (table, index) = self.table(bucket);
        table.last(&self.records, index).is_some()
    }

    /// A ticket for the packet that arrived last in its bucket. Caller must hold
    /// the queue's lease.
    ///
    /// # Errors
    /// When all of the queue's records are in use.
    #[inline]
    pub fn enter(&self, bucket: Bucket) -> Result<Ticket, Full> {
        let (table, index) = self.table(bucket);
        let at = table.allocate(&self.records).ok_or(Full)?;
        // After the allocation: a record that was freed and allocated again is
        // closed until it is opened, and so is no bucket's last.
        let last = table.last(&self.records, index);
        let record = &self.records[at as usize];
        record.open(bucket.0, table.next_sequence(index));
        if !last.is_some_and(|last| last.link(at)) {
            record.start_with_turn();
        }
        table.set_last(&self.records, index, at);
        Ok(Ticket(at))
    }

    /// The packet's stage is over. It comes back if it is its turn to be sent;
    /// else it is parked until [`Keeping::release`] of its predecessor returns
    /// it.
    #[inline]
    pub fn finish(&self, ticket: Ticket, packet: T) -> Option<T> {
        self.record(ticket).finish(packet)
    }

    /// A driver accepted the packet; to be called before [`Keeping::release`].
    /// Returns by how many packets of its bucket it was late, which is 0 while
    /// the protocol holds: the highest number sent before minus its own.
    #[inline]
    pub fn note_sent(&self, ticket: Ticket) -> u64 {
        let record = self.record(ticket);
        let (table, index) = self.table(Bucket(record.bucket()));
        let sequence = record.sequence();
        table.note_sent(index, sequence).saturating_sub(sequence)
    }

    /// A driver accepted the packet, or the packet was dropped before or after
    /// its stage. Returns the next packet of the flow, if that is parked: the
    /// caller must send or drop it, and then release its ticket.
    #[inline]
    pub fn release(&self, ticket: Ticket) -> Option<(Ticket, T)> {
        let Ticket(mut at) = ticket;
        loop {
            let record = &self.records[at as usize];
            if !record.finish_empty() {
                return None;
            }
            let next = record.close();
            self.free(at);
            at = next?;
            match self.records[at as usize].pass_turn() {
                Next::InFlight => return None,
                Next::Parked(packet) => return Some((Ticket(at), packet)),
                Next::Dropped => {}
            }
        }
    }

    #[inline]
    fn free(&self, at: u32) {
        let (table, _) = self.table(Bucket(self.records[at as usize].bucket()));
        table.free(&self.records, at);
    }

    /// The next packet of the flow, if it is parked and `fits`. The caller is
    /// about to send the ticket's own packet, and must send this one right
    /// behind it, by the same transmit queue and in one list: drivers accept
    /// packets from the front, so order is kept although the first one was not
    /// accepted yet.
    #[inline]
    pub fn follower(
        &self,
        ticket: Ticket,
        fits: impl FnOnce(&mut T) -> bool,
    ) -> Option<(Ticket, T)> {
        self.record(ticket).follower(&self.records, fits).map(|(at, packet)| (Ticket(at), packet))
    }
}
