//! Where no order is kept: packets have numbers, and each that is sent is
//! compared with the newest of its bucket. Who defines the order of arrival
//! writes nothing that who sends writes too, so that counting costs neither of
//! them the other's cache lines.

use crate::sync::Line;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// The how-manieth packet of its bucket a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    pub(super) bucket: u32,
    /// From 1, and from 0 again after 2^32 - 1.
    sequence: u32,
}

impl Number {
    #[inline(always)]
    pub fn to_bits(self) -> u64 {
        u64::from(self.bucket) << 32 | u64::from(self.sequence)
    }

    #[inline(always)]
    pub fn from_bits(bits: u64) -> Self {
        Self { bucket: (bits >> 32) as u32, sequence: bits as u32 }
    }

    /// The next one of its bucket.
    #[inline(always)]
    pub fn next(self) -> Self {
        Self { sequence: self.sequence.wrapping_add(1), ..self }
    }

    /// Whether no other number is between them, and they are of one bucket.
    #[inline(always)]
    pub fn precedes(self, next: Self) -> bool {
        self.bucket == next.bucket && self.sequence.wrapping_add(1) == next.sequence
    }
}

/// What those who send know of a bucket.
struct Departed {
    /// The highest number that was sent, counted on beyond 2^32.
    newest: AtomicU64,
    /// How many were sent or dropped.
    left: AtomicU32,
}

/// The packets of one receive queue that have numbers.
struct Queue {
    /// How many there have been. Belongs to who holds the lease.
    entered: Line<AtomicU32>,
    left: Line<AtomicU32>,
}

pub(super) struct Counted {
    queues: Box<[Queue]>,
    /// By bucket, how many have a number. Belongs to who holds the lease.
    arrived: Box<[AtomicU32]>,
    departed: Box<[Departed]>,
    /// A bucket's queue is its number without so many bits: a division would be
    /// dearer than all the rest of counting a packet.
    bucket_bits: u32,
}

impl Counted {
    /// `buckets_per_queue`: a power of two.
    pub(super) fn new(queues: usize, buckets_per_queue: usize) -> Self {
        let buckets = queues * buckets_per_queue;
        Self {
            queues: (0..queues)
                .map(|_| Queue { entered: Line(AtomicU32::new(0)), left: Line(AtomicU32::new(0)) })
                .collect(),
            arrived: (0..buckets).map(|_| AtomicU32::new(0)).collect(),
            departed: (0..buckets)
                .map(|_| Departed { newest: AtomicU64::new(0), left: AtomicU32::new(0) })
                .collect(),
            bucket_bits: buckets_per_queue.trailing_zeros(),
        }
    }

    #[inline(always)]
    fn queue(&self, bucket: u32) -> &Queue {
        &self.queues[(bucket >> self.bucket_bits) as usize]
    }

    #[inline(always)]
    pub(super) fn is_idle(&self, queue: usize) -> bool {
        // Relaxed: nothing but a count depends on it.
        self.queues[queue].left.load(Ordering::Relaxed)
            == self.queues[queue].entered.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn is_ahead(&self, bucket: u32) -> bool {
        self.departed[bucket as usize].left.load(Ordering::Relaxed)
            != self.arrived[bucket as usize].load(Ordering::Relaxed)
    }

    /// Numbers for so many packets of one bucket, of which the first is
    /// returned: each precedes the next.
    #[inline]
    pub(super) fn enter(&self, bucket: u32, pkts: u32) -> Number {
        let so_many_more = |count: &AtomicU32| {
            let before = count.load(Ordering::Relaxed);
            count.store(before.wrapping_add(pkts), Ordering::Relaxed);
            before
        };
        so_many_more(&self.queue(bucket).entered);
        Number { bucket, sequence: so_many_more(&self.arrived[bucket as usize]).wrapping_add(1) }
    }

    /// So many were sent, from this one on in the order of their numbers. Tells
    /// of each that was late by how many, and returns how many were not.
    #[inline]
    pub(super) fn sent(&self, first: Number, pkts: u32, mut late_by: impl FnMut(u64)) -> u64 {
        let newest = &self.departed[first.bucket as usize].newest;
        let before = newest.load(Ordering::Relaxed);
        // As far from the newest as it is on the circle of 2^32 numbers.
        let first = before
            .wrapping_add_signed(i64::from(first.sequence.wrapping_sub(before as u32) as i32));
        // Relaxed: it is a count, and no memory is passed on by it.
        let before = newest.fetch_max(first + u64::from(pkts) - 1, Ordering::Relaxed);
        let late_pkts = before.saturating_sub(first).min(u64::from(pkts));
        (first..first + late_pkts).for_each(|number| late_by(before - number));
        u64::from(pkts) - late_pkts
    }

    /// So many of a bucket were sent or dropped.
    #[inline]
    pub(super) fn leave(&self, bucket: u32, pkts: u32) {
        self.departed[bucket as usize].left.fetch_add(pkts, Ordering::Relaxed);
        self.queue(bucket).left.fetch_add(pkts, Ordering::Relaxed);
    }
}
