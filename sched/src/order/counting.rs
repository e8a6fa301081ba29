//! Packets are numbered, not ordered: each one that is sent is compared with the
//! newest of its bucket that was sent before. The lease's holder, which numbers
//! packets, and the lcores that send them write different cache lines.

use super::bucket::{BUCKETS, Bucket, BucketMap};
use crate::sync::Line;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// A packet's sequence number within its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    bucket: Bucket,
    /// From 1; wraps after 2^32 - 1.
    sequence: u32,
}

impl Number {
    /// As a word, to be written on a packet.
    #[inline(always)]
    pub fn to_bits(self) -> u64 {
        u64::from(self.bucket.0) << 32 | u64::from(self.sequence)
    }

    /// From the word that `to_bits` made.
    #[inline(always)]
    pub fn from_bits(bits: u64) -> Self {
        Self { bucket: Bucket((bits >> 32) as u32), sequence: bits as u32 }
    }

    /// The next one of its bucket.
    #[inline(always)]
    pub fn next(self) -> Self {
        Self { sequence: self.sequence.wrapping_add(1), ..self }
    }

    /// Whether `next` comes right after this one in the same bucket.
    #[inline(always)]
    pub fn precedes(self, next: Self) -> bool {
        self.next() == next
    }
}

/// Words that sending lcores write, by bucket.
struct Departed {
    /// The highest number that was sent, extended beyond 32 bits.
    newest: AtomicU64,
    /// How many were sent or dropped.
    left: AtomicU32,
}

/// The numbered packets of one receive queue.
struct Queue {
    /// How many there were. Only the lease's holder writes it.
    entered: Line<AtomicU32>,
    left: Line<AtomicU32>,
}

/// Numbers packets, and counts those that are sent after a later one of their
/// bucket.
///
/// Numbers are of 32 bits: counts are right while fewer than 2^31 packets of a
/// bucket are in flight.
pub struct Counting {
    queues: Box<[Queue]>,
    /// By bucket, how many have a number. Only the lease's holder writes it.
    arrived: Box<[AtomicU32]>,
    departed: Box<[Departed]>,
    map: BucketMap,
}

impl Counting {
    /// For `queues` receive queues.
    ///
    /// # Panics
    /// When all queues together have 2^31 buckets or more.
    pub fn new(queues: usize) -> Self {
        Self::placed(queues, |_| ())
    }

    /// As [`Counting::new`]. `place` is as in [`Keeping::placed`].
    ///
    /// [`Keeping::placed`]: super::Keeping::placed
    ///
    /// # Panics
    /// As [`Counting::new`].
    pub fn placed(queues: usize, place: impl FnMut(usize)) -> Self {
        Self::build(queues, BUCKETS, place)
    }

    /// As [`Counting::new`], with so many buckets per queue.
    ///
    /// # Panics
    /// As [`Counting::new`], and when `buckets_per_queue` is no power of two.
    pub fn with_buckets(queues: usize, buckets_per_queue: usize) -> Self {
        Self::build(queues, buckets_per_queue, |_| ())
    }

    fn build(queues: usize, buckets_per_queue: usize, mut place: impl FnMut(usize)) -> Self {
        let map = BucketMap::new(queues, buckets_per_queue, 0);
        let buckets = queues * buckets_per_queue;
        let mut enter = |bucket: usize| {
            if bucket.is_multiple_of(buckets_per_queue) {
                place(bucket / buckets_per_queue);
            }
        };
        let arrived = |bucket| {
            enter(bucket);
            AtomicU32::new(0)
        };
        let arrived = (0..buckets).map(arrived).collect();
        let departed = |bucket| {
            enter(bucket);
            Departed { newest: AtomicU64::new(0), left: AtomicU32::new(0) }
        };
        Self {
            queues: (0..queues)
                .map(|_| Queue { entered: Line(AtomicU32::new(0)), left: Line(AtomicU32::new(0)) })
                .collect(),
            arrived,
            departed: (0..buckets).map(departed).collect(),
            map,
        }
    }

    /// The bucket of a packet that came in by `queue`, counted from 0.
    #[inline(always)]
    pub fn bucket(&self, queue: usize, flow_hash: u32) -> Bucket {
        self.map.bucket(queue, flow_hash)
    }

    #[inline(always)]
    fn queue(&self, bucket: Bucket) -> &Queue {
        &self.queues[self.map.queue(bucket)]
    }

    /// Whether all numbered packets of the queue were sent or dropped. Caller
    /// must hold the queue's lease.
    #[inline(always)]
    pub fn is_idle(&self, queue: usize) -> bool {
        // Relaxed: only a count depends on it.
        self.queues[queue].left.load(Ordering::Relaxed)
            == self.queues[queue].entered.load(Ordering::Relaxed)
    }

    /// Whether a numbered packet of the bucket was neither sent nor dropped.
    /// Caller must hold the queue's lease.
    #[inline]
    pub fn in_flight(&self, Bucket(bucket): Bucket) -> bool {
        self.departed[bucket as usize].left.load(Ordering::Relaxed)
            != self.arrived[bucket as usize].load(Ordering::Relaxed)
    }

    /// Numbers the last `pkts` packets that arrived in the bucket. Returns the
    /// first number; each precedes the next. Caller must hold the queue's lease.
    #[inline]
    pub fn number(&self, bucket: Bucket, pkts: u32) -> Number {
        let advance = |count: &AtomicU32| {
            let before = count.load(Ordering::Relaxed);
            count.store(before.wrapping_add(pkts), Ordering::Relaxed);
            before
        };
        advance(&self.queue(bucket).entered);
        let before = advance(&self.arrived[bucket.0 as usize]);
        Number { bucket, sequence: before.wrapping_add(1) }
    }

    /// A driver accepted `pkts` packets, at least one, whose numbers are
    /// consecutive from `first` on, in this order. Calls `late_by` for each late
    /// one with the difference between its number and the highest that was sent
    /// before. Returns how many were not late.
    #[inline]
    pub fn note_sent(&self, first: Number, pkts: u32, late_by: impl FnMut(u64)) -> u64 {
        let in_order = self.compare(first, pkts, late_by);
        self.leave(first.bucket, pkts);
        in_order
    }

    /// As many packets, whose numbers are consecutive from `first` on, were
    /// dropped.
    pub fn note_dropped(&self, first: Number, pkts: u32) {
        self.leave(first.bucket, pkts);
    }

    #[inline]
    fn compare(&self, first: Number, pkts: u32, mut late_by: impl FnMut(u64)) -> u64 {
        let newest = &self.departed[first.bucket.0 as usize].newest;
        let before = newest.load(Ordering::Relaxed);
        // The shorter way round the circle of 2^32 numbers.
        let first = before
            .wrapping_add_signed(i64::from(first.sequence.wrapping_sub(before as u32) as i32));
        // Relaxed: a count, which publishes no memory.
        let before = newest.fetch_max(first + u64::from(pkts) - 1, Ordering::Relaxed);
        let late_pkts = before.saturating_sub(first).min(u64::from(pkts));
        (first..first + late_pkts).for_each(|number| late_by(before - number));
        u64::from(pkts) - late_pkts
    }

    #[inline]
    fn leave(&self, bucket: Bucket, pkts: u32) {
        self.departed[bucket.0 as usize].left.fetch_add(pkts, Ordering::Relaxed);
        self.queue(bucket).left.fetch_add(pkts, Ordering::Relaxed);
    }
}
