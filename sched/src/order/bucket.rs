//! From a flow's hash to its bucket.

/// Buckets per receive queue, unless told otherwise. The words of the last
/// records take 32 KiB then, which a core's caches hold.
pub const BUCKETS: usize = 4096;

/// A bucket of flows of one receive queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket(pub(super) u32);

/// How buckets are numbered: those of a queue follow each other.
#[derive(Clone, Copy)]
pub(super) struct BucketMap {
    /// A bucket's queue is its number without so many low bits: a division
    /// would cost more than all the rest of counting a packet.
    bits: u32,
}

impl BucketMap {
    /// `each`: per queue, the number of buckets and of whatever else is
    /// numbered.
    ///
    /// # Panics
    /// When `buckets_per_queue` is no power of two, or all queues together have
    /// 2^31 of them, or of `each`, or more.
    pub(super) fn new(queues: usize, buckets_per_queue: usize, each: usize) -> Self {
        assert!(
            buckets_per_queue.is_power_of_two() && queues * each.max(buckets_per_queue) < 1 << 31,
            "numbers of 31 bits"
        );
        Self { bits: buckets_per_queue.trailing_zeros() }
    }

    #[inline(always)]
    pub(super) fn bucket(self, queue: usize, flow_hash: u32) -> Bucket {
        Bucket((queue as u32) << self.bits | self.index(flow_hash))
    }

    #[inline(always)]
    pub(super) fn queue(self, Bucket(bucket): Bucket) -> usize {
        (bucket >> self.bits) as usize
    }

    /// Its index among the buckets of its queue.
    #[inline(always)]
    pub(super) fn index_in_queue(self, Bucket(bucket): Bucket) -> usize {
        self.index(bucket) as usize
    }

    #[inline(always)]
    fn index(self, hash_or_bucket: u32) -> u32 {
        hash_or_bucket & ((1 << self.bits) - 1)
    }
}
